package rig

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/lighter-k8s/lighter/client"
)

// Pod is a Kubernetes pod.
type Pod = corev1.Pod

// Pods are those that labels select and that are not on their way out, by name.
func (c *Cluster) Pods(namespace, labels string) map[string]*Pod {
	c.T.Helper()
	all, err := client.Pods.List(c.T.Context(), c.Client, namespace, client.Selection{Labels: labels})
	if err != nil {
		c.T.Fatal(err)
	}
	out := map[string]*Pod{}
	for _, p := range all {
		if p.DeletionTimestamp == nil {
			out[p.Name] = p
		}
	}
	return out
}

// IsReady tells whether a pod is ready.
func IsReady(p *Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}
