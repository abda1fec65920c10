package role_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	apiwatch "k8s.io/apimachinery/pkg/watch"

	"github.com/lighter-k8s/lighter/config"
	"github.com/lighter-k8s/lighter/store"
	"github.com/lighter-k8s/lighter/store/embedded"
	"github.com/lighter-k8s/lighter/store/etcd"
	"github.com/lighter-k8s/lighter/store/storetest"
)

// TestWatchFromBeforeTheStart: a server that was started anew shows what happened before, as long as the store keeps it, to
// watches with any selector; then what happens now; and says 410 of what is compacted.
func TestWatchFromBeforeTheStart(t *testing.T) {
	engines := map[string]func(t *testing.T) (change func(*config.Config), open func(dir string) (store.Store, error)){
		"embedded": func(*testing.T) (func(*config.Config), func(string) (store.Store, error)) {
			return nil, func(dir string) (store.Store, error) {
				return embedded.Open(filepath.Join(dir, "server", "store"), embedded.Options{})
			}
		},
		"etcd": func(t *testing.T) (func(*config.Config), func(string) (store.Store, error)) {
			endpoint := storetest.Etcd(t)
			return func(c *config.Config) { c.Server.Store, c.Server.Etcd.Endpoints = "etcd", []string{endpoint} },
				func(string) (store.Store, error) {
					return etcd.Open(t.Context(), etcd.Config{Endpoints: []string{endpoint}})
				}
		},
	}
	for name, engine := range engines {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			change, open := engine(t)
			s := serve(t, dir, change)
			maps := func(ns string) mapsOf { return mapsOf{t, s, ns} }
			maps("default").set("first", "red")
			from := maps("default").set("a", "red")
			maps("default").set("b", "blue")
			maps("kube-public").set("c", "red")
			maps("default").set("a", "blue")
			maps("default").set("b", "red")
			maps("default").set("a", "")
			s.end()

			s = serve(t, dir, change)
			all := []string{"ADDED default/b", "ADDED kube-public/c", "MODIFIED default/a", "MODIFIED default/b", "DELETED default/a"}
			for _, tt := range []struct {
				ns, labels, fields string
				want               []string
			}{
				{"", "color", "", all},
				{"kube-public", "color", "", []string{"ADDED kube-public/c"}},
				{"default", "color=red", "", []string{"DELETED default/a", "ADDED default/b"}},
				{"", "color=blue", "", []string{"ADDED default/b", "ADDED default/a", "DELETED default/b", "DELETED default/a"}},
				{"default", "", "metadata.name=b", []string{"ADDED default/b", "MODIFIED default/b"}},
			} {
				w := maps(tt.ns).watch(metav1.ListOptions{ResourceVersion: from, LabelSelector: tt.labels, FieldSelector: tt.fields})
				w.expect(tt.want...)
				ns := tt.ns
				if ns == "" {
					ns = "default"
				}
				if tt.fields == "" { // and on with what happens now
					maps(ns).set("now", strings.TrimPrefix(tt.labels, "color="))
					w.expect("ADDED " + ns + "/now")
					maps(ns).set("now", "")
					w.expect("DELETED " + ns + "/now")
				}
				w.Stop()
			}

			s.end()
			db, err := open(dir)
			if err != nil {
				t.Fatal(err)
			}
			at, err := db.Revision(t.Context())
			if err == nil {
				err = db.Compact(t.Context(), at)
			}
			if err := db.Close(); err != nil {
				t.Error(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			s = serve(t, dir, change)
			w := maps("default").watch(metav1.ListOptions{ResourceVersion: from})
			e := <-w.ResultChan()
			if err := apierrors.FromObject(e.Object); e.Type != apiwatch.Error || !apierrors.IsResourceExpired(err) {
				t.Errorf("got %s %v, want 410", e.Type, e.Object)
			}
		})
	}
}

// mapsOf writes ConfigMaps of one namespace of a server, and watches them.
type mapsOf struct {
	t  *testing.T
	s  *server
	ns string
}

// set makes or changes one with a label, or deletes it when there is no color; it gives the revision.
func (m mapsOf) set(name, color string) string {
	m.t.Helper()
	maps := m.s.typed.CoreV1().ConfigMaps(m.ns)
	if color == "" {
		if err := maps.Delete(m.t.Context(), name, metav1.DeleteOptions{}); err != nil {
			m.t.Fatal(err)
		}
		return ""
	}
	patch := fmt.Appendf(nil, `{"metadata":{"labels":{"color":%q}}}`, color)
	c, err := maps.Patch(m.t.Context(), name, types.MergePatchType, patch, metav1.PatchOptions{})
	if apierrors.IsNotFound(err) {
		c, err = maps.Create(m.t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"color": color}}}, metav1.CreateOptions{})
	}
	if err != nil {
		m.t.Fatal(err)
	}
	return c.ResourceVersion
}

type mapsWatch struct {
	apiwatch.Interface
	t *testing.T
}

func (m mapsOf) watch(o metav1.ListOptions) mapsWatch {
	m.t.Helper()
	w, err := m.s.typed.CoreV1().ConfigMaps(m.ns).Watch(m.t.Context(), o)
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(w.Stop)
	return mapsWatch{w, m.t}
}

// expect reads events and compares them with words such as "ADDED default/a".
func (w mapsWatch) expect(want ...string) {
	w.t.Helper()
	for _, want := range want {
		select {
		case e := <-w.ResultChan():
			c, ok := e.Object.(*corev1.ConfigMap)
			if !ok {
				w.t.Fatalf("got %s %v, want %s", e.Type, e.Object, want)
			}
			if got := fmt.Sprintf("%s %s/%s", e.Type, c.Namespace, c.Name); got != want {
				w.t.Fatalf("got %s, want %s", got, want)
			}
		case <-time.After(20 * time.Second):
			w.t.Fatalf("nothing, want %s", want)
		}
	}
}
