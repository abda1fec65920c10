package authz

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	authenticationv1 "k8s.io/api/authentication/v1"
	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/lighter-k8s/lighter/client"
)

// RBACViews are what RBAC decides by.
type RBACViews struct {
	Roles               client.TypedView[*rbacv1.Role]
	RoleBindings        client.TypedView[*rbacv1.RoleBinding]
	ClusterRoles        client.TypedView[*rbacv1.ClusterRole]
	ClusterRoleBindings client.TypedView[*rbacv1.ClusterRoleBinding]
}

// RBAC allows what the cluster's roles grant; it never denies. Bindings are kept by the subject they name and
// changed one by one as they change in the cluster, so that a check looks at the caller's own only. Safe for concurrent use.
type RBAC struct {
	views   RBACViews
	indexes sync.Map // objectKey of a role to *index

	mu        sync.RWMutex
	bindings  map[objectKey]*binding
	bySubject map[subject][]grant // ordered by the binding's name
	changed   chan struct{}       // closed and replaced when bindings change
}

type objectKey struct{ namespace, name string } // namespace "" for a ClusterRoleBinding

// subject is a user or group as bound in one namespace, "" being the whole cluster. A service account is a user.
type subject struct {
	namespace, name string
	group           bool
}

// binding is a RoleBinding or ClusterRoleBinding.
type binding struct {
	objectKey
	role     rbacv1.RoleRef
	version  uint64
	subjects []subject
}

// grant is a binding seen from one of its subjects.
type grant struct {
	*binding
	reason string
}

// NewRBAC keeps an index of the bindings until ctx ends. Until WaitSynced it may know too few of them.
func NewRBAC(ctx context.Context, views RBACViews) *RBAC {
	r := &RBAC{views: views, bindings: map[objectKey]*binding{}, bySubject: map[subject][]grant{}, changed: make(chan struct{})}
	views.ClusterRoleBindings.Subscribe(ctx, func(old, new *rbacv1.ClusterRoleBinding) {
		if new == nil {
			r.set(objectKey{name: old.Name}, nil, nil)
			return
		}
		r.set(newBinding("", new.Name, "ClusterRoleBinding", new.RoleRef, new.Subjects, client.Version(new)))
	})
	views.RoleBindings.Subscribe(ctx, func(old, new *rbacv1.RoleBinding) {
		if new == nil {
			r.set(objectKey{old.Namespace, old.Name}, nil, nil)
			return
		}
		r.set(newBinding(new.Namespace, new.Name, "RoleBinding", new.RoleRef, new.Subjects, client.Version(new)))
	})
	return r
}

// WaitSynced blocks until every rule that the views now have counts.
func (r *RBAC) WaitSynced(ctx context.Context) error {
	for _, v := range []client.View{r.views.Roles.View, r.views.RoleBindings.View, r.views.ClusterRoles.View, r.views.ClusterRoleBindings.View} {
		if err := v.WaitSynced(ctx); err != nil {
			return err
		}
	}
	want := map[objectKey]uint64{}
	for _, b := range r.views.ClusterRoleBindings.List("") {
		want[objectKey{name: b.Name}] = client.Version(b)
	}
	for _, b := range r.views.RoleBindings.List("") {
		want[objectKey{b.Namespace, b.Name}] = client.Version(b)
	}
	for {
		r.mu.RLock()
		changed := r.changed
		for key, version := range want {
			if b := r.bindings[key]; b != nil && b.version >= version {
				delete(want, key)
			}
		}
		r.mu.RUnlock()
		if len(want) == 0 {
			return nil
		}
		for key := range want { // what was deleted meanwhile never comes
			gone := r.views.ClusterRoleBindings.View.Get("", key.name) == nil
			if key.namespace != "" {
				gone = r.views.RoleBindings.View.Get(key.namespace, key.name) == nil
			}
			if gone {
				delete(want, key)
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func newBinding(namespace, name, kind string, role rbacv1.RoleRef, subjects []rbacv1.Subject, version uint64) (objectKey, *binding, []grant) {
	b := &binding{objectKey: objectKey{namespace, name}, role: role, version: version}
	described := name
	if namespace != "" {
		described += "/" + namespace
	}
	var grants []grant
	for _, s := range subjects {
		to := subject{namespace: namespace, name: s.Name, group: s.Kind == rbacv1.GroupKind}
		who := s.Name
		switch s.Kind {
		case rbacv1.UserKind, rbacv1.GroupKind:
		case rbacv1.ServiceAccountKind:
			in := cmp.Or(s.Namespace, namespace)
			if in == "" {
				continue
			}
			to.name, who = "system:serviceaccount:"+in+":"+s.Name, s.Name+"/"+in
		default:
			continue
		}
		if slices.Contains(b.subjects, to) {
			continue
		}
		b.subjects = append(b.subjects, to)
		grants = append(grants, grant{b, fmt.Sprintf("RBAC: allowed by %s %q of %s %q to %s %q", kind, described, role.Kind, role.Name, s.Kind, who)})
	}
	return b.objectKey, b, grants
}

// set puts a binding in the place of the one of that key, or takes it away.
func (r *RBAC) set(key objectKey, b *binding, grants []grant) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if old := r.bindings[key]; old != nil {
		for _, s := range old.subjects {
			left := slices.DeleteFunc(slices.Clone(r.bySubject[s]), func(g grant) bool { return g.binding == old })
			if len(left) == 0 {
				delete(r.bySubject, s)
			} else {
				r.bySubject[s] = left
			}
		}
		delete(r.bindings, key)
	}
	if b != nil {
		r.bindings[key] = b
		for i, s := range b.subjects {
			all := append(slices.Clone(r.bySubject[s]), grants[i])
			slices.SortFunc(all, func(x, y grant) int { return cmp.Compare(x.name, y.name) })
			r.bySubject[s] = all // a new slice: readers go on with the one they have
		}
	}
	close(r.changed)
	r.changed = make(chan struct{})
}

// Authorize implements Authorizer.
func (r *RBAC) Authorize(_ context.Context, a Attributes) (Decision, string, error) {
	allowed := ""
	var missing []string
	r.visit(&a.User, a.Namespace, func(g grant, rules []rbacv1.PolicyRule, err error) bool {
		if err != nil && !slices.Contains(missing, err.Error()) {
			missing = append(missing, err.Error())
		}
		if r.anyAllows(g, rules, &a) {
			allowed = g.reason
			return false
		}
		return true
	})
	switch {
	case allowed != "":
		return Allow, allowed, nil
	case len(missing) > 0:
		return NoOpinion, "RBAC: " + aggregate(missing), nil
	}
	return NoOpinion, "", nil
}

// aggregate joins messages in the way of apimachinery's Aggregate.
func aggregate(messages []string) string {
	if len(messages) == 1 {
		return messages[0]
	}
	return "[" + strings.Join(messages, ", ") + "]"
}

// visit shows the rules that a user has in a namespace: those of the whole cluster first. It stops when f says so.
func (r *RBAC) visit(user *authenticationv1.UserInfo, namespace string, f func(grant, []rbacv1.PolicyRule, error) bool) {
	scopes := [2]string{"", namespace}
	for i, scope := range scopes {
		if i == 1 && namespace == "" {
			return
		}
		for j := -1; j < len(user.Groups); j++ {
			s := subject{namespace: scope, name: user.Username}
			if j >= 0 {
				s.name, s.group = user.Groups[j], true
			}
			r.mu.RLock()
			grants := r.bySubject[s]
			r.mu.RUnlock()
			for _, g := range grants {
				rules, err := r.rules(g.role, g.namespace)
				if err != nil {
					r.indexes.Delete(g.roleKey()) // the role is gone
				}
				if !f(g, rules, err) {
					return
				}
			}
		}
	}
}

// RoleNotFound is the error of a binding to a role that is not there.
type RoleNotFound struct {
	Kind      string // Role or ClusterRole
	Namespace string
	Name      string
}

func (e *RoleNotFound) Error() string {
	return fmt.Sprintf("%s.rbac.authorization.k8s.io %q not found", strings.ToLower(e.Kind), e.Name)
}

// rules are those of the role that a binding in a namespace ("" for a ClusterRoleBinding) refers to.
func (r *RBAC) rules(ref rbacv1.RoleRef, namespace string) ([]rbacv1.PolicyRule, error) {
	switch ref.Kind {
	case "ClusterRole":
		if role, ok := r.views.ClusterRoles.Get("", ref.Name); ok {
			return role.Rules, nil
		}
	case "Role":
		if namespace == "" {
			return nil, fmt.Errorf("a binding of the whole cluster cannot refer to Role %q", ref.Name)
		}
		if role, ok := r.views.Roles.Get(namespace, ref.Name); ok {
			return role.Rules, nil
		}
	default:
		return nil, fmt.Errorf("unsupported role reference kind: %q", ref.Kind)
	}
	return nil, &RoleNotFound{ref.Kind, namespace, ref.Name}
}

// RulesFor are all rules a user has in a namespace, those of the whole cluster among them; the errors are of
// bindings that could not be followed.
func (r *RBAC) RulesFor(user *authenticationv1.UserInfo, namespace string) (rules []rbacv1.PolicyRule, errs []error) {
	r.visit(user, namespace, func(_ grant, some []rbacv1.PolicyRule, err error) bool {
		rules = append(rules, some...)
		if err != nil {
			errs = append(errs, err)
		}
		return true
	})
	return rules, errs
}
