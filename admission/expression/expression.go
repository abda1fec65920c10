// Package expression is CEL as admission uses it: what webhooks' match conditions and policies share, and whether selectors of devices
// compile (devices.go). Compilers, libraries and cost limits are the published ones of Kubernetes. Nothing of it is made before the first
// expression is compiled.
package expression

import (
	"context"
	"fmt"
	"sync"

	celgo "github.com/google/cel-go/cel"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apimachinery/pkg/util/version"
	upstream "k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/matchconditions"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	apiservercel "k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/environment"

	"github.com/lighter-k8s/lighter/admission"
	"github.com/lighter-k8s/lighter/admission/matching"
	"github.com/lighter-k8s/lighter/authz"
)

// Environment is the base of all expressions: libraries and language of Kubernetes 1.37. It is made at first use.
var Environment = sync.OnceValue(func() *environment.EnvSet { return environment.MustBaseEnvSet(version.MajorMinor(1, 37)) })

var conditions = sync.OnceValue(func() cel.ConditionCompiler { return cel.NewConditionCompiler(Environment()) })

// Plain compiles expressions without variables of the policy's own.
var Plain = sync.OnceValue(func() cel.Compiler { return cel.NewCompiler(Environment()) })

// OfWebhook is what expressions of webhooks see beside the request.
var OfWebhook = cel.OptionalVariableDeclarations{HasAuthorizer: true}

// Matcher compiles match conditions; kind and of name whose they are, for metrics and messages.
func Matcher(list []admissionregistrationv1.MatchCondition, o cel.OptionalVariableDeclarations, failure *admissionregistrationv1.FailurePolicyType, kind, of, name string) matchconditions.Matcher {
	accessors := make([]cel.ExpressionAccessor, len(list))
	for n := range list {
		accessors[n] = (*matchconditions.MatchCondition)(&list[n])
	}
	return matchconditions.NewMatcher(conditions().CompileCondition(accessors, o, environment.StoredExpressions), failure, kind, of, name)
}

// CheckConditions complains about match conditions that do not compile. Expressions that were stored before are not looked at again.
func CheckConditions(list []admissionregistrationv1.MatchCondition, stored map[string]bool, o cel.OptionalVariableDeclarations, at *field.Path, b *Budget) (errs field.ErrorList) {
	for n := range list {
		if stored[list[n].Expression] {
			continue
		}
		errs = append(errs, Check(Plain(), (*matchconditions.MatchCondition)(&list[n]), o, at.Index(n).Child("expression"), b)...)
	}
	return errs
}

// Check complains about an expression that does not compile, or is beyond the budget.
func Check(c cel.Compiler, e cel.ExpressionAccessor, o cel.OptionalVariableDeclarations, at *field.Path, b *Budget) field.ErrorList {
	if e.GetExpression() == "" {
		return nil // which the resource's own rules say
	}
	if ok, errs := b.Spend(e.GetExpression(), at); !ok {
		return errs
	}
	return Complain(c.CompileCELExpression(e, o, environment.NewExpressions).Error, e.GetExpression(), at)
}

// Complain is what a failed compilation says of a field.
func Complain(err *apiservercel.Error, expression string, at *field.Path) field.ErrorList {
	switch {
	case err == nil:
		return nil
	case err.Type == apiservercel.ErrorTypeRequired:
		return field.ErrorList{field.Required(at, err.Detail)}
	case err.Type == apiservercel.ErrorTypeInternal:
		return field.ErrorList{field.InternalError(at, fmt.Errorf("%s", err.Detail))}
	}
	return field.ErrorList{field.Invalid(at, expression, err.Detail)}
}

// Attributes shows a request as the published compilers take it.
func Attributes(a *admission.Attributes, v matching.View) *upstream.VersionedAttributes {
	gvr := schema.GroupVersionResource(a.Info.GroupVersionResource)
	kind := a.Shape().GVK()
	if a.Connection != nil {
		kind = v.Kind
	}
	// The record takes objects of the requested version; nobody asks it for them, since the versioned ones are set here.
	record := upstream.NewAttributesRecord(v.Object, v.Old, kind, Namespace(a), a.Named(), gvr, a.Subresource, upstream.Operation(a.Operation), a.Options(), a.DryRun, User(a.User))
	return &upstream.VersionedAttributes{Attributes: record, VersionedKind: v.Kind,
		VersionedObject: upstream.NewLazyObject(v.Object), VersionedOldObject: upstream.NewLazyObject(v.Old)}
}

// Namespace is what webhooks and policies are told of where a request is: that of a Namespace that is there is the Namespace itself.
func Namespace(a *admission.Attributes) string {
	if a.Info.Group == "" && a.Info.Resource == "namespaces" && a.Operation != admission.Create {
		return a.Name
	}
	return a.Namespace
}

// User shows who asks as the published packages take it.
func User(u authenticationv1.UserInfo) user.Info {
	out := &user.DefaultInfo{Name: u.Username, UID: u.UID, Groups: u.Groups}
	if len(u.Extra) > 0 {
		out.Extra = make(map[string][]string, len(u.Extra))
		for k, v := range u.Extra {
			out.Extra[k] = v
		}
	}
	return out
}

// GVR and GVK are how reviews name resources and kinds.
func GVR(r schema.GroupVersionResource) metav1.GroupVersionResource {
	return metav1.GroupVersionResource{Group: r.Group, Version: r.Version, Resource: r.Resource}
}

// GVK names a kind as reviews do.
func GVK(k schema.GroupVersionKind) metav1.GroupVersionKind {
	return metav1.GroupVersionKind{Group: k.Group, Version: k.Version, Kind: k.Kind}
}

// Judge lets expressions ask our authorizer.
type Judge struct{ authz.Authorizer }

// Authorize implements authorizer.UnconditionalAuthorizer.
func (j Judge) Authorize(ctx context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	q := authz.Attributes{Verb: a.GetVerb(), ResourceRequest: a.IsResourceRequest(), Namespace: a.GetNamespace(), Group: a.GetAPIGroup(), Version: a.GetAPIVersion(),
		Resource: a.GetResource(), Subresource: a.GetSubresource(), Name: a.GetName(), Path: a.GetPath()}
	if u := a.GetUser(); u != nil {
		q.User = authenticationv1.UserInfo{Username: u.GetName(), UID: u.GetUID(), Groups: u.GetGroups()}
		for k, v := range u.GetExtra() {
			if q.User.Extra == nil {
				q.User.Extra = map[string]authenticationv1.ExtraValue{}
			}
			q.User.Extra[k] = v
		}
	}
	d, reason, err := j.Authorizer.Authorize(ctx, q)
	switch d {
	case authz.Allow:
		return authorizer.DecisionAllow, reason, err
	case authz.Deny:
		return authorizer.DecisionDeny, reason, err
	}
	return authorizer.DecisionNoOpinion, reason, err
}

// Says is an expression that gives one of some types.
type Says struct {
	Expression string
	Types      []*celgo.Type
}

// GetExpression implements cel.ExpressionAccessor.
func (s *Says) GetExpression() string { return s.Expression }

// ReturnTypes implements cel.ExpressionAccessor.
func (s *Says) ReturnTypes() []*celgo.Type { return s.Types }
