package deployment

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/controller"
	world "github.com/lighter-k8s/lighter/controller/controllertest"
	"github.com/lighter-k8s/lighter/controller/pods"
	"github.com/lighter-k8s/lighter/controller/replicaset"
)

// cluster is a world whose actors take turns when the test says so.
type cluster struct {
	*world.World
	*rand.Rand
	now time.Time
}

func (c *cluster) deploy() []controller.Action {
	d := world.Get(c.World, client.Deployments, "ns", "web")
	v := View{Deployment: d, Now: c.now}
	for _, set := range world.List(c.World, client.ReplicaSets) {
		if set.Name == setName(d) {
			v.Namesake = set
		}
		v.Sets = append(v.Sets, set)
	}
	if d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
		v.Pods = world.List(c.World, client.Pods)
	}
	return reconcile(v)
}

func (c *cluster) replicate(set *appsv1.ReplicaSet) []controller.Action {
	v := replicaset.View{Set: set, Kind: replicaset.Kind, Now: c.now}
	for _, p := range world.List(c.World, client.Pods) {
		if v1.IsControlledBy(p, set) {
			v.Pods = append(v.Pods, p)
		}
	}
	return replicaset.Decide(v)
}

// kubelet makes one pod ready or lets one that is deleted end.
func (c *cluster) kubelet() bool {
	for _, i := range c.Perm(len(world.List(c.World, client.Pods))) {
		p := world.List(c.World, client.Pods)[i]
		switch {
		case p.DeletionTimestamp != nil:
			c.Remove(client.Pods.Resource, p.Namespace, p.Name)
			return true
		case !pods.Ready(p):
			p = p.DeepCopy()
			p.Spec.NodeName = fmt.Sprint("n", c.IntN(3))
			world.SetReady(p, c.now)
			world.Put(c.World, client.Pods, p)
			return true
		}
	}
	return false
}

// turn lets a random actor act, and tells whether anything was done.
func (c *cluster) turn(t *testing.T) bool {
	c.now = c.now.Add(time.Second)
	actors := c.Perm(3)
	for _, a := range actors {
		var todo []controller.Action
		switch a {
		case 0:
			todo = c.deploy()
		case 1:
			all := world.List(c.World, client.ReplicaSets)
			for _, i := range c.Perm(len(all)) {
				if todo = writes(c.replicate(all[i])); len(todo) > 0 {
					break
				}
			}
		case 2:
			if c.kubelet() {
				return true
			}
		}
		if todo = writes(todo); len(todo) > 0 {
			if err := c.Do(todo); err != nil {
				t.Fatal(err)
			}
			return true
		}
	}
	return false
}

func writes(todo []controller.Action) (out []controller.Action) {
	for _, a := range todo {
		if a.Requeue == 0 {
			out = append(out, a)
		}
	}
	return out
}

// settle takes turns until nobody has anything left to do (B0), and checks after each.
func (c *cluster) settle(t *testing.T, check func()) {
	t.Helper()
	for n := 0; c.turn(t); n++ {
		check()
		if n > 5000 {
			t.Fatalf("it never settles: %s", world.Show(c.deploy()))
		}
	}
}

func (c *cluster) count() (active, ready int32) {
	for _, p := range world.List(c.World, client.Pods) {
		if pods.Active(p) {
			active++
			if pods.Ready(p) {
				ready++
			}
		}
	}
	return active, ready
}

// B1 and B0: whatever the order in which things happen, a rollout stays within its bounds and comes to rest.
func TestRolloutsStayWithinBounds(t *testing.T) {
	for seed := range uint64(25) {
		r := rand.New(rand.NewPCG(seed, 1))
		c := &cluster{Rand: r, now: world.Start}
		c.World = world.New(func() time.Time { return c.now })
		c.Slow = true
		replicas := int32(r.IntN(12))
		strategy := fmt.Sprintf("%d%%/%d%%", r.IntN(60), r.IntN(60))
		world.Put(c.World, client.Deployments, newDeployment(replicas, "v0", strategy))
		c.settle(t, func() {})
		surge, unavailable := bounds(newDeployment(replicas, "", strategy).Spec.Strategy.RollingUpdate, replicas)
		check := func() {
			if active, ready := c.count(); active > replicas+surge || ready < replicas-unavailable {
				t.Fatalf("seed %d: %d of %d pods with %d ready, strategy %s", seed, active, replicas, ready, strategy)
			}
		}
		for range 3 {
			for range r.IntN(40) { // a new template may come before the last is rolled out
				c.turn(t)
				check()
			}
			world.Change(c.World, client.Deployments, "ns", "web", func(d *appsv1.Deployment) {
				d.Spec.Template.Spec.Containers[0].Image = fmt.Sprint("v", r.IntN(4))
			})
		}
		c.settle(t, check)
		d := world.Get(c.World, client.Deployments, "ns", "web")
		p := condition(d.Status, appsv1.DeploymentProgressing)
		if active, _ := c.count(); active != replicas || d.Status.UpdatedReplicas != replicas || p == nil || p.Reason != allAvailable {
			t.Fatalf("seed %d: %d pods, %d updated of %d, %v", seed, active, d.Status.UpdatedReplicas, replicas, p)
		}
	}
}

// B0 with every kind of change of mind amid rollouts.
func TestDeploymentsComeToRest(t *testing.T) {
	for seed := range uint64(25) {
		r := rand.New(rand.NewPCG(seed, 2))
		c := &cluster{Rand: r, now: world.Start}
		c.World = world.New(func() time.Time { return c.now })
		c.Slow = true
		strategies := []string{"25%/25%", "1/0", "0/1", "Recreate"}
		world.Put(c.World, client.Deployments, newDeployment(3, "v0", "1/0"))
		change := func(f func(d *appsv1.Deployment)) { world.Change(c.World, client.Deployments, "ns", "web", f) }
		for range 8 {
			for range r.IntN(25) {
				c.turn(t)
			}
			switch r.IntN(4) {
			case 0:
				change(func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = fmt.Sprint("v", r.IntN(5)) })
			case 1:
				change(func(d *appsv1.Deployment) { d.Spec.Replicas = ptr.To(int32(r.IntN(10))) })
			case 2:
				change(func(d *appsv1.Deployment) { d.Spec.Paused = !d.Spec.Paused })
			case 3:
				change(func(d *appsv1.Deployment) {
					d.Spec.Strategy = newDeployment(0, "", strategies[r.IntN(len(strategies))]).Spec.Strategy
				})
			}
		}
		c.settle(t, func() {}) // paused or not
		change(func(d *appsv1.Deployment) { d.Spec.Paused = false })
		c.settle(t, func() {})
		d := world.Get(c.World, client.Deployments, "ns", "web")
		if active, _ := c.count(); active != replicasOf(d) || d.Status.UpdatedReplicas != active || d.Status.ObservedGeneration != d.Generation {
			t.Fatalf("seed %d: %d pods, status %v, want %d", seed, active, d.Status, replicasOf(d))
		}
		if n := len(world.List(c.World, client.ReplicaSets)); n > 3 {
			t.Fatalf("seed %d: %d sets are kept, history limit is 2", seed, n)
		}
	}
}

// hollow makes every pod ready as soon as it is there.
func hollow(ctx context.Context, w *world.World) {
	client.Pods.View(ctx, w, client.Selection{}).Subscribe(ctx, func(_, p *corev1.Pod) {
		if p != nil && !pods.Ready(p) {
			p = p.DeepCopy()
			p.Spec.NodeName = "n"
			world.SetReady(p, time.Now())
			world.Put(w, client.Pods, p)
		}
	})
}

// The whole of it: the story that kubectl rollout tells.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := world.New(time.Now)
		env := w.Env()
		var wg sync.WaitGroup
		wg.Go(func() { _ = env.Events.Run(t.Context()) })
		wg.Go(func() { _ = Run(t.Context(), env) })
		wg.Go(func() { _ = replicaset.Run(t.Context(), env) })
		t.Cleanup(wg.Wait)
		hollow(t.Context(), w)
		image := func(s string) {
			world.Change(w, client.Deployments, "ns", "web", func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = s })
			time.Sleep(time.Minute)
		}
		shown := func() string { // revision and size of each set, by image
			var out []string
			for _, image := range []string{"v1", "v2", "v3"} {
				for _, set := range world.List(w, client.ReplicaSets) {
					if set.Spec.Template.Spec.Containers[0].Image == image {
						out = append(out, fmt.Sprintf("%s:r%s=%d", image, set.Annotations[revisionKey], set.Status.AvailableReplicas))
					}
				}
			}
			d := world.Get(w, client.Deployments, "ns", "web")
			return fmt.Sprintf("%s, at r%s", strings.Join(out, " "), d.Annotations[revisionKey])
		}
		expect := func(want string) {
			t.Helper()
			if got := shown(); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		}
		world.Put(w, client.Deployments, newDeployment(3, "v1", "1/0"))
		time.Sleep(time.Minute)
		expect("v1:r1=3, at r1")
		image("v2")
		expect("v1:r1=0 v2:r2=3, at r2")
		image("v1") // kubectl rollout undo
		expect("v1:r3=3 v2:r2=0, at r3")
		image("v3")
		image("v2")
		expect("v1:r3=0 v2:r5=3 v3:r4=0, at r5")
		world.Change(w, client.Deployments, "ns", "web", func(d *appsv1.Deployment) { d.Spec.Replicas = ptr.To[int32](10) })
		time.Sleep(time.Minute)
		expect("v1:r3=0 v2:r5=10 v3:r4=0, at r5")

		st := world.Get(w, client.Deployments, "ns", "web").Status
		if c := condition(st, appsv1.DeploymentProgressing); c == nil || c.Reason != allAvailable || st.UpdatedReplicas != 10 || st.UnavailableReplicas != 0 || *st.TerminatingReplicas != 0 {
			t.Errorf("status %+v", st)
		}
		before := w.Writes()
		time.Sleep(2 * time.Hour)
		if n := w.Writes() - before; n != 0 {
			t.Errorf("%d writes while idle", n)
		}
		first := setName(newDeployment(3, "v1", "1/0"))
		said := map[string]bool{}
		for _, e := range world.List(w, client.Events) {
			said[e.InvolvedObject.Kind+" "+e.Reason+" "+e.Message] = true
		}
		for _, want := range []string{"from 0 to 3", "from 3 to 2", "from 1 to 0"} {
			direction := map[bool]string{true: "up", false: "down"}[strings.HasPrefix(want, "from 0")]
			if want = fmt.Sprintf("Deployment ScalingReplicaSet Scaled %s replica set %s %s", direction, first, want); !said[want] {
				t.Errorf("no event %q", want)
			}
		}
	})
}
