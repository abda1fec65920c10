package role_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"strings"
	"testing"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/pki"
)

// TestNodesAskForTheirPodsAlone: a node gets certificates requested for the pods that it runs, as what these are, and for nothing else.
func TestNodesAskForTheirPodsAlone(t *testing.T) {
	p := api(t)
	ns := p.namespace(t)
	system := p.Client("system:apiserver", pki.MastersGroup)
	one := must(client.Nodes.Create(t.Context(), system, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "one-" + ns}}))(t)
	two := must(client.Nodes.Create(t.Context(), system, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "two-" + ns}}))(t)
	account := must(client.ServiceAccounts.Get(t.Context(), system, ns, "default"))(t)
	with := pod("p")
	with.Namespace, with.Spec.NodeName = ns, one.Name
	with = must(client.Pods.Create(t.Context(), system, with))(t)
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	stub := must(x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key))(t)
	tests := map[string]struct {
		as     *corev1.Node
		change func(*certificatesv1.PodCertificateRequestSpec)
		want   string // part of the refusal; "" is none
	}{
		"its own pod": {one, func(*certificatesv1.PodCertificateRequestSpec) {}, ""},
		"another node's pod": {two, func(s *certificatesv1.PodCertificateRequestSpec) {
			s.NodeName, s.NodeUID = types.NodeName(two.Name), two.UID
		}, "does not run on node"},
		"in another node's name":       {two, func(*certificatesv1.PodCertificateRequestSpec) {}, "is not the requesting node"},
		"a pod of before of that name": {one, func(s *certificatesv1.PodCertificateRequestSpec) { s.PodUID = "u" }, "does not exist"},
		"a pod that is not there":      {one, func(s *certificatesv1.PodCertificateRequestSpec) { s.PodName = "q" }, "does not exist"},
		"another account":              {one, func(s *certificatesv1.PodCertificateRequestSpec) { s.ServiceAccountName = "admin" }, "is not that of pod"},
		"an account of before":         {one, func(s *certificatesv1.PodCertificateRequestSpec) { s.ServiceAccountUID = "u" }, "is not that of pod"},
		"a node of before":             {one, func(s *certificatesv1.PodCertificateRequestSpec) { s.NodeUID = "u" }, "does not exist"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := &certificatesv1.PodCertificateRequest{ObjectMeta: metav1.ObjectMeta{Namespace: ns, GenerateName: "req-"}, Spec: certificatesv1.PodCertificateRequestSpec{
				SignerName: "example.com/s", PodName: with.Name, PodUID: with.UID, ServiceAccountName: "default", ServiceAccountUID: account.UID,
				NodeName: types.NodeName(one.Name), NodeUID: one.UID, StubPKCS10Request: stub}}
			tt.change(&r.Spec)
			_, err := client.PodCertificateRequests.Create(t.Context(), p.Client(pki.NodePrefix+tt.as.Name, pki.NodesGroup), r)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}
