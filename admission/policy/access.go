package policy

import (
	"context"
	"fmt"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/lighter-k8s/lighter/admission"
	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/authz"
)

// Access keeps policies from reading for somebody what he may not read himself: who writes a policy needs the right to read all objects of
// its paramKind, who writes a binding that to read what its paramRef names. Source: Kubernetes documentation, Validating Admission Policy,
// Parameter resources; comments of ParamKind and ParamRef.
func (p *Policies) Access() admission.Plugin {
	return admission.Plugin{Name: "PolicyParams", Validate: func(ctx context.Context, a *admission.Attributes) error {
		now := paramsOf(a.Object)
		if !now.any() || a.Old != nil && equality.Semantic.DeepEqual(now, paramsOf(a.Old)) {
			return nil
		}
		q, what := p.question(now)
		q.User = a.User
		if d, _, _ := p.Authz.Authorize(ctx, q); d == authz.Allow { // an error is about rules that could not be read, and allows nothing
			return nil
		}
		return apierrors.NewForbidden(a.Info.GroupResource(), a.Name, fmt.Errorf("user %q must have %q permission on %s", a.User.Username, q.Verb, what))
	}}
}

// params are what a policy (kind) or a binding (the policy's name and ref) says of parameters.
type params struct {
	Kind     *admissionv1.ParamKind
	Policy   string
	Mutating bool // the policy is a MutatingAdmissionPolicy
	Ref      *admissionv1.ParamRef
}

func (s params) any() bool { return s.Kind != nil || s.Ref != nil }

func paramsOf(o api.Object) params {
	switch o := o.(type) {
	case *admissionv1.ValidatingAdmissionPolicy:
		return params{Kind: o.Spec.ParamKind}
	case *admissionv1.MutatingAdmissionPolicy:
		return params{Kind: o.Spec.ParamKind}
	case *admissionv1.ValidatingAdmissionPolicyBinding:
		return params{Policy: o.Spec.PolicyName, Ref: o.Spec.ParamRef}
	case *admissionv1.MutatingAdmissionPolicyBinding:
		return params{Policy: o.Spec.PolicyName, Mutating: true, Ref: o.Spec.ParamRef}
	}
	return params{}
}

// question is what the writer must be allowed, and how that is said. A binding may come before its policy, and a kind be served later: until
// then it may become anything, so that all of it is asked for.
func (p *Policies) question(s params) (authz.Attributes, string) {
	q := authz.Attributes{ResourceRequest: true, Verb: "get", Group: "*", Version: "*", Resource: "*"}
	kind := s.Kind
	if s.Ref != nil {
		kind = p.paramKind(s)
	}
	if kind != nil {
		gv, _ := schema.ParseGroupVersion(kind.APIVersion) // validated; one that is none has no record
		q.Group, q.Version = gv.Group, gv.Version
		if i := p.Kind(gv.WithKind(kind.Kind)); i != nil {
			q.Resource = i.Resource
		}
	}
	switch {
	case s.Ref == nil:
		return q, fmt.Sprintf("all objects of the referenced paramKind (kind=%s, apiVersion=%s)", kind.Kind, kind.APIVersion)
	case s.Ref.Selector != nil:
		q.Verb, q.Namespace = "list", s.Ref.Namespace
		return q, "the objects referenced by paramRef"
	}
	q.Namespace, q.Name = s.Ref.Namespace, s.Ref.Name
	return q, "the object referenced by paramRef"
}

// paramKind is that of a binding's policy; nil: there is none, or no such policy.
func (p *Policies) paramKind(s params) *admissionv1.ParamKind {
	if s.Mutating {
		if o, ok := p.Mutating.Get("", s.Policy); ok {
			return o.Spec.ParamKind
		}
	} else if o, ok := p.Validating.Get("", s.Policy); ok {
		return o.Spec.ParamKind
	}
	return nil
}
