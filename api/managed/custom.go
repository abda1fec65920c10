package managed

import (
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/structured-merge-diff/v6/typed"

	"github.com/lighter-k8s/lighter/api"
)

// diffCustom is diff for objects without a Go type: they merge as their record says. Where it cannot say, or where an
// object is not as its schema has it, every map merges by its keys and every list is one value.
func diffCustom(i *api.Info, old api.Object, obj *unstructured.Unstructured) (took, gone *set) {
	before := map[string]any{}
	if u, ok := old.(*unstructured.Unstructured); ok && u != nil {
		before = unmanaged(u)
	}
	after := unmanaged(obj)
	t := typed.DeducedParseableType
	if i.Typed != nil {
		if known, err := i.Typed(); err == nil {
			t = known
		}
	}
	took, gone, ok := differ(t, before, after)
	if !ok {
		took, gone, _ = differ(typed.DeducedParseableType, before, after)
	}
	return took, gone
}

// unmanaged is an object's content without its managedFields, which nobody owns.
func unmanaged(u *unstructured.Unstructured) map[string]any {
	out := make(map[string]any, len(u.Object))
	for k, v := range u.Object {
		out[k] = v
	}
	if meta, ok := out["metadata"].(map[string]any); ok && meta["managedFields"] != nil {
		m := make(map[string]any, len(meta))
		for k, v := range meta {
			if k != "managedFields" {
				m[k] = v
			}
		}
		out["metadata"] = m
	}
	return out
}

// version is the record of a custom resource's version.
func version(i *api.Info, apiVersion string) *api.Info {
	if n := slices.IndexFunc(i.Custom.Versions, func(o *api.Info) bool { return o.GroupVersion().String() == apiVersion }); n >= 0 {
		return i.Custom.Versions[n]
	}
	return i
}
