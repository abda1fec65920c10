package node

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/netip"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/controller"
)

// ranges knows which parts of the cluster's pod addresses are taken. It is filled from the nodes
// themselves, so that a restart forgets nothing. Safe for concurrent use.
type ranges struct {
	cluster netip.Prefix
	size    int // bits of a part

	mu    sync.Mutex
	taken map[int]int       // part: how many nodes have (some of) it
	of    map[string][2]int // node: first and last part, inclusive
	next  int               // parts are handed out in turn, so that one that came free rests
}

func newRanges(cluster netip.Prefix, size int) *ranges {
	return &ranges{cluster: cluster, size: size, taken: map[int]int{}, of: map[string][2]int{}}
}

func (r *ranges) count() int { return 1 << max(0, r.size-r.cluster.Bits()) }

func number(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}

// part is the i-th part.
func (r *ranges) part(i int) netip.Prefix {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], number(r.cluster.Addr())+uint32(i)<<(32-r.size))
	return netip.PrefixFrom(netip.AddrFrom4(b), r.size)
}

// span is which parts a prefix covers, ok false if none.
func (r *ranges) span(p netip.Prefix) (at [2]int, ok bool) {
	if !p.IsValid() || !p.Addr().Is4() || !p.Overlaps(r.cluster) {
		return at, false
	}
	if p.Bits() <= r.cluster.Bits() {
		return [2]int{0, r.count() - 1}, true
	}
	first := number(p.Masked().Addr())
	last := first + uint32(1)<<(32-p.Bits()) - 1
	base, shift := number(r.cluster.Addr()), 32-r.size
	return [2]int{int((first - base) >> shift), int((last - base) >> shift)}, true
}

// hold notes what a node has; an invalid prefix is nothing.
func (r *ranges) hold(node string, p netip.Prefix) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if at, ok := r.of[node]; ok {
		for i := at[0]; i <= at[1]; i++ {
			if r.taken[i]--; r.taken[i] == 0 {
				delete(r.taken, i)
			}
		}
		delete(r.of, node)
	}
	if at, ok := r.span(p); ok {
		for i := at[0]; i <= at[1]; i++ {
			r.taken[i]++
		}
		r.of[node] = at
	}
}

// give takes a free part for a node, or the one already given to it; ok false: all are taken.
func (r *ranges) give(node string) (p netip.Prefix, ok bool) {
	r.mu.Lock()
	if at, has := r.of[node]; has {
		r.mu.Unlock()
		return r.part(at[0]), true
	}
	n := r.count()
	for range n {
		i := r.next % n
		r.next = i + 1
		if r.taken[i] == 0 {
			r.mu.Unlock()
			r.hold(node, r.part(i))
			return r.part(i), true
		}
	}
	r.mu.Unlock()
	return p, false
}

func podCIDR(n *corev1.Node) netip.Prefix {
	p, _ := netip.ParsePrefix(n.Spec.PodCIDR) // invalid: none
	return p
}

// cidrView is everything decideCIDR may know of one node.
type cidrView struct {
	Node *corev1.Node
	Free netip.Prefix // what it can have; invalid: nothing is left
}

// decideCIDR gives the node its pod addresses, if it has none. The write holds only if nobody else wrote the node.
func decideCIDR(v cidrView) []controller.Action {
	if v.Node.Spec.PodCIDR != "" || v.Node.DeletionTimestamp != nil {
		return nil
	}
	if !v.Free.IsValid() {
		return []controller.Action{controller.Say(client.Reference(nodeKind, v.Node), corev1.EventTypeNormal, "CIDRNotAvailable",
			fmt.Sprintf("Node %s status is now: CIDRNotAvailable", v.Node.Name))}
	}
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"resourceVersion": v.Node.ResourceVersion},
		"spec":     map[string]any{"podCIDR": v.Free.String(), "podCIDRs": []string{v.Free.String()}},
	})
	if err != nil {
		panic(err) // strings
	}
	return []controller.Action{controller.Patch(client.Nodes, v.Node, "", types.MergePatchType, patch, "pod addresses "+v.Free.String())}
}

// runCIDR hands out parts of the cluster's pod addresses, one node after the other.
func runCIDR(ctx context.Context, env controller.Env, nodes client.TypedView[*corev1.Node], cluster netip.Prefix, size int) error {
	if !cluster.Addr().Is4() || size < cluster.Bits() || size > 30 {
		return fmt.Errorf("pod addresses %s cannot be parted into /%d", cluster, size)
	}
	r, q := newRanges(cluster, size), env.Queue("node_ipam")
	if err := nodes.WaitSynced(ctx); err != nil {
		return nil // ctx ended
	}
	for _, n := range nodes.List("") { // first of all what is taken
		r.hold(n.Name, podCIDR(n))
	}
	controller.Feed(ctx, q, nodes, func(old, new *corev1.Node) (keys []string) {
		switch {
		case new == nil:
			r.hold(old.Name, netip.Prefix{})
			for _, n := range nodes.List("") { // perhaps one waits for what came free
				if n.Spec.PodCIDR == "" {
					keys = append(keys, n.Name)
				}
			}
		case new.Spec.PodCIDR == "":
			if old == nil {
				keys = []string{new.Name}
			}
		case old == nil || old.Spec.PodCIDR != new.Spec.PodCIDR:
			r.hold(new.Name, podCIDR(new))
		}
		return keys
	})
	loop := controller.Loop[cidrView]{Name: "node cidr", Env: env, Queue: q, Views: []client.View{nodes.View}, Workers: 1, Decide: decideCIDR,
		Look: func(key string) (cidrView, bool) {
			n, ok := nodes.Get("", key)
			if !ok || n.Spec.PodCIDR != "" {
				return cidrView{}, false
			}
			free, _ := r.give(n.Name)
			if _, ok := nodes.Get("", key); !ok { // deleted meanwhile, and the feed has perhaps already said so
				r.hold(key, netip.Prefix{})
				return cidrView{}, false
			}
			return cidrView{n, free}, true
		}}
	return loop.Run(ctx)
}
