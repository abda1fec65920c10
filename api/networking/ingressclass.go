package networking

import (
	networkingv1 "k8s.io/api/networking/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lighter-k8s/lighter/api"
)

// IngressClass says which controller handles the ingresses of a class.
var IngressClass = api.Define(api.Resource[*networkingv1.IngressClass]{
	Group: group, Version: version, Plural: "ingressclasses", Scope: api.Cluster,
	Default: func(c *networkingv1.IngressClass) {
		if p := c.Spec.Parameters; p != nil && p.Scope == nil {
			scope := networkingv1.IngressClassParametersReferenceScopeCluster
			p.Scope = &scope
		}
	},
	Validate:     validateIngressClass,
	GenerationOf: func(c *networkingv1.IngressClass) any { return &c.Spec },
	Columns: []api.Column[*networkingv1.IngressClass]{
		{Name: "Controller", Help: "Controller that is responsible for handling this class",
			Show: func(c *networkingv1.IngressClass) any { return c.Spec.Controller }},
		{Name: "Parameters", Help: "A reference to a resource with additional parameters", Show: showParameters},
	},
})

func showParameters(c *networkingv1.IngressClass) any {
	p := c.Spec.Parameters
	if p == nil {
		return "<none>"
	}
	kind := p.Kind
	if p.APIGroup != nil {
		kind += "." + *p.APIGroup
	}
	return kind + "/" + p.Name
}

const maxControllerName = 250

func validateIngressClass(c, old *networkingv1.IngressClass) (errs field.ErrorList) {
	at := field.NewPath("spec")
	if old != nil {
		errs = append(errs, apivalidation.ValidateImmutableField(c.Spec.Controller, old.Spec.Controller, at.Child("controller"))...)
	}
	if len(c.Spec.Controller) > maxControllerName {
		errs = append(errs, field.TooLong(at.Child("controller"), c.Spec.Controller, maxControllerName))
	}
	errs = append(errs, validation.IsDomainPrefixedPath(at.Child("controller"), c.Spec.Controller)...)
	p := c.Spec.Parameters
	if p == nil {
		return errs
	}
	at = at.Child("parameters")
	if p.APIGroup != nil {
		for _, msg := range validation.IsDNS1123Subdomain(*p.APIGroup) {
			errs = append(errs, field.Invalid(at.Child("apiGroup"), *p.APIGroup, msg))
		}
	}
	errs = append(errs, validateSegment(p.Kind, "", at.Child("kind"))...)
	errs = append(errs, validateSegment(p.Name, "", at.Child("name"))...)
	return append(errs, validateParameterScope(p, at)...)
}

// validateParameterScope wants a namespace exactly when the parameters live in one.
func validateParameterScope(p *networkingv1.IngressClassParametersReference, at *field.Path) (errs field.ErrorList) {
	cluster, namespace := networkingv1.IngressClassParametersReferenceScopeCluster, networkingv1.IngressClassParametersReferenceScopeNamespace
	if p.Scope == nil {
		return append(errs, field.Required(at.Child("scope"), ""))
	}
	if *p.Scope != cluster && *p.Scope != namespace {
		errs = append(errs, field.NotSupported(at.Child("scope"), *p.Scope, []string{cluster, namespace}))
	}
	if *p.Scope == namespace {
		if p.Namespace == nil {
			errs = append(errs, field.Required(at.Child("namespace"), "`parameters.scope` is set to 'Namespace'"))
		} else {
			for _, msg := range apivalidation.ValidateNamespaceName(*p.Namespace, false) {
				errs = append(errs, field.Invalid(at.Child("namespace"), *p.Namespace, msg))
			}
		}
	}
	if *p.Scope == cluster && p.Namespace != nil {
		errs = append(errs, field.Forbidden(at.Child("namespace"), "`parameters.scope` is set to 'Cluster'"))
	}
	return errs
}
