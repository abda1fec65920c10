package policy

import (
	"context"
	"fmt"
	"reflect"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/lighter-k8s/lighter/admission"
	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/authz"
)

// Access is the plugin that lets nobody read, by a policy's expressions, params that they may not read themselves: who writes a policy
// must be allowed to get all objects of its paramKind, who writes a binding to get what its paramRef names, or to list what it selects.
// What does not change is not asked about again. Source: Kubernetes documentation, Validating Admission Policy, Authorization check.
func (p *Policies) Access() admission.Plugin {
	return admission.Plugin{Name: "PolicyParamsAccess", Validate: func(ctx context.Context, a *admission.Attributes) error {
		if a.Info.Group != admissionv1.GroupName || a.Object == nil || a.Subresource != "" {
			return nil
		}
		kind, ref, policy := p.takes(a.Object)
		if a.Old != nil {
			if k, r, was := p.takes(a.Old); was == policy && reflect.DeepEqual(k, kind) && reflect.DeepEqual(r, ref) {
				return nil
			}
		}
		q := authz.Attributes{User: a.User, Verb: "get", ResourceRequest: true}
		what := "the object referenced by paramRef"
		switch {
		case policy == "" && kind == nil, policy != "" && ref == nil:
			return nil
		case policy == "":
			what = fmt.Sprintf("all objects of the referenced paramKind (kind=%s, apiVersion=%s)", kind.Kind, kind.APIVersion)
		case ref.Name == "":
			q.Verb, what = "list", "the objects referenced by paramRef"
		}
		q.Group, q.Version, q.Resource = p.paramResource(kind)
		if ref != nil {
			q.Name, q.Namespace = ref.Name, ref.Namespace
		}
		if d, _, _ := p.Authz.Authorize(ctx, q); d == authz.Allow {
			return nil
		}
		return apierrors.NewForbidden(a.Info.GroupResource(), a.Name, fmt.Errorf("user %q must have %q permission on %s", a.User.Username, q.Verb, what))
	}}
}

// takes gives which params a policy takes, or those that a binding gives to a policy.
func (p *Policies) takes(o api.Object) (kind *admissionv1.ParamKind, ref *admissionv1.ParamRef, policy string) {
	switch o := o.(type) {
	case *admissionv1.ValidatingAdmissionPolicy:
		kind = o.Spec.ParamKind
	case *admissionv1.MutatingAdmissionPolicy:
		kind = o.Spec.ParamKind
	case *admissionv1.ValidatingAdmissionPolicyBinding:
		ref, policy = o.Spec.ParamRef, o.Spec.PolicyName
		if v, ok := p.Validating.Get("", policy); ok {
			kind = v.Spec.ParamKind
		}
	case *admissionv1.MutatingAdmissionPolicyBinding:
		ref, policy = o.Spec.ParamRef, o.Spec.PolicyName
		if m, ok := p.Mutating.Get("", policy); ok {
			kind = m.Spec.ParamKind
		}
	}
	return kind, ref, policy
}

// paramResource is what objects of a kind are asked for by. What the server does not know yet may become anything: all resources of
// the group; and of a policy that is not there, all that there are.
func (p *Policies) paramResource(kind *admissionv1.ParamKind) (group, version, resource string) {
	if kind == nil {
		return "*", "*", "*"
	}
	gv, err := schema.ParseGroupVersion(kind.APIVersion)
	if err != nil {
		return "*", "*", "*"
	}
	if i := p.Kind(gv.WithKind(kind.Kind)); i != nil {
		return i.Group, i.Version, i.Resource
	}
	return gv.Group, gv.Version, "*"
}
