package role_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// TestWebhooksSeeWhatWasSent: who mutates a PUT sees what the client said of what it cannot change, who validates it what is stored, and neither
// is told a name by a deletecollection. Source: what a server of Kubernetes 1.37.2 asks for the same requests.
func TestWebhooksSeeWhatWasSent(t *testing.T) {
	p := api(t)
	ns, ctx := p.namespace(t), t.Context()
	mutator, validator := newHook(t, allow), newHook(t, allow)
	rules := []admissionregistrationv1.RuleWithOperations{rule("UPDATE DELETE", "configmaps", "deployments", "deployments/scale")}
	p.mutating(t, ns, rules, []*hookServer{mutator})
	p.validating(t, ns, validator, rules)
	labels := map[string]string{"a": "b"}
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "d"}, Spec: appsv1.DeploymentSpec{Replicas: ptr.To(int32(0)), Selector: &metav1.LabelSelector{MatchLabels: labels}}}
	d.Spec.Template.Labels, d.Spec.Template.Spec = labels, pod("x").Spec
	made, err := p.typed.AppsV1().Deployments(ns).Create(ctx, d, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	said := func(q *admissionv1.AdmissionRequest) string {
		var o metav1.PartialObjectMetadata
		if err := json.Unmarshal(q.Object.Raw, &o); err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(q.Resource.Resource, "/", q.SubResource, " ", o.UID == made.UID, o.CreationTimestamp.Equal(&made.CreationTimestamp), o.ResourceVersion != "", o.Generation > 0)
	}
	d.Spec.Replicas = ptr.To(int32(1))
	changed, err := p.typed.AppsV1().Deployments(ns).Update(ctx, d, metav1.UpdateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := said(mutator.last(t)), "deployments/ false false false false"; got != want {
		t.Errorf("who mutates sees %s, want %s", got, want)
	}
	if got, want := said(validator.last(t)), "deployments/ true true true true"; got != want {
		t.Errorf("who validates sees %s, want %s", got, want)
	}
	if changed.UID != made.UID || changed.Generation != 2 || !changed.CreationTimestamp.Equal(&made.CreationTimestamp) || len(changed.ManagedFields) == 0 {
		t.Errorf("stored: %v", changed.ObjectMeta)
	}
	admin := p.as(t, "admin")
	scale := `{"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "d", "namespace": "` + ns + `"}, "spec": {"replicas": 2}}`
	if a := admin.do(t, "PUT", "/apis/apps/v1/namespaces/"+ns+"/deployments/d/scale", scale); a.code != 200 {
		t.Fatal(string(a.body))
	}
	if got, want := said(mutator.last(t)), "deployments/scale false false false false"; got != want {
		t.Errorf("who mutates a scale sees %s, want %s", got, want)
	}
	if got, want := said(validator.last(t)), "deployments/scale true true true false"; got != want {
		t.Errorf("who validates a scale sees %s, want %s", got, want)
	}
	for _, name := range []string{"a", "b"} {
		if _, err := p.typed.CoreV1().ConfigMaps(ns).Create(ctx, configMap(name), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	mutator.questions()
	if err := p.typed.CoreV1().ConfigMaps(ns).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{FieldSelector: "metadata.name!=kube-root-ca.crt"}); err != nil {
		t.Fatal(err)
	}
	mutator.mu.Lock()
	defer mutator.mu.Unlock()
	var names []string
	for _, q := range mutator.asked {
		if q.Resource.Resource != "configmaps" {
			continue
		}
		var o metav1.PartialObjectMetadata
		if err := json.Unmarshal(q.OldObject.Raw, &o); err != nil {
			t.Fatal(err)
		}
		names = append(names, q.Name+" "+o.Name)
	}
	if want := []string{" a", " b"}; !slices.Equal(names, want) {
		t.Errorf("a deletecollection asks about %q, want %q", names, want)
	}
}
