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
	return []*rbacv1.ClusterRole{
		clusterRole("cluster-admin", rule("*", "*", "*"), paths("*", "*")),
		aggregated("admin", ""), aggregated("edit", "admin"), aggregated("view", "edit"),
		part("admin",
			rule("create", "authorization.k8s.io", "localsubjectaccessreviews"), rule(all, "rbac.authorization.k8s.io", "rolebindings roles")),
		part("edit",
			// Reading these is as much as writing: through them one acts as somebody else.
			rule(read, "core", "pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy"), rule("impersonate", "core", "serviceaccounts"),
			rule(write, "core", "pods pods/attach pods/exec pods/portforward pods/proxy"), rule("create", "core", "pods/eviction"),
			rule(write, "core", "configmaps persistentvolumeclaims replicationcontrollers replicationcontrollers/scale secrets serviceaccounts services services/proxy"),
			rule("create", "core", "serviceaccounts/token"), rule(write, "core events.k8s.io", "events"),
			rule(write, "apps", "daemonsets deployments deployments/rollback deployments/scale replicasets replicasets/scale statefulsets statefulsets/scale"),
			rule(write, "autoscaling", "horizontalpodautoscalers"), rule(write, "batch", "cronjobs jobs"),
			rule(write, "extensions", "daemonsets deployments deployments/rollback deployments/scale ingresses networkpolicies replicasets replicasets/scale replicationcontrollers/scale"),
			rule(write, "policy", "poddisruptionbudgets"), rule(write, "networking.k8s.io", "ingresses networkpolicies"),
			rule(all, "coordination.k8s.io", "leases"), rule(write, "resource.k8s.io", "resourceclaims resourceclaimtemplates")),
		part("view",
			rule(read, "core", "configmaps endpoints persistentvolumeclaims persistentvolumeclaims/status pods replicationcontrollers replicationcontrollers/scale serviceaccounts services services/status"),
			rule(read, "core", "bindings limitranges namespaces/status pods/log pods/status replicationcontrollers/status resourcequotas resourcequotas/status"),
			rule(read, "core", "namespaces"), rule(read, "core events.k8s.io", "events"), rule(read, "discovery.k8s.io", "endpointslices"),
			rule(read, "apps", "controllerrevisions daemonsets daemonsets/status deployments deployments/scale deployments/status replicasets replicasets/scale replicasets/status statefulsets statefulsets/scale statefulsets/status"),
			rule(read, "autoscaling", "horizontalpodautoscalers horizontalpodautoscalers/status"), rule(read, "batch", "cronjobs cronjobs/status jobs jobs/status"),
			rule(read, "extensions", "daemonsets daemonsets/status deployments deployments/scale deployments/status ingresses ingresses/status networkpolicies replicasets replicasets/scale replicasets/status replicationcontrollers/scale"),
			rule(read, "policy", "poddisruptionbudgets poddisruptionbudgets/status"), rule(read, "networking.k8s.io", "ingresses ingresses/status networkpolicies"),
			rule(read, "resource.k8s.io", "resourceclaims resourceclaims/status resourceclaimtemplates")),
	}
}
