// Package policy holds requests against the policies that users write in CEL: ValidatingAdmissionPolicy refuses, warns or notes,
// MutatingAdmissionPolicy changes. Requests come in as admission.Attributes; policies, bindings and params are read through views. The
// expressions are compiled and evaluated by the published packages of Kubernetes' API server, at the first request that a policy means.
//
//	policy.go   policies, bindings, params     validating.go  what a policy decides
//	check.go    do expressions compile         mutating.go    what a policy changes
//	access.go   who may use which params       typecheck.go   do expressions fit the types
package policy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/admission/plugin/cel"

	"github.com/lighter-k8s/lighter/admission"
	"github.com/lighter-k8s/lighter/admission/expression"
	"github.com/lighter-k8s/lighter/admission/matching"
	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/authz"
	"github.com/lighter-k8s/lighter/client"
)

// Policies are those of one server. Set the exported fields before the first request.
type Policies struct {
	Validating         client.TypedView[*admissionv1.ValidatingAdmissionPolicy]
	ValidatingBindings client.TypedView[*admissionv1.ValidatingAdmissionPolicyBinding]
	Mutating           client.TypedView[*admissionv1.MutatingAdmissionPolicy]
	MutatingBindings   client.TypedView[*admissionv1.MutatingAdmissionPolicyBinding]
	World              matching.World
	Authz              authz.Authorizer
	// Kind is the record of a kind of params, or nil; Params lists its objects ("" is all namespaces).
	Kind      func(schema.GroupVersionKind) *api.Info
	Params    func(i *api.Info, namespace string) []api.Object
	Obstacles *admission.Obstacles
	Log       *slog.Logger
	Now       func() time.Time
	Metrics   *Metrics

	compiled sync.Map // made of policies and bindings, by UID
}

// version names one state of an object.
type version struct {
	revision string
	made     any
}

// of gives what is made of a policy or binding, which is kept while it is the same.
func of[T any](p *Policies, o client.Object, make func() T) T {
	if kept, ok := p.compiled.Load(o.GetUID()); ok {
		if v := kept.(version); v.revision == o.GetResourceVersion() {
			return v.made.(T)
		}
	}
	made := make()
	p.compiled.Store(o.GetUID(), version{o.GetResourceVersion(), made})
	p.forget() // seldom enough: whenever something is new
	return made
}

// forget drops what was made of objects that are gone.
func (p *Policies) forget() {
	there := map[types.UID]bool{}
	for _, v := range []client.View{p.Validating.View, p.ValidatingBindings.View, p.Mutating.View, p.MutatingBindings.View} {
		for _, o := range v.List("") {
			there[o.GetUID()] = true
		}
	}
	p.compiled.Range(func(uid, _ any) bool {
		if !there[uid.(types.UID)] {
			p.compiled.Delete(uid)
		}
		return true
	})
}

// exempted tells whether no policy is asked. Source: Kubernetes documentation, Validating Admission Policy, API kinds exempt from
// admission validation.
func exempted(ctx context.Context, a *admission.Attributes) bool {
	if matching.Exempt(a) || admission.Exempted(ctx) {
		return true
	}
	switch a.Info.Group {
	case "authentication.k8s.io":
		return a.Info.Resource == "tokenreviews" || a.Info.Resource == "selfsubjectreviews"
	case "authorization.k8s.io":
		return slices.Contains([]string{"localsubjectaccessreviews", "selfsubjectaccessreviews", "subjectaccessreviews", "selfsubjectrulesreviews"}, a.Info.Resource)
	}
	return false
}

// bypassed tells whether a policy is left out now, and notes it.
func (p *Policies) bypassed(until time.Time, policy, binding string, a *admission.Attributes) bool {
	if until.IsZero() || !p.Now().Before(until) {
		return false
	}
	a.Note("bypassed.policy.admission.lighter-k8s.io/"+policy, binding)
	return true
}

// target says which requests a policy or binding means.
type target struct {
	criteria matching.Criteria
	err      error
	all      bool // it says nothing
}

func newTarget(m *admissionv1.MatchResources, binding bool) target {
	if m == nil {
		return target{all: true}
	}
	rules := m.ResourceRules
	if binding && len(rules) == 0 { // a binding narrows what the policy says
		every := admissionv1.Rule{APIGroups: []string{"*"}, APIVersions: []string{"*"}, Resources: []string{"*/*"}}
		rules = []admissionv1.NamedRuleWithOperations{{RuleWithOperations: admissionv1.RuleWithOperations{Operations: []admissionv1.OperationType{"*"}, Rule: every}}}
	}
	c, err := matching.New(rules, m.ExcludeResourceRules, m.MatchPolicy, m.NamespaceSelector, m.ObjectSelector)
	return target{criteria: c, err: err}
}

// match gives the version in which a request is meant by both; nil: it is not.
func (p *Policies) match(policy, binding *target, a *admission.Attributes) (*api.Info, error) {
	if err := errors.Join(policy.err, binding.err); err != nil {
		return nil, err
	}
	i, err := p.World.Match(&policy.criteria, a)
	if i == nil || err != nil || binding.all {
		return i, err
	}
	narrowed, err := p.World.Match(&binding.criteria, a)
	if narrowed == nil || err != nil {
		return nil, err
	}
	return i, nil
}

// params are what a binding names, in any order; one nil where a policy takes none. none says that there are none and that this is fine.
func (p *Policies) params(kind *admissionv1.ParamKind, ref *admissionv1.ParamRef, namespace string) (out []runtime.Object, none bool, err error) {
	if kind == nil {
		return []runtime.Object{nil}, false, nil
	}
	gv, err := schema.ParseGroupVersion(kind.APIVersion)
	if err != nil {
		return nil, false, err
	}
	i := p.Kind(gv.WithKind(kind.Kind))
	if i == nil {
		return nil, false, fmt.Errorf("failed to find resource referenced by paramKind: '%v'", gv.WithKind(kind.Kind))
	}
	if ref == nil {
		return []runtime.Object{nil}, false, nil
	}
	switch {
	case !i.Namespaced && ref.Namespace != "":
		return nil, false, errors.New("paramRef.namespace must not be provided for a cluster-scoped `paramKind`")
	case !i.Namespaced:
		namespace = ""
	case ref.Namespace != "":
		namespace = ref.Namespace
	case namespace == "":
		return nil, false, errors.New("can't use namespaced paramRef in policy binding that matches cluster-scoped resources")
	}
	var selects labels.Selector
	if ref.Selector != nil {
		if selects, err = metav1.LabelSelectorAsSelector(ref.Selector); err != nil {
			return nil, false, err
		}
	}
	for _, o := range p.Params(i, namespace) {
		if ref.Name != "" && o.GetName() == ref.Name || ref.Name == "" && selects != nil && selects.Matches(labels.Set(o.GetLabels())) {
			if o.GetObjectKind().GroupVersionKind() != i.GVK() {
				o = o.DeepCopyObject().(api.Object)
				o.GetObjectKind().SetGroupVersionKind(i.GVK())
			}
			out = append(out, o)
		}
	}
	if len(out) > 0 {
		return out, false, nil
	}
	if ref.ParameterNotFoundAction != nil && *ref.ParameterNotFoundAction == admissionv1.DenyAction {
		return nil, false, errors.New("no params found for policy binding with `Deny` parameterNotFoundAction")
	}
	return nil, true, nil
}

// namespace is the namespaceObject of expressions; nil for what lives in none.
func (p *Policies) namespace(a *admission.Attributes) *corev1.Namespace {
	if !a.Info.Namespaced {
		return nil
	}
	ns, ok := p.World.Namespaces.Get("", a.Namespace)
	if !ok {
		return nil
	}
	return cel.CreateNamespaceObject(ns)
}

// variable is a policy's variable as the compiler takes it.
type variable struct {
	expression.Says
	name string
}

// GetName implements cel.NamedExpressionAccessor.
func (v *variable) GetName() string { return v.name }

func variables(list []admissionv1.Variable) (out []cel.NamedExpressionAccessor) {
	for _, v := range list {
		out = append(out, &variable{expression.Says{Expression: v.Expression, Types: anything}, v.Name})
	}
	return out
}

// fails tells what becomes of requests when a policy cannot be evaluated.
func fails(f *admissionv1.FailurePolicyType) bool { return f == nil || *f == admissionv1.Fail }

// oneLine: messages that are none count as not given.
func oneLine(s string) string {
	if s = strings.TrimSpace(s); strings.Contains(s, "\n") {
		return ""
	}
	return s
}
