package volume

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"strings"
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lighter-k8s/lighter/pki"
)

// signing is a signer that answers as it is told: issue, deny, fail, wait or lose.
type signing struct {
	sources
	t      *testing.T
	ca     *pki.Authority
	answer string
	asked  int
	stub   []byte
}

func (s *signing) RequestCertificate(_ context.Context, _ *corev1.Pod, _ *corev1.PodCertificateProjection, stub []byte) (string, error) {
	s.asked++
	s.stub = stub
	return fmt.Sprintf("req-%d", s.asked), nil
}

func (s *signing) CertificateRequest(_ context.Context, _ *corev1.Pod, name string) (*certificatesv1.PodCertificateRequest, error) {
	r := &certificatesv1.PodCertificateRequest{ObjectMeta: metav1.ObjectMeta{Name: name}}
	condition := func(kind string) {
		r.Status.Conditions = []metav1.Condition{{Type: kind, Status: metav1.ConditionTrue, Reason: "Because", Message: "so it is"}}
	}
	switch s.answer {
	case "deny":
		condition(certificatesv1.PodCertificateRequestConditionTypeDenied)
	case "fail":
		condition(certificatesv1.PodCertificateRequestConditionTypeFailed)
	case "lose":
		return nil, nil
	case "issue":
		condition(certificatesv1.PodCertificateRequestConditionTypeIssued)
		stub, err := x509.ParseCertificateRequest(s.stub)
		if err == nil {
			err = stub.CheckSignature()
		}
		if err != nil {
			s.t.Fatal(err)
		}
		chain, err := s.ca.SignRequest(&pki.Request{CertificateRequest: stub}, []string{"client auth", "digital signature"}, time.Hour)
		if err != nil {
			s.t.Fatal(err)
		}
		r.Status.CertificateChain = "between\n" + string(chain)
		begin, end := metav1.NewTime(noon.Add(40*time.Minute)), metav1.NewTime(noon.Add(time.Hour))
		r.Status.BeginRefreshAt, r.Status.NotAfter = &begin, &end
	}
	return r, nil
}

func (s *sources) RequestCertificate(context.Context, *corev1.Pod, *corev1.PodCertificateProjection, []byte) (string, error) {
	return "", fmt.Errorf("no signer")
}

func (s *sources) CertificateRequest(context.Context, *corev1.Pod, string) (*certificatesv1.PodCertificateRequest, error) {
	return nil, nil
}

// TestPodCertificate: a credential's life, step by step. Each step says the minute, what the signer does, and what is then in the volume.
func TestPodCertificate(t *testing.T) {
	type step struct {
		minute int
		answer string
		asked  int    // requests so far
		want   string // "first", "second": of that request; or a part of the error
		renew  int    // minute of the next look; seconds count as nothing
	}
	tests := map[string][]step{
		"issued at once":                      {{0, "issue", 1, "first", 40}, {10, "issue", 1, "first", 40}},
		"the signer takes its time":           {{0, "wait", 1, "waits for signer", 0}, {1, "wait", 1, "waits for signer", 0}, {2, "issue", 1, "first", 40}},
		"denied, for good":                    {{0, "deny", 1, "Denied: Because: so it is", 0}, {30, "issue", 1, "Denied: Because: so it is", 0}},
		"failed, for good":                    {{0, "fail", 1, "Failed: Because: so it is", 0}, {30, "issue", 1, "Failed", 0}},
		"the request is cleaned away":         {{0, "wait", 1, "waits", 0}, {15, "lose", 1, "gone", 0}, {16, "issue", 2, "second", 40}},
		"renewed when it is time":             {{0, "issue", 1, "first", 40}, {40, "wait", 2, "first", 40}, {41, "issue", 2, "second", 40}},
		"a refused renewal leaves the old":    {{0, "issue", 1, "first", 40}, {40, "deny", 2, "first", 50}, {45, "issue", 2, "first", 50}, {50, "issue", 3, "third", 40}},
		"an old one is not used past its end": {{0, "issue", 1, "first", 40}, {40, "wait", 2, "first", 40}, {61, "wait", 2, "waits for signer", 0}},
	}
	numbers := map[string]int{"first": 1, "second": 2, "third": 3}
	for name, steps := range tests {
		t.Run(name, func(t *testing.T) {
			ca, err := pki.NewAuthority("test")
			if err != nil {
				t.Fatal(err)
			}
			s, now := &signing{t: t, ca: ca}, noon
			v := New(t.TempDir(), s, func() time.Time { return now })
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: "u"}}
			p := &corev1.PodCertificateProjection{SignerName: "example.com/s", KeyType: "ECDSAP256", CredentialBundlePath: "both", KeyPath: "key", CertificateChainPath: "chain"}
			vol := &corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{{PodCertificate: p}}}}}
			keys := map[string]int{} // of which request
			for _, step := range steps {
				now, s.answer = noon.Add(time.Duration(step.minute)*time.Minute), step.answer
				files, renew, err := v.content(t.Context(), pod, vol)
				if s.asked != step.asked {
					t.Errorf("minute %d: %d requests, want %d", step.minute, s.asked, step.asked)
				}
				number, issued := numbers[step.want]
				if !issued {
					if err == nil || !strings.Contains(err.Error(), step.want) {
						t.Errorf("minute %d: %v, want %q", step.minute, err, step.want)
					}
					continue
				}
				if err != nil {
					t.Fatalf("minute %d: %v", step.minute, err)
				}
				both, key := files["both"].data, files["key"].data
				if string(both) != string(key)+string(files["chain"].data) || !strings.HasPrefix(string(both), "-----BEGIN PRIVATE KEY-----") || strings.Contains(string(both), "between") {
					t.Errorf("minute %d: bundle %s", step.minute, both)
				}
				if _, err := tls.X509KeyPair(both, both); err != nil {
					t.Errorf("minute %d: %v", step.minute, err)
				}
				if keys[string(key)] == 0 {
					keys[string(key)] = s.asked
				}
				if keys[string(key)] != number {
					t.Errorf("minute %d: the key of request %d, want %d", step.minute, keys[string(key)], number)
				}
				if got := int(renew.Sub(noon) / time.Minute); got != step.renew {
					t.Errorf("minute %d: looked at again in minute %d, want %d", step.minute, got, step.renew)
				}
			}
			v.forget("u")
			if len(v.certificates.held) != 0 {
				t.Error("it is kept although the pod is gone")
			}
		})
	}
}

func TestKeyTypes(t *testing.T) {
	for kind, good := range map[string]func(any) bool{
		"RSA3072":   func(k any) bool { r, ok := k.(*rsa.PrivateKey); return ok && r.N.BitLen() == 3072 },
		"ECDSAP256": func(k any) bool { e, ok := k.(*ecdsa.PrivateKey); return ok && e.Curve.Params().BitSize == 256 },
		"ECDSAP384": func(k any) bool { e, ok := k.(*ecdsa.PrivateKey); return ok && e.Curve.Params().BitSize == 384 },
		"ECDSAP521": func(k any) bool { e, ok := k.(*ecdsa.PrivateKey); return ok && e.Curve.Params().BitSize == 521 },
		"ED25519":   func(k any) bool { _, ok := k.(ed25519.PrivateKey); return ok },
	} {
		if k, err := newKey(kind); err != nil || !good(k) {
			t.Errorf("%s: %T %v", kind, k, err)
		}
	}
	if _, err := newKey("RSA1024"); err == nil {
		t.Error("a weak key was made")
	}
}
