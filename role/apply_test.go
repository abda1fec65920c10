package role_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	appsapply "k8s.io/client-go/applyconfigurations/apps/v1"
	autoscalingapply "k8s.io/client-go/applyconfigurations/autoscaling/v1"
	coreapply "k8s.io/client-go/applyconfigurations/core/v1"
	metaapply "k8s.io/client-go/applyconfigurations/meta/v1"
)

const applyYAML = "Content-Type: application/apply-patch+yaml"

// TestApply tells the rules of server-side apply as stories about one object each. Source: Kubernetes documentation,
// Server-Side Apply; API comments of PatchOptions and ManagedFieldsEntry.
func TestApply(t *testing.T) {
	p := api(t)
	admin := p.as(t, "admin")
	ns := p.namespace(t)
	maps := "/api/v1/namespaces/" + ns + "/configmaps/"
	deployments := "/apis/apps/v1/namespaces/" + ns + "/deployments/"
	m := func(name, rest string) string {
		return "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: " + name + "\n" + rest
	}
	d := func(name, rest string) string {
		return "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: " + name + "\nspec:\n  selector: {matchLabels: {a: b}}\n" + rest
	}
	const template = "  template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: i"
	type step struct {
		what, by, query, path, body string
		code                        int
		want                        string // of a success the owners and what is said, of a failure the message
	}
	stories := map[string][]step{
		"made, nothing changed, taken away": {
			{"is made", "one", "", maps + "a", m("a", "data: {x: '1', z: '2'}"), 201, `one Apply v1 {"f:data":{"f:x":{},"f:z":{}}} | map[x:1 z:2]`},
			{"again", "one", "", maps + "a", m("a", "data: {x: '1', z: '2'}"), 200, `same`},
			{"a field that is no more applied goes", "one", "", maps + "a", m("a", "data: {x: '1'}"), 200, `one Apply v1 {"f:data":{"f:x":{}}} | map[x:1]`},
			{"as JSON", "one", "", maps + "a", text("v1", "ConfigMap", "a", `"data":{"x":"3"}`), 200, `one Apply v1 {"f:data":{"f:x":{}}} | map[x:3]`},
			{"nothing at all", "one", "", maps + "a", m("a", ""), 200, ` | map[]`},
		},
		"shared": {
			{"is made", "one", "", maps + "b", m("b", "data: {x: '1'}"), 201, `one Apply v1 {"f:data":{"f:x":{}}} | map[x:1]`},
			{"the same by another", "two", "", maps + "b", m("b", "data: {x: '1'}"), 200, "one Apply v1 {\"f:data\":{\"f:x\":{}}}\ntwo Apply v1 without time or type {\"f:data\":{\"f:x\":{}}} | map[x:1]"},
			{"one lets go: it stays", "one", "", maps + "b", m("b", "data: {z: '1'}"), 200, "one Apply v1 {\"f:data\":{\"f:z\":{}}}\ntwo Apply v1 without time or type {\"f:data\":{\"f:x\":{}}} | map[x:1 z:1]"},
			{"the last lets go", "two", "", maps + "b", m("b", ""), 200, "one Apply v1 {\"f:data\":{\"f:z\":{}}} | map[z:1]"},
		},
		"conflicts": {
			{"is made", "one", "", maps + "c", m("c", "data: {x: '1', z: '1'}"), 201, `one Apply v1 {"f:data":{"f:x":{},"f:z":{}}} | map[x:1 z:1]`},
			{"one field", "two", "", maps + "c", m("c", "data: {x: '2'}"), 409, `Apply failed with 1 conflict: conflict with "one": .data.x`},
			{"two fields", "two", "&force=false", maps + "c", m("c", "data: {x: '2', z: '2'}"), 409, "Apply failed with 2 conflicts: conflicts with \"one\":\n- .data.x\n- .data.z"},
			{"by force", "two", "&force=true", maps + "c", m("c", "data: {x: '2'}"), 200, "one Apply v1 {\"f:data\":{\"f:z\":{}}}\ntwo Apply v1 {\"f:data\":{\"f:x\":{}}} | map[x:2 z:1]"},
			{"without writing", "one", "&force=true&dryRun=All", maps + "c", m("c", "data: {x: '3'}"), 200, "one Apply v1 {\"f:data\":{\"f:x\":{}}} | map[x:3]"},
			{"which it did not", "one", "", maps + "c", m("c", "data: {z: '1'}"), 200, "same"},
		},
		"made without writing": {
			{"dry run", "one", "&dryRun=All", maps + "d", m("d", "data: {x: '1'}"), 201, `one Apply v1 {"f:data":{"f:x":{}}} | map[x:1]`},
			{"a part of it", "one", "", "/api/v1/namespaces/" + ns + "/pods/d/status", "apiVersion: v1\nkind: Pod\nmetadata: {name: d}", 404, `pods "d" not found`},
		},
		"what an apply must say": {
			{"who", "", "", maps + "e", m("e", ""), 422, `PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch`},
			{"a kind", "one", "", maps + "e", "metadata: {name: e}", 400, "invalid object type: /, Kind="},
			{"this kind", "one", "", maps + "e", "apiVersion: v1\nkind: Secret\nmetadata: {name: e}", 400, "invalid object type: /v1, Kind=Secret"},
			{"this version", "one", "", deployments + "e", "apiVersion: apps/v1beta1\nkind: Deployment\nmetadata: {name: e}", 400, "invalid object type: apps/v1beta1, Kind=Deployment"},
			{"this name", "one", "", maps + "e", m("f", ""), 400, `the name of the object (f) does not match the name on the URL (e)`},
			{"a name", "one", "", maps + "e", "apiVersion: v1\nkind: ConfigMap\nmetadata: {generateName: e-}", 400, `the name of the object (e based on URL) was undeterminable: name must be provided`},
			{"this namespace", "one", "", maps + "e", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: e, namespace: other}", 400, `the namespace of the provided object does not match the namespace sent on the request`},
			{"something", "one", "", maps + "e", "", 400, "invalid object type: /, Kind="},
			{"YAML", "one", "", maps + "e", "a: b: c", 400, "error encoding patch: yaml: mapping values are not allowed in this context"},
			{"an object", "one", "", maps + "e", "- a", 400, "error decoding patch: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal array into Go value of type map[string]interface {}"},
			{"known fields", "one", "", maps + "e", m("e", "dat: {}"), 500, "failed to create typed patch object (/e; /v1, Kind=ConfigMap): .dat: field not declared in schema"},
			{"known fields at any level", "one", "&fieldValidation=Ignore", maps + "e", m("e", "dat: {}"), 500, "failed to create typed patch object (/e; /v1, Kind=ConfigMap): .dat: field not declared in schema"},
			{"values of their type", "one", "", maps + "e", m("e", "data: {x: 1}"), 500, "failed to create typed patch object (/e; /v1, Kind=ConfigMap): .data.x: expected string, got &value.valueUnstructured{Value:1}"},
			{"no item twice", "one", "", deployments + "e", d("e", template+"}, {name: c}]}}"), 500, "failed to create typed patch object (/e; apps/v1, Kind=Deployment): .spec.template.spec.containers: duplicate entries for key [name=\"c\"]"},
			{"no managers", "one", "", maps + "e", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: e, managedFields: []}", 400, "metadata.managedFields must be nil"},
			{"what is valid", "one", "", maps + "e", m("e", "data: {'a b': c}"), 422, `ConfigMap "e" is invalid: data[a b]: Invalid value: "a b": a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')`},
			{"a namespace that is there", "one", "", "/api/v1/namespaces/nowhere/configmaps/e", m("e", ""), 404, `namespaces "nowhere" not found`},
			{"no more than an object of its own", "one", "", maps + "e", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: e, uid: 88e00824-7f0e-11e8-94a1-c8d3ffb15800}", 409,
				`Operation cannot be fulfilled on configmaps "e": uid mismatch: the provided object specified uid 88e00824-7f0e-11e8-94a1-c8d3ffb15800, and no existing object was found`},
			{"of two documents the first", "one", "", maps + "e", m("e", "data: {x: '1'}\n---\n"+m("f", "")), 201, `one Apply v1 {"f:data":{"f:x":{}}} | map[x:1]`},
			{"not another object", "one", "", maps + "e", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: e, uid: 88e00824-7f0e-11e8-94a1-c8d3ffb15800}", 422,
				`ConfigMap "e" is invalid: metadata.uid: Invalid value: "88e00824-7f0e-11e8-94a1-c8d3ffb15800": field is immutable`},
			{"not an older one", "one", "", maps + "e", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: e, resourceVersion: '1'}", 409,
				`Operation cannot be fulfilled on configmaps "e": the object has been modified; please apply your changes to the latest version and try again`},
			{"no name needed when it is there", "one", "", maps + "e", "apiVersion: v1\nkind: ConfigMap\ndata: {x: '2'}", 200, `one Apply v1 {"f:data":{"f:x":{}}} | map[x:2]`},
		},
		"made with the version of a list": {
			{"is made", "one", "", maps + "g", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: g, resourceVersion: '1'}", 201, ` | map[]`},
		},
		"keys given twice": {
			{"strictly", "one", "&fieldValidation=Strict", maps + "h", m("h", "data: {x: '1'}\ndata: {x: '2'}"), 400, "error strict decoding YAML: error converting YAML to JSON: yaml: unmarshal errors:\n  line 6: key \"data\" already set in map"},
			{"with a warning", "one", "", maps + "h", m("h", "data: {x: '1'}\ndata: {x: '2'}"), 201, `one Apply v1 {"f:data":{"f:x":{}}} | map[x:2] | 299 - "line 6: key \"data\" already set in map"`},
			{"ignored", "one", "&fieldValidation=Ignore", maps + "h", m("h", "data: {x: '1'}\ndata: {x: '3'}"), 200, `one Apply v1 {"f:data":{"f:x":{}}} | map[x:3]`},
			{"in JSON", "one", "", maps + "h", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"h"},"data":{"x":"1","x":"4"}}`, 200, `one Apply v1 {"f:data":{"f:x":{}}} | map[x:4] | 299 - "line 1: key \"x\" already set in map"`},
		},
		"items of a list have owners of their own": {
			{"one container", "one", "", deployments + "i", d("i", template+", ports: [{containerPort: 80}]}]}}"), 201,
				`one Apply apps/v1 {"f:spec":{"f:selector":{},"f:template":{"f:metadata":{"f:labels":{"f:a":{}}},"f:spec":{"f:containers":{"k:{\"name\":\"c\"}":{".":{},"f:image":{},"f:name":{},"f:ports":{"k:{\"containerPort\":80,\"protocol\":\"TCP\"}":{".":{},"f:containerPort":{}}}}}}}}}`},
			{"a second, and its replicas", "two", "", deployments + "i", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: i}\nspec: {replicas: 2, template: {spec: {containers: [{name: d, image: j}]}}}", 200,
				`one Apply apps/v1 {"f:spec":{"f:selector":{},"f:template":{"f:metadata":{"f:labels":{"f:a":{}}},"f:spec":{"f:containers":{"k:{\"name\":\"c\"}":{".":{},"f:image":{},"f:name":{},"f:ports":{"k:{\"containerPort\":80,\"protocol\":\"TCP\"}":{".":{},"f:containerPort":{}}}}}}}}}` + "\n" +
					`two Apply apps/v1 {"f:spec":{"f:replicas":{},"f:template":{"f:spec":{"f:containers":{"k:{\"name\":\"d\"}":{".":{},"f:image":{},"f:name":{}}}}}}}`},
			{"a status is not applied with it", "three", "", deployments + "i", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: i}\nspec: {paused: true}\nstatus: {replicas: 7}", 200,
				`three Apply apps/v1 {"f:spec":{"f:paused":{}}}`},
			{"nor anything else with a status", "three", "", deployments + "i/status", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: i, labels: {a: b}}\nspec: {paused: false}\nstatus: {replicas: 7}", 200,
				`three Apply apps/v1 status {"f:status":{"f:replicas":{}}}`},
		},
	}
	for name, story := range stories {
		t.Run(name, func(t *testing.T) {
			before := ""
			for _, s := range story {
				a := admin.do(t, "PATCH", s.path+"?fieldManager="+s.by+s.query, s.body, applyYAML)
				if a.code != s.code {
					t.Fatalf("%s: HTTP %d, want %d: %s", s.what, a.code, s.code, a.body)
				}
				if a.code >= 400 {
					st := a.status()
					if want := strings.ReplaceAll(s.want, "(/", "("+ns+"/"); st.Message != want && st.Message != s.want {
						t.Errorf("%s:\n got %q\nwant %q", s.what, st.Message, want)
					}
					if strings.HasPrefix(s.want, "Apply failed") {
						var fields []string
						for _, c := range st.Details.Causes {
							fields = append(fields, string(c.Type)+" "+c.Message+" "+c.Field)
						}
						if got := fmt.Sprint(st.Reason, fields); !strings.HasPrefix(got, `Conflict[FieldManagerConflict conflict with "one" .data.x`) {
							t.Errorf("%s: %s", s.what, got)
						}
					}
					continue
				}
				var o struct {
					metav1.PartialObjectMetadata
					Data map[string]string
				}
				if err := json.Unmarshal(a.body, &o); err != nil {
					t.Fatal(err)
				}
				got := owners(&o)
				if strings.Contains(s.path, "/configmaps/") {
					got += " | " + fmt.Sprint(o.Data)
				}
				for _, w := range a.header.Values("Warning") {
					got += " | " + w
				}
				switch {
				case s.want == "same":
					if string(a.body) != before {
						t.Errorf("%s: it is another:\n got %s\nwant %s", s.what, a.body, before)
					}
				case strings.HasPrefix(s.want, "three"): // among others
					if !slices.Contains(strings.Split(got, "\n"), s.want) {
						t.Errorf("%s:\n got %s\nwant %s", s.what, got, s.want)
					}
				case got != s.want:
					t.Errorf("%s:\n got %s\nwant %s", s.what, got, s.want)
				}
				if !strings.Contains(s.query, "dryRun") {
					before = string(a.body)
				}
			}
		})
	}
}

// TestApplyTyped does what controllers do, with client-go's own types.
func TestApplyTyped(t *testing.T) {
	p := api(t)
	ns := p.namespace(t)
	ctx := t.Context()
	deployments := p.typed.AppsV1().Deployments(ns)
	forced := true
	opts := func(by string, force bool) metav1.ApplyOptions {
		return metav1.ApplyOptions{FieldManager: by, Force: force}
	}
	check := func(what string, o metav1.Object, want ...string) {
		t.Helper()
		if got := owners(o); got != strings.Join(want, "\n") {
			t.Errorf("%s:\n got %s\nwant %s", what, got, strings.Join(want, "\n"))
		}
	}
	wanted := appsapply.Deployment("web", ns).WithSpec(appsapply.DeploymentSpec().WithReplicas(2).
		WithSelector(metaapply.LabelSelector().WithMatchLabels(map[string]string{"a": "b"})).
		WithTemplate(coreapply.PodTemplateSpec().WithLabels(map[string]string{"a": "b"}).
			WithSpec(coreapply.PodSpec().WithContainers(coreapply.Container().WithName("c").WithImage("i")))))
	d := must(deployments.Apply(ctx, wanted, opts("one", false)))(t)
	if d.Generation != 1 || *d.Spec.RevisionHistoryLimit != 10 || d.Status.Replicas != 0 {
		t.Errorf("made: %+v", d)
	}

	// What was applied can be read back, changed and applied again.
	extracted := must(appsapply.ExtractDeployment(d, "one"))(t)
	if data := must(json.Marshal(extracted))(t); string(data) != string(must(json.Marshal(wanted))(t)) {
		t.Errorf("extracted: %s", data)
	}
	extracted.Spec.Template.Spec.Containers[0].WithEnv(coreapply.EnvVar().WithName("K").WithValue("v"))
	d = must(deployments.Apply(ctx, extracted, opts("one", false)))(t)
	if d.Generation != 2 || d.Spec.Template.Spec.Containers[0].Env[0].Value != "v" {
		t.Errorf("applied again: %+v", d.Spec.Template.Spec)
	}
	version := d.ResourceVersion
	if d = must(deployments.Apply(ctx, extracted, opts("one", false)))(t); d.ResourceVersion != version {
		t.Error("an apply that changes nothing is written")
	}

	// Its replicas, through scale: who scaled owns them.
	scale := autoscalingapply.Scale().WithName("web").WithNamespace(ns).WithSpec(autoscalingapply.ScaleSpec().WithReplicas(5))
	_, err := deployments.ApplyScale(ctx, "web", scale, opts("scaler", false))
	if !apierrors.IsConflict(err) || err.Error() != `Apply failed with 1 conflict: conflict with "one": .spec.replicas` {
		t.Errorf("scaled against its owner: %v", err)
	}
	if s := must(deployments.ApplyScale(ctx, "web", scale, opts("scaler", true)))(t); s.Spec.Replicas != 5 {
		t.Errorf("scaled: %+v", s)
	}
	d = must(deployments.Get(ctx, "web", metav1.GetOptions{}))(t)
	if got := owners(d); !strings.Contains(got, `scaler Apply apps/v1 scale`) || strings.Count(got, "f:replicas") != 1 || *d.Spec.Replicas != 5 {
		t.Errorf("scaled: %s", got)
	}
	_, err = deployments.Apply(ctx, wanted, opts("one", false))
	if err == nil || err.Error() != `Apply failed with 1 conflict: conflict with "scaler" with subresource "scale": .spec.replicas` {
		t.Errorf("applied against who scaled: %v", err)
	}
	scale = autoscalingapply.Scale().WithName("web").WithNamespace(ns).WithSpec(autoscalingapply.ScaleSpec().WithReplicas(-1))
	if _, err = deployments.ApplyScale(ctx, "web", scale, opts("scaler", false)); !apierrors.IsInvalid(err) {
		t.Errorf("scaled below nothing: %v", err)
	}

	// Status, and what belongs to it alone.
	status := appsapply.Deployment("web", ns).WithStatus(appsapply.DeploymentStatus().WithReplicas(3).WithObservedGeneration(2))
	d = must(deployments.ApplyStatus(ctx, status, opts("one", false)))(t)
	if got := owners(d); !strings.Contains(got, `one Apply apps/v1 status {"f:status":{"f:observedGeneration":{},"f:replicas":{}}}`) || d.Status.Replicas != 3 || *d.Spec.Replicas != 5 {
		t.Errorf("status: %s", got)
	}

	// A pod's further parts.
	pods := p.typed.CoreV1().Pods(ns)
	q := must(pods.Apply(ctx, coreapply.Pod("p", ns).WithSpec(coreapply.PodSpec().WithContainers(coreapply.Container().WithName("c").WithImage("i"))), opts("one", false)))(t)
	check("a pod", q, `one Apply v1 {"f:spec":{"f:containers":{"k:{\"name\":\"c\"}":{".":{},"f:image":{},"f:name":{}}}}}`)
	q = must(pods.Patch(ctx, "p", types.ApplyPatchType, must(json.Marshal(coreapply.Pod("p", ns).WithSpec(coreapply.PodSpec().WithEphemeralContainers(
		coreapply.EphemeralContainer().WithName("debug").WithImage("busybox")))))(t), metav1.PatchOptions{FieldManager: "debugger"}, "ephemeralcontainers"))(t)
	check("its debugger", q, `debugger Apply v1 ephemeralcontainers {"f:spec":{"f:ephemeralContainers":{"k:{\"name\":\"debug\"}":{".":{},"f:image":{},"f:name":{}}}}}`,
		`one Apply v1 {"f:spec":{"f:containers":{"k:{\"name\":\"c\"}":{".":{},"f:image":{},"f:name":{}}}}}`)
	if len(q.Spec.EphemeralContainers) != 1 {
		t.Error("no debugger")
	}

	// Through resize its resources, and nothing else that is said there.
	sized := coreapply.Pod("r", ns).WithSpec(coreapply.PodSpec().WithContainers(coreapply.Container().WithName("c").WithImage("i").
		WithResources(coreapply.ResourceRequirements().WithRequests(corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m")}))))
	must(pods.Apply(ctx, sized, opts("one", false)))(t)
	sized.Spec.Containers[0].WithImage("j").WithResources(coreapply.ResourceRequirements().WithRequests(corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("200m")}))
	body := must(json.Marshal(sized))(t)
	_, err = pods.Patch(ctx, "r", types.ApplyPatchType, body, metav1.PatchOptions{FieldManager: "sizer"}, "resize")
	if err == nil || err.Error() != `Apply failed with 1 conflict: conflict with "one": .spec.containers[name="c"].resources.requests.cpu` {
		t.Errorf("resized against its owner: %v", err)
	}
	q = must(pods.Patch(ctx, "r", types.ApplyPatchType, body, metav1.PatchOptions{FieldManager: "sizer", Force: &forced}, "resize"))(t)
	check("resized", q, `one Apply v1 {"f:spec":{"f:containers":{"k:{\"name\":\"c\"}":{".":{},"f:image":{},"f:name":{}}}}}`,
		`sizer Apply v1 resize {"f:spec":{"f:containers":{"k:{\"name\":\"c\"}":{".":{},"f:resources":{"f:requests":{"f:cpu":{}}}}}}}`)
	if c := q.Spec.Containers[0]; c.Image != "i" || c.Resources.Requests.Cpu().String() != "200m" {
		t.Errorf("resized: %+v", c)
	}

	// Managers that wrote another version.
	target := "t"
	must(p.typed.AutoscalingV1().HorizontalPodAutoscalers(ns).Apply(ctx, autoscalingapply.HorizontalPodAutoscaler("h", ns).WithSpec(
		autoscalingapply.HorizontalPodAutoscalerSpec().WithMaxReplicas(3).WithTargetCPUUtilizationPercentage(50).
			WithScaleTargetRef(autoscalingapply.CrossVersionObjectReference().WithKind("ReplicationController").WithName(target))), opts("old", false)))(t)
	h := must(p.typed.AutoscalingV2().HorizontalPodAutoscalers(ns).Get(ctx, "h", metav1.GetOptions{}))(t)
	body = []byte(`{"apiVersion":"autoscaling/v2","kind":"HorizontalPodAutoscaler","metadata":{"name":"h"},"spec":{"maxReplicas":4}}`)
	patch := func(force bool) error {
		_, err := p.typed.AutoscalingV2().HorizontalPodAutoscalers(ns).Patch(ctx, "h", types.ApplyPatchType, body, metav1.PatchOptions{FieldManager: "new", Force: &force})
		return err
	}
	if err := patch(false); err == nil || err.Error() != `Apply failed with 1 conflict: conflict with "old": .spec.maxReplicas` {
		t.Errorf("a conflict over versions: %v", err)
	}
	if err := patch(true); err != nil {
		t.Fatal(err)
	}
	h = must(p.typed.AutoscalingV2().HorizontalPodAutoscalers(ns).Get(ctx, "h", metav1.GetOptions{}))(t)
	check("in both", h, `new Apply autoscaling/v2 {"f:spec":{"f:maxReplicas":{}}}`,
		`old Apply autoscaling/v1 {"f:spec":{"f:scaleTargetRef":{},"f:targetCPUUtilizationPercentage":{}}}`)
	a := must(p.typed.AutoscalingV1().HorizontalPodAutoscalers(ns).Get(ctx, "h", metav1.GetOptions{}))(t)
	// The older version's manager goes on in the newer one, and takes away there what it set before.
	body = []byte(`{"apiVersion":"autoscaling/v2","kind":"HorizontalPodAutoscaler","metadata":{"name":"h"},"spec":{"scaleTargetRef":{"kind":"ReplicationController","name":"t"}}}`)
	_, err = p.typed.AutoscalingV2().HorizontalPodAutoscalers(ns).Patch(ctx, "h", types.ApplyPatchType, body, metav1.PatchOptions{FieldManager: "old"})
	if err != nil {
		t.Fatal(err)
	}
	h = must(p.typed.AutoscalingV2().HorizontalPodAutoscalers(ns).Get(ctx, "h", metav1.GetOptions{}))(t)
	if got := owners(h); !strings.Contains(got, `old Apply autoscaling/v2 {"f:spec":{"f:scaleTargetRef":{"f:kind":{},"f:name":{}}}}`) || *a.Spec.TargetCPUUtilizationPercentage != 50 {
		t.Errorf("from v1 to v2: %s", got)
	}
}

// TestApplyAfterOthers: objects that were written by updates, patched by hand, or before managers were kept.
func TestApplyAfterOthers(t *testing.T) {
	p := api(t)
	admin := p.as(t, "admin")
	ns := p.namespace(t)
	ctx := t.Context()
	maps := p.typed.CoreV1().ConfigMaps(ns)
	path := "/api/v1/namespaces/" + ns + "/configmaps/"
	apply := func(name, by, rest string, code int) answer {
		t.Helper()
		a := admin.do(t, "PATCH", path+name+"?fieldManager="+by, text("v1", "ConfigMap", name, rest), applyYAML)
		if a.code != code {
			t.Fatalf("HTTP %d, want %d: %s", a.code, code, a.body)
		}
		return a
	}
	check := func(what, name, want string) {
		t.Helper()
		m := must(maps.Get(ctx, name, metav1.GetOptions{}))(t)
		if got := owners(m) + " | " + fmt.Sprint(m.Data); got != want {
			t.Errorf("%s:\n got %s\nwant %s", what, got, want)
		}
	}

	// An update owns what it changes; an apply against it conflicts, and says when that was.
	must(maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Data: map[string]string{"x": "1"}}, metav1.CreateOptions{FieldManager: "hand"}))(t)
	m := must(maps.Get(ctx, "a", metav1.GetOptions{}))(t)
	a := apply("a", "one", `"data":{"x":"2"}`, 409)
	if got, want := a.status().Message, `Apply failed with 1 conflict: conflict with "hand" using v1 at `+m.ManagedFields[0].Time.UTC().Format(time.RFC3339)+`: .data.x`; got != want && !strings.HasPrefix(got, `Apply failed with 1 conflict: conflict with "hand" using v1`) {
		t.Errorf("against an update: %q, want %q", got, want)
	}
	apply("a", "one", `"data":{"x":"1","y":"1"}`, 200)
	check("shared with an update", "a", "hand Update v1 {\"f:data\":{\".\":{},\"f:x\":{}}}\none Apply v1 {\"f:data\":{\"f:x\":{},\"f:y\":{}}} | map[x:1 y:1]")
	must(maps.Patch(ctx, "a", types.MergePatchType, []byte(`{"data":{"y":"2"}}`), metav1.PatchOptions{FieldManager: "hand"}))(t)
	check("an update takes it over", "a", "hand Update v1 {\"f:data\":{\".\":{},\"f:x\":{},\"f:y\":{}}}\none Apply v1 {\"f:data\":{\"f:x\":{}}} | map[x:1 y:2]")
	apply("a", "one", `"data":{"y":"1"}`, 409)
	must(maps.Patch(ctx, "a", types.JSONPatchType, []byte(`[{"op":"remove","path":"/data/x"}]`), metav1.PatchOptions{FieldManager: "hand"}))(t)
	check("what is removed belongs to nobody", "a", "hand Update v1 {\"f:data\":{\".\":{},\"f:y\":{}}} | map[y:2]")

	// Cleared by hand, by one empty entry or by none: then all that is there was before the first apply.
	for _, clear := range []string{`{"metadata":{"managedFields":[{}]}}`, `{"metadata":{"managedFields":[]}}`} {
		must(maps.Patch(ctx, "a", types.MergePatchType, []byte(clear), metav1.PatchOptions{}))(t)
		check(clear, "a", " | map[y:2]")
	}
	apply("a", "one", `"data":{"z":"1"}`, 200)
	check("before the first apply", "a", "before-first-apply Update v1 {\"f:data\":{\".\":{},\"f:y\":{}}}\none Apply v1 {\"f:data\":{\"f:z\":{}}} | map[y:2 z:1]")
	must(maps.Patch(ctx, "a", types.MergePatchType, []byte(`{"metadata":{"managedFields":null}}`), metav1.PatchOptions{}))(t)
	check("null is no word about it", "a", "before-first-apply Update v1 {\"f:data\":{\".\":{},\"f:y\":{}}}\none Apply v1 {\"f:data\":{\"f:z\":{}}} | map[y:2 z:1]")

	// kubectl takes over what its client-side apply said last, without conflicts, and keeps that annotation current.
	last := `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"annotations":{},"name":"b","namespace":"` + ns + `"},"data":{"x":"1","y":"1"}}`
	must(maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "b", Annotations: map[string]string{corev1.LastAppliedConfigAnnotation: last}},
		Data: map[string]string{"x": "1", "y": "1"}}, metav1.CreateOptions{FieldManager: "kubectl-client-side-apply"}))(t)
	apply("b", "other", `"data":{"x":"2"}`, 409)
	apply("b", "kubectl", `"data":{"x":"2"}`, 200)
	m = must(maps.Get(ctx, "b", metav1.GetOptions{}))(t)
	if got := m.Annotations[corev1.LastAppliedConfigAnnotation]; !strings.Contains(got, `"data":{"x":"2"}`) {
		t.Errorf("last applied: %s", got)
	}

	// At most ten managers of updates; the oldest become one. Those of applies are kept.
	for n := range 12 {
		must(maps.Patch(ctx, "a", types.MergePatchType, []byte(fmt.Sprintf(`{"data":{"k%d":"v"}}`, n)), metav1.PatchOptions{FieldManager: fmt.Sprint("m", n)}))(t)
	}
	m = must(maps.Get(ctx, "a", metav1.GetOptions{}))(t)
	if got := owners(m); strings.Count(got, " Update ") != 10 || !strings.Contains(got, "ancient-changes Update v1") || !strings.Contains(got, "one Apply v1") {
		t.Errorf("many managers: %s", got)
	}

	if a := admin.do(t, "GET", "/metrics", ""); !strings.Contains(string(a.body), `apiserver_request_total{code="200",component="apiserver",dry_run="",group="",resource="configmaps",scope="resource",subresource="",verb="APPLY",version="v1"}`) {
		t.Error("applies are not counted as such")
	}

	// Permissions: to make an object by applying it takes the right to create it too.
	reader := p.as(t, p.token(t, ns))
	grant(t, p, ns, "system:serviceaccount:"+ns+":default", rbacv1.PolicyRule{Verbs: []string{"patch"}, APIGroups: []string{""}, Resources: []string{"configmaps"}})
	for name, want := range map[string]string{"a": "200 ", "mine": `403 configmaps "mine" is forbidden: User "system:serviceaccount:` + ns +
		`:default" cannot create resource "configmaps" in API group "" in the namespace "` + ns + `"`} {
		a := reader.do(t, "PATCH", path+name+"?fieldManager=x", text("v1", "ConfigMap", name), applyYAML)
		if got := fmt.Sprint(a.code, " ", a.status().Message); got != want {
			t.Errorf("may only patch: got %s, want %s", got, want)
		}
	}
}

// TestApplyTogether: many managers apply to one object at once, and others update and delete it; no field is lost.
func TestApplyTogether(t *testing.T) {
	p := api(t)
	ns := p.namespace(t)
	maps := p.typed.CoreV1().ConfigMaps(ns)
	const managers, rounds = 8, 10
	var wg sync.WaitGroup
	for n := range managers {
		wg.Go(func() {
			for r := range rounds {
				_, err := maps.Apply(t.Context(), coreapply.ConfigMap("m", ns).WithData(map[string]string{fmt.Sprint("k", n): fmt.Sprint(r)}), metav1.ApplyOptions{FieldManager: fmt.Sprint("m", n)})
				if err != nil {
					t.Errorf("apply: %v", err)
					return
				}
				if _, err := maps.Patch(t.Context(), "m", types.MergePatchType, []byte(fmt.Sprintf(`{"data":{"p%d":"%d"}}`, n, r)), metav1.PatchOptions{FieldManager: "patches"}); err != nil {
					t.Errorf("patch: %v", err)
					return
				}
			}
		})
	}
	wg.Wait()
	m := must(maps.Get(t.Context(), "m", metav1.GetOptions{}))(t)
	for n := range managers {
		for _, k := range []string{"k", "p"} {
			if got := m.Data[fmt.Sprint(k, n)]; got != fmt.Sprint(rounds-1) {
				t.Errorf("%s%d: %q", k, n, got)
			}
		}
	}
	if len(m.ManagedFields) != managers+1 {
		t.Errorf("owners: %s", owners(m))
	}
	// While others delete it, an apply makes it again or changes what is there: never "not found", never "exists".
	ctx, cancel := context.WithCancel(t.Context())
	var deleting sync.WaitGroup
	deleting.Go(func() {
		for ctx.Err() == nil {
			_ = maps.Delete(t.Context(), "m", metav1.DeleteOptions{}) // gone is as good
		}
	})
	for n := range 4 {
		wg.Go(func() {
			for r := range rounds {
				if _, err := maps.Apply(t.Context(), coreapply.ConfigMap("m", ns).WithData(map[string]string{fmt.Sprint("k", n): fmt.Sprint(r)}),
					metav1.ApplyOptions{FieldManager: fmt.Sprint("m", n), Force: true}); err != nil {
					t.Errorf("apply: %v", err)
				}
			}
		})
	}
	wg.Wait()
	cancel()
	deleting.Wait()
}

// TestApplyCustom tells the story of a custom resource, typed by its schema.
func TestApplyCustom(t *testing.T) {
	p := api(t)
	admin := p.as(t, "admin")
	ns := p.namespace(t)
	const crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
	definition := text("apiextensions.k8s.io/v1", "CustomResourceDefinition", "applieds.example.com", `"spec":{"group":"example.com","scope":"Namespaced",
		"names":{"plural":"applieds","kind":"Applied"},"versions":[{"name":"v1","served":true,"storage":true,"subresources":{"status":{},"scale":{"specReplicasPath":".spec.size","statusReplicasPath":".status.size"}},
		"schema":{"openAPIV3Schema":{"type":"object","properties":{"spec":{"type":"object","properties":{"size":{"type":"integer"},"mode":{"type":"string","default":"fast"},
		"parts":{"type":"array","x-kubernetes-list-type":"map","x-kubernetes-list-map-keys":["name"],"items":{"type":"object","required":["name"],"properties":{"name":{"type":"string"},"weight":{"type":"integer"}}}},
		"list":{"type":"array","items":{"type":"string"}},"free":{"type":"object","x-kubernetes-preserve-unknown-fields":true}}},"status":{"type":"object","properties":{"size":{"type":"integer"}}}}}}}]}`)
	if a := admin.do(t, "POST", crds, definition); a.code != 201 {
		t.Fatalf("HTTP %d: %s", a.code, a.body)
	}
	defer admin.do(t, "DELETE", crds+"/applieds.example.com", "")
	path := "/apis/example.com/v1/namespaces/" + ns + "/applieds/w"
	for try := 0; admin.do(t, "GET", path, "").status().Message != `applieds.example.com "w" not found`; try++ {
		if try > 100 {
			t.Fatal("the definition is not established")
		}
		time.Sleep(20 * time.Millisecond)
	}
	one := `one Apply example.com/v1 {"f:spec":{"f:free":{"f:any":{".":{},"f:thing":{}}},"f:list":{},"f:parts":{"k:{\"name\":\"a\"}":{".":{},"f:name":{},"f:weight":{}}},"f:size":{}}}`
	for _, s := range []struct {
		what, by, sub, rest string
		code                int
		want                string // the spec and the owners, or the message
	}{
		{"is made, with defaults", "one", "", `"spec":{"size":2,"parts":[{"name":"a","weight":1}],"list":["x"],"free":{"any":{"thing":1}}}`, 201,
			"map[free:map[any:map[thing:1]] list:[x] mode:fast parts:[map[name:a weight:1]] size:2]\n" + one},
		{"an item of another", "two", "", `"spec":{"parts":[{"name":"b"}]}`, 200,
			"map[free:map[any:map[thing:1]] list:[x] mode:fast parts:[map[name:a weight:1] map[name:b]] size:2]\n" + one + "\n" +
				`two Apply example.com/v1 {"f:spec":{"f:parts":{"k:{\"name\":\"b\"}":{".":{},"f:name":{}}}}}`},
		{"a list is a whole", "two", "", `"spec":{"list":["y"]}`, 409, `Apply failed with 1 conflict: conflict with "one": .spec.list`},
		{"no field that the schema does not know", "two", "", `"spec":{"sizee":1}`, 500,
			"failed to create typed patch object (/w; example.com/v1, Kind=Applied): .spec.sizee: field not declared in schema"},
		{"the status alone", "two", "/status", `"spec":{"size":9},"status":{"size":1}`, 200,
			"map[free:map[any:map[thing:1]] list:[x] mode:fast parts:[map[name:a weight:1] map[name:b]] size:2]\n" + one + "\n" +
				`two Apply example.com/v1 status {"f:status":{"f:size":{}}}` + "\n" + `two Apply example.com/v1 {"f:spec":{"f:parts":{"k:{\"name\":\"b\"}":{".":{},"f:name":{}}}}}`},
		{"a conflict about its scale", "three", "/scale", `"spec":{"replicas":3}`, 409, `Apply failed with 1 conflict: conflict with "one": .spec.replicas`},
		{"what is applied no more goes", "two", "", `"spec":{}`, 200,
			"map[free:map[any:map[thing:1]] list:[x] mode:fast parts:[map[name:a weight:1]] size:2]\n" + one + "\n" +
				`two Apply example.com/v1 status {"f:status":{"f:size":{}}}` + "\n" + `two Apply example.com/v1 {"f:spec":{}}`},
	} {
		body := text("example.com/v1", "Applied", "w", s.rest)
		if s.sub == "/scale" {
			body = text("autoscaling/v1", "Scale", "w", s.rest)
		}
		a := admin.do(t, "PATCH", path+s.sub+"?fieldManager="+s.by, body, applyYAML)
		got := a.status().Message
		if a.code < 300 {
			var o struct {
				metav1.PartialObjectMetadata
				Spec map[string]any
			}
			if err := json.Unmarshal(a.body, &o); err != nil {
				t.Fatal(err)
			}
			got = fmt.Sprint(o.Spec) + "\n" + owners(&o)
		}
		if a.code != s.code || got != s.want {
			t.Errorf("%s: HTTP %d, want %d\n got %s\nwant %s", s.what, a.code, s.code, got, s.want)
		}
	}
}
