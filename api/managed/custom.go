package managed

import (
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
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
	var t typed.ParseableType = typed.DeducedParseableType
	if i.Typed != nil {
		if known, err := i.Typed(); err == nil {
			t = known
		}
	}
	c, err := compare(t, before, after)
	if err != nil {
		if c, err = compare(typed.DeducedParseableType, before, after); err != nil {
			return nil, nil
		}
	}
	return fromLibrary(c.Added.Union(c.Modified)), fromLibrary(c.Removed)
}

func compare(t typed.ParseableType, before, after map[string]any) (*typed.Comparison, error) {
	o, err := t.FromUnstructured(before, typed.AllowDuplicates)
	if err != nil {
		return nil, err
	}
	n, err := t.FromUnstructured(after, typed.AllowDuplicates)
	if err != nil {
		return nil, err
	}
	return o.Compare(n)
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

func fromLibrary(s *fieldpath.Set) *set {
	data, err := s.ToJSON()
	if err != nil {
		return nil
	}
	out, err := parse(data)
	if err != nil {
		return nil
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
