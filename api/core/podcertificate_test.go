package core

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// TestPodCertificate: what a pod may ask a signer for.
func TestPodCertificate(t *testing.T) {
	life := func(n int32) func(*corev1.PodCertificateProjection) {
		return func(p *corev1.PodCertificateProjection) { p.MaxExpirationSeconds = &n }
	}
	tests := map[string]struct {
		change func(*corev1.PodCertificateProjection)
		want   string // the errors' fields, and a word of each
	}{
		"as it should be":   {func(*corev1.PodCertificateProjection) {}, ""},
		"an hour":           {life(3600), ""},
		"less than an hour": {life(3599), "p.maxExpirationSeconds: if provided, maxExpirationSeconds must be >= 3600"},
		"91 days":           {life(7862400), ""},
		"more than 91 days": {life(7862401), "p.maxExpirationSeconds: if provided, maxExpirationSeconds must be <= 7862400"},
		"more than a day of our own signers": {func(p *corev1.PodCertificateProjection) { p.SignerName = "kubernetes.io/x"; life(86401)(p) },
			"p.maxExpirationSeconds: if provided, maxExpirationSeconds must be <= 86400"},
		"no signer":           {func(p *corev1.PodCertificateProjection) { p.SignerName = "" }, "p.signerName: "},
		"a signer of no path": {func(p *corev1.PodCertificateProjection) { p.SignerName = "example.com" }, "p.signerName: must be a fully qualified domain and path of the form 'example.com/signer-name'"},
		"no key":              {func(p *corev1.PodCertificateProjection) { p.KeyType = "" }, "p.keyType: "},
		"a weak key":          {func(p *corev1.PodCertificateProjection) { p.KeyType = "RSA1024" }, `p.keyType: supported values: "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519", "RSA3072", "RSA4096"`},
		"no file":             {func(p *corev1.PodCertificateProjection) { p.CredentialBundlePath = "" }, "p: specify at least one of credentialBundlePath, keyPath, and certificateChainPath"},
		"a file elsewhere":    {func(p *corev1.PodCertificateProjection) { p.KeyPath = "../x" }, "volumes[0].projected.sources[0].podCertificate.keyPath: must not contain '..'"},
		"a file twice":        {func(p *corev1.PodCertificateProjection) { p.KeyPath = "c" }, "volumes[0].projected.sources[0].podCertificate.keyPath: conflicting duplicate paths"},
		"an annotation of no domain": {func(p *corev1.PodCertificateProjection) { p.UserAnnotations = map[string]string{"x": "y"} },
			`p.userAnnotations: must be a domain-prefixed key (such as "acme.io/foo")`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := &corev1.PodCertificateProjection{SignerName: "example.com/s", KeyType: "ED25519", CredentialBundlePath: "c"}
			tt.change(p)
			var got []string
			for _, err := range validateProjected([]corev1.VolumeProjection{{PodCertificate: p}}, field.NewPath("volumes").Index(0).Child("projected")) {
				got = append(got, err.Field+": "+err.Detail)
			}
			want := tt.want
			if strings.HasPrefix(want, "p") {
				want = "volumes[0].projected.sources[0].podCertificate" + want[1:]
			}
			if text := strings.Join(got, "; "); text != want {
				t.Errorf("got  %q\nwant %q", text, want)
			}
		})
	}
}
