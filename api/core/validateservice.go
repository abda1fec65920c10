package core

import (
	"fmt"
	"net"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lighter-k8s/lighter/api"
)

func validateService(svc, old *corev1.Service) (errs field.ErrorList) {
	s, spec := &svc.Spec, field.NewPath("spec")
	var was corev1.ServiceSpec // addresses written loosely before 1.36 may stay
	if old != nil {
		was = old.Spec
	}
	if len(s.Ports) == 0 && !headless(s) && s.Type != corev1.ServiceTypeExternalName {
		errs = append(errs, field.Required(spec.Child("ports"), ""))
	}
	errs = append(errs, validateServiceType(s, spec)...)
	errs = append(errs, validateServicePorts(s, spec.Child("ports"))...)
	if s.Selector != nil {
		errs = append(errs, metavalidation.ValidateLabels(s.Selector, spec.Child("selector"))...)
	}
	errs = append(errs, validateAffinity(s, spec)...)
	bad := validateClusterIPs(s, was.ClusterIPs, spec)
	errs = append(errs, bad...)
	for i, ip := range s.ExternalIPs {
		path := spec.Child("externalIPs").Index(i)
		if msgs := validation.IsValidIPForLegacyField(path, ip, true, was.ExternalIPs); len(msgs) > 0 {
			errs = append(errs, msgs...)
			continue
		}
		errs = append(errs, validateOutsideIP(ip, path)...)
	}
	if old != nil && s.Type == corev1.ServiceTypeLoadBalancer && was.Type == corev1.ServiceTypeLoadBalancer && !equalPtr(s.LoadBalancerClass, was.LoadBalancerClass) {
		errs = append(errs, field.Invalid(spec.Child("loadBalancerClass"), s.LoadBalancerClass, "may not change once set"))
	}
	errs = append(errs, validateBalancer(s, was.LoadBalancerSourceRanges, spec)...)
	errs = append(errs, validateTraffic(s, spec)...)
	if old != nil && len(bad) == 0 {
		errs = append(errs, validateServiceUpdate(svc, old)...)
	}
	return errs
}

func headless(s *corev1.ServiceSpec) bool {
	return len(s.ClusterIPs) == 1 && s.ClusterIPs[0] == corev1.ClusterIPNone || len(s.ClusterIPs) == 0 && s.ClusterIP == corev1.ClusterIPNone
}

func validateServiceType(s *corev1.ServiceSpec, spec *field.Path) (errs field.ErrorList) {
	switch s.Type {
	case corev1.ServiceTypeLoadBalancer:
		if headless(s) {
			errs = append(errs, field.Invalid(spec.Child("clusterIPs").Index(0), s.ClusterIP, "may not be set to 'None' for LoadBalancer services"))
		}
		for i, p := range s.Ports {
			// 10250 is the kubelet's: a load balancer must not lead there.
			if p.Port == 10250 {
				errs = append(errs, field.Invalid(spec.Child("ports").Index(i), p.Port, "may not expose port 10250 externally since it is used by kubelet"))
			}
		}
	case corev1.ServiceTypeNodePort:
		if headless(s) {
			errs = append(errs, field.Invalid(spec.Child("clusterIPs").Index(0), s.ClusterIP, "may not be set to 'None' for NodePort services"))
		}
	case corev1.ServiceTypeExternalName:
		if len(s.ClusterIPs) > 0 || s.ClusterIP != "" {
			errs = append(errs, field.Forbidden(spec.Child("clusterIPs"), "may not be set for ExternalName services"))
		}
		if len(s.IPFamilies) > 0 {
			errs = append(errs, field.Forbidden(spec.Child("ipFamilies"), "may not be set for ExternalName services"))
		}
		if s.IPFamilyPolicy != nil {
			errs = append(errs, field.Forbidden(spec.Child("ipFamilyPolicy"), "may not be set for ExternalName services"))
		}
		name, path := strings.TrimSuffix(s.ExternalName, "."), spec.Child("externalName")
		if name == "" {
			errs = append(errs, field.Required(path, ""))
		} else {
			errs = append(errs, each(path, name, validation.IsDNS1123Subdomain(name))...)
		}
	case corev1.ServiceTypeClusterIP:
	case "":
		errs = append(errs, field.Required(spec.Child("type"), ""))
	default:
		errs = append(errs, field.NotSupported(spec.Child("type"), s.Type, []corev1.ServiceType{
			corev1.ServiceTypeClusterIP, corev1.ServiceTypeExternalName, corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeNodePort}))
	}
	return errs
}

func validateServicePorts(s *corev1.ServiceSpec, ports *field.Path) (errs field.ErrorList) {
	type key struct {
		protocol corev1.Protocol
		port     int32
	}
	names, numbers, nodePorts := sets.New[string](), sets.New[key](), sets.New[key]()
	for i := range s.Ports {
		p, path := &s.Ports[i], ports.Index(i)
		if p.Name == "" && (len(s.Ports) > 1) {
			errs = append(errs, field.Required(path.Child("name"), ""))
		} else if p.Name != "" {
			errs = append(errs, dnsLabel(p.Name, path.Child("name"))...)
			if names.Has(p.Name) {
				errs = append(errs, field.Duplicate(path.Child("name"), p.Name))
			}
			names.Insert(p.Name)
		}
		errs = append(errs, portNumber(p.Port, path.Child("port"))...)
		errs = append(errs, validateProtocol(p.Protocol, path.Child("protocol"))...)
		errs = append(errs, portOrName(p.TargetPort, path.Child("targetPort"))...)
		if p.AppProtocol != nil {
			errs = append(errs, each(path.Child("appProtocol"), *p.AppProtocol, validation.IsQualifiedName(*p.AppProtocol))...)
		}
		if p.NodePort != 0 && (s.Type == corev1.ServiceTypeClusterIP || s.Type == corev1.ServiceTypeExternalName) {
			errs = append(errs, field.Forbidden(path.Child("nodePort"), fmt.Sprintf("may not be used when `type` is '%s'", s.Type)))
		}
		if k := (key{p.Protocol, p.Port}); numbers.Has(k) {
			errs = append(errs, field.Duplicate(path, corev1.ServicePort{Protocol: p.Protocol, Port: p.Port}))
		} else {
			numbers.Insert(k)
		}
		if k := (key{p.Protocol, p.NodePort}); p.NodePort != 0 {
			if nodePorts.Has(k) {
				errs = append(errs, field.Duplicate(path.Child("nodePort"), p.NodePort))
			}
			nodePorts.Insert(k)
		}
	}
	return errs
}

// portOrName checks a port given by number or by name.
func portOrName(p intstr.IntOrString, path *field.Path) field.ErrorList {
	switch p.Type {
	case intstr.Int:
		return each(path, p.IntVal, validation.IsValidPortNum(int(p.IntVal)))
	case intstr.String:
		return each(path, p.StrVal, api.PortName(p.StrVal))
	}
	return field.ErrorList{field.InternalError(path, fmt.Errorf("unknown type: %v", p.Type))}
}

func validateAffinity(s *corev1.ServiceSpec, spec *field.Path) (errs field.ErrorList) {
	path := spec.Child("sessionAffinity")
	if s.SessionAffinity == "" {
		return required(path, "")
	}
	errs = OneOf(s.SessionAffinity, path, corev1.ServiceAffinityClientIP, corev1.ServiceAffinityNone)
	config := spec.Child("sessionAffinityConfig")
	switch {
	case s.SessionAffinity == corev1.ServiceAffinityClientIP:
		seconds := config.Child("clientIP", "timeoutSeconds")
		if c := s.SessionAffinityConfig; c == nil || c.ClientIP == nil || c.ClientIP.TimeoutSeconds == nil {
			errs = append(errs, field.Required(config, fmt.Sprintf("when session affinity type is %s", corev1.ServiceAffinityClientIP)))
		} else if n := *c.ClientIP.TimeoutSeconds; n <= 0 || n > 86400 {
			errs = append(errs, field.Invalid(seconds, n, "must be greater than 0 and less than 86400"))
		}
	case s.SessionAffinity == corev1.ServiceAffinityNone && s.SessionAffinityConfig != nil:
		errs = append(errs, field.Forbidden(config, fmt.Sprintf("must not be set when session affinity is %s", corev1.ServiceAffinityNone)))
	}
	return errs
}

// validateClusterIPs checks addresses and families against each other; whether they
// are in the cluster's range and free is the allocator's to say.
func validateClusterIPs(s *corev1.ServiceSpec, was []string, spec *field.Path) (errs field.ErrorList) {
	if s.Type == corev1.ServiceTypeExternalName {
		return nil
	}
	ips := spec.Child("clusterIPs")
	if len(s.ClusterIPs) == 0 {
		if s.ClusterIP != "" {
			errs = append(errs, field.Required(ips, ""))
		}
	} else if s.ClusterIP == "" {
		errs = append(errs, field.Invalid(ips, s.ClusterIPs, "must be empty when `clusterIP` is not specified"))
	} else if s.ClusterIPs[0] != s.ClusterIP {
		errs = append(errs, field.Invalid(ips, s.ClusterIPs, "first value must match `clusterIP`"))
	}
	if s.IPFamilyPolicy != nil {
		errs = append(errs, OneOf(*s.IPFamilyPolicy, spec.Child("ipFamilyPolicy"),
			corev1.IPFamilyPolicyPreferDualStack, corev1.IPFamilyPolicyRequireDualStack, corev1.IPFamilyPolicySingleStack)...)
	}
	seen := sets.New[corev1.IPFamily]()
	for i, f := range s.IPFamilies {
		path := spec.Child("ipFamilies").Index(i)
		errs = append(errs, OneOf(f, path, corev1.IPv4Protocol, corev1.IPv6Protocol)...)
		if seen.Has(f) {
			errs = append(errs, field.Duplicate(path, f))
		}
		seen.Insert(f)
		if api.Enough(errs) {
			break
		}
	}
	if len(s.ClusterIPs) > 2 {
		errs = append(errs, field.Invalid(ips, s.ClusterIPs, "may only hold up to 2 values"))
	}
	for i, ip := range s.ClusterIPs {
		if ip == corev1.ClusterIPNone {
			if i > 0 || len(s.ClusterIPs) > 1 {
				errs = append(errs, field.Invalid(ips, s.ClusterIPs, "'None' must be the first and only value"))
			}
			continue
		}
		bad := validation.IsValidIPForLegacyField(ips.Index(i), ip, true, was)
		errs = append(errs, bad...)
		if len(bad) == 0 && len(s.IPFamilies) > i && (s.IPFamilies[i] == corev1.IPv6Protocol) != (net.ParseIP(ip).To4() == nil) {
			errs = append(errs, field.Invalid(ips.Index(i), s.ClusterIPs, fmt.Sprintf("expected an %v value as indicated by `ipFamilies[%v]`", s.IPFamilies[i], i)))
		}
	}
	return errs
}

func validateBalancer(s *corev1.ServiceSpec, was []string, spec *field.Path) (errs field.ErrorList) {
	balanced := s.Type == corev1.ServiceTypeLoadBalancer
	if len(s.LoadBalancerSourceRanges) > 0 {
		path := spec.Child("LoadBalancerSourceRanges") // as upstream spells it here
		if !balanced {
			errs = append(errs, field.Forbidden(path, "may only be used when `type` is 'LoadBalancer'"))
		}
		for i, r := range s.LoadBalancerSourceRanges {
			errs = append(errs, validation.IsValidCIDRForLegacyField(path.Index(i), strings.TrimSpace(r), true, was)...)
		}
	}
	if s.AllocateLoadBalancerNodePorts != nil && !balanced {
		errs = append(errs, field.Forbidden(spec.Child("allocateLoadBalancerNodePorts"), "may only be used when `type` is 'LoadBalancer'"))
	}
	if balanced && s.AllocateLoadBalancerNodePorts == nil {
		errs = append(errs, field.Required(spec.Child("allocateLoadBalancerNodePorts"), ""))
	}
	if c := s.LoadBalancerClass; c != nil {
		path := spec.Child("loadBalancerClass")
		if !balanced {
			errs = append(errs, field.Forbidden(path, "may only be used when `type` is 'LoadBalancer'"))
		}
		errs = append(errs, each(path, *c, validation.IsQualifiedName(*c))...)
	}
	return errs
}

func validateTraffic(s *corev1.ServiceSpec, spec *field.Path) (errs field.ErrorList) {
	path := spec.Child("externalTrafficPolicy")
	switch {
	case !external(s):
		if s.ExternalTrafficPolicy != "" {
			errs = append(errs, field.Invalid(path, s.ExternalTrafficPolicy, "may only be set for externally-accessible services"))
		}
	case s.ExternalTrafficPolicy == "":
		errs = append(errs, field.Required(path, "may be set to Cluster or Local"))
	default:
		errs = append(errs, OneOf(s.ExternalTrafficPolicy, path, corev1.ServiceExternalTrafficPolicyCluster, corev1.ServiceExternalTrafficPolicyLocal)...)
	}
	if health := spec.Child("healthCheckNodePort"); s.HealthCheckNodePort != 0 {
		if !hasHealthPort(s) {
			errs = append(errs, field.Invalid(health, s.HealthCheckNodePort, "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"))
		} else {
			errs = append(errs, portNumber(s.HealthCheckNodePort, health)...)
		}
	}
	path = spec.Child("internalTrafficPolicy")
	switch {
	case s.Type == corev1.ServiceTypeExternalName:
		if s.InternalTrafficPolicy != nil {
			errs = append(errs, field.Forbidden(path, "may not be set when `type` is 'ExternalName'"))
		}
	case s.InternalTrafficPolicy == nil:
		errs = append(errs, field.Required(path, ""))
	default:
		errs = append(errs, OneOf(*s.InternalTrafficPolicy, path, corev1.ServiceInternalTrafficPolicyCluster, corev1.ServiceInternalTrafficPolicyLocal)...)
	}
	if d := s.TrafficDistribution; d != nil {
		errs = append(errs, OneOf(*d, spec.Child("trafficDistribution"),
			corev1.ServiceTrafficDistributionPreferClose, corev1.ServiceTrafficDistributionPreferSameZone, corev1.ServiceTrafficDistributionPreferSameNode)...)
	}
	return errs
}

// validateServiceUpdate holds clusterIPs where they are while both types have them.
func validateServiceUpdate(svc, old *corev1.Service) (errs field.ErrorList) {
	s, o, spec := &svc.Spec, &old.Spec, field.NewPath("spec")
	if s.Type != corev1.ServiceTypeExternalName && o.Type != corev1.ServiceTypeExternalName {
		if len(o.ClusterIPs) > 0 && len(s.ClusterIPs) > 0 && o.ClusterIPs[0] != s.ClusterIPs[0] {
			errs = append(errs, field.Invalid(spec.Child("clusterIPs").Index(0), s.ClusterIPs, "may not change once set"))
		}
		if len(o.IPFamilies) > 0 && len(s.IPFamilies) > 0 && o.IPFamilies[0] != s.IPFamilies[0] {
			errs = append(errs, field.Invalid(spec.Child("ipFamilies").Index(0), s.IPFamilies, "may not change once set"))
		}
	}
	return errs
}

func validateServiceStatus(svc, old *corev1.Service) (errs field.ErrorList) {
	var was []string
	if old != nil {
		for _, in := range old.Status.LoadBalancer.Ingress {
			was = append(was, in.IP)
		}
	}
	path := field.NewPath("status", "loadBalancer", "ingress")
	ingress := svc.Status.LoadBalancer.Ingress
	if len(ingress) > 0 && svc.Spec.Type != corev1.ServiceTypeLoadBalancer {
		errs = append(errs, field.Forbidden(path, "may only be used when `spec.type` is 'LoadBalancer'"))
	}
	for i, in := range ingress {
		if in.IP != "" {
			errs = append(errs, validation.IsValidIPForLegacyField(path.Index(i).Child("ip"), in.IP, true, was)...)
		}
		if in.Hostname != "" {
			errs = append(errs, each(path.Index(i).Child("hostname"), in.Hostname, validation.IsDNS1123Subdomain(in.Hostname))...)
			if net.ParseIP(in.Hostname) != nil {
				errs = append(errs, field.Invalid(path.Index(i).Child("hostname"), in.Hostname, "must be a DNS name, not an IP address"))
			}
		}
		if m := in.IPMode; m != nil {
			if in.IP == "" {
				errs = append(errs, field.Forbidden(path.Index(i).Child("ipMode"), "may not be specified when `ip` is not set"))
			} else {
				errs = append(errs, OneOf(*m, path.Index(i).Child("ipMode"), corev1.LoadBalancerIPModeProxy, corev1.LoadBalancerIPModeVIP)...)
			}
		}
	}
	return errs
}

// validateOutsideIP refuses addresses that lead to the host itself or to its link.
func validateOutsideIP(value string, path *field.Path) (errs field.ErrorList) {
	ip := net.ParseIP(value)
	if ip == nil {
		return nil // loosely written and long there, or complained of already
	}
	for _, no := range []struct {
		is   bool
		text string
	}{
		{ip.IsUnspecified(), fmt.Sprintf("may not be unspecified (%v)", value)},
		{ip.IsLoopback(), "may not be in the loopback range (127.0.0.0/8, ::1/128)"},
		{ip.IsLinkLocalUnicast(), "may not be in the link-local range (169.254.0.0/16, fe80::/10)"},
		{ip.IsLinkLocalMulticast(), "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"},
	} {
		if no.is {
			errs = append(errs, field.Invalid(path, value, no.text))
		}
	}
	return errs
}
