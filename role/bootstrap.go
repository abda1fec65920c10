package role

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/lighter-k8s/lighter/authz"
	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/flow"
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
	if err := authz.Ensure(ctx, c, slices.Concat(authz.Defaults(), authz.JoinDefaults(JoinGroup), s.nodeDefaults(), serverDefaults())); err != nil {
		return err
	}
	if err := flow.Ensure(ctx, c); err != nil {
		return err
	}
	cidr := &networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: "kubernetes"}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: []string{s.Config.Server.ServiceCIDR}}}
	if err := once(ctx, c, client.ServiceCIDRs, cidr); err != nil {
		return err
	}
	if err := s.kubernetesService(ctx, c); err != nil {
		return err
	}
	if err := s.dnsService(ctx, c); err != nil {
		return err
	}
	if err := s.extensionAuthentication(ctx, c); err != nil {
		return err
	}
	if err := s.publishFacts(ctx, c); err != nil {
		return err
	}
	return s.rbac.WaitSynced(ctx)
}

// bootstrapWith is bootstrap beside other servers that may do the same: what failed because of them, or because the store
// just has no leader, is tried again.
func (s *Server) bootstrapWith(ctx context.Context) error {
	for {
		err := s.bootstrap(ctx)
		if err == nil || !s.several() || ctx.Err() != nil {
			return err
		}
		s.Log.Info("bootstrap is tried again", "err", err)
		wait(ctx, 200*time.Millisecond)
	}
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

// kubernetesService makes the Service by which pods reach the API, and its endpoints: this server.
func (s *Server) kubernetesService(ctx context.Context, c client.Client) error {
	port := s.port()
	labels := map[string]string{"component": "apiserver", "provider": "kubernetes"}
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: apiService, Labels: labels},
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
		ObjectMeta:  metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: apiService, Labels: map[string]string{discoveryv1.LabelServiceName: "kubernetes"}},
		AddressType: family, Ports: []discoveryv1.EndpointPort{{Name: &name, Port: &port, Protocol: &protocol}},
		Endpoints: []discoveryv1.Endpoint{{Addresses: []string{ip}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}}},
	}
	write, writeEndpoints := put[*discoveryv1.EndpointSlice], put[*corev1.Endpoints]
	if s.several() { // from here on, it is register that says who serves
		write, writeEndpoints = once[*discoveryv1.EndpointSlice], once[*corev1.Endpoints]
	}
	if err := write(ctx, c, client.EndpointSlices, slice); err != nil {
		return err
	}
	return writeEndpoints(ctx, c, client.Endpoints, &corev1.Endpoints{
		ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: apiService, Labels: map[string]string{"endpointslice.kubernetes.io/skip-mirror": "true"}},
		Subsets: []corev1.EndpointSubset{{Addresses: []corev1.EndpointAddress{{IP: ip}},
			Ports: []corev1.EndpointPort{{Name: "https", Port: port, Protocol: corev1.ProtocolTCP}}}},
	})
}

// apiService is the name of the Service by which pods reach the API.
const apiService = "kubernetes"

// port is where the API is served.
func (s *Server) port() int32 {
	_, text, _ := net.SplitHostPort(s.Config.Server.Listen) // checked in listen
	number, _ := strconv.ParseUint(text, 10, 16)
	return int32(number)
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

// JoinGroup is the group of tokens that let nodes join.
const JoinGroup = "system:bootstrappers:lighter:nodes"

// clusterFacts is the ConfigMap of kube-public from which nodes learn what is the same everywhere.
const clusterFacts = "lighter-cluster"

// nodeDefaults let nodes see what their proxy, DNS and pod network need: Services, their endpoints, namespaces and the
// other nodes; and, while they join, the cluster's facts.
func (s *Server) nodeDefaults() []client.Object {
	meta := func(namespace, name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{"kubernetes.io/bootstrapping": "rbac-defaults"},
			Annotations: map[string]string{authz.AutoupdateAnnotation: "true"}}
	}
	group := func(name string) rbacv1.Subject {
		return rbacv1.Subject{Kind: rbacv1.GroupKind, APIGroup: rbacv1.GroupName, Name: name}
	}
	return []client.Object{
		&rbacv1.ClusterRoleBinding{ObjectMeta: meta("", "lighter:node-network"), Subjects: []rbacv1.Subject{group(pki.NodesGroup)},
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "system:node-proxier"}},
		&rbacv1.ClusterRole{ObjectMeta: meta("", "lighter:node-dns"), Rules: []rbacv1.PolicyRule{
			{Verbs: []string{"list", "watch"}, APIGroups: []string{""}, Resources: []string{"namespaces"}}}},
		&rbacv1.ClusterRoleBinding{ObjectMeta: meta("", "lighter:node-dns"), Subjects: []rbacv1.Subject{group(pki.NodesGroup)},
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "lighter:node-dns"}},
		&rbacv1.Role{ObjectMeta: meta(metav1.NamespacePublic, "lighter:cluster-facts"), Rules: []rbacv1.PolicyRule{
			{Verbs: []string{"get", "list", "watch"}, APIGroups: []string{""}, Resources: []string{"configmaps"}, ResourceNames: []string{clusterFacts}}}},
		&rbacv1.RoleBinding{ObjectMeta: meta(metav1.NamespacePublic, "lighter:cluster-facts"), Subjects: []rbacv1.Subject{group(pki.NodesGroup), group(JoinGroup)},
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "lighter:cluster-facts"}},
	}
}

// dnsService is the Service that names DNS; every node answers on its address by itself.
func (s *Server) dnsService(ctx context.Context, c client.Client) error {
	labels := map[string]string{"k8s-app": "kube-dns", "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "CoreDNS"}
	return once(ctx, c, client.Services, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: "kube-dns", Labels: labels},
		Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP, ClusterIP: s.services.Nth(dnsIndex).String(), SessionAffinity: corev1.ServiceAffinityNone,
			Ports: []corev1.ServicePort{{Name: "dns", Protocol: corev1.ProtocolUDP, Port: 53, TargetPort: intstr.FromInt32(53)},
				{Name: "dns-tcp", Protocol: corev1.ProtocolTCP, Port: 53, TargetPort: intstr.FromInt32(53)}}},
	})
}
