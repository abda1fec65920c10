package authz

import (
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lighter-k8s/lighter/client"
)

// Namespaces in which default roles are.
const (
	systemSpace = "kube-system"
	publicSpace = "kube-public"
)

// Verbs that go together.
const (
	read  = "get list watch"
	write = "create delete deletecollection patch update"
	all   = "create delete deletecollection get list patch update watch"
)

// Defaults are the roles and bindings that every cluster has, the aggregated roles filled in: cluster
// roles, their bindings, then roles and bindings of kube-system and kube-public. The objects are new ones. See Reconcile for
// how they meet those that a cluster has already. Source: Using RBAC Authorization, Default roles and role bindings.
func Defaults() []client.Object {
	var out []client.Object
	roles := append(userRoles(), componentRoles()...)
	bindings := componentBindings()
	parts := controllers()
	for _, f := range furtherRules() {
		if n := slices.IndexFunc(parts, func(c controllerRules) bool { return c.name == f.name }); n >= 0 {
			parts[n].rules = append(parts[n].rules, f.rules...)
		} else {
			parts = append(parts, f)
		}
	}
	for _, c := range parts {
		roles = append(roles, clusterRole(controllerPrefix+c.name, c.rules...))
		bindings = append(bindings, clusterBinding(controllerPrefix+c.name, controllerPrefix+c.name, account(systemSpace, c.name)))
	}
	for changed := AggregateAll(roles); len(changed) > 0; changed = AggregateAll(roles) { // admin takes in edit, which takes in view
		for _, c := range changed {
			roles[slices.IndexFunc(roles, func(r *rbacv1.ClusterRole) bool { return r.Name == c.Name })] = c
		}
	}
	for _, r := range roles {
		out = append(out, r)
	}
	for _, b := range bindings {
		out = append(out, b)
	}
	return append(out, namespacedDefaults()...)
}

// JoinDefaults are the bindings by which the bearers of bootstrap tokens of a group (system:bootstrappers:...) may ask for a
// node's certificate and get it, and by which nodes may renew theirs.
func JoinDefaults(group string) []client.Object {
	const csr = "system:certificates.k8s.io:certificatesigningrequests:"
	return []client.Object{
		clusterBinding("lighter:node-bootstrapper", "system:node-bootstrapper", groups(group)...),
		clusterBinding("lighter:node-autoapprove-bootstrap", csr+"nodeclient", groups(group)...),
		clusterBinding("lighter:node-autoapprove-certificate-rotation", csr+"selfnodeclient", groups(nodesGroup)...),
	}
}

// rule is made of words: verbs, API groups ("core" is the one without a name), resources.
func rule(verbs, apiGroups, resources string, names ...string) rbacv1.PolicyRule {
	r := rbacv1.PolicyRule{Verbs: strings.Fields(verbs), APIGroups: strings.Fields(apiGroups), Resources: strings.Fields(resources), ResourceNames: names}
	for i, g := range r.APIGroups {
		if g == "core" {
			r.APIGroups[i] = ""
		}
	}
	return r
}

func paths(verbs string, urls ...string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{Verbs: strings.Fields(verbs), NonResourceURLs: urls}
}

// events lets a component say what it does.
func events() rbacv1.PolicyRule {
	return rule("create patch update", "core events.k8s.io", "events")
}

func defaultMeta(namespace, name string) v1.ObjectMeta {
	return v1.ObjectMeta{Namespace: namespace, Name: name,
		Labels:      map[string]string{"kubernetes.io/bootstrapping": "rbac-defaults"},
		Annotations: map[string]string{AutoupdateAnnotation: "true"}}
}

func clusterRole(name string, rules ...rbacv1.PolicyRule) *rbacv1.ClusterRole {
	return &rbacv1.ClusterRole{ObjectMeta: defaultMeta("", name), Rules: rules}
}

func role(namespace, name string, rules ...rbacv1.PolicyRule) *rbacv1.Role {
	return &rbacv1.Role{ObjectMeta: defaultMeta(namespace, name), Rules: rules}
}

func clusterBinding(name, role string, subjects ...rbacv1.Subject) *rbacv1.ClusterRoleBinding {
	return &rbacv1.ClusterRoleBinding{ObjectMeta: defaultMeta("", name), Subjects: subjects,
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role}}
}

func bindingIn(namespace, name, role string, subjects ...rbacv1.Subject) *rbacv1.RoleBinding {
	return &rbacv1.RoleBinding{ObjectMeta: defaultMeta(namespace, name), Subjects: subjects,
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: role}}
}

func groups(names ...string) (out []rbacv1.Subject) {
	for _, n := range names {
		out = append(out, rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: n})
	}
	return out
}

func user(name string) rbacv1.Subject {
	return rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: name}
}

func account(namespace, name string) rbacv1.Subject {
	return rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: name}
}
