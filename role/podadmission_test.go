package role_test

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// TestRuntimeClass: pods carry what their runtime class says; those whose class is not there are refused.
func TestRuntimeClass(t *testing.T) {
	p := api(t)
	pods := p.typed.CoreV1().Pods(p.namespace(t))
	overhead := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m")}
	must(p.typed.NodeV1().RuntimeClasses().Create(t.Context(), &nodev1.RuntimeClass{ObjectMeta: metav1.ObjectMeta{Name: "thick"}, Handler: "h",
		Overhead:   &nodev1.Overhead{PodFixed: overhead},
		Scheduling: &nodev1.Scheduling{NodeSelector: map[string]string{"a": "b"}, Tolerations: []corev1.Toleration{{Key: "k", Operator: corev1.TolerationOpExists}}}}, metav1.CreateOptions{}))(t)
	with := func(name, class string, change func(*corev1.PodSpec)) (*corev1.Pod, error) {
		o := pod(name)
		o.Spec.RuntimeClassName = ptr.To(class)
		if change != nil {
			change(&o.Spec)
		}
		return pods.Create(t.Context(), o, metav1.CreateOptions{})
	}
	got := must(with("fits", "thick", nil))(t)
	if got.Spec.Overhead.Cpu().MilliValue() != 10 || fmt.Sprint(got.Spec.NodeSelector) != "map[a:b]" || got.Spec.Tolerations[2].Key != "k" {
		t.Errorf("overhead %v, selector %v, tolerations %v", got.Spec.Overhead, got.Spec.NodeSelector, got.Spec.Tolerations)
	}
	for name, err := range map[string]error{
		"class not there": second(with("a", "thin", nil)),
		"other overhead": second(with("b", "thick", func(s *corev1.PodSpec) {
			s.Overhead = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("20m")}
		})),
		"other node": second(with("c", "thick", func(s *corev1.PodSpec) { s.NodeSelector = map[string]string{"a": "c"} })),
	} {
		if !apierrors.IsForbidden(err) {
			t.Errorf("%s: %v, want Forbidden", name, err)
		}
	}
}

// TestTolerationsReturn: an update that replaces all tolerations keeps those that every pod has.
func TestTolerationsReturn(t *testing.T) {
	p := api(t)
	pods := p.typed.CoreV1().Pods(p.namespace(t))
	o := pod("p")
	o.Spec.NodeName = "n"
	o = must(pods.Create(t.Context(), o, metav1.CreateOptions{}))(t)
	o.Spec.Tolerations = []corev1.Toleration{{Key: "mine", Operator: corev1.TolerationOpExists}}
	if got := must(pods.Update(t.Context(), o, metav1.UpdateOptions{}))(t).Spec.Tolerations; len(got) != 3 {
		t.Errorf("tolerations %v, want three", got)
	}
}

// TestEvictedSaysSo: an evicted pod tells that it goes for others' sake, as a Job's failure policy wants to know.
func TestEvictedSaysSo(t *testing.T) {
	p := api(t)
	ns := p.namespace(t)
	o := pod("p")
	o.Finalizers = []string{"example.com/wait"}
	must(p.typed.CoreV1().Pods(ns).Create(t.Context(), o, metav1.CreateOptions{}))(t)
	if err := p.typed.PolicyV1().Evictions(ns).Evict(t.Context(), &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: ns}}); err != nil {
		t.Fatal(err)
	}
	got := must(p.typed.CoreV1().Pods(ns).Get(t.Context(), "p", metav1.GetOptions{}))(t)
	if got.DeletionTimestamp == nil || len(got.Status.Conditions) != 1 || got.Status.Conditions[0].Reason != "EvictionByEvictionAPI" {
		t.Errorf("deleted %v, conditions %v", got.DeletionTimestamp, got.Status.Conditions)
	}
}

func second[T any](_ T, err error) error { return err }
