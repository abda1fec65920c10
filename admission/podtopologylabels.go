package admission

import (
	"context"

	corev1 "k8s.io/api/core/v1"

	"github.com/lighter-k8s/lighter/client"
)

// PodTopologyLabels shows pods where they run: the zone and region of the node go to a pod's labels with its binding.
// Source: KEP-4742.
func PodTopologyLabels(nodes client.TypedView[*corev1.Node]) Plugin {
	return Plugin{Name: "PodTopologyLabels", Mutate: func(_ context.Context, a *Attributes) error {
		if a.Operation != Create {
			return nil
		}
		switch a.Resource() {
		case "pods/binding", "bindings":
			if b, ok := a.Object.(*corev1.Binding); ok {
				b.Labels = withTopology(b.Labels, nodes, b.Target.Name)
			}
		case "pods": // that say themselves where they run
			if pod := a.Object.(*corev1.Pod); pod.Spec.NodeName != "" {
				pod.Labels = withTopology(pod.Labels, nodes, pod.Spec.NodeName)
			}
		}
		return nil
	}}
}

func withTopology(labels map[string]string, nodes client.TypedView[*corev1.Node], name string) map[string]string {
	node, ok := nodes.Get("", name)
	if !ok {
		return labels
	}
	for _, key := range []string{corev1.LabelTopologyZone, corev1.LabelTopologyRegion} {
		value, there := node.Labels[key]
		if !there {
			continue
		}
		if labels == nil {
			labels = map[string]string{}
		}
		labels[key] = value
	}
	return labels
}
