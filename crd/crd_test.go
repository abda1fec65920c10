package crd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/api/apiextensions"
	"github.com/lighter-k8s/lighter/store"
	"github.com/lighter-k8s/lighter/store/memory"
	"github.com/lighter-k8s/lighter/watch"
)

// moody is a store that sometimes does not list.
type moody struct {
	store.Store
	refuses atomic.Int32
}

func (m *moody) List(ctx context.Context, prefix string, p store.Page) ([]store.Entry, store.Revision, error) {
	if m.refuses.Add(-1) >= 0 {
		return nil, 0, errors.New("no leader")
	}
	return m.Store.List(ctx, prefix, p)
}

// Definitions are served as they come, change and go, each state of them in the end, also when the store does not answer at first.
func TestFollow(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	info := apiextensions.CustomResourceDefinition
	m := &moody{Store: memory.New()}
	state := watch.New(m, slog.New(slog.DiscardHandler), time.Now, []*api.Info{info})
	if err := state.Load(ctx); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 2)
	go func() { ended <- state.Run(ctx) }()
	published := make(chan string, 100)
	r := &Resources{State: state, Log: slog.New(slog.DiscardHandler), Now: time.Now, Publish: func(served, unserved []*api.Info) {
		var names []string
		for _, i := range served {
			names = append(names, i.Version+"/"+i.Resource)
		}
		for _, i := range unserved {
			names = append(names, "("+i.Version+"/"+i.Resource+")")
		}
		published <- strings.Join(names, " ")
	}}
	l := newLife(r) // whose status nobody writes here
	ready := make(chan struct{})
	put := func(name string, generation int64, change func(*apiextensionsv1.CustomResourceDefinition)) {
		t.Helper()
		op := store.Op{Key: watch.Key(info, "", name+".example.com")}
		if e, err := m.Get(ctx, op.Key, 0); err == nil {
			op.Expect = e.Revision
		}
		if change != nil {
			d := &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: name + ".example.com", UID: types.UID(name), Generation: generation},
				Spec: apiextensionsv1.CustomResourceDefinitionSpec{Group: "example.com", Scope: apiextensionsv1.ClusterScoped, Names: names{Plural: name, Kind: name},
					Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{Name: "v1", Served: true, Storage: true}}}}
			info.Default(d)
			d.Status = status(d, taken{}, metav1.Now())
			change(d)
			var err error
			if op.Value, err = api.EncodeStored(info, d); err != nil {
				t.Fatal(err)
			}
		}
		at, err := m.Commit(ctx, store.Txn{Ops: []store.Op{op}})
		if err == nil {
			err = state.Wait(ctx, uint64(at))
		}
		if err != nil {
			t.Fatal(err)
		}
		r.Settle(ctx)
	}
	same := func(*apiextensionsv1.CustomResourceDefinition) {}
	want := func(what, names string) {
		t.Helper()
		select {
		case got := <-published:
			if got != names {
				t.Errorf("%s: served %q, want %q", what, got, names)
			}
		default:
			t.Errorf("%s: nothing was published", what)
		}
	}
	boat := store.Op{Key: "/registry/example.com/boats/anna", Value: []byte(`{"apiVersion":"example.com/v1","kind":"boats","metadata":{"name":"anna"}}`)}
	if _, err := m.Commit(ctx, store.Txn{Ops: []store.Op{boat}}); err != nil {
		t.Fatal(err)
	}
	go func() { ended <- r.follow(ctx, l, func() { close(ready) }) }()
	<-ready
	put("boats", 1, same)
	want("a new one", "v1/boats")
	if items, _ := state.List(r.find("boats.example.com").stored, watch.Filter{}); len(items) != 1 {
		t.Errorf("what was stored before is not there: %v", items)
	}
	put("boats", 1, func(d *apiextensionsv1.CustomResourceDefinition) { d.Labels = map[string]string{"a": "b"} })
	if len(published) > 0 {
		t.Errorf("published again for nothing: %s", <-published)
	}
	put("ships", 1, func(d *apiextensionsv1.CustomResourceDefinition) { d.Status.Conditions = nil })
	if len(published) > 0 {
		t.Errorf("what is not established is served: %s", <-published)
	}
	m.refuses.Store(1)
	put("ships", 1, same)
	want("one that could not be read at first", "v1/boats v1/ships")
	put("boats", 2, func(d *apiextensionsv1.CustomResourceDefinition) {
		d.Spec.Versions[0].Served = false
		d.Spec.Versions = append(d.Spec.Versions, apiextensionsv1.CustomResourceDefinitionVersion{Name: "v2", Served: true})
	})
	want("another version", "v2/boats v1/ships (v1/boats)")
	put("boats", 0, nil)
	want("one that is gone", "v1/ships")
	if state.Info("example.com/boats") != nil {
		t.Error("memory still has it")
	}
	put("boats", 1, func(d *apiextensionsv1.CustomResourceDefinition) { d.UID = "another" })
	want("one of that name again", "v1/boats v1/ships")
	cancel()
	for range 2 {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	if got := fmt.Sprint(slices.Sorted(func(yield func(string) bool) {
		for name := range l.claims["example.com"] {
			if !yield(name) {
				return
			}
		}
	})); got != "[boats.example.com ships.example.com]" {
		t.Errorf("names are taken by %s", got)
	}
}
