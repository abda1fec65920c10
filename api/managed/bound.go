package managed

import (
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/structured-merge-diff/v6/schema"
	"sigs.k8s.io/structured-merge-diff/v6/value"

	"github.com/lighter-k8s/lighter/api"
)

// maxFields bounds what an apply may own, and what it may be applied to. The library's sets take time by the square of
// their size: three megabytes of small items would keep a processor busy for a minute. Upstream has no such bound;
// 10,000 owned fields are about 300 KB of managedFields, which objects do not reach.
const maxFields = 10000

// small is the size in bytes up to which nobody counts.
const small = 64 << 10

// bounded refuses a configuration, or an object to apply it to, that has too many fields.
func bounded(k kinds, live api.Object, config *unstructured.Unstructured) error {
	t, err := k.typed(k.info)
	if err != nil {
		return err
	}
	if left := count(t.Schema, t.TypeRef, value.NewValueInterface(config.Object), maxFields); left < 0 {
		return apierrors.NewRequestEntityTooLargeError(fmt.Sprintf("the allowed maximum of fields in an apply is %d", maxFields))
	}
	var v value.Value
	switch o := live.(type) {
	case *unstructured.Unstructured:
		v = value.NewValueInterface(o.Object)
	default:
		owned := 0
		for _, e := range live.GetManagedFields() {
			if e.FieldsV1 != nil {
				owned += len(e.FieldsV1.GetRawBytes())
			}
		}
		if owned > 0 && owned < small {
			return nil
		}
		if v, err = value.NewValueReflect(live); err != nil {
			return err
		}
	}
	if count(t.Schema, t.TypeRef, v, maxFields) < 0 {
		return apierrors.NewRequestEntityTooLargeError(fmt.Sprintf("the allowed maximum of fields in an object that is applied to is %d", maxFields))
	}
	return nil
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
			of := a.Map.ElementType
			if f, ok := a.FindField(key); ok {
				of = f.Type
			}
			left = count(s, of, v, left)
			return left >= 0
		})
	case a.List != nil && v.IsList() && a.List.ElementRelationship == schema.Associative:
		for n, list := 0, v.AsList(); n < list.Length() && left >= 0; n++ {
			left = count(s, a.List.ElementType, list.At(n), left)
		}
	}
	return left
}
