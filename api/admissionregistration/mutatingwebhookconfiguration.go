package admissionregistration

import (
	admissionv1 "k8s.io/api/admissionregistration/v1"

	"github.com/lighter-k8s/lighter/api"
)

// MutatingWebhookConfiguration lists webhooks that are asked about requests and may change objects.
var MutatingWebhookConfiguration = api.Define(api.Resource[*admissionv1.MutatingWebhookConfiguration]{
	Group: group, Version: version, Plural: "mutatingwebhookconfigurations", Categories: categories, Scope: api.Cluster, AnyFinalizer: true,
	Default:      defaultMutatingWebhooks,
	Validate:     validateMutatingWebhooks,
	GenerationOf: func(c *admissionv1.MutatingWebhookConfiguration) any { return &c.Webhooks }, NilChanges: true,
	Columns: []api.Column[*admissionv1.MutatingWebhookConfiguration]{
		{Name: "Webhooks", Type: "integer", Help: "Webhooks indicates the number of webhooks registered in this configuration",
			Show: func(c *admissionv1.MutatingWebhookConfiguration) any { return int64(len(c.Webhooks)) }},
	},
})
