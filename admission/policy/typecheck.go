package policy

import (
	"cmp"
	"context"
	"slices"
	"strings"

	celgo "github.com/google/cel-go/cel"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	apiversion "k8s.io/apimachinery/pkg/util/version"
	"k8s.io/apiserver/pkg/admission/plugin/cel"
	apiservercel "k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/environment"
	"k8s.io/apiserver/pkg/cel/library"
	"k8s.io/apiserver/pkg/cel/openapi"
	"k8s.io/kube-openapi/pkg/validation/spec"

	"github.com/lighter-k8s/lighter/admission/expression"
	"github.com/lighter-k8s/lighter/api"
)

// Types checks the expressions of policies against the types that they mean, which tells their writers of fields that are not there.
// It changes nothing of what policies do. Source: Kubernetes documentation, Validating Admission Policy, Type checking.
type Types struct {
	Kind     func(schema.GroupVersionKind) *api.Info     // nil: there is none
	Resource func(schema.GroupVersionResource) *api.Info // nil: there is none
	Schema   func(*api.Info) (*spec.Schema, error)
	// Changes, if set, calls told with the records of resources that changed, came or went, until ctx ends.
	Changes func(ctx context.Context, told func(changed []*api.Info))
}

// Follow calls told, until ctx ends, each time that types change, with what tells of a policy whether it was checked against one of them.
func (t *Types) Follow(ctx context.Context, told func(concerns func(*admissionv1.ValidatingAdmissionPolicy) bool)) {
	if t.Changes == nil {
		return
	}
	t.Changes(ctx, func(changed []*api.Info) {
		told(func(p *admissionv1.ValidatingAdmissionPolicy) bool { return concerns(p, changed) })
	})
}

// concerns tells whether a policy is checked against the type of one of these.
func concerns(p *admissionv1.ValidatingAdmissionPolicy, changed []*api.Info) bool {
	names := named(p.Spec.MatchConstraints)
	return slices.ContainsFunc(changed, func(i *api.Info) bool {
		k := p.Spec.ParamKind
		return slices.Contains(names, i.GroupVersionResource) || k != nil && k.Kind == i.Kind && k.APIVersion == i.GVK().GroupVersion().String()
	})
}

// mostTypes bounds how many types a policy is checked against. Source: as Types.
const mostTypes = 10

// Check gives the warnings about a policy's expressions, each with a paragraph for each type.
func (t *Types) Check(p *admissionv1.ValidatingAdmissionPolicy) *admissionv1.TypeChecking {
	out := &admissionv1.TypeChecking{}
	found := map[string]*strings.Builder{}
	var order []string
	params := t.params(p.Spec.ParamKind)
	for _, i := range t.meant(p.Spec.MatchConstraints) {
		object := t.declare(i)
		if object == nil {
			continue
		}
		for _, w := range complaints(p, object, params) {
			b := found[w.FieldRef]
			if b == nil {
				b = &strings.Builder{}
				found[w.FieldRef] = b
				order = append(order, w.FieldRef)
			}
			b.WriteString(i.GVK().String() + ": " + w.Warning + "\n")
		}
	}
	for _, ref := range order {
		out.ExpressionWarnings = append(out.ExpressionWarnings, admissionv1.ExpressionWarning{FieldRef: ref, Warning: strings.TrimSuffix(found[ref].String(), "\n")})
	}
	return out
}

// meant are the records of the resources that constraints name.
func (t *Types) meant(m *admissionv1.MatchResources) (out []*api.Info) {
	for _, n := range named(m) {
		if i := t.Resource(n); i != nil {
			out = append(out, i)
		}
	}
	return out
}

// named are the resources that constraints name without wildcards, the first ones in order of group, version and resource. Subresources,
// whose objects may be of other kinds, are left out.
func named(m *admissionv1.MatchResources) (names []schema.GroupVersionResource) {
	if m == nil {
		return nil
	}
	for _, r := range m.ResourceRules {
		if slices.Contains(r.APIGroups, "*") || slices.Contains(r.APIVersions, "*") {
			continue
		}
		for _, g := range r.APIGroups {
			for _, v := range r.APIVersions {
				for _, resource := range r.Resources {
					if !strings.ContainsAny(resource, "*/") {
						names = append(names, schema.GroupVersionResource{Group: g, Version: v, Resource: resource})
					}
				}
			}
		}
	}
	slices.SortFunc(names, func(a, b schema.GroupVersionResource) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Version, b.Version), cmp.Compare(a.Resource, b.Resource))
	})
	names = slices.Compact(names)
	return names[:min(len(names), mostTypes)]
}

// declare is the type of a resource's objects; nil: it cannot be told.
func (t *Types) declare(i *api.Info) *apiservercel.DeclType {
	s, err := t.Schema(i)
	if err != nil {
		return nil
	}
	d := openapi.SchemaDeclType(s, true)
	if d == nil {
		return nil
	}
	k := i.GVK()
	return d.MaybeAssignTypeName(strings.Join([]string{"kubernetes", k.Group, k.Version, k.Kind}, "."))
}

// params is the type of a policy's params: nil where it takes none, anything where it is not known.
func (t *Types) params(kind *admissionv1.ParamKind) *apiservercel.DeclType {
	if kind == nil {
		return nil
	}
	if gv, err := schema.ParseGroupVersion(kind.APIVersion); err == nil {
		if i := t.Kind(gv.WithKind(kind.Kind)); i != nil {
			if d := t.declare(i); d != nil {
				return d
			}
		}
	}
	return apiservercel.DynType
}

// judge compiles expressions in the environment of the policy's variables, whose types are those of what was compiled before.
type judge struct{ of *cel.CompositedCompiler }

// CompileCELExpression implements cel.Compiler. There is nothing to run, so it makes no program.
func (t judge) CompileCELExpression(e cel.ExpressionAccessor, _ cel.OptionalVariableDeclarations, mode environment.Type) cel.CompilationResult {
	fail := func(text string) cel.CompilationResult {
		return cel.CompilationResult{Error: &apiservercel.Error{Type: apiservercel.ErrorTypeInvalid, Detail: text}, ExpressionAccessor: e, OutputType: celgo.DynType}
	}
	env, err := t.of.Env(mode)
	if err != nil {
		return fail(err.Error())
	}
	ast, issues := env.Compile(e.GetExpression())
	if issues.Err() != nil {
		return fail(issues.String())
	}
	if got := ast.OutputType(); fits(got, e.ReturnTypes()) {
		return cel.CompilationResult{ExpressionAccessor: e, OutputType: got}
	}
	var names []string
	for _, w := range e.ReturnTypes() {
		names = append(names, w.String())
	}
	return fail("must evaluate to " + strings.Join(names, " or ") + " but got " + ast.OutputType().String())
}

// fits tells whether what an expression gives may be one of these.
func fits(got *celgo.Type, want []*celgo.Type) bool {
	return got.IsExactType(celgo.DynType) || slices.ContainsFunc(want, func(w *celgo.Type) bool {
		return w.IsExactType(celgo.AnyType) || w.IsExactType(celgo.DynType) || w.IsExactType(got)
	})
}

// complaints compiles all expressions of a policy for objects of one type.
func complaints(p *admissionv1.ValidatingAdmissionPolicy, object, params *apiservercel.DeclType) (out []admissionv1.ExpressionWarning) {
	request, namespace := cel.BuildRequestType(), cel.BuildNamespaceType()
	o := environment.VersionedOptions{IntroducedVersion: apiversion.MajorMinor(1, 0), DeclTypes: []*apiservercel.DeclType{object, request, namespace},
		EnvOptions: []celgo.EnvOption{
			celgo.Variable(cel.ObjectVarName, object.CelType()), celgo.Variable(cel.OldObjectVarName, object.CelType()),
			celgo.Variable(cel.RequestVarName, request.CelType()), celgo.Variable(cel.NamespaceVarName, namespace.CelType()),
			celgo.Variable(cel.AuthorizerVarName, library.AuthorizerType), celgo.Variable(cel.RequestResourceAuthorizerVarName, library.ResourceCheckType)}}
	if params != nil {
		if params != apiservercel.DynType && params.TypeName() != object.TypeName() {
			o.DeclTypes = append(o.DeclTypes, params)
		}
		o.EnvOptions = append(o.EnvOptions, celgo.Variable(cel.ParamsVarName, params.CelType()))
	}
	env, err := expression.Environment().Extend(o)
	if err != nil {
		return nil
	}
	c, err := cel.NewCompositedCompilerForTypeChecking(env)
	if err != nil {
		return nil
	}
	c.Compiler = judge{c}
	at := field.NewPath("spec")
	note := func(r cel.CompilationResult, at *field.Path) {
		if r.Error != nil {
			out = append(out, admissionv1.ExpressionWarning{FieldRef: at.String(), Warning: r.Error.Detail})
		}
	}
	none := cel.OptionalVariableDeclarations{}
	for n, v := range variables(p.Spec.Variables) {
		note(c.CompileAndStoreVariable(v, none, environment.StoredExpressions), at.Child("variables").Index(n).Child("expression"))
	}
	says := func(text string, types []*celgo.Type, at *field.Path) {
		if strings.TrimSpace(text) != "" {
			note(c.CompileCELExpression(&expression.Says{Expression: text, Types: types}, none, environment.StoredExpressions), at)
		}
	}
	for n, m := range p.Spec.MatchConditions {
		says(m.Expression, yesOrNo, at.Child("matchConditions").Index(n).Child("expression"))
	}
	for n, v := range p.Spec.Validations {
		says(v.Expression, yesOrNo, at.Child("validations").Index(n).Child("expression"))
		says(v.MessageExpression, words, at.Child("validations").Index(n).Child("messageExpression"))
	}
	for n, v := range p.Spec.AuditAnnotations {
		says(v.ValueExpression, noted, at.Child("auditAnnotations").Index(n).Child("valueExpression"))
	}
	return out
}
