package authz

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/client/clienttest"
)

// cluster is RBAC over views that a test fills. Roles and bindings go where their type says.
type cluster struct {
	*RBAC
	roles, bindings, clusterRoles, clusterBindings *clienttest.View
}

func newCluster(t testing.TB, objects ...client.Object) *cluster {
	t.Helper()
	c := &cluster{}
	var v RBACViews
	v.Roles, c.roles = clienttest.Typed[*rbacv1.Role]()
	v.RoleBindings, c.bindings = clienttest.Typed[*rbacv1.RoleBinding]()
	v.ClusterRoles, c.clusterRoles = clienttest.Typed[*rbacv1.ClusterRole]()
	v.ClusterRoleBindings, c.clusterBindings = clienttest.Typed[*rbacv1.ClusterRoleBinding]()
	for _, o := range objects {
		c.set(o)
	}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	c.RBAC = NewRBAC(ctx, v)
	if err := c.WaitSynced(ctx); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *cluster) set(o client.Object) {
	switch o.(type) {
	case *rbacv1.Role:
		c.roles.Set(o)
	case *rbacv1.RoleBinding:
		c.bindings.Set(o)
	case *rbacv1.ClusterRole:
		c.clusterRoles.Set(o)
	case *rbacv1.ClusterRoleBinding:
		c.clusterBindings.Set(o)
	}
}

func ann(groups ...string) authenticationv1.UserInfo {
	return authenticationv1.UserInfo{Username: "ann", Groups: append(groups, "system:authenticated")}
}

// ask reads a request in words: "get pods/log web/p1 in apps" or "get /healthz".
// The object is namespace/name; "-" stands for no name, no slash for the whole cluster.
func ask(u authenticationv1.UserInfo, words string) Attributes {
	w := strings.Fields(words)
	a := Attributes{User: u, Verb: w[0], Version: "v1"}
	if strings.HasPrefix(w[1], "/") {
		a.Path = w[1]
		return a
	}
	a.ResourceRequest = true
	a.Resource, a.Subresource, _ = strings.Cut(w[1], "/")
	if len(w) > 2 {
		ns, name, ok := strings.Cut(w[2], "/")
		if !ok {
			ns, name = "", ns
		}
		a.Namespace, a.Name = ns, strings.TrimPrefix(name, "-")
	}
	for i := 3; i+1 < len(w); i += 2 {
		switch w[i] {
		case "in":
			a.Group = w[i+1]
		case "where":
			a.FieldSelector = w[i+1]
		}
	}
	return a
}

func TestRules(t *testing.T) {
	tests := map[string]struct {
		rule    rbacv1.PolicyRule
		yes, no string // requests, separated by ";"
	}{
		"one verb on one resource": {rule("get", "core", "pods"), "get pods a/p; get pods a/-", "list pods a/-; get pods/log a/p; get pods a/p in apps; get podsx a/p; get /pods"},
		"every verb":               {rule("*", "core", "pods"), "get pods a/p; escalate pods a/p", "get pods/log a/p"},
		"every resource":           {rule("get", "core", "*"), "get pods a/p; get pods/log a/p", "get pods a/p in apps"},
		"every group":              {rule("get", "*", "pods"), "get pods a/p in apps", "get deployments a/p in apps"},
		"a subresource":            {rule("get", "core", "pods/log"), "get pods/log a/p", "get pods a/p; get pods/exec a/p; get services/log a/p"},
		"a subresource everywhere": {rule("get", "*", "*/scale"), "get deployments/scale a/d in apps; get x/scale a/x in y", "get deployments a/d in apps; get deployments/status a/d in apps"},
		"one name":                 {rule("get", "core", "pods", "p"), "get pods a/p", "get pods a/q; get pods a/-; list pods a/-"},
		"paths":                    {paths("get", "/healthz", "/api/*"), "get /healthz; get /api/; get /api/v1", "get /healthz/x; get /api; post /healthz; get api a/v1"},
		"every path":               {paths("get", "*"), "get /; get /x/y", "get pods a/p"},
		"nothing":                  {rbacv1.PolicyRule{}, "", "get pods a/p; get /x"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			for want, list := range map[bool]string{true: tt.yes, false: tt.no} {
				for words := range strings.SplitSeq(list, ";") {
					if words == "" {
						continue
					}
					a := ask(ann(), words)
					if got := allows(&tt.rule, &a); got != want {
						t.Errorf("%q: got %v", words, got)
					}
				}
			}
		})
	}
}

func TestAuthorize(t *testing.T) {
	web, other := "web", "other"
	toClusterRole := func(b *rbacv1.RoleBinding) *rbacv1.RoleBinding { b.RoleRef.Kind = "ClusterRole"; return b }
	objects := []client.Object{
		clusterRole("reader", rule(read, "core", "pods"), paths("get", "/metrics")),
		clusterRole("nodes", rule(read, "core", "nodes")),
		role(web, "writer", rule("create", "core", "pods")),
		clusterBinding("ops-read", "reader", groups("ops")...),
		clusterBinding("bot-nodes", "nodes", account(web, "bot")),
		bindingIn(web, "ann-writes", "writer", user("ann")),
		toClusterRole(bindingIn(other, "ann-reads", "reader", user("ann"))),
		toClusterRole(bindingIn(web, "bot-reads", "reader", account("", "bot"))),
		clusterBinding("dangling", "gone", user("lost")),
		clusterBinding("account without namespace", "reader", account("", "stray")),
	}
	c := newCluster(t, objects...)
	bot := authenticationv1.UserInfo{Username: "system:serviceaccount:web:bot"}
	named := func(n string) authenticationv1.UserInfo { return authenticationv1.UserInfo{Username: n} }
	tests := map[string]struct {
		a      Attributes
		reason string // "" is no opinion
	}{
		"by group, whole cluster":              {ask(ann("ops"), "list pods"), `RBAC: allowed by ClusterRoleBinding "ops-read" of ClusterRole "reader" to Group "ops"`},
		"by group, in a namespace":             {ask(ann("ops"), "get pods x/p"), `RBAC: allowed by ClusterRoleBinding "ops-read" of ClusterRole "reader" to Group "ops"`},
		"by group, a path":                     {ask(ann("ops"), "get /metrics"), `RBAC: allowed by ClusterRoleBinding "ops-read" of ClusterRole "reader" to Group "ops"`},
		"by user, in her namespace":            {ask(ann(), "create pods web/-"), `RBAC: allowed by RoleBinding "ann-writes/web" of Role "writer" to User "ann"`},
		"by user, in another":                  {ask(ann(), "create pods other/-"), ""},
		"by user, whole cluster":               {ask(ann(), "create pods"), ""},
		"cluster role in one namespace":        {ask(ann(), "get pods other/p"), `RBAC: allowed by RoleBinding "ann-reads/other" of ClusterRole "reader" to User "ann"`},
		"its paths are not for one namespace":  {ask(ann(), "get /metrics"), ""},
		"cluster role in another namespace":    {ask(ann(), "get pods web/p"), ""},
		"service account":                      {ask(bot, "list nodes"), `RBAC: allowed by ClusterRoleBinding "bot-nodes" of ClusterRole "nodes" to ServiceAccount "bot/web"`},
		"service account of its own namespace": {ask(bot, "list pods web/-"), `RBAC: allowed by RoleBinding "bot-reads/web" of ClusterRole "reader" to ServiceAccount "bot/web"`},
		"a group named as a user":              {ask(authenticationv1.UserInfo{Username: "ops"}, "list pods"), ""},
		"a user named as a group":              {ask(authenticationv1.UserInfo{Username: "x", Groups: []string{"ann"}}, "create pods web/-"), ""},
		"an account bound without namespace":   {ask(named("system:serviceaccount::stray"), "list pods"), ""},
		"nobody":                               {ask(authenticationv1.UserInfo{}, "list pods"), ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			d, reason, err := c.Authorize(t.Context(), tt.a)
			if reason != tt.reason || (d == Allow) != (tt.reason != "") || err != nil {
				t.Errorf("got %v %q %v", d, reason, err)
			}
		})
	}
	d, reason, _ := c.Authorize(t.Context(), ask(named("lost"), "list pods"))
	if want := `RBAC: clusterrole.rbac.authorization.k8s.io "gone" not found`; d != NoOpinion || reason != want {
		t.Errorf("got %v %q, want %q", d, reason, want)
	}
}

func TestChangesCountAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		may := func(words string) bool {
			synctest.Wait()
			d, _, _ := c.Authorize(t.Context(), ask(ann("dev"), words))
			return d == Allow
		}
		steps := []struct {
			what string
			do   func()
			want bool
		}{
			{"nothing there", func() {}, false},
			{"binding without its role", func() { c.set(clusterBinding("b", "r", user("ann"))) }, false},
			{"role added", func() { c.set(clusterRole("r", rule("get", "core", "pods"))) }, true},
			{"rule taken out", func() { c.set(clusterRole("r", rule("get", "core", "services"))) }, false},
			{"rule put back", func() { c.set(clusterRole("r", rule("get", "core", "pods"))) }, true},
			{"bound to somebody else", func() { c.set(clusterBinding("b", "r", user("bob"))) }, false},
			{"bound twice to her group", func() { c.set(clusterBinding("b", "r", append(groups("dev"), groups("dev")...)...)) }, true},
			{"a second binding", func() { c.set(clusterBinding("b2", "r", groups("dev")...)) }, true},
			{"first deleted", func() { c.clusterBindings.Delete("", "b") }, true},
			{"second deleted", func() { c.clusterBindings.Delete("", "b2") }, false},
		}
		for _, s := range steps {
			s.do()
			if got := may("get pods a/p"); got != s.want {
				t.Errorf("%s: got %v", s.what, got)
			}
		}
		if len(c.bySubject) != 0 || len(c.RBAC.bindings) != 0 {
			t.Errorf("left in the index: %v", c.bySubject)
		}
	})
}

type verdict struct {
	d      Decision
	reason string
	err    error
}

func (v verdict) Authorize(context.Context, Attributes) (Decision, string, error) {
	return v.d, v.reason, v.err
}

// inOrder asks authorizers as a configuration with them does.
func inOrder(members ...Authorizer) *Structured {
	var judges []judge
	for _, m := range members {
		judges = append(judges, judge{kind: "test", Authorizer: m})
	}
	s := &Structured{}
	s.current.Store(&judges)
	return s
}

func TestOrder(t *testing.T) {
	e := errors.New("e")
	tests := map[string]struct {
		groups []string
		chain  []Authorizer
		want   string
	}{
		"nobody asked":                 {nil, nil, `no opinion "" <nil>`},
		"nobody has an opinion":        {nil, []Authorizer{verdict{reason: "a"}, verdict{reason: "b", err: e}}, `no opinion "a\nb" e`},
		"the second allows":            {nil, []Authorizer{verdict{reason: "a"}, verdict{Allow, "b", nil}, verdict{Deny, "c", nil}}, `allow "b" <nil>`},
		"the first denies":             {nil, []Authorizer{verdict{Deny, "a", nil}, verdict{Allow, "b", nil}}, `deny "a" <nil>`},
		"the super group is not asked": {[]string{"x", "system:masters"}, []Authorizer{verdict{Deny, "a", nil}}, `allow "" <nil>`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			d, reason, err := inOrder(tt.chain...).Authorize(t.Context(), Attributes{User: authenticationv1.UserInfo{Groups: tt.groups}})
			if got := fmt.Sprintf("%v %q %v", d, reason, err); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestForbidden(t *testing.T) {
	x := authenticationv1.UserInfo{Username: "x"}
	tests := map[string]struct {
		a            Attributes
		reason, want string
	}{
		"a list in a namespace": {ask(x, "list pods y/-"), "", `pods is forbidden: User "x" cannot list resource "pods" in API group "" in the namespace "y"`},
		"one object":            {ask(x, "get deployments y/web in apps"), "", `deployments.apps "web" is forbidden: User "x" cannot get resource "deployments" in API group "apps" in the namespace "y"`},
		"the whole cluster":     {ask(x, "list nodes"), "", `nodes is forbidden: User "x" cannot list resource "nodes" in API group "" at the cluster scope`},
		"a subresource":         {ask(x, "create pods/exec y/p"), "", `pods "p" is forbidden: User "x" cannot create resource "pods/exec" in API group "" in the namespace "y"`},
		"with a reason":         {ask(x, "get secrets y/s"), "no relationship", `secrets "s" is forbidden: User "x" cannot get resource "secrets" in API group "" in the namespace "y": no relationship`},
		"a path":                {ask(x, "get /metrics"), "", `forbidden: User "x" cannot get path "/metrics"`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := Forbidden(tt.a, tt.reason); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestReviews(t *testing.T) {
	c := newCluster(t, clusterRole("r", rule("get", "core", "pods/log"), paths("get", "/metrics")), clusterBinding("b", "r", user("ann")),
		role("web", "w", rule("*", "apps", "deployments", "d")), bindingIn("web", "wb", "w", user("ann")))
	a := &Structured{Node: NewNode(NodeViews{}), RBAC: c.RBAC}
	if err := a.UseModes([]string{"Node", "RBAC"}, Hook{}); err != nil {
		t.Fatal(err)
	}
	spec := func(verb, path string, r *authorizationv1.ResourceAttributes) authorizationv1.SubjectAccessReviewSpec {
		s := authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: r}
		if r == nil {
			s.NonResourceAttributes = &authorizationv1.NonResourceAttributes{Path: path, Verb: verb}
		}
		u := ann()
		u.Extra = map[string]authenticationv1.ExtraValue{"k": {"v"}}
		return SelfSpec(&u, s)
	}
	tests := map[string]struct {
		spec authorizationv1.SubjectAccessReviewSpec
		want bool
	}{
		"a subresource":    {spec("", "", &authorizationv1.ResourceAttributes{Verb: "get", Resource: "pods", Subresource: "log", Namespace: "x", Name: "p"}), true},
		"the resource":     {spec("", "", &authorizationv1.ResourceAttributes{Verb: "get", Resource: "pods", Namespace: "x", Name: "p"}), false},
		"one name":         {spec("", "", &authorizationv1.ResourceAttributes{Verb: "delete", Group: "apps", Resource: "deployments", Namespace: "web", Name: "d"}), true},
		"another name":     {spec("", "", &authorizationv1.ResourceAttributes{Verb: "delete", Group: "apps", Resource: "deployments", Namespace: "web", Name: "e"}), false},
		"a path":           {spec("get", "/metrics", nil), true},
		"a path, posted":   {spec("post", "/metrics", nil), false},
		"nothing asked":    {authorizationv1.SubjectAccessReviewSpec{User: "ann"}, false},
		"one of no groups": {authorizationv1.SubjectAccessReviewSpec{User: "bob", ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: "get", Resource: "pods"}}, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := Review(t.Context(), a, tt.spec)
			if got.Allowed != tt.want || got.Denied || got.EvaluationError != "" || (got.Reason != "") != tt.want {
				t.Errorf("got %+v", got)
			}
		})
	}
	u := ann()
	rules := a.Rules(&u, "web")
	if len(rules.ResourceRules) != 2 || len(rules.NonResourceRules) != 1 || rules.Incomplete {
		t.Errorf("rules: %+v", rules)
	}
	node := authenticationv1.UserInfo{Username: "system:node:n1", Groups: []string{"system:nodes"}}
	if rules = a.Rules(&node, ""); !rules.Incomplete || rules.EvaluationError != "node authorizer does not support user rule resolution" || rules.ResourceRules == nil {
		t.Errorf("a node's rules: %+v", rules)
	}
}

func TestSelectorsOfReviews(t *testing.T) {
	in := func(key string, values ...string) v1.FieldSelectorRequirement {
		return v1.FieldSelectorRequirement{Key: key, Operator: v1.FieldSelectorOpIn, Values: values}
	}
	s := &authorizationv1.FieldSelectorAttributes{Requirements: []v1.FieldSelectorRequirement{in("spec.nodeName", "a,b=c"), in("x", "1", "2")}}
	got, ignored := fieldSelector(s)
	if got := exact(got, "spec.nodeName"); got != "a,b=c" || ignored != "partially ignored" {
		t.Errorf("got %q, %s", got, ignored)
	}
	for want, r := range map[string]authorizationv1.LabelSelectorAttributes{
		"a in (b) ":                  {Requirements: []v1.LabelSelectorRequirement{{Key: "a", Operator: "In", Values: []string{"b"}}}},
		"a in (b) partially ignored": {Requirements: []v1.LabelSelectorRequirement{{Key: "a", Operator: "In", Values: []string{"b"}}, {Key: "c", Operator: "Bogus"}}},
		" ignored":                   {Requirements: []v1.LabelSelectorRequirement{{Key: "c", Operator: "Bogus"}}},
		"  ignored":                  {RawSelector: "a in b"},
	} {
		if got, ignored := labelSelector(&r); strings.TrimSpace(got+" "+ignored) != strings.TrimSpace(want) {
			t.Errorf("got %q and %q, want %q", got, ignored, want)
		}
	}
}

func BenchmarkRBAC(b *testing.B) {
	var objects []client.Object
	objects = append(objects, Defaults()...)
	for i := range 1000 { // a team each
		ns := fmt.Sprintf("team-%d", i)
		rb := bindingIn(ns, "edit", "edit", user(fmt.Sprintf("user-%d", i)))
		rb.RoleRef.Kind = "ClusterRole"
		objects = append(objects, rb)
	}
	many := &rbacv1.ClusterRole{ObjectMeta: v1.ObjectMeta{Name: "operator"}}
	for i := range 300 {
		many.Rules = append(many.Rules, rbacv1.PolicyRule{Verbs: []string{"get", "list", "watch", "create", "update"}, APIGroups: []string{fmt.Sprintf("group-%d.example.com", i/10)},
			Resources: []string{fmt.Sprintf("things%d", i), fmt.Sprintf("things%d/status", i)}})
	}
	objects = append(objects, many, clusterBinding("operator", "operator", user("operator")))
	c := newCluster(b, objects...)
	u := authenticationv1.UserInfo{Username: "user-500", Groups: []string{"dev", "system:authenticated"}}
	manager := authenticationv1.UserInfo{Username: "system:serviceaccount:kube-system:replicaset-controller", Groups: []string{"system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"}}
	for name, a := range map[string]Attributes{
		"edit in a namespace": ask(u, "update deployments team-500/web in apps"),
		"refused":             ask(u, "update deployments team-501/web in apps"),
		"controller":          ask(manager, "create pods team-1/-"),
		"300 rules":           ask(authenticationv1.UserInfo{Username: "operator", Groups: []string{"system:authenticated"}}, "update things299/status team-1/x in group-29.example.com"),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				c.Authorize(b.Context(), a)
			}
		})
	}
}

// TestManyRules: an index of rules grants what the rules grant, one by one.
func TestManyRules(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	some := func(of ...string) (out []string) {
		for range 1 + random.IntN(2) {
			out = append(out, of[random.IntN(len(of))])
		}
		return out
	}
	asked := []string{"get pods a/x", "get pods/log a/x", "update pods/status a/x", "list pods a/-", "update scales/scale a/y in apps", "get /healthz", "get /healthz/etcd", "get things b/x in apps"}
	allowed := 0
	for range 200 {
		role := &rbacv1.ClusterRole{ObjectMeta: v1.ObjectMeta{Name: "many"}}
		for range manyRules + random.IntN(3) {
			rule := rbacv1.PolicyRule{Verbs: some("update", "create", "delete", "patch", "watch"), APIGroups: some("", "batch", "apps"), Resources: some("jobs", "pods", "pods/log", "scales", "pods/status")}
			switch random.IntN(40) {
			case 0:
				rule = rbacv1.PolicyRule{Verbs: some("get", "post"), NonResourceURLs: some("/healthz", "/healthz/*", "/version")}
			case 1:
				rule = rbacv1.PolicyRule{Verbs: some("get", "*", "update"), APIGroups: some("", "*", "apps"), Resources: some("*", "*/scale", "pods", "things")}
			case 2:
				rule.Verbs, rule.ResourceNames = some("get", "update"), some("x", "y")
			}
			role.Rules = append(role.Rules, rule)
		}
		c := newCluster(t, role, clusterBinding("many", "many", user("ann")))
		for _, words := range asked {
			a := ask(ann(), words)
			want := slices.ContainsFunc(role.Rules, func(r rbacv1.PolicyRule) bool { return allows(&r, &a) })
			if d, _, _ := c.Authorize(t.Context(), a); (d == Allow) != want {
				t.Errorf("%s: got %v, want %v, of %v", words, d, want, role.Rules)
			} else if want {
				allowed++
			}
		}
		role = role.DeepCopy()
		role.Rules = slices.Repeat([]rbacv1.PolicyRule{{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"nodes"}}}, manyRules)
		c.set(role)
		if d, _, _ := c.Authorize(t.Context(), ask(ann(), "get nodes/log -")); d == Allow {
			t.Error("a subresource that no rule names is allowed")
		}
		if d, _, _ := c.Authorize(t.Context(), ask(ann(), "get nodes -")); d != Allow {
			t.Error("the role's new rules do not count")
		}
	}
	if allowed == 0 || allowed == 200*len(asked) {
		t.Errorf("%d allowed: the rules try nothing", allowed)
	}
}
