package core

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func validateEndpoints(e, old *corev1.Endpoints) (errs field.ErrorList) {
	var was []string // addresses written loosely before 1.36 may stay
	if old != nil {
		for _, s := range old.Subsets {
			for _, a := range slices.Concat(s.Addresses, s.NotReadyAddresses) {
				was = append(was, a.IP)
			}
		}
	}
	for i := range e.Subsets {
		s, path := &e.Subsets[i], field.NewPath("subsets").Index(i)
		if len(s.Addresses)+len(s.NotReadyAddresses) == 0 {
			errs = append(errs, field.Required(path, "must specify `addresses` or `notReadyAddresses`"))
		}
		for _, list := range []struct {
			name string
			of   []corev1.EndpointAddress
		}{{"addresses", s.Addresses}, {"notReadyAddresses", s.NotReadyAddresses}} {
			for j, a := range list.of {
				at := path.Child(list.name).Index(j)
				bad := validation.IsValidIPForLegacyField(at.Child("ip"), a.IP, true, was)
				errs = append(errs, bad...)
				if a.Hostname != "" {
					errs = append(errs, dnsLabel(a.Hostname, at.Child("hostname"))...)
				}
				if a.NodeName != nil {
					errs = append(errs, each(at.Child("nodeName"), *a.NodeName, apivalidation.NameIsDNSSubdomain(*a.NodeName, false))...)
				}
				if len(bad) > 0 {
					errs = append(errs, field.Invalid(at.Child("ip"), a.IP, "must be a valid IP address"))
				} else {
					errs = append(errs, validateOutsideIP(a.IP, at.Child("ip"))...)
				}
			}
		}
		for j, p := range s.Ports {
			at := path.Child("ports").Index(j)
			if p.Name == "" && len(s.Ports) > 1 {
				errs = append(errs, field.Required(at.Child("name"), ""))
			} else if p.Name != "" {
				errs = append(errs, dnsLabel(p.Name, at.Child("name"))...)
			}
			errs = append(errs, portNumber(p.Port, at.Child("port"))...)
			errs = append(errs, validateProtocol(p.Protocol, at.Child("protocol"))...)
			if p.AppProtocol != nil {
				errs = append(errs, each(at.Child("appProtocol"), *p.AppProtocol, validation.IsQualifiedName(*p.AppProtocol))...)
			}
		}
	}
	return errs
}
