package core

import (
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"

	"github.com/lighter-k8s/lighter/api"
)

// ServiceAccount is an identity that pods can have. Its columns are Name and Age (since 1.35).
var ServiceAccount = api.Define(api.Resource[*corev1.ServiceAccount]{
	Version: "v1", Plural: "serviceaccounts", Short: []string{"sa"}, Scope: api.Namespaced,
	// Of the secrets it refers to, a service account keeps the names alone.
	Prepare: func(a, _ *corev1.ServiceAccount) {
		for i := range a.Secrets {
			a.Secrets[i] = corev1.ObjectReference{Name: a.Secrets[i].Name}
		}
	},
	ValidateName: apivalidation.ValidateServiceAccountName,
	Subresources: []api.Subresource{{Name: "token", Kind: "TokenRequest", Group: "authentication.k8s.io", Version: "v1", Verbs: create}},
})
