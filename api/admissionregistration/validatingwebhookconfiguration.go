package admissionregistration

import (
	admissionv1 "k8s.io/api/admissionregistration/v1"

	"github.com/lighter-k8s/lighter/api"
)

// ValidatingWebhookConfiguration lists webhooks that are asked about requests.
var ValidatingWebhookConfiguration = api.Define(api.Resource[*admissionv1.ValidatingWebhookConfiguration]{
	Group: group, Version: version, Plural: "validatingwebhookconfigurations", Categories: categories, Scope: api.Cluster, AnyFinalizer: true,
	Default:      defaultValidatingWebhooks,
	Validate:     validateValidatingWebhooks,
	GenerationOf: func(c *admissionv1.ValidatingWebhookConfiguration) any { return &c.Webhooks }, NilChanges: true,
	Columns: []api.Column[*admissionv1.ValidatingWebhookConfiguration]{
		{Name: "Webhooks", Type: "integer", Help: "Webhooks indicates the number of webhooks registered in this configuration",
			Show: func(c *admissionv1.ValidatingWebhookConfiguration) any { return int64(len(c.Webhooks)) }},
	},
})
