package policy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured/unstructuredscheme"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	upstream "k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/policy/mutating/patch"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/matchconditions"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/cel/environment"
	"sigs.k8s.io/structured-merge-diff/v6/typed"

	"github.com/lighter-k8s/lighter/admission"
	"github.com/lighter-k8s/lighter/admission/expression"
	"github.com/lighter-k8s/lighter/admission/matching"
	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/api/managed"
)

// mutating is a MutatingAdmissionPolicy, compiled.
type mutating struct {
	policy     *admissionv1.MutatingAdmissionPolicy
	target     target
	bypass     time.Time               // until then it is not asked
	conditions matchconditions.Matcher // nil: none
	patches    []patch.Patcher
}

func newMutating(p *admissionv1.MutatingAdmissionPolicy) *mutating {
	m := &mutating{policy: p, target: newTarget(p.Spec.MatchConstraints, false), bypass: admission.BypassedUntil(p)}
	c, err := cel.NewCompositedCompiler(expression.Environment())
	if err != nil {
		m.target.err = err
		return m
	}
	o := cel.OptionalVariableDeclarations{HasParams: p.Spec.ParamKind != nil, HasAuthorizer: true}
	c.CompileAndStoreVariables(variables(p.Spec.Variables), o, environment.StoredExpressions)
	m.conditions = conditions(c, p.Spec.MatchConditions, o, p.Spec.FailurePolicy, "mutating", p.Name)
	o.HasPatchTypes = true
	for _, one := range p.Spec.Mutations {
		switch {
		case one.PatchType == admissionv1.PatchTypeApplyConfiguration && one.ApplyConfiguration != nil:
			m.patches = append(m.patches, patch.NewApplyConfigurationPatcher(c.CompileMutatingEvaluator(
				&patch.ApplyConfigurationCondition{Expression: one.ApplyConfiguration.Expression}, o, environment.StoredExpressions)))
		case one.PatchType == admissionv1.PatchTypeJSONPatch && one.JSONPatch != nil:
			m.patches = append(m.patches, patch.NewJSONPatcher(c.CompileMutatingEvaluator(
				&patch.JSONPatchCondition{Expression: one.JSONPatch.Expression}, o, environment.StoredExpressions)))
		}
	}
	return m
}

// Mutators is the plugin of the mutating policies.
func (p *Policies) Mutators() admission.Plugin {
	return admission.Plugin{Name: "MutatingAdmissionPolicy", Mutate: p.mutate}
}

// mutate applies all policies that are bound, in the order of their bindings' names; in a second pass those that want to see what others
// changed after them.
func (p *Policies) mutate(ctx context.Context, a *admission.Attributes) error {
	bindings := p.MutatingBindings.View.List("")
	if len(bindings) == 0 || a.Object == nil || exempted(ctx, a) || a.Operation != admission.Create && a.Operation != admission.Update {
		return nil
	}
	round, ok := admission.Round[types.UID](a, "MutatingAdmissionPolicy") // by the UIDs of bindings
	if !ok {
		return nil
	}
	if err := a.Show(); err != nil {
		return err
	}
	asked := false
	for _, o := range bindings {
		b := o.(*admissionv1.MutatingAdmissionPolicyBinding)
		if round.Skips(a, b.UID) {
			continue
		}
		policy, ok := p.Mutating.Get("", b.Spec.PolicyName)
		if !ok {
			continue
		}
		compiled := of(p, policy, func() *mutating { return newMutating(policy) })
		if p.bypassed(compiled.bypass, policy.Name, b.Name, a) {
			continue
		}
		start := time.Now()
		meant, changed, err := p.change(ctx, compiled, b, a)
		if meant || err != nil {
			p.Metrics.changed(policy.Name, b.Name, err, time.Since(start))
		}
		if err != nil && fails(policy.Spec.FailurePolicy) {
			return refuse(a, policy.Name, b.Name, err)
		} else if err != nil {
			p.Log.Debug("policy could not be evaluated", "object", policy.Name, "err", err)
		}
		if !meant {
			continue
		}
		asked = true
		round.Did(a, b.UID, changed, policy.Spec.ReinvocationPolicy == admissionv1.IfNeededReinvocationPolicy)
	}
	if !asked {
		return nil
	}
	return round.Keep(a)
}

func refuse(a *admission.Attributes, policy, binding string, why error) error {
	text := fmt.Sprintf("policy '%s' with binding '%s' denied request: %v", policy, binding, why)
	e := apierrors.NewForbidden(a.Info.GroupResource(), a.Name, errors.New(text))
	e.ErrStatus.Reason, e.ErrStatus.Code = metav1.StatusReasonInvalid, codes[metav1.StatusReasonInvalid]
	e.ErrStatus.Details.Causes = append(e.ErrStatus.Details.Causes, metav1.StatusCause{Message: text})
	return e
}

// change applies a policy's mutations by one binding, for each of its params. Nothing is changed if one of them fails.
func (p *Policies) change(ctx context.Context, m *mutating, b *admissionv1.MutatingAdmissionPolicyBinding, a *admission.Attributes) (meant, changed bool, err error) {
	narrow := of(p, b, func() *target { t := newTarget(b.Spec.MatchResources, true); return &t })
	i, err := p.match(&m.target, narrow, a)
	if i == nil || err != nil {
		return false, false, err
	}
	params, none, err := p.params(m.policy.Spec.ParamKind, b.Spec.ParamRef, a.Namespace)
	if none || err != nil {
		return false, false, err
	}
	for _, param := range params {
		seen, err := matching.See(a, i)
		if err != nil {
			return meant, changed, err
		}
		attributes, judge := expression.Attributes(a, seen), expression.Judge{Authorizer: p.Authz}
		if m.conditions != nil {
			if got := m.conditions.Match(ctx, attributes, param, judge); got.Error != nil || !got.Matches {
				if got.Error != nil {
					return meant, changed, got.Error
				}
				continue
			}
		}
		meant = true
		for _, one := range m.patches {
			next, err := one.Patch(ctx, patch.Request{MatchedResource: seen.Info.GroupVersionResource, VersionedAttributes: attributes, ObjectInterfaces: untyped,
				OptionalVariables: cel.OptionalVariableBindings{VersionedParams: param, Authorizer: judge}, Namespace: p.namespace(a), TypeConverter: converter{i, a.As}},
				celconfig.RuntimeCELCostBudget)
			if err != nil {
				return meant, changed, err
			}
			attributes.UpdateObject(next)
		}
		did, err := put(a, i, attributes.VersionedObject.Object())
		changed = changed || did
		if err != nil {
			return meant, changed, err
		}
	}
	return meant, changed, nil
}

// put makes the request's object what the mutations made of it.
func put(a *admission.Attributes, i *api.Info, next runtime.Object) (bool, error) {
	data, err := json.Marshal(next)
	if err != nil {
		return false, err
	}
	obj, err := matching.Read(a, i, data)
	if err != nil {
		return false, err
	}
	return matching.Put(a, i, obj)
}

// untyped is how patched objects are read: as they are, since the request's own record reads them then.
var untyped upstream.ObjectInterfaces = &upstream.RuntimeObjectInterfaces{ObjectCreater: unstructuredscheme.NewUnstructuredCreator(),
	ObjectTyper: unstructuredscheme.NewUnstructuredObjectTyper(), ObjectDefaulter: undefaulted{}}

type undefaulted struct{}

// Default implements runtime.ObjectDefaulter.
func (undefaulted) Default(runtime.Object) {}

// converter merges apply configurations as the record's type says. as: the request's object is another one, such as a Scale.
type converter struct{ i, as *api.Info }

// ObjectToTyped implements managedfields.TypeConverter.
func (c converter) ObjectToTyped(o runtime.Object, opts ...typed.ValidationOptions) (*typed.TypedValue, error) {
	i := c.i
	if c.as != nil {
		i = c.as
	}
	t, err := managed.Typed(i)
	if err != nil {
		return nil, err
	}
	if u, ok := o.(*unstructured.Unstructured); ok {
		return t.FromUnstructured(u.Object, opts...)
	}
	return t.FromStructured(o, opts...)
}

// TypedToObject implements managedfields.TypeConverter.
func (c converter) TypedToObject(v *typed.TypedValue) (runtime.Object, error) {
	m, ok := v.AsValue().Unstructured().(map[string]any)
	if !ok {
		return nil, fmt.Errorf("want an object, have %T", v.AsValue().Unstructured())
	}
	return &unstructured.Unstructured{Object: m}, nil
}
