package authn

import (
	"crypto/subtle"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// A Secret of type kubernetes.io/service-account-token holds a token without an end, for programs outside the cluster. It
// is good for as long as the Secret holds it. Source: Managing Service Accounts, manual Secret management.
const (
	secretIssuer      = "kubernetes/serviceaccount"
	invalidSinceLabel = "kubernetes.io/legacy-token-invalid-since"
)

// secretClaims are what such a token has instead of a kubernetes.io claim.
type secretClaims struct {
	SecretNamespace string    `json:"kubernetes.io/serviceaccount/namespace,omitempty"`
	SecretName      string    `json:"kubernetes.io/serviceaccount/secret.name,omitempty"`
	AccountName     string    `json:"kubernetes.io/serviceaccount/service-account.name,omitempty"`
	AccountUID      types.UID `json:"kubernetes.io/serviceaccount/service-account.uid,omitempty"`
}

// IssueForSecret makes the token that a Secret of that type is to hold for the account under the key "token".
func (t *Tokens) IssueForSecret(account *corev1.ServiceAccount, secret string) (string, error) {
	by := t.ring.Load()
	return sign(by.key, by.signer, struct {
		Issuer  string `json:"iss"`
		Subject string `json:"sub"`
		secretClaims
	}{secretIssuer, ServiceAccountPrefix + account.Namespace + ":" + account.Name, secretClaims{account.Namespace, secret, account.Name, account.UID}})
}

// acceptSecret checks what can never change, and puts the claims where those of other tokens are.
func (t *Tokens) acceptSecret(c *claims) error {
	if c.SecretNamespace == "" || c.SecretName == "" || c.AccountName == "" || c.AccountUID == "" {
		return errors.New("token of a secret names no secret or service account")
	}
	if c.Subject != ServiceAccountPrefix+c.SecretNamespace+":"+c.AccountName {
		return errors.New("token subject and service account differ")
	}
	c.Audiences, c.ID = t.audiences, ""
	c.Kubernetes = kubernetes{Namespace: c.SecretNamespace, Secret: &ref{Name: c.SecretName}, ServiceAccount: ref{c.AccountName, c.AccountUID}}
	return nil
}

// liveSecret checks that the Secret still holds the very token.
func (t *Tokens) liveSecret(k *kubernetes, token string) error {
	secret, ok := t.views.Secrets.Get(k.Namespace, k.Secret.Name)
	if !ok || secret.DeletionTimestamp != nil || secret.Type != corev1.SecretTypeServiceAccountToken ||
		subtle.ConstantTimeCompare(secret.Data[corev1.ServiceAccountTokenKey], []byte(token)) != 1 {
		return fmt.Errorf("secret %s/%s does not hold the token", k.Namespace, k.Secret.Name)
	}
	if _, invalid := secret.Labels[invalidSinceLabel]; invalid {
		return fmt.Errorf("the token in secret %s/%s was not used for long and is no longer valid", k.Namespace, k.Secret.Name)
	}
	return nil
}
