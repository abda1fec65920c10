package networking

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lighter-k8s/lighter/api"
)

// NetworkPolicy says who may talk to the pods it selects, and to whom they may.
var NetworkPolicy = api.Define(api.Resource[*networkingv1.NetworkPolicy]{
	Group: group, Version: version, Plural: "networkpolicies", Short: []string{"netpol"}, Scope: api.Namespaced,
	Default:      defaultNetworkPolicy,
	Validate:     validateNetworkPolicy,
	Warnings:     policyWarnings,
	GenerationOf: func(p *networkingv1.NetworkPolicy) any { return &p.Spec }, NilChanges: true,
	Columns: []api.Column[*networkingv1.NetworkPolicy]{{Name: "Pod-Selector", Help: networkingv1.NetworkPolicySpec{}.SwaggerDoc()["podSelector"],
		Show: func(p *networkingv1.NetworkPolicy) any { return metav1.FormatLabelSelector(&p.Spec.PodSelector) }}},
})

func defaultNetworkPolicy(p *networkingv1.NetworkPolicy) {
	tcp := corev1.ProtocolTCP
	ports := func(list []networkingv1.NetworkPolicyPort) {
		for i := range list {
			if list[i].Protocol == nil {
				list[i].Protocol = &tcp
			}
		}
	}
	for i := range p.Spec.Ingress {
		ports(p.Spec.Ingress[i].Ports)
	}
	for i := range p.Spec.Egress {
		ports(p.Spec.Egress[i].Ports)
	}
	if len(p.Spec.PolicyTypes) == 0 {
		p.Spec.PolicyTypes = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}
		if len(p.Spec.Egress) > 0 {
			p.Spec.PolicyTypes = append(p.Spec.PolicyTypes, networkingv1.PolicyTypeEgress)
		}
	}
}

// policyWarnings tell of ranges in a form that will not be accepted for ever.
func policyWarnings(p, _ *networkingv1.NetworkPolicy) (warnings []string) {
	peers := func(list []networkingv1.NetworkPolicyPeer, at *field.Path) {
		for i, peer := range list {
			if peer.IPBlock == nil {
				continue
			}
			at := at.Index(i).Child("ipBlock")
			warnings = append(warnings, validation.GetWarningsForCIDR(at.Child("cidr"), peer.IPBlock.CIDR)...)
			for j, except := range peer.IPBlock.Except {
				warnings = append(warnings, validation.GetWarningsForCIDR(at.Child("except").Index(j), except)...)
			}
		}
	}
	at := field.NewPath("spec")
	for i, r := range p.Spec.Ingress {
		peers(r.From, at.Child("ingress").Index(i).Child("from"))
	}
	for i, r := range p.Spec.Egress {
		peers(r.To, at.Child("egress").Index(i).Child("to"))
	}
	return warnings
}

func validateNetworkPolicy(p, _ *networkingv1.NetworkPolicy) (errs field.ErrorList) {
	at := field.NewPath("spec")
	errs = append(errs, metav1validation.ValidateLabelSelector(&p.Spec.PodSelector, metav1validation.LabelSelectorValidationOptions{}, at.Child("podSelector"))...)
	for i, r := range p.Spec.Ingress {
		errs = append(errs, validatePolicyRule(r.Ports, r.From, "from", at.Child("ingress").Index(i))...)
	}
	for i, r := range p.Spec.Egress {
		errs = append(errs, validatePolicyRule(r.Ports, r.To, "to", at.Child("egress").Index(i))...)
	}
	if len(p.Spec.PolicyTypes) > 2 {
		return append(errs, field.Invalid(at.Child("policyTypes"), &p.Spec.PolicyTypes, "may not specify more than two policyTypes"))
	}
	for i, t := range p.Spec.PolicyTypes {
		if t != networkingv1.PolicyTypeIngress && t != networkingv1.PolicyTypeEgress {
			errs = append(errs, field.NotSupported(at.Child("policyTypes").Index(i), t, []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress}))
		}
	}
	return errs
}

func validatePolicyRule(ports []networkingv1.NetworkPolicyPort, peers []networkingv1.NetworkPolicyPeer, side string, at *field.Path) (errs field.ErrorList) {
	for i := range ports {
		errs = append(errs, validatePolicyPort(&ports[i], at.Child("ports").Index(i))...)
	}
	for i := range peers {
		errs = append(errs, validatePeer(&peers[i], at.Child(side).Index(i))...)
	}
	return errs
}

func validatePolicyPort(p *networkingv1.NetworkPolicyPort, at *field.Path) (errs field.ErrorList) {
	if p.Protocol != nil {
		switch *p.Protocol {
		case corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP:
		default:
			errs = append(errs, field.NotSupported(at.Child("protocol"), *p.Protocol, []corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP}))
		}
	}
	end := at.Child("endPort")
	switch {
	case p.Port == nil:
		if p.EndPort != nil {
			errs = append(errs, field.Invalid(end, *p.EndPort, "may not be specified when `port` is not specified"))
		}
	case p.Port.Type == intstr.Int:
		for _, msg := range validation.IsValidPortNum(int(p.Port.IntVal)) {
			errs = append(errs, field.Invalid(at.Child("port"), p.Port.IntVal, msg))
		}
		if p.EndPort != nil {
			if *p.EndPort < p.Port.IntVal {
				errs = append(errs, field.Invalid(end, *p.EndPort, "must be greater than or equal to `port`"))
			}
			for _, msg := range validation.IsValidPortNum(int(*p.EndPort)) {
				errs = append(errs, field.Invalid(end, *p.EndPort, msg))
			}
		}
	default:
		if p.EndPort != nil {
			errs = append(errs, field.Invalid(end, *p.EndPort, "may not be specified when `port` is non-numeric"))
		}
		for _, msg := range validation.IsValidPortName(p.Port.StrVal) {
			errs = append(errs, field.Invalid(at.Child("port"), p.Port.StrVal, msg))
		}
	}
	return errs
}

func validatePeer(p *networkingv1.NetworkPolicyPeer, at *field.Path) (errs field.ErrorList) {
	kinds := 0
	if p.PodSelector != nil {
		kinds++
		errs = append(errs, metav1validation.ValidateLabelSelector(p.PodSelector, metav1validation.LabelSelectorValidationOptions{}, at.Child("podSelector"))...)
	}
	if p.NamespaceSelector != nil {
		kinds++
		errs = append(errs, metav1validation.ValidateLabelSelector(p.NamespaceSelector, metav1validation.LabelSelectorValidationOptions{}, at.Child("namespaceSelector"))...)
	}
	if b := p.IPBlock; b != nil {
		kinds++
		if b.CIDR != "" {
			errs = append(errs, validateIPBlock(b, at.Child("ipBlock"))...)
		}
	}
	switch {
	case kinds == 0:
		errs = append(errs, field.Required(at, "must specify a peer"))
	case kinds > 1 && p.IPBlock != nil:
		errs = append(errs, field.Forbidden(at, "may not specify both ipBlock and another peer"))
	}
	if p.IPBlock != nil && p.IPBlock.CIDR == "" {
		errs = append(errs, field.Required(at.Child("ipBlock", "cidr"), ""))
	}
	return errs
}

// validateIPBlock wants every exception strictly inside the block.
func validateIPBlock(b *networkingv1.IPBlock, at *field.Path) (errs field.ErrorList) {
	if bad := validation.IsValidCIDRForLegacyField(at.Child("cidr"), b.CIDR, false, nil); len(bad) > 0 {
		return append(errs, bad...)
	}
	block, err := netip.ParsePrefix(b.CIDR)
	for i, except := range b.Except {
		at := at.Child("except").Index(i)
		if bad := validation.IsValidCIDRForLegacyField(at, except, false, nil); len(bad) > 0 {
			return append(errs, bad...)
		}
		inner, innerErr := netip.ParsePrefix(except)
		if err == nil && innerErr == nil && (!block.Contains(inner.Addr()) || inner.Bits() <= block.Bits()) {
			errs = append(errs, field.Invalid(at, except, "must be a strict subset of `cidr`"))
		}
	}
	return errs
}
