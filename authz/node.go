package authz

import (
	"context"
	"fmt"
	"slices"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/fields"

	"github.com/lighter-k8s/lighter/client"
)

// NodeViews are what the node authorizer decides by.
type NodeViews struct {
	Pods                   client.TypedView[*corev1.Pod]
	PersistentVolumeClaims client.TypedView[*corev1.PersistentVolumeClaim]
	PersistentVolumes      client.TypedView[*corev1.PersistentVolume]
	VolumeAttachments      client.TypedView[*storagev1.VolumeAttachment]
}

// Node allows kubelets what they need: their own Node, its lease and CSINode, the pods bound to it and what those pods
// refer to, found by going through the node's pods at that moment. It has no opinion on anybody and anything else.
// Source: Using Node Authorization; that a node writes to no other node is stricter than upstream,
// where admission sees to it.
type Node struct{ views NodeViews }

// NewNode makes the node authorizer.
func NewNode(views NodeViews) *Node { return &Node{views} }

const (
	nodePrefix = "system:node:"
	nodesGroup = "system:nodes"
	leaseSpace = "kube-node-lease"
)

// nodeName is the name of the node that a user is. ok is false for users that are no node; a member of the nodes' group
// without a node's name is a node of no name.
func nodeName(user *authenticationv1.UserInfo) (name string, ok bool) {
	name, named := strings.CutPrefix(user.Username, nodePrefix)
	if !slices.Contains(user.Groups, nodesGroup) {
		return "", false
	}
	if !named {
		name = ""
	}
	return name, true
}

// Authorize implements Authorizer.
func (n *Node) Authorize(_ context.Context, a Attributes) (Decision, string, error) {
	node, ok := nodeName(&a.User)
	if !ok || !a.ResourceRequest {
		return NoOpinion, "", nil
	}
	if node == "" {
		return NoOpinion, fmt.Sprintf("unknown node for user %q", a.User.Username), nil
	}
	if reason := n.refuse(node, &a); reason != "" {
		return NoOpinion, reason, nil
	}
	return Allow, "", nil
}

const (
	unrelated  = "no relationship found between node '%s' and this object"
	notGranted = "not among the permissions of nodes"
)

// refuse reports why a node may not; "" is yes.
func (n *Node) refuse(node string, a *Attributes) string {
	only := func(verbs ...string) bool { return slices.Contains(verbs, a.Verb) }
	read := only("get", "list", "watch")
	name := a.Name
	if name == "" && a.FieldSelector != "" {
		name = exact(a.FieldSelector, "metadata.name") // a list or watch of one object
	}
	related := func(ok bool) string {
		if ok {
			return ""
		}
		return fmt.Sprintf(unrelated, node)
	}
	whole := a.Subresource == ""
	switch a.Group + "/" + a.Resource {
	case "/nodes":
		return n.ownNode(node, name, a)
	case "/pods":
		return n.pods(node, name, a)
	case "/secrets", "/configmaps":
		switch {
		case !read:
			return "can only read resources of this type"
		case !whole:
			return "cannot read subresource"
		case a.Namespace == "":
			return "can only read namespaced object of this type"
		case name == "":
			return "No Object name found"
		case a.Resource == "secrets":
			return related(n.usesSecret(node, a.Namespace, name))
		}
		return related(n.anyPod(node, a.Namespace, func(p *corev1.Pod) bool { return usesConfigMap(p, name) }))
	case "/persistentvolumeclaims":
		switch {
		case whole && !only("get"), a.Subresource == "status" && !only("get", "update", "patch"), !whole && a.Subresource != "status":
			return "can only get individual resources of this type, or update their status"
		case name == "":
			return "No Object name found"
		}
		return related(n.anyPod(node, a.Namespace, func(p *corev1.Pod) bool { return usesClaim(p, name) }))
	case "/persistentvolumes":
		if !whole || !only("get") || name == "" {
			return "can only get individual resources of this type"
		}
		return related(n.usesVolume(node, name))
	case "/serviceaccounts":
		switch {
		case a.Subresource == "token" && !only("create"), a.Subresource != "token" && (!whole || !only("get")):
			return "can only get service accounts, and create tokens for individual ones"
		case name == "":
			return "no service account name found"
		}
		return related(n.anyPod(node, a.Namespace, func(p *corev1.Pod) bool { return p.Spec.ServiceAccountName == name }))
	case "storage.k8s.io/volumeattachments":
		if !whole || !only("get") || name == "" {
			return "can only get individual resources of this type"
		}
		va, ok := n.views.VolumeAttachments.Get("", name)
		return related(ok && va.Spec.NodeName == node)
	case "resource.k8s.io/resourceclaims":
		if !whole || !only("get") || name == "" {
			return "can only get individual resources of this type"
		}
		return related(n.anyPod(node, a.Namespace, func(p *corev1.Pod) bool { return usesResourceClaim(p, name) }))
	case "resource.k8s.io/resourceslices":
		switch {
		case whole && only("create"):
			return ""
		case whole && only("list", "watch", "deletecollection") && exact(a.FieldSelector, "spec.nodeName") == node:
			return ""
		}
		return "can only create, list, watch or delete resource slices of its own node"
	case "coordination.k8s.io/leases":
		return own(node, a, leaseSpace)
	case "storage.k8s.io/csinodes":
		return own(node, a, "")
	}
	for i := range nodeRules {
		if allows(&nodeRules[i], a) {
			return ""
		}
	}
	return notGranted
}

// own allows to create, get, update, patch and delete the object named as the node.
func own(node string, a *Attributes, namespace string) string {
	switch {
	case a.Subresource != "":
		return "cannot access subresource"
	case a.Namespace != namespace:
		return fmt.Sprintf("can only access objects of this type in the %q namespace", namespace)
	case a.Verb == "create" && (a.Name == "" || a.Name == node): // admission sees the name in the body
		return ""
	case !slices.Contains([]string{"get", "update", "patch", "delete"}, a.Verb):
		return "can only create, get, update, patch, or delete objects of this type"
	case a.Name != node:
		return "can only access the object with the same name as the requesting node"
	}
	return ""
}

func (n *Node) ownNode(node, name string, a *Attributes) string {
	switch {
	case a.Subresource == "" && a.Verb == "create":
		return "" // admission sees the name in the body
	case a.Subresource == "" && slices.Contains([]string{"get", "list", "watch"}, a.Verb):
		if name != node {
			return fmt.Sprintf("node '%s' cannot read '%s', only its own Node object", node, name)
		}
		return ""
	case (a.Subresource == "" || a.Subresource == "status") && slices.Contains([]string{"update", "patch"}, a.Verb):
		if name != node {
			return fmt.Sprintf("node '%s' is not allowed to modify node '%s'", node, name)
		}
		return ""
	}
	return notGranted
}

// pods: a node reads those bound to it, makes and removes its mirror pods, writes their status and evicts them.
func (n *Node) pods(node, name string, a *Attributes) string {
	bound := func() string {
		if pod, ok := n.views.Pods.Get(a.Namespace, name); !ok || pod.Spec.NodeName != node {
			return fmt.Sprintf(unrelated, node)
		}
		return ""
	}
	switch a.Subresource + "/" + a.Verb {
	case "/get":
		return bound()
	case "/list", "/watch":
		if exact(a.FieldSelector, "spec.nodeName") == node {
			return ""
		}
		if name != "" && a.Namespace != "" {
			return bound()
		}
		return fmt.Sprintf("can only list/watch pods with spec.nodeName field selector matching node '%s'", node)
	case "/create", "/delete", "status/update", "status/patch", "eviction/create":
		return "" // admission knows the pod, and whether it is this node's
	}
	return notGranted
}

// exact is the one value that a field selector demands of a field, or "".
func exact(selector, field string) string {
	s, err := fields.ParseSelector(selector)
	if err != nil {
		return ""
	}
	value, _ := s.RequiresExactMatch(field)
	return value
}
