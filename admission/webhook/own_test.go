package webhook

import (
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/lighter-k8s/lighter/admission"
	"github.com/lighter-k8s/lighter/api"
)

// TestNeeds: what the Service of a webhook has no endpoints without.
func TestNeeds(t *testing.T) {
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "hook"}, Spec: corev1.ServiceSpec{Selector: map[string]string{"app": "hook"}}}
	labelled := func(app string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: app, Labels: map[string]string{"app": app}}}
	}
	token := func(kind, pod string) api.Object {
		return &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{BoundObjectRef: &authenticationv1.BoundObjectReference{Kind: kind, Name: pod}}}
	}
	tests := map[string]struct {
		resource, subresource string
		object                api.Object
		want                  bool
	}{
		"a pod of its own":             {"pods", "", labelled("hook"), true},
		"another pod":                  {"pods", "", labelled("web"), false},
		"a token for a pod of its own": {"serviceaccounts", "token", token("Pod", "hook"), true},
		"a token for another pod":      {"serviceaccounts", "token", token("Pod", "web"), false},
		"a token for a Secret":         {"serviceaccounts", "token", token("Secret", "hook"), false},
		"a token for nothing":          {"serviceaccounts", "token", &authenticationv1.TokenRequest{}, false},
		"a slice of its own":           {"endpointslices", "", &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{discoveryv1.LabelServiceName: "hook"}}}, true},
		"a ConfigMap with its labels":  {"configmaps", "", &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "hook"}}}, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			a := &admission.Attributes{Info: &api.Info{GroupVersionResource: schema.GroupVersionResource{Version: "v1", Resource: tt.resource}}, Namespace: "hooks", Subresource: tt.subresource, Object: tt.object}
			if got := needs(service, a, func(_, name string) *corev1.Pod { return labelled(name) }); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}
