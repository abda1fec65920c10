package scheduler

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// node is one node in integers. A node that pods name but that does not exist (yet) has no obj and takes none.
type node struct {
	index       int32 // in cache.nodes, for as long as the node lives
	name        string
	obj         *corev1.Node // shared: never written to
	allocatable amounts
	allowed     int // pods
	requested   amounts
	weighCPU    int64 // of all pods, as scores count them
	weighMemory int64
	ports       []port
	pods        []*pod
	nominated   []*ask // that wait for room here
	cordoned    bool
	taints      []corev1.Taint
	kept        int              // not forgotten while above 0
	images      map[string]int64 // bytes by name
}

// cache is what the nodes have and what is on them, kept by the changes of the views and by
// our own decisions that the views do not show yet.
type cache struct {
	resources resourceNames
	nodes     []*node // holes are nil
	order     []*node // those that exist, oldest first
	free      []int32 // holes in nodes
	byName    map[string]*node
	pods      map[types.UID]*pod           // all that are counted on a node
	images    map[string]int               // on how many nodes the image is
	next      int                          // where in order the next search begins
	total     []int64                      // score's, kept for its memory
	part      []int64                      // the same
	labels    map[string]map[string]string // of pods on nodes, to be shared
	keys      []string                     // share's, kept for its memory
	words     []byte                       // the same
	index
}

func newCache() *cache {
	return &cache{
		resources: resourceNames{numbers: map[corev1.ResourceName]int{}},
		byName:    map[string]*node{}, pods: map[types.UID]*pod{}, images: map[string]int{}, labels: map[string]map[string]string{},
		index: newIndex(),
	}
}

// node returns the node of that name, existing or not.
func (c *cache) node(name string) *node {
	if n := c.byName[name]; n != nil {
		return n
	}
	n := &node{name: name}
	if k := len(c.free); k > 0 {
		n.index, c.free = c.free[k-1], c.free[:k-1]
		c.nodes[n.index] = n
	} else {
		n.index = int32(len(c.nodes))
		c.nodes = append(c.nodes, n)
	}
	c.byName[name] = n
	c.placeNode(n)
	return n
}

// setNode takes in a node's newest state.
func (c *cache) setNode(obj *corev1.Node) {
	n := c.node(obj.Name)
	if n.obj == nil {
		c.order = append(c.order, n)
	}
	n.obj, n.cordoned, n.taints = obj, obj.Spec.Unschedulable, obj.Spec.Taints
	n.allocatable = c.resources.amounts(obj.Status.Allocatable)
	n.allowed = int(obj.Status.Allocatable.Pods().Value())
	c.setImages(n, obj.Status.Images)
	c.placeNode(n)
}

func (c *cache) setImages(n *node, list []corev1.ContainerImage) {
	for name := range n.images {
		if c.images[name]--; c.images[name] == 0 {
			delete(c.images, name)
		}
	}
	n.images = nil
	if len(list) > 0 {
		n.images = map[string]int64{}
	}
	for _, image := range list {
		for _, name := range image.Names {
			if _, ok := n.images[name]; !ok {
				c.images[name]++
			}
			n.images[name] = image.SizeBytes
		}
	}
}

// deleteNode takes a node out; pods that still name it stay counted on it.
func (c *cache) deleteNode(name string) {
	n := c.byName[name]
	if n == nil || n.obj == nil {
		return
	}
	c.setImages(n, nil)
	n.obj, n.allocatable, n.allowed, n.cordoned, n.taints = nil, amounts{}, 0, false, nil
	c.order = slices.DeleteFunc(c.order, func(o *node) bool { return o == n })
	c.placeNode(n)
	c.dropNode(n)
}

// dropNode forgets a node that neither exists nor has pods.
func (c *cache) dropNode(n *node) {
	if n.obj == nil && len(n.pods) == 0 && n.kept == 0 {
		for _, a := range n.nominated {
			a.nominated = nil
		}
		delete(c.byName, n.name)
		c.nodes[n.index] = nil
		c.free = append(c.free, n.index)
	}
}

// keep holds a node in the cache until the returned function is called.
func (c *cache) keep(n *node) func() {
	n.kept++
	return func() {
		n.kept--
		c.dropNode(n)
	}
}

// assume counts a pod on the node that was chosen for it.
func (c *cache) assume(p *pod, n *node) {
	p.assumed = true
	c.count(p, n)
}

// count puts a pod on a node.
func (c *cache) count(p *pod, n *node) {
	p.node = n
	c.pods[p.uid] = p
	n.pods = append(n.pods, p)
	n.ports = append(n.ports, p.ports...)
	n.requested.add(&p.requests, 1)
	n.weighCPU += p.weighCPU
	n.weighMemory += p.weighMemory
	c.indexPod(p, 1)
}

// discount takes a pod off its node.
func (c *cache) discount(p *pod) {
	n := p.node
	c.indexPod(p, -1)
	delete(c.pods, p.uid)
	i := slices.Index(n.pods, p)
	n.pods[i] = n.pods[len(n.pods)-1]
	n.pods[len(n.pods)-1] = nil
	n.pods = n.pods[:len(n.pods)-1]
	for _, q := range p.ports {
		i := slices.Index(n.ports, q)
		n.ports = slices.Delete(n.ports, i, i+1)
	}
	n.requested.add(&p.requests, -1)
	n.weighCPU -= p.weighCPU
	n.weighMemory -= p.weighMemory
	p.node, p.assumed = nil, false
	c.dropNode(n)
}

// setPod takes in the newest state of a pod that has a node and is not finished. It tells whether
// that changed what is counted, other than by our own decision coming true.
func (c *cache) setPod(obj *corev1.Pod) bool {
	old := c.pods[obj.UID]
	p := c.newPod(obj)
	p.labels = c.share(obj.Labels)
	if old != nil {
		if old.node.name == obj.Spec.NodeName && old.requests.equal(&p.requests) && old.weighCPU == p.weighCPU &&
			old.weighMemory == p.weighMemory && sameNeighbour(&old.brief, &p.brief) {
			old.brief, old.key, old.assumed = p.brief, p.key, false
			return false
		}
		c.discount(old)
	}
	c.count(p, c.node(obj.Spec.NodeName))
	return true
}

// maxLabels is how many sets of labels are known for sharing; then all are forgotten.
const maxLabels = 1024

// share gives the labels of an earlier pod that are the same: those of one ReplicaSet have them in common.
func (c *cache) share(labels map[string]string) map[string]string {
	if len(labels) == 0 {
		return nil
	}
	c.keys = c.keys[:0]
	for k := range labels {
		c.keys = append(c.keys, k)
	}
	slices.Sort(c.keys)
	c.words = c.words[:0]
	for _, k := range c.keys {
		c.words = append(append(append(append(c.words, k...), 0), labels[k]...), 0)
	}
	if known, ok := c.labels[string(c.words)]; ok {
		return known
	}
	if len(c.labels) >= maxLabels {
		clear(c.labels)
	}
	c.labels[string(c.words)] = labels
	return labels
}

// deletePod forgets a pod and tells whether it was counted.
func (c *cache) deletePod(uid types.UID) bool {
	p := c.pods[uid]
	if p != nil {
		c.discount(p)
	}
	return p != nil
}
