package role

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lighter-k8s/lighter/admission/expression"
	"github.com/lighter-k8s/lighter/admission/matching"
	"github.com/lighter-k8s/lighter/admission/webhook"
	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/pki"
	"github.com/lighter-k8s/lighter/registry"
)

// webhooks makes what asks the webhooks that users add to admission.
func (s *Server) webhooks(world matching.World, reg *registry.Registry) *webhook.Webhooks {
	s.news = client.NewRecorder(s.Client("system:apiserver", pki.MastersGroup), s.Log, "apiserver", "", time.Now)
	services := view(s, client.Services)
	w := &webhook.Webhooks{Mutating: view(s, client.MutatingWebhookConfigurations), Validating: view(s, client.ValidatingWebhookConfigurations),
		Services: services, Pods: view(s, client.Pods), World: world, Authz: s.Direct.Authz, Events: s.news, Log: s.Log.With("part", "admission"), Now: time.Now,
		Metrics: webhook.NewMetrics(),
		Addresses: func(namespace, name string, port int32) ([]string, error) {
			svc, ok := services.Get(namespace, name)
			if !ok {
				return nil, apierrors.NewNotFound(corev1.Resource("service"), name)
			}
			of := client.Selection{Namespace: namespace, Labels: discoveryv1.LabelServiceName + "=" + name}
			return serviceAddresses(svc, client.TypedView[*discoveryv1.EndpointSlice]{View: s.Direct.View(client.EndpointSlices.Resource, of)}.List(namespace), port)
		}}
	conditions := func(of func(api.Object) [][]admissionv1.MatchCondition) registry.Check {
		return func(obj, old api.Object) (errs field.ErrorList) {
			var before []admissionv1.MatchCondition
			if old != nil {
				for _, list := range of(old) {
					before = append(before, list...)
				}
			}
			var budget expression.Budget
			for n, list := range of(obj) {
				errs = append(errs, expression.CheckConditions(list, before, expression.OfWebhook, field.NewPath("webhooks").Index(n).Child("matchConditions"), &budget)...)
			}
			return errs
		}
	}
	reg.Also("mutatingwebhookconfigurations", conditions(func(o api.Object) (out [][]admissionv1.MatchCondition) {
		for _, h := range o.(*admissionv1.MutatingWebhookConfiguration).Webhooks {
			out = append(out, h.MatchConditions)
		}
		return out
	}))
	reg.Also("validatingwebhookconfigurations", conditions(func(o api.Object) (out [][]admissionv1.MatchCondition) {
		for _, h := range o.(*admissionv1.ValidatingWebhookConfiguration).Webhooks {
			out = append(out, h.MatchConditions)
		}
		return out
	}))
	return w
}

// serviceAddresses are where a port of a Service is answered, in any order: its ready endpoints, so that neither kube-proxy nor
// a cluster network on this machine is needed, or whom an ExternalName names.
func serviceAddresses(svc *corev1.Service, slices []*discoveryv1.EndpointSlice, port int32) (out []string, err error) {
	if svc.Spec.Type == corev1.ServiceTypeExternalName {
		return []string{net.JoinHostPort(svc.Spec.ExternalName, strconv.Itoa(int(port)))}, nil
	}
	var of *corev1.ServicePort
	for n := range svc.Spec.Ports {
		if svc.Spec.Ports[n].Port == port {
			of = &svc.Spec.Ports[n]
		}
	}
	if of == nil {
		return nil, apierrors.NewServiceUnavailable(fmt.Sprintf("no service port %d found for service %q", port, svc.Name))
	}
	out = readyAddresses(slices, of)
	if len(out) == 0 {
		return nil, apierrors.NewServiceUnavailable(fmt.Sprintf("no endpoints available for service %q", svc.Name))
	}
	rand.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out, nil
}
