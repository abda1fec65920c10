package managed

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/structured-merge-diff/v6/schema"
	"sigs.k8s.io/structured-merge-diff/v6/typed"

	"github.com/lighter-k8s/lighter/api/builtin"
)

// TestTypedAsClientGo: types read off Go merge as those do that client-go was generated with from the published OpenAPI.
func TestTypedAsClientGo(t *testing.T) {
	for _, i := range builtin.All() {
		if i.Virtual {
			continue
		}
		t.Run(i.Resource+"."+i.Version+"."+i.Group, func(t *testing.T) {
			got, err := Typed(i)
			if err != nil {
				t.Fatal(err)
			}
			obj := i.New()
			obj.GetObjectKind().SetGroupVersionKind(i.GVK())
			v, err := converter.ObjectToTyped(obj, typed.AllowDuplicates)
			if err != nil {
				t.Skipf("client-go has no such type: %v", err)
			}
			c := comparison{t: t, got: got.Schema, want: v.Schema(), seen: map[[2]string]bool{}}
			c.types(i.Kind, got.TypeRef, v.TypeRef())
		})
	}
}

type comparison struct {
	t         *testing.T
	got, want *schema.Schema
	seen      map[[2]string]bool
}

func (c comparison) types(at string, g, w schema.TypeRef) {
	if g.NamedType != nil && w.NamedType != nil {
		pair := [2]string{*g.NamedType + relation(g.ElementRelationship), *w.NamedType + relation(w.ElementRelationship)}
		if c.seen[pair] {
			return
		}
		c.seen[pair] = true
	}
	got, ok := c.got.Resolve(g)
	want, wok := c.want.Resolve(w)
	if !ok || !wok {
		c.t.Fatalf("%s: resolved %v, in client-go %v", at, ok, wok)
	}
	if fmt.Sprint(kindOf(got)) != fmt.Sprint(kindOf(want)) {
		c.t.Errorf("%s: got %v, want %v", at, kindOf(got), kindOf(want))
		return
	}
	if got.Scalar != nil && want.Scalar != nil && *got.Scalar != *want.Scalar {
		c.t.Errorf("%s: got %s, want %s", at, *got.Scalar, *want.Scalar)
	}
	if got.List != nil && want.List != nil {
		if got.List.ElementRelationship != want.List.ElementRelationship || !slices.Equal(slices.Sorted(slices.Values(got.Keys)), slices.Sorted(slices.Values(want.Keys))) {
			c.t.Errorf("%s: list %s %v, want %s %v", at, got.List.ElementRelationship, got.Keys, want.List.ElementRelationship, want.Keys)
		}
		c.types(at+"[]", got.List.ElementType, want.List.ElementType)
		for _, key := range got.Keys {
			a, _ := c.got.Resolve(got.List.ElementType)
			b, _ := c.want.Resolve(want.List.ElementType)
			x, _ := a.FindField(key)
			y, _ := b.FindField(key)
			if fmt.Sprint(x.Default) != fmt.Sprint(y.Default) {
				c.t.Errorf("%s[].%s by default: got %v, want %v", at, key, x.Default, y.Default)
			}
		}
	}
	if got.Map != nil && want.Map != nil {
		if (got.Map.ElementRelationship == schema.Atomic) != (want.Map.ElementRelationship == schema.Atomic) {
			c.t.Errorf("%s: %s, want %s", at, got.Map.ElementRelationship, want.Map.ElementRelationship)
		}
		if reflect.DeepEqual(got.Map.ElementType, schema.TypeRef{}) != reflect.DeepEqual(want.Map.ElementType, schema.TypeRef{}) {
			c.t.Errorf("%s: any key %v, want %v", at, got.Map.ElementType, want.Map.ElementType)
		} else if !reflect.DeepEqual(got.Map.ElementType, schema.TypeRef{}) {
			c.types(at+"{}", got.Map.ElementType, want.Map.ElementType)
		}
		var names []string
		for _, f := range slices.Concat(got.Map.Fields, want.Map.Fields) {
			names = append(names, f.Name)
		}
		slices.Sort(names)
		for _, name := range slices.Compact(names) {
			a, here := got.FindField(name)
			b, there := want.FindField(name)
			if here != there {
				c.t.Errorf("%s.%s: %v, in client-go %v", at, name, here, there)
				continue
			}
			c.types(at+"."+name, a.Type, b.Type)
		}
	}
}

func relation(r *schema.ElementRelationship) string {
	if r == nil {
		return ""
	}
	return " " + string(*r)
}

func kindOf(a schema.Atom) [3]bool { return [3]bool{a.Scalar != nil, a.List != nil, a.Map != nil} }

// TestApplyDefinition: schemas hold what has a JSON form of its own, of any kind.
func TestApplyDefinition(t *testing.T) {
	i := info("customresourcedefinitions")
	config := &unstructured.Unstructured{}
	if err := config.UnmarshalJSON([]byte(`{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"a.b.c"},
		"spec":{"group":"b.c","scope":"Cluster","names":{"plural":"a","kind":"A"},"versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object",
		"properties":{"list":{"type":"array","items":{"type":"string","enum":["a",1,{"b":[]}],"default":"a"}},"map":{"type":"object","additionalProperties":{"type":"integer"},
		"default":{"a":1}},"free":{"type":"object","additionalProperties":true}}}}}]}}`)); err != nil {
		t.Fatal(err)
	}
	got, err := Apply{Manager: "m", Now: time.Unix(1e9, 0)}.Merge(i, nil, config)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"f:spec":{"f:group":{},"f:names":{"f:kind":{},"f:plural":{}},"f:scope":{},"f:versions":{}}}`
	if fields := string(got.GetManagedFields()[0].FieldsV1.GetRawBytes()); fields != want {
		t.Errorf("fields %s, want %s", fields, want)
	}
}

// BenchmarkTyped makes the type of pods, as the first apply of one does.
func BenchmarkTyped(b *testing.B) {
	i := info("pods")
	b.ReportAllocs()
	for b.Loop() {
		definitions.of, definitions.roots = nil, nil
		if _, err := Typed(i); err != nil {
			b.Fatal(err)
		}
	}
}
