package role

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/lighter-k8s/lighter/authn"
	"github.com/lighter-k8s/lighter/authz"
	"github.com/lighter-k8s/lighter/callout"
	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/config"
	"github.com/lighter-k8s/lighter/pki"
	"github.com/lighter-k8s/lighter/registry"
)

// view is a view of the server's own memory, for those who judge requests and so cannot be judged.
func view[T client.Object](s *Server, k client.Kind[T]) client.TypedView[T] {
	return client.TypedView[T]{View: s.Direct.View(k.Resource, client.Selection{})}
}

// access makes the judges: who is asking, and may they.
func (s *Server) access(ctx context.Context) (err error) {
	pods, nodes := view(s, client.Pods), view(s, client.Nodes)
	if err := s.useGiven(); err != nil {
		return err
	}
	issuer := s.Config.Server.Given.Issuer
	if issuer == "" {
		issuer = "https://kubernetes.default.svc." + s.Config.Server.Domain
	}
	s.tokens, err = authn.NewTokens(issuer, nil, s.PKI.TokenSigner(), nil, authn.Views{ServiceAccounts: view(s, client.ServiceAccounts), Pods: pods,
		Secrets: view(s, client.Secrets), Nodes: nodes})
	if err != nil {
		return err
	}
	if err := s.useTokenKeys(ctx); err != nil {
		return err
	}
	if err := s.authenticators(issuer); err != nil {
		return err
	}
	s.rbac = authz.NewRBAC(ctx, authz.RBACViews{Roles: view(s, client.Roles), RoleBindings: view(s, client.RoleBindings),
		ClusterRoles: view(s, client.ClusterRoles), ClusterRoleBindings: view(s, client.ClusterRoleBindings)})
	s.judges = &authz.Structured{RBAC: s.rbac, Policies: s.Config.Server.Authorization.PolicyFile, Log: s.Log.With("part", "authorization"), Metrics: authz.NewMetrics(),
		Node: authz.NewNode(authz.NodeViews{Pods: pods, PersistentVolumeClaims: view(s, client.PersistentVolumeClaims),
			PersistentVolumes: view(s, client.PersistentVolumes), VolumeAttachments: view(s, client.VolumeAttachments)})}
	s.Direct.Authz = s.judges
	s.measures = append(s.measures, s.judges.Metrics.All()...)
	return s.authorizers()
}

// authorizers puts those to work that the configuration names.
func (s *Server) authorizers() error {
	c := s.Config.Server.Authorization
	if c.File == "" {
		hook := authz.Hook{Kubeconfig: c.Webhook.ConfigFile, Version: c.Webhook.Version,
			AuthorizedTTL: config.Duration(c.Webhook.AuthorizedTTL), UnauthorizedTTL: config.Duration(c.Webhook.UnauthorizedTTL)}
		return s.judges.UseModes(c.Modes, hook)
	}
	f, err := config.Follow(c.File, "apiserver_authorization_config_controller", s.identity, s.judges.Use,
		func(_ context.Context, data []byte) error { return s.judges.Use(data) }, s.judges.Log)
	if err != nil {
		return fmt.Errorf("authorization configuration %w", err)
	}
	s.measures = append(s.measures, f.Metrics()...)
	s.runs = append(s.runs, f.Run)
	return nil
}

// authenticators are who may say who asks: the cluster itself, then those whom the configuration names.
func (s *Server) authenticators(issuer string) error {
	c, log := s.Config.Server.Authentication, s.Log.With("part", "authentication")
	metrics := authn.NewMetrics(s.identity)
	s.measures = append(append(s.measures, metrics.All()...), s.tokens.Metrics()...)
	structured := &authn.Structured{Own: s.tokens.Audiences(), Issuer: issuer, Log: log, Metrics: metrics}
	s.bearer = authn.Bearer{s.tokens, authn.Bootstrap{Secrets: view(s, client.Secrets)}}
	if c.File != "" {
		f, err := config.Follow(c.File, "apiserver_authentication_config_controller", s.identity, structured.Use, structured.Change, log)
		if err != nil {
			return fmt.Errorf("authentication configuration %w", err)
		}
		s.measures = append(s.measures, f.Metrics()...)
		s.runs = append(s.runs, f.Run, structured.Run)
		s.bearer = append(s.bearer, structured)
	}
	if o := c.OIDC; o.Issuer != "" {
		if err := structured.UseOIDC(authn.OIDC{Issuer: o.Issuer, ClientID: o.ClientID, UsernameClaim: o.UsernameClaim, UsernamePrefix: o.UsernamePrefix,
			GroupsClaim: o.GroupsClaim, GroupsPrefix: o.GroupsPrefix, RequiredClaims: o.RequiredClaims, CAFile: o.CA, SigningAlgs: o.SigningAlgs}); err != nil {
			return fmt.Errorf("--oidc-issuer-url %s: %w", o.Issuer, err)
		}
		s.runs = append(s.runs, structured.Run)
		s.bearer = append(s.bearer, structured)
	}
	if c.Webhook.ConfigFile != "" {
		server, err := callout.FromKubeconfig(c.Webhook.ConfigFile)
		if err != nil {
			return fmt.Errorf("authentication token webhook: %w", err)
		}
		s.bearer = append(s.bearer, authn.NewWebhook(server, c.Webhook.Version, s.tokens.Audiences(), config.Duration(c.Webhook.CacheTTL), log, metrics))
	}
	s.authn = metrics.Measured(authn.Any(structured.Anonymous, authn.RequestHeader(s.PKI.Proxy.Pool, pki.FrontProxyUser), authn.NewCertificates(s.clientRoots().Pool), s.bearer))
	return nil
}

// openID answers what others need to verify service account tokens.
func (s *Server) openID(w http.ResponseWriter, r *http.Request) {
	var data []byte
	var err error
	media := "application/json"
	if strings.HasSuffix(r.URL.Path, "/jwks") {
		media = "application/jwk-set+json"
		data, err = s.tokens.Keys()
	} else {
		data, err = s.tokens.Discovery("https://" + s.Address())
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", media)
	w.Header().Set("Cache-Control", "public, max-age=3600")
	_, _ = w.Write(data) // the client is gone if it fails
}

// reviews answers the virtual resources: tokens, token reviews, access reviews.
func (s *Server) reviews(reg *registry.Registry) {
	reg.Handle("serviceaccounts/token", func(ctx context.Context, req registry.Request, obj runtime.Object) (runtime.Object, error) {
		item, err := reg.Get(ctx, registry.Request{Info: req.Info, Namespace: req.Namespace, Name: req.Name}, true)
		if err != nil {
			return nil, err
		}
		account, err := item.Object()
		if err != nil {
			return nil, apierrors.NewInternalError(err)
		}
		return s.tokens.Issue(account.(*corev1.ServiceAccount), obj.(*authenticationv1.TokenRequest))
	})
	reg.Handle("tokenreviews", func(ctx context.Context, _ registry.Request, obj runtime.Object) (runtime.Object, error) {
		r := obj.(*authenticationv1.TokenReview)
		if r.Spec.Token == "" {
			return nil, apierrors.NewBadRequest("token is required for TokenReview in authentication")
		}
		return s.bearer.Review(ctx, r), nil
	})
	reg.Handle("selfsubjectreviews", func(_ context.Context, req registry.Request, obj runtime.Object) (runtime.Object, error) {
		return &authenticationv1.SelfSubjectReview{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: metav1.NewTime(reg.Now().UTC())},
			Status: authenticationv1.SelfSubjectReviewStatus{UserInfo: req.User}}, nil
	})
	reg.Handle("subjectaccessreviews", func(ctx context.Context, _ registry.Request, obj runtime.Object) (runtime.Object, error) {
		r := obj.(*authorizationv1.SubjectAccessReview)
		r.Status = authz.Review(ctx, s.Direct.Authz, r.Spec)
		return r, nil
	})
	reg.Handle("localsubjectaccessreviews", func(ctx context.Context, req registry.Request, obj runtime.Object) (runtime.Object, error) {
		r := obj.(*authorizationv1.LocalSubjectAccessReview)
		if r.Spec.ResourceAttributes == nil || r.Spec.ResourceAttributes.Namespace != req.Namespace {
			return nil, apierrors.NewBadRequest(fmt.Sprintf("spec.resourceAttributes.namespace must match namespace: %q", req.Namespace))
		}
		r.Status = authz.Review(ctx, s.Direct.Authz, r.Spec)
		return r, nil
	})
	reg.Handle("selfsubjectaccessreviews", func(ctx context.Context, req registry.Request, obj runtime.Object) (runtime.Object, error) {
		r := obj.(*authorizationv1.SelfSubjectAccessReview)
		r.Status = authz.Review(ctx, s.Direct.Authz, authz.SelfSpec(&req.User, r.Spec))
		return r, nil
	})
	reg.Handle("selfsubjectrulesreviews", func(_ context.Context, req registry.Request, obj runtime.Object) (runtime.Object, error) {
		r := obj.(*authorizationv1.SelfSubjectRulesReview)
		if r.Spec.Namespace == "" {
			return nil, apierrors.NewBadRequest("no namespace on request")
		}
		return &authorizationv1.SelfSubjectRulesReview{Status: s.judges.Rules(&req.User, r.Spec.Namespace)}, nil
	})
}
