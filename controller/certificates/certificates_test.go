package certificates

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lighter-k8s/lighter/client"
	world "github.com/lighter-k8s/lighter/controller/controllertest"
)

func request(age time.Duration, conditions ...certificatesv1.RequestConditionType) *CSR {
	r := &CSR{ObjectMeta: metav1.ObjectMeta{Name: "r", CreationTimestamp: metav1.NewTime(world.Start.Add(-age))}}
	for _, c := range conditions {
		r.Status.Conditions = append(r.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{Type: c, Status: corev1.ConditionTrue, LastUpdateTime: r.CreationTimestamp})
	}
	return r
}

func TestDecide(t *testing.T) {
	signed := request(59*time.Minute, certificatesv1.CertificateApproved)
	signed.Status.Certificate = []byte("x")
	tests := map[string]struct {
		view View
		want string
	}{
		"its author may":             {View{CSR: request(0), Approve: "yes"}, "update CertificateSigningRequest r"},
		"perhaps later":              {View{CSR: request(0), Later: true}, "again in 1m0s"},
		"a person decides":           {View{CSR: request(time.Hour)}, "again in 23h0m0s"},
		"nobody decided":             {View{CSR: request(24 * time.Hour)}, "delete CertificateSigningRequest r"},
		"approved and signed":        {View{CSR: request(0, certificatesv1.CertificateApproved), Certificate: []byte("x")}, "update status CertificateSigningRequest r"},
		"approved and not signable":  {View{CSR: request(0, certificatesv1.CertificateApproved), Refused: errors.New("no")}, "update status CertificateSigningRequest r"},
		"denied an hour ago":         {View{CSR: request(time.Hour, certificatesv1.CertificateDenied)}, "delete CertificateSigningRequest r"},
		"failed just now":            {View{CSR: request(0, certificatesv1.CertificateApproved, certificatesv1.CertificateFailed)}, "again in 1h0m0s"},
		"issued and fetched":         {View{CSR: signed}, "again in 1m0s"},
		"issued and already expired": {View{CSR: signed, NotAfter: world.Start}, "delete CertificateSigningRequest r"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			tt.view.Now = world.Start
			if got := world.Show(Decide(tt.view)); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func pemRequest(t *testing.T, names []string, ips ...string) []byte {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	req := &x509.CertificateRequest{Subject: pkix.Name{CommonName: "system:node:n"}, DNSNames: names}
	for _, ip := range ips {
		req.IPAddresses = append(req.IPAddresses, net.ParseIP(ip))
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, req, key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
}

func TestNames(t *testing.T) {
	n := &corev1.Node{Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeHostName, Address: "n"}, {Type: corev1.NodeInternalIP, Address: "10.0.0.5"}}}}
	tests := map[string]struct {
		names, ips []string
		want       bool
	}{
		"its own":            {[]string{"n"}, []string{"10.0.0.5"}, true},
		"another's name":     {[]string{"n", "m"}, nil, false},
		"another's address":  {[]string{"n"}, []string{"10.0.0.6"}, false},
		"an address as name": {[]string{"10.0.0.5"}, nil, false},
		"nothing":            {nil, nil, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := &CSR{Spec: certificatesv1.CertificateSigningRequestSpec{Request: pemRequest(t, tt.names, tt.ips...)}}
			if got := names(r, n); got != tt.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

// judge is a world in which bootstrappers may ask.
type judge struct{ *world.World }

func (j judge) Create(ctx context.Context, r client.Resource, ns, name, sub string, o client.Object) (client.Object, error) {
	if review, ok := o.(*authorizationv1.SubjectAccessReview); ok {
		out := review.DeepCopy()
		a := out.Spec.ResourceAttributes
		out.Status.Allowed = out.Spec.Groups[0] == "system:bootstrappers" && a.Subresource == "nodeclient" && a.Verb == "create"
		return out, nil
	}
	return j.World.Create(ctx, r, ns, name, sub, o)
}

// Update knows the subresource approval.
func (j judge) Update(ctx context.Context, r client.Resource, sub string, o client.Object) (client.Object, error) {
	if sub == "approval" {
		sub = "status"
	}
	return j.World.Update(ctx, r, sub, o)
}

func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := world.New(time.Now)
		env := w.Env()
		env.Client = judge{w}
		s := Signer{
			Sign:    func(r *CSR) ([]byte, error) { return []byte("signed " + r.Name), nil },
			Refused: func(error) bool { return false }, Foreign: func(error) bool { return false },
			Client:  func(r *CSR) (string, string, bool) { return "nodeclient", "fine", r.Name != "odd" },
			Serving: func(*CSR) (string, error) { return "", errors.New("no") },
		}
		done := make(chan error)
		go func() { done <- Run(t.Context(), env, s) }()
		t.Cleanup(func() { <-done })
		for name, group := range map[string]string{"joins": "system:bootstrappers", "stranger": "people", "odd": "system:bootstrappers"} {
			world.Put(w, client.CertificateSigningRequests, &CSR{ObjectMeta: metav1.ObjectMeta{Name: name},
				Spec: certificatesv1.CertificateSigningRequestSpec{SignerName: certificatesv1.KubeAPIServerClientKubeletSignerName, Groups: []string{group}}})
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		for name, want := range map[string]string{"joins": "signed joins", "stranger": "", "odd": ""} {
			if got := world.Get(w, client.CertificateSigningRequests, "", name); string(got.Status.Certificate) != want {
				t.Errorf("%s: certificate %q, want %q", name, got.Status.Certificate, want)
			}
		}
		time.Sleep(25 * time.Hour)
		synctest.Wait()
		if left := world.List(w, client.CertificateSigningRequests); len(left) > 0 {
			t.Errorf("%d requests left after a day", len(left))
		}
	})
}
