package discovery

import (
	"net"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Bounds of one slice. Source: the type comments of discovery.k8s.io/v1; ports have been
// bounded at 20000, not the 100 told there, since Services with more of them had to work.
const (
	maxEndpoints = 1000
	maxAddresses = 100
	maxPorts     = 20000
	maxZoneHints = 8
	maxNodeHints = 8
)

var (
	addressTypes = []discoveryv1.AddressType{discoveryv1.AddressTypeFQDN, discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6}
	protocols    = []corev1.Protocol{corev1.ProtocolSCTP, corev1.ProtocolTCP, corev1.ProtocolUDP}
)

func validateEndpointSlice(s, old *discoveryv1.EndpointSlice) (errs field.ErrorList) {
	at := field.NewPath("addressType")
	switch s.AddressType {
	case discoveryv1.AddressTypeFQDN, discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6:
	case "":
		errs = append(errs, field.Required(at, ""))
	default:
		errs = append(errs, field.NotSupported(at, s.AddressType, addressTypes))
	}
	errs = append(errs, validateEndpoints(s.Endpoints, s.AddressType, field.NewPath("endpoints"))...)
	errs = append(errs, validatePorts(s.Ports, field.NewPath("ports"))...)
	if old != nil {
		if s.AddressType != old.AddressType {
			errs = append(errs, field.Invalid(at, nil, apivalidation.FieldImmutableErrorMsg))
		}
	}
	return errs
}

// addressWarnings tell of addresses in a form that will not be accepted for ever.
func addressWarnings(s, _ *discoveryv1.EndpointSlice) (warnings []string) {
	if s.AddressType == discoveryv1.AddressTypeFQDN {
		return nil
	}
	for i, e := range s.Endpoints {
		for j, a := range e.Addresses {
			warnings = append(warnings, validation.GetWarningsForIP(field.NewPath("endpoints").Index(i).Child("addresses").Index(j), a)...)
		}
	}
	return warnings
}

func validateEndpoints(list []discoveryv1.Endpoint, kind discoveryv1.AddressType, path *field.Path) (errs field.ErrorList) {
	if len(list) > maxEndpoints {
		return append(errs, field.TooMany(path, len(list), maxEndpoints))
	}
	for i := range list {
		errs = append(errs, validateEndpoint(&list[i], kind, path.Index(i))...)
	}
	return errs
}

func validateEndpoint(e *discoveryv1.Endpoint, kind discoveryv1.AddressType, at *field.Path) (errs field.ErrorList) {
	addresses := at.Child("addresses")
	if len(e.Addresses) == 0 {
		errs = append(errs, field.Required(addresses, ""))
	} else if len(e.Addresses) > maxAddresses {
		errs = append(errs, field.TooMany(addresses, len(e.Addresses), maxAddresses))
	}
	for i, a := range e.Addresses {
		errs = append(errs, validateAddress(a, kind, addresses.Index(i))...)
	}
	if e.NodeName != nil {
		for _, msg := range apivalidation.NameIsDNSSubdomain(*e.NodeName, false) {
			errs = append(errs, field.Invalid(at.Child("nodeName"), *e.NodeName, msg))
		}
	}
	if e.Hostname != nil {
		for _, msg := range validation.IsDNS1123Label(*e.Hostname) {
			errs = append(errs, field.Invalid(at.Child("hostname"), *e.Hostname, msg))
		}
	}
	if h := e.Hints; h != nil {
		errs = append(errs, validateHints(h, at.Child("hints"))...)
	}
	return errs
}

func validateAddress(a string, kind discoveryv1.AddressType, at *field.Path) (errs field.ErrorList) {
	if kind == discoveryv1.AddressTypeFQDN {
		return validation.IsFullyQualifiedDomainName(at, a)
	}
	if kind != discoveryv1.AddressTypeIPv4 && kind != discoveryv1.AddressTypeIPv6 {
		return nil // complained about already
	}
	if bad := validation.IsValidIPForLegacyField(at, a, false, nil); len(bad) > 0 {
		return bad
	}
	ip := net.ParseIP(a)
	switch is4 := ip.To4() != nil; {
	case kind == discoveryv1.AddressTypeIPv4 && ip != nil && !is4:
		errs = append(errs, field.Invalid(at, a, "must be an IPv4 address"))
	case kind == discoveryv1.AddressTypeIPv6 && is4:
		errs = append(errs, field.Invalid(at, a, "must be an IPv6 address"))
	}
	return append(errs, validateReachable(a, at)...)
}

// validateReachable refuses addresses that mean this node or this link, which would
// turn a Service into a way to what listens there only for itself (CVE-2021-25737).
func validateReachable(a string, at *field.Path) (errs field.ErrorList) {
	ip, err := netip.ParseAddr(a)
	if err != nil {
		return nil // leading zeros in an old form
	}
	ip = ip.Unmap()
	if ip.IsUnspecified() {
		errs = append(errs, field.Invalid(at, a, "may not be unspecified (0.0.0.0 or ::)"))
	}
	if ip.IsLoopback() {
		errs = append(errs, field.Invalid(at, a, "may not be in the loopback range (127.0.0.0/8, ::1/128)"))
	}
	if ip.IsLinkLocalUnicast() {
		errs = append(errs, field.Invalid(at, a, "may not be in the link-local range (169.254.0.0/16, fe80::/10)"))
	}
	if ip.IsLinkLocalMulticast() {
		errs = append(errs, field.Invalid(at, a, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"))
	}
	return errs
}

func validateHints(h *discoveryv1.EndpointHints, at *field.Path) (errs field.ErrorList) {
	zones, nodes := at.Child("forZones"), at.Child("forNodes")
	if len(h.ForZones) > maxZoneHints {
		return append(errs, field.TooMany(zones, len(h.ForZones), maxZoneHints))
	}
	seen := sets.Set[string]{}
	for i, z := range h.ForZones {
		name := zones.Index(i).Child("name")
		if seen.Has(z.Name) {
			errs = append(errs, field.Duplicate(name, z.Name))
		}
		seen.Insert(z.Name)
		for _, msg := range validation.IsValidLabelValue(z.Name) {
			errs = append(errs, field.Invalid(name, z.Name, msg))
		}
	}
	if len(h.ForNodes) > maxNodeHints {
		return append(errs, field.TooMany(nodes, len(h.ForNodes), maxNodeHints))
	}
	seen = sets.Set[string]{}
	for i, n := range h.ForNodes {
		name := nodes.Index(i).Child("name")
		if seen.Has(n.Name) {
			errs = append(errs, field.Duplicate(name, n.Name))
		}
		seen.Insert(n.Name)
		for _, msg := range apivalidation.NameIsDNSSubdomain(n.Name, false) {
			errs = append(errs, field.Invalid(name, n.Name, msg))
		}
	}
	return errs
}

func validatePorts(list []discoveryv1.EndpointPort, path *field.Path) (errs field.ErrorList) {
	if len(list) > maxPorts {
		return append(errs, field.TooMany(path, len(list), maxPorts))
	}
	seen := sets.Set[string]{}
	for i, p := range list {
		at := path.Index(i)
		var name string
		if p.Name != nil {
			name = *p.Name
		}
		if name != "" {
			for _, msg := range validation.IsDNS1123Label(name) {
				errs = append(errs, field.Invalid(at.Child("name"), name, msg))
			}
		}
		if seen.Has(name) {
			errs = append(errs, field.Duplicate(at.Child("name"), name))
		}
		seen.Insert(name)
		if p.Protocol == nil {
			errs = append(errs, field.Required(at.Child("protocol"), ""))
		} else if *p.Protocol != corev1.ProtocolTCP && *p.Protocol != corev1.ProtocolUDP && *p.Protocol != corev1.ProtocolSCTP {
			errs = append(errs, field.NotSupported(at.Child("protocol"), *p.Protocol, protocols))
		}
		if p.Port != nil {
			for _, msg := range validation.IsValidPortNum(int(*p.Port)) {
				errs = append(errs, field.Invalid(at.Child("port"), *p.Port, msg))
			}
		}
		if p.AppProtocol != nil {
			for _, msg := range validation.IsQualifiedName(*p.AppProtocol) {
				errs = append(errs, field.Invalid(at.Child("appProtocol"), *p.AppProtocol, msg))
			}
		}
	}
	return errs
}
