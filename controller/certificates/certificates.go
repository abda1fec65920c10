// Package certificates answers CertificateSigningRequests: approves those of kubelets that may have what they ask for,
// has approved ones signed, and deletes old ones. How a request is read and signed it is given as functions.
package certificates

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"net"
	"slices"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/controller"
)

// CSR is what is answered.
type CSR = certificatesv1.CertificateSigningRequest

// Signer is the cluster's certificate authority.
type Signer struct {
	// Sign makes the certificate (PEM) of an approved request.
	Sign func(*CSR) ([]byte, error)
	// Refused tells of an error of Sign whether it is final: the request can never be signed.
	Refused func(error) bool
	// Foreign tells of an error of Sign that the request is for another signer.
	Foreign func(error) bool
	// Client says which subresource of certificatesigningrequests a kubelet must be allowed to create for its request of
	// a client certificate to be approved, and the message of that approval; ok false: a person decides.
	Client func(*CSR) (subresource, message string, ok bool)
	// Serving is the node that a kubelet's well-formed request for a serving certificate is about.
	Serving func(*CSR) (node string, err error)
}

// View is everything Decide may know of one request. Shared: never write to it.
type View struct {
	CSR         *CSR
	Approve     string // the message of its approval; "": not by us
	Later       bool   // its author may be allowed later what is not allowed now
	Certificate []byte
	Refused     error     // why it is never signed
	NotAfter    time.Time // of the certificate that it has
	Now         time.Time
}

// Run answers requests until ctx ends.
func Run(ctx context.Context, env controller.Env, s Signer) error {
	all := client.CertificateSigningRequests.View(ctx, env.Client, client.Selection{})
	nodes := client.Nodes.View(ctx, env.Client, client.Selection{})
	q := env.Queue("certificate")
	controller.FeedSelf(ctx, q, all)
	controller.Feed(ctx, q, nodes, func(old, n *corev1.Node) []string { return waiting(all.List(""), old, n) })
	look := func(name string) (View, bool) {
		r, ok := all.Get("", name)
		if !ok {
			return View{}, false
		}
		v := View{CSR: r, Now: env.Now()}
		switch {
		case len(r.Status.Certificate) > 0:
			v.NotAfter = notAfter(r.Status.Certificate)
		case has(r, certificatesv1.CertificateDenied), has(r, certificatesv1.CertificateFailed):
		case has(r, certificatesv1.CertificateApproved):
			cert, err := s.Sign(r)
			switch {
			case err == nil:
				v.Certificate = cert
			case s.Refused(err):
				v.Refused = err
			case !s.Foreign(err):
				v.Later = true
				env.Log.Error("certificate not signed", "object", name, "err", err)
			}
		default:
			v.Approve, v.Later = approve(ctx, env, s, r, nodes)
		}
		return v, true
	}
	loop := controller.Loop[View]{Name: "certificates", Env: env, Queue: q, Views: []client.View{all.View, nodes.View}, Look: look, Decide: Decide}
	return loop.Run(ctx)
}

// waiting are a node's requests that nobody answered: its addresses decide about them, so they are looked at when those change.
func waiting(all []*CSR, old, n *corev1.Node) (names []string) {
	if n == nil || old != nil && slices.Equal(old.Status.Addresses, n.Status.Addresses) {
		return nil
	}
	for _, r := range all {
		if r.Spec.Username == "system:node:"+n.Name && len(r.Status.Conditions) == 0 {
			names = append(names, r.Name)
		}
	}
	return names
}

// approve finds out whether a request is one that needs no person, and its author may have what it asks for.
func approve(ctx context.Context, env controller.Env, s Signer, r *CSR, nodes client.TypedView[*corev1.Node]) (message string, later bool) {
	if r.Spec.SignerName == certificatesv1.KubeletServingSignerName {
		name, err := s.Serving(r)
		if err != nil || r.Spec.Username != "system:node:"+name || !slices.Contains(r.Spec.Groups, "system:nodes") {
			return "", false
		}
		n, ok := nodes.Get("", name)
		if !ok || !names(r, n) {
			return "", true // its addresses may come later
		}
		return "Auto approving kubelet serving certificate: it is for the node itself and its own addresses.", false
	}
	subresource, message, ok := s.Client(r)
	if !ok {
		return "", false
	}
	extra := map[string]authorizationv1.ExtraValue{}
	for k, v := range r.Spec.Extra {
		extra[k] = authorizationv1.ExtraValue(v)
	}
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: r.Spec.Username, UID: r.Spec.UID, Groups: r.Spec.Groups, Extra: extra,
		ResourceAttributes: &authorizationv1.ResourceAttributes{Group: certificatesv1.GroupName, Resource: "certificatesigningrequests",
			Verb: "create", Subresource: subresource, Version: "*"}}}
	got, err := client.SubjectAccessReviews.Create(ctx, env.Client, review)
	if err != nil {
		env.Log.Debug("access not reviewed", "object", r.Name, "err", err)
		return "", true
	}
	if !got.Status.Allowed {
		return "", true
	}
	return message, false
}

// names tells whether everything that the certificate would be valid for is the node's.
func names(r *CSR, n *corev1.Node) bool {
	block, _ := pem.Decode(r.Spec.Request)
	if block == nil {
		return false
	}
	req, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return false
	}
	has := func(match func(corev1.NodeAddress) bool) bool { return slices.ContainsFunc(n.Status.Addresses, match) }
	for _, name := range req.DNSNames {
		if !has(func(a corev1.NodeAddress) bool { return a.Address == name && net.ParseIP(a.Address) == nil }) {
			return false
		}
	}
	for _, ip := range req.IPAddresses {
		if !has(func(a corev1.NodeAddress) bool { return ip.Equal(net.ParseIP(a.Address)) }) {
			return false
		}
	}
	return len(req.DNSNames)+len(req.IPAddresses) > 0
}

func notAfter(cert []byte) time.Time {
	block, _ := pem.Decode(cert)
	if block == nil {
		return time.Time{}
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return time.Time{}
	}
	return c.NotAfter
}

func condition(r *CSR, t certificatesv1.RequestConditionType) *certificatesv1.CertificateSigningRequestCondition {
	for i := range r.Status.Conditions {
		if c := &r.Status.Conditions[i]; c.Type == t && (c.Status == corev1.ConditionTrue || c.Status == "") {
			return c
		}
	}
	return nil
}

func has(r *CSR, t certificatesv1.RequestConditionType) bool { return condition(r, t) != nil }
