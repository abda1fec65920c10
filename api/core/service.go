package core

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/lighter-k8s/lighter/api"
)

// Service gives pods one address. Addresses, families and node ports are
// allocated by the registry, after Prepare and before Validate.
var Service = api.Define(api.Resource[*corev1.Service]{
	Version: "v1", Plural: "services", Short: []string{"svc"}, Categories: []string{"all"}, Scope: api.Namespaced,
	Key:          "services/specs",
	Default:      defaultService,
	Prepare:      prepareService,
	Validate:     validateService,
	ValidateName: apivalidation.NameIsDNSLabel,
	Warnings: func(s, _ *corev1.Service) []string {
		if s.Spec.ExternalName != "" && s.Spec.Type != corev1.ServiceTypeExternalName {
			return []string{`spec.externalName is ignored when spec.type is not "ExternalName"`}
		}
		return nil
	},
	Status: &api.Status[*corev1.Service]{
		Copy: func(dst, src *corev1.Service) { dst.Status = *src.Status.DeepCopy() }, Validate: validateServiceStatus}, // Default writes to it
	Subresources: []api.Subresource{{Name: "proxy", Kind: "ServiceProxyOptions", Verbs: proxy}},
	Fields: map[string]func(*corev1.Service) string{
		"spec.clusterIP": func(s *corev1.Service) string { return s.Spec.ClusterIP },
		"spec.type":      func(s *corev1.Service) string { return string(s.Spec.Type) },
	},
	Columns: []api.Column[*corev1.Service]{
		{Name: "Type", Help: corev1.ServiceSpec{}.SwaggerDoc()["type"], Show: func(s *corev1.Service) any { return string(s.Spec.Type) }},
		{Name: "Cluster-IP", Help: corev1.ServiceSpec{}.SwaggerDoc()["clusterIP"], Show: func(s *corev1.Service) any {
			if len(s.Spec.ClusterIPs) > 0 {
				return s.Spec.ClusterIPs[0]
			}
			return orWord(s.Spec.ClusterIP, "<none>")
		}},
		{Name: "External-IP", Help: corev1.ServiceSpec{}.SwaggerDoc()["externalIPs"], Show: func(s *corev1.Service) any { return externalIP(s) }},
		{Name: "Port(s)", Help: corev1.ServiceSpec{}.SwaggerDoc()["ports"], Show: func(s *corev1.Service) any { return servicePorts(s.Spec.Ports) }},
		{Name: "Age"},
		{Name: "Selector", Priority: 1, Help: corev1.ServiceSpec{}.SwaggerDoc()["selector"], Show: func(s *corev1.Service) any { return labels.FormatLabels(s.Spec.Selector) }},
	},
})

func defaultService(svc *corev1.Service) {
	s := &svc.Spec
	OrSet(&s.Type, corev1.ServiceTypeClusterIP)
	OrSet(&s.SessionAffinity, corev1.ServiceAffinityNone)
	switch s.SessionAffinity {
	case corev1.ServiceAffinityNone:
		s.SessionAffinityConfig = nil
	case corev1.ServiceAffinityClientIP:
		c := OrNew(&s.SessionAffinityConfig, corev1.SessionAffinityConfig{})
		OrNew(&OrNew(&c.ClientIP, corev1.ClientIPConfig{}).TimeoutSeconds, corev1.DefaultClientIPServiceAffinitySeconds)
	}
	for i := range s.Ports {
		OrSet(&s.Ports[i].Protocol, corev1.ProtocolTCP)
		if t := &s.Ports[i].TargetPort; *t == intstr.FromInt32(0) || *t == intstr.FromString("") {
			*t = intstr.FromInt32(s.Ports[i].Port)
		}
	}
	if external(s) {
		OrSet(&s.ExternalTrafficPolicy, corev1.ServiceExternalTrafficPolicyCluster)
	}
	if s.Type != corev1.ServiceTypeExternalName {
		OrNew(&s.InternalTrafficPolicy, corev1.ServiceInternalTrafficPolicyCluster)
	}
	if s.Type == corev1.ServiceTypeLoadBalancer {
		OrNew(&s.AllocateLoadBalancerNodePorts, true)
	}
	for i := range svc.Status.LoadBalancer.Ingress {
		if in := &svc.Status.LoadBalancer.Ingress[i]; in.IP != "" {
			OrNew(&in.IPMode, corev1.LoadBalancerIPModeVIP)
		}
	}
}

// external tells whether traffic from outside can reach the Service.
func external(s *corev1.ServiceSpec) bool {
	return hasNodePorts(s) || s.Type == corev1.ServiceTypeClusterIP && len(s.ExternalIPs) > 0
}

func hasNodePorts(s *corev1.ServiceSpec) bool {
	return s.Type == corev1.ServiceTypeNodePort || s.Type == corev1.ServiceTypeLoadBalancer
}

// hasHealthPort tells whether the Service needs a health check node port.
func hasHealthPort(s *corev1.ServiceSpec) bool {
	return s.Type == corev1.ServiceTypeLoadBalancer && s.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
}

func prepareService(svc, old *corev1.Service) {
	svc.Status = corev1.ServiceStatus{}
	if old == nil {
		alignClusterIPs(&svc.Spec, nil)
		return
	}
	svc.Status = old.Status
	alignClusterIPs(&svc.Spec, &old.Spec)
	keepAllocated(&svc.Spec, &old.Spec)
	dropTyped(&svc.Spec, &old.Spec)
	if svc.Spec.Type != corev1.ServiceTypeLoadBalancer {
		svc.Status.LoadBalancer = corev1.LoadBalancerStatus{}
	}
}

// alignClusterIPs keeps clusterIP the first of clusterIPs when a client that knows
// only one of the two changed or cleared that.
func alignClusterIPs(s, old *corev1.ServiceSpec) {
	if old == nil {
		if s.ClusterIP != "" && len(s.ClusterIPs) == 0 {
			s.ClusterIPs = []string{s.ClusterIP}
		}
		return
	}
	same := slices.Equal(s.ClusterIPs, old.ClusterIPs)
	switch {
	case s.ClusterIP == old.ClusterIP:
	case s.ClusterIP == "" && same:
		s.ClusterIPs = nil
	case s.ClusterIP != "" && same:
		s.ClusterIPs = []string{s.ClusterIP}
	}
}

// keepAllocated fills in from old what was allocated and an update left out.
func keepAllocated(s, old *corev1.ServiceSpec) {
	if old.Type != corev1.ServiceTypeExternalName && s.Type != corev1.ServiceTypeExternalName {
		if s.ClusterIP == "" {
			s.ClusterIP = old.ClusterIP
		}
		if len(s.ClusterIPs) == 0 && s.ClusterIP == old.ClusterIP {
			s.ClusterIPs = slices.Clone(old.ClusterIPs)
		}
	}
	if hasNodePorts(old) && hasNodePorts(s) {
		type key struct {
			protocol corev1.Protocol
			port     int32
		}
		was, taken := map[key]int32{}, map[int32]bool{}
		for _, p := range old.Ports {
			was[key{p.Protocol, p.Port}] = p.NodePort
		}
		for _, p := range s.Ports {
			taken[p.NodePort] = true
		}
		for i := range s.Ports {
			p := &s.Ports[i]
			if n := was[key{p.Protocol, p.Port}]; p.NodePort == 0 && !taken[n] {
				p.NodePort = n
				taken[n] = true
			}
		}
	}
	if hasHealthPort(old) && hasHealthPort(s) {
		OrSet(&s.HealthCheckNodePort, old.HealthCheckNodePort)
	}
}

// dropTyped clears the fields that the old type used and the new one does not,
// where the user left them as they were.
func dropTyped(s, old *corev1.ServiceSpec) {
	if old.Type != corev1.ServiceTypeExternalName && s.Type == corev1.ServiceTypeExternalName {
		if s.ClusterIP == old.ClusterIP && slices.Equal(s.ClusterIPs, old.ClusterIPs) {
			s.ClusterIP, s.ClusterIPs = "", nil
		}
		if slices.Equal(s.IPFamilies, old.IPFamilies) {
			s.IPFamilies = nil
		}
		if equalPtr(s.IPFamilyPolicy, old.IPFamilyPolicy) {
			s.IPFamilyPolicy = nil
		}
		if equalPtr(s.InternalTrafficPolicy, old.InternalTrafficPolicy) {
			s.InternalTrafficPolicy = nil
		}
	}
	if hasNodePorts(old) && !hasNodePorts(s) && slices.EqualFunc(s.Ports, old.Ports,
		func(a, b corev1.ServicePort) bool { return a.NodePort == b.NodePort }) {
		for i := range s.Ports {
			s.Ports[i].NodePort = 0
		}
	}
	if hasHealthPort(old) && !hasHealthPort(s) && s.HealthCheckNodePort == old.HealthCheckNodePort {
		s.HealthCheckNodePort = 0
	}
	if old.Type == corev1.ServiceTypeLoadBalancer && s.Type != corev1.ServiceTypeLoadBalancer {
		if equalPtr(s.AllocateLoadBalancerNodePorts, old.AllocateLoadBalancerNodePorts) {
			s.AllocateLoadBalancerNodePorts = nil
		}
		if equalPtr(s.LoadBalancerClass, old.LoadBalancerClass) {
			s.LoadBalancerClass = nil
		}
	}
	if external(old) && !external(s) && s.ExternalTrafficPolicy == old.ExternalTrafficPolicy {
		s.ExternalTrafficPolicy = ""
	}
}

func equalPtr[T comparable](a, b *T) bool {
	return a == nil && b == nil || a != nil && b != nil && *a == *b
}

func externalIP(svc *corev1.Service) string {
	switch s := svc.Spec; s.Type {
	case corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort:
		return orWord(strings.Join(s.ExternalIPs, ","), "<none>")
	case corev1.ServiceTypeExternalName:
		return s.ExternalName
	case corev1.ServiceTypeLoadBalancer:
		var words []string
		for _, in := range svc.Status.LoadBalancer.Ingress {
			if word := orWord(in.IP, in.Hostname); word != "" {
				words = append(words, word)
			}
		}
		slices.Sort(words)
		words = append(slices.Compact(words), s.ExternalIPs...)
		return orWord(strings.Join(words, ","), "<pending>")
	}
	return "<unknown>"
}

func servicePorts(ports []corev1.ServicePort) string {
	words := make([]string, len(ports))
	for i, p := range ports {
		words[i] = fmt.Sprintf("%d/%s", p.Port, p.Protocol)
		if p.NodePort > 0 {
			words[i] = fmt.Sprintf("%d:%d/%s", p.Port, p.NodePort, p.Protocol)
		}
	}
	return orWord(strings.Join(words, ","), "<none>")
}
