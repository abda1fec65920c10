package apiextensions

import (
	"slices"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// TestWarnings: what is new is told once. The texts and which formats are known are recorded from upstream in role/testdata/same.
func TestWarnings(t *testing.T) {
	made := func(versions ...[]string) *definition {
		d := &definition{}
		for _, formats := range versions {
			s := &apiextensionsv1.JSONSchemaProps{Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{}}
			for n, f := range formats {
				s.Properties[string(rune('a'+n))] = apiextensionsv1.JSONSchemaProps{Type: "string", Format: f}
			}
			d.Spec.Versions = append(d.Spec.Versions, apiextensionsv1.CustomResourceDefinitionVersion{Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: s}})
		}
		return d
	}
	tests := map[string]struct {
		d, old *definition
		want   []string
	}{
		"known ones":                     {made([]string{"uuid", "date-time", ""}), nil, nil},
		"unknown ones, in order":         {made([]string{"y", "uuid", "x"}), nil, []string{`unrecognized format "y"`, `unrecognized format "x"`}},
		"one in two versions":            {made([]string{"x"}, []string{"x"}), nil, []string{`unrecognized format "x"`}},
		"one that was there":             {made([]string{"x"}), made([]string{"x"}), nil},
		"one that was there, elsewhere":  {made([]string{"uuid", "x"}, []string{"x"}), made([]string{"x"}), nil},
		"a new one beside one that was":  {made([]string{"x", "y"}), made([]string{"x"}), []string{`unrecognized format "y"`}},
		"one that goes, and one without": {made([]string{"uuid"}), made([]string{"x"}), nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := warnings(tt.d, tt.old); !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
