package pki

import (
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
)

func csr(t *testing.T, signer, author string, s Spec, usages string, seconds int32) *certificatesv1.CertificateSigningRequest {
	t.Helper()
	data, _, err := NewRequest(s)
	if err != nil {
		t.Fatal(err)
	}
	out := &certificatesv1.CertificateSigningRequest{Spec: certificatesv1.CertificateSigningRequestSpec{Request: data, SignerName: "kubernetes.io/" + signer, Username: author}}
	for u := range strings.SplitSeq(usages, ", ") {
		out.Spec.Usages = append(out.Spec.Usages, certificatesv1.KeyUsage(u))
	}
	if seconds > 0 {
		out.Spec.ExpirationSeconds = &seconds
	}
	return out
}

func TestAnswer(t *testing.T) {
	a, err := NewAuthority("test")
	if err != nil {
		t.Fatal(err)
	}
	const client, kubelet, serving = "kube-apiserver-client", "kube-apiserver-client-kubelet", "kubelet-serving"
	const forClients, forServers = "client auth, digital signature", "server auth, digital signature, key encipherment"
	ann := Client("ann", "dev")
	server := KubeletServing("n1", nil, []net.IP{net.IPv4(10, 0, 0, 1)})
	tests := map[string]struct {
		csr  *certificatesv1.CertificateSigningRequest
		life time.Duration // 0 is a refusal, -1 not ours
	}{
		"a person":                     {csr(t, client, "x", ann, forClients, 0), LeafLife},
		"a person, for an hour":        {csr(t, client, "x", ann, forClients, 3600), time.Hour},
		"a person, for ten years":      {csr(t, client, "x", ann, forClients, 10*365*86400), LeafLife},
		"a person that would serve":    {csr(t, client, "x", ann, forClients+", server auth", 0), 0},
		"a person without client auth": {csr(t, client, "x", ann, "digital signature", 0), 0},
		"a node":                       {csr(t, kubelet, "x", Kubelet("n1"), forClients, 0), LeafLife},
		"a person as a node":           {csr(t, kubelet, "x", ann, forClients, 0), 0},
		"a node that serves":           {csr(t, serving, "x", server, forServers, 0), LeafLife},
		"a node that serves no name":   {csr(t, serving, "x", Kubelet("n1"), forServers, 0), 0},
		"another signer":               {csr(t, "other", "x", ann, forClients, 0), -1},
		"no request": {&certificatesv1.CertificateSigningRequest{Spec: certificatesv1.CertificateSigningRequestSpec{
			SignerName: certificatesv1.KubeAPIServerClientSignerName, Request: []byte("x")}}, 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			data, err := a.Answer(tt.csr)
			var refusal *Refusal
			switch {
			case tt.life == 0 && !errors.As(err, &refusal), tt.life < 0 && !errors.Is(err, ErrNotOurs), tt.life > 0 && err != nil:
				t.Fatalf("got %v", err)
			case tt.life <= 0:
				return
			}
			cert, err := ParseCertificate(data)
			if err != nil {
				t.Fatal(err)
			}
			if left := time.Until(cert.NotAfter); left > tt.life || left < tt.life-time.Minute || cert.IsCA {
				t.Errorf("lives %v, want %v", left, tt.life)
			}
		})
	}
}

func TestAutoApproval(t *testing.T) {
	const usages = "client auth, digital signature"
	tests := map[string]struct {
		csr  *certificatesv1.CertificateSigningRequest
		want string // subresource and node
	}{
		"a node that joins":          {csr(t, "kube-apiserver-client-kubelet", "system:bootstrap:abcdef", Kubelet("n1"), usages, 0), "nodeclient n1"},
		"a node for itself":          {csr(t, "kube-apiserver-client-kubelet", "system:node:n1", Kubelet("n1"), usages, 0), "selfnodeclient n1"},
		"a node for another":         {csr(t, "kube-apiserver-client-kubelet", "system:node:n2", Kubelet("n1"), usages, 0), "nodeclient n1"},
		"a person as a node":         {csr(t, "kube-apiserver-client-kubelet", "ann", Client("ann", "system:nodes"), usages, 0), " "},
		"a person":                   {csr(t, "kube-apiserver-client", "ann", Kubelet("n1"), usages, 0), " "},
		"a node that would serve":    {csr(t, "kubelet-serving", "system:node:n1", KubeletServing("n1", []string{"n1"}, nil), "server auth, digital signature", 0), " "},
		"a node with a further name": {csr(t, "kube-apiserver-client-kubelet", "system:node:n1", KubeletServing("n1", []string{"n1"}, nil), usages, 0), " "},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			a, ok := AutoApproval(tt.csr)
			if got := a.Subresource + " " + a.Node; got != tt.want || ok != (tt.want != " ") {
				t.Errorf("got %q %v", got, ok)
			}
		})
	}
}
