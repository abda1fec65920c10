package authz

import (
	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/lighter-k8s/lighter/client"
)

// nodeRules are those of system:node beyond what the node authorizer looks at one by one.
var nodeRules = []rbacv1.PolicyRule{
	rule("create", "authentication.k8s.io", "tokenreviews"),
	rule("create", "authorization.k8s.io", "subjectaccessreviews localsubjectaccessreviews"),
	rule(read, "core", "services"),
	rule("create patch update", "core events.k8s.io", "events"),
	rule("get", "core", "endpoints"),
	rule("create get list watch", "certificates.k8s.io", "certificatesigningrequests"),
	rule(read, "storage.k8s.io", "csidrivers"),
	rule(read, "node.k8s.io", "runtimeclasses"),
	rule(read, "certificates.k8s.io", "clustertrustbundles"),
	rule("create get list watch", "certificates.k8s.io", "podcertificaterequests"),
}

// systemNode are all rules of system:node, for those who bind it without the node authorizer.
func systemNode() []rbacv1.PolicyRule {
	return append([]rbacv1.PolicyRule{
		rule("create get list watch", "core", "nodes"),
		rule("update patch", "core", "nodes/status"),
		rule("update patch", "core", "nodes"),
		rule(read, "core", "pods"),
		rule("create delete", "core", "pods"),
		rule("update patch", "core", "pods/status"),
		rule("create", "core", "pods/eviction"),
		rule(read, "core", "secrets configmaps"),
		rule("get", "core", "persistentvolumeclaims persistentvolumes"),
		rule("get update patch", "core", "persistentvolumeclaims/status"),
		rule("create", "core", "serviceaccounts/token"),
		rule("get", "core", "serviceaccounts"),
		rule("get", "storage.k8s.io", "volumeattachments"),
		rule("create delete get patch update", "coordination.k8s.io", "leases"),
		rule("create delete get patch update", "storage.k8s.io", "csinodes"),
		rule("get", "resource.k8s.io", "resourceclaims"),
		rule("create delete deletecollection get list patch update watch", "resource.k8s.io", "resourceslices"),
	}, nodeRules...)
}

// componentRoles are those of the cluster's own parts, and of all who may talk to it at all.
func componentRoles() []*rbacv1.ClusterRole {
	const csr = "system:certificates.k8s.io:certificatesigningrequests:"
	signer := func(name string) *rbacv1.ClusterRole {
		return clusterRole("system:certificates.k8s.io:"+name+"-approver", rule("approve", "certificates.k8s.io", "signers", "kubernetes.io/"+name))
	}
	delegate := []rbacv1.PolicyRule{rule("create", "authentication.k8s.io", "tokenreviews"), rule("create", "authorization.k8s.io", "subjectaccessreviews")}
	return []*rbacv1.ClusterRole{
		clusterRole("system:discovery", paths("get", "/livez", "/readyz", "/healthz", "/version", "/version/", "/openapi", "/openapi/*", "/api", "/api/*", "/apis", "/apis/*")),
		clusterRole("system:public-info-viewer", paths("get", "/livez", "/readyz", "/healthz", "/version", "/version/")),
		clusterRole("system:monitoring", paths("get", "/metrics", "/metrics/slis", "/livez", "/readyz", "/healthz", "/livez/*", "/readyz/*", "/healthz/*")),
		clusterRole("system:basic-user",
			rule("create", "authorization.k8s.io", "selfsubjectaccessreviews selfsubjectrulesreviews"),
			rule("create", "authentication.k8s.io", "selfsubjectreviews")),
		clusterRole("system:service-account-issuer-discovery", paths("get", "/.well-known/openid-configuration", "/.well-known/openid-configuration/", "/openid/v1/jwks", "/openid/v1/jwks/")),
		clusterRole("system:auth-delegator", delegate...),
		clusterRole("system:heapster", rule(read, "core", "events pods nodes namespaces"), rule(read, "extensions", "deployments")),
		clusterRole("system:kube-aggregator", rule(read, "core", "services endpoints")),
		clusterRole("system:kube-dns", rule("list watch", "core", "endpoints services"), rule("list watch", "discovery.k8s.io", "endpointslices")),
		clusterRole("system:kubelet-api-admin",
			rule("get list watch", "core", "nodes"), rule("proxy", "core", "nodes"),
			rule("*", "core", "nodes/proxy nodes/metrics nodes/stats nodes/log nodes/configz nodes/healthz nodes/pods")),
		clusterRole("system:node", systemNode()...),
		clusterRole("system:node-bootstrapper", rule("create get list watch", "certificates.k8s.io", "certificatesigningrequests")),
		clusterRole("system:node-problem-detector", rule("get", "core", "nodes"), rule("patch", "core", "nodes/status"), events()),
		clusterRole("system:node-proxier",
			rule("list watch", "core", "services endpoints"), rule(read, "core", "nodes"), events(),
			rule("list watch", "discovery.k8s.io", "endpointslices"), rule("list watch", "networking.k8s.io", "servicecidrs")),
		clusterRole("system:persistent-volume-provisioner",
			rule("create delete get list watch", "core", "persistentvolumes"), rule("get list update watch", "core", "persistentvolumeclaims"),
			rule(read, "storage.k8s.io", "storageclasses"), rule("watch", "core", "events"), events()),
		clusterRole(csr+"nodeclient", rule("create", "certificates.k8s.io", "certificatesigningrequests/nodeclient")),
		clusterRole(csr+"selfnodeclient", rule("create", "certificates.k8s.io", "certificatesigningrequests/selfnodeclient")),
		signer("kube-apiserver-client"), signer("kube-apiserver-client-kubelet"), signer("kubelet-serving"), signer("legacy-unknown"),
		clusterRole("system:kube-controller-manager", append([]rbacv1.PolicyRule{
			events(),
			rule("create", "coordination.k8s.io", "leases"),
			rule("get update", "coordination.k8s.io", "leases", "kube-controller-manager"),
			rule("create", "core", "secrets serviceaccounts"),
			rule("delete", "core", "secrets"),
			rule("get", "core", "configmaps namespaces secrets serviceaccounts"),
			rule("update", "core", "secrets serviceaccounts"),
			rule("list watch", "*", "*"),
			rule("create", "core", "serviceaccounts/token"),
		}, delegate...)...),
		clusterRole("system:kube-scheduler", append([]rbacv1.PolicyRule{
			events(),
			rule("create", "coordination.k8s.io", "leases"),
			rule("get list update watch", "coordination.k8s.io", "leases", "kube-scheduler"),
			rule("create", "coordination.k8s.io", "leasecandidates"),
			rule("get list watch patch update delete deletecollection", "coordination.k8s.io", "leasecandidates"),
			rule(read, "core", "nodes"),
			rule("get list watch delete", "core", "pods"),
			rule("create", "core", "pods/binding bindings"),
			rule("patch update", "core", "pods/status"),
			rule(read, "core", "replicationcontrollers services namespaces"),
			rule(read, "apps extensions", "replicasets"),
			rule(read, "apps", "statefulsets"),
			rule(read, "policy", "poddisruptionbudgets"),
			rule(read, "core", "persistentvolumeclaims persistentvolumes"),
			rule(read, "storage.k8s.io", "csinodes csidrivers csistoragecapacities volumeattachments"),
			rule(read, "resource.k8s.io", "deviceclasses resourceslices"),
			rule("get list watch patch update", "resource.k8s.io", "resourceclaims"),
			rule("patch update", "resource.k8s.io", "resourceclaims/status"),
		}, delegate...)...),
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
		return role(systemSpace, locking+name, rule("watch", "core", "configmaps"), rule("get update", "core", "configmaps", name))
	}
	return []client.Object{
		role(systemSpace, reader, rule(read, "core", "configmaps", "extension-apiserver-authentication")),
		role(systemSpace, signer, rule(read, "core", "secrets")),
		role(systemSpace, cloud, rule("create get list watch", "core", "configmaps")),
		role(systemSpace, cleaner, rule("get list watch delete", "core", "secrets"), events()),
		lock(manager), lock(scheduler),
		role(publicSpace, signer, rule(read, "core", "configmaps"), rule("update", "core", "configmaps", "cluster-info"), events()),
		bindingIn(systemSpace, "system::"+reader, reader, user("system:"+manager), user("system:"+scheduler)),
		bindingIn(systemSpace, locking+manager, locking+manager, user("system:"+manager), account(systemSpace, manager)),
		bindingIn(systemSpace, locking+scheduler, locking+scheduler, user("system:"+scheduler), account(systemSpace, scheduler)),
		bindingIn(systemSpace, signer, signer, account(systemSpace, "bootstrap-signer")),
		bindingIn(systemSpace, cloud, cloud, account(systemSpace, "cloud-provider")),
		bindingIn(systemSpace, cleaner, cleaner, account(systemSpace, "token-cleaner")),
		bindingIn(publicSpace, signer, signer, account(systemSpace, "bootstrap-signer")),
	}
}
