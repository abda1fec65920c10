package authn

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestTokenInASecret(t *testing.T) {
	tests := map[string]struct {
		change func(w *world, s *corev1.Secret)
		wanted []string
		good   bool
	}{
		"held by its secret":            {func(*world, *corev1.Secret) {}, nil, true},
		"shown to the API server":       {func(*world, *corev1.Secret) {}, []string{Issuer}, true},
		"shown to a vault":              {func(*world, *corev1.Secret) {}, []string{"vault"}, false},
		"the secret holds another":      {func(_ *world, s *corev1.Secret) { s.Data["token"] = []byte("x") }, nil, false},
		"the secret holds none":         {func(_ *world, s *corev1.Secret) { s.Data = nil }, nil, false},
		"the secret is of another type": {func(_ *world, s *corev1.Secret) { s.Type = corev1.SecretTypeOpaque }, nil, false},
		"the secret is being deleted":   {func(_ *world, s *corev1.Secret) { now := v1.Now(); s.DeletionTimestamp = &now }, nil, false},
		"marked as not used for long":   {func(_ *world, s *corev1.Secret) { s.Labels = map[string]string{invalidSinceLabel: "2026-01-01"} }, nil, false},
		"the account was made again":    {func(w *world, _ *corev1.Secret) { a := w.account.DeepCopy(); a.UID = "new"; w.accounts.Set(a) }, nil, false},
		"the account was deleted":       {func(w *world, _ *corev1.Secret) { w.accounts.Delete("web", "app") }, nil, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			token, err := w.IssueForSecret(w.account, "long")
			if err != nil {
				t.Fatal(err)
			}
			secret := &corev1.Secret{ObjectMeta: meta("web", "long"), Type: corev1.SecretTypeServiceAccountToken, Data: map[string][]byte{"token": []byte(token)}}
			w.secrets.Set(secret.DeepCopy())
			if _, _, err := w.AuthenticateToken(t.Context(), token, nil); err != nil {
				t.Fatal(err)
			}
			tt.change(w, secret)
			w.secrets.Set(secret)
			u, audiences, err := w.AuthenticateToken(t.Context(), token, tt.wanted)
			if (err == nil) != tt.good {
				t.Fatalf("got %v %v", u, err)
			}
			if tt.good && (u.Username != "system:serviceaccount:web:app" || u.UID != "uid-of-app" || len(u.Extra) != 0 || strings.Join(audiences, " ") != Issuer) {
				t.Errorf("got %v %v", u, audiences)
			}
		})
	}
	t.Run("without its secret", func(t *testing.T) {
		w := newWorld(t, nil)
		token, _ := w.IssueForSecret(w.account, "long")
		if u, _, err := w.AuthenticateToken(t.Context(), token, nil); err == nil {
			t.Errorf("got %v", u)
		}
	})
	t.Run("of another issuer than its form", func(t *testing.T) {
		key := ecKey(t)
		w := newWorld(t, key)
		h := `{"alg":"ES256","kid":"` + w.ring.Load().signer.id + `"}`
		bound := `{"aud":["` + Issuer + `"],"iss":"kubernetes/serviceaccount","exp":9999999999,"kubernetes.io":{"namespace":"web","serviceaccount":{"name":"app","uid":"uid-of-app"}},"sub":"system:serviceaccount:web:app"}`
		if u, _, err := w.AuthenticateToken(t.Context(), forge(t, key, h, bound), nil); err == nil {
			t.Errorf("got %v", u)
		}
	})
}
