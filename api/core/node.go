package core

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/lighter-k8s/lighter/api"
)

// Node is a machine that pods run on.
var Node = api.Define(api.Resource[*corev1.Node]{
	Version: "v1", Plural: "nodes", Short: []string{"no"}, Scope: api.Cluster, Key: "minions",
	Default: func(n *corev1.Node) {
		if n.Status.Allocatable == nil && n.Status.Capacity != nil {
			n.Status.Allocatable = n.Status.Capacity.DeepCopy()
		}
		roundUp(n.Status.Capacity)
		roundUp(n.Status.Allocatable)
		if n.Spec.PodCIDR == "" && len(n.Spec.PodCIDRs) > 0 {
			n.Spec.PodCIDR = n.Spec.PodCIDRs[0]
		}
		if n.Spec.PodCIDR != "" && (len(n.Spec.PodCIDRs) == 0 || n.Spec.PodCIDRs[0] != n.Spec.PodCIDR) { // the older field decides
			n.Spec.PodCIDRs = []string{n.Spec.PodCIDR}
		}
	},
	// A node may be created with its status: kubelets register so.
	Prepare: func(n, old *corev1.Node) {
		n.Spec.PodPreemptionPolicy = nil // of a gate that is off
		n.Spec.ConfigSource = nil        // removed in 1.24
		if old != nil {
			n.Status = old.Status
		}
	},
	Validate: validateNode,
	Warnings: func(n, _ *corev1.Node) (list []string) {
		if n.Spec.DoNotUseExternalID != "" {
			list = append(list, "spec.externalID: this field is deprecated, and is unused by Kubernetes")
		}
		return list
	},
	Status: &api.Status[*corev1.Node]{Copy: func(dst, src *corev1.Node) {
		dst.Status = src.Status
		dst.Status.Config = nil // removed in 1.24
	}, Validate: validateNodeStatus},
	Subresources: []api.Subresource{
		{Name: "proxy", Kind: "NodeProxyOptions", Verbs: proxy}},
	Fields: map[string]func(*corev1.Node) string{"spec.unschedulable": func(n *corev1.Node) string {
		if n.Spec.Unschedulable {
			return "true"
		}
		return "false"
	}},
	Columns: []api.Column[*corev1.Node]{
		{Name: "Status", Help: "The status of the node", Show: func(n *corev1.Node) any { return nodeStatus(n) }},
		{Name: "Roles", Help: "The roles of the node", Show: func(n *corev1.Node) any { return nodeRoles(n) }},
		{Name: "Age"},
		{Name: "Version", Help: corev1.NodeSystemInfo{}.SwaggerDoc()["kubeletVersion"], Show: func(n *corev1.Node) any { return n.Status.NodeInfo.KubeletVersion }},
		{Name: "Internal-IP", Priority: 1, Help: corev1.NodeStatus{}.SwaggerDoc()["addresses"], Show: func(n *corev1.Node) any { return nodeAddress(n, corev1.NodeInternalIP) }},
		{Name: "External-IP", Priority: 1, Help: corev1.NodeStatus{}.SwaggerDoc()["addresses"], Show: func(n *corev1.Node) any { return nodeAddress(n, corev1.NodeExternalIP) }},
		{Name: "OS-Image", Priority: 1, Help: corev1.NodeSystemInfo{}.SwaggerDoc()["osImage"], Show: func(n *corev1.Node) any { return orWord(n.Status.NodeInfo.OSImage, "<unknown>") }},
		{Name: "Kernel-Version", Priority: 1, Help: corev1.NodeSystemInfo{}.SwaggerDoc()["kernelVersion"], Show: func(n *corev1.Node) any {
			kernel := orWord(n.Status.NodeInfo.KernelVersion, "<unknown>")
			if arch := n.Status.NodeInfo.Architecture; arch != "" {
				kernel += " (" + arch + ")"
			}
			return kernel
		}},
		{Name: "Container-Runtime", Priority: 1, Help: corev1.NodeSystemInfo{}.SwaggerDoc()["containerRuntimeVersion"], Show: func(n *corev1.Node) any {
			return orWord(n.Status.NodeInfo.ContainerRuntimeVersion, "<unknown>")
		}},
	},
})

func orWord(s, word string) string {
	if s == "" {
		return word
	}
	return s
}

func nodeStatus(n *corev1.Node) string {
	status := "Unknown"
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			status = "NotReady"
			if c.Status == corev1.ConditionTrue {
				status = "Ready"
			}
		}
	}
	if n.Spec.Unschedulable {
		status += ",SchedulingDisabled"
	}
	return status
}

// nodeRoles reads the labels node-role.kubernetes.io/<role> and kubernetes.io/role.
func nodeRoles(n *corev1.Node) string {
	var roles []string
	for key, value := range n.Labels {
		if role, ok := strings.CutPrefix(key, "node-role.kubernetes.io/"); ok && role != "" {
			roles = append(roles, role)
		} else if key == "kubernetes.io/role" && value != "" {
			roles = append(roles, value)
		}
	}
	slices.Sort(roles)
	return orWord(strings.Join(slices.Compact(roles), ","), "<none>")
}

func nodeAddress(n *corev1.Node, kind corev1.NodeAddressType) string {
	for _, a := range n.Status.Addresses {
		if a.Type == kind {
			return a.Address
		}
	}
	return "<none>"
}
