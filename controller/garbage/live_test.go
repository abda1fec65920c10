package garbage_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/api/builtin"
	"github.com/lighter-k8s/lighter/authz"
	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/client/direct"
	"github.com/lighter-k8s/lighter/controller"
	"github.com/lighter-k8s/lighter/controller/garbage"
	"github.com/lighter-k8s/lighter/registry"
	"github.com/lighter-k8s/lighter/store/memory"
	"github.com/lighter-k8s/lighter/watch"
)

type everybody struct{}

func (everybody) Authorize(context.Context, authz.Attributes) (authz.Decision, string, error) {
	return authz.Allow, "", nil
}

// serve is a registry in memory, as the server has it, and the collector on it.
func serve(t *testing.T) client.Client {
	log := slog.New(slog.DiscardHandler)
	ctx, cancel := context.WithCancel(context.Background())
	infos := builtin.All()
	s := memory.New()
	state := watch.New(s, log, time.Now, infos)
	if err := state.Load(ctx); err != nil {
		t.Fatal(err)
	}
	of := map[schema.GroupVersionResource]*api.Info{}
	for _, i := range infos {
		of[i.GroupVersionResource] = i
	}
	all := []client.Resource{client.ConfigMaps.Resource, client.Secrets.Resource, client.Nodes.Resource, client.Namespaces.Resource}
	c := (&direct.Server{Registry: registry.New(s, state, log, time.Now, infos), Authz: everybody{}, Resources: of}).As(authenticationv1.UserInfo{Username: "test"})
	done := make(chan error, 2)
	go func() { done <- state.Run(ctx) }()
	env := controller.Env{Client: c, Log: log, Now: time.Now, Events: client.NewRecorder(c, log, "test", "", time.Now)}
	go func() { done <- garbage.Run(ctx, env, all) }()
	t.Cleanup(func() {
		cancel()
		<-done
		<-done
		_ = s.Close()
	})
	for _, name := range []string{"background", "orphan", "foreground", "circle", "odd", "far"} {
		if _, err := client.Namespaces.Create(t.Context(), c, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func put(t *testing.T, c client.Client, namespace, name string, finalizers []string, owners ...*corev1.ConfigMap) *corev1.ConfigMap {
	t.Helper()
	o := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Finalizers: finalizers}}
	for _, w := range owners {
		o.OwnerReferences = append(o.OwnerReferences, metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: w.Name, UID: w.UID, BlockOwnerDeletion: ptr.To(true)})
	}
	got, err := client.ConfigMaps.Create(t.Context(), c, o)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// left waits until the namespace's objects, with the number of their owners, are as wanted.
func left(t *testing.T, c client.Client, namespace, want string) {
	t.Helper()
	view := client.ConfigMaps.View(t.Context(), c, client.Selection{Namespace: namespace})
	for {
		at, got := view.Version(), ""
		for _, o := range view.List("") {
			got += fmt.Sprintf("%s:%d ", o.Name, len(o.OwnerReferences))
		}
		if got == want {
			return
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		err := view.WaitVersion(ctx, at+1)
		cancel()
		if err != nil {
			t.Fatalf("in %s is left %q, want %q", namespace, got, want)
		}
	}
}

func drop(t *testing.T, c client.Client, o *corev1.ConfigMap, how metav1.DeletionPropagation) {
	t.Helper()
	if err := client.ConfigMaps.Delete(t.Context(), c, o.Namespace, o.Name, metav1.DeleteOptions{PropagationPolicy: &how}); err != nil {
		t.Fatal(err)
	}
}

// The three ways of deletion, on the registry that the server has.
func TestCascades(t *testing.T) {
	c := serve(t)
	family := func(ns string, held ...string) *corev1.ConfigMap {
		a := put(t, c, ns, "a", nil)
		other := put(t, c, ns, "other", nil)
		b := put(t, c, ns, "b", nil, a)
		put(t, c, ns, "c", held, b)
		put(t, c, ns, "shared", nil, a, other)
		return a
	}
	drop(t, c, family("background"), metav1.DeletePropagationBackground)
	left(t, c, "background", "other:0 shared:1 ")
	drop(t, c, family("orphan"), metav1.DeletePropagationOrphan)
	left(t, c, "orphan", "b:0 c:1 other:0 shared:1 ")
	drop(t, c, family("foreground", "example.com/held"), metav1.DeletePropagationForeground)
	for { // c is held, so b and a wait
		o, err := client.ConfigMaps.Get(t.Context(), c, "foreground", "c")
		if err != nil {
			t.Fatal(err)
		}
		if o.DeletionTimestamp != nil {
			break
		}
		left(t, c, "foreground", "a:0 b:1 c:1 other:0 shared:1 ")
	}
	left(t, c, "foreground", "a:0 b:1 c:1 other:0 shared:1 ")
	if _, err := client.ConfigMaps.Merge(t.Context(), c, "foreground", "c", "", map[string]any{"metadata": map[string]any{"finalizers": nil}}); err != nil {
		t.Fatal(err)
	}
	left(t, c, "foreground", "other:0 shared:1 ")

	// A circle ends too.
	x := put(t, c, "circle", "x", nil)
	y := put(t, c, "circle", "y", nil, x)
	ref := map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "name": "y", "uid": y.UID, "blockOwnerDeletion": true}
	if _, err := client.ConfigMaps.Merge(t.Context(), c, "circle", "x", "", map[string]any{"metadata": map[string]any{"ownerReferences": []any{ref}}}); err != nil {
		t.Fatal(err)
	}
	drop(t, c, x, metav1.DeletePropagationForeground)
	left(t, c, "circle", "")

	// What is owned by what never was goes; by a kind that is not known stays; by a namesake from elsewhere goes.
	gone := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "never", UID: "never"}}
	put(t, c, "odd", "lost", nil, gone)
	far := put(t, c, "far", "far", nil)
	put(t, c, "odd", "far", nil, far)
	strange := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "odd", Name: "strange",
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "example.com/v1", Kind: "Thing", Name: "t", UID: "t"}}}}
	if _, err := client.ConfigMaps.Create(t.Context(), c, strange); err != nil {
		t.Fatal(err)
	}
	left(t, c, "odd", "strange:1 ")
}
