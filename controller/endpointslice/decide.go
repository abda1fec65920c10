package endpointslice

import (
	"cmp"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/controller"
	"github.com/lighter-k8s/lighter/controller/services"
)

// perSlice is the most endpoints that one slice holds.
const perSlice = 100

// draft is what a slice is to hold.
type draft struct {
	old       *discoveryv1.EndpointSlice // nil: a new one
	ports     []discoveryv1.EndpointPort
	endpoints []discoveryv1.Endpoint
	changed   bool
	trigger   time.Time // of the earliest change
}

func (d *draft) touch(t time.Time) {
	d.changed = true
	if !t.IsZero() && (d.trigger.IsZero() || t.Before(d.trigger)) {
		d.trigger = t
	}
}

func (d *draft) add(e endpoint) {
	d.endpoints = append(d.endpoints, e.Endpoint)
	d.touch(e.trigger)
}

// Decide lists what to write so that the slices show the Service's endpoints, changing as few slices as it can.
func Decide(v View) (todo []controller.Action) {
	kept := families(v.Service)
	for _, family := range kept {
		todo = append(todo, decideFamily(v, family)...)
	}
	for _, s := range v.Slices {
		if !slices.Contains(kept, s.AddressType) {
			todo = append(todo, controller.Delete(client.EndpointSlices, s, "service has no such addresses"))
		}
	}
	return todo
}

func decideFamily(v View, family discoveryv1.AddressType) (todo []controller.Action) {
	byPorts := map[string][]*discoveryv1.EndpointSlice{}
	for _, s := range v.Slices {
		if s.AddressType == family && s.DeletionTimestamp == nil {
			byPorts[portsKey(s.Ports)] = append(byPorts[portsKey(s.Ports)], s)
		}
	}
	groups := wanted(v, family)
	if len(groups) == 0 { // one empty slice says that there is a service without endpoints
		groups = []*group{{ports: []discoveryv1.EndpointPort{}}}
	}
	var drafts []*draft
	var spare []*discoveryv1.EndpointSlice
	for _, g := range groups {
		key := portsKey(g.ports)
		d, empty := fill(g, byPorts[key])
		drafts, spare = append(drafts, d...), append(spare, empty...)
		delete(byPorts, key)
	}
	for _, key := range slices.Sorted(maps.Keys(byPorts)) {
		spare = append(spare, byPorts[key]...)
	}
	if len(drafts) == 0 {
		drafts = []*draft{{ports: groups[0].ports, changed: true}}
	}
	for _, d := range drafts {
		if d.old == nil && len(spare) > 0 { // write over one that would be deleted
			d.old, spare = spare[0], spare[1:]
			d.changed = true
		}
	}
	slices.SortStableFunc(drafts, func(a, b *draft) int { return cmp.Compare(order(a), order(b)) })
	for _, d := range drafts {
		todo = append(todo, write(v.Service, family, d)...)
	}
	for _, s := range spare {
		todo = append(todo, controller.Delete(client.EndpointSlices, s, "no endpoints left for it"))
	}
	return todo
}

// order puts updates, by which endpoints leave, before new slices.
func order(d *draft) int {
	if d.old == nil {
		return 1
	}
	return 0
}

// fill puts the group's endpoints into the slices that have its ports, each where it is already, and returns
// those that are empty then.
func fill(g *group, have []*discoveryv1.EndpointSlice) (drafts []*draft, empty []*discoveryv1.EndpointSlice) {
	left := make(map[string]endpoint, len(g.endpoints))
	for _, e := range g.endpoints {
		left[id(&e.Endpoint)] = e
	}
	slices.SortFunc(have, func(a, b *discoveryv1.EndpointSlice) int { return cmp.Compare(a.Name, b.Name) })
	for _, s := range have {
		d := &draft{old: s, ports: g.ports}
		for i := range s.Endpoints {
			was := &s.Endpoints[i]
			e, ok := left[id(was)]
			if !ok {
				d.touch(time.Time{})
				continue
			}
			delete(left, id(was))
			d.endpoints = append(d.endpoints, e.Endpoint)
			if !equality.Semantic.DeepEqual(*was, e.Endpoint) {
				d.touch(e.trigger)
			}
		}
		drafts = append(drafts, d)
	}
	var more []endpoint
	for _, e := range g.endpoints {
		if _, ok := left[id(&e.Endpoint)]; ok {
			more = append(more, e)
		}
	}
	for _, d := range drafts { // what is written anyway takes as many as it can
		for d.changed && len(more) > 0 && len(d.endpoints) < perSlice {
			d.add(more[0])
			more = more[1:]
		}
	}
	if rest := len(more) % perSlice; rest > 0 { // the fullest that can take what would make a slice that is not full
		var best *draft
		for _, d := range drafts {
			if !d.changed && len(d.endpoints)+rest <= perSlice && (best == nil || len(d.endpoints) > len(best.endpoints)) {
				best = d
			}
		}
		if best != nil {
			for range rest {
				best.add(more[0])
				more = more[1:]
			}
		}
	}
	for len(more) > 0 {
		d := &draft{ports: g.ports}
		for len(more) > 0 && len(d.endpoints) < perSlice {
			d.add(more[0])
			more = more[1:]
		}
		drafts = append(drafts, d)
	}
	// Empty ones go, but the last one stays, if only to say that there is none.
	slices.SortStableFunc(drafts, func(a, b *draft) int { return cmp.Compare(len(b.endpoints), len(a.endpoints)) })
	for len(drafts) > 1 && len(drafts[len(drafts)-1].endpoints) == 0 {
		empty = append(empty, drafts[len(drafts)-1].old)
		drafts = drafts[:len(drafts)-1]
	}
	return drafts, empty
}

// write is the action that brings a slice to what its draft says, if it is not so.
func write(s *corev1.Service, family discoveryv1.AddressType, d *draft) []controller.Action {
	labels := services.Labels(s.Labels, discoveryv1.LabelServiceName, discoveryv1.LabelManagedBy, corev1.IsHeadlessService)
	labels[discoveryv1.LabelServiceName], labels[discoveryv1.LabelManagedBy] = s.Name, ManagedBy
	if s.Spec.ClusterIP == corev1.ClusterIPNone {
		labels[corev1.IsHeadlessService] = ""
	}
	owner := *metav1.NewControllerRef(s, services.Kind)
	if d.old != nil && !d.changed && maps.Equal(d.old.Labels, labels) {
		return nil
	}
	slice := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, GenerateName: s.Name + "-", OwnerReferences: []metav1.OwnerReference{owner}}}
	if d.old != nil {
		slice.ObjectMeta = *d.old.ObjectMeta.DeepCopy()
	}
	slice.Labels, slice.AddressType, slice.Ports, slice.Endpoints = labels, family, d.ports, d.endpoints
	if slice.Endpoints == nil {
		slice.Endpoints = []discoveryv1.Endpoint{}
	}
	if d.old == nil && d.trigger.IsZero() {
		d.trigger = s.CreationTimestamp.Time
	}
	delete(slice.Annotations, corev1.EndpointsLastChangeTriggerTime)
	if !d.trigger.IsZero() {
		metav1.SetMetaDataAnnotation(&slice.ObjectMeta, corev1.EndpointsLastChangeTriggerTime, d.trigger.UTC().Format(time.RFC3339Nano))
	}
	if d.old == nil {
		return []controller.Action{controller.Create(client.EndpointSlices, slice, "endpoints")}
	}
	return []controller.Action{controller.Update(client.EndpointSlices, slice, "endpoints")}
}
