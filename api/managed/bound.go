package managed

import (
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/structured-merge-diff/v6/schema"
	"sigs.k8s.io/structured-merge-diff/v6/value"

	"github.com/lighter-k8s/lighter/api"
)

// Bounds of the fields that can be owned. Upstream has none. The library's sets take time by the square of their size, and some 3 KB a
// field: what has many is merged by large, which takes 2 KB with all that belongs to the request.
const (
	many      = 4000  // from which on large merges
	byLibrary = 10000 // that the library merges at most, where large cannot
	fewest    = 14000 // that may always be applied
	perField  = 80    // bytes of a configuration that may have more
)

// small is the size in bytes up to which nobody counts.
const small = 64 << 10

// bounded tells whether a configuration, or an object to apply it to, has so many fields that large is to merge them; tooMany is what is
// wrong where that cannot. It refuses a configuration that has more than its bytes allow.
func (a Apply) bounded(k kinds, live api.Object, config *unstructured.Unstructured) (isMany bool, tooMany, err error) {
	t, err := k.typed(k.info)
	if err != nil {
		return false, nil, err
	}
	most := max(fewest, a.Size/perField)
	fields := most - count(t.Schema, t.TypeRef, value.NewValueInterface(config.Object), most)
	if fields > most {
		return false, nil, apierrors.NewRequestEntityTooLargeError(fmt.Sprintf("the allowed maximum of fields in an apply of %d bytes is %d", a.Size, most))
	}
	if fields > byLibrary {
		tooMany = apierrors.NewRequestEntityTooLargeError(fmt.Sprintf("the allowed maximum of fields in an apply is %d where there are owners by another version, a subresource or none", byLibrary))
	}
	var v value.Value
	switch o := live.(type) {
	case *unstructured.Unstructured:
		v = value.NewValueInterface(o.Object)
	default:
		owned := 0
		for _, e := range api.Owners(live) {
			if e.FieldsV1 != nil {
				owned += len(e.FieldsV1.GetRawBytes())
			}
		}
		if owned > 0 && owned < small {
			return fields > many, tooMany, nil
		}
		if v, err = value.NewValueReflect(live); err != nil {
			return false, nil, err
		}
	}
	there := byLibrary - count(t.Schema, t.TypeRef, v, byLibrary)
	if there > byLibrary && tooMany == nil {
		tooMany = apierrors.NewRequestEntityTooLargeError(fmt.Sprintf("the allowed maximum of fields in an object that is applied to is %d where there are owners by another version, a subresource or none", byLibrary))
	}
	return fields > many || there > many, tooMany, nil
}

// count takes the fields at and below a value that can be owned from left; below zero it ends.
func count(s *schema.Schema, t schema.TypeRef, v value.Value, left int) int {
	if left--; left < 0 || v == nil {
		return left
	}
	a, ok := s.Resolve(t)
	switch {
	case !ok:
	case a.Map != nil && v.IsMap() && a.Map.ElementRelationship != schema.Atomic:
		v.AsMap().Iterate(func(key string, v value.Value) bool {
			left = count(s, fieldType(a.Map, key), v, left)
			return left >= 0
		})
	case a.List != nil && v.IsList() && a.List.ElementRelationship == schema.Associative:
		for n, list := 0, v.AsList(); n < list.Length() && left >= 0; n++ {
			left = count(s, a.List.ElementType, list.At(n), left)
		}
	}
	return left
}
