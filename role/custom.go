package role

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/crd"
	"github.com/lighter-k8s/lighter/pki"
)

// customResources makes what follows the definitions, and tells all who serve what they define.
func (s *Server) customResources() *crd.Resources {
	r := &crd.Resources{State: s.state, Client: s.Client("system:apiserver", pki.MastersGroup), Log: s.Log.With("part", "crd"), Now: time.Now,
		Webhooks: crd.NewWebhooks(s.serviceAddress), Newest: s.several(),
		Publish: func(served, unserved []*api.Info) {
			s.Direct.SetCustom(append(unserved, served...))
			s.openapi.SetCustom(served)
			var before []*api.Info
			if old := s.custom.Swap(&served); old != nil {
				before = *old
			}
			select {
			case s.changed <- struct{}{}:
			default:
			}
			s.API.SetCustom(served)
			s.customChanges.tell(before, served)
		}}
	s.API.Settle = r.Settle
	return r
}

// serviceAddress is where a webhook's Service is reached: one of its ready endpoints, else the Service's own address.
func (s *Server) serviceAddress(_ context.Context, namespace, name string, port int32) (string, error) {
	svc, ok := view(s, client.Services).Get(namespace, name)
	if !ok {
		return "", apierrors.NewNotFound(corev1.Resource("services"), name)
	}
	if svc.Spec.Type == corev1.ServiceTypeExternalName {
		return net.JoinHostPort(svc.Spec.ExternalName, strconv.Itoa(int(port))), nil
	}
	var of *corev1.ServicePort
	for n := range svc.Spec.Ports {
		if p := &svc.Spec.Ports[n]; p.Port == port {
			of = p
		}
	}
	if of == nil {
		return "", fmt.Errorf("service %s/%s has no port %d", namespace, name, port)
	}
	slices := client.TypedView[*discoveryv1.EndpointSlice]{View: s.Direct.View(client.EndpointSlices.Resource,
		client.Selection{Namespace: namespace, Labels: discoveryv1.LabelServiceName + "=" + name})}
	if ready := readyAddresses(slices.List(namespace), of); len(ready) > 0 {
		return ready[rand.IntN(len(ready))], nil
	}
	if svc.Spec.ClusterIP == "" || svc.Spec.ClusterIP == corev1.ClusterIPNone {
		return "", fmt.Errorf("no endpoints available for service %q", name)
	}
	return net.JoinHostPort(svc.Spec.ClusterIP, strconv.Itoa(int(port))), nil
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
