package authn

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/cel-go/common/types"
	celref "github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/apis/apiserver/validation"
	"k8s.io/apiserver/pkg/authentication/cel"
)

// issuer is one jwt entry of a configuration: whose tokens, and how their claims become a user. Source: Kubernetes documentation,
// Authenticating, Using Authentication Configuration; comments of apiserver.config.k8s.io/v1.
type issuer struct {
	audiences []string
	rules     []apiserver.ClaimValidationRule // those without an expression
	mappings  apiserver.ClaimMappings
	mapper    cel.CELMapper
	keys      *issuerKeys
	providers providers
	authority string // PEM
	// algorithms are those that sign; none: all that are known.
	algorithms []string
	hash       string // in metrics
	metrics    *Metrics
}

func (s *Structured) newIssuer(j apiserver.JWTAuthenticator) (*issuer, error) {
	mapper, errs := validation.CompileAndValidateJWTAuthenticator(expressions(), j, []string{s.Issuer})
	if len(errs) > 0 {
		return nil, errs.ToAggregate()
	}
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca := j.Issuer.CertificateAuthority; ca != "" {
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM([]byte(ca)) {
			return nil, errors.New("certificateAuthority holds no certificate")
		}
	}
	dial := &net.Dialer{Timeout: fetchTimeout, KeepAlive: 30 * time.Second}
	transport := &http.Transport{TLSClientConfig: t, Proxy: http.ProxyFromEnvironment, DialContext: dial.DialContext, ForceAttemptHTTP2: true,
		TLSHandshakeTimeout: fetchTimeout, IdleConnTimeout: 30 * time.Second, MaxIdleConnsPerHost: 1}
	sum := sha256.Sum256([]byte(j.Issuer.URL))
	i := &issuer{audiences: j.Issuer.Audiences, mappings: j.ClaimMappings, mapper: mapper, authority: j.Issuer.CertificateAuthority, algorithms: s.algorithms,
		hash: "sha256:" + hex.EncodeToString(sum[:]), metrics: s.Metrics}
	for _, r := range j.ClaimValidationRules {
		if r.Claim != "" {
			i.rules = append(i.rules, r)
		}
	}
	i.keys = &issuerKeys{issuer: j.Issuer.URL, discovery: cmp.Or(j.Issuer.DiscoveryURL, strings.TrimSuffix(j.Issuer.URL, "/")+"/.well-known/openid-configuration"),
		client: &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		fetched: func(set *keySet, err error) {
			s.Metrics.keys(i.hash, set, err)
		}}
	return i, nil
}

// adopt takes over the keys of the issuer before, if they would be fetched in the same way.
func (i *issuer) adopt(before *issuer) {
	if before != nil && before.keys.discovery == i.keys.discovery && before.authority == i.authority {
		i.keys = before.keys
	}
}

// userOf holds the claims against the rules and makes a user of them.
func (i *issuer) userOf(ctx context.Context, claims map[string]any) (*authenticationv1.UserInfo, error) {
	for _, r := range i.rules {
		if value, ok := claims[r.Claim].(string); !ok || value != r.RequiredValue {
			return nil, fmt.Errorf("claim %q: %v, want %q", r.Claim, claims[r.Claim], r.RequiredValue)
		}
	}
	variable := types.NewStringInterfaceMap(types.DefaultTypeAdapter, claims)
	if m := i.mapper.ClaimValidationRules; m != nil {
		results, err := m.EvalClaimMappings(ctx, variable)
		if err == nil {
			err = allTrue(results)
		}
		if err != nil {
			return nil, fmt.Errorf("claim validation: %w", err)
		}
	}
	user := &authenticationv1.UserInfo{}
	for _, part := range []struct {
		name string
		fill func(context.Context, map[string]any, traits.Mapper, *authenticationv1.UserInfo) error
	}{{"username", i.username}, {"groups", i.groups}, {"uid", i.uid}, {"extra", i.extra}} {
		if err := part.fill(ctx, claims, variable, user); err != nil {
			return nil, fmt.Errorf("%s: %w", part.name, err)
		}
	}
	if m := i.mapper.UserValidationRules; m != nil {
		results, err := m.EvalUser(ctx, userVariable(user))
		if err == nil {
			err = allTrue(results)
		}
		if err != nil {
			return nil, fmt.Errorf("user validation: %w", err)
		}
	}
	user.Groups = authenticated(user.Username, user.Groups)
	return user, nil
}

func (i *issuer) username(ctx context.Context, claims map[string]any, variable traits.Mapper, user *authenticationv1.UserInfo) error {
	m := i.mappings.Username
	if m.Expression != "" {
		name, err := oneText(ctx, i.mapper.Username, variable)
		if user.Username = name; err == nil && name == "" {
			err = errors.New("the expression gives no name")
		}
		return err
	}
	name, ok := claims[m.Claim].(string)
	if !ok || name == "" {
		return fmt.Errorf("claim %q is not there, or not a string", m.Claim)
	}
	if m.Claim == "email" { // who has not shown that an address is his is nobody. Source: OpenID Connect Core 1.0, 5.1
		if verified, set := claims["email_verified"]; set && verified != true {
			return errors.New("email_verified is not true")
		}
	}
	user.Username = name
	if m.Prefix != nil {
		user.Username = *m.Prefix + name
	}
	return nil
}

func (i *issuer) groups(ctx context.Context, claims map[string]any, variable traits.Mapper, user *authenticationv1.UserInfo) (err error) {
	m := i.mappings.Groups
	switch {
	case m.Expression != "":
		result, err := i.mapper.Groups.EvalClaimMapping(ctx, variable)
		if err != nil {
			return err
		}
		user.Groups, err = textsOf(result.EvalResult)
		return err
	case m.Claim != "":
		if user.Groups, err = textOrTexts(claims[m.Claim]); err != nil {
			return fmt.Errorf("claim %q: %w", m.Claim, err)
		}
		if m.Prefix != nil {
			for n, g := range user.Groups {
				user.Groups[n] = *m.Prefix + g
			}
		}
	}
	return nil
}

func (i *issuer) uid(ctx context.Context, claims map[string]any, variable traits.Mapper, user *authenticationv1.UserInfo) (err error) {
	switch m := i.mappings.UID; {
	case m.Expression != "":
		user.UID, err = oneText(ctx, i.mapper.UID, variable)
	case m.Claim != "":
		uid, ok := claims[m.Claim].(string)
		if user.UID = uid; !ok {
			err = fmt.Errorf("claim %q is not there, or not a string", m.Claim)
		}
	}
	return err
}

func (i *issuer) extra(ctx context.Context, claims map[string]any, variable traits.Mapper, user *authenticationv1.UserInfo) error {
	extra := map[string]authenticationv1.ExtraValue{}
	if id, ok := claims["jti"].(string); ok && id != "" {
		extra[CredentialIDKey] = authenticationv1.ExtraValue{"JTI=" + id}
	}
	if i.mapper.Extra != nil {
		results, err := i.mapper.Extra.EvalClaimMappings(ctx, variable)
		if err != nil {
			return err
		}
		for _, r := range results {
			e, ok := r.ExpressionAccessor.(*cel.ExtraMappingExpression)
			if !ok {
				return fmt.Errorf("an expression of an unknown kind, %T", r.ExpressionAccessor)
			}
			values, err := textsOf(r.EvalResult)
			if err != nil {
				return fmt.Errorf("key %q: %w", e.Key, err)
			}
			if values = slices.DeleteFunc(values, func(v string) bool { return v == "" }); len(values) > 0 {
				extra[e.Key] = values
			}
		}
	}
	if len(extra) > 0 {
		user.Extra = extra
	}
	return nil
}

// oneText is what an expression that gives a string gives.
func oneText(ctx context.Context, m cel.ClaimsMapper, claims traits.Mapper) (string, error) {
	result, err := m.EvalClaimMapping(ctx, claims)
	if err != nil {
		return "", err
	}
	text, ok := result.EvalResult.Value().(string)
	if !ok {
		return "", fmt.Errorf("the expression gives %s, want a string", result.EvalResult.Type().TypeName())
	}
	return text, nil
}

// textsOf is what an expression that gives a string or a list of them gives: none of "", [] and null.
func textsOf(v celref.Val) ([]string, error) {
	switch v := v.(type) {
	case types.Null:
		return nil, nil
	case types.String:
		if v == "" {
			return nil, nil
		}
		return []string{string(v)}, nil
	case traits.Lister:
		var out []string
		for it := v.Iterator(); it.HasNext() == types.True; {
			text, ok := it.Next().(types.String)
			if !ok {
				return nil, errors.New("the expression gives a list, not all of strings")
			}
			out = append(out, string(text))
		}
		return out, nil
	}
	return nil, fmt.Errorf("the expression gives %s, want a string or a list of them", v.Type().TypeName())
}

// allTrue complains about the first rule that is not.
func allTrue(results []cel.EvaluationResult) error {
	for _, r := range results {
		if r.EvalResult == types.True {
			continue
		}
		message := ""
		switch e := r.ExpressionAccessor.(type) {
		case *cel.ClaimValidationCondition:
			message = e.Message
		case *cel.UserValidationCondition:
			message = e.Message
		}
		return errors.New(cmp.Or(message, fmt.Sprintf("expression %q is not true", r.ExpressionAccessor.GetExpression())))
	}
	return nil
}

// userVariable shows a user to expressions.
func userVariable(u *authenticationv1.UserInfo) traits.Mapper {
	extra := map[string][]string{}
	for k, v := range u.Extra {
		extra[k] = v
	}
	groups := u.Groups
	if groups == nil {
		groups = []string{}
	}
	return types.NewStringInterfaceMap(types.DefaultTypeAdapter, map[string]any{"username": u.Username, "uid": u.UID, "groups": groups, "extra": extra})
}
