package config

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// checkAccess checks Authentication and Authorization.
func (s *Server) checkAccess() (errs []error) {
	bad := func(knob, value, want string) {
		errs = append(errs, fmt.Errorf("%s %q: want %s", knob, value, want))
	}
	who, may := s.Authentication.Webhook, s.Authorization
	for knob, v := range map[string]string{"authentication-token-webhook-version": who.Version, "authorization-webhook-version": may.Webhook.Version} {
		if v != "v1" && v != "v1beta1" {
			bad(knob, v, "v1 or v1beta1")
		}
	}
	for knob, text := range map[string]string{"authentication-token-webhook-cache-ttl": who.CacheTTL,
		"authorization-webhook-cache-authorized-ttl": may.Webhook.AuthorizedTTL, "authorization-webhook-cache-unauthorized-ttl": may.Webhook.UnauthorizedTTL} {
		if d, err := time.ParseDuration(text); err != nil || d < 0 {
			bad(knob, text, "a time, such as 2m, or 0s for not at all")
		}
	}
	o := s.Authentication.OIDC
	switch {
	case o.Issuer != "" && s.Authentication.File != "":
		bad("authentication-config", s.Authentication.File, "no --oidc-issuer-url beside it: the file names issuers")
	case o.Issuer != "" && !strings.HasPrefix(o.Issuer, "https://"):
		bad("oidc-issuer-url", o.Issuer, "an https URL")
	case (o.Issuer == "") != (o.ClientID == ""):
		bad("oidc-client-id", o.ClientID, "it and --oidc-issuer-url, or neither")
	case o.Issuer == "" && (o.UsernamePrefix != "" || o.GroupsClaim != "" || o.GroupsPrefix != "" || len(o.RequiredClaims) > 0 || o.CA != ""):
		bad("oidc-issuer-url", o.Issuer, "an issuer, for the other --oidc flags")
	}
	if may.File != "" {
		if len(may.Modes) > 0 || may.Webhook.ConfigFile != "" {
			bad("authorization-config", may.File, "neither --authorization-mode nor --authorization-webhook-config-file beside it: the file says both")
		}
		return errs
	}
	for n, mode := range may.Modes {
		if !slices.Contains([]string{"Node", "RBAC", "Webhook", "ABAC", "AlwaysAllow", "AlwaysDeny"}, mode) || slices.Contains(may.Modes[:n], mode) {
			bad("authorization-mode", strings.Join(may.Modes, ","), "Node, RBAC, Webhook, ABAC, AlwaysAllow and AlwaysDeny, each once at most")
			break
		}
	}
	if slices.Contains(may.Modes, "Webhook") != (may.Webhook.ConfigFile != "") {
		bad("authorization-webhook-config-file", may.Webhook.ConfigFile, "a kubeconfig if the mode Webhook is among --authorization-mode, else none")
	}
	if slices.Contains(may.Modes, "ABAC") != (may.PolicyFile != "") {
		bad("authorization-policy-file", may.PolicyFile, "a file if the mode ABAC is among --authorization-mode, else none")
	}
	return errs
}

// Duration is a time that Complete has checked.
func Duration(text string) time.Duration {
	d, _ := time.ParseDuration(text) // checked
	return d
}
