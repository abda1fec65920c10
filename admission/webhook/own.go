package webhook

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/lighter-k8s/lighter/admission"
	"github.com/lighter-k8s/lighter/api"
)

// own says, on the webhook's configuration and in the log, that a webhook which could not be asked just refused what its own Service
// needs in order to answer: it will not come back by itself.
func (w *Webhooks) own(h *hook, a *admission.Attributes, f *failure) {
	s := h.client.Service
	if s == nil || a.Namespace != s.Namespace {
		return
	}
	service, ok := w.Services.Get(s.Namespace, s.Name)
	if !ok || len(service.Spec.Selector) == 0 || !needs(service, a, w.pod) {
		return
	}
	what := fmt.Sprintf("%s %s/%s", a.Resource(), a.Namespace, a.Name)
	text := fmt.Sprintf("webhook %q could not be asked and so refused %s of %s, which its own Service %s/%s needs to answer: it stands in its own way. "+
		"To let requests pass without it for a while: lighter admission bypass %s --for 10m. The error: %v",
		h.name, a.Operation, what, s.Namespace, s.Name, h.configuration.GetName(), f.err)
	if w.Obstacles.Say(h.configuration, h.reference(), "WebhookBlocksItself", text) {
		w.Metrics.blocked(h)
	}
}

// pod finds the pod that a request for one of its subresources is about.
func (w *Webhooks) pod(namespace, name string) *corev1.Pod {
	p, _ := w.Pods.Get(namespace, name)
	return p
}

// needs tells whether a Service has no endpoints without the write: its pods, the tokens that they are given, what makes them, and the slices
// that list them.
func needs(s *corev1.Service, a *admission.Attributes, pod func(namespace, name string) *corev1.Pod) bool {
	selects := labels.SelectorFromSet(s.Spec.Selector)
	o := a.Object
	if o == nil || a.As != nil {
		o = a.Old
	}
	if a.Info.Group == "" && a.Info.Resource == "pods" && (o == nil || a.As != nil) { // a Binding knows no labels
		p := pod(a.Namespace, a.Name)
		return p != nil && selects.Matches(labels.Set(p.Labels))
	}
	if a.Info.Group == "" && a.Info.Resource == "serviceaccounts" && a.Subresource == "token" {
		t, ok := a.Object.(*authenticationv1.TokenRequest)
		if !ok || t.Spec.BoundObjectRef == nil || t.Spec.BoundObjectRef.Kind != "Pod" {
			return false
		}
		p := pod(a.Namespace, t.Spec.BoundObjectRef.Name)
		return p != nil && selects.Matches(labels.Set(p.Labels))
	}
	if o == nil {
		return false
	}
	return needed(s, selects, o)
}

func needed(s *corev1.Service, selects labels.Selector, o api.Object) bool {
	var made map[string]string
	switch o := o.(type) {
	case *corev1.Pod:
		made = o.Labels
	case *corev1.Binding:
		return false
	case *appsv1.ReplicaSet:
		made = o.Spec.Template.Labels
	case *appsv1.Deployment:
		made = o.Spec.Template.Labels
	case *appsv1.StatefulSet:
		made = o.Spec.Template.Labels
	case *appsv1.DaemonSet:
		made = o.Spec.Template.Labels
	case *batchv1.Job:
		made = o.Spec.Template.Labels
	case *corev1.Endpoints:
		return o.Name == s.Name
	case *discoveryv1.EndpointSlice:
		return o.Labels[discoveryv1.LabelServiceName] == s.Name
	default:
		return false
	}
	return selects.Matches(labels.Set(made))
}
