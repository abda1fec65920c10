package authn

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/lighter-k8s/lighter/client"
)

// Bootstrap tokens let a node join that has no certificate yet. They are "<id>.<secret>", six and sixteen lower-case letters
// and digits; the Secret kube-system/bootstrap-token-<id> says until when and what for. Source: Authenticating
// with Bootstrap Tokens.
const (
	BootstrapSecretType   = corev1.SecretType("bootstrap.kubernetes.io/token")
	BootstrapSecretPrefix = "bootstrap-token-"
	BootstrapUserPrefix   = "system:bootstrap:"
	BootstrapGroup        = "system:bootstrappers"
)

// splitBootstrap takes a token apart, if it has that form.
func splitBootstrap(token string) (id, secret string, ok bool) {
	id, secret, _ = strings.Cut(token, ".")
	return id, secret, len(id) == 6 && len(secret) == 16 && only(id+secret, "")
}

// isBootstrapGroup reports whether a token may have the group: "system:bootstrappers:" and at most 256 letters, digits, colons
// and hyphens, the last a letter or digit.
func isBootstrapGroup(group string) bool {
	rest, ok := strings.CutPrefix(group, BootstrapGroup+":")
	return ok && rest != "" && len(rest) <= 256 && only(rest, ":-") && only(rest[len(rest)-1:], "")
}

// only reports whether a text is made of lower-case letters, digits and the further characters.
func only(text, further string) bool {
	for _, c := range []byte(text) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && strings.IndexByte(further, c) < 0 {
			return false
		}
	}
	return true
}

// Bootstrap authenticates by bootstrap tokens. Safe for concurrent use.
type Bootstrap struct {
	Secrets client.TypedView[*corev1.Secret]
}

// AuthenticateToken returns nil, nil, nil for what has not the form of a bootstrap token. Its tokens are for the API server only.
func (b Bootstrap) AuthenticateToken(_ context.Context, token string, _ []string) (*authenticationv1.UserInfo, []string, error) {
	id, want, ok := splitBootstrap(token)
	if !ok {
		return nil, nil, nil
	}
	secret, ok := b.Secrets.Get("kube-system", BootstrapSecretPrefix+id)
	if !ok {
		return nil, nil, fmt.Errorf("bootstrap token %s is not known", id)
	}
	if err := usable(secret, id, time.Now()); err != nil {
		return nil, nil, fmt.Errorf("bootstrap token %s: %w", id, err)
	}
	if subtle.ConstantTimeCompare(secret.Data["token-secret"], []byte(want)) != 1 {
		return nil, nil, fmt.Errorf("bootstrap token %s: the secret part is wrong", id)
	}
	groups := []string{BootstrapGroup}
	for group := range strings.SplitSeq(string(secret.Data["auth-extra-groups"]), ",") {
		if group = strings.TrimSpace(group); group == "" {
			continue
		}
		if !isBootstrapGroup(group) {
			return nil, nil, fmt.Errorf("bootstrap token %s: %q may not be a group of such a token", id, group)
		}
		groups = append(groups, group)
	}
	return &authenticationv1.UserInfo{Username: BootstrapUserPrefix + id, Groups: authenticated(BootstrapUserPrefix+id, groups)}, nil, nil
}

func usable(s *corev1.Secret, id string, now time.Time) error {
	if s.Type != BootstrapSecretType || s.DeletionTimestamp != nil {
		return errors.New("the secret is of another type, or being deleted")
	}
	if string(s.Data["token-id"]) != id || len(s.Data["token-secret"]) == 0 {
		return errors.New("the secret has another token's id, or no token-secret")
	}
	if string(s.Data["usage-bootstrap-authentication"]) != "true" {
		return errors.New("it is not meant for authentication")
	}
	if end, ok := s.Data["expiration"]; ok {
		at, err := time.Parse(time.RFC3339, string(end))
		if err != nil {
			return errors.New("its expiration is not a time")
		}
		if !now.Before(at) {
			return errors.New("it has expired")
		}
	}
	return nil
}
