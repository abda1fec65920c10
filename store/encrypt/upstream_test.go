package encrypt

import (
	"context"
	"encoding/base64"
	"net"
	"path/filepath"
	"testing"

	"google.golang.org/grpc"
	kmsapi "k8s.io/kms/apis/v2"
)

// shifting is a KMS plugin that puts an x before what it encrypts.
type shifting struct {
	kmsapi.UnimplementedKeyManagementServiceServer
}

func (shifting) Decrypt(_ context.Context, r *kmsapi.DecryptRequest) (*kmsapi.DecryptResponse, error) {
	return &kmsapi.DecryptResponse{Plaintext: r.Ciphertext[1:]}, nil
}

// Values that the published transformers of k8s.io/apiserver v0.37.2 wrote for the key /registry/secrets/default/a.
func TestUpstreamsValues(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kms.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	kmsapi.RegisterKeyManagementServiceServer(s, shifting{})
	go s.Serve(l)
	defer s.Stop()
	secret := base64.StdEncoding.EncodeToString([]byte("0123456789abcdef0123456789abcdef"))
	text := "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [secrets]\n  providers:\n" +
		"  - kms: {apiVersion: v2, name: key1, endpoint: 'unix://" + path + "'}\n"
	for _, kind := range []string{"aesgcm", "aescbc", "secretbox"} {
		text += "  - " + kind + ": {keys: [{name: key1, secret: " + secret + "}]}\n"
	}
	keys, err := Parse([]byte(text), map[string]string{"secrets": "secrets"})
	if err != nil {
		t.Fatal(err)
	}
	defer keys.Close()
	for _, tt := range []struct{ name, value string }{
		{"aesgcm", "azhzOmVuYzphZXNnY206djE6a2V5MTqZGyBPFEBt28+MQgWOzYs+oVHWRrbUlvJocCV9xZAWm7rB"},
		{"aescbc", "azhzOmVuYzphZXNjYmM6djE6a2V5MTrPDXt92P45BOB5QP3XJ06Mv1GaUB9CU5H2s5BAG/qxkw=="},
		{"secretbox", "azhzOmVuYzpzZWNyZXRib3g6djE6a2V5MTqLz0Mj6lB1kJ8yyM4FPvR+8i+GnLrC+/l5RmawUuv818fWi00shTlJw6enAOMg"},
		{"kms, a seed", "azhzOmVuYzprbXM6djI6a2V5MToKQq74UJtKOtwqyKPMGi0CJ+pyjZJK6DkRDaCkFHMz1r/nbfXvWzZRVlN0y8VikFXwB7m+g80qd44eSFdPol3G6VnFBBIBMRoheOMadoO4Ag2+U7be1blNWo8nJH8LPNlxVnzhAnZ77GUyIhIKDWEuZXhhbXBsZS5jb20SAWIoAQ=="},
		{"kms, a key", "azhzOmVuYzprbXM6djI6a2V5MToKIrwao7ACypo7AAAAAN0cRHD958tk1JTG9GyBDwsM7XPb+OQSATEaIXhNLizt6LubdhTl+UEaq7NVCPC+lFYYtFPcHs9PPVSC4SISCg1hLmV4YW1wbGUuY29tEgFi"},
	} {
		value, err := base64.StdEncoding.DecodeString(tt.value)
		if err != nil {
			t.Fatal(err)
		}
		got, _, err := keys.Open(t.Context(), "/registry/secrets/default/a", value)
		if err != nil || string(got) != "canary" {
			t.Errorf("%s: %q, %v", tt.name, got, err)
		}
	}
}
