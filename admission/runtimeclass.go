package admission

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/lighter-k8s/lighter/client"
)

// RuntimeClass gives pods what their runtime class says: its overhead, and the nodes and taints
// that go with it. Source: Kubernetes documentation, Runtime Class and Pod Overhead.
func RuntimeClass(classes client.TypedView[*nodev1.RuntimeClass]) Plugin {
	return Plugin{Name: "RuntimeClass", Mutate: func(_ context.Context, a *Attributes) error {
		if a.Operation != Create || a.Resource() != "pods" {
			return nil
		}
		spec := &a.Object.(*corev1.Pod).Spec
		refuse := func(format string, args ...any) error {
			return apierrors.NewForbidden(a.Info.GroupResource(), a.Name, fmt.Errorf("pod rejected: "+format, args...))
		}
		var overhead corev1.ResourceList
		if spec.RuntimeClassName != nil {
			class, ok := classes.Get("", *spec.RuntimeClassName)
			if !ok {
				return refuse("RuntimeClass %q not found", *spec.RuntimeClassName)
			}
			if class.Overhead != nil {
				overhead = class.Overhead.PodFixed
			}
			if s := class.Scheduling; s != nil {
				for key, value := range s.NodeSelector {
					if own, ok := spec.NodeSelector[key]; ok && own != value {
						return refuse("conflict: runtimeClass.scheduling.nodeSelector[%s] = %s; pod.spec.nodeSelector[%s] = %s", key, value, key, own)
					}
					if spec.NodeSelector == nil {
						spec.NodeSelector = map[string]string{}
					}
					spec.NodeSelector[key] = value
				}
				for _, t := range s.Tolerations {
					if !slices.ContainsFunc(spec.Tolerations, func(own corev1.Toleration) bool { return equality.Semantic.DeepEqual(own, t) }) {
						spec.Tolerations = append(spec.Tolerations, t)
					}
				}
			}
		}
		if len(spec.Overhead) > 0 && !equality.Semantic.DeepEqual(spec.Overhead, overhead) {
			if len(overhead) == 0 {
				return refuse("Pod Overhead set without corresponding RuntimeClass defined Overhead")
			}
			return refuse("Pod's Overhead doesn't match RuntimeClass's defined Overhead")
		}
		if len(overhead) > 0 {
			spec.Overhead = overhead.DeepCopy()
		}
		return nil
	}}
}
