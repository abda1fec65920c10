package apiextensions

import (
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// TestNested: a definition may have so many schemas in one another, and no more.
func TestNested(t *testing.T) {
	nested := func(levels int) *definition {
		s := &apiextensionsv1.JSONSchemaProps{}
		for range levels {
			s = &apiextensionsv1.JSONSchemaProps{Not: s}
		}
		d := &definition{}
		d.Spec.Versions = []apiextensionsv1.CustomResourceDefinitionVersion{{Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: s}}}
		return d
	}
	if errs := laborious(nested(mostNested)); len(errs) > 0 {
		t.Error(errs)
	}
	errs := laborious(nested(mostNested + 1))
	if len(errs) != 1 || errs[0].Field != "spec.versions[0].schema.openAPIV3Schema" || !strings.Contains(errs[0].Detail, "1000 levels") {
		t.Error(errs)
	}
}
