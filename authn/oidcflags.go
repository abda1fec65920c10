package authn

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"
)

// OIDC is an issuer as kube-apiserver's flags name it, from before there was an AuthenticationConfiguration. Source: kube-apiserver's
// reference, --oidc-*; Kubernetes documentation, Authenticating, OpenID Connect Tokens.
type OIDC struct {
	Issuer, ClientID              string
	UsernameClaim, UsernamePrefix string // prefix "": the issuer and #, but for the claim email; "-": none
	GroupsClaim, GroupsPrefix     string
	RequiredClaims                map[string]string
	SigningAlgs                   []string // of RFC 7518; nil: all that are known
	CAFile                        string   // PEM; "": those that the machine trusts
}

// configuration is the AuthenticationConfiguration that means the same.
func (o OIDC) configuration() ([]byte, error) {
	j := apiserverv1.JWTAuthenticator{Issuer: apiserverv1.Issuer{URL: o.Issuer, Audiences: []string{o.ClientID}}}
	if o.CAFile != "" {
		ca, err := os.ReadFile(o.CAFile)
		if err != nil {
			return nil, err
		}
		j.Issuer.CertificateAuthority = string(ca)
	}
	prefix := o.UsernamePrefix
	switch {
	case prefix == "-":
		prefix = ""
	case prefix == "" && o.UsernameClaim != "email":
		prefix = o.Issuer + "#"
	}
	j.ClaimMappings.Username = apiserverv1.PrefixedClaimOrExpression{Claim: o.UsernameClaim, Prefix: &prefix}
	if o.GroupsClaim != "" {
		j.ClaimMappings.Groups = apiserverv1.PrefixedClaimOrExpression{Claim: o.GroupsClaim, Prefix: &o.GroupsPrefix}
	}
	for _, claim := range slices.Sorted(maps.Keys(o.RequiredClaims)) {
		j.ClaimValidationRules = append(j.ClaimValidationRules, apiserverv1.ClaimValidationRule{Claim: claim, RequiredValue: o.RequiredClaims[claim]})
	}
	return json.Marshal(apiserverv1.AuthenticationConfiguration{JWT: []apiserverv1.JWTAuthenticator{j},
		TypeMeta: metav1.TypeMeta{Kind: "AuthenticationConfiguration", APIVersion: apiserverv1.SchemeGroupVersion.String()}})
}

// UseOIDC puts an issuer of flags to work.
func (s *Structured) UseOIDC(o OIDC) error {
	for _, n := range o.SigningAlgs {
		if _, ok := algorithms[n]; !ok {
			return fmt.Errorf("%q is none of the algorithms %s", n, strings.Join(slices.Sorted(maps.Keys(algorithms)), ", "))
		}
	}
	data, err := o.configuration()
	if err != nil {
		return err
	}
	s.algorithms = o.SigningAlgs
	return s.Use(data)
}
