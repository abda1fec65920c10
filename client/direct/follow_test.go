package direct

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/api/core"
	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/registry"
	"github.com/lighter-k8s/lighter/store"
	"github.com/lighter-k8s/lighter/store/memory"
	"github.com/lighter-k8s/lighter/watch"
)

// telling counts the goroutines that tell subscribers.
func telling() int {
	all := make([]byte, 1<<20)
	return strings.Count(string(all[:runtime.Stack(all, true)]), "direct.(*follower).")
}

// TestSubscribe: both kinds of subscribers are told of everything, once and in order; one who does not mind some
// milliseconds has no goroutine while nothing happens, and none is left at the end.
func TestSubscribe(t *testing.T) {
	for _, unhurried := range []bool{false, true} {
		t.Run(fmt.Sprint("unhurried ", unhurried), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { subscribe(t, unhurried) })
		})
	}
}

func subscribe(t *testing.T, unhurried bool) {
	engine, infos := memory.New(), []*api.Info{core.ConfigMap}
	log := slog.New(slog.DiscardHandler)
	state := watch.New(engine, log, time.Now, infos)
	if err := state.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	ran := make(chan error, 1)
	all, stop := context.WithCancel(t.Context())
	go func() { ran <- state.Run(all) }()
	server := &Server{Registry: registry.New(engine, state, log, time.Now, infos), Resources: map[schema.GroupVersionResource]*api.Info{core.ConfigMap.GroupVersionResource: core.ConfigMap}}
	put := func(name string, n int) {
		value, err := api.EncodeStored(core.ConfigMap, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: name}, Data: map[string]string{"n": fmt.Sprint(n)}})
		if err == nil {
			_, err = engine.Commit(t.Context(), store.Txn{Ops: []store.Op{{Key: watch.Key(core.ConfigMap, "a", name), Value: value, Expect: store.Any}}})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	put("before", 0)
	synctest.Wait()
	ctx, end := context.WithCancel(t.Context())
	var told []string
	server.View(client.ConfigMaps.Resource, client.Selection{Unhurried: unhurried}).Subscribe(ctx, func(c client.Change) {
		m := c.New.(*corev1.ConfigMap)
		told = append(told, m.Name+m.Data["n"])
	})
	rest := func(goroutines int) {
		t.Helper()
		time.Sleep(time.Second)
		synctest.Wait()
		if n := telling(); n != goroutines {
			t.Errorf("%d goroutines tell, want %d", n, goroutines)
		}
	}
	waiting := 1
	if unhurried {
		waiting = 0
	}
	want := []string{"before0"}
	for n := range 2000 {
		if n%400 == 0 {
			rest(waiting)
		}
		put("one", n)
		want = append(want, fmt.Sprint("one", n))
	}
	rest(waiting)
	if fmt.Sprint(told) != fmt.Sprint(want) {
		t.Errorf("told %d changes, want %d in order", len(told), len(want))
	}
	end()
	rest(0)
	put("after", 0)
	rest(0)
	if len(told) != len(want) {
		t.Errorf("after its end it was told %v", told[len(want):])
	}
	stop()
	if err := <-ran; err != nil {
		t.Error(err)
	}
}

// Subscribers whose context has ended are let go of as others come.
func TestEndedSubscribersGo(t *testing.T) {
	var r resting
	told := 0
	for n := range 10000 {
		r.add(func() bool { return n%100 != 0 }, func() { told++ })
	}
	if len(r.all) > 2*100+2*64 || told < 9000 {
		t.Errorf("%d are kept, %d were told", len(r.all), told)
	}
}
