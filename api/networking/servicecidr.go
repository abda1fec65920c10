package networking

import (
	"net/netip"
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lighter-k8s/lighter/api"
)

// ServiceCIDR is a range from which Services get their cluster IPs.
var ServiceCIDR = api.Define(api.Resource[*networkingv1.ServiceCIDR]{
	Group: group, Version: version, Plural: "servicecidrs", Scope: api.Cluster,
	Prepare: func(c, old *networkingv1.ServiceCIDR) {
		if old == nil {
			c.Status = networkingv1.ServiceCIDRStatus{}
		}
	},
	Validate: validateServiceCIDR,
	Status:   &api.Status[*networkingv1.ServiceCIDR]{Alone: true, Copy: func(dst, src *networkingv1.ServiceCIDR) { dst.Status = src.Status }}, // of its conditions upstream looks at none
	Columns: []api.Column[*networkingv1.ServiceCIDR]{{Name: "CIDRs", Help: networkingv1.ServiceCIDRSpec{}.SwaggerDoc()["cidrs"],
		Show: func(c *networkingv1.ServiceCIDR) any { return strings.Join(c.Spec.CIDRs, ",") }}},
})

func validateServiceCIDR(c, old *networkingv1.ServiceCIDR) (errs field.ErrorList) {
	at, list := field.NewPath("spec", "cidrs"), c.Spec.CIDRs
	if old != nil {
		// A range of one family may be joined by one of the other; nothing else changes.
		if slices.Equal(list, old.Spec.CIDRs) {
			return nil
		}
		if len(old.Spec.CIDRs) != 1 || len(list) != 2 || list[0] != old.Spec.CIDRs[0] {
			if len(list) > 0 && len(old.Spec.CIDRs) > 0 && list[0] != old.Spec.CIDRs[0] {
				return append(errs, field.Invalid(at.Index(0), list[0], "field is immutable"))
			}
			return append(errs, field.Invalid(at, list, "field is immutable"))
		}
	}
	switch {
	case len(list) == 0:
		return append(errs, field.Required(at, "at least one CIDR required"))
	case len(list) > 2:
		return append(errs, field.Invalid(at, list, "may only hold up to 2 values"))
	}
	for i, cidr := range list {
		errs = append(errs, validation.IsValidCIDR(at.Index(i), cidr)...)
	}
	if len(errs) == 0 && len(list) == 2 {
		a, _ := netip.ParsePrefix(list[0])
		b, _ := netip.ParsePrefix(list[1])
		if a.Addr().Is4() == b.Addr().Is4() {
			errs = append(errs, field.Invalid(at, list, "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64"))
		}
	}
	return errs
}
