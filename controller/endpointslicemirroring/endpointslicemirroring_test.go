package endpointslicemirroring

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lighter-k8s/lighter/client"
	world "github.com/lighter-k8s/lighter/controller/controllertest"
)

func newService() *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "db", UID: "svc"}, Spec: corev1.ServiceSpec{ClusterIP: "10.43.0.9"}}
}

// newEndpoints reads "80 10.0.0.1 (10.0.0.2) | 81 fd00::1": subsets, each a port and addresses, those in brackets not ready.
func newEndpoints(words string) *corev1.Endpoints {
	e := &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "db", UID: "eps", Labels: map[string]string{"team": "a"}}}
	for sub := range strings.SplitSeq(words, "|") {
		var s corev1.EndpointSubset
		for i, w := range strings.Fields(sub) {
			ip, not := strings.CutPrefix(strings.TrimSuffix(w, ")"), "(")
			switch a := (corev1.EndpointAddress{IP: ip}); {
			case i == 0:
				var port int32
				_, _ = fmt.Sscan(w, &port)
				s.Ports = []corev1.EndpointPort{{Name: "p", Port: port, Protocol: corev1.ProtocolTCP}}
			case not:
				s.NotReadyAddresses = append(s.NotReadyAddresses, a)
			default:
				s.Addresses = append(s.Addresses, a)
			}
		}
		if len(s.Ports) > 0 {
			e.Subsets = append(e.Subsets, s)
		}
	}
	return e
}

func show(list []*discoveryv1.EndpointSlice) string {
	var out []string
	for _, s := range list {
		word := string(s.AddressType)
		for _, p := range s.Ports {
			word += fmt.Sprintf(" %d", *p.Port)
		}
		for _, e := range s.Endpoints {
			if *e.Conditions.Ready {
				word += " " + e.Addresses[0]
			} else {
				word += " (" + e.Addresses[0] + ")"
			}
		}
		out = append(out, word)
	}
	slices.Sort(out)
	return strings.Join(out, " | ")
}

func TestMirror(t *testing.T) {
	tests := map[string]struct{ endpoints, want string }{
		"one address":        {"80 10.0.0.1", "IPv4 80 10.0.0.1"},
		"one not ready":      {"80 10.0.0.1 (10.0.0.2)", "IPv4 80 10.0.0.1 (10.0.0.2)"},
		"both families":      {"80 10.0.0.1 fd00::1", "IPv4 80 10.0.0.1 | IPv6 80 fd00::1"},
		"two subsets":        {"80 10.0.0.1 | 81 10.0.0.2", "IPv4 80 10.0.0.1 | IPv4 81 10.0.0.2"},
		"a subset of no one": {"80", ""},
		"none":               {"", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			e := newEndpoints(tt.endpoints)
			list, left := mirror(e)
			if got := show(list); got != tt.want || left != 0 {
				t.Errorf("got %q and %d left, want %q", got, left, tt.want)
			}
			for _, s := range list {
				if s.Labels["team"] != "a" || s.Labels[discoveryv1.LabelServiceName] != "db" || s.Labels[discoveryv1.LabelManagedBy] != ManagedBy || !metav1.IsControlledBy(s, e) {
					t.Errorf("labels %v, owners %v", s.Labels, s.OwnerReferences)
				}
			}
		})
	}
}

func TestWhatIsMirrored(t *testing.T) {
	tests := map[string]struct {
		change func(*View)
		want   string
	}{
		"a user's endpoints":   {func(*View) {}, "create EndpointSlice"},
		"no service":           {func(v *View) { v.Service = nil }, ""},
		"one that selects":     {func(v *View) { v.Service.Spec.Selector = map[string]string{"app": "db"} }, ""},
		"not to be mirrored":   {func(v *View) { v.Endpoints.Labels[discoveryv1.LabelSkipMirror] = "true" }, ""},
		"the label is \"no\"":  {func(v *View) { v.Endpoints.Labels[discoveryv1.LabelSkipMirror] = "no" }, "create EndpointSlice"},
		"a lock of old":        {func(v *View) { v.Endpoints.Annotations = map[string]string{leader: "{}"} }, ""},
		"they are deleted now": {func(v *View) { v.Endpoints.DeletionTimestamp = &metav1.Time{Time: world.Start} }, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			v := View{Endpoints: newEndpoints("80 10.0.0.1"), Service: newService()}
			tt.change(&v)
			if got := world.Show(Decide(v)); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			v.Slices, _ = mirror(newEndpoints("80 10.0.0.1"))
			v.Slices[0].Name = "db-x"
			if got := world.Show(Decide(v)); tt.want == "" && got != "delete EndpointSlice db-x" {
				t.Errorf("with a slice of before: %q", got)
			}
		})
	}
}

func TestTooMany(t *testing.T) {
	e := newEndpoints("80")
	for i := range 1100 {
		e.Subsets[0].Addresses = append(e.Subsets[0].Addresses, corev1.EndpointAddress{IP: fmt.Sprintf("10.0.%d.%d", i/200, i%200+1)})
	}
	todo := Decide(View{Endpoints: e, Service: newService()})
	if n := len(todo[0].Object.(*discoveryv1.EndpointSlice).Endpoints); n != 1000 || len(todo) != 2 || todo[1].Event.Reason != "TooManyAddressesToMirror" {
		t.Errorf("%d endpoints, then %v", n, todo[1:])
	}
}

// TestLife changes Endpoints, their Service and the slices; the slices follow with as few writes as they can.
func TestLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := world.New(time.Now)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- Run(ctx, w.Env()) }()
		defer func() { cancel(); <-done }()
		set := func(words string) func() {
			return func() {
				world.Change(w, client.Endpoints, "ns", "db", func(e *corev1.Endpoints) { e.Subsets = newEndpoints(words).Subsets })
			}
		}
		steps := []struct {
			name   string
			do     func()
			want   string
			writes int
		}{
			{"endpoints without service", func() { world.Put(w, client.Endpoints, newEndpoints("80 10.0.0.1")) }, "", 0},
			{"a service", func() { world.Put(w, client.Services, newService()) }, "IPv4 80 10.0.0.1", 1},
			{"one more address", set("80 10.0.0.1 10.0.0.2"), "IPv4 80 10.0.0.1 10.0.0.2", 1},
			{"another port", set("81 10.0.0.1 10.0.0.2"), "IPv4 81 10.0.0.1 10.0.0.2", 1},
			{"a subset before it", set("70 10.0.0.9 | 81 10.0.0.1 10.0.0.2"), "IPv4 70 10.0.0.9 | IPv4 81 10.0.0.1 10.0.0.2", 1},
			{"the other family", set("70 fd00::9 | 81 10.0.0.1 10.0.0.2"), "IPv4 81 10.0.0.1 10.0.0.2 | IPv6 70 fd00::9", 2},
			{"somebody deletes a slice", func() {
				w.Remove(client.EndpointSlices.Resource, "ns", world.List(w, client.EndpointSlices)[0].Name)
			}, "IPv4 81 10.0.0.1 10.0.0.2 | IPv6 70 fd00::9", 1},
			{"a selector", func() {
				world.Change(w, client.Services, "ns", "db", func(s *corev1.Service) { s.Spec.Selector = map[string]string{"a": "b"} })
			}, "", 2},
		}
		for _, s := range steps {
			before := w.Writes()
			s.do()
			time.Sleep(time.Second)
			synctest.Wait()
			if got := show(world.List(w, client.EndpointSlices)); got != s.want {
				t.Errorf("%s: got %q, want %q", s.name, got, s.want)
			}
			if n := w.Writes() - before; n != s.writes {
				t.Errorf("%s: %d writes, want %d", s.name, n, s.writes)
			}
		}
	})
}
