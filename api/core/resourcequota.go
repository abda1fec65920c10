package core

import (
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/lighter-k8s/lighter/api"
)

// ResourceQuota limits what a namespace may use in all.
var ResourceQuota = api.Define(api.Resource[*corev1.ResourceQuota]{
	Version: "v1", Plural: "resourcequotas", Short: []string{"quota"}, Scope: api.Namespaced,
	Default: func(q *corev1.ResourceQuota) { roundUp(q.Spec.Hard); roundUp(q.Status.Hard); roundUp(q.Status.Used) },
	Prepare: func(q, old *corev1.ResourceQuota) {
		q.Status = corev1.ResourceQuotaStatus{}
		if old != nil {
			q.Status = old.Status
		}
	},
	Validate: validateQuota,
	Status: &api.Status[*corev1.ResourceQuota]{
		Copy: func(dst, src *corev1.ResourceQuota) { dst.Status = src.Status }, Validate: validateQuotaStatus},
	Columns: []api.Column[*corev1.ResourceQuota]{
		{Name: "Request", Help: "Request represents a minimum amount of cpu/memory that a container may consume.",
			Show: func(q *corev1.ResourceQuota) any { return quotaUse(q, false) }},
		{Name: "Limit", Help: "Limits control the maximum amount of cpu/memory that a container may use independent of contention on the node.",
			Show: func(q *corev1.ResourceQuota) any { return quotaUse(q, true) }},
	},
})

// quotaUse shows "pods: 1/10, requests.cpu: 1/2"; limits are those named limits.*.
func quotaUse(q *corev1.ResourceQuota, limits bool) string {
	var words []string
	for _, name := range SortedKeys(q.Status.Hard) {
		if strings.HasPrefix(string(name), "limits") == limits {
			words = append(words, string(name)+": "+quantity(q.Status.Used, name)+"/"+quantity(q.Status.Hard, name))
		}
	}
	return strings.Join(words, ", ")
}
