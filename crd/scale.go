package crd

import (
	"fmt"
	"math"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/lighter-k8s/lighter/api"
)

// scale gives the version's record a scale subresource. Source: apiextensions/v1, CustomResourceSubresourceScale.
func (v *version) scale(s *apiextensionsv1.CustomResourceSubresourceScale) {
	spec, status := keysOf(s.SpecReplicasPath), keysOf(s.StatusReplicasPath)
	var selector []string
	if s.LabelSelectorPath != nil && *s.LabelSelectorPath != "" {
		selector = keysOf(*s.LabelSelectorPath)
	}
	i := v.info
	i.HasScale = true
	for _, k := range spec {
		i.Replicas = append(i.Replicas, fieldpath.PathElement{FieldName: &k})
	}
	i.GetScale = func(o api.Object) (out api.ScaleView) {
		obj := o.(*unstructured.Unstructured).Object
		out.Spec, out.Status = count(obj, spec), count(obj, status)
		if selector != nil {
			if text, ok := at(obj, selector); ok {
				out.Selector, _ = text.(string)
			}
		}
		return out
	}
	i.SetScale = func(o api.Object, replicas int32) {
		// What stands in its way is no object: the schema says so then.
		_ = unstructured.SetNestedField(o.(*unstructured.Unstructured).Object, int64(replicas), spec...)
	}
	i.Custom.Scalable = func(o api.Object) error {
		if _, ok := at(o.(*unstructured.Unstructured).Object, spec); !ok {
			return fmt.Errorf("the spec replicas field %q does not exist", s.SpecReplicasPath)
		}
		return nil
	}
	v.lazy.scale = &scalePaths{s, spec, status, selector}
}

// scalePaths are where an object says what its scale shows.
type scalePaths struct {
	*apiextensionsv1.CustomResourceSubresourceScale
	spec, status, selector []string
}

func count(obj map[string]any, keys []string) int32 {
	n, _ := at(obj, keys)
	i, _ := n.(int64)
	return int32(max(math.MinInt32, min(math.MaxInt32, i)))
}

// scaleErrors are what a scale cannot show.
func (v *version) scaleErrors(u *unstructured.Unstructured) (errs field.ErrorList) {
	s := v.lazy.scale
	for _, n := range []struct {
		keys []string
		path string
	}{{s.spec, s.SpecReplicasPath}, {s.status, s.StatusReplicasPath}} {
		if got, ok := at(u.Object, n.keys); ok {
			switch i := got.(type) {
			case int64:
				if i < 0 {
					errs = append(errs, field.Invalid(field.NewPath(n.keys[0], n.keys[1:]...), i, "should be a non-negative integer"))
				} else if i > math.MaxInt32 {
					errs = append(errs, field.Invalid(field.NewPath(n.keys[0], n.keys[1:]...), i, fmt.Sprintf("should be less than or equal to %v", math.MaxInt32)))
				}
			}
		}
	}
	if s.selector != nil {
		if got, ok := at(u.Object, s.selector); ok {
			if text, ok := got.(string); ok && text != "" {
				if _, err := metav1.ParseToLabelSelector(text); err != nil {
					if _, err := labels.Parse(text); err != nil {
						errs = append(errs, field.Invalid(field.NewPath(s.selector[0], s.selector[1:]...), text, err.Error()))
					}
				}
			}
		}
	}
	return errs
}
