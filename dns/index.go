package dns

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lighter-k8s/lighter/client"
)

// index is what the cluster's names are made from: the newest services, their slices, the names of
// namespaces, and which names an address has. Views write to it, queries read it.
type index struct {
	domain string // with a dot at the end, lowercase: "cluster.local."

	mu         sync.RWMutex
	services   map[types.NamespacedName]*corev1.Service
	slices     map[types.NamespacedName]map[string]*discoveryv1.EndpointSlice // by service, then slice name
	namespaces map[string]bool
	reverse    map[netip.Addr][]pointer
	addresses  map[types.NamespacedName][]netip.Addr // what reverse has of each service
}

// pointer is a name of an address, and the service it has it by.
type pointer struct {
	service types.NamespacedName
	name    string
}

func newIndex(domain string) *index {
	return &index{
		domain:     strings.ToLower(strings.Trim(domain, ".")) + ".",
		services:   map[types.NamespacedName]*corev1.Service{},
		slices:     map[types.NamespacedName]map[string]*discoveryv1.EndpointSlice{},
		namespaces: map[string]bool{},
		reverse:    map[netip.Addr][]pointer{},
		addresses:  map[types.NamespacedName][]netip.Addr{},
	}
}

// follow keeps the index as the views are until ctx ends; it returns when it has all that exists.
func (x *index) follow(ctx context.Context, c client.Client) error {
	services := client.Services.View(ctx, c, client.Selection{})
	endpoints := client.EndpointSlices.View(ctx, c, client.Selection{})
	namespaces := client.Namespaces.View(ctx, c, client.Selection{})
	for _, wait := range []func(context.Context) error{services.WaitSynced, endpoints.WaitSynced, namespaces.WaitSynced} {
		if err := wait(ctx); err != nil {
			return err
		}
	}
	services.Subscribe(ctx, x.service)
	endpoints.Subscribe(ctx, x.slice)
	namespaces.Subscribe(ctx, x.namespace)
	for !x.has(services.List(""), endpoints.List(""), namespaces.List("")) {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
	return nil
}

func (x *index) has(services []*corev1.Service, endpoints []*discoveryv1.EndpointSlice, namespaces []*corev1.Namespace) bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	for _, s := range services {
		if x.services[types.NamespacedName{Namespace: s.Namespace, Name: s.Name}] == nil {
			return false
		}
	}
	for _, s := range endpoints {
		if key := serviceOf(s); key.Name != "" && x.slices[key][s.Name] == nil {
			return false
		}
	}
	for _, n := range namespaces {
		if !x.namespaces[n.Name] {
			return false
		}
	}
	return true
}

func (x *index) service(old, new *corev1.Service) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if new == nil {
		key := types.NamespacedName{Namespace: old.Namespace, Name: old.Name}
		delete(x.services, key)
		x.point(key)
		return
	}
	key := types.NamespacedName{Namespace: new.Namespace, Name: new.Name}
	x.services[key] = new
	x.point(key)
}

func (x *index) slice(old, new *discoveryv1.EndpointSlice) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if old != nil && (new == nil || serviceOf(old) != serviceOf(new)) {
		key := serviceOf(old)
		delete(x.slices[key], old.Name)
		if len(x.slices[key]) == 0 {
			delete(x.slices, key)
		}
		x.point(key)
	}
	if new == nil || serviceOf(new).Name == "" {
		return
	}
	key := serviceOf(new)
	if x.slices[key] == nil {
		x.slices[key] = map[string]*discoveryv1.EndpointSlice{}
	}
	x.slices[key][new.Name] = new
	x.point(key)
}

func (x *index) namespace(old, new *corev1.Namespace) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if new == nil {
		delete(x.namespaces, old.Name)
	} else {
		x.namespaces[new.Name] = true
	}
}

// point makes the reverse names of one service anew; mu must be held.
func (x *index) point(key types.NamespacedName) {
	for _, a := range x.addresses[key] {
		left := slices.DeleteFunc(slices.Clone(x.reverse[a]), func(p pointer) bool { return p.service == key })
		if len(left) == 0 {
			delete(x.reverse, a)
		} else {
			x.reverse[a] = left
		}
	}
	delete(x.addresses, key)
	svc := x.services[key]
	if svc == nil {
		return
	}
	add := func(a netip.Addr, name string) {
		p := pointer{key, name}
		if !slices.Contains(x.reverse[a], p) {
			x.reverse[a] = append(x.reverse[a], p)
			x.addresses[key] = append(x.addresses[key], a)
		}
	}
	for _, a := range clusterIPs(svc) {
		add(a, x.nameOf(key))
	}
	if headless(svc) {
		for e := range x.ready(svc, key) {
			add(e.addr, e.host+"."+x.nameOf(key))
		}
	}
}

// nameOf is the full name of a service.
func (x *index) nameOf(key types.NamespacedName) string {
	return key.Name + "." + key.Namespace + ".svc." + x.domain
}

// end is one ready endpoint of a headless service; port is set by ready's caller's choice of slice.
type end struct {
	addr  netip.Addr
	host  string
	slice *discoveryv1.EndpointSlice
}

// ready yields the endpoints that have names: the ready ones, or all if the service says so. mu must be held.
func (x *index) ready(svc *corev1.Service, key types.NamespacedName) func(yield func(end) bool) {
	return func(yield func(end) bool) {
		for _, slice := range x.slices[key] {
			if slice.AddressType == discoveryv1.AddressTypeFQDN {
				continue
			}
			for i := range slice.Endpoints {
				e := &slice.Endpoints[i]
				if e.Conditions.Ready != nil && !*e.Conditions.Ready && !svc.Spec.PublishNotReadyAddresses {
					continue
				}
				for _, text := range e.Addresses {
					a, err := netip.ParseAddr(text)
					if err != nil {
						continue
					}
					host := strings.NewReplacer(".", "-", ":", "-").Replace(text)
					if e.Hostname != nil && *e.Hostname != "" {
						host = strings.ToLower(*e.Hostname)
					}
					if !yield(end{a, host, slice}) {
						return
					}
				}
			}
		}
	}
}

func headless(s *corev1.Service) bool {
	return s.Spec.Type != corev1.ServiceTypeExternalName && s.Spec.ClusterIP == corev1.ClusterIPNone
}

func clusterIPs(s *corev1.Service) (out []netip.Addr) {
	if s.Spec.Type == corev1.ServiceTypeExternalName {
		return nil
	}
	texts := s.Spec.ClusterIPs
	if len(texts) == 0 {
		texts = []string{s.Spec.ClusterIP}
	}
	for _, text := range texts {
		if a, err := netip.ParseAddr(text); err == nil {
			out = append(out, a)
		}
	}
	return out
}

func serviceOf(s *discoveryv1.EndpointSlice) types.NamespacedName {
	return types.NamespacedName{Namespace: s.Namespace, Name: s.Labels[discoveryv1.LabelServiceName]}
}
