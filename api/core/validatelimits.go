package core

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lighter-k8s/lighter/api"
)

func validateLimitRange(l, _ *corev1.LimitRange) (errs field.ErrorList) {
	seen := sets.New[corev1.LimitType]()
	for i := range l.Spec.Limits {
		item, path := &l.Spec.Limits[i], field.NewPath("spec", "limits").Index(i)
		bad := each(path.Child("type"), item.Type, validation.IsQualifiedName(string(item.Type)))
		if len(bad) == 0 && !strings.Contains(string(item.Type), "/") && !slices.Contains(limitTypes, item.Type) {
			bad = append(bad, field.Invalid(path.Child("type"), item.Type, "must be a standard limit type or fully qualified"))
		}
		errs = append(errs, bad...)
		if seen.Has(item.Type) {
			errs = append(errs, field.Duplicate(path.Child("type"), item.Type))
		}
		seen.Insert(item.Type)
		errs = append(errs, validateLimitItem(item, path)...)
	}
	return errs
}

var limitTypes = []corev1.LimitType{corev1.LimitTypePod, corev1.LimitTypeContainer, corev1.LimitTypePersistentVolumeClaim}

// amount is one of an item's lists, and what messages call it.
type amount struct {
	child, text string
	of          corev1.ResourceList
}

func validateLimitItem(item *corev1.LimitRangeItem, path *field.Path) (errs field.ErrorList) {
	keys := sets.New[corev1.ResourceName]()
	for _, list := range []struct {
		name string
		of   corev1.ResourceList
	}{{"max", item.Max}, {"min", item.Min}, {"default", item.Default}, {"defaultRequest", item.DefaultRequest}, {"maxLimitRequestRatio", item.MaxLimitRequestRatio}} {
		for _, name := range SortedKeys(list.of) {
			keys.Insert(name)
			if api.Enough(errs) {
				break
			}
			known := resourceName
			if item.Type == corev1.LimitTypePod || item.Type == corev1.LimitTypeContainer {
				known = containerResourceName
			}
			errs = append(errs, known(name, path.Child(list.name).Key(string(name)))...)
		}
	}
	if item.Type == corev1.LimitTypePod {
		for _, no := range []struct {
			name string
			of   corev1.ResourceList
		}{{"default", item.Default}, {"defaultRequest", item.DefaultRequest}} {
			if len(no.of) > 0 {
				errs = append(errs, field.Forbidden(path.Child(no.name), "may not be specified when `type` is 'Pod'"))
			}
		}
	}
	if item.Type == corev1.LimitTypePersistentVolumeClaim {
		_, min := item.Min[corev1.ResourceStorage]
		_, max := item.Max[corev1.ResourceStorage]
		if !min && !max {
			errs = append(errs, field.Required(path.Child("limits"), "either minimum or maximum storage value is required, but neither was provided"))
		}
	}
	for _, k := range SortedKeys(keys) {
		if api.Enough(errs) {
			break
		}
		amounts := []amount{{"min", "min", item.Min}, {"defaultRequest", "default request", item.DefaultRequest}, {"default", "default", item.Default}, {"max", "max", item.Max}}
		for i, low := range amounts {
			above := amounts[i+1:]
			if low.child == "defaultRequest" { // with max first, as upstream
				above = []amount{amounts[3], amounts[2]}
			}
			for _, high := range above {
				a, ok1 := low.of[k]
				b, ok2 := high.of[k]
				if !ok1 || !ok2 || a.Cmp(b) <= 0 {
					continue
				}
				// The field that is complained about is the lower one, save that min stands firm against defaults; the value
				// is that of the bound where a default limit breaks it.
				at, value, what := low, a, high.text
				if low.child == "min" && high.child != "max" {
					at, value = high, b
				}
				switch {
				case low.child == "min" && high.child == "default":
					value = a
				case low.child == "default":
					value = b
				}
				if low.child == "defaultRequest" && high.child == "default" {
					what = "default limit"
				}
				errs = append(errs, field.Invalid(path.Child(at.child).Key(string(k)), value.String(),
					fmt.Sprintf("%s value %s is greater than %s value %s", low.text, a.String(), what, b.String())))
			}
		}
		if ratio, ok := item.MaxLimitRequestRatio[k]; ok {
			at := path.Child("maxLimitRequestRatio").Key(string(k))
			if ratio.Cmp(*resource.NewQuantity(1, resource.DecimalSI)) < 0 {
				errs = append(errs, field.Invalid(at, ratio.String(), fmt.Sprintf("ratio %s is less than 1", ratio.String())))
			}
			min, ok1 := item.Min[k]
			max, ok2 := item.Max[k]
			if ok1 && ok2 && min.Sign() > 0 {
				if most := max.AsApproximateFloat64() / min.AsApproximateFloat64(); ratio.AsApproximateFloat64() > most {
					errs = append(errs, field.Invalid(at, ratio.String(), fmt.Sprintf("ratio %s is greater than max/min = %f", ratio.String(), most)))
				}
			}
		}
	}
	return errs
}
