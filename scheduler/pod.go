package scheduler

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	apiresource "k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/component-helpers/resource"
	corev1helpers "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
)

// amounts are quantities of resources as integers.
type amounts struct {
	cpu      int64   // millicores
	memory   int64   // bytes
	storage  int64   // bytes of ephemeral storage
	extended []int64 // units, at the resource's number in resourceNames; may be shorter than that
}

func (a *amounts) add(b *amounts, sign int64) {
	a.cpu += sign * b.cpu
	a.memory += sign * b.memory
	a.storage += sign * b.storage
	for len(a.extended) < len(b.extended) {
		a.extended = append(a.extended, 0)
	}
	for i, n := range b.extended {
		a.extended[i] += sign * n
	}
}

func (a *amounts) equal(b *amounts) bool {
	return a.cpu == b.cpu && a.memory == b.memory && a.storage == b.storage && slices.Equal(a.extended, b.extended)
}

// resourceNames numbers the resources other than cpu, memory and ephemeral storage.
type resourceNames struct {
	names   []corev1.ResourceName
	numbers map[corev1.ResourceName]int
}

func (r *resourceNames) number(name corev1.ResourceName) int {
	n, ok := r.numbers[name]
	if !ok {
		n = len(r.names)
		r.names = append(r.names, name)
		r.numbers[name] = n
	}
	return n
}

func (r *resourceNames) amounts(list corev1.ResourceList) (a amounts) {
	for name, q := range list {
		switch name {
		case corev1.ResourceCPU:
			a.cpu = q.MilliValue()
		case corev1.ResourceMemory:
			a.memory = q.Value()
		case corev1.ResourceEphemeralStorage:
			a.storage = q.Value()
		case corev1.ResourcePods:
		default:
			i := r.number(name)
			for len(a.extended) <= i {
				a.extended = append(a.extended, 0)
			}
			a.extended[i] = q.Value()
		}
	}
	return a
}

// port is a port of the node that a pod wants for itself.
type port struct {
	protocol corev1.Protocol
	ip       string // "0.0.0.0" is all addresses
	number   int32
}

// clash tells whether two pods cannot both have their port on one node.
func (p port) clash(q port) bool {
	const all = "0.0.0.0"
	return p.number == q.number && p.protocol == q.protocol && (p.ip == q.ip || p.ip == all || q.ip == all)
}

// A container that asks for nothing counts as this much in scores, not in filters.
var assumedRequests = corev1.ResourceList{
	corev1.ResourceCPU:    *apiresource.NewMilliQuantity(100, apiresource.DecimalSI),
	corev1.ResourceMemory: *apiresource.NewQuantity(200<<20, apiresource.BinarySI),
}

// brief is what is still asked of a pod that has a node. There are many of them, and the whole object takes ten times
// as much: it is not kept from going.
type brief struct {
	uid             types.UID
	namespace, name string
	version         string            // resourceVersion, for events
	labels          map[string]string // shared: never written to
	generation      int64
	created         v1.Time
	started         *v1.Time
	leaving         bool             // it is being deleted
	affinity        *corev1.Affinity // shared
}

func briefOf(obj *corev1.Pod) brief {
	return brief{uid: obj.UID, namespace: obj.Namespace, name: obj.Name, version: obj.ResourceVersion, labels: obj.Labels, generation: obj.Generation,
		created: obj.CreationTimestamp, started: obj.Status.StartTime, leaving: obj.DeletionTimestamp != nil, affinity: obj.Spec.Affinity}
}

// object is the pod as far as events and requests name it.
func (b *brief) object() *corev1.Pod {
	return &corev1.Pod{ObjectMeta: v1.ObjectMeta{Namespace: b.namespace, Name: b.name, UID: b.uid, ResourceVersion: b.version, Generation: b.generation}}
}

// pod is what the cache keeps of a pod: what it takes from a node and what it says about its neighbours.
type pod struct {
	brief
	key      string // namespace/name
	priority int32
	requests amounts
	// weighCPU and weighMemory are the requests as scores count them, in millicores and bytes.
	weighCPU, weighMemory int64
	ports                 []port
	held                  []*held // terms about neighbours, while on a node

	node    *node // where it is counted; nil: nowhere
	assumed bool  // the decision is ours and the view does not show it yet
}

func (c *cache) newPod(obj *corev1.Pod) *pod {
	p := &pod{brief: briefOf(obj), key: obj.Namespace + "/" + obj.Name, priority: corev1helpers.PodPriority(obj)}
	p.namespace, p.name = p.key[:len(obj.Namespace)], p.key[len(obj.Namespace)+1:]
	c.measure(p, obj)
	for i := range obj.Spec.Containers {
		p.addPorts(&obj.Spec.Containers[i])
	}
	for i := range obj.Spec.InitContainers {
		if n := &obj.Spec.InitContainers[i]; n.RestartPolicy != nil && *n.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			p.addPorts(n) // a sidecar
		}
	}
	return p
}

func (p *pod) addPorts(n *corev1.Container) {
	for _, q := range n.Ports {
		if q.HostPort <= 0 {
			continue
		}
		np := port{q.Protocol, q.HostIP, q.HostPort}
		if np.protocol == "" {
			np.protocol = corev1.ProtocolTCP
		}
		if np.ip == "" {
			np.ip = "0.0.0.0"
		}
		p.ports = append(p.ports, np)
	}
}

// measure reads the pod's requests: the larger of its init containers and the sum of the others, its
// overhead, and what an in-place resize has already been given.
func (c *cache) measure(p *pod, obj *corev1.Pod) {
	o := resource.PodResourcesOptions{UseStatusResources: true, InPlacePodLevelResourcesVerticalScalingEnabled: true}
	p.requests = c.resources.amounts(resource.PodRequests(obj, o))
	p.weighCPU, p.weighMemory = p.requests.cpu, p.requests.memory
	little := func(k corev1.Container) bool {
		return k.Resources.Requests.Cpu().IsZero() || k.Resources.Requests.Memory().IsZero()
	}
	if slices.ContainsFunc(obj.Spec.Containers, little) || slices.ContainsFunc(obj.Spec.InitContainers, little) {
		o.NonMissingContainerRequests = assumedRequests
		w := c.resources.amounts(resource.PodRequests(obj, o))
		p.weighCPU, p.weighMemory = w.cpu, w.memory
	}
}

// ask is a pod that waits for a node, with what the filters need compiled once.
type ask struct {
	*pod
	obj       *corev1.Pod // shared: never written to
	required  nodeaffinity.RequiredNodeAffinity
	selective bool     // required says something
	only      []string // the nodes that required names, when it names them; nil: any
	preferred *nodeaffinity.PreferredSchedulingTerms
	near      neighbours
	nominated *node // where room is kept for it
	claims    []claim
	class     string // of kind, once asked for

	// Found by surveyVolumes, for one decision:
	bound   []*nodeaffinity.NodeSelector // of volumes that exist
	lost    bool                         // a claim is bound to a volume that does not exist
	unbound []*corev1.PersistentVolumeClaim
}

func (c *cache) newAsk(obj *corev1.Pod) *ask {
	a := &ask{pod: c.newPod(obj), obj: obj, required: nodeaffinity.GetRequiredNodeAffinity(obj)}
	a.selective = len(obj.Spec.NodeSelector) > 0
	if f := obj.Spec.Affinity; f != nil && f.NodeAffinity != nil {
		if r := f.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution; r != nil {
			a.selective = true
			a.only = namedNodes(r)
		}
		if terms := f.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution; len(terms) > 0 {
			a.preferred, _ = nodeaffinity.NewPreferredSchedulingTerms(terms) // the API server has validated them
		}
	}
	c.readNeighbours(a)
	readClaims(a)
	return a
}

// namedNodes are the nodes that every term names by metadata.name, as a DaemonSet's pods do; nil when some term does not.
func namedNodes(r *corev1.NodeSelector) []string {
	var names []string
	for _, t := range r.NodeSelectorTerms {
		named := false
		for _, f := range t.MatchFields {
			if f.Key == "metadata.name" && f.Operator == corev1.NodeSelectorOpIn {
				names, named = append(names, f.Values...), true
			}
		}
		if !named {
			return nil
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
