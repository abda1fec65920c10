package managed

import (
	"fmt"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/structured-merge-diff/v6/typed"

	"github.com/lighter-k8s/lighter/api"
)

// custom is a resource made at run time: no Go type, two versions that call one field otherwise, no schema.
func custom() (v1, v2 *api.Info) {
	make := func(version string) *api.Info {
		gvr := schema.GroupVersionResource{Group: "example.com", Version: version, Resource: "widgets"}
		i := &api.Info{GroupVersionResource: gvr, Kind: "Widget", HasStatus: true, StoreKey: "example.com/widgets",
			New:   func() api.Object { return &unstructured.Unstructured{} },
			Typed: func() (typed.ParseableType, error) { return typed.DeducedParseableType, nil }}
		i.Stored = i
		return i
	}
	renamed := func(o api.Object, version, from, to string) (api.Object, error) {
		u := o.(*unstructured.Unstructured).DeepCopy()
		u.SetAPIVersion("example.com/" + version)
		if v, ok, err := unstructured.NestedFieldNoCopy(u.Object, "spec", from); ok && err == nil {
			unstructured.RemoveNestedField(u.Object, "spec", from)
			if err := unstructured.SetNestedField(u.Object, v, "spec", to); err != nil {
				return nil, err
			}
		}
		return u, nil
	}
	v1, v2 = make("v1"), make("v2")
	v1.Stored = v2
	v1.ToStored = func(o api.Object) (api.Object, error) { return renamed(o, "v2", "size", "count") }
	v1.Load = func(o api.Object) (api.Object, error) { return renamed(o, "v1", "count", "size") }
	return v1, v2
}

// TestCustom tells the story of an object without a Go type: it is merged, shared, converted and never written to.
func TestCustom(t *testing.T) {
	v1, v2 := custom()
	config := func(i *api.Info, spec map[string]any) *unstructured.Unstructured {
		u := &unstructured.Unstructured{Object: map[string]any{"metadata": map[string]any{"name": "w", "labels": map[string]any{"a": "b"}}, "spec": spec}}
		u.SetGroupVersionKind(i.GVK())
		return u
	}
	steps := []struct {
		what    string
		in      *api.Info
		by, sub string
		force   bool
		spec    map[string]any
		want    string // the spec and the owners, or the conflict
	}{
		{"made in the older version", v1, "one", "", false, map[string]any{"size": int64(1), "list": []any{"x"}}, "map[list:[x] size:1]\none example.com/v1  {\"f:metadata\":{\"f:labels\":{\".\":{},\"f:a\":{}}},\"f:spec\":{\".\":{},\"f:list\":{},\"f:size\":{}}}"},
		{"a conflict from the newer", v2, "two", "", false, map[string]any{"count": int64(2)}, `Apply failed with 1 conflict: conflict with "one": .spec.size`},
		{"by force", v2, "two", "", true, map[string]any{"count": int64(2)}, "map[count:2 list:[x]]\n" +
			"one example.com/v1  {\"f:metadata\":{\"f:labels\":{\".\":{},\"f:a\":{}}},\"f:spec\":{\".\":{},\"f:list\":{}}}\ntwo example.com/v2  {\"f:metadata\":{\"f:labels\":{\".\":{},\"f:a\":{}}},\"f:spec\":{\".\":{},\"f:count\":{}}}"},
		{"a status has nothing else", v2, "two", "status", true, map[string]any{"count": int64(3)}, ""},
		{"what one applies no more goes", v1, "one", "", false, map[string]any{}, "map[size:2]\n" +
			"one example.com/v1  {\"f:metadata\":{\"f:labels\":{\".\":{},\"f:a\":{}}},\"f:spec\":{}}\ntwo example.com/v2  {\"f:metadata\":{\"f:labels\":{\".\":{},\"f:a\":{}}},\"f:spec\":{\".\":{},\"f:count\":{}}}"},
	}
	var stored api.Object // in v2
	for _, s := range steps {
		var old api.Object
		var err error
		if stored != nil {
			if old, err = convert(v2, s.in, stored); err != nil {
				t.Fatal(err)
			}
		}
		c := config(s.in, s.spec)
		before := fmt.Sprint(old, c)
		got, err := Apply{Manager: s.by, Subresource: s.sub, Force: s.force, Now: time.Unix(1e9, 0), Versions: []*api.Info{v1, v2}}.Merge(s.in, old, c)
		if fmt.Sprint(old, c) != before {
			t.Errorf("%s: it was written to", s.what)
		}
		if err != nil {
			if !apierrors.IsConflict(err) || err.Error() != s.want {
				t.Errorf("%s: got %v, want %s", s.what, err, s.want)
			}
			continue
		}
		if s.sub == "status" {
			for _, e := range got.GetManagedFields() {
				if e.Subresource == "status" {
					t.Errorf("%s: %s", s.what, e.FieldsV1.GetRawBytes())
				}
			}
			continue
		}
		lines := []string{fmt.Sprint(got.(*unstructured.Unstructured).Object["spec"])}
		for _, e := range got.GetManagedFields() {
			lines = append(lines, fmt.Sprint(e.Manager, " ", e.APIVersion, " ", e.Subresource, " ", string(e.FieldsV1.GetRawBytes())))
			if e.Time == nil || e.Time.Unix() != 1e9 {
				t.Errorf("%s: at %v", s.what, e.Time)
			}
		}
		if text := strings.Join(lines, "\n"); text != s.want {
			t.Errorf("%s:\n got %s\nwant %s", s.what, text, s.want)
		}
		got.SetUID("u")
		if stored, err = convert(s.in, v2, got); err != nil {
			t.Fatal(err)
		}
		// Nothing changes by the same again.
		old, err = convert(v2, s.in, stored)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Apply{Manager: s.by, Subresource: s.sub, Now: time.Unix(2e9, 0), Versions: []*api.Info{v1, v2}}.Merge(s.in, old, config(s.in, s.spec))
		if err != nil || fmt.Sprint(again) != fmt.Sprint(old) {
			t.Errorf("%s, again: %v\n got %v\nwant %v", s.what, err, again, old)
		}
	}
}
