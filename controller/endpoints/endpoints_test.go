package endpoints

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	world "github.com/lighter-k8s/lighter/controller/controllertest"
	"github.com/lighter-k8s/lighter/controller/services"
)

func newService() *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web", UID: "svc"},
		Spec: corev1.ServiceSpec{Selector: map[string]string{"app": "web"}, ClusterIP: "10.43.0.9",
			Ports: []corev1.ServicePort{{Name: "http", Protocol: corev1.ProtocolTCP, Port: 80, TargetPort: intstr.FromString("web")}}}}
}

// newPods gives each pod an address and the port web=8080, or 8081 with a name that begins with "x".
func newPods(words string) []*corev1.Pod {
	list := world.Pods(words, newService(), services.Kind, nil)
	for i, p := range list {
		p.Status.PodIP = fmt.Sprintf("10.42.%d.%d", i/200, i%200+1)
		port := int32(8080)
		if strings.HasPrefix(p.Name, "x") {
			port = 8081
		}
		p.Spec.Containers = []corev1.Container{{Ports: []corev1.ContainerPort{{Name: "web", ContainerPort: port}}}}
	}
	return list
}

func show(e *corev1.Endpoints) string {
	var out []string
	for _, s := range e.Subsets {
		var words []string
		for _, a := range s.Addresses {
			words = append(words, a.TargetRef.Name)
		}
		for _, a := range s.NotReadyAddresses {
			words = append(words, "("+a.TargetRef.Name+")")
		}
		for _, p := range s.Ports {
			words = append(words, fmt.Sprint(p.Port))
		}
		out = append(out, strings.Join(words, " "))
	}
	return strings.Join(out, " | ")
}

func TestDecide(t *testing.T) {
	tests := map[string]struct {
		pods    string
		publish bool
		want    string
	}{
		"ready and not":          {"a:ready b:Running", false, "a (b) 8080"},
		"one that ends":          {"a:ready,deleting b:ready", false, "b 8080"},
		"published all the same": {"a:ready,deleting b:Running", true, "a b 8080"},
		"ports that differ":      {"a:ready xb:ready c:ready", false, "a c 8080 | xb 8081"},
		"none":                   {"", false, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			v := View{Service: newService(), Pods: newPods(tt.pods)}
			v.Service.Spec.PublishNotReadyAddresses = tt.publish
			todo := Decide(v)
			if got := world.Show(todo); got != "create Endpoints web" {
				t.Fatalf("got %q", got)
			}
			v.Endpoints = todo[0].Object.(*corev1.Endpoints)
			if got := show(v.Endpoints); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if again := Decide(v); len(again) > 0 {
				t.Errorf("a second look: %s", world.Show(again))
			}
			v.Service = nil
			if got := world.Show(Decide(v)); got != "delete Endpoints web" {
				t.Errorf("without service: %q", got)
			}
		})
	}
	own := &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Name: "own"}}
	if got := world.Show(Decide(View{Endpoints: own})); got != "" {
		t.Errorf("a user's own endpoints: %q", got)
	}
}

func TestOverCapacity(t *testing.T) {
	var words strings.Builder
	for i := range 900 {
		fmt.Fprintf(&words, "a%d:ready x%d:Running ", i, i)
	}
	v := View{Service: newService(), Pods: newPods(words.String())}
	e := Decide(v)[0].Object.(*corev1.Endpoints)
	ready, not := 0, 0
	for _, s := range e.Subsets {
		ready, not = ready+len(s.Addresses), not+len(s.NotReadyAddresses)
	}
	if ready != 900 || not != 100 || e.Annotations[corev1.EndpointsOverCapacity] != "truncated" {
		t.Errorf("%d ready, %d not, annotations %v", ready, not, e.Annotations)
	}
	v.Endpoints, v.Pods = e, v.Pods[:4]
	e = Decide(v)[0].Object.(*corev1.Endpoints)
	if _, there := e.Annotations[corev1.EndpointsOverCapacity]; there {
		t.Error("the annotation stays although nothing is cut off")
	}
}
