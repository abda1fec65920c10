package networking

import (
	"fmt"
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"

	"github.com/lighter-k8s/lighter/api"
)

// Ingress routes HTTP from outside to Services by host and path.
var Ingress = api.Define(api.Resource[*networkingv1.Ingress]{
	Group: group, Version: version, Plural: "ingresses", Short: []string{"ing"}, Scope: api.Namespaced,
	Key: "ingress",
	Prepare: func(i, old *networkingv1.Ingress) {
		if old == nil {
			i.Status = networkingv1.IngressStatus{}
		}
	},
	Validate:     validateIngress,
	Warnings:     ingressWarnings,
	GenerationOf: func(i *networkingv1.Ingress) any { return &i.Spec },
	Status: &api.Status[*networkingv1.Ingress]{
		Copy:     func(dst, src *networkingv1.Ingress) { dst.Status = src.Status },
		Validate: validateIngressStatus,
	},
	Columns: []api.Column[*networkingv1.Ingress]{
		{Name: "Class", Help: "The name of the IngressClass resource that should be used for additional configuration", Show: ingressClassName},
		{Name: "Hosts", Help: "Hosts that incoming requests are matched against before the ingress rule", Show: ingressHosts},
		{Name: "Address", Help: "Address is a list containing ingress points for the load-balancer", Show: ingressAddress},
		{Name: "Ports", Help: "Ports of TLS configurations that open", Show: func(i *networkingv1.Ingress) any {
			if len(i.Spec.TLS) > 0 {
				return "80, 443"
			}
			return "80"
		}},
	},
})

func ingressClassName(i *networkingv1.Ingress) any {
	if i.Spec.IngressClassName != nil {
		return *i.Spec.IngressClassName
	}
	return "<none>"
}

// ingressHosts shows at most three hosts; none means every host.
func ingressHosts(i *networkingv1.Ingress) any {
	const shown = 3
	var hosts []string
	for _, r := range i.Spec.Rules {
		if r.Host != "" {
			hosts = append(hosts, r.Host)
		}
	}
	switch n := len(hosts); {
	case n == 0:
		return "*"
	case n > shown:
		return fmt.Sprintf("%s + %d more...", strings.Join(hosts[:shown], ","), n-shown)
	}
	return strings.Join(hosts, ",")
}

func ingressAddress(i *networkingv1.Ingress) any {
	var all []string
	for _, a := range i.Status.LoadBalancer.Ingress {
		if a.IP != "" {
			all = append(all, a.IP)
		} else if a.Hostname != "" {
			all = append(all, a.Hostname)
		}
	}
	slices.Sort(all)
	return strings.Join(slices.Compact(all), ",")
}

// annotationIngressClass named the class before spec.ingressClassName did.
const annotationIngressClass = "kubernetes.io/ingress.class"

func ingressWarnings(i, old *networkingv1.Ingress) []string {
	if old == nil && i.Annotations[annotationIngressClass] != "" {
		return []string{fmt.Sprintf("annotation %q is deprecated, please use 'spec.ingressClassName' instead", annotationIngressClass)}
	}
	return nil
}
