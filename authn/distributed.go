package authn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Distributed claims: a token that has no claim of its own may name a server that has it, in a token of that server's issuer. They are asked
// for groups alone, as upstream does, since some issuers leave those out where they are many. Source: OpenID Connect Core 1.0, 5.6.2.

const (
	claimNames   = "_claim_names"   // from a claim to a source
	claimSources = "_claim_sources" // from a source to where it is
)

// providers are the keys of those whose tokens hold claims of ours, by issuer.
type providers struct {
	mu   sync.Mutex
	keys map[string]*issuerKeys
}

// mostProviders is how many there are at most: their names come from tokens, of the issuer's own though.
const mostProviders = 32

func (p *providers) get(i *issuer, name string) (*issuerKeys, error) {
	if name == i.keys.issuer {
		return i.keys, nil
	}
	if u, err := url.Parse(name); err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("its issuer %q is no https URL", name)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if k := p.keys[name]; k != nil {
		return k, nil
	}
	if len(p.keys) >= mostProviders {
		return nil, errors.New("too many issuers of distributed claims")
	}
	if p.keys == nil {
		p.keys = map[string]*issuerKeys{}
	}
	k := &issuerKeys{issuer: name, discovery: strings.TrimSuffix(name, "/") + "/.well-known/openid-configuration", client: i.keys.client, fetched: func(*keySet, error) {}}
	p.keys[name] = k
	return k, nil
}

// complete fetches the claim of groups where the token says that another server has it, and puts it among the claims. until is when what was
// fetched ends; zero: nothing was.
func (i *issuer) complete(ctx context.Context, claims map[string]any, now time.Time) (until time.Time, err error) {
	claim := i.mappings.Groups.Claim
	if claim == "" || claims[claim] != nil {
		return until, nil
	}
	names, _ := claims[claimNames].(map[string]any)
	source, _ := names[claim].(string)
	if source == "" {
		return until, nil
	}
	sources, _ := claims[claimSources].(map[string]any)
	where, _ := sources[source].(map[string]any)
	endpoint, _ := where["endpoint"].(string)
	if endpoint == "" {
		if where["JWT"] != nil {
			return until, nil // aggregated, not distributed: such claims count for nothing
		}
		return until, fmt.Errorf("claim %q is said to be at the source %q, of which there is no endpoint", claim, source)
	}
	bearer, _ := where["access_token"].(string)
	token, err := i.fetchClaims(ctx, endpoint, bearer)
	if err != nil {
		return until, fmt.Errorf("claim %q from %s: %w", claim, endpoint, err)
	}
	value, until, err := i.distributed(ctx, token, claim, now)
	if err != nil {
		return until, fmt.Errorf("claim %q from %s: %w", claim, endpoint, err)
	}
	claims[claim] = value
	return until, nil
}

// fetchClaims gets the token that holds a claim.
func (i *issuer) fetchClaims(ctx context.Context, endpoint, bearer string) (string, error) {
	u, err := url.Parse(endpoint)
	if err != nil || u.Scheme != "https" || u.Host == "" {
		return "", errors.New("not an https URL")
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, endpoint, nil)
	if err != nil {
		return "", err
	}
	if bearer != "" {
		r.Header.Set("Authorization", "Bearer "+bearer)
	}
	resp, err := i.keys.client.Do(r)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("HTTP %d", resp.StatusCode)
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxIDToken+1))
	if err != nil {
		return "", err
	}
	if len(data) > maxIDToken {
		return "", errors.New("the answer is too long")
	}
	return strings.TrimSpace(string(data)), nil
}

// distributed verifies a token that holds a claim, and gives it.
func (i *issuer) distributed(ctx context.Context, token, claim string, now time.Time) (value any, until time.Time, err error) {
	if !isJWT(token) {
		return nil, until, errors.New("the answer is no JSON Web Token")
	}
	claims, err := decodeClaims(strings.Split(token, ".")[1])
	if err != nil {
		return nil, until, err
	}
	if until, err = i.acceptable(claims, now); err != nil {
		return nil, until, err
	}
	name, _ := claims["iss"].(string)
	keys, err := i.providers.get(i, name)
	if err != nil {
		return nil, until, err
	}
	if _, err := i.signed(ctx, keys, token); err != nil {
		return nil, until, err
	}
	value, ok := claims[claim]
	if !ok {
		return nil, until, errors.New("it is not in there")
	}
	return value, until, nil
}
