package crd

import (
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/lighter-k8s/lighter/api"
)

// Which version a deprecated one's warning recommends, as kube-apiserver 1.37.2 answers.
func TestDeprecated(t *testing.T) {
	for versions, want := range map[string]string{ // the first is asked; ! is deprecated, - is not served
		"v1alpha1! v1beta1 v1":        "v1",
		"v1! v2alpha1":                "",
		"v2! v1":                      "",
		"v2alpha1! v1":                "v1",
		"v1alpha1! v1alpha2!":         "",
		"v1alpha2! v1alpha1! v1beta1": "v1beta1",
		"v1beta1! v1beta2 v2alpha1":   "v1beta2",
		"v1beta1! v1-":                "",
		"v1! v2beta1 v3! v2":          "v2",
		"foo! v1":                     "v1",
		"v1! foo":                     "",
		"foo! bar":                    "bar",
		"v1alpha1! v2alpha1 v1beta1":  "v1beta1",
		"v1beta1! v1alpha9":           "",
		"v1beta2! v1beta1":            "",
		"v1 v2":                       "none",
		"v1!own v2":                   "own",
	} {
		crd := &apiextensionsv1.CustomResourceDefinition{}
		for _, word := range strings.Fields(versions) {
			name, text, is := strings.Cut(word, "!")
			v := apiextensionsv1.CustomResourceDefinitionVersion{Name: strings.TrimSuffix(name, "-"), Served: !strings.HasSuffix(name, "-"), Deprecated: is}
			if text != "" {
				v.DeprecationWarning = &text
			}
			crd.Spec.Versions = append(crd.Spec.Versions, v)
		}
		first := &crd.Spec.Versions[0]
		switch want {
		case "none":
			want = ""
		case "own":
		case "":
			want = "g.example.com/" + first.Name + " Boat is deprecated"
		default:
			want = "g.example.com/" + first.Name + " Boat is deprecated; use g.example.com/" + want + " Boat"
		}
		i := &api.Info{GroupVersionResource: schema.GroupVersionResource{Group: "g.example.com", Version: first.Name}, Kind: "Boat"}
		if got := deprecated(crd, first, i); got != want {
			t.Errorf("%s: %q, want %q", versions, got, want)
		}
	}
}
