package resourcequota

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	v1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/lighter-k8s/lighter/client"
	world "github.com/lighter-k8s/lighter/controller/controllertest"
)

func amounts(words string) corev1.ResourceList {
	list := corev1.ResourceList{}
	for _, w := range strings.Fields(words) {
		name, value, _ := strings.Cut(w, "=")
		list[corev1.ResourceName(name)] = resource.MustParse(value)
	}
	return list
}

func pod(name, cpu string, change func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: v1.ObjectMeta{Namespace: "ns", Name: name}}
	p.Spec.Containers = []corev1.Container{{Name: "c"}}
	if cpu != "" {
		p.Spec.Containers[0].Resources.Requests = amounts("cpu=" + cpu)
	}
	if change != nil {
		change(p)
	}
	return p
}

func TestReconcile(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	ended := func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded }
	going := func(ago time.Duration) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			grace := int64(30)
			p.DeletionTimestamp, p.DeletionGracePeriodSeconds = &v1.Time{Time: now.Add(-ago)}, &grace
		}
	}
	important := func(p *corev1.Pod) { p.Spec.PriorityClassName = "important" }
	deadline := func(p *corev1.Pod) { p.Spec.ActiveDeadlineSeconds = new(int64) }
	pods := []client.Object{pod("a", "100m", nil), pod("b", "", deadline), pod("c", "1", ended), pod("d", "1", going(time.Minute)), pod("e", "2", going(time.Second)), pod("f", "4", important)}
	tests := map[string]struct {
		hard, status string
		spec         corev1.ResourceQuotaSpec
		want         string // used; "": nothing is written
	}{
		"those that are over use nothing": {hard: "pods=9 requests.cpu=9", want: "pods=4 requests.cpu=6100m"},
		"but their place in the store":    {hard: "count/pods=9", want: "count/pods=6"},
		"the same as before":              {hard: "pods=9", status: "pods=4"},
		"written otherwise":               {hard: "cpu=9", status: "cpu=6.1"},
		"nothing is there":                {hard: "services=3", want: "services=0"},
		"best effort":                     {hard: "pods=9", spec: corev1.ResourceQuotaSpec{Scopes: []corev1.ResourceQuotaScope{corev1.ResourceQuotaScopeBestEffort}}, want: "pods=1"},
		"not best effort":                 {hard: "pods=9", spec: corev1.ResourceQuotaSpec{Scopes: []corev1.ResourceQuotaScope{corev1.ResourceQuotaScopeNotBestEffort}}, want: "pods=3"},
		"with a deadline":                 {hard: "pods=9", spec: corev1.ResourceQuotaSpec{Scopes: []corev1.ResourceQuotaScope{corev1.ResourceQuotaScopeTerminating}}, want: "pods=1"},
		"of a priority class": {hard: "pods=9 cpu=9", spec: corev1.ResourceQuotaSpec{ScopeSelector: &corev1.ScopeSelector{MatchExpressions: []corev1.ScopedResourceSelectorRequirement{
			{ScopeName: corev1.ResourceQuotaScopePriorityClass, Operator: corev1.ScopeSelectorOpIn, Values: []string{"important"}}}}}, want: "cpu=4 pods=1"},
		"of other priority classes": {hard: "pods=9", spec: corev1.ResourceQuotaSpec{ScopeSelector: &corev1.ScopeSelector{MatchExpressions: []corev1.ScopedResourceSelectorRequirement{
			{ScopeName: corev1.ResourceQuotaScopePriorityClass, Operator: corev1.ScopeSelectorOpNotIn, Values: []string{"important"}}}}}, want: "pods=3"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			q := &corev1.ResourceQuota{ObjectMeta: v1.ObjectMeta{Namespace: "ns", Name: "q"}, Spec: tt.spec}
			q.Spec.Hard = amounts(tt.hard)
			if tt.status != "" {
				q.Status = corev1.ResourceQuotaStatus{Hard: q.Spec.Hard, Used: amounts(tt.status)}
			}
			todo := reconcile(View{Quota: q, Objects: map[schema.GroupResource][]client.Object{{Resource: "pods"}: pods}, Now: now})
			got := ""
			if len(todo) > 0 {
				got = show(todo[0].Object.(*corev1.ResourceQuota).Status.Used)
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func show(list corev1.ResourceList) string {
	var words []string
	for name, q := range list {
		words = append(words, fmt.Sprintf("%s=%s", name, q.String()))
	}
	if len(words) == 2 && words[0] > words[1] {
		words[0], words[1] = words[1], words[0]
	}
	return strings.Join(words, " ")
}

// TestRun: use goes down when pods end and go, and what is not watched is looked at again.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := world.New(time.Now)
		var wg sync.WaitGroup
		wg.Go(func() {
			_ = Run(t.Context(), w.Env(), []client.Resource{client.Pods.Resource, client.ConfigMaps.Resource})
		})
		t.Cleanup(wg.Wait)
		q := &corev1.ResourceQuota{ObjectMeta: v1.ObjectMeta{Namespace: "ns", Name: "q"}, Spec: corev1.ResourceQuotaSpec{Hard: amounts("pods=9 configmaps=9")}}
		world.Put(w, client.ResourceQuotas, q)
		world.Put(w, client.Pods, pod("a", "", nil))
		world.Put(w, client.Pods, pod("b", "", nil))
		world.Put(w, client.ConfigMaps, &corev1.ConfigMap{ObjectMeta: v1.ObjectMeta{Namespace: "ns", Name: "c"}})
		want := func(words string) {
			t.Helper()
			time.Sleep(time.Second)
			synctest.Wait()
			if got := show(world.Get(w, client.ResourceQuotas, "ns", "q").Status.Used); got != words {
				t.Errorf("used %q, want %q", got, words)
			}
		}
		time.Sleep(again + time.Second)
		want("configmaps=1 pods=2")
		world.Change(w, client.Pods, "ns", "a", func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed })
		want("configmaps=1 pods=1")
		w.Remove(client.Pods.Resource, "ns", "b")
		want("configmaps=1 pods=0")
		w.Remove(client.ConfigMaps.Resource, "ns", "c")
		time.Sleep(again + time.Second)
		want("configmaps=0 pods=0")
	})
}
