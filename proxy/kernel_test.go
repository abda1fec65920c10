package proxy

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func nodePort(n int32) func(*corev1.Service) {
	return func(s *corev1.Service) {
		s.Spec.Type = corev1.ServiceTypeNodePort
		for i := range s.Spec.Ports {
			s.Spec.Ports[i].NodePort = n
		}
	}
}

func TestClusterAddress(t *testing.T) {
	l := newLab(t)
	l.services.Set(service("web", "10.96.0.5"))
	l.slices.Set(slice("web", "10.244.1.11", "10.244.1.12"))
	l.run(l.config())
	for what, tt := range map[string]struct {
		from int // pod, or -1 for the node
		net  string
	}{
		"from the node":        {-1, "tcp"},
		"from the node by UDP": {-1, "udp"},
		"from a pod":           {2, "tcp"},
		"from a pod by UDP":    {2, "udp"},
		"from an endpoint":     {0, "tcp"}, // that is hairpin half the time
		"from it, by UDP":      {0, "udp"},
	} {
		ns := l.node
		if tt.from >= 0 {
			ns = l.pods[tt.from]
		}
		got := l.spread(ns, tt.net, "10.96.0.5:80", 30)
		if got["p1"] == 0 || got["p2"] == 0 || got["p1"]+got["p2"] != 30 {
			t.Errorf("%s: answers by pod %v, want 30 of p1 and p2", what, got)
		}
	}
	if _, saw, err := ask(l.pods[2], "tcp", "10.96.0.5:80"); err != nil || saw != "10.244.1.13" {
		t.Errorf("pod to pod: the server saw %q (%v), want the pod's own address", saw, err)
	}
}
