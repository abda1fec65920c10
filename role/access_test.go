package role_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"

	"github.com/lighter-k8s/lighter/config"
	"github.com/lighter-k8s/lighter/role"
)

// judges is what a cluster may be told to ask: an issuer of tokens, a server that knows tokens, one that judges requests.
type judges struct {
	issuer, tokens, requests *httptest.Server
	key                      *ecdsa.PrivateKey

	mu    sync.Mutex
	asked []authorizationv1.SubjectAccessReviewSpec
	sick  bool // they answer nothing that is of use
}

var base64url = base64.RawURLEncoding

func newJudges(t testing.TB) *judges {
	t.Helper()
	j := &judges{}
	var err error
	if j.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	serve := func(h http.HandlerFunc) *httptest.Server {
		s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			j.mu.Lock()
			sick := j.sick
			j.mu.Unlock()
			if sick {
				http.Error(w, "not today", http.StatusTeapot)
				return
			}
			h(w, r)
		}))
		t.Cleanup(s.Close)
		return s
	}
	j.issuer = serve(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/keys") {
			point, err := j.key.PublicKey.Bytes()
			if err != nil {
				t.Error(err)
			}
			fmt.Fprintf(w, `{"keys":[{"kty":"EC","crv":"P-256","kid":"k","x":%q,"y":%q}]}`, base64url.EncodeToString(point[1:33]), base64url.EncodeToString(point[33:]))
			return
		}
		fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, j.issuer.URL, j.issuer.URL+"/keys")
	})
	j.tokens = serve(func(w http.ResponseWriter, r *http.Request) {
		var review authenticationv1.TokenReview
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
			t.Error(err)
		}
		if user, ok := strings.CutPrefix(review.Spec.Token, "i-am-"); ok {
			review.Status = authenticationv1.TokenReviewStatus{Authenticated: true, User: authenticationv1.UserInfo{Username: user}}
		}
		_ = json.NewEncoder(w).Encode(&review) // who asked sees that it is not whole
	})
	j.requests = serve(func(w http.ResponseWriter, r *http.Request) {
		var review authorizationv1.SubjectAccessReview
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
			t.Error(err)
		}
		j.mu.Lock()
		j.asked = append(j.asked, review.Spec)
		j.mu.Unlock()
		s := review.Spec
		switch a := s.ResourceAttributes; {
		case a != nil && a.Resource == "secrets":
			review.Status = authorizationv1.SubjectAccessReviewStatus{Denied: true, Reason: "secrets are nobody's business"}
		case slices.Contains(s.Groups, "oidc:readers") && a != nil && (a.Verb == "get" || a.Verb == "list"):
			review.Status = authorizationv1.SubjectAccessReviewStatus{Allowed: true, Reason: "readers read"}
		}
		_ = json.NewEncoder(w).Encode(&review) // who asked sees that it is not whole
	})
	return j
}

// questions are what was asked about requests since the last call: "list pods in ns".
func (j *judges) questions() (out []string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, s := range j.asked {
		if a := s.ResourceAttributes; a != nil {
			out = append(out, fmt.Sprintf("%s: %s %s", s.User, a.Verb, a.Resource))
		} else {
			out = append(out, fmt.Sprintf("%s: %s %s", s.User, s.NonResourceAttributes.Verb, s.NonResourceAttributes.Path))
		}
	}
	j.asked = nil
	return out
}

// token is one of the issuer's.
func (j *judges) token(t testing.TB, sub string, groups ...string) string {
	t.Helper()
	claims, err := json.Marshal(map[string]any{"iss": j.issuer.URL, "aud": "cluster", "exp": time.Now().Add(time.Hour).Unix(), "sub": sub, "groups": groups})
	if err != nil {
		t.Fatal(err)
	}
	signed := base64url.EncodeToString([]byte(`{"alg":"ES256","kid":"k"}`)) + "." + base64url.EncodeToString(claims)
	sum := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, j.key, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return signed + "." + base64url.EncodeToString(signature)
}

func pemOf(s *httptest.Server) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
}

func file(t testing.TB, content any) string {
	t.Helper()
	data, err := yaml.Marshal(content)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

type yamlMap = map[string]any

func kubeconfigOf(t testing.TB, s *httptest.Server) string {
	return file(t, yamlMap{"apiVersion": "v1", "kind": "Config", "current-context": "c",
		"clusters": []any{yamlMap{"name": "s", "cluster": yamlMap{"server": s.URL, "certificate-authority-data": pemOf(s)}}},
		"contexts": []any{yamlMap{"name": "c", "context": yamlMap{"cluster": "s"}}}})
}

// configured is a control plane that asks them all: roles after the webhook.
func (j *judges) configured(t testing.TB) *plane {
	t.Helper()
	who := file(t, yamlMap{"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration",
		"jwt": []any{yamlMap{"issuer": yamlMap{"url": j.issuer.URL, "audiences": []string{"cluster"}, "certificateAuthority": string(pemOf(j.issuer))},
			"claimMappings":       yamlMap{"username": yamlMap{"claim": "sub", "prefix": "oidc:"}, "groups": yamlMap{"claim": "groups", "prefix": "oidc:"}},
			"userValidationRules": []any{yamlMap{"expression": "user.username != 'oidc:eve'", "message": "not eve"}}}},
		"anonymous": yamlMap{"enabled": true, "conditions": []any{yamlMap{"path": "/livez"}}}})
	may := file(t, yamlMap{"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthorizationConfiguration", "authorizers": []any{
		yamlMap{"type": "Node", "name": "node"},
		yamlMap{"type": "Webhook", "name": "judge", "webhook": yamlMap{"timeout": "5s", "subjectAccessReviewVersion": "v1", "matchConditionSubjectAccessReviewVersion": "v1",
			"failurePolicy": "Deny", "connectionInfo": yamlMap{"type": "KubeConfigFile", "kubeConfigFile": kubeconfigOf(t, j.requests)},
			"matchConditions": []any{yamlMap{"expression": "!request.user.startsWith('system:')"}}}},
		yamlMap{"type": "RBAC", "name": "rbac"}}})
	p, err := start(func(c *config.Config, s *role.Server) {
		if s == nil {
			c.Server.Authentication = config.Authentication{File: who, Webhook: config.Hook{ConfigFile: kubeconfigOf(t, j.tokens), Version: "v1"}}
			c.Server.Authorization.File = may
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.end(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// client is client-go with a token.
func (p *plane) client(t testing.TB, token string, change ...func(*rest.Config)) *kubernetes.Clientset {
	t.Helper()
	c := rest.AnonymousClientConfig(p.admin)
	c.BearerToken = token
	for _, f := range change {
		f(c)
	}
	k, err := kubernetes.NewForConfig(c)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestOthersJudge is the story of a cluster whose users come from an issuer and whose requests a webhook judges, roles after it.
func TestOthersJudge(t *testing.T) {
	j := newJudges(t)
	p := j.configured(t)
	ctx := t.Context()
	ns := p.namespace(t)
	if got := j.questions(); got != nil {
		t.Errorf("the cluster's own parts and its administrator were asked about: %q", got)
	}

	ann := p.client(t, j.token(t, "ann", "readers"))
	if pods, err := ann.CoreV1().Pods(ns).List(ctx, metav1.ListOptions{LabelSelector: "app in (web)", FieldSelector: "spec.nodeName=n1"}); err != nil || len(pods.Items) != 0 {
		t.Fatalf("a reader lists pods: %v", err)
	}
	j.mu.Lock()
	asked := *j.asked[len(j.asked)-1].ResourceAttributes
	j.mu.Unlock()
	if asked.Namespace != ns || asked.Version != "v1" || asked.FieldSelector == nil || asked.FieldSelector.Requirements[0].Key != "spec.nodeName" ||
		asked.LabelSelector == nil || asked.LabelSelector.Requirements[0].Values[0] != "web" {
		t.Errorf("asked about %+v", asked)
	}
	if _, err := ann.CoreV1().Secrets(ns).List(ctx, metav1.ListOptions{}); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "nobody's business") {
		t.Errorf("what the webhook denies: %v", err)
	}
	if err := ann.CoreV1().Pods(ns).Delete(ctx, "x", metav1.DeleteOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("what nobody allows: %v", err)
	}
	if _, err := p.typed.RbacV1().RoleBindings(ns).Create(ctx, &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "ann"},
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "edit"},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "oidc:ann"}}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	within(t, 5*time.Second, "what a role allows and the webhook has no opinion on", func() error {
		err := ann.CoreV1().Pods(ns).Delete(ctx, "x", metav1.DeleteOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("got %w", err)
	})

	who, err := ann.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil || who.Status.UserInfo.Username != "oidc:ann" || !slices.Equal(who.Status.UserInfo.Groups, []string{"oidc:readers", "system:authenticated"}) {
		t.Errorf("who am I: %+v, %v", who.Status, err)
	}
	rules, err := ann.AuthorizationV1().SelfSubjectRulesReviews().Create(ctx, &authorizationv1.SelfSubjectRulesReview{Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: ns}}, metav1.CreateOptions{})
	if err != nil || !rules.Status.Incomplete || !strings.Contains(rules.Status.EvaluationError, "webhook") || len(rules.Status.ResourceRules) == 0 {
		t.Errorf("my rules: %+v, %v", rules.Status, err)
	}
	can := func(verb, resource string) authorizationv1.SubjectAccessReviewStatus {
		t.Helper()
		r, err := p.typed.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{User: "oidc:bob", Groups: []string{"oidc:readers"},
			ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: verb, Resource: resource, Namespace: ns, Version: "v1"}}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return r.Status
	}
	if s := can("get", "configmaps"); !s.Allowed || s.Reason != "readers read" {
		t.Errorf("may a reader read: %+v", s)
	}
	if s := can("get", "secrets"); s.Allowed || !s.Denied {
		t.Errorf("may a reader read secrets: %+v", s)
	}

	t.Run("impersonation", func(t *testing.T) {
		j.questions()
		as := p.client(t, j.token(t, "ann", "readers"), func(c *rest.Config) { c.Impersonate.UserName = "bob" })
		if _, err := as.CoreV1().Pods(ns).List(ctx, metav1.ListOptions{}); !apierrors.IsForbidden(err) {
			t.Errorf("got %v", err)
		}
		if got := j.questions(); !slices.Equal(got, []string{"oidc:ann: impersonate-on:user-info:list pods", "oidc:ann: impersonate users"}) {
			t.Errorf("asked %q", got)
		}
	})
	t.Run("a user whom a rule keeps out", func(t *testing.T) {
		if _, err := p.client(t, j.token(t, "eve", "readers")).CoreV1().Pods(ns).List(ctx, metav1.ListOptions{}); !apierrors.IsUnauthorized(err) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a token that only the webhook knows", func(t *testing.T) {
		dan := p.client(t, "i-am-dan")
		who, err := dan.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
		if err != nil || who.Status.UserInfo.Username != "dan" {
			t.Errorf("got %+v, %v", who, err)
		}
		r, err := p.typed.AuthenticationV1().TokenReviews().Create(ctx, &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: "i-am-dan"}}, metav1.CreateOptions{})
		if err != nil || !r.Status.Authenticated || r.Status.User.Username != "dan" || len(r.Status.Audiences) != 1 {
			t.Errorf("got %+v, %v", r.Status, err)
		}
		if a := p.as(t, "who-am-i").do(t, "GET", "/api", ""); a.code != http.StatusUnauthorized {
			t.Errorf("a token that nobody knows: HTTP %d", a.code)
		}
	})
	t.Run("nobody", func(t *testing.T) {
		for path, code := range map[string]int{"/livez": 200, "/readyz": 401, "/api": 401} {
			if a := p.as(t, "anonymous").do(t, "GET", path, ""); a.code != code {
				t.Errorf("%s: HTTP %d, want %d", path, a.code, code)
			}
		}
	})
	t.Run("servers that are not well", func(t *testing.T) {
		j.mu.Lock()
		j.sick = true
		j.mu.Unlock()
		if err := ann.CoreV1().ConfigMaps(ns).Delete(ctx, "new", metav1.DeleteOptions{}); !apierrors.IsForbidden(err) {
			t.Errorf("a judge that is not well denies, as its failurePolicy says: %v", err)
		}
		if _, err := ann.CoreV1().Pods(ns).List(ctx, metav1.ListOptions{LabelSelector: "app in (web)", FieldSelector: "spec.nodeName=n1"}); err != nil {
			t.Errorf("what it allowed before still counts: %v", err)
		}
		if a := p.as(t, "i-am-lee").do(t, "GET", "/api", ""); a.code != http.StatusUnauthorized {
			t.Errorf("a token webhook that is not well: HTTP %d", a.code)
		}
		if _, err := ann.CoreV1().Pods(ns).List(ctx, metav1.ListOptions{LabelSelector: "app in (web)", FieldSelector: "spec.nodeName=n1"}); err != nil {
			t.Errorf("an issuer that is not well: %v", err)
		}
	})
	t.Run("metrics", func(t *testing.T) {
		a := p.as(t, "admin").do(t, "GET", "/metrics", "")
		for _, name := range []string{`authentication_attempts{result="success"}`, `authentication_attempts{result="error"}`, `apiserver_authorization_decisions_total{decision="denied",name="judge",type="Webhook"}`,
			`apiserver_authorization_decisions_total{decision="allowed",name="rbac",type="RBAC"}`, "apiserver_authorization_webhook_evaluations_total", "apiserver_authentication_jwt_authenticator_jwks_fetch_last_timestamp_seconds",
			"apiserver_authentication_config_controller_last_config_info", "apiserver_authorization_config_controller_last_config_info", `apiserver_delegated_authn_request_total{code="200"}`} {
			if !strings.Contains(string(a.body), "\n"+name) {
				t.Errorf("%s is not there", name)
			}
		}
	})
}

// grant gives the user rules in a namespace or, when that is "", in the whole cluster, and waits until they count: servers hear of a binding a moment later.
func grant(t testing.TB, p *plane, ns, user string, rules ...rbacv1.PolicyRule) {
	t.Helper()
	meta := metav1.ObjectMeta{GenerateName: "grant-"}
	ref := rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole"}
	subjects := []rbacv1.Subject{{Kind: "User", APIGroup: rbacv1.GroupName, Name: user}}
	if rbac := p.typed.RbacV1(); ns == "" {
		ref.Name = must(rbac.ClusterRoles().Create(t.Context(), &rbacv1.ClusterRole{ObjectMeta: meta, Rules: rules}, metav1.CreateOptions{}))(t).Name
		must(rbac.ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{ObjectMeta: meta, RoleRef: ref, Subjects: subjects}, metav1.CreateOptions{}))(t)
	} else {
		ref.Kind, ref.Name = "Role", must(rbac.Roles(ns).Create(t.Context(), &rbacv1.Role{ObjectMeta: meta, Rules: rules}, metav1.CreateOptions{}))(t).Name
		must(rbac.RoleBindings(ns).Create(t.Context(), &rbacv1.RoleBinding{ObjectMeta: meta, RoleRef: ref, Subjects: subjects}, metav1.CreateOptions{}))(t)
	}
	within(t, 5*time.Second, "what "+user+" may", func() error {
		review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{User: user,
			ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: ns, Verb: rules[0].Verbs[0], Group: rules[0].APIGroups[0], Resource: rules[0].Resources[0]}}}
		made, err := p.typed.AuthorizationV1().SubjectAccessReviews().Create(t.Context(), review, metav1.CreateOptions{})
		if err == nil && !made.Status.Allowed {
			err = errors.New("not yet")
		}
		return err
	})
}

// TestBadAccessFiles: a server does not start with them, and says where the mistake is.
func TestBadAccessFiles(t *testing.T) {
	tests := map[string]struct {
		change func(c *config.Config)
		want   string
	}{
		"authentication": {func(c *config.Config) {
			c.Server.Authentication.File = file(t, yamlMap{"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration", "jwt": []any{yamlMap{"issuer": yamlMap{"url": "http://x"}}}})
		}, "jwt[0].issuer.url"},
		"authorization": {func(c *config.Config) {
			c.Server.Authorization.File = file(t, yamlMap{"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthorizationConfiguration", "authorizers": []any{yamlMap{"type": "Dice", "name": "d"}}})
		}, "authorizers[0].type"},
		"a token webhook": {func(c *config.Config) { c.Server.Authentication.Webhook.ConfigFile = "/none" }, "/none"},
		"a judge": {func(c *config.Config) {
			c.Server.Authorization = config.Authorization{Modes: []string{"Webhook"}, Webhook: config.JudgeHook{ConfigFile: "/none"}}
		}, "/none"},
		"no file": {func(c *config.Config) { c.Server.Authentication.File = "/none" }, "/none"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p, err := start(func(c *config.Config, s *role.Server) {
				if s == nil {
					tt.change(c)
				}
			})
			if err == nil {
				t.Fatal("it starts", p.end())
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// TestNodesEvictTheirOwn: a kubelet evicts pods of its own node, whatever it says of itself in the request.
func TestNodesEvictTheirOwn(t *testing.T) {
	p := api(t)
	ns := p.namespace(t)
	for name, node := range map[string]string{"mine": "evict-1", "theirs": "evict-2", "nobodys": ""} {
		spec := strings.Replace(podSpec, `"spec":{`, fmt.Sprintf(`"spec":{"nodeName":%q,`, node), 1)
		if a := p.as(t, "admin").do(t, "POST", "/api/v1/namespaces/"+ns+"/pods", text("v1", "Pod", name, spec)); a.code != 201 {
			t.Fatalf("HTTP %d %s", a.code, a.body)
		}
	}
	// A budget that covers their pod, which runs, allows one disruption.
	budget, err := p.typed.PolicyV1().PodDisruptionBudgets(ns).Create(t.Context(), &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Name: "b"},
		Spec: policyv1.PodDisruptionBudgetSpec{MinAvailable: ptr.To(intstr.FromInt32(0)), Selector: &metav1.LabelSelector{}}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	budget.Status = policyv1.PodDisruptionBudgetStatus{DisruptionsAllowed: 1, CurrentHealthy: 1, ExpectedPods: 1, ObservedGeneration: budget.Generation}
	if _, err := p.typed.PolicyV1().PodDisruptionBudgets(ns).UpdateStatus(t.Context(), budget, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if a := p.as(t, "admin").do(t, "PATCH", "/api/v1/namespaces/"+ns+"/pods/theirs/status", `{"status":{"phase":"Running"}}`, "Content-Type: application/merge-patch+json"); a.code != 200 {
		t.Fatalf("HTTP %d %s", a.code, a.body)
	}
	for name, code := range map[string]int{"theirs": 403, "nobodys": 403, "none": 404, "mine": 201} {
		a := p.as(t, "admin").do(t, "POST", "/api/v1/namespaces/"+ns+"/pods/"+name+"/eviction", text("policy/v1", "Eviction", name),
			"Impersonate-User: system:node:evict-1", "Impersonate-Group: system:nodes")
		if a.code != code {
			t.Errorf("%s: HTTP %d, want %d: %s", name, a.code, code, a.body)
		}
	}
	if budget, err = p.typed.PolicyV1().PodDisruptionBudgets(ns).Get(t.Context(), "b", metav1.GetOptions{}); err != nil || budget.Status.DisruptionsAllowed != 1 {
		t.Errorf("an eviction that was refused took from the budget: %+v, %v", budget.Status, err)
	}
}
