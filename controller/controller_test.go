package controller_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/client/clienttest"
	"github.com/lighter-k8s/lighter/controller"
	world "github.com/lighter-k8s/lighter/controller/controllertest"
)

func configMap(name string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: v1.ObjectMeta{Namespace: "ns", Name: name}}
}

// start runs a loop whose only key is "k".
func start(t *testing.T, l controller.Loop[int]) {
	l.Queue.Add("k")
	done := make(chan error)
	go func() { done <- l.Run(t.Context()) }()
	t.Cleanup(func() {
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestLoopRetriesAndReports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := world.New(time.Now)
		w.Refuse(func(_ controller.Verb, _ client.Resource, o client.Object) error {
			if o.GetName() == "bad" {
				return errors.New("not this one")
			}
			return nil
		})
		looks := 0
		start(t, controller.Loop[int]{Env: w.Env(), Queue: controller.NewQueue(),
			Look: func(string) (int, bool) { looks++; return looks, looks <= 3 },
			Decide: func(look int) []controller.Action {
				if look == 1 {
					panic("a bug")
				}
				return []controller.Action{
					controller.Update(client.ConfigMaps, world.Put(w, client.ConfigMaps, configMap("first")), "is done"),
					controller.Create(client.ConfigMaps, configMap("bad"), "fails"),
					controller.Update(client.ConfigMaps, configMap("late"), "is not tried"),
				}
			},
			Failed: func(look int, a controller.Action, err error) []controller.Action {
				return []controller.Action{controller.Create(client.ConfigMaps, configMap(fmt.Sprintf("report-%d-%s-%s", look, a.Object.GetName(), err)), "")}
			}})
		time.Sleep(time.Second)
		synctest.Wait()
		if looks != 4 {
			t.Errorf("%d looks, want 4: after a panic, two errors and an end", looks)
		}
		got := fmt.Sprint(world.Names(world.List(w, client.ConfigMaps)))
		if want := "[first report-2-bad-not this one report-3-bad-not this one]"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
}

// slow is a client each of whose creates takes a millisecond.
type slow struct {
	client.Client
	busy, most, calls atomic.Int32
	refuse            bool
}

func (s *slow) Create(ctx context.Context, r client.Resource, ns, name, sub string, o client.Object) (client.Object, error) {
	s.calls.Add(1)
	s.most.Store(max(s.most.Load(), s.busy.Add(1)))
	defer s.busy.Add(-1)
	time.Sleep(time.Millisecond)
	if s.refuse {
		return nil, errors.New("no")
	}
	return s.Client.Create(ctx, r, ns, name, sub, o)
}

func TestLoopActsTogether(t *testing.T) {
	for name, refuse := range map[string]bool{"many writes at the same time": false, "but only one of what is refused": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := world.New(time.Now)
				s := &slow{Client: w, refuse: refuse}
				env := w.Env()
				env.Client = s
				var took time.Duration
				looks := 0
				start(t, controller.Loop[int]{Env: env, Queue: controller.NewQueue(),
					Look: func(string) (int, bool) { looks++; return 0, looks == 1 },
					Decide: func(int) (todo []controller.Action) {
						for i := range 1000 {
							todo = append(todo, controller.Create(client.ConfigMaps, configMap(fmt.Sprint("c", i)), ""))
						}
						return todo
					}})
				for began := time.Now(); !refuse && len(world.List(w, client.ConfigMaps)) < 1000; took = time.Since(began) {
					time.Sleep(time.Millisecond)
				}
				time.Sleep(time.Second)
				switch {
				case refuse && s.calls.Load() != 1:
					t.Errorf("%d calls", s.calls.Load())
				case !refuse && (took > 50*time.Millisecond || s.most.Load() > 32):
					t.Errorf("took %s, %d at the same time", took, s.most.Load())
				}
			})
		})
	}
}

// late is a client whose view hears of writes only when the test lets it.
type late struct {
	client.Client
	view *clienttest.View
}

func (l late) View(context.Context, client.Resource, client.Selection) client.View { return l.view }

func TestLoopNeverDecidesOnAnOlderWorld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := world.New(time.Now)
		shown := clienttest.NewView()
		env := w.Env()
		env.Client = late{w, shown}
		maps := client.ConfigMaps.View(t.Context(), env.Client, client.Selection{})
		other := client.Secrets.View(t.Context(), late{w, clienttest.NewView()}, client.Selection{}) // never changes, not waited for
		q := controller.NewQueue()
		var seen []string
		start(t, controller.Loop[int]{Env: env, Queue: q, Views: []client.View{maps.View, other.View},
			Look: func(string) (int, bool) {
				seen = append(seen, fmt.Sprint(world.Names(maps.List(""))))
				return len(seen), true
			},
			Decide: func(look int) []controller.Action {
				switch look {
				case 1:
					return []controller.Action{controller.Create(client.ConfigMaps, configMap("a"), "")}
				case 2:
					return []controller.Action{controller.Delete(client.ConfigMaps, world.Get(w, client.ConfigMaps, "ns", "a"), "")}
				}
				return nil
			}})
		synctest.Wait()
		q.Add("k")
		time.Sleep(time.Second)
		if len(seen) != 1 {
			t.Fatalf("looked before the create was shown: %v", seen)
		}
		shown.Set(world.Get(w, client.ConfigMaps, "ns", "a"))
		synctest.Wait()
		q.Add("k")
		time.Sleep(time.Second)
		if len(seen) != 2 {
			t.Fatalf("looked before the delete was shown: %v", seen)
		}
		shown.Set(configMap("b")) // something else
		time.Sleep(time.Second)
		shown.Delete("ns", "a")
		synctest.Wait()
		if got := fmt.Sprint(seen); got != "[[] [a] [b]]" {
			t.Errorf("saw %s", got)
		}
	})
}
