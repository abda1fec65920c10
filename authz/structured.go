package authz

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/apis/apiserver/install"
	"k8s.io/apiserver/pkg/apis/apiserver/validation"
	"k8s.io/apiserver/pkg/authorization/cel"
	celenvironment "k8s.io/apiserver/pkg/cel/environment"

	"github.com/lighter-k8s/lighter/callout"
)

// Types of authorizers in a configuration. Source: kube-apiserver, --authorization-mode.
const (
	TypeNode        = "Node"
	TypeRBAC        = "RBAC"
	TypeWebhook     = string(apiserver.TypeWebhook)
	TypeABAC        = "ABAC"
	TypeAlwaysAllow = "AlwaysAllow"
	TypeAlwaysDeny  = "AlwaysDeny"
)

// Structured asks the authorizers of an AuthorizationConfiguration (apiserver.config.k8s.io) in their order, until one has an opinion; members of
// SuperGroup are allowed first. The configuration may change while it runs. It has one before it is asked. Safe for concurrent use.
type Structured struct {
	Node    Authorizer // of the type Node
	RBAC    *RBAC      // of the type RBAC
	Log     *slog.Logger
	Metrics *Metrics // may be nil
	// Policies is the file of the type ABAC, read when a configuration is put to work.
	Policies string

	current atomic.Pointer[[]judge]
}

// judge is one authorizer of a configuration.
type judge struct {
	kind, name string
	Authorizer
	allowed, denied counter
}

// expressions compiles CEL over SubjectAccessReviews, with the libraries of Kubernetes 1.37. It is made at first use.
var expressions = sync.OnceValue(func() cel.Compiler {
	return cel.NewCompiler(celenvironment.MustBaseEnvSet(version.MajorMinor(1, 37)))
})

// configurations decodes, strictly. It is made at first use, as few clusters need it.
var configurations = sync.OnceValue(func() runtime.Decoder {
	scheme := runtime.NewScheme()
	install.Install(scheme)
	return serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDecoder()
})

// parseConfiguration reads and checks a file's content. Source: Kubernetes documentation, apiserver-config.v1, AuthorizationConfiguration.
func parseConfiguration(data []byte) (*apiserver.AuthorizationConfiguration, error) {
	obj, _, err := configurations().Decode(data, nil, nil)
	if err != nil {
		return nil, err
	}
	c, ok := obj.(*apiserver.AuthorizationConfiguration)
	if !ok {
		return nil, fmt.Errorf("kind %s: want AuthorizationConfiguration", obj.GetObjectKind().GroupVersionKind().Kind)
	}
	return c, check(c)
}

// check is what is published, and that a server's judge is not the server itself.
func check(c *apiserver.AuthorizationConfiguration) error {
	errs := validation.ValidateAuthorizationConfiguration(expressions(), nil, c, sets.New(TypeNode, TypeRBAC, TypeWebhook, TypeABAC, TypeAlwaysAllow, TypeAlwaysDeny), sets.New(TypeWebhook))
	for i, a := range c.Authorizers {
		if a.Webhook != nil && a.Webhook.ConnectionInfo.Type == apiserver.AuthorizationWebhookConnectionInfoTypeInCluster {
			errs = append(errs, field.Forbidden(field.NewPath("authorizers").Index(i).Child("webhook", "connectionInfo", "type"), "an API server cannot ask itself: want KubeConfigFile"))
		}
	}
	return errs.ToAggregate()
}

// Use puts a configuration to work, in place of the one before. An error leaves that as it was.
func (s *Structured) Use(data []byte) error {
	c, err := parseConfiguration(data)
	if err != nil {
		return err
	}
	return s.use(c)
}

// Hook is the webhook of a short configuration, by flags.
type Hook struct {
	Kubeconfig, Version            string
	AuthorizedTTL, UnauthorizedTTL time.Duration // 0: such answers are not kept
}

// UseModes puts a short configuration to work: types in order, one webhook at most. Source: kube-apiserver, --authorization-mode.
func (s *Structured) UseModes(modes []string, h Hook) error {
	c := &apiserver.AuthorizationConfiguration{}
	for _, mode := range modes {
		a := apiserver.AuthorizerConfiguration{Type: apiserver.AuthorizerType(mode)}
		if mode != TypeWebhook {
			a.Name = strings.ToLower(mode)
		} else {
			a.Name = "default"
			a.Webhook = &apiserver.WebhookConfiguration{Timeout: metav1.Duration{Duration: 30 * time.Second}, SubjectAccessReviewVersion: h.Version,
				MatchConditionSubjectAccessReviewVersion: "v1", FailurePolicy: apiserver.FailurePolicyNoOpinion,
				AuthorizedTTL: metav1.Duration{Duration: h.AuthorizedTTL}, CacheAuthorizedRequests: h.AuthorizedTTL > 0,
				UnauthorizedTTL: metav1.Duration{Duration: h.UnauthorizedTTL}, CacheUnauthorizedRequests: h.UnauthorizedTTL > 0,
				ConnectionInfo: apiserver.WebhookConnectionInfo{Type: apiserver.AuthorizationWebhookConnectionInfoTypeKubeConfigFile, KubeConfigFile: &h.Kubeconfig}}
		}
		c.Authorizers = append(c.Authorizers, a)
	}
	return s.use(c)
}

func (s *Structured) use(c *apiserver.AuthorizationConfiguration) error {
	var next []judge
	for _, a := range c.Authorizers {
		j := judge{kind: string(a.Type), name: a.Name}
		switch j.kind {
		case TypeNode:
			j.Authorizer = s.Node
		case TypeRBAC:
			j.Authorizer = s.RBAC
		case TypeAlwaysAllow, TypeAlwaysDeny:
			j.Authorizer = always(j.kind == TypeAlwaysAllow)
		case TypeABAC:
			if s.Policies == "" {
				return fmt.Errorf("authorizer %s: type ABAC needs a file of policies, --authorization-policy-file", a.Name)
			}
			policies, err := readPolicies(s.Policies)
			if err != nil {
				return fmt.Errorf("authorizer %s: %w", a.Name, err)
			}
			j.Authorizer = policies
		case TypeWebhook:
			server, err := callout.FromKubeconfig(*a.Webhook.ConnectionInfo.KubeConfigFile)
			if err == nil {
				j.Authorizer, err = newWebhook(a.Name, a.Webhook, server, s.Log, s.Metrics)
			}
			if err != nil {
				return fmt.Errorf("authorizer %s: %w", a.Name, err)
			}
		default:
			return fmt.Errorf("authorizer %s: type %q is not known", a.Name, a.Type)
		}
		j.allowed, j.denied = s.Metrics.decisions(j.kind, j.name)
		next = append(next, j)
	}
	if before := s.current.Swap(&next); before != nil {
		for _, j := range *before {
			if w, ok := j.Authorizer.(*webhook); ok {
				w.server.Close()
			}
		}
	}
	return nil
}

// Authorize implements Authorizer.
func (s *Structured) Authorize(ctx context.Context, a Attributes) (Decision, string, error) {
	if slices.Contains(a.User.Groups, SuperGroup) {
		return Allow, "", nil
	}
	var reasons []byte
	var errs []error
	judges := *s.current.Load()
	for n := range judges {
		j := &judges[n]
		d, reason, err := j.Authorize(ctx, a)
		switch d {
		case Allow:
			j.allowed.inc()
			return d, reason, err
		case Deny:
			j.denied.inc()
			return d, reason, err
		}
		if reason != "" {
			if reasons != nil {
				reasons = append(reasons, '\n')
			}
			reasons = append(reasons, reason...)
		}
		if err != nil {
			errs = append(errs, err)
		}
	}
	return NoOpinion, string(reasons), errors.Join(errs...)
}

// Rules answers a SelfSubjectRulesReview: what the user may do in a namespace, as far as the authorizers can tell.
func (s *Structured) Rules(user *authenticationv1.UserInfo, namespace string) authorizationv1.SubjectRulesReviewStatus {
	var views rulesOf
	for _, j := range *s.current.Load() {
		switch j.kind {
		case TypeABAC:
			views.more = append(views.more, j.Authorizer.(abac).rules(user, namespace)...)
		case TypeAlwaysAllow, TypeAlwaysDeny:
			views.more = append(views.more, j.Authorizer.(always).rules()...)
		case TypeRBAC:
			views.rbac = s.RBAC
		case TypeNode:
			views.node = true
		case TypeWebhook:
			views.errs = append(views.errs, errors.New("webhook authorizer does not support user rule resolution"))
		}
	}
	return views.status(user, namespace)
}
