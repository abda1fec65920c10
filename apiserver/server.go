// Package apiserver is HTTP in, HTTP out: it finds out who asks and for what,
// lets authn and authz judge it, hands it to the registry, and encodes what comes back.
// One file per verb. A request is parsed once; what was authorized is what is executed.
package apiserver

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validation/path"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/lighter-k8s/lighter/aggregate"
	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/api/core"
	"github.com/lighter-k8s/lighter/audit"
	"github.com/lighter-k8s/lighter/authn"
	"github.com/lighter-k8s/lighter/authz"
	"github.com/lighter-k8s/lighter/flow"
	"github.com/lighter-k8s/lighter/registry"
)

// Server answers requests. Its exported fields are set before the first one.
type Server struct {
	Registry *registry.Registry
	Authn    authn.Authenticator
	Authz    authz.Authorizer
	Log      *slog.Logger
	Now      func() time.Time
	Version  string // "v1.37.0"

	// Kubelet reaches nodes for log, exec, attach, port-forward and proxy; nil: those answer 503.
	Kubelet *Tunnel
	// OpenID answers /.well-known/openid-configuration and /openid/v1/jwks.
	OpenID http.Handler
	// OpenAPI answers /openapi/.
	OpenAPI http.Handler
	// Several: other servers share the store.
	Several bool
	// Audit is the audit trail; nil: nothing is written down.
	Audit *audit.Trail
	// Unfit says why a request is not served here now, whoever asks; may be nil.
	Unfit func(r *http.Request) error
	// Flow is priority and fairness; nil: everybody is served at once.
	Flow *flow.Controller
	// Pages answer further paths, each exactly; may be nil.
	Pages map[string]http.Handler
	// Components are the parts of the control plane that ComponentStatuses tell of.
	Components []Check
	// Settle waits until SetCustom was called with all definitions that memory shows; may be nil.
	Settle func(ctx context.Context)

	// Aggregate passes requests on to other API servers; may be nil.
	Aggregate *aggregate.Services

	compose sync.Mutex // guards what catalog is made of
	infos   []*api.Info
	others  []aggregate.Version

	resources map[schema.GroupVersionResource]*api.Info // built-in ones
	groups    []Group                                   // theirs
	catalog   atomic.Pointer[catalog]
	ready     atomic.Pointer[[]Check]
	ending    context.Context // over when the server is about to end: watches close
	end       context.CancelFunc
	metrics   *metrics
	turns     turns
}

// Group is a group with its versions, the preferred one first.
type Group struct {
	Name     string
	Versions []string
}

// New makes a server of the given resources; groups is the order in which discovery lists them.
func New(infos []*api.Info, groups []Group) *Server {
	s := &Server{resources: map[schema.GroupVersionResource]*api.Info{}, groups: groups, metrics: newMetrics(), turns: newTurns(), Now: time.Now}
	s.ending, s.end = context.WithCancel(context.Background())
	for _, i := range infos {
		s.resources[i.GroupVersionResource] = i
	}
	s.SetCustom(nil)
	s.Measure(objects{s})
	boundCopies()
	return s
}

// End closes all watches, so that the HTTP server can shut down.
func (s *Server) End() { s.end() }

// maxBody bounds what a request may send. Source: kube-apiserver, 3 MiB.
const maxBody = 3 << 20

// timeout bounds every request that is no watch and no tunnel.
const timeout = 60 * time.Second

// ServeHTTP is the way of a request: who, may they, what.
func (s *Server) ServeHTTP(out http.ResponseWriter, r *http.Request) {
	w := &statusWriter{ResponseWriter: out}
	long := longURL(r)
	if long != nil {
		r.URL = &url.URL{Path: "/"} // nobody reads it
	}
	t := s.parse(r)
	defer s.metrics.observed(t, w)()
	identified(w, r)
	defer w.completed()
	defer func() {
		if p := recover(); p != nil {
			w.panicked(p)
			if p == http.ErrAbortHandler {
				panic(p)
			}
			s.Log.Error("request panicked", "object", r.URL.Path, "err", fmt.Sprint(p), "stack", string(debug.Stack()))
			s.fail(w, r, apierrors.NewInternalError(fmt.Errorf("the server could not complete the request: %v", p)))
		}
	}()
	var unfit error // said before a wrong credential is: it may be one that this server has not heard of yet
	if s.Unfit != nil {
		unfit = s.Unfit(r)
	}
	user, _, err := s.Authn.Authenticate(r)
	if err != nil {
		s.Log.Debug("request refused", "object", r.URL.Path, "err", err)
		if err := s.audited(w, r, t, authenticationv1.UserInfo{}); err != nil {
			s.fail(w, r, err)
			return
		}
		if unfit == nil {
			unfit = apierrors.NewUnauthorized("Unauthorized")
		}
		s.fail(w, r, unfit)
		return
	}
	s.metrics.shown(r)
	if err := s.audited(w, r, t, *user); err != nil {
		s.fail(w, r, err)
		return
	}
	if unfit != nil {
		s.fail(w, r, unfit)
		return
	}
	if long != nil {
		s.fail(w, r, long)
		return
	}
	attributes := t.attributes()
	as, err := s.impersonate(w, r, attributes, user)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	if as != user {
		w.event.Impersonated, user = as, as
	}
	attributes.User = *user
	if err := s.seated(w, r, t, &attributes); err != nil {
		s.fail(w, r, err)
		return
	}
	defer w.seats.Release()
	decision, reason, err := s.Authz.Authorize(r.Context(), attributes)
	w.event.Judged(decision, reason)
	if err := allowed(attributes, decision, reason, err); err != nil {
		s.fail(w, r, err)
		return
	}
	if err := s.serve(w, r, t, *user); err != nil {
		s.fail(w, r, err)
	}
}

// allow turns the authorizer's answer into nil or the 403 that clients know.
func (s *Server) allow(ctx context.Context, a authz.Attributes) error {
	decision, reason, err := s.Authz.Authorize(ctx, a)
	return allowed(a, decision, reason, err)
}

func allowed(a authz.Attributes, decision authz.Decision, reason string, err error) error {
	if decision == authz.Allow {
		return nil
	}
	if err != nil && reason == "" {
		reason = err.Error()
	}
	return Forbidden(a, reason)
}

// impersonate answers as whom the request wants to act, if its user may. What is said to who may not is what a mode wants, unless he has
// some of the right to impersonate for all requests.
func (s *Server) impersonate(w *statusWriter, r *http.Request, a authz.Attributes, user *authenticationv1.UserInfo) (*authenticationv1.UserInfo, error) {
	as, err := authn.ReadImpersonation(r.Header, user)
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	if as == nil {
		return user, nil
	}
	may := func(verb string, c authn.Impersonated) error {
		return s.allow(r.Context(), authz.Attributes{User: *user, Verb: verb, ResourceRequest: true, Group: c.Group, Version: "v1",
			Resource: c.Resource, Subresource: c.Subresource, Namespace: c.Namespace, Name: c.Name})
	}
	var refused error
	a.User = *user
	verb := a.Verb
	for _, m := range as.Modes {
		a.Verb = "impersonate-on:" + m.Name + ":" + verb
		refused = s.allow(r.Context(), a)
		for n := 0; n < len(m.Checks) && refused == nil; n++ {
			refused = may("impersonate:"+m.Name, m.Checks[n])
		}
		if refused == nil {
			w.event.Constraint, as.User.Groups = "impersonate:"+m.Name, slices.Concat(m.Groups, as.User.Groups)
			authn.DropImpersonation(r.Header)
			return &as.User, nil
		}
	}
	for n, c := range as.Checks {
		if err := may("impersonate", c); err != nil {
			if n == 0 && refused != nil {
				err = refused
			}
			return nil, err
		}
	}
	authn.DropImpersonation(r.Header)
	return &as.User, nil
}

// within is how long the request may take: what it asks for, at most timeout. Source: what Kubernetes 1.37 does.
func within(t *route) (time.Duration, error) {
	text := t.query.Get("timeout")
	if text == "" || t.long() {
		return timeout, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, apierrors.NewBadRequest(fmt.Sprintf("invalid timeout specified in the request URL - %v", err))
	}
	if d <= 0 || d > timeout {
		return timeout, nil
	}
	return d, nil
}

// serve executes an authorized request.
func (s *Server) serve(w http.ResponseWriter, r *http.Request, t *route, user authenticationv1.UserInfo) error {
	limit, err := within(t)
	if err != nil {
		return err
	}
	if b := s.elsewhere(t); b != nil {
		b.Forward(w, r, r.URL.Path, user, func(err error) {
			s.fail(w, r, apierrors.NewServiceUnavailable(fmt.Sprintf("error trying to reach service: %v", err)))
		})
		return nil
	}
	if t.plural == "" {
		return s.page(w, r, t)
	}
	if t.info == nil {
		return notFoundPath()
	}
	if t.namespace != "" || t.info.Namespaced || t.info.Resource == "namespaces" {
		if err := checkPath(t); err != nil {
			return err
		}
	}
	q := registry.Request{Info: t.info, Namespace: t.namespace, Name: t.name, Subresource: t.subresource, User: user, Manager: manager(t, r), Warn: warner(w),
		FieldManager: t.query.Get("fieldManager"), FieldValidation: t.query.Get("fieldValidation")}
	if e := eventOf(w); e.Writes() {
		q.Annotate = e.Annotate
	}
	if !t.info.Namespaced {
		q.Namespace = ""
	}
	if tunnel, err := s.tunnel(w, r, t, q); tunnel {
		return err
	}
	if c := t.info.Custom; c != nil {
		r = withoutProtobuf(r)
		if c.Deprecated != "" {
			q.Warn(c.Deprecated)
		}
	}
	if t.verb != "watch" {
		ctx, cancel := context.WithTimeout(r.Context(), limit)
		defer cancel()
		r = r.WithContext(ctx)
	}
	if t.subresource != "" && !known(t) {
		if t.info.Custom != nil { // Source: what Kubernetes 1.37 does
			return apierrors.NewNotFound(t.info.GroupResource(), t.name)
		}
		return notFoundPath()
	}
	if !offers(t) || r.Method == http.MethodHead { // Source: what Kubernetes 1.37 does
		return methodNotAllowed()
	}
	if text := t.info.Deprecated; text != "" && (t.verb != "patch" || patches(patchType(r))) { // what is no patch does not come so far
		s.metrics.asked(t, text)
		warner(w)(text)
	}
	dry, err := writeOptions(r, t)
	if err != nil {
		return err
	}
	q.DryRun = dry
	if t.info == core.ComponentStatus {
		return s.components(w, r, t)
	}
	switch t.verb {
	case "get":
		return s.get(w, r, t, q)
	case "list":
		return s.list(w, r, t)
	case "watch":
		return s.watch(w, r, t)
	case "create":
		return s.create(w, r, t, q)
	case "update":
		return s.update(w, r, t, q)
	case "patch":
		return s.patch(w, r, t, q)
	case "delete":
		return s.delete(w, r, t, q)
	case "deletecollection":
		return s.deleteCollection(w, r, t, q)
	}
	return methodNotAllowed()
}

// known tells whether the resource has the subresource at all.
func known(t *route) bool {
	return slices.ContainsFunc(subresources(t.info), func(sub api.Subresource) bool { return sub.Name == t.subresource })
}

// offers tells whether the resource or subresource has the verb.
func offers(t *route) bool {
	var verbs []string
	switch {
	case t.subresource == "":
		verbs = t.info.Verbs
		if (t.verb == "create") == (t.name != "") && (t.verb == "create" || t.verb == "update" || t.verb == "patch") {
			return false // objects are made in their collection and changed by their name
		}
	case t.subresource == "status" && t.info.HasStatus, t.subresource == "scale" && t.info.HasScale:
		verbs = []string{"get", "patch", "update"}
	default:
		for _, sub := range t.info.Subresources {
			if sub.Name == t.subresource {
				verbs = sub.Verbs
			}
		}
	}
	for _, v := range verbs {
		if v == t.verb {
			return true
		}
	}
	return false
}

// checkPath refuses names that no object can have.
func checkPath(t *route) error {
	for _, of := range [...][2]string{{"Namespace", t.namespace}, {"Name", t.name}} {
		what, name := of[0], of[1]
		if msgs := path.IsValidPathSegmentName(name); len(msgs) > 0 || strings.Contains(name, "\x00") {
			return apierrors.NewBadRequest(fmt.Sprintf("%s parameter invalid: %q: %s", what, name, strings.Join(msgs, ";")))
		}
	}
	return nil
}

// How much text of warnings an answer has: what is longer than longWarning is cut once all together would be more than mostWarnings,
// and what still does not fit is left out. Source: Kubernetes documentation, Dynamic Admission Control, Response.
const longWarning, mostWarnings = 256, 4096

// warner sends warnings as RFC 7234 warn headers, code 299, once each.
func warner(w http.ResponseWriter) func(string) {
	var texts []string
	total, short := 0, false
	seen := map[string]bool{}
	add := func(text string) {
		r := []rune(text)
		if short && len(r) > longWarning {
			r = r[:longWarning]
		}
		if total+len(r) <= mostWarnings {
			total += len(r)
			w.Header().Add("Warning", fmt.Sprintf("299 - %q", strings.Map(printable, string(r))))
		}
	}
	return func(text string) {
		if seen[text] {
			return
		}
		seen[text] = true
		if !short && total+utf8.RuneCountInString(text) > mostWarnings {
			total, short = 0, true
			w.Header().Del("Warning")
			for _, t := range texts {
				add(t)
			}
		}
		if !short {
			texts = append(texts, text)
		}
		add(text)
	}
}

func printable(r rune) rune {
	if r < ' ' || r == 127 {
		return ' '
	}
	return r
}
