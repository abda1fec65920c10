package api

import (
	"strings"

	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
)

// The rules of apimachinery's validation for names, with its messages. Nearly all names are seen to be good by their letters
// alone; for the others its regular expressions are asked.

// DNSLabel is IsDNS1123Label.
func DNSLabel(s string) []string {
	if word(s, 63, false, "-") {
		return nil
	}
	return utilvalidation.IsDNS1123Label(s)
}

// DNSSubdomain is IsDNS1123Subdomain.
func DNSSubdomain(s string) []string {
	if subdomain(s) {
		return nil
	}
	return utilvalidation.IsDNS1123Subdomain(s)
}

// QualifiedName is IsQualifiedName, the rule for keys of labels.
func QualifiedName(s string) []string {
	if labelKey(s) {
		return nil
	}
	return utilvalidation.IsQualifiedName(s)
}

// PortName is IsValidPortName.
func PortName(s string) []string {
	if word(s, 15, false, "") && s[0] > '9' {
		return nil
	}
	return utilvalidation.IsValidPortName(s)
}

// ConfigMapKey is IsConfigMapKey.
func ConfigMapKey(s string) []string {
	if word(s, 253, true, "-_.") {
		return nil
	}
	return utilvalidation.IsConfigMapKey(s)
}

// Doubtful is an object's metadata as apimachinery has to look at it: without labels and annotations that are all good.
func Doubtful(o Object) metav1.Object {
	m := metaOf(o, false)
	good := true
	for k, v := range m.Labels {
		good = good && labelKey(k) && (v == "" || word(v, 63, true, "-_."))
	}
	if good {
		m.Labels = nil
	}
	good, size := true, 0
	for k, v := range m.Annotations {
		good, size = good && labelKey(k), size+len(k)+len(v)
	}
	if good && size <= validation.TotalAnnotationSizeLimitB {
		m.Annotations = nil
	}
	return m
}

// DoubtfulNew is Doubtful of a new object, whose finalizers are good as well where each is somebody's: an update compares them with what was.
func DoubtfulNew(o Object) metav1.Object {
	m := Doubtful(o)
	if GoodFinalizers(o.GetFinalizers()) {
		m.SetFinalizers(nil)
	}
	return m
}

// GoodFinalizers tells that apimachinery's ValidateFinalizers has nothing to say of them. It may say no where that is so.
func GoodFinalizers(list []string) bool {
	for _, f := range list {
		if !strings.Contains(f, "/") || !labelKey(f) { // without: a standard one, of which some exclude each other
			return false
		}
	}
	return true
}

func labelKey(s string) bool {
	prefix, name, ok := strings.Cut(s, "/")
	if !ok {
		return word(s, 63, true, "-_.")
	}
	return subdomain(prefix) && word(name, 63, true, "-_.")
}

func subdomain(s string) bool {
	for label := range strings.SplitSeq(s, ".") {
		if !word(label, 253, false, "-") {
			return false
		}
	}
	return len(s) <= 253
}

// word tells whether s is letters and digits with further characters between.
func word(s string, longest int, upper bool, between string) bool {
	for n := range len(s) {
		switch c := s[n]; {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', upper && 'A' <= c && c <= 'Z':
		case n == 0, n == len(s)-1, strings.IndexByte(between, c) < 0:
			return false
		}
	}
	return s != "" && len(s) <= longest
}
