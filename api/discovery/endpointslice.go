// Package discovery holds the record of discovery.k8s.io/v1.
package discovery

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/lighter-k8s/lighter/api"
)

// All lists the group's resources.
var All = []*api.Info{EndpointSlice}

// EndpointSlice lists some of the addresses and ports behind a Service.
var EndpointSlice = api.Define(api.Resource[*discoveryv1.EndpointSlice]{
	Group: discoveryv1.GroupName, Version: "v1", Plural: "endpointslices", Scope: api.Namespaced,
	Default: defaultEndpointSlice,
	Prepare: func(s, old *discoveryv1.EndpointSlice) { // what v1beta1 had stays where it is
		had := func(e discoveryv1.Endpoint) bool { return len(e.DeprecatedTopology) > 0 }
		for i := range s.Endpoints {
			if old == nil || !slices.ContainsFunc(old.Endpoints, had) {
				s.Endpoints[i].DeprecatedTopology = nil
			}
		}
	},
	Validate: validateEndpointSlice,
	Warnings: addressWarnings,
	// Generation tells a proxy that something it programs changed; labels name the Service.
	GenerationOf: func(s *discoveryv1.EndpointSlice) any {
		return [3]any{s.Labels, s.Endpoints, s.Ports}
	},
	Columns: []api.Column[*discoveryv1.EndpointSlice]{
		{Name: "AddressType", Help: discoveryv1.EndpointSlice{}.SwaggerDoc()["addressType"],
			Show: func(s *discoveryv1.EndpointSlice) any { return string(s.AddressType) }},
		{Name: "Ports", Help: discoveryv1.EndpointSlice{}.SwaggerDoc()["ports"], Show: showPorts},
		{Name: "Endpoints", Help: discoveryv1.EndpointSlice{}.SwaggerDoc()["endpoints"], Show: showEndpoints},
	},
})

func defaultEndpointSlice(s *discoveryv1.EndpointSlice) {
	for i := range s.Ports {
		p := &s.Ports[i]
		if p.Name == nil {
			p.Name = new(string)
		}
		if p.Protocol == nil {
			tcp := corev1.ProtocolTCP
			p.Protocol = &tcp
		}
	}
}

// showPorts and showEndpoints show at most three.
func showPorts(s *discoveryv1.EndpointSlice) any {
	var all []string
	for _, p := range s.Ports {
		switch {
		case p.Port != nil:
			all = append(all, strconv.Itoa(int(*p.Port)))
		case p.Name != nil && *p.Name != "":
			all = append(all, *p.Name)
		default:
			all = append(all, "*")
		}
	}
	return few(all)
}

func showEndpoints(s *discoveryv1.EndpointSlice) any {
	var all []string
	for _, e := range s.Endpoints {
		all = append(all, e.Addresses...)
	}
	return few(all)
}

func few(all []string) string {
	const shown = 3
	switch n := len(all); {
	case n == 0:
		return "<unset>"
	case n > shown:
		return fmt.Sprintf("%s + %d more...", strings.Join(all[:shown], ","), n-shown)
	}
	return strings.Join(all, ",")
}
