package authz

import (
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/lighter-k8s/lighter/client"
)

// nodeRules are those of system:node. The node authorizer looks at some of these resources one by one.
var nodeRules = []rbacv1.PolicyRule{
	rule("create", "authentication.k8s.io", "tokenreviews"), rule("create", "authorization.k8s.io", "localsubjectaccessreviews subjectaccessreviews"),
	rule(read, "core", "services"), rule("create get list watch", "core", "nodes"), rule("patch update", "core", "nodes/status"),
	rule("patch update", "core", "nodes"), events(), rule(read, "core", "pods"), rule("create delete", "core", "pods"),
	rule("patch update", "core", "pods/status"), rule("create", "core", "pods/eviction"), rule(read, "core", "configmaps secrets"),
	rule("get", "core", "persistentvolumeclaims persistentvolumes"), rule("get", "core", "endpoints"),
	rule("create get list watch", "certificates.k8s.io", "certificatesigningrequests"),
	rule("create delete get patch update", "coordination.k8s.io", "leases"), rule("get", "storage.k8s.io", "volumeattachments"),
	rule("create", "core", "serviceaccounts/token"), rule("get patch update", "core", "persistentvolumeclaims/status"),
	rule(read, "storage.k8s.io", "csidrivers"), rule("create delete get patch update", "storage.k8s.io", "csinodes"),
	rule(read, "node.k8s.io", "runtimeclasses"), rule("get", "resource.k8s.io", "resourceclaims"),
	rule("deletecollection", "resource.k8s.io", "resourceslices"), rule(read, "certificates.k8s.io", "clustertrustbundles"),
	rule("get", "core", "serviceaccounts"), rule("create get list watch", "certificates.k8s.io", "podcertificaterequests"),
}

// componentRoles are those of the cluster's own parts, and of all who may talk to it at all.
func componentRoles() []*rbacv1.ClusterRole {
	const csr = "system:certificates.k8s.io:certificatesigningrequests:"
	signer := func(name string) *rbacv1.ClusterRole {
		return clusterRole("system:certificates.k8s.io:"+name+"-approver", rule("approve", "certificates.k8s.io", "signers", "kubernetes.io/"+name))
	}
	return []*rbacv1.ClusterRole{
		clusterRole("system:cluster-trust-bundle-discovery", rule(read, "certificates.k8s.io", "clustertrustbundles")),
		clusterRole("system:discovery",
			paths("get", "/api", "/api/*", "/apis", "/apis/*", "/healthz", "/livez", "/openapi", "/openapi/*", "/readyz", "/version", "/version/")),
		clusterRole("system:public-info-viewer", paths("get", "/healthz", "/livez", "/readyz", "/version", "/version/")),
		clusterRole("system:monitoring",
			paths("get", "/flagz", "/healthz", "/healthz/*", "/livez", "/livez/*", "/metrics", "/metrics/slis", "/readyz", "/readyz/*", "/statusz"),
			rule("get", "core", "nodes/metrics")),
		clusterRole("system:basic-user",
			rule("create", "authorization.k8s.io", "selfsubjectaccessreviews selfsubjectrulesreviews"),
			rule("create", "authentication.k8s.io", "selfsubjectreviews")),
		clusterRole("system:service-account-issuer-discovery",
			paths("get", "/.well-known/openid-configuration", "/.well-known/openid-configuration/", "/openid/v1/jwks", "/openid/v1/jwks/")),
		clusterRole("system:auth-delegator",
			rule("create", "authentication.k8s.io", "tokenreviews"), rule("create", "authorization.k8s.io", "subjectaccessreviews")),
		clusterRole("system:heapster", rule(read, "core", "events namespaces nodes pods"), rule(read, "extensions", "deployments")),
		clusterRole("system:kube-aggregator", rule(read, "core", "endpoints services")),
		clusterRole("system:kube-dns", rule("list watch", "core", "endpoints services")),
		clusterRole("system:kubelet-api-admin",
			rule(read, "core", "nodes"), rule("proxy", "core", "nodes"), rule("*", "core", "nodes/log nodes/metrics nodes/proxy nodes/stats"),
			rule("*", "core", "nodes/configz nodes/healthz nodes/pods")),
		clusterRole("system:node", slices.Clone(nodeRules)...),
		clusterRole("system:node-bootstrapper", rule("create get list watch", "certificates.k8s.io", "certificatesigningrequests")),
		clusterRole("system:node-problem-detector", rule("get", "core", "nodes"), rule("patch", "core", "nodes/status"), events()),
		clusterRole("system:node-proxier",
			rule("list watch", "core", "endpoints services"), rule(read, "core", "nodes"), events(), rule("list watch", "networking.k8s.io", "servicecidrs"),
			rule("list watch", "discovery.k8s.io", "endpointslices")),
		clusterRole("system:persistent-volume-provisioner",
			rule("create delete get list watch", "core", "persistentvolumes"), rule("get list update watch", "core", "persistentvolumeclaims"),
			rule(read, "storage.k8s.io", "storageclasses"), rule("watch", "core", "events"), events()),
		clusterRole(csr+"nodeclient", rule("create", "certificates.k8s.io", "certificatesigningrequests/nodeclient")),
		clusterRole(csr+"selfnodeclient", rule("create", "certificates.k8s.io", "certificatesigningrequests/selfnodeclient")),
		signer("kube-apiserver-client"), signer("kube-apiserver-client-kubelet"), signer("kubelet-serving"), signer("legacy-unknown"),
		clusterRole("system:kube-controller-manager",
			events(), rule("create", "coordination.k8s.io", "leases"), rule("get update", "coordination.k8s.io", "leases", "kube-controller-manager"),
			rule("create", "core", "secrets serviceaccounts"), rule("delete", "core", "secrets"),
			rule("get", "core", "configmaps namespaces secrets serviceaccounts"), rule("update", "core", "secrets serviceaccounts"),
			rule("create", "authentication.k8s.io", "tokenreviews"), rule("create", "authorization.k8s.io", "subjectaccessreviews"), rule("list watch", "*", "*"),
			rule("create", "core", "serviceaccounts/token")),
		clusterRole("system:kube-scheduler",
			events(), rule("create", "coordination.k8s.io", "leases"), rule("get list update watch", "coordination.k8s.io", "leases", "kube-scheduler"),
			rule(all, "coordination.k8s.io", "leasecandidates"), rule(read, "core", "nodes"), rule("delete get list watch", "core", "pods"),
			rule("create", "core", "bindings pods/binding"), rule("patch update", "core", "pods/status"), rule(read, "core", "replicationcontrollers services"),
			rule(read, "apps extensions", "replicasets"), rule(read, "apps", "statefulsets"), rule(read, "policy", "poddisruptionbudgets"),
			rule(read, "core", "persistentvolumeclaims persistentvolumes"), rule("create", "authentication.k8s.io", "tokenreviews"),
			rule("create", "authorization.k8s.io", "subjectaccessreviews"), rule(read, "storage.k8s.io", "csinodes"),
			rule(read, "storage.k8s.io", "volumeattachments"), rule(read, "core", "namespaces"), rule(read, "storage.k8s.io", "csidrivers"),
			rule(read, "storage.k8s.io", "csistoragecapacities"), rule(read, "resource.k8s.io", "deviceclasses"),
			rule("get list patch update watch", "resource.k8s.io", "resourceclaims"),
			rule("get list patch update watch", "resource.k8s.io", "resourceclaims/status"), rule("update", "core", "pods/finalizers"),
			rule(read, "resource.k8s.io", "resourceslices"), rule("create delete", "resource.k8s.io", "resourceclaims"),
			rule(read, "resource.k8s.io", "devicetaintrules"), rule("patch update", "resource.k8s.io", "resourceclaims/binding")),
		clusterRole("system:volume-scheduler",
			rule("get list patch update watch", "core", "persistentvolumes"), rule(read, "storage.k8s.io", "storageclasses"),
			rule("get list patch update watch", "core", "persistentvolumeclaims")),
	}
}

func componentBindings() []*rbacv1.ClusterRoleBinding {
	const authenticated, unauthenticated = "system:authenticated", "system:unauthenticated"
	return []*rbacv1.ClusterRoleBinding{
		clusterBinding("cluster-admin", "cluster-admin", groups(SuperGroup)...),
		clusterBinding("system:monitoring", "system:monitoring", groups("system:monitoring")...),
		clusterBinding("system:cluster-trust-bundle-discovery", "system:cluster-trust-bundle-discovery", groups("system:serviceaccounts")...),
		clusterBinding("system:discovery", "system:discovery", groups(authenticated)...),
		clusterBinding("system:basic-user", "system:basic-user", groups(authenticated)...),
		clusterBinding("system:public-info-viewer", "system:public-info-viewer", groups(authenticated, unauthenticated)...),
		clusterBinding("system:service-account-issuer-discovery", "system:service-account-issuer-discovery", groups("system:serviceaccounts")...),
		clusterBinding("system:node-proxier", "system:node-proxier", user("system:kube-proxy")),
		clusterBinding("system:kube-controller-manager", "system:kube-controller-manager", user("system:kube-controller-manager")),
		clusterBinding("system:kube-dns", "system:kube-dns", account(systemSpace, "kube-dns")),
		clusterBinding("system:kube-scheduler", "system:kube-scheduler", user("system:kube-scheduler")),
		clusterBinding("system:volume-scheduler", "system:volume-scheduler", user("system:kube-scheduler")),
		clusterBinding("system:node", "system:node"), // nobody: the node authorizer takes its place
	}
}

func namespacedDefaults() []client.Object {
	const (
		reader    = "extension-apiserver-authentication-reader"
		locking   = "system::leader-locking-"
		manager   = "kube-controller-manager"
		scheduler = "kube-scheduler"
		signer    = controllerPrefix + "bootstrap-signer"
		cleaner   = controllerPrefix + "token-cleaner"
		cloud     = controllerPrefix + "cloud-provider"
	)
	lock := func(name string) *rbacv1.Role {
		const verbs = "create get list update watch"
		return role(systemSpace, locking+name, rule(verbs, "coordination.k8s.io", "leases"), rule(verbs, "coordination.k8s.io", "leasecandidates"))
	}
	return []client.Object{
		role(systemSpace, reader, rule(read, "core", "configmaps", "extension-apiserver-authentication")),
		role(systemSpace, signer, rule(read, "core", "secrets")),
		role(systemSpace, cloud, rule("create get list watch", "core", "configmaps")),
		role(systemSpace, cleaner, rule("delete get list watch", "core", "secrets"), events()),
		lock(manager), lock(scheduler),
		role(publicSpace, signer, rule(read, "core", "configmaps"), rule("update", "core", "configmaps", "cluster-info"), events()),
		bindingIn(systemSpace, "system::"+reader, reader, user("system:"+manager), user("system:"+scheduler)),
		bindingIn(systemSpace, locking+manager, locking+manager, user("system:"+manager), account(systemSpace, manager), account(systemSpace, "leader-election-controller")),
		bindingIn(systemSpace, locking+scheduler, locking+scheduler, user("system:"+scheduler), account(systemSpace, scheduler)),
		bindingIn(systemSpace, signer, signer, account(systemSpace, "bootstrap-signer")),
		bindingIn(systemSpace, cloud, cloud, account(systemSpace, "cloud-provider")),
		bindingIn(systemSpace, cleaner, cleaner, account(systemSpace, "token-cleaner")),
		bindingIn(publicSpace, signer, signer, account(systemSpace, "bootstrap-signer")),
	}
}
