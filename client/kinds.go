package client

import (
	"reflect"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	networkingv1 "k8s.io/api/networking/v1"
	nodev1 "k8s.io/api/node/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
)

// The kinds that the parts of Lighter read and write.
var (
	Pods                   = namespaced[*corev1.Pod]("", "v1", "pods")
	Services               = namespaced[*corev1.Service]("", "v1", "services")
	Endpoints              = namespaced[*corev1.Endpoints]("", "v1", "endpoints")
	ConfigMaps             = namespaced[*corev1.ConfigMap]("", "v1", "configmaps")
	Secrets                = namespaced[*corev1.Secret]("", "v1", "secrets")
	ServiceAccounts        = namespaced[*corev1.ServiceAccount]("", "v1", "serviceaccounts")
	ReplicationControllers = namespaced[*corev1.ReplicationController]("", "v1", "replicationcontrollers")
	PersistentVolumeClaims = namespaced[*corev1.PersistentVolumeClaim]("", "v1", "persistentvolumeclaims")
	PodTemplates           = namespaced[*corev1.PodTemplate]("", "v1", "podtemplates")
	ResourceQuotas         = namespaced[*corev1.ResourceQuota]("", "v1", "resourcequotas")
	LimitRanges            = namespaced[*corev1.LimitRange]("", "v1", "limitranges")
	Events                 = namespaced[*corev1.Event]("", "v1", "events")
	Nodes                  = cluster[*corev1.Node]("", "v1", "nodes")
	Namespaces             = cluster[*corev1.Namespace]("", "v1", "namespaces")
	PersistentVolumes      = cluster[*corev1.PersistentVolume]("", "v1", "persistentvolumes")

	Deployments         = namespaced[*appsv1.Deployment]("apps", "v1", "deployments")
	ReplicaSets         = namespaced[*appsv1.ReplicaSet]("apps", "v1", "replicasets")
	DaemonSets          = namespaced[*appsv1.DaemonSet]("apps", "v1", "daemonsets")
	StatefulSets        = namespaced[*appsv1.StatefulSet]("apps", "v1", "statefulsets")
	ControllerRevisions = namespaced[*appsv1.ControllerRevision]("apps", "v1", "controllerrevisions")

	Jobs     = namespaced[*batchv1.Job]("batch", "v1", "jobs")
	CronJobs = namespaced[*batchv1.CronJob]("batch", "v1", "cronjobs")

	HorizontalPodAutoscalers = namespaced[*autoscalingv2.HorizontalPodAutoscaler]("autoscaling", "v2", "horizontalpodautoscalers")
	PodDisruptionBudgets     = namespaced[*policyv1.PodDisruptionBudget]("policy", "v1", "poddisruptionbudgets")

	EndpointSlices  = namespaced[*discoveryv1.EndpointSlice]("discovery.k8s.io", "v1", "endpointslices")
	Leases          = namespaced[*coordinationv1.Lease]("coordination.k8s.io", "v1", "leases")
	Ingresses       = namespaced[*networkingv1.Ingress]("networking.k8s.io", "v1", "ingresses")
	IngressClasses  = cluster[*networkingv1.IngressClass]("networking.k8s.io", "v1", "ingressclasses")
	NetworkPolicies = namespaced[*networkingv1.NetworkPolicy]("networking.k8s.io", "v1", "networkpolicies")
	ServiceCIDRs    = cluster[*networkingv1.ServiceCIDR]("networking.k8s.io", "v1", "servicecidrs")
	IPAddresses     = cluster[*networkingv1.IPAddress]("networking.k8s.io", "v1", "ipaddresses")
	APIServices     = cluster[*apiregistrationv1.APIService]("apiregistration.k8s.io", "v1", "apiservices")
	RuntimeClasses  = cluster[*nodev1.RuntimeClass]("node.k8s.io", "v1", "runtimeclasses")
	PriorityClasses = cluster[*schedulingv1.PriorityClass]("scheduling.k8s.io", "v1", "priorityclasses")

	FlowSchemas                 = cluster[*flowcontrolv1.FlowSchema]("flowcontrol.apiserver.k8s.io", "v1", "flowschemas")
	PriorityLevelConfigurations = cluster[*flowcontrolv1.PriorityLevelConfiguration]("flowcontrol.apiserver.k8s.io", "v1", "prioritylevelconfigurations")

	VolumeAttributesClasses = cluster[*storagev1.VolumeAttributesClass]("storage.k8s.io", "v1", "volumeattributesclasses")
	StorageClasses          = cluster[*storagev1.StorageClass]("storage.k8s.io", "v1", "storageclasses")
	CSINodes                = cluster[*storagev1.CSINode]("storage.k8s.io", "v1", "csinodes")
	VolumeAttachments       = cluster[*storagev1.VolumeAttachment]("storage.k8s.io", "v1", "volumeattachments")

	Roles               = namespaced[*rbacv1.Role]("rbac.authorization.k8s.io", "v1", "roles")
	RoleBindings        = namespaced[*rbacv1.RoleBinding]("rbac.authorization.k8s.io", "v1", "rolebindings")
	ClusterRoles        = cluster[*rbacv1.ClusterRole]("rbac.authorization.k8s.io", "v1", "clusterroles")
	ClusterRoleBindings = cluster[*rbacv1.ClusterRoleBinding]("rbac.authorization.k8s.io", "v1", "clusterrolebindings")

	MutatingWebhookConfigurations     = cluster[*admissionregistrationv1.MutatingWebhookConfiguration]("admissionregistration.k8s.io", "v1", "mutatingwebhookconfigurations")
	ValidatingWebhookConfigurations   = cluster[*admissionregistrationv1.ValidatingWebhookConfiguration]("admissionregistration.k8s.io", "v1", "validatingwebhookconfigurations")
	ValidatingAdmissionPolicies       = cluster[*admissionregistrationv1.ValidatingAdmissionPolicy]("admissionregistration.k8s.io", "v1", "validatingadmissionpolicies")
	ValidatingAdmissionPolicyBindings = cluster[*admissionregistrationv1.ValidatingAdmissionPolicyBinding]("admissionregistration.k8s.io", "v1", "validatingadmissionpolicybindings")
	MutatingAdmissionPolicies         = cluster[*admissionregistrationv1.MutatingAdmissionPolicy]("admissionregistration.k8s.io", "v1", "mutatingadmissionpolicies")
	MutatingAdmissionPolicyBindings   = cluster[*admissionregistrationv1.MutatingAdmissionPolicyBinding]("admissionregistration.k8s.io", "v1", "mutatingadmissionpolicybindings")

	ClusterTrustBundles        = cluster[*certificatesv1.ClusterTrustBundle]("certificates.k8s.io", "v1", "clustertrustbundles")
	PodCertificateRequests     = namespaced[*certificatesv1.PodCertificateRequest]("certificates.k8s.io", "v1", "podcertificaterequests")
	CertificateSigningRequests = cluster[*certificatesv1.CertificateSigningRequest]("certificates.k8s.io", "v1", "certificatesigningrequests")
	TokenReviews               = cluster[*authenticationv1.TokenReview]("authentication.k8s.io", "v1", "tokenreviews")
	SubjectAccessReviews       = cluster[*authorizationv1.SubjectAccessReview]("authorization.k8s.io", "v1", "subjectaccessreviews")
)

func namespaced[T Object](group, version, resource string) Kind[T] {
	k := cluster[T](group, version, resource)
	k.Namespaced = true
	return k
}

func cluster[T Object](group, version, resource string) Kind[T] {
	t := reflect.TypeFor[T]().Elem()
	return Kind[T]{Resource{
		GroupVersionResource: schema.GroupVersionResource{Group: group, Version: version, Resource: resource},
		Kind:                 t.Name(),
		New:                  func() Object { return reflect.New(t).Interface().(Object) },
	}}
}
