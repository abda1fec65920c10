package watch_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/api/core"
	"github.com/lighter-k8s/lighter/store"
	"github.com/lighter-k8s/lighter/watch"
)

// An object that becomes unreadable is gone for who watches, its older state is not shown, and the others stay; it is back when it is readable.
func TestUnreadable(t *testing.T) {
	r := start(t)
	f := watch.Filter{}
	_, w := r.state.ListWatch(core.Pod, f)
	defer w.Close()
	r.put("x", "bad", pod("x", "bad", "n1", "web"))
	r.put("x", "good", pod("x", "good", "n1", "web"))
	at, err := r.store.Commit(t.Context(), store.Txn{Ops: []store.Op{{Key: watch.Key(core.Pod, "x", "bad"), Value: []byte("k8s:enc:what"), Expect: store.Any}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.state.Wait(t.Context(), uint64(at)); err != nil {
		t.Fatal(err)
	}
	check := func(state *watch.State) {
		t.Helper()
		items, _ := state.List(core.Pod, f)
		if len(items) != 1 || items[0].Name != "good" || state.Get(core.Pod, "x", "bad") != nil || len(state.By(core.Pod, "node", "n1")) != 1 {
			t.Errorf("%d items", len(items))
		}
		lost := state.Unreadable(core.Pod, f)
		if len(lost) != 1 || lost[0].Key != "/registry/pods/x/bad" || lost[0].Revision != uint64(at) || lost[0].Err == nil || len(state.Lost()) != 1 {
			t.Errorf("unreadable: %v", lost)
		}
		if n := len(state.Unreadable(core.Pod, watch.Filter{Namespace: "y"})) + len(state.Unreadable(core.Pod, watch.Filter{Namespace: "x", Name: "good"})) + len(state.Unreadable(core.ConfigMap, f)); n > 0 {
			t.Errorf("%d are unreadable elsewhere", n)
		}
	}
	check(r.state)
	// A start that finds it so.
	again := watch.New(r.store, slog.New(slog.DiscardHandler), time.Now, []*api.Info{core.Pod, core.ConfigMap})
	if err := again.Load(context.Background()); err != nil {
		t.Fatal(err)
	}
	check(again)
	r.put("x", "bad", pod("x", "bad", "n1", "web"))
	if lost := r.state.Unreadable(core.Pod, f); lost != nil || r.state.Get(core.Pod, "x", "bad") == nil {
		t.Errorf("readable again, and %v", lost)
	}
	got, _ := told(t, w, &f)
	var kinds []string
	for _, line := range got {
		kind, name, _ := strings.Cut(line, " ")
		name, _, _ = strings.Cut(name, "@")
		kinds = append(kinds, kind+" "+name)
	}
	if text := strings.Join(kinds, ", "); text != "ADDED x/bad, ADDED x/good, DELETED x/bad, ADDED x/bad" {
		t.Errorf("events: %s", text)
	}
}
