package admission

import (
	"context"
	"fmt"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/lighter-k8s/lighter/client"
)

// NodeRestriction holds what a kubelet writes to its own node and its own pods, where the node authorizer cannot
// tell by the request alone. Source: Kubernetes documentation, Admission Control, NodeRestriction.
func NodeRestriction(views NodeRestrictionViews) Plugin {
	return Plugin{Name: "NodeRestriction", Validate: func(_ context.Context, a *Attributes) error {
		node, ok := strings.CutPrefix(a.User.Username, "system:node:")
		if !ok || !slices.Contains(a.User.Groups, "system:nodes") {
			return nil
		}
		refuse := func(format string, args ...any) error {
			return apierrors.NewForbidden(a.Info.GroupResource(), a.Name, fmt.Errorf(format, args...))
		}
		switch a.Resource() {
		case "pods":
			return restrictPod(a, node, refuse)
		case "pods/status":
			if a.Old.(*corev1.Pod).Spec.NodeName != node {
				return refuse("node %q can only update pod status for pods with spec.nodeName set to itself", node)
			}
			if !equality.Semantic.DeepEqual(a.Old.GetLabels(), a.Object.GetLabels()) {
				return refuse("node %q cannot update labels through pod status", node)
			}
		case "pods/eviction":
			pod, ok := views.Pods.Get(a.Namespace, a.Name)
			if !ok {
				return apierrors.NewNotFound(corev1.Resource("pods"), a.Name)
			}
			if pod.Spec.NodeName != node {
				return refuse("node %s can only evict pods with spec.nodeName set to itself", node)
			}
		case "nodes", "nodes/status":
			return restrictNode(a, node, refuse)
		case "leases.coordination.k8s.io":
			l, _ := a.Object.(*coordinationv1.Lease)
			if a.Namespace != corev1.NamespaceNodeLease || a.Name != "" && a.Name != node || l != nil && l.Name != node {
				return refuse("can only access node lease with the same name as the requesting node")
			}
		case "podcertificaterequests.certificates.k8s.io":
			if a.Operation == Create {
				return restrictCertificate(a.Info.AsStored(a.Object).(*certificatesv1.PodCertificateRequest), node, views, refuse)
			}
		case "csinodes.storage.k8s.io":
			if a.Name != "" && a.Name != node {
				return refuse("can only access CSINode with the same name as the requesting node")
			}
		}
		return nil
	}}
}

// NodeRestrictionViews are what a node's requests for evictions and certificates are held against.
type NodeRestrictionViews struct {
	Pods            client.TypedView[*corev1.Pod]
	Nodes           client.TypedView[*corev1.Node]
	ServiceAccounts client.TypedView[*corev1.ServiceAccount]
}

// restrictCertificate lets a node ask for certificates of the pods that it runs alone, as the accounts that they run as: signers believe
// what the request says of them. Source: KEP-4317.
func restrictCertificate(r *certificatesv1.PodCertificateRequest, node string, views NodeRestrictionViews, refuse func(string, ...any) error) error {
	pod, ok := views.Pods.Get(r.Namespace, r.Spec.PodName)
	at, known := views.Nodes.Get("", node)
	account, has := views.ServiceAccounts.Get(r.Namespace, r.Spec.ServiceAccountName)
	switch {
	case string(r.Spec.NodeName) != node:
		return refuse("PodCertificateRequest.Spec.NodeName=%q, which is not the requesting node %q", r.Spec.NodeName, node)
	case !ok || pod.UID != r.Spec.PodUID:
		return refuse("PodCertificateRequest is for pod %s/%s with UID %q, which does not exist", r.Namespace, r.Spec.PodName, r.Spec.PodUID)
	case pod.Spec.NodeName != node:
		return refuse("PodCertificateRequest is for pod %s/%s, which does not run on node %q", r.Namespace, pod.Name, node)
	case pod.Annotations[corev1.MirrorPodAnnotationKey] != "":
		return refuse("PodCertificateRequest is for pod %s/%s, which is a mirror pod", r.Namespace, pod.Name)
	case pod.Spec.ServiceAccountName != r.Spec.ServiceAccountName || !has || account.UID != r.Spec.ServiceAccountUID:
		return refuse("PodCertificateRequest is for service account %q with UID %q, which is not that of pod %s/%s", r.Spec.ServiceAccountName, r.Spec.ServiceAccountUID, r.Namespace, pod.Name)
	case !known || at.UID != r.Spec.NodeUID:
		return refuse("PodCertificateRequest is for node %q with UID %q, which does not exist", node, r.Spec.NodeUID)
	}
	return nil
}

func restrictPod(a *Attributes, node string, refuse func(string, ...any) error) error {
	switch a.Operation {
	case Create:
		pod := a.Object.(*corev1.Pod)
		switch {
		case pod.Annotations[corev1.MirrorPodAnnotationKey] == "":
			return refuse("pod does not have %q annotation, node %q can only create mirror pods", corev1.MirrorPodAnnotationKey, node)
		case pod.Spec.NodeName != node:
			return refuse("node %q can only create pods with spec.nodeName set to itself", node)
		case pod.Spec.ServiceAccountName != "":
			return refuse("node %q can not create pods that reference a service account", node)
		}
		for _, v := range pod.Spec.Volumes {
			if v.Secret != nil || v.ConfigMap != nil || v.PersistentVolumeClaim != nil || v.Projected != nil {
				return refuse("node %q can not create pods that reference secrets, configmaps, persistentvolumeclaims or tokens", node)
			}
		}
		owners := pod.OwnerReferences
		if len(owners) > 1 || len(owners) == 1 && (owners[0].Kind != "Node" || owners[0].Name != node || owners[0].BlockOwnerDeletion != nil && *owners[0].BlockOwnerDeletion) {
			return refuse("node %q can only create pods with an owner reference set to itself", node)
		}
	case Delete:
		if a.Old.(*corev1.Pod).Spec.NodeName != node {
			return refuse("node %q can only delete pods with spec.nodeName set to itself", node)
		}
	case Update:
		return refuse("unexpected operation %q, node %q can only create and delete mirror pods", a.Operation, node)
	}
	return nil
}

func restrictNode(a *Attributes, node string, refuse func(string, ...any) error) error {
	obj, _ := a.Object.(*corev1.Node)
	if a.Name != "" && a.Name != node || obj != nil && obj.Name != node {
		return refuse("node %q is not allowed to modify node %q", node, a.Name)
	}
	switch a.Operation {
	case Create:
		if obj.Spec.ConfigSource != nil {
			return refuse("node %q is not allowed to create pods with a non-nil configSource", node)
		}
		if l := forbiddenLabels(obj.Labels, nil); len(l) > 0 {
			return refuse("node %q is not allowed to set the following labels: %s", node, strings.Join(l, ", "))
		}
		for _, o := range obj.OwnerReferences {
			return refuse("node %q is not allowed to set owner references: %s", node, o.Name)
		}
	case Update:
		old := a.Old.(*corev1.Node)
		if !equality.Semantic.DeepEqual(old.Spec.Taints, obj.Spec.Taints) {
			return refuse("node %q is not allowed to modify taints", node)
		}
		if !equality.Semantic.DeepEqual(old.OwnerReferences, obj.OwnerReferences) && len(obj.OwnerReferences) > 0 {
			return refuse("node %q is not allowed to modify ownerReferences", node)
		}
		if l := forbiddenLabels(obj.Labels, old.Labels); len(l) > 0 {
			return refuse("is not allowed to modify labels: %s", strings.Join(l, ", "))
		}
	}
	return nil
}

// ownLabels are those with a kubernetes.io or k8s.io prefix that a node may set on itself.
var ownLabels = map[string]bool{
	corev1.LabelHostname: true, corev1.LabelArchStable: true, corev1.LabelOSStable: true, corev1.LabelInstanceTypeStable: true,
	corev1.LabelTopologyRegion: true, corev1.LabelTopologyZone: true, "beta.kubernetes.io/arch": true, "beta.kubernetes.io/os": true,
	"beta.kubernetes.io/instance-type": true, "failure-domain.beta.kubernetes.io/zone": true, "failure-domain.beta.kubernetes.io/region": true,
}

// forbiddenLabels are the labels that differ from old and are not a node's to set.
func forbiddenLabels(labels, old map[string]string) (out []string) {
	all := map[string]bool{}
	for k := range labels {
		all[k] = true
	}
	for k := range old {
		all[k] = true
	}
	for k := range all {
		value, now := labels[k]
		before, had := old[k]
		if now == had && value == before || ownLabels[k] {
			continue
		}
		prefix, _, named := strings.Cut(k, "/")
		ours := named && (prefix == "kubernetes.io" || strings.HasSuffix(prefix, ".kubernetes.io") || prefix == "k8s.io" || strings.HasSuffix(prefix, ".k8s.io"))
		free := strings.HasSuffix(prefix, "kubelet.kubernetes.io") || strings.HasSuffix(prefix, "node.kubernetes.io") && !strings.Contains(prefix, "node-restriction")
		if ours && !free {
			out = append(out, k)
		}
	}
	slices.Sort(out)
	return out
}
