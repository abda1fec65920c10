package authz

import (
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1"
)

const aggregateTo = "rbac.authorization.k8s.io/aggregate-to-"

// userRoles are those meant for people: cluster-admin for all, admin, edit and view for a namespace.
// Each of these three is made of every role labelled for it, so that others can add their resources.
func userRoles() []*rbacv1.ClusterRole {
	aggregated := func(name, into string) *rbacv1.ClusterRole {
		r := clusterRole(name)
		r.AggregationRule = &rbacv1.AggregationRule{ClusterRoleSelectors: []v1.LabelSelector{{MatchLabels: map[string]string{aggregateTo + name: "true"}}}}
		if into != "" {
			r.Labels[aggregateTo+into] = "true"
		}
		return r
	}
	part := func(of string, rules ...rbacv1.PolicyRule) *rbacv1.ClusterRole {
		r := clusterRole("system:aggregate-to-"+of, rules...)
		r.Labels[aggregateTo+of] = "true"
		return r
	}
	const all = "get list watch " + write
	return []*rbacv1.ClusterRole{
		clusterRole("cluster-admin", rule("*", "*", "*"), paths("*", "*")),
		aggregated("admin", ""), aggregated("edit", "admin"), aggregated("view", "edit"),
		part("admin",
			rule("create", "authorization.k8s.io", "localsubjectaccessreviews"),
			rule(all, "rbac.authorization.k8s.io", "roles rolebindings")),
		part("edit",
			// Reading these is as much as writing: through them one acts as somebody else.
			rule(read, "core", "pods/attach pods/proxy pods/exec pods/portforward secrets services/proxy"),
			rule("impersonate", "core", "serviceaccounts"),
			rule(write, "core", "pods pods/attach pods/proxy pods/exec pods/portforward"),
			rule("create", "core", "pods/eviction"),
			rule(write, "core", "replicationcontrollers replicationcontrollers/scale serviceaccounts services services/proxy persistentvolumeclaims configmaps secrets events"),
			rule("create", "core", "serviceaccounts/token"),
			rule(write, "apps", "statefulsets statefulsets/scale daemonsets deployments deployments/scale deployments/rollback replicasets replicasets/scale"),
			rule(write, "autoscaling", "horizontalpodautoscalers"),
			rule(write, "batch", "jobs cronjobs"),
			rule(write, "extensions", "daemonsets deployments deployments/scale deployments/rollback ingresses replicasets replicasets/scale replicationcontrollers/scale networkpolicies"),
			rule(write, "policy", "poddisruptionbudgets"),
			rule(write, "networking.k8s.io", "networkpolicies ingresses"),
			rule(all, "coordination.k8s.io", "leases"),
			rule(write, "resource.k8s.io", "resourceclaims resourceclaimtemplates")),
		part("view",
			rule(read, "core", "pods replicationcontrollers replicationcontrollers/scale serviceaccounts services services/status endpoints persistentvolumeclaims persistentvolumeclaims/status configmaps"),
			rule(read, "core", "limitranges resourcequotas bindings events pods/status resourcequotas/status namespaces/status replicationcontrollers/status pods/log"),
			rule(read, "core", "namespaces"),
			rule(read, "discovery.k8s.io", "endpointslices"),
			rule(read, "apps", "controllerrevisions statefulsets statefulsets/status statefulsets/scale daemonsets daemonsets/status deployments deployments/status deployments/scale replicasets replicasets/status replicasets/scale"),
			rule(read, "autoscaling", "horizontalpodautoscalers horizontalpodautoscalers/status"),
			rule(read, "batch", "jobs cronjobs cronjobs/status jobs/status"),
			rule(read, "extensions", "daemonsets daemonsets/status deployments deployments/scale deployments/status ingresses ingresses/status replicasets replicasets/scale replicasets/status replicationcontrollers/scale networkpolicies"),
			rule(read, "policy", "poddisruptionbudgets poddisruptionbudgets/status"),
			rule(read, "networking.k8s.io", "networkpolicies ingresses ingresses/status"),
			rule(read, "resource.k8s.io", "resourceclaims resourceclaims/status resourceclaimtemplates")),
	}
}
