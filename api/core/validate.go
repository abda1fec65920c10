package core

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/diff"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/api/equal"
)

// OneOf complains about a value that is not among those allowed.
func OneOf[T ~string](value T, path *field.Path, allowed ...T) field.ErrorList {
	if slices.Contains(allowed, value) {
		return nil
	}
	return field.ErrorList{field.NotSupported(path, value, allowed)}
}

// each turns the messages of a check of apimachinery into errors about value.
func each(path *field.Path, value any, messages []string) (errs field.ErrorList) {
	for _, msg := range messages {
		errs = append(errs, field.Invalid(path, value, msg))
	}
	return errs
}

// entries are the complaints of a map's entries, each at its key's path, in the order of the keys. As nearly always there is none, it first
// looks whether there is any, of which nothing is told: that takes no order and no paths.
func entries[K ~string, V any](m map[K]V, at *field.Path, wrong func(K, V, *field.Path) field.ErrorList) (errs field.ErrorList) {
	for k, v := range m {
		if len(wrong(k, v, at)) == 0 {
			continue
		}
		for _, k := range SortedKeys(m) {
			if errs = append(errs, wrong(k, m[k], at.Key(string(k)))...); api.Enough(errs) {
				break
			}
		}
		break
	}
	return errs
}

// NonNegative complains about a count below zero.
func NonNegative[T ~int | ~int32 | ~int64](n T, path *field.Path) field.ErrorList {
	return apivalidation.ValidateNonnegativeField(int64(n), path)
}

func required(path *field.Path, detail string) field.ErrorList {
	return field.ErrorList{field.Required(path, detail)}
}

func dnsLabel(value string, path *field.Path) field.ErrorList {
	return each(path, value, api.DNSLabel(value))
}

// needDNSLabel is for a required name.
func needDNSLabel(value string, path *field.Path) field.ErrorList {
	if value == "" {
		return required(path, "")
	}
	return dnsLabel(value, path)
}

// ValidateSelector checks the selector of a workload: required, well formed and not
// empty; kind is the workload's name in the message ("deployment").
func ValidateSelector(s *metav1.LabelSelector, path *field.Path, kind string) (labels.Selector, field.ErrorList) {
	if s == nil {
		return labels.Nothing(), required(path, "") // which matches no template: a second complaint, as upstream's
	}
	errs := metavalidation.ValidateLabelSelector(s, metavalidation.LabelSelectorValidationOptions{}, path)
	if len(s.MatchLabels)+len(s.MatchExpressions) == 0 {
		errs = append(errs, field.Invalid(path, s, "empty selector is invalid for "+kind))
	}
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		errs = append(errs, field.Invalid(path, s, "invalid label selector"))
	}
	return selector, errs
}

// ReadSelector is ValidateSelector for a selector that may be missing: then it matches nothing. One that cannot be
// read gives nil, and the complaints about its parts.
func ReadSelector(s *metav1.LabelSelector, path *field.Path, kind string) (labels.Selector, field.ErrorList) {
	errs := metavalidation.ValidateLabelSelector(s, metavalidation.LabelSelectorValidationOptions{}, path)
	if s != nil && len(s.MatchLabels)+len(s.MatchExpressions) == 0 {
		errs = append(errs, field.Invalid(path, s, "empty selector is invalid for "+kind))
	}
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return nil, errs
	}
	return selector, errs
}

// Immutable complains where a field that may not change did.
func Immutable(now, was any, path *field.Path) field.ErrorList {
	return apivalidation.ValidateImmutableField(now, was, path)
}

func same(a, b any) bool { return equal.Semantic(a, b) }

func forbidChange(path *field.Path, message string, now, was any) field.ErrorList {
	return field.ErrorList{field.Forbidden(path, fmt.Sprintf("%s\n%v", message, difference(was, now)))}
}

// mostLines is how many lines of JSON two values may have in all to be compared line by line, which takes time by the square of their number.
const mostLines = 4000

// difference shows what changed as a unified diff of lines of JSON; of long values it shows the first lines that differ.
func difference(was, now any) string {
	a, _ := json.MarshalIndent(was, "", " ")
	b, _ := json.MarshalIndent(now, "", " ")
	line := []byte("\n")
	if bytes.Count(a, line)+bytes.Count(b, line) <= mostLines {
		return diff.Diff(was, now)
	}
	from := 0
	for n := 0; n < min(len(a), len(b)) && a[n] == b[n]; n++ {
		if a[n] == '\n' {
			from = n + 1
		}
	}
	const shown = 10
	n := bytes.Count(a[:from], line) + 1
	out := fmt.Sprintf("@@ -%d,%d +%d,%d @@\n", n, shown, n, shown)
	for _, side := range [2]struct {
		sign string
		text []byte
	}{{"-", a[from:]}, {"+", b[from:]}} {
		lines := bytes.SplitAfterN(side.text, line, shown+1)
		for _, l := range lines[:min(len(lines), shown)] {
			out += side.sign + string(l)
		}
	}
	return out
}

func portNumber(n int32, path *field.Path) field.ErrorList {
	return each(path, n, validation.IsValidPortNum(int(n)))
}

// protocols in the order upstream's messages list them (NotSupported sorts).
var protocols = []corev1.Protocol{corev1.ProtocolSCTP, corev1.ProtocolTCP, corev1.ProtocolUDP}

func validateProtocol(p corev1.Protocol, path *field.Path) field.ErrorList {
	if p == "" {
		return required(path, "")
	}
	return OneOf(p, path, protocols...)
}

// ValidateIntOrPercent checks a count that is whole and not negative, or a percentage.
func ValidateIntOrPercent(v intstr.IntOrString, path *field.Path) field.ErrorList {
	switch v.Type {
	case intstr.String:
		return each(path, v, validation.IsValidPercent(v.StrVal))
	case intstr.Int:
		return NonNegative(v.IntVal, path)
	}
	return field.ErrorList{field.Invalid(path, v, "must be an integer or percentage (e.g '5%%')")}
}

// ValidateAtMost100Percent checks that a percentage is not more than all.
func ValidateAtMost100Percent(v intstr.IntOrString, path *field.Path) field.ErrorList {
	if n, ok := Percent(v); ok && n > 100 {
		return field.ErrorList{field.Invalid(path, v, "must not be greater than 100%")}
	}
	return nil
}

// Percent is the number of a percentage.
func Percent(v intstr.IntOrString) (int, bool) {
	if v.Type != intstr.String || len(validation.IsValidPercent(v.StrVal)) > 0 {
		return 0, false
	}
	n, err := strconv.Atoi(strings.TrimSuffix(v.StrVal, "%"))
	return n, err == nil
}

func hasDots(p string) bool { return slices.Contains(strings.Split(p, "/"), "..") }

// localPath complains about an absolute path or one that leaves its folder.
func localPath(p string, path *field.Path) (errs field.ErrorList) {
	if strings.HasPrefix(p, "/") {
		errs = append(errs, field.Invalid(path, p, "must be a relative path"))
	}
	return append(errs, noDots(p, path)...)
}

func noDots(p string, path *field.Path) field.ErrorList {
	if hasDots(p) {
		return field.ErrorList{field.Invalid(path, p, "must not contain '..'")}
	}
	return nil
}

func localFile(p string, path *field.Path) field.ErrorList {
	errs := localPath(p, path)
	if strings.HasPrefix(p, "..") && !strings.HasPrefix(p, "../") && p != ".." {
		errs = append(errs, field.Invalid(path, p, "must not start with '..'"))
	}
	return errs
}
