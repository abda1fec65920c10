package role

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

// Where a webhook's Service is reached: at ready endpoints, on the port that the Service means.
func TestReadyAddresses(t *testing.T) {
	slice := func(port string, number int32, ready *bool, addresses ...string) *discoveryv1.EndpointSlice {
		return &discoveryv1.EndpointSlice{Ports: []discoveryv1.EndpointPort{{Name: &port, Port: &number}},
			Endpoints: []discoveryv1.Endpoint{{Addresses: addresses, Conditions: discoveryv1.EndpointConditions{Ready: ready}}}}
	}
	tests := map[string]struct {
		of     corev1.ServicePort
		slices []*discoveryv1.EndpointSlice
		want   string
	}{
		"all that are ready":           {corev1.ServicePort{Name: "https", Port: 443}, []*discoveryv1.EndpointSlice{slice("https", 8443, ptr.To(true), "10.0.0.1"), slice("https", 8443, nil, "10.0.0.2")}, "10.0.0.1:8443 10.0.0.2:8443"},
		"none that is not":             {corev1.ServicePort{Name: "https", Port: 443}, []*discoveryv1.EndpointSlice{slice("https", 8443, ptr.To(false), "10.0.0.1")}, ""},
		"of another port":              {corev1.ServicePort{Name: "https", Port: 443}, []*discoveryv1.EndpointSlice{slice("metrics", 9090, nil, "10.0.0.1")}, ""},
		"a port without a name":        {corev1.ServicePort{Port: 443, TargetPort: intstr.FromInt32(9443)}, []*discoveryv1.EndpointSlice{slice("", 9443, nil, "10.0.0.1")}, "10.0.0.1:9443"},
		"a port that the pods call so": {corev1.ServicePort{Port: 443, TargetPort: intstr.FromString("web")}, []*discoveryv1.EndpointSlice{slice("", 9443, nil, "fd00::1")}, "[fd00::1]:9443"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := strings.Join(readyAddresses(tt.slices, &tt.of), " "); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
