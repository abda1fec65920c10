package policy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	celgo "github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/matchconditions"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/cel/environment"

	"github.com/lighter-k8s/lighter/admission"
	"github.com/lighter-k8s/lighter/admission/expression"
	"github.com/lighter-k8s/lighter/admission/matching"
)

var (
	anything = []*celgo.Type{celgo.AnyType, celgo.DynType}
	yesOrNo  = []*celgo.Type{celgo.BoolType}
	words    = []*celgo.Type{celgo.StringType}
	noted    = []*celgo.Type{celgo.StringType, celgo.NullType}
)

// validating is a ValidatingAdmissionPolicy, compiled.
type validating struct {
	policy      *admissionv1.ValidatingAdmissionPolicy
	target      target
	bypass      time.Time               // until then it is not asked
	conditions  matchconditions.Matcher // nil: none
	validations cel.ConditionEvaluator
	messages    map[int]cel.ConditionEvaluator
	annotations cel.ConditionEvaluator
}

func newValidating(p *admissionv1.ValidatingAdmissionPolicy) *validating {
	v := &validating{policy: p, target: newTarget(p.Spec.MatchConstraints, false), bypass: admission.BypassedUntil(p), messages: map[int]cel.ConditionEvaluator{}}
	c, err := cel.NewCompositedCompiler(expression.Environment())
	if err != nil {
		v.target.err = err
		return v
	}
	o := cel.OptionalVariableDeclarations{HasParams: p.Spec.ParamKind != nil, HasAuthorizer: true}
	c.CompileAndStoreVariables(variables(p.Spec.Variables), o, environment.StoredExpressions)
	v.conditions = conditions(c, p.Spec.MatchConditions, o, p.Spec.FailurePolicy, "validating", p.Name)
	unjudged := cel.OptionalVariableDeclarations{HasParams: o.HasParams}
	var all, annotations []cel.ExpressionAccessor
	for n, one := range p.Spec.Validations {
		all = append(all, &expression.Says{Expression: one.Expression, Types: yesOrNo})
		if one.MessageExpression != "" {
			v.messages[n] = c.CompileCondition([]cel.ExpressionAccessor{&expression.Says{Expression: one.MessageExpression, Types: words}}, unjudged, environment.StoredExpressions)
		}
	}
	v.validations = c.CompileCondition(all, o, environment.StoredExpressions)
	for _, one := range p.Spec.AuditAnnotations {
		annotations = append(annotations, &expression.Says{Expression: one.ValueExpression, Types: noted})
	}
	v.annotations = c.CompileCondition(annotations, o, environment.StoredExpressions)
	return v
}

func conditions(c *cel.CompositedCompiler, list []admissionv1.MatchCondition, o cel.OptionalVariableDeclarations, failure *admissionv1.FailurePolicyType, kind, name string) matchconditions.Matcher {
	if len(list) == 0 {
		return nil
	}
	var all []cel.ExpressionAccessor
	for n := range list {
		all = append(all, (*matchconditions.MatchCondition)(&list[n]))
	}
	if failure == nil {
		fail := admissionv1.Fail
		failure = &fail
	}
	return matchconditions.NewMatcher(c.CompileCondition(all, o, environment.StoredExpressions), failure, "policy", kind, name)
}

// verdict is that a policy does not hold, or cannot be told to.
type verdict struct {
	policy, binding string
	message         string
	reason          metav1.StatusReason
	index           int // of the validation; -1: none
	err             error
	took            time.Duration
	actions         []admissionv1.ValidationAction
}

// Validators is the plugin of the validating policies.
func (p *Policies) Validators() admission.Plugin {
	return admission.Plugin{Name: "ValidatingAdmissionPolicy", Validate: p.validate}
}

// validate holds a request against all policies that are bound; the first binding, by name, that denies is the answer.
func (p *Policies) validate(ctx context.Context, a *admission.Attributes) error {
	bindings := p.ValidatingBindings.View.List("")
	if len(bindings) == 0 || exempted(ctx, a) {
		return nil
	}
	var verdicts []verdict
	notes := map[string][]string{}
	for _, o := range bindings {
		b := o.(*admissionv1.ValidatingAdmissionPolicyBinding)
		policy, ok := p.Validating.Get("", b.Spec.PolicyName)
		if !ok {
			continue
		}
		v := of(p, policy, func() *validating { return newValidating(policy) })
		if p.bypassed(v.bypass, policy.Name, b.Name, a) {
			continue
		}
		start := time.Now()
		found, meant, err := p.bound(ctx, v, b, a, notes)
		took := time.Since(start)
		if err != nil && fails(policy.Spec.FailurePolicy) {
			found = append(found, verdict{message: err.Error(), reason: metav1.StatusReasonInvalid, index: -1, err: err})
		} else if err != nil {
			p.Log.Debug("policy could not be evaluated", "object", policy.Name, "err", err)
		}
		if meant && len(found) == 0 {
			p.Metrics.decided(policy.Name, b.Name, "allow", err, took)
		}
		for _, f := range found {
			f.policy, f.binding, f.actions, f.took = policy.Name, b.Name, b.Spec.ValidationActions, took
			verdicts = append(verdicts, f)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(notes)) {
		slices.Sort(notes[key])
		a.Note(key, strings.Join(slices.Compact(notes[key]), ", "))
	}
	for _, f := range verdicts {
		if o, ok := p.Validating.Get("", f.policy); ok && slices.Contains(f.actions, admissionv1.Deny) {
			p.Obstacles.Refused(o, admissionv1.SchemeGroupVersion.WithKind("ValidatingAdmissionPolicy"), "ValidatingAdmissionPolicy "+f.policy, a, deny(a, f))
		}
		for _, action := range f.actions {
			p.Metrics.decided(f.policy, f.binding, string(action), f.err, f.took)
		}
	}
	return enforce(a, verdicts)
}

// bound evaluates a policy by one binding, for each of its params. meant: they are for such requests.
func (p *Policies) bound(ctx context.Context, v *validating, b *admissionv1.ValidatingAdmissionPolicyBinding, a *admission.Attributes, notes map[string][]string) (out []verdict, meant bool, err error) {
	narrow := of(p, b, func() *target { t := newTarget(b.Spec.MatchResources, true); return &t })
	i, err := p.match(&v.target, narrow, a)
	if i == nil || err != nil {
		return nil, err != nil, err
	}
	params, none, err := p.params(v.policy.Spec.ParamKind, b.Spec.ParamRef, a.Namespace)
	if none || err != nil {
		return nil, err != nil, err
	}
	seen, err := matching.See(a, i)
	if err != nil {
		return nil, true, err
	}
	for _, param := range params {
		found, err := p.evaluate(ctx, v, a, seen, param, notes)
		if err != nil {
			return out, true, err
		}
		out = append(out, found...)
	}
	return out, true, nil
}

func (p *Policies) evaluate(ctx context.Context, v *validating, a *admission.Attributes, seen matching.View, param runtime.Object, notes map[string][]string) ([]verdict, error) {
	attributes, judge, spec := expression.Attributes(a, seen), expression.Judge{Authorizer: p.Authz}, &v.policy.Spec
	if v.conditions != nil {
		got := v.conditions.Match(ctx, attributes, param, judge)
		if got.Error != nil || !got.Matches {
			return nil, got.Error
		}
	}
	request := cel.CreateAdmissionRequest(attributes.Attributes, expression.GVR(seen.Info.GroupVersionResource), expression.GVK(seen.Kind))
	bind := cel.OptionalVariableBindings{VersionedParams: param, Authorizer: judge}
	ns := p.namespace(a)
	results, left, err := v.validations.ForInput(ctx, attributes, request, bind, ns, celconfig.RuntimeCELCostBudget)
	if err != nil {
		return nil, err
	}
	var out []verdict
	for n, r := range results {
		rule := &spec.Validations[n]
		reason := metav1.StatusReasonInvalid
		switch {
		case r.Error != nil && !fails(spec.FailurePolicy):
			p.Log.Debug("policy could not be evaluated", "object", v.policy.Name, "err", r.Error)
			continue
		case r.Error != nil:
			out = append(out, verdict{message: r.Error.Error(), reason: reason, index: n, err: r.Error})
			continue
		case r.EvalResult == types.True:
			continue
		}
		if rule.Reason != nil {
			reason = *rule.Reason
		}
		message := "failed expression: " + strings.TrimSpace(rule.Expression)
		if rule.Message != "" {
			message = strings.TrimSpace(rule.Message)
		}
		if say := v.messages[n]; say != nil {
			said, rest, err := say.ForInput(ctx, attributes, request, cel.OptionalVariableBindings{VersionedParams: param}, ns, left)
			switch {
			case err != nil || len(said) != 1 || said[0].Error != nil:
				p.Log.Debug("messageExpression could not be evaluated", "object", v.policy.Name, "err", err)
			default:
				left = rest
				if text, ok := said[0].EvalResult.Value().(string); ok && oneLine(text) != "" && len(text) <= celconfig.MaxEvaluatedMessageExpressionSizeBytes {
					message = oneLine(text)
				}
			}
		}
		out = append(out, verdict{message: message, reason: reason, index: n})
	}
	return out, p.annotate(ctx, v, func() ([]cel.EvaluationResult, error) {
		got, _, err := v.annotations.ForInput(ctx, attributes, request, bind, ns, left)
		return got, err
	}, notes)
}

// longestNote bounds an audit annotation. Source: type comment of AuditAnnotation.
const longestNote = 10 * 1024

func (p *Policies) annotate(_ context.Context, v *validating, evaluate func() ([]cel.EvaluationResult, error), notes map[string][]string) error {
	if len(v.policy.Spec.AuditAnnotations) == 0 {
		return nil
	}
	got, err := evaluate()
	if err != nil {
		return err
	}
	for n, r := range got {
		if r.Error != nil {
			if fails(v.policy.Spec.FailurePolicy) {
				return r.Error
			}
			continue
		}
		if text, ok := r.EvalResult.Value().(string); ok && strings.TrimSpace(text) != "" {
			key := v.policy.Name + "/" + v.policy.Spec.AuditAnnotations[n].Key
			text = strings.TrimSpace(text)
			notes[key] = append(notes[key], strings.ToValidUTF8(text[:min(len(text), longestNote)], ""))
		}
	}
	return nil
}

// enforce does what the bindings say about verdicts.
func enforce(a *admission.Attributes, verdicts []verdict) error {
	type failure struct {
		Message           string                         `json:"message"`
		Policy            string                         `json:"policy"`
		Binding           string                         `json:"binding"`
		ExpressionIndex   string                         `json:"expressionIndex"`
		ValidationActions []admissionv1.ValidationAction `json:"validationActions"`
	}
	var audited []failure
	var denied error
	for _, v := range verdicts {
		for _, action := range v.actions {
			switch action {
			case admissionv1.Deny:
				if denied == nil {
					denied = deny(a, v)
				}
			case admissionv1.Warn:
				if a.Warn != nil {
					a.Warn(fmt.Sprintf("Validation failed for ValidatingAdmissionPolicy '%s' with binding '%s': %s", v.policy, v.binding, v.message))
				}
			case admissionv1.Audit:
				audited = append(audited, failure{v.message, v.policy, v.binding, strconv.Itoa(max(v.index, 0)), v.actions})
			}
		}
	}
	if len(audited) > 0 {
		note, err := json.Marshal(audited)
		if err != nil {
			return errors.Join(denied, err)
		}
		a.Note("validation.policy.admission.k8s.io/validation_failure", string(note))
	}
	return denied
}

// codes are the HTTP codes of the reasons that a validation can give. Source: type comment of Validation.
var codes = map[metav1.StatusReason]int32{metav1.StatusReasonForbidden: http.StatusForbidden, metav1.StatusReasonUnauthorized: http.StatusUnauthorized,
	metav1.StatusReasonRequestEntityTooLarge: http.StatusRequestEntityTooLarge, metav1.StatusReasonInvalid: http.StatusUnprocessableEntity}

func deny(a *admission.Attributes, v verdict) error {
	text := fmt.Sprintf("ValidatingAdmissionPolicy '%s' with binding '%s' denied request: %s", v.policy, v.binding, v.message)
	e := apierrors.NewForbidden(a.Info.GroupResource(), a.Name, errors.New(text))
	e.ErrStatus.Reason = v.reason
	if code := codes[v.reason]; code != 0 {
		e.ErrStatus.Code = code
	}
	e.ErrStatus.Details.Causes = append(e.ErrStatus.Details.Causes, metav1.StatusCause{Message: text})
	return e
}
