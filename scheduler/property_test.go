package scheduler

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lighter-k8s/lighter/client"
)

// state is all of a cache that decisions can see, without what depends on its history.
func state(c *cache, keys []term) map[string]any {
	out := map[string]any{}
	for name, n := range c.byName {
		var pods []string
		for _, p := range n.pods {
			pods = append(pods, p.key)
		}
		slices.Sort(pods)
		ports := slices.SortedFunc(slices.Values(n.ports), func(a, b port) int { return cmp.Compare(a.number, b.number) })
		out["node "+name] = fmt.Sprint(n.obj != nil, n.allocatable, n.allowed, n.requested, n.weighCPU, n.weighMemory, ports, pods)
		for _, k := range keys {
			if v := c.topology(k.label).at(n); v >= 0 {
				out["at "+name+" "+k.label] = fmt.Sprint(c.topology(k.label).names[v], c.topology(k.label).size[v])
			}
			out["selected "+name+" "+k.key] = c.selection(k.key, []matcher{k.who}).nodes[n.index]
		}
	}
	for key, h := range c.held.byKey {
		for at, n := range h.nodes {
			out["held "+key+" "+c.nodes[at].name] = n
		}
	}
	return out
}

func TestCacheKeptByChangesIsTheCacheMadeAnew(t *testing.T) {
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 1))
		c := newCache()
		nodes, pods := map[string]*corev1.Node{}, map[types.UID]*corev1.Pod{}
		owner := briefOf(newPod("o", ""))
		var keys []term
		for _, app := range []string{"a", "b", "c"} {
			pt := podTerm(zone, app)
			keys = append(keys, newTerm(&owner, &pt, 0))
		}
		for step := range 200 {
			name := fmt.Sprint("n", r.IntN(6))
			switch r.IntN(6) {
			case 0:
				nodes[name] = newNode(name, fmt.Sprintf("cpu=%d|%s=z%d", 1+r.IntN(9), zone, r.IntN(3)))
				c.setNode(nodes[name])
			case 1:
				delete(nodes, name)
				c.deleteNode(name)
			case 2:
				uid := types.UID(fmt.Sprint("p", r.IntN(20)))
				delete(pods, uid)
				c.deletePod(uid)
			case 3:
				k := keys[r.IntN(len(keys))]
				c.selection(k.key, []matcher{k.who})
			default:
				p := newPod(fmt.Sprint("p", r.IntN(20)), fmt.Sprintf("cpu=%d00m|app=%c", r.IntN(9), 'a'+rune(r.IntN(3))), on(name), hostPort(int32(r.IntN(5)), "", ""))
				if r.IntN(3) == 0 {
					apart(podTerm(zone, "b"))(p)
				}
				if r.IntN(4) == 0 {
					ends(p)
				}
				if old := pods[p.UID]; old != nil { // what a pod on a node may not change
					p.Spec.Affinity, p.Spec.Containers[0].Ports = old.Spec.Affinity, old.Spec.Containers[0].Ports
				}
				pods[p.UID] = p
				c.setPod(p)
			}
			if step%20 > 0 {
				continue
			}
			anew := newCache()
			for _, n := range nodes {
				anew.setNode(n)
			}
			for _, p := range pods {
				anew.setPod(p)
			}
			if got, want := state(c, keys), state(anew, keys); !reflect.DeepEqual(got, want) {
				for k := range maps.Keys(want) {
					if !reflect.DeepEqual(got[k], want[k]) {
						t.Errorf("seed %d step %d: %s: got %v, want %v", seed, step, k, got[k], want[k])
					}
				}
				t.Fatalf("seed %d step %d: got %d facts, want %d", seed, step, len(got), len(want))
			}
		}
	}
}

// breach is what a binding breaks, looked at as the API server sees it: C1, C2.
func breach(v client.View, nodes map[string]*corev1.Node, p *corev1.Pod) string {
	var mates []*corev1.Pod
	for _, o := range v.List("") {
		if q := o.(*corev1.Pod); q.Spec.NodeName == p.Spec.NodeName && q.UID != p.UID {
			mates = append(mates, q)
		}
	}
	var all []*corev1.Node
	for _, n := range nodes {
		all = append(all, n)
	}
	s := world(all, mates...)
	return why(s, &corev1.Pod{ObjectMeta: p.ObjectMeta, Spec: corev1.PodSpec{Containers: p.Spec.Containers, Affinity: p.Spec.Affinity}}, p.Spec.NodeName)
}

func TestNoBindingOverfillsANodeOrComesTwice(t *testing.T) {
	for seed := range uint64(12) {
		bubble(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 2))
			c, nodes := newCluster(), map[string]*corev1.Node{}
			for i := range 4 {
				n := newNode(fmt.Sprint("n", i), fmt.Sprintf("cpu=%d memory=8Gi pods=%d", 2+r.IntN(4), 3+r.IntN(8)))
				nodes[n.Name] = n
				c.set(n)
			}
			c.refuse = func(_ client.Resource, subresource, _ string) error {
				if r.IntN(6) == 0 {
					return apierrors.NewInternalError(fmt.Errorf("no luck"))
				}
				return nil
			}
			c.lose = func(string) bool { return r.IntN(6) == 0 }
			pods := c.view(client.Pods.Resource)
			bound := map[types.UID]string{}
			pods.Subscribe(t.Context(), func(x client.Change) {
				p := x.Object().(*corev1.Pod)
				if x.New != nil && p.Spec.NodeName != "" {
					if was, ok := bound[p.UID]; ok && was != p.Spec.NodeName {
						t.Errorf("seed %d: pod %s went from %s to %s", seed, p.Name, was, p.Spec.NodeName)
					}
					bound[p.UID] = p.Spec.NodeName
				}
			})
			c.check = func(p *corev1.Pod) {
				if b := breach(pods, nodes, p); b != "" {
					t.Errorf("seed %d: pod %s on %s: %s", seed, p.Name, p.Spec.NodeName, b)
				}
			}
			c.start(t)
			for i := range 60 {
				switch name := fmt.Sprint("p", i); {
				case r.IntN(4) == 0 && i > 0:
					c.delete(newPod(fmt.Sprint("p", r.IntN(i)), ""))
				default:
					p := newPod(name, fmt.Sprintf("cpu=%d00m memory=1Gi|app=%c", 1+r.IntN(15), 'a'+rune(r.IntN(4))), priority(int32(r.IntN(3))))
					if r.IntN(3) == 0 {
						apart(podTerm(corev1.LabelHostname, p.Labels["app"]))(p)
					}
					c.set(p)
				}
				if r.IntN(3) == 0 {
					time.Sleep(time.Duration(r.IntN(3000)) * time.Millisecond)
				}
			}
			c.refuse = nil
			time.Sleep(time.Minute)
			settle()
			// Whoever still waits must not fit anywhere, seen with fresh eyes.
			var all []*corev1.Pod
			for _, o := range pods.List("") {
				if p := o.(*corev1.Pod); p.Spec.NodeName != "" {
					all = append(all, p)
				}
			}
			s := world(slices.Collect(maps.Values(nodes)), all...)
			for _, o := range pods.List("") {
				if p := o.(*corev1.Pod); p.Spec.NodeName == "" && p.Status.NominatedNodeName == "" {
					for name := range nodes {
						if why(s, p, name) == "" {
							t.Errorf("seed %d: pod %s waits, but fits on %s: %s", seed, p.Name, name, scheduled(p))
						}
					}
				}
			}
			if n := len(strings.Join(c.writes, "")); n == 0 {
				t.Error("nothing was written")
			}
		})
	}
}
