package networking

import (
	"net/netip"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lighter-k8s/lighter/api"
)

// IPAddress records that an address of a service range is taken, and by what. Its name is the address.
var IPAddress = api.Define(api.Resource[*networkingv1.IPAddress]{
	Group: group, Version: version, Plural: "ipaddresses", Short: []string{"ip"}, Scope: api.Cluster,
	ValidateName: validateIPAddressName,
	Validate:     validateIPAddress,
	Columns: []api.Column[*networkingv1.IPAddress]{
		{Name: "Name"},
		{Name: "ParentRef", Help: networkingv1.IPAddressSpec{}.SwaggerDoc()["parentRef"], Show: showParent},
	},
})

// showParent gives "services/default/kubernetes".
func showParent(a *networkingv1.IPAddress) any {
	p := a.Spec.ParentRef
	if p == nil {
		return "<none>"
	}
	s := p.Resource
	if p.Group != "" {
		s += "." + p.Group
	}
	if p.Namespace != "" {
		s += "/" + p.Namespace
	}
	return s + "/" + p.Name
}

// validateIPAddressName wants the one spelling of an address that RFC 5952 or dotted decimal gives.
func validateIPAddressName(name string, _ bool) []string {
	ip, err := netip.ParseAddr(name)
	if err != nil {
		return []string{"must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"}
	}
	if ip.String() != name || ip.Is4In6() {
		return []string{"must be a canonical form IP address"}
	}
	return nil
}

func validateIPAddress(a, old *networkingv1.IPAddress) (errs field.ErrorList) {
	at := field.NewPath("spec", "parentRef")
	if p := a.Spec.ParentRef; p == nil {
		errs = append(errs, field.Required(at, ""))
	} else {
		errs = append(errs, validateParent(p, at)...)
	}
	if old != nil && !equality.Semantic.DeepEqual(a.Spec.ParentRef, old.Spec.ParentRef) {
		errs = append(errs, field.Invalid(at, nil, apivalidation.FieldImmutableErrorMsg))
	}
	return errs
}

func validateParent(p *networkingv1.ParentReference, at *field.Path) (errs field.ErrorList) {
	if p.Group != "" {
		for _, msg := range validation.IsDNS1123Subdomain(p.Group) {
			errs = append(errs, field.Invalid(at.Child("group"), p.Group, msg))
		}
	}
	errs = append(errs, validateSegment(p.Resource, "", at.Child("resource"))...)
	errs = append(errs, validateSegment(p.Name, "", at.Child("name"))...)
	if p.Namespace != "" {
		errs = append(errs, validateSegment(p.Namespace, "", at.Child("namespace"))...)
	}
	return errs
}
