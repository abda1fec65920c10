package role

import (
	"context"
	"fmt"
	"net"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/lighter-k8s/lighter/authz"
	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/pki"
)

// bootstrap makes what every cluster has: system namespaces, default roles, priority classes, the
// service range and the Service "kubernetes". What users changed stays. It is done at each start.
func (s *Server) bootstrap(ctx context.Context) error {
	c := s.Client("system:apiserver", pki.MastersGroup)
	for _, name := range []string{metav1.NamespaceDefault, metav1.NamespaceSystem, metav1.NamespacePublic, corev1.NamespaceNodeLease} {
		if err := once(ctx, c, client.Namespaces, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}); err != nil {
			return err
		}
	}
	for _, p := range []struct {
		name, text string
		value      int32
	}{
		{"system-cluster-critical", "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.", 2000000000},
		{"system-node-critical", "Used for system critical pods that must not be moved from their current node.", 2000001000},
	} {
		class := &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: p.name}, Value: p.value, Description: p.text}
		if err := once(ctx, c, client.PriorityClasses, class); err != nil {
			return err
		}
	}
	for _, o := range authz.Defaults() {
		if err := s.defaultRole(ctx, c, o); err != nil {
			return err
		}
	}
	cidr := &networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: "kubernetes"}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: []string{s.Config.Server.ServiceCIDR}}}
	if err := once(ctx, c, client.ServiceCIDRs, cidr); err != nil {
		return err
	}
	if err := s.kubernetesService(ctx, c); err != nil {
		return err
	}
	return s.rbac.WaitSynced(ctx)
}

// once creates what is not there yet.
func once[T client.Object](ctx context.Context, c client.Client, k client.Kind[T], obj T) error {
	if _, err := k.Get(ctx, c, obj.GetNamespace(), obj.GetName()); err == nil || !apierrors.IsNotFound(err) {
		return err
	}
	if _, err := k.Create(ctx, c, obj); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("create %s %s: %w", k.Kind, obj.GetName(), err)
	}
	return nil
}

// defaultRole adds a default role or binding, or what the cluster's lacks of it.
func (s *Server) defaultRole(ctx context.Context, c client.Client, wanted client.Object) error {
	r := s.resourceOf(wanted)
	existing, err := c.Get(ctx, r, wanted.GetNamespace(), wanted.GetName())
	if apierrors.IsNotFound(err) {
		existing, err = nil, nil
	}
	if err != nil {
		return err
	}
	switch change, obj := authz.Reconcile(existing, wanted); change {
	case authz.Create:
		_, err = c.Create(ctx, r, obj.GetNamespace(), obj.GetName(), "", obj)
	case authz.Update:
		_, err = c.Update(ctx, r, "", obj)
	}
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("default %s %s: %w", r.Kind, wanted.GetName(), err)
	}
	return nil
}

// kubernetesService makes the Service by which pods reach the API, and its endpoints: this server.
func (s *Server) kubernetesService(ctx context.Context, c client.Client) error {
	_, portText, err := net.SplitHostPort(s.Config.Server.Listen)
	if err != nil {
		return err
	}
	number, err := strconv.Atoi(portText)
	if err != nil {
		return err
	}
	port := int32(number)
	labels := map[string]string{"component": "apiserver", "provider": "kubernetes"}
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: "kubernetes", Labels: labels},
		Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP, ClusterIP: s.services.Nth(1).String(), SessionAffinity: corev1.ServiceAffinityNone,
			Ports: []corev1.ServicePort{{Name: "https", Protocol: corev1.ProtocolTCP, Port: 443, TargetPort: intstr.FromInt32(port)}}},
	}
	if err := once(ctx, c, client.Services, svc); err != nil {
		return err
	}
	ip := s.address.String()
	family := discoveryv1.AddressTypeIPv4
	if s.address.Is6() {
		family = discoveryv1.AddressTypeIPv6
	}
	name, protocol, ready := "https", corev1.ProtocolTCP, true
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: "kubernetes", Labels: map[string]string{discoveryv1.LabelServiceName: "kubernetes"}},
		AddressType: family, Ports: []discoveryv1.EndpointPort{{Name: &name, Port: &port, Protocol: &protocol}},
		Endpoints: []discoveryv1.Endpoint{{Addresses: []string{ip}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}}},
	}
	if err := put(ctx, c, client.EndpointSlices, slice); err != nil {
		return err
	}
	return put(ctx, c, client.Endpoints, &corev1.Endpoints{
		ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: "kubernetes", Labels: map[string]string{"endpointslice.kubernetes.io/skip-mirror": "true"}},
		Subsets: []corev1.EndpointSubset{{Addresses: []corev1.EndpointAddress{{IP: ip}},
			Ports: []corev1.EndpointPort{{Name: "https", Port: port, Protocol: corev1.ProtocolTCP}}}},
	})
}

// put creates an object or replaces the one that is there.
func put[T client.Object](ctx context.Context, c client.Client, k client.Kind[T], obj T) error {
	_, err := k.Get(ctx, c, obj.GetNamespace(), obj.GetName())
	switch {
	case apierrors.IsNotFound(err):
		_, err = k.Create(ctx, c, obj)
	case err == nil:
		_, err = k.Update(ctx, c, obj)
	}
	if err != nil {
		return fmt.Errorf("write %s %s: %w", k.Kind, obj.GetName(), err)
	}
	return nil
}

// resourceOf is the resource of a default role or binding.
func (s *Server) resourceOf(o client.Object) client.Resource {
	for _, r := range []client.Resource{client.Roles.Resource, client.RoleBindings.Resource, client.ClusterRoles.Resource, client.ClusterRoleBindings.Resource} {
		if fmt.Sprintf("%T", r.New()) == fmt.Sprintf("%T", o) {
			return r
		}
	}
	panic(fmt.Sprintf("role: %T is no role", o))
}
