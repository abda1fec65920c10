package role

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/lighter-k8s/lighter/aggregate"
	"github.com/lighter-k8s/lighter/apiserver/openapi"
	"github.com/lighter-k8s/lighter/authn"
	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/pki"
)

// aggregation makes what passes requests on to other API servers.
func (s *Server) aggregation(certificate *pki.Rotating) *aggregate.Services {
	a := &aggregate.Services{View: view(s, client.APIServices), Client: s.Client("system:apiserver", pki.MastersGroup), Log: s.Log.With("part", "aggregate"),
		Now: time.Now, Address: s.backendAddress, Certificate: certificate}
	a.Publish = func(versions []aggregate.Version) {
		s.API.SetOthers(versions)
		documents := map[string]openapi.Other{}
		for _, v := range versions {
			documents["apis/"+v.Group+"/"+v.Version] = openapi.Other{URL: v.OpenAPI, V2: func(ctx context.Context) ([]byte, string) {
				if b := a.Backend(v.GroupVersion); b != nil {
					return b.V2(ctx)
				}
				return nil, ""
			}}
		}
		s.openapi.SetOthers(documents)
		s.customChanges.tell(s.others.Set(versions))
	}
	s.API.Aggregate = a
	s.API.Measure(a.Metrics()...)
	return a
}

// backendAddress is one of serviceAddresses, else the Service's own, or why there is none in the words of an APIService's condition.
func (s *Server) backendAddress(_ context.Context, namespace, name string, port int32) (string, error) {
	addresses, err := s.serviceAddresses(namespace, name, port)
	if err == nil {
		return addresses[0], nil
	}
	svc, ok := view(s, client.Services).Get(namespace, name)
	if !ok {
		return "", &aggregate.Reason{Word: "ServiceNotFound", Text: fmt.Sprintf("service/%s in %q is not present", name, namespace)}
	}
	for _, p := range svc.Spec.Ports {
		if p.Port == port {
			if svc.Spec.ClusterIP != "" && svc.Spec.ClusterIP != corev1.ClusterIPNone {
				return net.JoinHostPort(svc.Spec.ClusterIP, strconv.Itoa(int(port))), nil
			}
			return "", &aggregate.Reason{Word: "MissingEndpoints", Text: fmt.Sprintf("endpoints for service/%s in %q have no addresses with port name %q", name, namespace, p.Name)}
		}
	}
	return "", &aggregate.Reason{Word: "ServicePortError", Text: fmt.Sprintf("service/%s in %q is not listening on port %d", name, namespace, port)}
}

// local is what this server serves itself, built-in groups first.
func (s *Server) local() (out []aggregate.Local) {
	for n, g := range s.builtin.Groups {
		for m, v := range g.Versions {
			out = append(out, aggregate.Local{GroupVersion: schema.GroupVersion{Group: g.Name, Version: v},
				GroupPriority: int32(18000 - 100*n), Priority: int32(15 + len(g.Versions) - 1 - m)})
		}
	}
	seen := map[schema.GroupVersion]bool{}
	for _, l := range out {
		seen[l.GroupVersion] = true
	}
	if custom := s.custom.Load(); custom != nil {
		for _, i := range *custom {
			if gv := i.GroupVersion(); !seen[gv] {
				seen[gv] = true
				out = append(out, aggregate.Local{GroupVersion: gv, Custom: true, GroupPriority: 1000, Priority: 100})
			}
		}
	}
	return out
}

// clientAuthorities are those whose client certificates are looked at. Clients are told the names alone, which an authority that
// follows another has from it.
func (s *Server) clientAuthorities() *x509.CertPool {
	pool := s.clientRoots().Pool().Clone()
	pool.AddCert(s.PKI.Proxy.Cert())
	return pool
}

// clientRoots are those whose client certificates say who asks.
func (s *Server) clientRoots() *pki.Trust {
	if len(s.clients) == 0 {
		return &s.PKI.CA.Trust
	}
	all := &pki.Trust{}
	set := func() { all.Set(slices.Concat(s.PKI.CA.Trusted(), s.clients)...) }
	set()
	s.PKI.CA.Tell(context.Background(), set)
	return all
}

// extensionAuthentication is the ConfigMap by which other API servers know whose certificates and headers to believe.
// Source: Kubernetes documentation, Configure the Aggregation Layer.
func (s *Server) extensionAuthentication(ctx context.Context, c client.Client) error {
	list := func(words ...string) string {
		data, _ := json.Marshal(words) // never fails
		return string(data)
	}
	want := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: "extension-apiserver-authentication"}, Data: map[string]string{
		"client-ca-file":                     string(s.PKI.CA.PEM()) + string(s.clientsPEM),
		"requestheader-client-ca-file":       string(s.PKI.Proxy.PEM()),
		"requestheader-allowed-names":        list(pki.FrontProxyUser),
		"requestheader-username-headers":     list(authn.RemoteUser),
		"requestheader-uid-headers":          list(authn.RemoteUID),
		"requestheader-group-headers":        list(authn.RemoteGroup),
		"requestheader-extra-headers-prefix": list(authn.RemoteExtraPrefix),
	}}
	have, err := client.ConfigMaps.Get(ctx, c, want.Namespace, want.Name)
	if err == nil && fmt.Sprint(have.Data) == fmt.Sprint(want.Data) {
		return nil
	}
	if err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	return put(ctx, c, client.ConfigMaps, want)
}
