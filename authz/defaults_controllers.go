package authz

import rbacv1 "k8s.io/api/rbac/v1"

const controllerPrefix = "system:controller:"

// controllerRules are the rules of one controller, which is the service account of that name in kube-system.
type controllerRules struct {
	name  string
	rules []rbacv1.PolicyRule
}

func controllers() []controllerRules {
	c := func(name string, rules ...rbacv1.PolicyRule) controllerRules { return controllerRules{name, rules} }
	const (
		history = "create delete get list patch update watch"
		makes   = "create delete list patch watch"
		slices  = "create delete get list update watch"
	)
	return []controllerRules{
		c("attachdetach-controller",
			rule("list watch", "core", "persistentvolumes persistentvolumeclaims"), rule(read, "core", "nodes"), rule("patch update", "core", "nodes/status"),
			rule("list watch", "core", "pods"), events(), rule("create delete get list watch", "storage.k8s.io", "volumeattachments"),
			rule(read, "storage.k8s.io", "csidrivers csinodes")),
		c("certificate-controller",
			rule("delete get list watch", "certificates.k8s.io", "certificatesigningrequests"),
			rule("update", "certificates.k8s.io", "certificatesigningrequests/status certificatesigningrequests/approval"),
			rule("approve", "certificates.k8s.io", "signers", "kubernetes.io/kube-apiserver-client-kubelet", "kubernetes.io/kubelet-serving"), // ours approves those that are a node's own
			rule("sign", "certificates.k8s.io", "signers", "kubernetes.io/legacy-unknown", "kubernetes.io/kubelet-serving", "kubernetes.io/kube-apiserver-client-kubelet", "kubernetes.io/kube-apiserver-client"),
			rule("create", "authorization.k8s.io", "subjectaccessreviews"), events()),
		c("clusterrole-aggregation-controller", rule("escalate get list patch update watch", "rbac.authorization.k8s.io", "clusterroles")),
		c("cronjob-controller",
			rule("get list update watch", "batch", "cronjobs"), rule("create delete get list patch update watch", "batch", "jobs"),
			rule("update", "batch", "cronjobs/status"), rule("update", "batch", "cronjobs/finalizers"), rule("delete list", "core", "pods"), events()),
		c("daemon-set-controller",
			rule(read, "apps extensions", "daemonsets"), rule("update", "apps extensions", "daemonsets/status"), rule("update", "apps extensions", "daemonsets/finalizers"),
			rule("list watch", "core", "nodes"), rule(makes, "core", "pods"), rule("create", "core", "pods/binding"), rule(history, "apps", "controllerrevisions"), events()),
		c("deployment-controller",
			rule("get list update watch", "apps extensions", "deployments"), rule("update", "apps extensions", "deployments/status"), rule("update", "apps extensions", "deployments/finalizers"),
			rule("create delete get list patch update watch", "apps extensions", "replicasets"), rule("get list update watch", "core", "pods"), events()),
		c("disruption-controller",
			rule(read, "apps extensions", "deployments"), rule(read, "apps extensions", "replicasets"), rule(read, "core", "replicationcontrollers"),
			rule(read, "policy", "poddisruptionbudgets"), rule(read, "apps", "statefulsets"), rule("update", "policy", "poddisruptionbudgets/status"),
			rule("patch update", "core", "pods/status"), rule(read, "core", "pods"), rule("get", "*", "*/scale"), events()),
		c("endpoint-controller",
			rule(read, "core", "services pods"), rule("create delete get list update", "core", "endpoints"), rule("create", "core", "endpoints/restricted"), events()),
		c("endpointslice-controller",
			rule(read, "core", "services pods nodes"), rule("update", "core", "services/finalizers"), rule(slices, "discovery.k8s.io", "endpointslices"),
			rule("create", "discovery.k8s.io", "endpointslices/restricted"), events()),
		c("endpointslicemirroring-controller",
			rule(read, "core", "services endpoints"), rule("update", "core", "services/finalizers"), rule("update", "core", "endpoints/finalizers"),
			rule(slices, "discovery.k8s.io", "endpointslices"), rule("create", "discovery.k8s.io", "endpointslices/restricted"), events()),
		c("ephemeral-volume-controller",
			rule("update", "core", "pods/finalizers"), rule(read, "core", "pods"), rule("create get list watch", "core", "persistentvolumeclaims"), events()),
		c("expand-controller",
			rule("get list patch update watch", "core", "persistentvolumes"), rule("patch update", "core", "persistentvolumeclaims/status"),
			rule(read, "core", "persistentvolumeclaims"), rule(read, "storage.k8s.io", "storageclasses"), rule("get", "core", "services endpoints"),
			rule("get", "core", "secrets"), events()),
		c("generic-garbage-collector", rule("delete get list patch update watch", "*", "*"), events()),
		c("horizontal-pod-autoscaler",
			rule(read, "autoscaling", "horizontalpodautoscalers"), rule("update", "autoscaling", "horizontalpodautoscalers/status"), rule("get update", "*", "*/scale"),
			rule("list", "core", "pods"), rule("list", "metrics.k8s.io", "pods"), rule("get list", "custom.metrics.k8s.io", "*"), rule("get list", "external.metrics.k8s.io", "*"), events()),
		c("job-controller",
			rule("get list patch update watch", "batch", "jobs"), rule("update", "batch", "jobs/status"), rule("update", "batch", "jobs/finalizers"), rule(makes, "core", "pods"), events()),
		c("legacy-service-account-token-cleaner",
			rule("get", "core", "configmaps", "kube-apiserver-legacy-service-account-token-tracking"), rule("patch delete", "core", "secrets")),
		c("namespace-controller",
			rule("delete get list watch", "core", "namespaces"), rule("update", "core", "namespaces/finalize namespaces/status"), rule("delete deletecollection get list", "*", "*")),
		c("node-controller",
			rule("delete get list patch update", "core", "nodes"), rule("patch update", "core", "nodes/status"), rule("patch update", "core", "pods/status"),
			rule("delete get list", "core", "pods"), events()),
		c("persistent-volume-binder",
			rule("create delete get list update watch", "core", "persistentvolumes"), rule("update", "core", "persistentvolumes/status"),
			rule("get list update watch", "core", "persistentvolumeclaims"), rule("update", "core", "persistentvolumeclaims/status"), rule("create delete get list watch", "core", "pods"),
			rule(read, "storage.k8s.io", "storageclasses"), rule(read, "core", "nodes"), rule("watch", "core", "events"), events(),
			rule("create delete get update", "core", "endpoints"), rule("create delete get", "core", "services"), rule("get", "core", "secrets")),
		c("podcertificaterequestcleaner", rule("delete get list watch", "certificates.k8s.io", "podcertificaterequests"), events()),
		c("pod-garbage-collector", rule("delete list watch", "core", "pods"), rule("get list", "core", "nodes"), rule("patch", "core", "pods/status")),
		c("pv-protection-controller", rule("get list update watch", "core", "persistentvolumes"), events()),
		c("pvc-protection-controller", rule("get list update watch", "core", "persistentvolumeclaims"), rule(read, "core", "pods"), events()),
		c("replicaset-controller",
			rule("get list update watch", "apps extensions", "replicasets"), rule("update", "apps extensions", "replicasets/status"), rule("update", "apps extensions", "replicasets/finalizers"),
			rule(makes, "core", "pods"), events()),
		c("replication-controller",
			rule("get list update watch", "core", "replicationcontrollers"), rule("update", "core", "replicationcontrollers/status"), rule("update", "core", "replicationcontrollers/finalizers"),
			rule(makes, "core", "pods"), events()),
		c("resource-claim-controller",
			rule(read, "core", "pods"), rule("update", "core", "pods/finalizers"), rule("patch update", "core", "pods/status"),
			rule(read, "resource.k8s.io", "resourceclaimtemplates"), rule("create delete get list watch", "resource.k8s.io", "resourceclaims"),
			rule("patch update", "resource.k8s.io", "resourceclaims resourceclaims/status"), events()),
		c("resourcequota-controller", rule("list watch", "*", "*"), rule("update", "core", "resourcequotas/status"), events()),
		c("root-ca-cert-publisher", rule("create update", "core", "configmaps"), events()),
		c("route-controller", rule("list watch", "core", "nodes"), rule("patch", "core", "nodes/status"), events()),
		c("selinux-warning-controller", rule(read, "core", "persistentvolumes persistentvolumeclaims pods"), rule(read, "storage.k8s.io", "csidrivers"), events()),
		c("service-account-controller", rule("create", "core", "serviceaccounts"), events()),
		c("service-cidrs-controller",
			rule("get list patch update watch", "networking.k8s.io", "servicecidrs"), rule("patch update", "networking.k8s.io", "servicecidrs/finalizers"),
			rule("patch update", "networking.k8s.io", "servicecidrs/status"), rule(read, "networking.k8s.io", "ipaddresses"), events()),
		c("cloud-node-controller", rule(read+" patch update delete", "core", "nodes"), events()), // ours: upstream's has no default role
		c("service-controller", rule(read, "core", "services"), rule("patch update", "core", "services/status"), rule("list watch", "core", "nodes"), events()),
		c("statefulset-controller",
			rule("list watch", "core", "pods"), rule(read, "apps", "statefulsets"), rule("update", "apps", "statefulsets/status"), rule("update", "apps", "statefulsets/finalizers"),
			rule("create delete get patch update", "core", "pods"), rule(history, "apps", "controllerrevisions"),
			rule("create delete get list update watch", "core", "persistentvolumeclaims"), events()),
		c("ttl-after-finished-controller", rule("delete get list watch", "batch", "jobs"), events()),
		c("ttl-controller", rule("list patch update watch", "core", "nodes"), events()),
		c("validatingadmissionpolicy-status-controller",
			rule(read, "admissionregistration.k8s.io", "validatingadmissionpolicies"), rule("get patch update", "admissionregistration.k8s.io", "validatingadmissionpolicies/status"), events()),
		c("volumeattributesclass-protection-controller",
			rule("get list update watch", "storage.k8s.io", "volumeattributesclasses"), rule(read, "core", "persistentvolumes persistentvolumeclaims"), events()),
	}
}
