package scheduler

import (
	"maps"

	corev1 "k8s.io/api/core/v1"
)

// index answers what is where: for now nothing.
type index struct{}

func newIndex() index { return index{} }

func (c *cache) placeNode(*node) {}

func (c *cache) indexPod(*pod, int) {}

type held struct{}

type neighbours struct{}

func (c *cache) readNeighbours(*ask) {}

func sameNeighbour(a, b *corev1.Pod) bool {
	return (a.DeletionTimestamp == nil) == (b.DeletionTimestamp == nil) && maps.Equal(a.Labels, b.Labels)
}
