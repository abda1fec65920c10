package resource

import (
	resourcev1 "k8s.io/api/resource/v1"

	"github.com/lighter-k8s/lighter/api"
)

// ResourceClaimTemplate is what the claims of a pod are made from.
var ResourceClaimTemplate = api.Define(api.Resource[*resourcev1.ResourceClaimTemplate]{
	Group: group, Version: version, Plural: "resourceclaimtemplates", Scope: api.Namespaced,
	Default: func(t *resourcev1.ResourceClaimTemplate) { defaultClaimSpec(&t.Spec.Spec) },
	Prepare: func(t, old *resourcev1.ResourceClaimTemplate) {
		if old == nil {
			dropDerived(&t.Spec.Spec, nil)
		} else {
			dropDerived(&t.Spec.Spec, &old.Spec.Spec)
		}
	},
	Validate: validateResourceClaimTemplate,
})
