package endpointslice

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/controller"
	world "github.com/lighter-k8s/lighter/controller/controllertest"
	"github.com/lighter-k8s/lighter/controller/services"
)

var web = map[string]string{"app": "web"}

func newService() *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web", UID: "svc", Labels: map[string]string{"team": "a"}},
		Spec: corev1.ServiceSpec{Selector: web, ClusterIP: "10.43.0.9", IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol},
			Ports: []corev1.ServicePort{{Name: "http", Protocol: corev1.ProtocolTCP, Port: 80, TargetPort: intstr.FromString("web")}}}}
}

// newPods reads world.Pods's words; each pod gets an address and the port web=8080, or 8081 with a name that begins with "x".
func newPods(words string) []*corev1.Pod {
	list := world.Pods(words, newService(), services.Kind, web)
	for i, p := range list {
		p.OwnerReferences = nil
		p.Spec.NodeName = "n"
		p.Status.PodIPs = []corev1.PodIP{{IP: fmt.Sprintf("10.42.0.%d", i+1)}, {IP: fmt.Sprintf("fd00::%d", i+1)}}
		port := int32(8080)
		if strings.HasPrefix(p.Name, "x") {
			port = 8081
		}
		p.Spec.Containers = []corev1.Container{{Ports: []corev1.ContainerPort{{Name: "web", ContainerPort: port, Protocol: corev1.ProtocolTCP}}}}
	}
	return list
}

var node = &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", Labels: map[string]string{corev1.LabelTopologyZone: "z1"}}}

func view(s *corev1.Service, pods []*corev1.Pod, list []*discoveryv1.EndpointSlice) View {
	return View{Service: s, Pods: pods, Nodes: map[string]*corev1.Node{"n": node}, Slices: list}
}

// apply does what the actions say to the slices.
func apply(list []*discoveryv1.EndpointSlice, todo []controller.Action) []*discoveryv1.EndpointSlice {
	for _, a := range todo {
		s := a.Object.(*discoveryv1.EndpointSlice)
		switch a.Verb {
		case controller.CreateObject:
			s = s.DeepCopy()
			s.Name = fmt.Sprintf("%s%d", s.GenerateName, rand.Int())
			list = append(list, s)
		case controller.UpdateObject:
			list[slices.IndexFunc(list, func(o *discoveryv1.EndpointSlice) bool { return o.Name == s.Name })] = s
		case controller.DeleteObject:
			list = slices.DeleteFunc(list, func(o *discoveryv1.EndpointSlice) bool { return o.Name == s.Name })
		}
	}
	return list
}

func show(list []*discoveryv1.EndpointSlice) string {
	var out []string
	for _, s := range list {
		word := string(s.AddressType)
		for _, p := range s.Ports {
			word += fmt.Sprintf(" %s:%d", *p.Name, *p.Port)
		}
		for _, e := range s.Endpoints {
			word += " " + e.TargetRef.Name
			if *e.Conditions.Ready {
				word += "+"
			}
			if *e.Conditions.Serving {
				word += "s"
			}
			if *e.Conditions.Terminating {
				word += "t"
			}
		}
		out = append(out, word)
	}
	slices.Sort(out)
	return strings.Join(out, " | ")
}

func TestDecide(t *testing.T) {
	publish := func(s *corev1.Service) { s.Spec.PublishNotReadyAddresses = true }
	dual := func(s *corev1.Service) {
		s.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol}
	}
	none := func(*corev1.Service) {}
	tests := map[string]struct {
		change func(*corev1.Service)
		pods   string
		want   string
	}{
		"a ready pod":                          {none, "a:ready", "IPv4 http:8080 a+s"},
		"one that is not ready":                {none, "a:Running", "IPv4 http:8080 a"},
		"one that is ready and ends":           {none, "a:ready,deleting", "IPv4 http:8080 ast"},
		"not ready but published":              {publish, "a:Running", "IPv4 http:8080 a+"},
		"no pod":                               {none, "", "IPv4"},
		"pods whose port of that name differs": {none, "a:ready xb:ready", "IPv4 http:8080 a+s | IPv4 http:8081 xb+s"},
		"both families":                        {dual, "a:ready", "IPv4 http:8080 a+s | IPv6 http:8080 a+s"},
		"a port that the pod does not have":    {func(s *corev1.Service) { s.Spec.Ports[0].TargetPort = intstr.FromString("other") }, "a:ready", "IPv4 a+s"},
		"a port by number":                     {func(s *corev1.Service) { s.Spec.Ports[0].TargetPort = intstr.FromInt32(99) }, "a:ready xb:ready", "IPv4 http:99 a+s xb+s"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := newService()
			tt.change(s)
			pods := newPods(tt.pods)
			got := apply(nil, Decide(view(s, pods, nil)))
			if show(got) != tt.want {
				t.Errorf("got %q, want %q", show(got), tt.want)
			}
			if again := Decide(view(s, pods, got)); len(again) > 0 {
				t.Errorf("a second look: %s", world.Show(again))
			}
		})
	}
}

func TestEndpointDetails(t *testing.T) {
	s, pods := newService(), newPods("a:ready")
	s.Spec.ClusterIP = corev1.ClusterIPNone
	s.Spec.TrafficDistribution = ptr.To(corev1.ServiceTrafficDistributionPreferClose)
	pods[0].Spec.Hostname, pods[0].Spec.Subdomain = "h", "web"
	got := apply(nil, Decide(view(s, pods, nil)))[0]
	e := got.Endpoints[0]
	if *e.NodeName != "n" || *e.Zone != "z1" || *e.Hostname != "h" || e.TargetRef.Kind != "Pod" || e.Hints.ForZones[0].Name != "z1" {
		t.Errorf("endpoint %v", e)
	}
	labels := map[string]string{"team": "a", "kubernetes.io/service-name": "web", "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io", "service.kubernetes.io/headless": ""}
	if fmt.Sprint(got.Labels) != fmt.Sprint(labels) || got.GenerateName != "web-" || got.OwnerReferences[0].UID != "svc" {
		t.Errorf("metadata %v", got.ObjectMeta)
	}
	if got.Annotations[corev1.EndpointsLastChangeTriggerTime] != "2026-01-02T03:00:00Z" {
		t.Errorf("annotations %v", got.Annotations)
	}
}

// However pods come and go: the slices show exactly the wanted endpoints, none above its limit, few more than needed,
// and one pod's change costs one write.
func TestDecideChurn(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 1))
	s := newService()
	var list []*discoveryv1.EndpointSlice
	var pods []*corev1.Pod
	for i := range 350 {
		p := newPods(fmt.Sprintf("p%d:ready", i))[0]
		p.Status.PodIPs = []corev1.PodIP{{IP: fmt.Sprintf("10.42.%d.%d", i/200, i%200+1)}}
		pods = append(pods, p)
	}
	present := map[int]bool{}
	for step := range 60 {
		for range 1 + r.IntN(40) {
			i := r.IntN(len(pods))
			present[i] = !present[i]
		}
		var now []*corev1.Pod
		for i, p := range pods {
			if present[i] {
				now = append(now, p)
			}
		}
		list = apply(list, Decide(view(s, now, list)))
		seen := map[string]int{}
		for _, x := range list {
			if len(x.Endpoints) > perSlice {
				t.Fatalf("seed %d step %d: %d endpoints in a slice", seed, step, len(x.Endpoints))
			}
			for _, e := range x.Endpoints {
				seen[e.TargetRef.Name]++
			}
		}
		if len(seen) != len(now) {
			t.Fatalf("seed %d step %d: %d endpoints of %d pods", seed, step, len(seen), len(now))
		}
		for name, n := range seen {
			if n != 1 {
				t.Fatalf("seed %d step %d: %s is there %d times", seed, step, name, n)
			}
		}
		if again := Decide(view(s, now, list)); len(again) > 0 {
			t.Fatalf("seed %d step %d: a second look: %s", seed, step, world.Show(again))
		}
		if len(now) > 0 {
			gone := now[0].DeepCopy()
			gone.DeletionTimestamp = &metav1.Time{Time: world.Start}
			if n := len(Decide(view(s, append([]*corev1.Pod{gone}, now[1:]...), list))); n != 1 {
				t.Fatalf("seed %d step %d: %d writes for one pod", seed, step, n)
			}
		}
	}
}

// A pod that ends is out of the ready endpoints at once, whatever else is going on.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := world.New(time.Now)
		w.Slow = true
		done := make(chan error)
		go func() { done <- Run(t.Context(), w.Env()) }()
		t.Cleanup(func() { <-done })
		world.Put(w, client.Nodes, node.DeepCopy())
		world.Put(w, client.Services, newService())
		for _, p := range newPods("a:ready b:ready c:ready") {
			world.Put(w, client.Pods, p)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if got := show(world.List(w, client.EndpointSlices)); got != "IPv4 http:8080 a+s b+s c+s" {
			t.Fatalf("got %q", got)
		}
		before := time.Now()
		world.Change(w, client.Pods, "ns", "b", func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{Time: time.Now()} })
		for range 5 { // others change meanwhile
			world.Change(w, client.Pods, "ns", "a", func(p *corev1.Pod) { p.Status.Message += "x" })
		}
		for show(world.List(w, client.EndpointSlices)) != "IPv4 http:8080 a+s bst c+s" {
			time.Sleep(time.Millisecond)
		}
		if took := time.Since(before); took > 20*time.Millisecond {
			t.Errorf("took %s", took)
		}
		writes := w.Writes()
		time.Sleep(10 * time.Minute)
		if n := w.Writes() - writes; n > 0 {
			t.Errorf("%d writes although nothing happened", n)
		}
		w.Remove(client.Pods.Resource, "ns", "b")
		w.Remove(client.EndpointSlices.Resource, "ns", world.List(w, client.EndpointSlices)[0].Name)
		time.Sleep(time.Second)
		synctest.Wait()
		if got := show(world.List(w, client.EndpointSlices)); got != "IPv4 http:8080 a+s c+s" {
			t.Errorf("got %q after the slice was deleted", got)
		}
	})
}
