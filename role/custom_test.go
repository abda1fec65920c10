package role_test

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"
)

// custom is a custom resource of a test's own: its group is called after the test.
type custom struct {
	*plane
	t     *testing.T
	group string
	crds  *apiextensions.Clientset
	dyn   dynamic.Interface
}

func newCustom(t *testing.T, p *plane) *custom {
	t.Helper()
	c := &custom{plane: p, t: t, group: strings.ToLower(strings.NewReplacer("/", "-", "_", "-").Replace(t.Name())) + ".example.com"}
	var err error
	if c.crds, err = apiextensions.NewForConfig(p.admin); err != nil {
		t.Fatal(err)
	}
	if c.dyn, err = dynamic.NewForConfig(p.admin); err != nil {
		t.Fatal(err)
	}
	return c
}

// definition is one of boats; versions is YAML, indented as a list below spec.
func (c *custom) definition(plural, kind, versions string) *apiextensionsv1.CustomResourceDefinition {
	c.t.Helper()
	doc := fmt.Sprintf("metadata: {name: %s.%s}\nspec:\n  group: %s\n  scope: Namespaced\n  names: {plural: %s, kind: %s}\n  versions:\n%s", plural, c.group, c.group, plural, kind, versions)
	var d apiextensionsv1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict([]byte(doc), &d); err != nil {
		c.t.Fatalf("%v\n%s", err, doc)
	}
	return &d
}

// define creates a definition and waits until it is established.
func (c *custom) define(d *apiextensionsv1.CustomResourceDefinition) {
	c.t.Helper()
	if _, err := c.crds.ApiextensionsV1().CustomResourceDefinitions().Create(c.t.Context(), d, metav1.CreateOptions{}); err != nil {
		c.t.Fatal(err)
	}
	c.established(d.Name)
}

// established waits on a watch, as clients do.
func (c *custom) established(name string) {
	c.t.Helper()
	c.until(name, func(d *apiextensionsv1.CustomResourceDefinition) bool {
		return d != nil && condition(d, apiextensionsv1.Established) == "True InitialNamesAccepted"
	})
}

func (c *custom) until(name string, done func(*apiextensionsv1.CustomResourceDefinition) bool) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 20*time.Second)
	defer cancel()
	all := c.crds.ApiextensionsV1().CustomResourceDefinitions()
	for {
		d, err := all.Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			if done(nil) {
				return
			}
			c.t.Fatal(err)
		} else if err != nil {
			c.t.Fatal(err)
		}
		if done(d) {
			return
		}
		w, err := all.Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name, ResourceVersion: d.ResourceVersion})
		if err != nil {
			c.t.Fatal(err)
		}
		if _, ok := <-w.ResultChan(); !ok && ctx.Err() != nil {
			c.t.Fatalf("%s is %v", name, d.Status)
		}
		w.Stop()
	}
}

func condition(d *apiextensionsv1.CustomResourceDefinition, kind apiextensionsv1.CustomResourceDefinitionConditionType) string {
	for _, c := range d.Status.Conditions {
		if c.Type == kind {
			return string(c.Status) + " " + c.Reason
		}
	}
	return ""
}

func (c *custom) of(version, plural, namespace string) dynamic.ResourceInterface {
	return c.dyn.Resource(schema.GroupVersionResource{Group: c.group, Version: version, Resource: plural}).Namespace(namespace)
}

// object reads YAML; kind Boat in v1 unless it says otherwise.
func (c *custom) object(doc string) *unstructured.Unstructured {
	c.t.Helper()
	u := &unstructured.Unstructured{}
	data, err := yaml.YAMLToJSON([]byte(doc))
	if err == nil {
		err = json.Unmarshal(data, &u.Object)
	}
	if err != nil {
		c.t.Fatal(err)
	}
	if u.GetKind() == "" {
		u.SetKind("Boat")
	}
	if u.GetAPIVersion() == "" {
		u.SetAPIVersion(c.group + "/v1")
	}
	return u
}

const boats = `  - name: v1
    served: true
    storage: true
    additionalPrinterColumns:
    - {name: Size, type: integer, jsonPath: .spec.replicas}
    - {name: Crew, type: string, jsonPath: '.spec.crew[*].name', priority: 1}
    selectableFields: [{jsonPath: .spec.color}]
    subresources: {status: {}, scale: {specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas, labelSelectorPath: .status.selector}}
    schema:
      openAPIV3Schema:
        type: object
        description: A boat that floats.
        properties:
          spec:
            type: object
            x-kubernetes-validations:
            - {rule: "!has(self.replicas) || self.replicas <= 10", message: at most ten}
            - {rule: "self.color == oldSelf.color || oldSelf.color == 'blue'", message: painted once}
            properties:
              replicas: {type: integer, minimum: 0}
              color: {type: string, default: blue, maxLength: 10, enum: [blue, red, green]}
              note: {type: string, nullable: true}
              port: {x-kubernetes-int-or-string: true}
              free: {type: object, x-kubernetes-preserve-unknown-fields: true}
              pod: {type: object, x-kubernetes-embedded-resource: true, x-kubernetes-preserve-unknown-fields: true}
              tags: {type: array, x-kubernetes-list-type: set, items: {type: string}}
              crew: {type: array, maxItems: 20, x-kubernetes-list-type: map, x-kubernetes-list-map-keys: [name], items: {type: object, required: [name], properties: {name: {type: string}, rank: {type: string, default: sailor}}}}
          status:
            type: object
            properties: {replicas: {type: integer}, selector: {type: string}, ready: {type: boolean}}
`

// What becomes of an object that is created, and what is said.
func TestCustomObjects(t *testing.T) {
	c := newCustom(t, api(t))
	c.define(c.definition("boats", "Boat", boats))
	ns := c.namespace(t)
	admin := c.as(t, "admin")
	base := fmt.Sprintf("/apis/%s/v1/namespaces/%s/boats", c.group, ns)
	tests := map[string]struct {
		spec, query string // of the object
		want        string // of what is stored: its spec; or the error's beginning
		code        int
		warns       string
	}{
		"defaults are filled in":                {spec: `{}`, want: `{"color":"blue"}`, code: 201},
		"also within lists":                     {spec: `{"crew":[{"name":"jo"}]}`, want: `{"color":"blue","crew":[{"name":"jo","rank":"sailor"}]}`, code: 201},
		"null is a default where it may not be": {spec: `{"color":null,"replicas":null}`, want: `{"color":"blue"}`, code: 201},
		"and stays where it may":                {spec: `{"note":null}`, want: `{"color":"blue","note":null}`, code: 201},
		"unknown fields go, with a warning":     {spec: `{"wings":2}`, want: `{"color":"blue"}`, code: 201, warns: `unknown field "spec.wings"`},
		"or without":                            {spec: `{"wings":2}`, query: "?fieldValidation=Ignore", want: `{"color":"blue"}`, code: 201},
		"or are refused":                        {spec: `{"wings":2}`, query: "?fieldValidation=Strict", want: `Boat in version "v1" cannot be handled as a Boat: strict decoding error: unknown field "spec.wings"`, code: 400},
		"fields given twice are refused":        {spec: `{"color":"red","color":"blue"}`, query: "?fieldValidation=Strict", want: `Boat in version "v1" cannot be handled as a Boat: strict decoding error: duplicate field "spec.color"`, code: 400},
		"what is preserved stays":               {spec: `{"free":{"a":{"b":[1,2.5,"x"]}}}`, want: `{"color":"blue","free":{"a":{"b":[1,2.5,"x"]}}}`, code: 201},
		"an object within":                      {spec: `{"pod":{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"},"spec":{"x":1}}}`, want: `{"color":"blue","pod":{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"},"spec":{"x":1}}}`, code: 201},
		"an object within is named properly":    {spec: `{"pod":{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p/q"}}}`, want: `spec.pod.metadata.name: Invalid value: "p/q": may not contain '/'`, code: 422},
		"unknown metadata within":               {spec: `{"pod":{"apiVersion":"v1","kind":"Pod","metadata":{"nam":"p"}}}`, query: "?fieldValidation=Strict", want: `Boat in version "v1" cannot be handled as a Boat: strict decoding error: unknown field "spec.pod.metadata.nam"`, code: 400},
		"a number or a string":                  {spec: `{"port":"http"}`, want: `{"color":"blue","port":"http"}`, code: 201},
		"neither":                               {spec: `{"port":true}`, want: `spec.port: Invalid value: "boolean": spec.port in body must be of type integer,string: "boolean"`, code: 422},
		"of the wrong type":                     {spec: `{"replicas":"x"}`, want: `spec.replicas: Invalid value: "string": spec.replicas in body must be of type integer: "string"`, code: 422},
		"too small":                             {spec: `{"replicas":-1}`, want: `spec.replicas: Invalid value: -1: spec.replicas in body should be greater than or equal to 0`, code: 422},
		"none of those":                         {spec: `{"color":"pink"}`, want: `spec.color: Unsupported value: "pink": supported values: "blue", "red", "green"`, code: 422},
		"a set has each once":                   {spec: `{"tags":["a","a"]}`, want: `spec.tags[1]: Duplicate value: "a"`, code: 422},
		"a map has each key once":               {spec: `{"crew":[{"name":"a"},{"name":"a","rank":"cook"}]}`, want: `spec.crew[1]: Duplicate value: {"name":"a"}`, code: 422},
		"a rule is broken":                      {spec: `{"replicas":11}`, want: `spec: Invalid value: at most ten`, code: 422},
		"rules wait for types":                  {spec: `{"replicas":"11"}`, want: `some validation rules were not checked because the object was invalid; correct the existing errors to complete validation`, code: 422},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			body := fmt.Sprintf(`{"apiVersion":"%s/v1","kind":"Boat","metadata":{"generateName":"b-"},"spec":%s,"status":{"ready":true}}`, c.group, tt.spec)
			got := admin.do(t, "POST", base+tt.query, body)
			if got.code != tt.code {
				t.Fatalf("HTTP %d, want %d: %s", got.code, tt.code, got.body)
			}
			if tt.code != 201 {
				if text := got.status().Message; !strings.Contains(text, tt.want) {
					t.Errorf("got  %s\nwant %s", text, tt.want)
				}
				return
			}
			u := into[map[string]any](t, got, 201)
			if spec, _ := json.Marshal(u["spec"]); string(spec) != tt.want {
				t.Errorf("stored %s, want %s", spec, tt.want)
			}
			if u["status"] != nil {
				t.Error("a status was created with the object")
			}
			if warned := got.header.Get("Warning"); (tt.warns == "") != (warned == "") || !strings.Contains(warned, strings.ReplaceAll(tt.warns, `"`, `\"`)) {
				t.Errorf("warned %q, want %q", warned, tt.warns)
			}
		})
	}
}

// The life of one object: updates of each part, generations, what may not change, patches, scale, deletion.
func TestCustomObjectLives(t *testing.T) {
	c := newCustom(t, api(t))
	c.define(c.definition("boats", "Boat", boats))
	ns := c.namespace(t)
	of := c.of("v1", "boats", ns)
	got, err := of.Create(t.Context(), c.object("metadata: {name: anna, labels: {a: b}}\nspec: {replicas: 3}"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w, err := of.Watch(t.Context(), metav1.ListOptions{ResourceVersion: got.GetResourceVersion()})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	seen := func(want string) {
		t.Helper()
		select {
		case e := <-w.ResultChan():
			u, _ := e.Object.(*unstructured.Unstructured)
			if u == nil || string(e.Type)+" "+u.GetName() != want {
				t.Errorf("watched %s %v, want %s", e.Type, e.Object, want)
			}
		case <-time.After(10 * time.Second):
			t.Errorf("nothing was watched, want %s", want)
		}
	}
	is := func(what string, u *unstructured.Unstructured, err error, generation int64, want string) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		meta := u.GetLabels()["a"]
		data, _ := json.Marshal(map[string]any{"spec": u.Object["spec"], "status": u.Object["status"], "a": meta})
		if u.GetGeneration() != generation || string(data) != want {
			t.Errorf("%s: generation %d, %s; want %d, %s", what, u.GetGeneration(), data, generation, want)
		}
	}
	e, err := c.Direct.Registry.Store.Get(t.Context(), "/registry/"+c.group+"/boats/"+ns+"/anna", 0)
	if err != nil {
		t.Fatal(err)
	}
	kept := regexp.MustCompile(`"(managedFields":\[.*?\]|uid":"[^"]*"|creationTimestamp":"[^"]*"),?`).ReplaceAllString(string(e.Value), "")
	if want := `{"apiVersion":"` + c.group + `/v1","kind":"Boat","metadata":{"generation":1,"labels":{"a":"b"},"name":"anna","namespace":"` + ns + `",},"spec":{"color":"blue","replicas":3}}` + "\n"; kept != want {
		t.Errorf("stored as %s, want %s", kept, want)
	}
	is("created", got, nil, 1, `{"a":"b","spec":{"color":"blue","replicas":3},"status":null}`)

	got.SetLabels(map[string]string{"a": "c"})
	got.Object["status"] = map[string]any{"ready": true}
	got, err = of.Update(t.Context(), got, metav1.UpdateOptions{})
	is("a label does not raise the generation, a status is ignored", got, err, 1, `{"a":"c","spec":{"color":"blue","replicas":3},"status":null}`)
	seen("MODIFIED anna")

	stale := got.DeepCopy()
	got.Object["status"] = map[string]any{"ready": true, "replicas": int64(2), "selector": "x=y"}
	got.SetLabels(map[string]string{"a": "d"})
	got.Object["spec"] = map[string]any{"replicas": int64(9)}
	got, err = of.UpdateStatus(t.Context(), got, metav1.UpdateOptions{})
	is("through its subresource the status alone changes", got, err, 1, `{"a":"c","spec":{"color":"blue","replicas":3},"status":{"ready":true,"replicas":2,"selector":"x=y"}}`)
	seen("MODIFIED anna")

	if _, err = of.Update(t.Context(), stale, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
		t.Errorf("an update of what is no longer there: %v", err)
	}
	got, err = of.Patch(t.Context(), "anna", types.MergePatchType, []byte(`{"spec":{"replicas":4,"crew":[{"name":"jo"}]}}`), metav1.PatchOptions{})
	is("a merge patch", got, err, 2, `{"a":"c","spec":{"color":"blue","crew":[{"name":"jo","rank":"sailor"}],"replicas":4},"status":{"ready":true,"replicas":2,"selector":"x=y"}}`)
	seen("MODIFIED anna")
	got, err = of.Patch(t.Context(), "anna", types.JSONPatchType, []byte(`[{"op":"remove","path":"/spec/crew"},{"op":"replace","path":"/spec/color","value":"red"}]`), metav1.PatchOptions{})
	is("a JSON patch", got, err, 3, `{"a":"c","spec":{"color":"red","replicas":4},"status":{"ready":true,"replicas":2,"selector":"x=y"}}`)
	seen("MODIFIED anna")
	if _, err = of.Patch(t.Context(), "anna", types.StrategicMergePatchType, []byte(`{}`), metav1.PatchOptions{}); !apierrors.IsUnsupportedMediaType(err) {
		t.Errorf("a strategic merge patch: %v", err)
	}
	if _, err = of.Patch(t.Context(), "anna", types.MergePatchType, []byte(`{"spec":{"color":"green"}}`), metav1.PatchOptions{}); err == nil || !strings.Contains(err.Error(), "painted once") {
		t.Errorf("a transition that a rule forbids: %v", err)
	}
	scale, err := of.Get(t.Context(), "anna", metav1.GetOptions{}, "scale")
	if err != nil {
		t.Fatal(err)
	}
	if data, _ := json.Marshal([]any{scale.Object["spec"], scale.Object["status"]}); string(data) != `[{"replicas":4},{"replicas":2,"selector":"x=y"}]` {
		t.Errorf("scale is %s", data)
	}
	if _, err = of.Patch(t.Context(), "anna", types.MergePatchType, []byte(`{"spec":{"replicas":7}}`), metav1.PatchOptions{}, "scale"); err != nil {
		t.Fatal(err)
	}
	got, err = of.Get(t.Context(), "anna", metav1.GetOptions{})
	is("scaled", got, err, 4, `{"a":"c","spec":{"color":"red","replicas":7},"status":{"ready":true,"replicas":2,"selector":"x=y"}}`)
	seen("MODIFIED anna")

	if _, err = of.Create(t.Context(), c.object("metadata: {name: berta}\nspec: {}"), metav1.CreateOptions{DryRun: []string{"All"}}); err != nil {
		t.Error(err)
	}
	if _, err = of.Create(t.Context(), c.object("metadata: {name: berta}\nspec: {}"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	seen("ADDED berta")
	if _, err = of.Get(t.Context(), "berta", metav1.GetOptions{}, "scale"); err == nil || !strings.Contains(err.Error(), `the spec replicas field ".spec.replicas" does not exist`) {
		t.Errorf("the scale of an object without replicas: %v", err)
	}
	list, err := of.List(t.Context(), metav1.ListOptions{FieldSelector: "spec.color=red"})
	if err != nil || len(list.Items) != 1 || list.Items[0].GetName() != "anna" {
		t.Errorf("by field: %v, %v", list, err)
	}
	admin := c.as(t, "admin")
	table := into[metav1.Table](t, admin.do(t, "GET", fmt.Sprintf("/apis/%s/v1/namespaces/%s/boats", c.group, ns), "", "Accept: application/json;as=Table;g=meta.k8s.io;v=v1"), 200)
	var rows []string
	for _, r := range table.Rows {
		rows = append(rows, strings.TrimSpace(fmt.Sprintln(r.Cells...)))
	}
	if want := []string{"anna 7 <nil>", "berta <nil> <nil>"}; !slices.Equal(rows, want) || table.ColumnDefinitions[2].Priority != 1 {
		t.Errorf("rows %q, want %q", rows, want)
	}
	if got := admin.do(t, "GET", fmt.Sprintf("/apis/%s/v1/namespaces/%s/boats", c.group, ns), "", "Accept: application/vnd.kubernetes.protobuf,application/json"); got.code != 200 || got.header.Get("Content-Type") != "application/json" {
		t.Errorf("HTTP %d, %s", got.code, got.header.Get("Content-Type"))
	}
	if err := of.DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{FieldSelector: "spec.color!=red"}); err != nil {
		t.Error(err)
	}
	seen("DELETED berta")
	if err := of.Delete(t.Context(), "anna", metav1.DeleteOptions{}); err != nil {
		t.Error(err)
	}
	seen("DELETED anna")
}

// A resource without namespaces is not found below one, nor the other way round; discovery shows it as soon as it is established.
func TestCustomScopes(t *testing.T) {
	c := newCustom(t, api(t))
	d := c.definition("seas", "Sea", "  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, properties: {depth: {type: integer}}}}}")
	d.Spec.Scope = apiextensionsv1.ClusterScoped
	c.define(d)
	admin := c.as(t, "admin")
	for path, want := range map[string]string{"/apis/" + c.group: `"preferredVersion":{"groupVersion":"` + c.group + `/v1"`, "/apis/" + c.group + "/v1": `"namespaced":false,"kind":"Sea"`} {
		if a := admin.do(t, "GET", path, ""); a.code != 200 || !strings.Contains(string(a.body), want) {
			t.Errorf("%s: HTTP %d, %s", path, a.code, a.body)
		}
	}
	sea := c.object("kind: Sea\nmetadata: {name: north}\ndepth: 95")
	if _, err := c.of("v1", "seas", "").Create(t.Context(), sea, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	ns := c.namespace(t)
	if _, err := c.of("v1", "seas", ns).Get(t.Context(), "north", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("below a namespace: %v", err)
	}
	if got := admin.do(t, "PUT", "/apis/"+c.group+"/v1/seas/north", text(c.group+"/v1", "Sea", "north")); got.code != 422 || !strings.Contains(string(got.body), "metadata.resourceVersion: Invalid value: 0: must be specified for an update") {
		t.Errorf("a PUT that does not say what it replaces: HTTP %d, %s", got.code, got.body)
	}
	if got := admin.do(t, "POST", "/apis/"+c.group+"/v1/seas", text(c.group+"/v1", "Sea", "Upper")); got.code != 422 {
		t.Errorf("a name that is none: HTTP %d, %s", got.code, got.body)
	}
	if got := admin.do(t, "POST", "/apis/"+c.group+"/v1/seas", text(c.group+"/v2", "Sea", "east")); got.code != 400 {
		t.Errorf("of another version: HTTP %d, %s", got.code, got.body)
	}
	if got := admin.do(t, "POST", "/apis/"+c.group+"/v1/seas", "k8s\x00", "Content-Type: application/vnd.kubernetes.protobuf"); got.code != 415 {
		t.Errorf("as protobuf: HTTP %d, %s", got.code, got.body)
	}
	if got := admin.do(t, "GET", "/apis/"+c.group+"/v1/seas/north", "", "Accept: application/vnd.kubernetes.protobuf"); got.code != 406 {
		t.Errorf("read as protobuf: HTTP %d, %s", got.code, got.body)
	}
	if got := admin.do(t, "POST", "/apis/"+c.group+"/v1/seas", text(c.group+"/v1", "Sea", "east", `"metadata":{"name":"east","nam":"x"}`), "Content-Type: application/json"); got.code != 201 || !strings.Contains(strings.Join(got.header.Values("Warning"), " "), `unknown field \"metadata.nam\"`) {
		t.Errorf("unknown metadata: HTTP %d, %v", got.code, got.header)
	}
	// As a kube-apiserver 1.37.2 answers.
	for body, want := range map[string]string{
		`{"apiVersion":"` + c.group + `/v1","kind":"Sea","metadata":{"name":1}}`: `400 Sea in version "v1" cannot be handled as a Sea: json: cannot unmarshal number into Go struct field ObjectMeta.name of type string`,
		`{"metadata":{"name":"q"},"spec":{"n":"a"}}`:                             `400 the object provided is unrecognized (must be of type Sea): Object 'Kind' is missing in '{"metadata":{"name":"q"},"spec":{"n":"a"}}' ({"metadata":{"name":"q"},"spec ...)`,
		text(c.group+"/v1", "Lake", "q"):                                         `422 Lake.` + c.group + ` "q" is invalid: kind: Invalid value: "Lake": must be Sea`,
		`{`:                                                                      "400 the object provided is unrecognized (must be of type Sea): couldn't get version/kind; json parse error: unexpected end of JSON input ({)",
	} {
		if got := admin.do(t, "POST", "/apis/"+c.group+"/v1/seas", body); fmt.Sprint(got.code, " ", got.status().Message) != want {
			t.Errorf("%s:\n got %d %s\nwant %s", body, got.code, got.status().Message, want)
		}
	}
	if got := admin.do(t, "GET", "/apis/"+c.group+"/v1/seas/north/scale", ""); got.code != 404 || got.status().Message != "seas."+c.group+` "north" not found` {
		t.Errorf("a subresource that it has not: HTTP %d, %s", got.code, got.body)
	}
	if got := admin.do(t, "GET", "/apis/"+c.group+"/v1/seas", ""); !strings.Contains(string(got.body), `"metadata":{"continue":"","resourceVersion":`) || !strings.Contains(string(got.body), `"items":[{"kind":"Sea","apiVersion":"`+c.group+`/v1","metadata"`) {
		t.Errorf("a list: %s", got.body)
	}
}

// Server-side apply knows from the schema how lists merge; managers own what they wrote.
func TestCustomObjectsAreApplied(t *testing.T) {
	c := newCustom(t, api(t))
	c.define(c.definition("boats", "Boat", boats))
	of := c.of("v1", "boats", c.namespace(t))
	apply := func(manager, doc string, force bool) (*unstructured.Unstructured, error) {
		return of.Apply(t.Context(), "anna", c.object(doc), metav1.ApplyOptions{FieldManager: manager, Force: force})
	}
	if _, err := apply("one", "metadata: {name: anna}\nspec: {replicas: 1, crew: [{name: jo, rank: cook}], tags: [a]}", false); err != nil {
		t.Fatal(err)
	}
	got, err := apply("two", "metadata: {name: anna}\nspec: {crew: [{name: flo}], tags: [b]}", false)
	if data, _ := json.Marshal(got.Object["spec"]); err != nil || string(data) != `{"color":"blue","crew":[{"name":"jo","rank":"cook"},{"name":"flo","rank":"sailor"}],"replicas":1,"tags":["a","b"]}` {
		t.Errorf("merged: %s, %v", data, err)
	}
	if _, err := apply("two", "metadata: {name: anna}\nspec: {replicas: 2}", false); !apierrors.IsConflict(err) || !strings.Contains(err.Error(), `conflict with "one": .spec.replicas`) {
		t.Errorf("what another owns: %v", err)
	}
	got, err = apply("two", "metadata: {name: anna}\nspec: {replicas: 2}", true)
	if data, _ := json.Marshal(got.Object["spec"]); err != nil || string(data) != `{"color":"blue","crew":[{"name":"jo","rank":"cook"}],"replicas":2,"tags":["a"]}` {
		t.Errorf("taken over, and what two said no more is gone: %s, %v", data, err)
	}
	if _, err := of.Patch(t.Context(), "anna", types.MergePatchType, []byte(`{"spec":{"crew":[{"name":"jo","rank":"captain"}]}}`), metav1.PatchOptions{FieldManager: "three"}); err != nil {
		t.Fatal(err)
	}
	if _, err := apply("one", "metadata: {name: anna}\nspec: {crew: [{name: jo, rank: cook}]}", false); !apierrors.IsConflict(err) || !strings.Contains(err.Error(), `conflict with "three" using `+c.group+`/v1: .spec.crew[name="jo"].rank`) {
		t.Errorf("what an update took: %v", err)
	}
	if _, err := apply("one", "metadata: {name: anna}\nspec: {wings: 2}", false); err == nil || !strings.Contains(err.Error(), "field not declared in schema") {
		t.Errorf("an unknown field: %v", err)
	}
}

// What was stored as it may no longer be can still be changed elsewhere.
func TestCustomObjectsRatchet(t *testing.T) {
	c := newCustom(t, api(t))
	d := c.definition("boats", "Boat", "  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, properties: {a: {type: string}, b: {type: string}}}}}")
	c.define(d)
	of := c.of("v1", "boats", c.namespace(t))
	if _, err := of.Create(t.Context(), c.object("metadata: {name: anna}\na: much too long"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.change(d.Name, `{"spec":{"versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object","properties":{"a":{"type":"string","maxLength":3},"b":{"type":"string","default":"x"}}}}}]}}`)
	got, err := of.Get(t.Context(), "anna", metav1.GetOptions{})
	if err != nil || got.Object["b"] != "x" {
		t.Fatalf("read with defaults that came later: %v, %v", got, err)
	}
	if _, err := of.Patch(t.Context(), "anna", types.MergePatchType, []byte(`{"b":"y"}`), metav1.PatchOptions{}); err != nil {
		t.Errorf("what did not change is no reason to refuse: %v", err)
	}
	if _, err := of.Patch(t.Context(), "anna", types.MergePatchType, []byte(`{"a":"also long"}`), metav1.PatchOptions{}); !apierrors.IsInvalid(err) {
		t.Errorf("what did change is: %v", err)
	}
}

// change patches a definition and waits until it is served as it is now.
func (c *custom) change(name, patch string) {
	c.t.Helper()
	if _, err := c.crds.ApiextensionsV1().CustomResourceDefinitions().Patch(c.t.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		c.t.Fatal(err)
	}
	c.API.Settle(c.t.Context())
}
