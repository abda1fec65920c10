package role_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"encoding/pem"

	"github.com/lighter-k8s/lighter/config"
	"github.com/lighter-k8s/lighter/role"
	"github.com/lighter-k8s/lighter/store/storetest"
)

const anything = "  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}"

// Of two definitions that want one name the second waits until the first gives it up.
func TestNamesAreAccepted(t *testing.T) {
	c := newCustom(t, api(t))
	first := c.definition("boats", "Boat", anything)
	first.Spec.Names.ShortNames = []string{"bt"}
	c.define(first)
	second := c.definition("ships", "Ship", anything)
	second.Spec.Names.ShortNames = []string{"bt"}
	crds := c.crds.ApiextensionsV1().CustomResourceDefinitions()
	if _, err := crds.Create(t.Context(), second, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.until(second.Name, func(d *apiextensionsv1.CustomResourceDefinition) bool {
		return condition(d, apiextensionsv1.NamesAccepted) == "False ShortNamesConflict" && condition(d, apiextensionsv1.Established) == "False NotAccepted"
	})
	ns := c.namespace(t)
	if _, err := c.of("v1", "ships", ns).List(t.Context(), metav1.ListOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("what is not established is served: %v", err)
	}
	c.change(first.Name, `{"spec":{"names":{"shortNames":["b"]}}}`)
	c.established(second.Name)
	if _, err := c.of("v1", "ships", ns).List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Error(err)
	}
}

// A definition that is deleted takes its objects with it, refuses new ones, and waits for those that are held.
func TestDefinitionsEnd(t *testing.T) {
	c := newCustom(t, api(t))
	d := c.definition("boats", "Boat", anything)
	c.define(d)
	of := c.of("v1", "boats", c.namespace(t))
	for _, doc := range []string{"metadata: {name: free}", "metadata: {name: held, finalizers: [example.com/mine]}"} {
		if _, err := of.Create(t.Context(), c.object(doc), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	w, err := of.Watch(t.Context(), metav1.ListOptions{ResourceVersion: "0", FieldSelector: "metadata.name=held"})
	if err != nil {
		t.Fatal(err)
	}
	crds := c.crds.ApiextensionsV1().CustomResourceDefinitions()
	if err := crds.Delete(t.Context(), d.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.until(d.Name, func(d *apiextensionsv1.CustomResourceDefinition) bool {
		return condition(d, apiextensionsv1.Terminating) == "True InstanceDeletionInProgress"
	})
	if _, err := of.Get(t.Context(), "free", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("an object outlives its definition: %v", err)
	}
	if _, err := of.Create(t.Context(), c.object("metadata: {name: late}"), metav1.CreateOptions{}); !apierrors.IsMethodNotSupported(err) || !strings.Contains(err.Error(), "create not allowed while custom resource definition is terminating") {
		t.Errorf("a new object of a definition that goes: %v", err)
	}
	if _, err := of.Patch(t.Context(), "held", types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	c.until(d.Name, func(d *apiextensionsv1.CustomResourceDefinition) bool { return d == nil })
	c.API.Settle(t.Context())
	if _, err := of.List(t.Context(), metav1.ListOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("what has no definition is served: %v", err)
	}
	var last string
	for e := range w.ResultChan() { // which ends with the definition
		last = string(e.Type)
	}
	if last != "DELETED" {
		t.Errorf("the last that was watched is %s", last)
	}
	c.define(d)
	if list, err := of.List(t.Context(), metav1.ListOptions{}); err != nil || len(list.Items) != 0 {
		t.Errorf("made anew it is not empty: %v, %v", list, err)
	}
}

const twoVersions = `  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, properties: {host: {type: string}, port: {type: integer}}}}
  - name: v2
    served: true
    storage: false
    deprecated: true
    schema: {openAPIV3Schema: {type: object, properties: {hostPort: {type: string}, host: {type: string}}}}
`

// Without a webhook only apiVersion differs between versions, and what a version does not know is not shown in it.
func TestVersionsWithoutConversion(t *testing.T) {
	c := newCustom(t, api(t))
	d := c.definition("boats", "Boat", twoVersions)
	c.define(d)
	ns := c.namespace(t)
	if _, err := c.of("v1", "boats", ns).Create(t.Context(), c.object("metadata: {name: anna}\nhost: a\nport: 1"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	show := func(version string) string {
		t.Helper()
		u, err := c.of(version, "boats", ns).Get(t.Context(), "anna", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(u.GetAPIVersion()[len(c.group):], " ", u.Object["host"], " ", u.Object["port"])
	}
	if got := show("v1") + ", " + show("v2"); got != "/v1 a 1, /v2 a <nil>" {
		t.Error(got)
	}
	// The stored version changes: what was stored stays as it is until it is written.
	c.change(d.Name, `{"spec":{"versions":[`+
		`{"name":"v1","served":true,"storage":false,"schema":{"openAPIV3Schema":{"type":"object","properties":{"host":{"type":"string"},"port":{"type":"integer"}}}}},`+
		`{"name":"v2","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object","properties":{"host":{"type":"string"}}}}}]}}`)
	if got := show("v1") + ", " + show("v2"); got != "/v1 a 1, /v2 a <nil>" {
		t.Error(got)
	}
	got, err := c.crds.ApiextensionsV1().CustomResourceDefinitions().Get(t.Context(), d.Name, metav1.GetOptions{})
	if err != nil || strings.Join(got.Status.StoredVersions, " ") != "v1 v2" {
		t.Errorf("stored versions %v, %v", got.Status.StoredVersions, err)
	}
	if a := c.as(t, "admin").do(t, "GET", "/apis/"+c.group, ""); !strings.Contains(string(a.body), `"preferredVersion":{"groupVersion":"`+c.group+`/v2"`) {
		t.Errorf("the newest version is not preferred: %s", a.body)
	}
	c.change(d.Name, `{"spec":{"versions":[`+
		`{"name":"v1","served":false,"storage":false,"schema":{"openAPIV3Schema":{"type":"object"}}},`+
		`{"name":"v2","served":true,"storage":true,"deprecated":true,"schema":{"openAPIV3Schema":{"type":"object","properties":{"host":{"type":"string"}}}}}]}}`)
	if _, err := c.of("v1", "boats", ns).List(t.Context(), metav1.ListOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("a version that is not served: %v", err)
	}
	a := c.as(t, "admin").do(t, "GET", fmt.Sprintf("/apis/%s/v2/namespaces/%s/boats", c.group, ns), "")
	if want := fmt.Sprintf(`299 - "%s/v2 Boat is deprecated"`, c.group); a.header.Get("Warning") != want {
		t.Errorf("warned %q, want %q", a.header.Get("Warning"), want)
	}
}

// What is left out of a status shows its default from the first answer on, and a definition that says the same in other words is the same.
func TestDefaultsOfAStatus(t *testing.T) {
	c := newCustom(t, api(t))
	d := c.definition("boats", "Boat", `  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    schema: {openAPIV3Schema: {type: object, properties: {status: {type: object, default: {b: 1, a: moored}, x-kubernetes-preserve-unknown-fields: true}}}}
`)
	c.define(d)
	made, err := c.of("v1", "boats", c.namespace(t)).Create(t.Context(), c.object("metadata: {name: anna}\nstatus: {a: afloat}"), metav1.CreateOptions{})
	if err != nil || fmt.Sprint(made.Object["status"]) != "map[a:moored b:1]" {
		t.Errorf("made with status %v, %v", made.Object["status"], err)
	}
	a := c.as(t, "admin").do(t, "PATCH", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/"+d.Name, `[{"op": "add", "path": "/spec/versions/0/schema/openAPIV3Schema/properties/status/default",
		"value": { "b" : 1, "a": "moored" }}]`, "Content-Type: application/json-patch+json")
	var got apiextensionsv1.CustomResourceDefinition
	if err := json.Unmarshal(a.body, &got); err != nil || a.code != http.StatusOK || got.Generation != 1 {
		t.Errorf("%d, generation %d, %v: %.200s", a.code, got.Generation, err, a.body)
	}
}

// A webhook converts, and what it must not change it does not.
func TestConversionWebhook(t *testing.T) {
	c := newCustom(t, api(t))
	fail, calls := "", 0
	hook := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var review apiextensionsv1.ConversionReview
		data, err := io.ReadAll(r.Body)
		if err == nil {
			err = json.Unmarshal(data, &review)
		}
		if err != nil || r.URL.Path != "/convert" {
			http.Error(w, fmt.Sprint(err, r.URL.Path), http.StatusBadRequest)
			return
		}
		calls++ // requests come one after the other
		answer := &apiextensionsv1.ConversionResponse{UID: review.Request.UID, Result: metav1.Status{Status: metav1.StatusSuccess}}
		if fail != "" {
			answer.Result = metav1.Status{Status: metav1.StatusFailure, Message: fail}
		}
		for _, o := range review.Request.Objects {
			u := &unstructured.Unstructured{}
			if err := u.UnmarshalJSON(o.Raw); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			u.SetAPIVersion(review.Request.DesiredAPIVersion)
			if both, ok := u.Object["hostPort"].(string); ok {
				host, port, _ := strings.Cut(both, ":")
				var n int64
				fmt.Sscan(port, &n)
				u.Object["host"], u.Object["port"] = host, n
				delete(u.Object, "hostPort")
			} else {
				u.Object["hostPort"] = fmt.Sprintf("%v:%v", u.Object["host"], u.Object["port"])
				delete(u.Object, "host")
				delete(u.Object, "port")
			}
			u.SetLabels(map[string]string{"converted": "yes"})
			u.SetFinalizers([]string{"example.com/never"})
			data, _ := u.MarshalJSON()
			answer.ConvertedObjects = append(answer.ConvertedObjects, runtime.RawExtension{Raw: data})
		}
		review.Request, review.Response = nil, answer
		json.NewEncoder(w).Encode(review)
	}))
	defer hook.Close()
	d := c.definition("boats", "Boat", twoVersions)
	url := hook.URL + "/convert"
	d.Spec.Conversion = &apiextensionsv1.CustomResourceConversion{Strategy: apiextensionsv1.WebhookConverter, Webhook: &apiextensionsv1.WebhookConversion{
		ConversionReviewVersions: []string{"v1"}, ClientConfig: &apiextensionsv1.WebhookClientConfig{URL: &url,
			CABundle: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: hook.Certificate().Raw})}}}
	c.define(d)
	ns := c.namespace(t)
	one, two := c.of("v1", "boats", ns), c.of("v2", "boats", ns)
	if _, err := one.Create(t.Context(), c.object("metadata: {name: anna}\nhost: a\nport: 1"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	berta := c.object("metadata: {name: berta}\nhostPort: b:2")
	berta.SetAPIVersion(c.group + "/v2")
	if _, err := two.Create(t.Context(), berta, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	show := func(list *unstructured.UnstructuredList, err error) (out string) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range list.Items {
			if len(u.GetFinalizers()) > 0 || u.GetUID() == "" {
				t.Errorf("a webhook changed metadata: %v", u.Object["metadata"])
			}
			out += fmt.Sprint(u.GetName(), " ", u.Object["hostPort"], " ", u.Object["host"], " ", u.Object["port"], "; ")
		}
		return out
	}
	if got := show(one.List(t.Context(), metav1.ListOptions{})); got != "anna <nil> a 1; berta <nil> b 2; " {
		t.Error(got)
	}
	if got := show(two.List(t.Context(), metav1.ListOptions{})); got != "anna a:1 <nil> <nil>; berta b:2 <nil> <nil>; " {
		t.Error(got)
	}
	got, err := two.Patch(t.Context(), "anna", types.MergePatchType, []byte(`{"hostPort":"c:3"}`), metav1.PatchOptions{})
	if err != nil || got.GetGeneration() != 2 || got.Object["hostPort"] != "c:3" {
		t.Errorf("patched in another version: %v, %v", got, err)
	}
	if got, err := one.Get(t.Context(), "anna", metav1.GetOptions{}); err != nil || got.Object["port"] != int64(3) {
		t.Errorf("seen in the stored version: %v, %v", got, err)
	}
	for n := range 20 {
		if _, err := one.Create(t.Context(), c.object(fmt.Sprintf("metadata: {name: c%d}\nhost: c", n)), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []int{1, 0} { // all that are new at once, and what is known not again
		calls = 0
		if list, err := two.List(t.Context(), metav1.ListOptions{}); err != nil || len(list.Items) != 22 || calls != want {
			t.Errorf("%d objects by %d calls, want %d: %v", len(list.Items), calls, want, err)
		}
	}
	if _, err := one.Patch(t.Context(), "anna", types.MergePatchType, []byte(`{"port":4}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	fail = "no more"
	if _, err := two.Get(t.Context(), "anna", metav1.GetOptions{}); !apierrors.IsInternalError(err) || !strings.Contains(err.Error(), "conversion webhook for "+c.group+"/v1, Kind=Boat failed: no more") {
		t.Errorf("a webhook that fails: %v", err)
	}
	if _, err := one.Get(t.Context(), "anna", metav1.GetOptions{}); err != nil {
		t.Errorf("what needs no conversion: %v", err)
	}
}

// What is defined survives the server, wherever it ends: established definitions are served before it is ready again, a deletion
// goes on; custom and built-in objects own each other, and namespaces take both along.
func TestCustomResourcesSurvive(t *testing.T) {
	dir := t.TempDir()
	var end func()
	var undo func(role.Undo) (string, error)
	start := func() *custom {
		s := serve(t, dir, func(c *config.Config) { c.Server.Disable = []string{"scheduler", "cloud-controllers"} })
		end, undo = s.end, s.undo
		p := &plane{}
		var err error
		if p.admin, err = clientcmd.BuildConfigFromFlags("", role.KubeconfigPath(dir)); err != nil {
			t.Fatal(err)
		}
		if p.typed, err = kubernetes.NewForConfig(p.admin); err != nil {
			t.Fatal(err)
		}
		return newCustom(t, p)
	}
	c := start()
	d := c.definition("boats", "Boat", anything)
	c.define(d)
	for _, ns := range []string{"harbour", "sea"} {
		if _, err := c.typed.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := c.of("v1", "boats", ns).Create(t.Context(), c.object("metadata: {name: anna}"), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	end()
	c = start()
	of := c.of("v1", "boats", "harbour")
	anna, err := of.Get(t.Context(), "anna", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if anna, err = of.Patch(t.Context(), "anna", types.MergePatchType, []byte(`{"crew":"jo"}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	good := anna.GetResourceVersion()
	if _, err := of.Patch(t.Context(), "anna", types.MergePatchType, []byte(`{"crew":"nobody"}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	out, err := undo(role.Undo{Object: "boat/anna", Namespace: "harbour", At: good})
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if anna, err = of.Get(t.Context(), "anna", metav1.GetOptions{}); err != nil || anna.Object["crew"] != "jo" {
		t.Errorf("brought back: %v, %v, %s", anna, err, out)
	}
	// A ConfigMap that a Boat owns, and a Boat that the ConfigMap owns.
	owned := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "log", OwnerReferences: []metav1.OwnerReference{{APIVersion: anna.GetAPIVersion(), Kind: "Boat", Name: "anna", UID: anna.GetUID()}}}}
	if owned, err = c.typed.CoreV1().ConfigMaps("harbour").Create(t.Context(), owned, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	dinghy := c.object("metadata: {name: dinghy}")
	dinghy.SetOwnerReferences([]metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: "log", UID: owned.UID}})
	if _, err := of.Create(t.Context(), dinghy, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := of.Delete(t.Context(), "anna", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	gone := func(what string, get func() error) {
		t.Helper()
		for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
			if err := get(); apierrors.IsNotFound(err) {
				return
			} else if time.Since(began) > 30*time.Second {
				t.Fatalf("%s is still there: %v", what, err)
			}
		}
	}
	gone("what was owned by what was owned", func() error { _, err := of.Get(t.Context(), "dinghy", metav1.GetOptions{}); return err })
	if err := c.typed.CoreV1().Namespaces().Delete(t.Context(), "sea", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	gone("the namespace", func() error {
		_, err := c.typed.CoreV1().Namespaces().Get(t.Context(), "sea", metav1.GetOptions{})
		return err
	})
	if _, err := c.of("v1", "boats", "sea").Get(t.Context(), "anna", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("an object outlives its namespace: %v", err)
	}

	if _, err := of.Create(t.Context(), c.object("metadata: {name: held, finalizers: [example.com/mine]}"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := c.crds.ApiextensionsV1().CustomResourceDefinitions().Delete(t.Context(), d.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	end()
	c = start()
	c.until(d.Name, func(d *apiextensionsv1.CustomResourceDefinition) bool {
		return condition(d, apiextensionsv1.Terminating) == "True InstanceDeletionInProgress"
	})
	if _, err := c.of("v1", "boats", "harbour").Patch(t.Context(), "held", types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	c.until(d.Name, func(d *apiextensionsv1.CustomResourceDefinition) bool { return d == nil })
	end()
}

// Documents describe what is defined, from the moment on when it is served; those of others stay as they are.
func TestCustomResourcesAreDescribed(t *testing.T) {
	c := newCustom(t, api(t))
	admin := c.as(t, "admin")
	tags := func() (v2, own, apps string) {
		return admin.do(t, "GET", "/openapi/v2", "").header.Get("ETag"), admin.do(t, "GET", "/openapi/v3/apis/"+c.group+"/v1", "").header.Get("ETag"),
			admin.do(t, "GET", "/openapi/v3/apis/apps/v1", "").header.Get("ETag")
	}
	v2, own, apps := tags()
	if own != "" {
		t.Error("a group is described that is not there")
	}
	d := c.definition("boats", "Boat", boats)
	c.define(d)
	loose := c.definition("rafts", "Raft", "  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, description: of anything, x-kubernetes-preserve-unknown-fields: true, properties: {a: {type: string}}}}}")
	c.define(loose)
	c.API.Settle(t.Context())
	v2now, ownNow, appsNow := tags()
	if v2now == v2 || ownNow == "" || appsNow != apps {
		t.Errorf("tags: v2 %s, then %s; own %s; apps %s, then %s", v2, v2now, ownNow, apps, appsNow)
	}
	type schema struct {
		Type, Description string
		Properties        map[string]json.RawMessage
		Kinds             []metav1.GroupVersionKind `json:"x-kubernetes-group-version-kind"`
	}
	prefix := "com.example." + strings.TrimSuffix(c.group, ".example.com") + ".v1."
	doc := into[struct {
		Paths      map[string]json.RawMessage
		Components struct{ Schemas map[string]schema }
	}](t, admin.do(t, "GET", "/openapi/v3/apis/"+c.group+"/v1", ""), 200)
	boat := doc.Components.Schemas[prefix+"Boat"]
	if boat.Description != "A boat that floats." || len(boat.Kinds) != 1 || boat.Kinds[0].Kind != "Boat" || boat.Properties["metadata"] == nil || boat.Properties["spec"] == nil {
		t.Errorf("v3 says %v", boat)
	}
	if doc.Components.Schemas[prefix+"BoatList"].Properties["items"] == nil || doc.Paths["/apis/"+c.group+"/v1/namespaces/{namespace}/boats/{name}/scale"] == nil {
		t.Error("v3 lacks the list or a subresource")
	}
	old := into[struct{ Definitions map[string]schema }](t, admin.do(t, "GET", "/openapi/v2", ""), 200)
	if old.Definitions[prefix+"Boat"].Properties["spec"] == nil {
		t.Error("v2 lacks the schema")
	}
	if raft := old.Definitions[prefix+"Raft"]; raft.Type != "object" || raft.Description != "of anything" || raft.Properties != nil {
		t.Errorf("v2 says of what may have anything: %v", raft)
	}
	for _, path := range []string{"/openapi/v2", "/openapi/v3/apis/" + c.group + "/v1"} {
		media := "application/com.github.proto-openapi.spec." + path[9:11] + ".v1.0+protobuf"
		if a := admin.do(t, "GET", path, "", "Accept: application/com.github.proto-openapi.spec."+path[9:11]+"@v1.0+protobuf"); a.code != 200 || a.header.Get("Content-Type") != media {
			t.Errorf("%s as protobuf: HTTP %d, %s", path, a.code, a.header.Get("Content-Type"))
		}
	}
	if err := c.crds.ApiextensionsV1().CustomResourceDefinitions().DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{FieldSelector: "metadata.name=" + d.Name}); err != nil {
		t.Fatal(err)
	}
	c.until(d.Name, func(d *apiextensionsv1.CustomResourceDefinition) bool { return d == nil })
	c.API.Settle(t.Context())
	if a := admin.do(t, "GET", "/openapi/v3/apis/"+c.group+"/v1", ""); strings.Contains(string(a.body), prefix+"Boat") {
		t.Error("what is gone is still described")
	}
}

// Servers that share a store serve what any of them was told.
func TestDefinitionsOfSeveralServers(t *testing.T) {
	endpoint := storetest.Etcd(t)
	shared := func(c *config.Config) { c.Server.Store, c.Server.Etcd.Endpoints = "etcd", []string{endpoint} }
	open := func(dir string) *custom {
		serve(t, dir, shared)
		p := &plane{}
		var err error
		if p.admin, err = clientcmd.BuildConfigFromFlags("", role.KubeconfigPath(dir)); err != nil {
			t.Fatal(err)
		}
		p.admin.QPS = -1
		return newCustom(t, p)
	}
	a, b := open(t.TempDir()), open(t.TempDir())
	for n := range 10 {
		plural := fmt.Sprint("boats", n)
		d := a.definition(plural, fmt.Sprint("Boat", n), anything)
		a.define(d)
		u := a.object("metadata: {name: anna}")
		u.SetKind(fmt.Sprint("Boat", n))
		if _, err := b.of("v1", plural, "default").Create(t.Context(), u, metav1.CreateOptions{}); err != nil {
			t.Fatalf("round %d: what one server has established another does not serve: %v", n, err)
		}
		if _, err := a.of("v1", plural, "default").Get(t.Context(), "anna", metav1.GetOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := b.crds.ApiextensionsV1().CustomResourceDefinitions().Delete(t.Context(), d.Name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		a.until(d.Name, func(d *apiextensionsv1.CustomResourceDefinition) bool { return d == nil })
	}
}
