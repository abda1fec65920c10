package core

import (
	"fmt"
	"net"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/lighter-k8s/lighter/api"
)

// Endpoints lists a Service's addresses; deprecated since 1.33 in favour of EndpointSlice.
var Endpoints = api.Define(api.Resource[*corev1.Endpoints]{
	Version: "v1", Plural: "endpoints", Singular: "endpoints", Short: []string{"ep"}, Scope: api.Namespaced,
	Deprecated: "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",
	Key:        "services/endpoints", List: "EndpointsList",
	Default: func(e *corev1.Endpoints) {
		for i := range e.Subsets {
			for j := range e.Subsets[i].Ports {
				OrSet(&e.Subsets[i].Ports[j].Protocol, corev1.ProtocolTCP)
			}
		}
	},
	Validate: validateEndpoints,
	Columns: []api.Column[*corev1.Endpoints]{
		{Name: "Endpoints", Help: corev1.Endpoints{}.SwaggerDoc()["subsets"], Show: showEndpoints}},
})

// showEndpoints names the first three addresses.
func showEndpoints(e *corev1.Endpoints) any {
	var list []string
	for _, s := range e.Subsets {
		if len(s.Ports) == 0 {
			for _, a := range s.Addresses {
				list = append(list, a.IP)
			}
		}
		for _, p := range s.Ports {
			for _, a := range s.Addresses {
				list = append(list, net.JoinHostPort(a.IP, strconv.Itoa(int(p.Port))))
			}
		}
	}
	switch n := len(list); {
	case n == 0:
		return "<none>"
	case n > 3:
		return fmt.Sprintf("%s + %d more...", strings.Join(list[:3], ","), n-3)
	}
	return strings.Join(list, ",")
}
