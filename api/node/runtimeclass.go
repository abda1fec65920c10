// Package node holds the record of node.k8s.io/v1.
package node

import (
	nodev1 "k8s.io/api/node/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/api/core"
)

// All lists the group's resources.
var All = []*api.Info{RuntimeClass}

// RuntimeClass names a way in which the nodes' container runtime can run pods.
var RuntimeClass = api.Define(api.Resource[*nodev1.RuntimeClass]{
	Group: nodev1.GroupName, Version: "v1", Plural: "runtimeclasses", Scope: api.Cluster, AnyFinalizer: true,
	Validate: validateRuntimeClass,
	Columns: []api.Column[*nodev1.RuntimeClass]{{Name: "Handler",
		Show: func(c *nodev1.RuntimeClass) any { return c.Handler }}},
})

func validateRuntimeClass(c, old *nodev1.RuntimeClass) (errs field.ErrorList) {
	handler := field.NewPath("handler")
	msgs := api.DNSLabel(c.Handler)
	if old != nil {
		msgs = apivalidation.NameIsDNSLabel(c.Handler, false)
	}
	for _, msg := range msgs {
		if c.Handler != "" {
			errs = append(errs, field.Invalid(handler, c.Handler, msg))
		}
	}
	if old != nil && c.Handler != old.Handler {
		errs = append(errs, field.Invalid(handler, nil, apivalidation.FieldImmutableErrorMsg))
	}
	if c.Handler == "" {
		errs = append(errs, field.Required(handler, ""))
	}
	if c.Overhead != nil {
		errs = append(errs, core.ValidateOverhead(c.Overhead.PodFixed, field.NewPath("overhead"))...)
	}
	if s := c.Scheduling; s != nil {
		errs = append(errs, metav1validation.ValidateLabels(s.NodeSelector, field.NewPath("scheduling", "nodeSelector"))...)
		errs = append(errs, validateTolerations(s.Tolerations, field.NewPath("scheduling", "tolerations"))...)
	}
	return errs
}
