package crd

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/api/apiextensions"
	"github.com/lighter-k8s/lighter/store"
	"github.com/lighter-k8s/lighter/watch"
)

// itemOf is an established definition as memory holds it.
func itemOf(tb testing.TB, name string, spec apiextensionsv1.CustomResourceDefinitionSpec) *watch.Item {
	tb.Helper()
	d := &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name), Generation: 1}, Spec: spec}
	apiextensions.CustomResourceDefinition.Default(d)
	d.Status = status(d, taken{}, metav1.Unix(1000, 0))
	value, err := api.EncodeStored(apiextensions.CustomResourceDefinition, d)
	if err != nil {
		tb.Fatal(err)
	}
	item, err := watch.NewItem(apiextensions.CustomResourceDefinition, store.Entry{Key: watch.Key(apiextensions.CustomResourceDefinition, "", name), Value: value, Revision: 1})
	if err != nil {
		tb.Fatal(err)
	}
	return item
}

const boats = `
group: example.com
scope: Namespaced
names: {plural: boats, kind: Boat}
versions:
- name: v1
  served: true
  storage: true
  subresources: {status: {}, scale: {specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas, labelSelectorPath: .status.selector}}
  additionalPrinterColumns: [{name: Size, type: integer, jsonPath: .spec.replicas}, {name: Crew, type: string, jsonPath: '.spec.crew[*].name'}, {name: Made, type: date, jsonPath: .spec.made}]
  selectableFields: [{jsonPath: .spec.color}]
  schema:
    openAPIV3Schema:
      type: object
      properties:
        spec:
          type: object
          x-kubernetes-validations: [{rule: "!has(self.replicas) || self.replicas <= 10", message: at most ten}]
          properties:
            replicas: {type: integer, minimum: 0}
            color: {type: string, default: blue, maxLength: 10}
            made: {type: string, format: date-time}
            weight: {type: number, nullable: true}
            port: {x-kubernetes-int-or-string: true}
            free: {type: object, x-kubernetes-preserve-unknown-fields: true}
            pod: {type: object, x-kubernetes-embedded-resource: true, x-kubernetes-preserve-unknown-fields: true}
            crew: {type: array, maxItems: 20, x-kubernetes-list-type: map, x-kubernetes-list-map-keys: [name], items: {type: object, required: [name], properties: {name: {type: string}, rank: {type: string, default: sailor}}}}
        status:
          type: object
          properties: {replicas: {type: integer}, selector: {type: string}}
`

func boat(tb testing.TB) *api.Info {
	tb.Helper()
	var spec apiextensionsv1.CustomResourceDefinitionSpec
	if err := yaml.UnmarshalStrict([]byte(boats), &spec); err != nil {
		tb.Fatal(err)
	}
	d, err := (&Resources{Log: slog.New(slog.DiscardHandler)}).define(itemOf(tb, "boats.example.com", spec), nil)
	if err != nil || d == nil {
		tb.Fatal(d, err)
	}
	return d.infos[0]
}

// FuzzReceive: whatever is sent, nothing panics, and what is stored is read back as it was.
func FuzzReceive(f *testing.F) {
	for _, s := range []string{`{}`, `null`, `[]`, `{"metadata":{"name":"a"},"spec":{"replicas":3}}`, `{"metadata":1,"spec":2}`, `{"metadata":{"labels":{"a":1}}}`,
		`{"spec":{"crew":[{"name":"a"},{"name":"a"}],"free":{"a":[{}]},"weight":null,"port":"x","made":"2020-01-01T00:00:00Z"}}`, `{"spec":{"pod":{"metadata":{"name":"p"},"kind":1}}}`,
		`{"spec":{"replicas":1e300,"weight":1e999}}`, `{"metadata":{"creationTimestamp":"x","managedFields":[{}],"ownerReferences":[{"uid":"a"}]},"status":{"replicas":-1}}`,
		strings.Repeat(`{"spec":`, 50) + "1" + strings.Repeat("}", 50), `{"spec":{"color":"\ud800"}}`} {
		f.Add([]byte(s))
	}
	i := boat(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		obj := i.New()
		if _, err := api.DecodeJSON(obj, data); err != nil {
			return
		}
		if _, err := i.Custom.Receive(obj); err != nil {
			return
		}
		obj.GetObjectKind().SetGroupVersionKind(i.GVK())
		i.Default(obj)
		i.Prepare(obj, nil)
		for _, c := range i.Table() {
			c.Show(obj)
		}
		for _, field := range i.Fields {
			field(obj)
		}
		i.GetScale(obj)
		i.GenerationOf(obj)
		if i.Custom.Scalable(obj) == nil {
			i.SetScale(obj.DeepCopyObject().(api.Object), 3)
		}
		if len(i.Validate(obj, nil)) > 0 {
			return
		}
		if errs := i.Validate(obj, obj.DeepCopyObject().(api.Object)); len(errs) > 0 {
			t.Fatalf("valid when it is made, and not when nothing changes: %v", errs)
		}
		stored, err := i.ToStored(obj)
		if err != nil {
			t.Fatal(err)
		}
		stored.SetResourceVersion("")
		value, err := api.EncodeStored(i.Stored, stored)
		if err != nil {
			t.Fatal(err)
		}
		back, err := i.Custom.Read(bytes.TrimSpace(value))
		if err != nil {
			t.Fatalf("%v: %s", err, value)
		}
		obj.SetResourceVersion("")
		got, _ := json.Marshal(back)
		want, _ := json.Marshal(obj)
		if !bytes.Equal(got, want) {
			t.Fatalf("read back:\n got %s\nwant %s", got, want)
		}
	})
}

// Columns show what is there, and nothing where it is of another type.
func TestColumns(t *testing.T) {
	i := boat(t)
	year := time.Now().Add(-3 * time.Hour).UTC().Format(time.RFC3339)
	for spec, want := range map[string]string{
		`{}`: "a <nil> <nil> <nil>",
		`{"replicas":3,"crew":[{"name":"jo"},{"name":"flo"}],"made":"` + year + `"}`: "a 3 jo 3h",
		`{"replicas":"x","made":"yesterday"}`:                                        "a <nil> <nil> <invalid>",
	} {
		u := i.New().(*unstructured.Unstructured)
		if err := json.Unmarshal([]byte(`{"kind":"Boat","metadata":{"name":"a"},"spec":`+spec+`}`), u); err != nil {
			t.Fatal(err)
		}
		var cells []any
		for _, c := range i.Table() {
			cells = append(cells, c.Show(u))
		}
		if got := strings.TrimSpace(fmt.Sprintln(cells...)); got != want {
			t.Errorf("%s shows %q, want %q", spec, got, want)
		}
	}
}

// large is a definition whose schema is of about 50 KB.
func large(n int) (name string, spec apiextensionsv1.CustomResourceDefinitionSpec) {
	props := map[string]apiextensionsv1.JSONSchemaProps{}
	for k := range 180 {
		props[fmt.Sprintf("field%03d", k)] = apiextensionsv1.JSONSchemaProps{Type: "object", Description: strings.Repeat("what this field means ", 5),
			Properties: map[string]apiextensionsv1.JSONSchemaProps{"name": {Type: "string", Description: "its name"}, "count": {Type: "integer"}}}
	}
	plural := fmt.Sprint("things", n)
	return plural + ".example.com", apiextensionsv1.CustomResourceDefinitionSpec{Group: "example.com", Scope: apiextensionsv1.NamespaceScoped,
		Names: names{Plural: plural, Kind: fmt.Sprint("Thing", n)}, Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{Name: "v1", Served: true, Storage: true,
			AdditionalPrinterColumns: []apiextensionsv1.CustomResourceColumnDefinition{{Name: "Ready", Type: "string", JSONPath: ".status.ready"}, {Name: "Age", Type: "date", JSONPath: ".metadata.creationTimestamp"}},
			Subresources:             &apiextensionsv1.CustomResourceSubresources{Status: &apiextensionsv1.CustomResourceSubresourceStatus{}},
			Schema:                   &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{"spec": {Type: "object", Properties: props}}}}}}}
}

// TestIdleDefinitionsAreSmall: a definition that nobody uses costs, beside its own bytes, less than 10 KB.
func TestIdleDefinitionsAreSmall(t *testing.T) {
	const n = 200
	r := &Resources{Log: slog.New(slog.DiscardHandler)}
	items := make([]*watch.Item, n)
	for k := range n {
		name, spec := large(k)
		items[k] = itemOf(t, name, spec)
	}
	if size := len(items[0].Raw()); size < 30<<10 {
		t.Fatalf("the definitions have %d bytes only", size)
	}
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	served := make([]*definition, n)
	for k := range n {
		var err error
		if served[k], err = r.define(items[k], nil); err != nil || served[k] == nil {
			t.Fatal(err)
		}
	}
	each := (int64(heap()) - int64(before)) / n
	t.Logf("%d bytes each", each)
	if each > 10<<10 {
		t.Errorf("an idle definition takes %d bytes beside its own", each)
	}
	v := served[0].version("v1")
	if v.lazy.has != nil {
		t.Error("a schema was compiled for nobody")
	}
	if _, err := v.schema(); err != nil || v.lazy.has == nil {
		t.Fatal(err)
	}
	served[0].drop(time.Now().Add(time.Minute))
	if v.lazy.has != nil {
		t.Error("a schema that nobody uses is kept")
	}
	runtime.KeepAlive(served)
	runtime.KeepAlive(items)
}

// A definition that is written again without a change that matters is served as before, from its newest bytes.
func TestDefineAgain(t *testing.T) {
	r := &Resources{Log: slog.New(slog.DiscardHandler)}
	name, spec := large(1)
	one, two := itemOf(t, name, spec), itemOf(t, name, spec)
	d, err := r.define(one, nil)
	if err != nil {
		t.Fatal(err)
	}
	again, err := r.define(two, d)
	if err != nil || again != d || d.item.Load() != two {
		t.Errorf("made anew: %v, %v", again != d, err)
	}
	if gone, err := r.define(nil, d); gone != nil || err != nil {
		t.Error(gone, err)
	}
	if !reflect.DeepEqual(d.infos[0].Custom.Versions, d.infos) {
		t.Error("versions do not know each other")
	}
}

func BenchmarkRead(b *testing.B) {
	i := boat(b)
	raw := []byte(`{"apiVersion":"example.com/v1","kind":"Boat","metadata":{"name":"a","namespace":"b","uid":"c","creationTimestamp":"2020-01-01T00:00:00Z"},"spec":{"replicas":3,"color":"red","crew":[{"name":"jo","rank":"cook"},{"name":"flo","rank":"sailor"}]}}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := i.Custom.Read(raw); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkValidate(b *testing.B) {
	i := boat(b)
	obj, err := i.Custom.Read([]byte(`{"apiVersion":"example.com/v1","kind":"Boat","metadata":{"name":"a"},"spec":{"replicas":3,"color":"red","crew":[{"name":"jo"}]}}`))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if errs := i.Validate(obj, nil); len(errs) > 0 {
			b.Fatal(errs)
		}
	}
}
