package authz

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/client/clienttest"
)

// shelf is as much of a server as Ensure needs: objects by name, with versions and UIDs that are checked.
type shelf struct {
	client.Client // all else panics
	mu            sync.Mutex
	objects       map[string]client.Object
	version       int
	creates       int
	updates       int
	deletes       int
	rival         func(*shelf, client.Object) // called once, before the first write
}

func (s *shelf) List(_ context.Context, r client.Resource, _ string, _ client.Selection) (out []client.Object, version string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, o := range s.objects {
		if id(r, o) == key {
			out = append(out, o)
		}
	}
	return out, "1", nil
}

func (s *shelf) Get(_ context.Context, r client.Resource, namespace, name string) (client.Object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o, ok := s.objects[r.Resource+"/"+namespace+"/"+name]; ok {
		return o, nil
	}
	return nil, apierrors.NewNotFound(r.GroupResource(), name)
}

func (s *shelf) put(key string, o client.Object) client.Object {
	s.version++
	o = o.DeepCopyObject().(client.Object)
	o.SetResourceVersion(strconv.Itoa(s.version))
	if o.GetUID() == "" {
		o.SetUID(types.UID("uid-" + strconv.Itoa(s.version)))
	}
	s.objects[key] = o
	return o
}

func (s *shelf) before(o client.Object) {
	if f := s.rival; f != nil {
		s.rival = nil
		f(s, o)
	}
}

func (s *shelf) Create(_ context.Context, r client.Resource, namespace, name, _ string, o client.Object) (client.Object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before(o)
	if _, ok := s.objects[id(r, o)]; ok {
		return nil, apierrors.NewAlreadyExists(r.GroupResource(), name)
	}
	if o.GetResourceVersion() != "" || namespace != o.GetNamespace() {
		return nil, errors.New("resourceVersion should not be set on objects to be created")
	}
	if b, ok := o.(*rbacv1.ClusterRoleBinding); ok && s.objects["clusterroles//"+b.RoleRef.Name] == nil {
		return nil, errors.New("written before its role")
	}
	s.creates++
	return s.put(id(r, o), o), nil
}

func (s *shelf) Update(_ context.Context, r client.Resource, _ string, o client.Object) (client.Object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before(o)
	if old, ok := s.objects[id(r, o)]; !ok || old.GetResourceVersion() != o.GetResourceVersion() {
		return nil, apierrors.NewConflict(r.GroupResource(), o.GetName(), errors.New("changed"))
	}
	s.updates++
	return s.put(id(r, o), o), nil
}

func (s *shelf) Delete(_ context.Context, r client.Resource, namespace, name string, o v1.DeleteOptions) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := r.Resource + "/" + namespace + "/" + name
	if old, ok := s.objects[key]; !ok || old.GetUID() != *o.Preconditions.UID {
		return apierrors.NewConflict(r.GroupResource(), name, errors.New("another UID"))
	}
	s.deletes++
	delete(s.objects, key)
	return nil
}

func TestEnsure(t *testing.T) {
	s := &shelf{objects: map[string]client.Object{}}
	run := func(what string, creates, updates, deletes int) {
		t.Helper()
		s.creates, s.updates, s.deletes = 0, 0, 0
		if err := Ensure(t.Context(), s, Defaults()); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if s.creates != creates || s.updates != updates || s.deletes != deletes {
			t.Errorf("%s: %d created, %d updated, %d deleted, want %d %d %d", what, s.creates, s.updates, s.deletes, creates, updates, deletes)
		}
	}
	run("an empty cluster", len(Defaults()), 0, 0)
	run("again", 0, 0, 0)
	s.put("clusterroles//system:kube-dns", clusterRole("system:kube-dns"))
	run("rules were taken out", 0, 1, 0)
	delete(s.objects, "rolebindings/kube-public/system:controller:bootstrap-signer")
	run("a binding was deleted", 1, 0, 0)
	s.put("clusterrolebindings//system:discovery", clusterBinding("system:discovery", "cluster-admin", groups("system:authenticated")...))
	run("a binding to another role", 1, 0, 1)
	if got := s.objects["clusterrolebindings//system:discovery"].(*rbacv1.ClusterRoleBinding).RoleRef.Name; got != "system:discovery" {
		t.Errorf("it refers to %s", got)
	}
	s.put("clusterroles//view", clusterRole("view"))
	s.rival = func(s *shelf, o client.Object) { s.put("clusterroles//"+o.GetName(), o) }
	run("another server was quicker", 0, 0, 0)
	delete(s.objects, "clusterroles//view")
	s.rival = func(s *shelf, o client.Object) { s.put("clusterroles//"+o.GetName(), clusterRole(o.GetName())) }
	run("another server of an older version was quicker", 0, 1, 0)
}

// viewClient writes into a view; the first writes fail.
type viewClient struct {
	client.Client
	view  *clienttest.View
	fails int
}

func (c *viewClient) Update(_ context.Context, _ client.Resource, _ string, o client.Object) (client.Object, error) {
	if c.fails > 0 {
		c.fails--
		return nil, errors.New("no")
	}
	o = o.DeepCopyObject().(client.Object)
	o.SetResourceVersion("")
	return c.view.Set(o), nil
}

func TestRunAggregation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		roles, view := clienttest.Typed(userRoles()...)
		c := &viewClient{view: view, fails: 3}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- RunAggregation(ctx, roles, c, slog.New(slog.DiscardHandler)) }()
		time.Sleep(time.Minute)
		crontabs := clusterRole("crontabs", rule(read, "stable.example.com", "crontabs"))
		crontabs.Labels[aggregateTo+"view"] = "true"
		view.Set(crontabs)
		synctest.Wait()
		has := func(name string) bool {
			r, _ := roles.Get("", name)
			return slices.ContainsFunc(r.Rules, func(r rbacv1.PolicyRule) bool { return r.Resources[0] == "crontabs" })
		}
		if !has("view") || !has("edit") || !has("admin") {
			t.Errorf("view %v, edit %v, admin %v", has("view"), has("edit"), has("admin"))
		}
		at := view.Version()
		time.Sleep(time.Hour)
		if view.Version() != at {
			t.Errorf("%d writes at rest", view.Version()-at)
		}
		view.Delete("", "crontabs")
		synctest.Wait()
		if has("view") || has("admin") {
			t.Error("rules stay after their role has gone")
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
