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
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lighter-k8s/lighter/admission/expression"
	"github.com/lighter-k8s/lighter/admission/matching"
	"github.com/lighter-k8s/lighter/admission/webhook"
	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/registry"
)

// webhooks makes what asks the webhooks that users add to admission.
func (s *Server) webhooks(world matching.World, reg *registry.Registry) *webhook.Webhooks {
	w := &webhook.Webhooks{Mutating: view(s, client.MutatingWebhookConfigurations), Validating: view(s, client.ValidatingWebhookConfigurations),
		Services: view(s, client.Services), Pods: view(s, client.Pods), World: world, Authz: s.Direct.Authz, Obstacles: s.obstacles, Log: s.Log.With("part", "admission"), Now: time.Now,
		Metrics: webhook.NewMetrics(), Callout: &s.callout}
	conditions := func(of func(api.Object) [][]admissionv1.MatchCondition) registry.Check {
		return func(obj, old api.Object) (errs field.ErrorList) {
			stored := map[string]bool{}
			if old != nil {
				for _, list := range of(old) {
					for _, c := range list {
						stored[c.Expression] = true
					}
				}
			}
			var budget expression.Budget
			for n, list := range of(obj) {
				errs = append(errs, expression.CheckConditions(list, stored, expression.OfWebhook, field.NewPath("webhooks").Index(n).Child("matchConditions"), &budget)...)
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
func (s *Server) serviceAddresses(namespace, name string, port int32) (out []string, err error) {
	svc, ok := view(s, client.Services).Get(namespace, name)
	if !ok {
		return nil, apierrors.NewNotFound(corev1.Resource("service"), name)
	}
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
		return nil, apierrors.NewServiceUnavailable(fmt.Sprintf("no service port %d found for service %q", port, name))
	}
	slices := client.TypedView[*discoveryv1.EndpointSlice]{View: s.Direct.View(client.EndpointSlices.Resource,
		client.Selection{Namespace: namespace, Labels: discoveryv1.LabelServiceName + "=" + name})}
	if out = readyAddresses(slices.List(namespace), of); len(out) == 0 {
		return nil, apierrors.NewServiceUnavailable(fmt.Sprintf("no endpoints available for service %q", name))
	}
	rand.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out, nil
}

// readyAddresses are where a port of a Service is answered.
func readyAddresses(slices []*discoveryv1.EndpointSlice, of *corev1.ServicePort) (out []string) {
	for _, slice := range slices {
		for _, p := range slice.Ports {
			if p.Port == nil || p.Name != nil && *p.Name != of.Name || of.TargetPort.Type == intstr.Int && of.TargetPort.IntVal != 0 && *p.Port != of.TargetPort.IntVal {
				continue
			}
			for _, e := range slice.Endpoints {
				if e.Conditions.Ready == nil || *e.Conditions.Ready {
					for _, a := range e.Addresses {
						out = append(out, net.JoinHostPort(a, strconv.Itoa(int(*p.Port))))
					}
				}
			}
		}
	}
	return out
}
