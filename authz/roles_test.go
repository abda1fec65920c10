package authz

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lighter-k8s/lighter/client"
)

func TestEscalation(t *testing.T) {
	c := newCluster(t,
		clusterRole("reader", rule(read, "core", "pods"), paths("get", "/api/*")), clusterBinding("ann", "reader", user("ann")),
		role("web", "dev", rule("*", "apps", "deployments"), rule("get", "core", "secrets", "s1", "s2")), bindingIn("web", "ann", "dev", user("ann")),
		clusterRole("grantor", rule("escalate", "rbac.authorization.k8s.io", "clusterroles", "special"), rule("bind", "rbac.authorization.k8s.io", "clusterroles", "admin", "reader")),
		clusterBinding("gus", "grantor", user("gus")),
		clusterRole("admin", rule("*", "core", "*")))
	const says = "user \"ann\" (groups=[\"system:authenticated\"]) is attempting to grant RBAC permissions not currently held:\n"
	rules := func(r ...rbacv1.PolicyRule) []rbacv1.PolicyRule { return r }
	tests := map[string]struct {
		user, namespace, name string
		rules                 []rbacv1.PolicyRule
		want                  string // "" is allowed
	}{
		"what she holds":                   {"ann", "", "r", rules(rule("list get", "core", "pods")), ""},
		"what she holds, in a namespace":   {"ann", "web", "r", rules(rule("list", "core", "pods"), rule("delete patch", "apps", "deployments", "x")), ""},
		"nothing":                          {"bob", "", "r", nil, ""},
		"what she holds elsewhere":         {"ann", "other", "r", rules(rule("delete", "apps", "deployments")), says + `{APIGroups:["apps"], Resources:["deployments"], Verbs:["delete"]}`},
		"more verbs":                       {"ann", "", "r", rules(rule("get create delete", "core", "pods")), says + `{APIGroups:[""], Resources:["pods"], Verbs:["create" "delete"]}`},
		"every verb":                       {"ann", "", "r", rules(rule("*", "core", "pods")), says + `{APIGroups:[""], Resources:["pods"], Verbs:["*"]}`},
		"every group":                      {"ann", "", "r", rules(rule("get", "*", "pods")), says + `{APIGroups:["*"], Resources:["pods"], Verbs:["get"]}`},
		"a subresource":                    {"ann", "", "r", rules(rule("get", "core", "pods pods/exec")), says + `{APIGroups:[""], Resources:["pods/exec"], Verbs:["get"]}`},
		"one of her names":                 {"ann", "web", "r", rules(rule("get", "core", "secrets", "s2")), ""},
		"another name":                     {"ann", "web", "r", rules(rule("get", "core", "secrets", "s2", "s3")), says + `{APIGroups:[""], Resources:["secrets"], ResourceNames:["s3"], Verbs:["get"]}`},
		"all names":                        {"ann", "web", "r", rules(rule("get", "core", "secrets")), says + `{APIGroups:[""], Resources:["secrets"], Verbs:["get"]}`},
		"a path below hers":                {"ann", "", "r", rules(paths("get", "/api/v1", "/api/*")), ""},
		"a path above hers":                {"ann", "", "r", rules(paths("get", "/*")), says + `{NonResourceURLs:["/*"], Verbs:["get"]}`},
		"two lines, sorted":                {"ann", "", "r", rules(rule("get", "core", "secrets"), rule("get", "apps", "deployments")), says + `{APIGroups:[""], Resources:["secrets"], Verbs:["get"]}` + "\n" + `{APIGroups:["apps"], Resources:["deployments"], Verbs:["get"]}`},
		"a role he may escalate":           {"gus", "", "special", rules(rule("*", "*", "*")), ""},
		"another role than he may":         {"gus", "", "other", rules(rule("get", "core", "pods")), strings.Replace(says, "ann", "gus", 1) + `{APIGroups:[""], Resources:["pods"], Verbs:["get"]}`},
		"a role of that name, not cluster": {"gus", "web", "special", rules(rule("get", "core", "pods")), strings.Replace(says, "ann", "gus", 1) + `{APIGroups:[""], Resources:["pods"], Verbs:["get"]}`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			u := ann()
			u.Username = tt.user
			err := c.CheckRole(t.Context(), c, &u, tt.namespace, tt.name, tt.rules)
			if got := text(err); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
	t.Run("bindings", func(t *testing.T) {
		gus, her, root := ann(), ann(), ann(SuperGroup)
		gus.Username, root.Username = "gus", "root"
		ref := func(kind, name string) rbacv1.RoleRef { return rbacv1.RoleRef{Kind: kind, Name: name} }
		if err := c.CheckBinding(t.Context(), c, &gus, "", ref("ClusterRole", "admin")); err != nil {
			t.Error("a role he may bind:", err)
		}
		if err := c.CheckBinding(t.Context(), c, &gus, "web", ref("Role", "dev")); err == nil {
			t.Error("a role he neither holds nor may bind")
		}
		if err := c.CheckBinding(t.Context(), c, &her, "web", ref("Role", "dev")); err != nil {
			t.Error("a role whose rules she has:", err)
		}
		if err := c.CheckBinding(t.Context(), c, &her, "web", ref("ClusterRole", "admin")); err == nil || !strings.Contains(err.Error(), `Resources:["*"]`) {
			t.Error("a role whose rules she has not:", err)
		}
		var missing *RoleNotFound
		if err := c.CheckBinding(t.Context(), c, &her, "web", ref("Role", "gone")); !errors.As(err, &missing) || missing.Name != "gone" {
			t.Error("a role that is not there:", err)
		}
		if err := c.CheckBinding(t.Context(), c, &root, "web", ref("Role", "gone")); err != nil {
			t.Error("the super group:", err)
		}
		if err := c.CheckBinding(t.Context(), c, &her, "", ref("Role", "dev")); err == nil {
			t.Error("a role of a namespace bound for the whole cluster")
		}
	})
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// Whoever passes the check can do no more after the write than before: whatever role they make and bind themselves.
func TestNoSequenceOfAllowedWritesGrows(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 0))
		pick := func(s ...string) string { return s[r.IntN(len(s))] }
		randomRule := func() rbacv1.PolicyRule {
			if r.IntN(5) == 0 {
				return paths(pick("get", "post", "*"), pick("/a", "/a/*", "/a/b", "/*", "*"))
			}
			out := rule(pick("get", "list", "get list", "*"), pick("core", "apps", "*"), pick("x", "y", "x/s", "*/s", "*", "x y"))
			if r.IntN(3) == 0 {
				out.ResourceNames = []string{pick("n", "m")}
			}
			return out
		}
		c := newCluster(t, clusterRole("own", randomRule(), randomRule()), clusterBinding("own", "own", user("ann")))
		u := ann()
		var requests []Attributes
		for _, verb := range []string{"get", "list", "post", "del"} {
			for _, what := range []string{"x w/n", "x/s w/n", "y w/m", "y w/-", "y/s w/m", "x w/n in apps", "y w/m in apps", "z w/n", "z/s w/n in q", "/a", "/a/b", "/b", "x w/m"} {
				requests = append(requests, ask(u, verb+" "+what))
			}
		}
		closure := func() (out []bool) {
			for _, a := range requests {
				d, _, _ := c.Authorize(t.Context(), a)
				out = append(out, d == Allow)
			}
			return out
		}
		before := closure()
		for i := range 10 {
			name := string(rune('a' + i))
			made := clusterRole(name, randomRule())
			if c.CheckRole(t.Context(), c, &u, "", name, made.Rules) != nil {
				continue
			}
			c.set(made)
			if c.CheckBinding(t.Context(), c, &u, "", rbacv1.RoleRef{Kind: "ClusterRole", Name: name}) != nil {
				t.Fatalf("seed %d: she may write %v but not bind it", seed, made.Rules)
			}
			c.set(clusterBinding(name, name, user("ann")))
		}
		if err := c.WaitSynced(t.Context()); err != nil {
			t.Fatal(err)
		}
		for i, after := range closure() {
			if after && !before[i] {
				t.Errorf("seed %d: gained %+v", seed, requests[i])
			}
		}
	}
}

func TestAggregate(t *testing.T) {
	labelled := func(r *rbacv1.ClusterRole, l string) *rbacv1.ClusterRole { r.Labels[l] = "true"; return r }
	sum := labelled(clusterRole("sum", rule("get", "core", "stale")), "to-sum")
	sum.AggregationRule = &rbacv1.AggregationRule{ClusterRoleSelectors: []v1.LabelSelector{{MatchLabels: map[string]string{"to-sum": "true"}}, {MatchLabels: map[string]string{"also": "true"}}}}
	a, b := rule("get", "core", "a"), rule("get", "core", "b")
	all := []*rbacv1.ClusterRole{sum, labelled(clusterRole("z", a, b), "to-sum"), labelled(labelled(clusterRole("y", b), "to-sum"), "also"), clusterRole("other", rule("*", "*", "*"))}
	changed := AggregateAll(all)
	if len(changed) != 1 || changed[0] == sum || describeAll(changed[0].Rules) != describeAll([]rbacv1.PolicyRule{b, a}) {
		t.Fatalf("got %v", changed)
	}
	all[0] = changed[0]
	if again := AggregateAll(all); len(again) != 0 {
		t.Errorf("not at rest: %v", again)
	}
	all[0] = sum.DeepCopy()
	all[0].AggregationRule.ClusterRoleSelectors[0].MatchLabels["!!"] = "no label"
	if got := AggregateAll(all); len(got) != 0 {
		t.Errorf("rules changed by a selector that cannot be read: %v", got)
	}
}

func describeAll(rules []rbacv1.PolicyRule) (s string) {
	for _, r := range rules {
		s += describe(r)
	}
	return s
}

func TestReconcile(t *testing.T) {
	a, b, own := rule("get", "core", "a"), rule("get list", "core", "b"), rule("get", "core", "own")
	not := clusterRole("r", own)
	not.Annotations[AutoupdateAnnotation] = "false"
	other := clusterBinding("b", "other", user("x"))
	other.UID, other.ResourceVersion = "u", "7"
	bare := &rbacv1.ClusterRole{ObjectMeta: v1.ObjectMeta{Name: "r", Labels: map[string]string{"theirs": "1", "kubernetes.io/bootstrapping": "changed"}}, Rules: []rbacv1.PolicyRule{a, b}}
	aggregated := userRoles()[1]
	filled := aggregated.DeepCopy()
	filled.Rules = []rbacv1.PolicyRule{own}
	tests := map[string]struct {
		existing, wanted client.Object
		change           Change
		check            func(client.Object) bool
	}{
		"not there": {nil, clusterRole("r", a), Create, nil},
		"the same":  {clusterRole("r", a, b), clusterRole("r", b, a), Keep, nil},
		"covered":   {clusterRole("r", rule("*", "*", "*")), clusterRole("r", a), Keep, nil},
		"a rule is missing": {clusterRole("r", own, a), clusterRole("r", a, b), Update, func(o client.Object) bool {
			return describeAll(o.(*rbacv1.ClusterRole).Rules) == describeAll([]rbacv1.PolicyRule{own, a, rule("get", "core", "b"), rule("list", "core", "b")})
		}},
		"hands off": {not, clusterRole("r", a), Keep, nil},
		"labels are missing": {bare, clusterRole("r", a), Update, func(o client.Object) bool {
			return o.GetLabels()["theirs"] == "1" && o.GetLabels()["kubernetes.io/bootstrapping"] == "changed" && o.GetAnnotations()[AutoupdateAnnotation] == "true"
		}},
		"aggregated, filled": {filled, aggregated, Keep, nil},
		"aggregated, not yet": {clusterRole("admin", own), aggregated, Update, func(o client.Object) bool {
			return len(o.(*rbacv1.ClusterRole).AggregationRule.ClusterRoleSelectors) == 1 && len(o.(*rbacv1.ClusterRole).Rules) == 1
		}},
		"a subject is missing": {clusterBinding("b", "r", user("theirs")), clusterBinding("b", "r", user("x"), account("n", "y")), Update, func(o client.Object) bool {
			return len(o.(*rbacv1.ClusterRoleBinding).Subjects) == 3
		}},
		"another role": {other, clusterBinding("b", "r", user("x")), Recreate, func(o client.Object) bool {
			return o.(*rbacv1.ClusterRoleBinding).RoleRef.Name == "r" && o.GetUID() == "" && o.GetResourceVersion() == ""
		}},
		"role of a namespace": {role("n", "r"), role("n", "r", a), Update, nil},
		"binding of the same": {bindingIn("n", "b", "r", user("x")), bindingIn("n", "b", "r"), Keep, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			change, got := Reconcile(tt.existing, tt.wanted)
			if change != tt.change || tt.check != nil && !tt.check(got) {
				t.Errorf("got %v %+v", change, got)
			}
			if change == Update {
				if again, _ := Reconcile(got, tt.wanted); again != Keep {
					t.Errorf("a second time: %v", again)
				}
			}
		})
	}
}

// The names that a cluster of Kubernetes 1.37 shows to "kubectl get clusterroles", add-ons left out.
const clusterRoleNames = `admin cluster-admin edit view system:aggregate-to-admin system:aggregate-to-edit system:aggregate-to-view system:auth-delegator
system:basic-user system:certificates.k8s.io:certificatesigningrequests:nodeclient system:certificates.k8s.io:certificatesigningrequests:selfnodeclient
system:certificates.k8s.io:kube-apiserver-client-approver system:certificates.k8s.io:kube-apiserver-client-kubelet-approver
system:certificates.k8s.io:kubelet-serving-approver system:certificates.k8s.io:legacy-unknown-approver system:controller:attachdetach-controller
system:controller:certificate-controller system:controller:clusterrole-aggregation-controller system:controller:cronjob-controller
system:controller:daemon-set-controller system:controller:deployment-controller system:controller:device-taint-eviction-controller system:controller:disruption-controller system:controller:endpoint-controller
system:controller:endpointslice-controller system:controller:endpointslicemirroring-controller system:controller:ephemeral-volume-controller
system:controller:expand-controller system:controller:generic-garbage-collector system:controller:horizontal-pod-autoscaler system:controller:job-controller
system:controller:kube-apiserver-serving-clustertrustbundle-publisher system:controller:storage-version-migrator-controller system:cluster-trust-bundle-discovery
system:controller:legacy-service-account-token-cleaner system:controller:namespace-controller system:controller:node-controller
system:controller:persistent-volume-binder system:controller:podcertificaterequestcleaner system:controller:pod-garbage-collector system:controller:pv-protection-controller
system:controller:pvc-protection-controller system:controller:replicaset-controller system:controller:replication-controller
system:controller:resource-claim-controller system:controller:resourcequota-controller system:controller:root-ca-cert-publisher
system:controller:route-controller system:controller:selinux-warning-controller system:controller:service-account-controller
system:controller:service-cidrs-controller system:controller:service-controller system:controller:statefulset-controller
system:controller:ttl-after-finished-controller system:controller:ttl-controller system:controller:validatingadmissionpolicy-status-controller
system:controller:volumeattributesclass-protection-controller system:discovery system:heapster system:kube-aggregator system:kube-controller-manager
system:kube-dns system:kube-scheduler system:kubelet-api-admin system:monitoring system:node system:node-bootstrapper system:node-problem-detector
system:node-proxier system:persistent-volume-provisioner system:public-info-viewer system:service-account-issuer-discovery system:volume-scheduler`

func TestDefaults(t *testing.T) {
	var got []string
	refs := map[string]bool{}
	for _, o := range Defaults() {
		if o.GetLabels()["kubernetes.io/bootstrapping"] != "rbac-defaults" || o.GetAnnotations()[AutoupdateAnnotation] != "true" {
			t.Errorf("%s/%s is not marked as a default", o.GetNamespace(), o.GetName())
		}
		switch o := o.(type) {
		case *rbacv1.ClusterRole:
			got = append(got, o.Name)
			if len(o.Rules) == 0 {
				t.Errorf("%s has no rules", o.Name)
			}
			refs["ClusterRole/"+o.Name] = true
		case *rbacv1.Role:
			refs[o.Namespace+"Role/"+o.Name] = true
		case *rbacv1.ClusterRoleBinding:
			if !refs["ClusterRole/"+o.RoleRef.Name] {
				t.Errorf("%s refers to %s, which is not there", o.Name, o.RoleRef.Name)
			}
		case *rbacv1.RoleBinding:
			if !refs[o.Namespace+o.RoleRef.Kind+"/"+o.RoleRef.Name] {
				t.Errorf("%s refers to %s, which is not there", o.Name, o.RoleRef.Name)
			}
		}
	}
	want := append(strings.Fields(clusterRoleNames), "system:controller:cloud-node-controller") // ours alone
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	c := newCluster(t, append(Defaults(), append(JoinDefaults("system:bootstrappers:x"),
		bindTo("admin"), bindTo("edit"), bindTo("view"))...)...)
	tests := map[string]struct {
		user, groups string
		yes, no      string
	}{
		"anybody":      {"x", "system:authenticated", "get /api/v1; get /openapi/v3; create selfsubjectaccessreviews in authorization.k8s.io; create selfsubjectreviews in authentication.k8s.io; get /version", "get /metrics; list pods; get /; get /logs"},
		"nobody":       {"system:anonymous", "system:unauthenticated", "get /healthz; get /readyz; get /livez; get /version", "get /api; get /metrics; get /healthz/x; create selfsubjectaccessreviews - in authorization.k8s.io"},
		"view":         {"view", "", "list pods web/-; get pods/log web/p; get configmaps web/c; get deployments web/d in apps", "get secrets web/s; create pods web/-; create pods/exec web/p; list pods other/-; list roles web/- in rbac.authorization.k8s.io; list nodes"},
		"edit":         {"edit", "", "list pods web/-; create pods web/-; get secrets web/s; create pods/exec web/p; impersonate serviceaccounts web/a; update deployments/scale web/d in apps", "create roles web/- in rbac.authorization.k8s.io; delete namespaces web/web; update resourcequotas web/q; update endpoints web/e; update endpointslices web/e in discovery.k8s.io"},
		"admin":        {"admin", "", "list pods web/-; get secrets web/s; create rolebindings web/- in rbac.authorization.k8s.io; create localsubjectaccessreviews web/- in authorization.k8s.io", "escalate roles web/r in rbac.authorization.k8s.io; update resourcequotas web/q; get secrets other/s"},
		"scheduler":    {"system:kube-scheduler", "", "create pods/binding a/p; list nodes; update persistentvolumeclaims a/c; update leases kube-system/kube-scheduler in coordination.k8s.io; get configmaps kube-system/extension-apiserver-authentication", "update leases other/kube-controller-manager in coordination.k8s.io; get secrets a/s; create pods a/-"},
		"controllers":  {"system:kube-controller-manager", "", "list anything a/- in of.any.group; create serviceaccounts/token a/s", "delete pods a/p"},
		"replicasets":  {"system:serviceaccount:kube-system:replicaset-controller", "", "create pods a/-; update replicasets/status a/r in apps; create events a/-; create events a/- in events.k8s.io", "get secrets a/s"},
		"garbage":      {"system:serviceaccount:kube-system:generic-garbage-collector", "", "delete x a/y in z", "create pods a/-"},
		"its namesake": {"system:serviceaccount:default:generic-garbage-collector", "", "", "delete x a/y in z"},
		"proxy":        {"system:kube-proxy", "", "watch services; list endpointslices - in discovery.k8s.io; get nodes n", "update services a/s; get secrets a/s"},
		"a new node":   {"system:bootstrap:abcdef", "system:bootstrappers:x", "create certificatesigningrequests - in certificates.k8s.io; create certificatesigningrequests/nodeclient - in certificates.k8s.io", "list nodes; create certificatesigningrequests/selfnodeclient - in certificates.k8s.io; approve signers kubernetes.io/kube-apiserver-client-kubelet in certificates.k8s.io"},
		"a node":       {"system:node:n", "system:nodes", "create certificatesigningrequests/selfnodeclient - in certificates.k8s.io", "get secrets a/s; list pods"},
		"token signer": {"system:serviceaccount:kube-system:bootstrap-signer", "", "update configmaps kube-public/cluster-info; list secrets kube-system/-", "update configmaps kube-public/other; list secrets default/-"},
		"some account": {"system:serviceaccount:a:b", "system:serviceaccounts", "get /openid/v1/jwks; get /.well-known/openid-configuration", "list pods a/-"},
		"the monitors": {"prometheus", "system:monitoring", "get /metrics; get /livez/ping", "get /debug/pprof/"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			u := ann()
			u.Username, u.Groups = tt.user, strings.Fields(tt.groups)
			for want, list := range map[bool]string{true: tt.yes, false: tt.no} {
				for words := range strings.SplitSeq(list, ";") {
					if words == "" {
						continue
					}
					words = strings.Replace(words, "reviews in", "reviews - in", 1)
					if d, reason, _ := c.Authorize(t.Context(), ask(u, words)); (d == Allow) != want {
						t.Errorf("%q: got %v %s", words, d, reason)
					}
				}
			}
		})
	}
}

// bindTo binds a user of a role's name to the role in the namespace web.
func bindTo(role string) *rbacv1.RoleBinding {
	b := bindingIn("web", role, role, user(role))
	b.RoleRef.Kind = "ClusterRole"
	return b
}
