package namespace

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/controller"
	world "github.com/lighter-k8s/lighter/controller/controllertest"
)

func newNamespace() *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "ns", DeletionTimestamp: &metav1.Time{Time: world.Start}},
		Spec: corev1.NamespaceSpec{Finalizers: []corev1.FinalizerName{corev1.FinalizerKubernetes, "example.com/mine"}}}
}

// content reads words such as "pod:leaving config config:leaving,held".
func content(words string) (out []Content) {
	of := map[string]*Content{"pod": {Resource: client.Pods.Resource}, "config": {Resource: client.ConfigMaps.Resource}}
	for i, word := range strings.Fields(words) {
		kind, states, _ := strings.Cut(word, ":")
		o := of[kind].Resource.New()
		o.SetName(kind + string(rune('a'+i)))
		if strings.Contains(states, "leaving") {
			o.SetDeletionTimestamp(&metav1.Time{Time: world.Start})
		}
		if strings.Contains(states, "held") {
			o.SetFinalizers([]string{"example.com/held"})
		}
		of[kind].Objects = append(of[kind].Objects, o)
	}
	for _, kind := range []string{"config", "pod"} {
		if len(of[kind].Objects) > 0 {
			out = append(out, *of[kind])
		}
	}
	return out
}

func TestDecide(t *testing.T) {
	tests := map[string]struct{ content, want string }{
		"an empty one is let go":      {"", "update Namespace ns"},
		"pods go first":               {"pod config", "delete Pod poda, again in 10ms"},
		"what they use outlives them": {"pod:leaving config", "update status Namespace ns, again in 200ms"},
		"then everything else":        {"config config", "delete ConfigMap configa, delete ConfigMap configb, again in 10ms"},
		"what is held is waited for":  {"config:leaving,held", "update status Namespace ns, again in 200ms"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			v := View{Namespace: newNamespace(), Content: content(tt.content), Now: world.Start}
			if got := world.Show(Decide(v)); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestConditions(t *testing.T) {
	v := View{Namespace: newNamespace(), Content: content("config:leaving,held config:leaving,held pod:leaving"), Now: world.Start}
	v.Namespace.Status = status(v, errors.New("no"))[0].Object.(*corev1.Namespace).Status
	var got []string
	for _, c := range v.Namespace.Status.Conditions {
		got = append(got, string(c.Type)+" "+string(c.Status)+" "+c.Reason+": "+c.Message)
	}
	want := `NamespaceDeletionDiscoveryFailure False ResourcesDiscovered: All resources successfully discovered
NamespaceDeletionGroupVersionParsingFailure False ParsedGroupVersions: All legacy kube types successfully parsed
NamespaceDeletionContentFailure True ContentDeletionFailed: Failed to delete all resource types, 1 remaining: no
NamespaceContentRemaining True SomeResourcesRemain: Some resources are remaining: configmaps. has 2 resource instances, pods. has 1 resource instances
NamespaceFinalizersRemaining True SomeFinalizersRemain: Some content in the namespace has finalizers remaining: example.com/held in 2 resource instances`
	if s := strings.Join(got, "\n"); s != want {
		t.Errorf("got\n%s\nwant\n%s", s, want)
	}
	if again := status(v, errors.New("no")); len(again) > 0 {
		t.Error("the same conditions are written again")
	}
}

func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := world.New(time.Now)
		w.Slow = true
		w.Refuse(func(verb controller.Verb, r client.Resource, _ client.Object) error {
			if verb == controller.DeleteObject && r.Resource == "secrets" {
				return errors.New("not yet")
			}
			return nil
		})
		done := make(chan error)
		all := []client.Resource{client.Secrets.Resource, client.ConfigMaps.Resource, client.Pods.Resource, client.Nodes.Resource}
		go func() { done <- Run(t.Context(), w.Env(), all) }()
		t.Cleanup(func() { <-done })
		meta := metav1.ObjectMeta{Namespace: "ns", Name: "x"}
		world.Put(w, client.Pods, &corev1.Pod{ObjectMeta: meta})
		world.Put(w, client.Secrets, &corev1.Secret{ObjectMeta: meta})
		world.Put(w, client.ConfigMaps, &corev1.ConfigMap{ObjectMeta: meta})
		world.Put(w, client.ConfigMaps, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "other", Name: "x"}})
		ns := newNamespace()
		ns.DeletionTimestamp = &metav1.Time{Time: time.Now()}
		ns.Finalizers = []string{"example.com/seen"} // the world knows no finalizers in a spec
		world.Put(w, client.Namespaces, ns)
		time.Sleep(time.Minute)
		if world.Get(w, client.ConfigMaps, "ns", "x") == nil {
			t.Error("a config map went before the pods")
		}
		w.Remove(client.Pods.Resource, "ns", "x")
		time.Sleep(time.Minute)
		if world.Get(w, client.ConfigMaps, "ns", "x") != nil {
			t.Error("one resource that cannot be deleted holds another")
		}
		if got := world.Get(w, client.Namespaces, "", "ns"); got == nil || got.Status.Conditions[2].Reason != "ContentDeletionFailed" {
			t.Fatalf("got %v", got)
		}
		w.Refuse(nil)
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := world.Get(w, client.Namespaces, "", "ns"); got == nil || len(got.Spec.Finalizers) != 1 {
			t.Errorf("not let go: %v", got)
		}
		if world.Get(w, client.ConfigMaps, "other", "x") == nil {
			t.Error("another namespace lost something")
		}
	})
}
