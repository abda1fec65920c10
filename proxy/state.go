package proxy

import (
	"context"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lighter-k8s/lighter/client"
)

// state holds the newest services, slices by service and pods with host ports, and which of services and pods
// have changed since they were last taken. Views write to it, the runner takes from it.
type state struct {
	changed chan struct{} // holds one token when something is dirty

	mu       sync.Mutex
	services map[types.NamespacedName]*corev1.Service
	slices   map[types.NamespacedName]map[string]*discoveryv1.EndpointSlice // by service, then slice name
	pods     map[types.NamespacedName]*corev1.Pod                           // by podKey
	dirty    map[types.NamespacedName]bool
	zone     string
}

// input is what the rules of one service or pod are made from; both are nil when it is gone.
type input struct {
	pod     *corev1.Pod
	service *corev1.Service
	slices  []*discoveryv1.EndpointSlice
}

func newState() *state {
	return &state{
		changed:  make(chan struct{}, 1),
		services: map[types.NamespacedName]*corev1.Service{},
		slices:   map[types.NamespacedName]map[string]*discoveryv1.EndpointSlice{},
		pods:     map[types.NamespacedName]*corev1.Pod{},
		dirty:    map[types.NamespacedName]bool{},
	}
}

func (s *state) service(old, new *corev1.Service) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if new != nil {
		key := types.NamespacedName{Namespace: new.Namespace, Name: new.Name}
		s.services[key] = new
		s.mark(key)
		return
	}
	key := types.NamespacedName{Namespace: old.Namespace, Name: old.Name}
	delete(s.services, key)
	s.mark(key)
}

func (s *state) slice(old, new *discoveryv1.EndpointSlice) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old != nil && (new == nil || serviceOf(old) != serviceOf(new)) {
		key := serviceOf(old)
		delete(s.slices[key], old.Name)
		if len(s.slices[key]) == 0 {
			delete(s.slices, key)
		}
		s.mark(key)
	}
	if new == nil || serviceOf(new).Name == "" {
		return
	}
	key := serviceOf(new)
	if s.slices[key] == nil {
		s.slices[key] = map[string]*discoveryv1.EndpointSlice{}
	}
	s.slices[key][new.Name] = new
	s.mark(key)
}

// pod remembers a pod of this node while it wants host ports.
func (s *state) pod(old, new *corev1.Pod) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case wantsHostPorts(new):
		s.pods[podKey(new)] = new
		s.mark(podKey(new))
	case wantsHostPorts(old):
		delete(s.pods, podKey(old))
		s.mark(podKey(old))
	}
}

func (s *state) setZone(zone string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.zone == zone {
		return
	}
	s.zone = zone
	for key := range s.services {
		s.mark(key)
	}
}

func (s *state) currentZone() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.zone
}

// mark must be called with mu held.
func (s *state) mark(key types.NamespacedName) {
	s.dirty[key] = true
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// take returns the input of every dirty service and pod and makes them clean.
func (s *state) take() map[types.NamespacedName]input {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make(map[types.NamespacedName]input, len(s.dirty))
	for key := range s.dirty {
		in := input{pod: s.pods[key], service: s.services[key]}
		for _, slice := range s.slices[key] {
			in.slices = append(in.slices, slice)
		}
		out[key] = in
	}
	clear(s.dirty)
	return out
}

// waitFor blocks until the state knows every object of the views.
func (s *state) waitFor(ctx context.Context, services client.TypedView[*corev1.Service], slices client.TypedView[*discoveryv1.EndpointSlice], pods client.TypedView[*corev1.Pod]) error {
	for !s.knows(services.List(""), slices.List(""), pods.List("")) {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
	return nil
}

func (s *state) knows(services []*corev1.Service, slices []*discoveryv1.EndpointSlice, pods []*corev1.Pod) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range services {
		if s.services[types.NamespacedName{Namespace: o.Namespace, Name: o.Name}] == nil {
			return false
		}
	}
	for _, o := range slices {
		if key := serviceOf(o); key.Name != "" && s.slices[key][o.Name] == nil {
			return false
		}
	}
	for _, o := range pods {
		if wantsHostPorts(o) && s.pods[podKey(o)] == nil {
			return false
		}
	}
	return true
}

func serviceOf(s *discoveryv1.EndpointSlice) types.NamespacedName {
	return types.NamespacedName{Namespace: s.Namespace, Name: s.Labels[discoveryv1.LabelServiceName]}
}
