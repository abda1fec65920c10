package authn

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/apis/apiserver/install"
	"k8s.io/apiserver/pkg/apis/apiserver/validation"
	"k8s.io/apiserver/pkg/authentication/cel"
	"k8s.io/apiserver/pkg/cel/environment"
)

// Structured authenticates as an AuthenticationConfiguration says (apiserver.config.k8s.io): by tokens of OpenID Connect issuers, and whom it
// lets be nobody. The configuration may change while it runs. The zero value knows no issuer and AnonymousAllowed. Safe for concurrent use.
type Structured struct {
	// Own are the API server's audiences and Issuer who signs service account tokens, whose tokens no other authenticator may claim.
	Own    []string
	Issuer string
	Log    *slog.Logger
	// Metrics may be nil.
	Metrics *Metrics

	algorithms []string // that may sign; none: all that are known. Set before Use
	current    atomic.Pointer[generation]
}

// generation is one configuration at work. It is never changed.
type generation struct {
	issuers   map[string]*issuer // by URL
	anonymous *apiserver.AnonymousAuthConfig
	verified  cache[*idToken]
}

// configurations decodes, strictly. It is made at first use, as few clusters need it.
var configurations = sync.OnceValue(func() runtime.Decoder {
	scheme := runtime.NewScheme()
	install.Install(scheme)
	return serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDecoder()
})

// expressions compiles CEL over claims and users, with the libraries of Kubernetes 1.37.
var expressions = sync.OnceValue(func() cel.Compiler {
	return cel.NewCompiler(environment.MustBaseEnvSet(version.MajorMinor(1, 37)))
})

// parseConfiguration reads and checks a file's content. Source: Kubernetes documentation, apiserver-config.v1, AuthenticationConfiguration.
func parseConfiguration(data []byte, own string) (*apiserver.AuthenticationConfiguration, error) {
	obj, _, err := configurations().Decode(data, nil, nil)
	if err != nil {
		return nil, err
	}
	c, ok := obj.(*apiserver.AuthenticationConfiguration)
	if !ok {
		return nil, fmt.Errorf("kind %s: want AuthenticationConfiguration", obj.GetObjectKind().GroupVersionKind().Kind)
	}
	errs := validation.ValidateAuthenticationConfiguration(expressions(), c, []string{own})
	for i, j := range c.JWT {
		if j.Issuer.EgressSelectorType != "" {
			errs = append(errs, field.Forbidden(field.NewPath("jwt").Index(i).Child("issuer", "egressSelectorType"), "there is no egress selector: connections are made directly"))
		}
	}
	return c, errs.ToAggregate()
}

// Use puts a configuration to work, in place of the one before. An error leaves that as it was. It waits for no issuer.
func (s *Structured) Use(data []byte) error {
	next, err := s.generation(data)
	if err == nil {
		s.current.Store(next)
	}
	return err
}

// Change is Use for a server that already serves: issuers that are new or changed must show their keys before ctx ends, so that a mistake locks
// nobody out.
func (s *Structured) Change(ctx context.Context, data []byte) error {
	next, err := s.generation(data)
	if err != nil {
		return err
	}
	for url, i := range next.issuers {
		if _, err := i.keys.get(ctx); err != nil {
			return fmt.Errorf("issuer %s: %w", url, err)
		}
	}
	s.current.Store(next)
	return nil
}

func (s *Structured) generation(data []byte) (*generation, error) {
	c, err := parseConfiguration(data, s.Issuer)
	if err != nil {
		return nil, err
	}
	next := &generation{issuers: map[string]*issuer{}, anonymous: c.Anonymous, verified: cache[*idToken]{limit: 8192}}
	before := s.current.Load()
	for _, j := range c.JWT {
		made, err := s.newIssuer(j)
		if err != nil {
			return nil, fmt.Errorf("issuer %s: %w", j.Issuer.URL, err)
		}
		if before != nil {
			made.adopt(before.issuers[j.Issuer.URL])
		}
		next.issuers[j.Issuer.URL] = made
	}
	return next, nil
}

// Run fetches the issuers' keys, so that the first token need not wait, and anew when they are old, so that a key that was withdrawn goes;
// until ctx ends.
func (s *Structured) Run(ctx context.Context) error {
	tick := time.NewTicker(betweenFetches)
	defer tick.Stop()
	for {
		if g := s.current.Load(); g != nil {
			for url, i := range g.issuers {
				if err := i.keys.refresh(ctx); err != nil && ctx.Err() == nil {
					s.Log.Warn("keys of a token issuer not fetched", "object", url, "err", err)
				}
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// Anonymous reports whether nobody may ask for a path.
func (s *Structured) Anonymous(path string) bool {
	g := s.current.Load()
	if g == nil || g.anonymous == nil {
		return AnonymousAllowed(path)
	}
	if !g.anonymous.Enabled || len(g.anonymous.Conditions) == 0 {
		return g.anonymous.Enabled
	}
	for _, c := range g.anonymous.Conditions {
		if c.Path == path {
			return true
		}
	}
	return false
}

// AuthenticateToken implements TokenAuthenticator: nil, nil, nil for tokens of issuers that the configuration does not name.
func (s *Structured) AuthenticateToken(ctx context.Context, token string, wanted []string) (*authenticationv1.UserInfo, []string, error) {
	g := s.current.Load()
	if g == nil || len(g.issuers) == 0 || !isJWT(token) {
		return nil, nil, nil
	}
	user, err := g.authenticate(ctx, token)
	if user == nil || err != nil {
		return nil, nil, err
	}
	audiences, err := agnostic(s.Own, wanted)
	if err != nil {
		return nil, nil, err
	}
	return user, audiences, nil
}

// agnostic is what a proof that knows nothing of audiences is good for: the API server's own, as far as they are wanted (nil: all).
func agnostic(own, wanted []string) ([]string, error) {
	if wanted == nil {
		return own, nil
	}
	if common := intersect(own, wanted); common != nil {
		return common, nil
	}
	return nil, fmt.Errorf("token is for %q, not for %q", own, wanted)
}

func intersect(some, others []string) (common []string) {
	if len(some) == 1 && slices.Contains(others, some[0]) {
		return some // nothing to be made, in the common case
	}
	for _, a := range some {
		if slices.Contains(others, a) {
			common = append(common, a)
		}
	}
	return common
}
