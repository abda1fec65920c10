// Package cloudtest holds the tests that every cloud provider must pass.
package cloudtest

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	cloudprovider "k8s.io/cloud-provider"
)

// cluster is what the cloud is told that the cluster is called.
const cluster = "kubernetes"

// Service makes a Service of type LoadBalancer.
func Service(name string) *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, UID: types.UID("uid-" + name)},
		Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol},
			Ports: []corev1.ServicePort{{Port: 80, Protocol: corev1.ProtocolTCP}}}}
}

// Run tests a provider. nodes are at least two that exist in it; gone is one that does not, or nil if that cannot be.
func Run(t *testing.T, p cloudprovider.Interface, nodes []*corev1.Node, gone *corev1.Node) {
	ctx := t.Context()
	if p.ProviderName() == "" {
		t.Error("no name")
	}
	if i, ok := p.InstancesV2(); ok {
		t.Run("instances", func(t *testing.T) {
			for _, n := range nodes {
				if exists, err := i.InstanceExists(ctx, n); err != nil || !exists {
					t.Errorf("%s exists: %v %v", n.Name, exists, err)
				}
				first, err := i.InstanceMetadata(ctx, n)
				if err != nil || first.ProviderID == "" || len(first.NodeAddresses) == 0 {
					t.Fatalf("%s: metadata %+v, %v", n.Name, first, err)
				}
				known := n.DeepCopy()
				known.Spec.ProviderID = first.ProviderID
				if second, err := i.InstanceMetadata(ctx, known); err != nil || !equality.Semantic.DeepEqual(first, second) {
					t.Errorf("%s: metadata %+v by its id, %+v by its name, %v", n.Name, second, first, err)
				}
			}
			if gone == nil {
				return
			}
			if exists, err := i.InstanceExists(ctx, gone); err != nil || exists {
				t.Errorf("%s, which does not exist: %v %v", gone.Name, exists, err)
			}
		})
	}
	b, ok := p.LoadBalancer()
	if !ok {
		return
	}
	t.Run("load balancers", func(t *testing.T) {
		s := Service("cloudtest")
		s.UID = "cloudtest"
		if _, exists, err := b.GetLoadBalancer(ctx, cluster, s); err != nil || exists {
			t.Fatalf("before it is made: exists %v, %v", exists, err)
		}
		first, err := b.EnsureLoadBalancer(ctx, cluster, s, nodes[:1])
		if err != nil || len(first.Ingress) == 0 {
			t.Fatalf("made: %+v, %v", first, err)
		}
		s.Status.LoadBalancer = *first
		if again, err := b.EnsureLoadBalancer(ctx, cluster, s, nodes[:1]); err != nil || !equality.Semantic.DeepEqual(first, again) {
			t.Errorf("made again: %+v, at first %+v, %v", again, first, err)
		}
		if err := b.UpdateLoadBalancer(ctx, cluster, s, nodes); err != nil {
			t.Errorf("more nodes: %v", err)
		}
		if got, exists, err := b.GetLoadBalancer(ctx, cluster, s); err != nil || !exists || len(got.Ingress) == 0 {
			t.Errorf("after that: %+v, exists %v, %v", got, exists, err)
		}
		for range 2 { // what is gone may be deleted again
			if err := b.EnsureLoadBalancerDeleted(ctx, cluster, s); err != nil {
				t.Errorf("deleted: %v", err)
			}
		}
		s.Status.LoadBalancer = corev1.LoadBalancerStatus{} // as the controller leaves it
		if _, exists, err := b.GetLoadBalancer(ctx, cluster, s); err != nil || exists {
			t.Errorf("after it was deleted: exists %v, %v", exists, err)
		}
	})
}
