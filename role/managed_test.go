package role_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

// owners shows managedFields as kubectl users know them, without times.
func owners(o metav1.Object) string {
	var lines []string
	for _, e := range o.GetManagedFields() {
		line := fmt.Sprintf("%s %s %s", e.Manager, e.Operation, e.APIVersion)
		if e.Subresource != "" {
			line += " " + e.Subresource
		}
		if e.Time == nil || e.FieldsType != "FieldsV1" {
			line += " without time or type"
		}
		lines = append(lines, line+" "+string(e.FieldsV1.GetRawBytes()))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// TestManagedFields: who wrote which field, through all verbs but apply.
func TestManagedFields(t *testing.T) {
	p := api(t)
	ns := p.namespace(t)
	ctx := t.Context()
	check := func(what string, o metav1.Object, want ...string) {
		t.Helper()
		if got := owners(o); got != strings.Join(want, "\n") {
			t.Errorf("%s:\n got %s\nwant %s", what, got, strings.Join(want, "\n"))
		}
	}
	maps := p.typed.CoreV1().ConfigMaps(ns)
	m := must(maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "m", Labels: map[string]string{"a": "1"}}, Data: map[string]string{"x": "1"}},
		metav1.CreateOptions{FieldManager: "one"}))(t)
	check("created", m, `one Update v1 {"f:data":{".":{},"f:x":{}},"f:metadata":{"f:labels":{".":{},"f:a":{}}}}`)
	m.Data["x"], m.Data["y"] = "2", "1"
	m = must(maps.Update(ctx, m, metav1.UpdateOptions{FieldManager: "two"}))(t)
	one := `one Update v1 {"f:data":{},"f:metadata":{"f:labels":{".":{},"f:a":{}}}}`
	check("a field taken over, one more", m, one, `two Update v1 {"f:data":{"f:x":{},"f:y":{}}}`)
	version := m.ResourceVersion
	m = must(maps.Update(ctx, m, metav1.UpdateOptions{FieldManager: "three"}))(t)
	check("nothing changed", m, one, `two Update v1 {"f:data":{"f:x":{},"f:y":{}}}`)
	if m.ResourceVersion != version {
		t.Error("an update that changes nothing is written")
	}
	m = must(maps.Patch(ctx, "m", types.MergePatchType, []byte(`{"data":{"y":null}}`), metav1.PatchOptions{FieldManager: "three"}))(t)
	check("a field removed", m, one, `two Update v1 {"f:data":{"f:x":{}}}`)
	m.ManagedFields = []metav1.ManagedFieldsEntry{{}}
	m = must(maps.Update(ctx, m, metav1.UpdateOptions{FieldManager: "three"}))(t)
	check("cleared by hand", m)

	q := must(p.typed.CoreV1().Pods(ns).Create(ctx, pod("p"), metav1.CreateOptions{}))(t)
	if got := owners(q); !strings.HasPrefix(got, "role.test Update v1 {") || strings.Contains(got, "kube-api-access") {
		t.Errorf("a pod's creator by its user agent, without what admission adds: %s", got)
	}
	q.Status.Phase = corev1.PodRunning
	q = must(p.typed.CoreV1().Pods(ns).UpdateStatus(ctx, q, metav1.UpdateOptions{FieldManager: "node"}))(t)
	if got := owners(q); !strings.HasPrefix(got, `node Update v1 status {"f:status":{"f:phase":{}}}`) {
		t.Errorf("its status: %s", got)
	}
	before := owners(q)
	if err := p.typed.CoreV1().Pods(ns).Bind(ctx, &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Target: corev1.ObjectReference{Kind: "Node", Name: "n"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	q = must(p.typed.CoreV1().Pods(ns).Get(ctx, "p", metav1.GetOptions{}))(t)
	if owners(q) != before {
		t.Errorf("after binding: %s", owners(q))
	}

	// Two versions: the fields of the one that an entry is in.
	target := "target"
	a := must(p.typed.AutoscalingV1().HorizontalPodAutoscalers(ns).Create(ctx, &autoscalingv1.HorizontalPodAutoscaler{ObjectMeta: metav1.ObjectMeta{Name: "h"},
		Spec: autoscalingv1.HorizontalPodAutoscalerSpec{ScaleTargetRef: autoscalingv1.CrossVersionObjectReference{Kind: "ReplicationController", Name: target},
			MaxReplicas: 3, TargetCPUUtilizationPercentage: ptr.To[int32](50)}}, metav1.CreateOptions{FieldManager: "old"}))(t)
	if got := owners(a); !strings.Contains(got, `"f:targetCPUUtilizationPercentage":{}`) {
		t.Errorf("in v1: %s", got)
	}
	h := must(p.typed.AutoscalingV2().HorizontalPodAutoscalers(ns).Get(ctx, "h", metav1.GetOptions{}))(t)
	h.Spec.MaxReplicas, h.Spec.Metrics[0].Resource.Target.AverageUtilization = 4, ptr.To[int32](60)
	h = must(p.typed.AutoscalingV2().HorizontalPodAutoscalers(ns).Update(ctx, h, metav1.UpdateOptions{FieldManager: "new"}))(t)
	check("in both", h, `new Update autoscaling/v2 {"f:spec":{"f:maxReplicas":{},"f:metrics":{}}}`,
		`old Update autoscaling/v1 {"f:spec":{"f:minReplicas":{},"f:scaleTargetRef":{}}}`)
}
