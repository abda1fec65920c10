package scheduler

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// maxScore is what the best node gets from one score, before its weight.
const maxScore = 100

// The weights of the scores. Source: Kubernetes documentation, Scheduler Configuration (default profile).
const (
	weighTaints     = 3
	weighAffinity   = 2
	weighSpread     = 2
	weighNeighbours = 2
	weighAllocated  = 1
	weighBalance    = 1
	weighImages     = 1
)

// best is the node with the highest score; one of equals is drawn.
func (c *cache) best(a *ask, found []*node, r *rand.Rand) *node {
	if len(found) == 1 {
		return found[0]
	}
	total := c.score(a, found)
	best, equals := 0, 1
	for i := 1; i < len(found); i++ {
		switch {
		case total[i] > total[best]:
			best, equals = i, 1
		case total[i] == total[best]:
			if equals++; r.IntN(equals) == 0 {
				best = i
			}
		}
	}
	return found[best]
}

// score is the weighed sum of all scores of each node. A score that cannot tell the nodes apart is left out.
func (c *cache) score(a *ask, found []*node) []int64 {
	c.total = slices.Grow(c.total[:0], len(found))[:len(found)]
	for i, n := range found {
		c.total[i] = weighAllocated*leastAllocated(a, n) + weighBalance*balanced(a, n)
	}
	add := func(weight int64, of func(n *node) int64, normal func(list []int64)) {
		c.part = c.part[:0]
		for _, n := range found {
			c.part = append(c.part, of(n))
		}
		if normal != nil {
			normal(c.part)
		}
		for i, s := range c.part {
			c.total[i] += weight * s
		}
	}
	if slices.ContainsFunc(found, prefersNone) {
		add(weighTaints, func(n *node) int64 { return avoided(a, n) }, fewest)
	}
	if a.preferred != nil {
		add(weighAffinity, func(n *node) int64 { return a.preferred.Score(n.obj) }, most)
	}
	if c.surveyPull(a); len(a.near.attracts) > 0 {
		add(weighNeighbours, func(n *node) int64 { return attracted(a, n) }, between)
	}
	if soft := c.softSpread(a, found); len(soft) > 0 {
		add(weighSpread, func(n *node) int64 { return crowded(soft, n) }, leastCrowded)
	}
	if c.knowsImage(a) {
		add(weighImages, func(n *node) int64 { return c.imageScore(a, n) }, nil)
	}
	return c.total
}

// leastAllocated prefers nodes with more free cpu and memory.
func leastAllocated(a *ask, n *node) int64 {
	free := func(want, used, has int64) int64 {
		if has <= 0 || used+want > has {
			return 0
		}
		return (has - used - want) * maxScore / has
	}
	return (free(a.weighCPU, n.weighCPU, n.allocatable.cpu) + free(a.weighMemory, n.weighMemory, n.allocatable.memory)) / 2
}

// balanced prefers nodes whose cpu and memory would be used up to the same share.
func balanced(a *ask, n *node) int64 {
	share := func(want, used, has int64) float64 {
		if has <= 0 {
			return 1
		}
		return min(1, float64(used+want)/float64(has))
	}
	d := share(a.requests.cpu, n.requested.cpu, n.allocatable.cpu) - share(a.requests.memory, n.requested.memory, n.allocatable.memory)
	return int64((1 - max(d, -d)/2) * maxScore)
}

func prefersNone(n *node) bool {
	return slices.ContainsFunc(n.taints, func(t corev1.Taint) bool { return t.Effect == corev1.TaintEffectPreferNoSchedule })
}

// avoided is how many taints of a node ask the pod to stay away if it can.
func avoided(a *ask, n *node) (count int64) {
	for i := range n.taints {
		t := &n.taints[i]
		if t.Effect == corev1.TaintEffectPreferNoSchedule && !tolerated(a.obj.Spec.Tolerations, t) {
			count++
		}
	}
	return count
}

// attracted is what the pods near a node are worth to the pod, and it to them.
func attracted(a *ask, n *node) (sum int64) {
	for i := range a.near.attracts {
		p := &a.near.attracts[i]
		if v := p.t.at(n); v >= 0 {
			sum += p.worth[v]
		}
	}
	return sum
}

// outside marks a node to which the spread constraints do not apply.
const outside = math.MinInt64

// softSpread is what ScheduleAnyway constraints, or the default ones of a pod that has none, count.
func (c *cache) softSpread(a *ask, found []*node) []spread {
	soft := slices.DeleteFunc(slices.Clone(a.near.spread), func(s spread) bool { return s.hard })
	if len(soft) == 0 {
		return nil
	}
	for i := range soft {
		s := &soft[i]
		seen := make([]bool, len(s.t.names))
		sizes := 0
		for _, n := range found {
			if v := s.t.at(n); v >= 0 && !seen[v] {
				seen[v] = true
				sizes++
			}
		}
		s.weight = math.Log(float64(sizes + 2))
	}
	return soft
}

// crowded is how many pods are already where a node is, seen by constraints of which those with few values count less.
func crowded(soft []spread, n *node) int64 {
	sum := 0.0
	for i := range soft {
		s := &soft[i]
		v := s.t.at(n)
		if v < 0 {
			if s.byDefault {
				continue
			}
			return outside
		}
		sum += float64(s.counts[v])*s.weight + float64(s.maxSkew-1)
	}
	return int64(math.Round(sum))
}

// Sizes of images below and above which an image's size makes no difference.
const (
	smallImage = 23 << 20
	largeImage = 1000 << 20
)

func (c *cache) knowsImage(a *ask) bool {
	return len(c.images) > 0 && slices.ContainsFunc(a.obj.Spec.Containers, func(k corev1.Container) bool { return c.images[imageName(k.Image)] > 0 })
}

// imageScore prefers nodes that have the pod's images; an image on few nodes counts less, so that not all pods go there.
func (c *cache) imageScore(a *ask, n *node) int64 {
	var sum, containers int64
	count := func(list []corev1.Container) {
		for i := range list {
			containers++
			name := imageName(list[i].Image)
			if size, ok := n.images[name]; ok {
				sum += int64(float64(size) * float64(c.images[name]) / float64(len(c.order)))
			}
		}
	}
	count(a.obj.Spec.InitContainers)
	count(a.obj.Spec.Containers)
	large := largeImage * containers
	return maxScore * (min(max(sum, smallImage), large) - smallImage) / (large - smallImage)
}

// imageName is the image's name as nodes list it: with a tag or digest.
func imageName(s string) string {
	if strings.LastIndexByte(s, ':') <= strings.LastIndexByte(s, '/') {
		return s + ":latest"
	}
	return s
}

// most makes the highest number 100 and the others their share of it.
func most(list []int64) {
	if top := slices.Max(list); top > 0 {
		for i := range list {
			list[i] = list[i] * maxScore / top
		}
	}
}

// fewest makes none 100 and the highest number 0.
func fewest(list []int64) {
	most(list)
	for i := range list {
		list[i] = maxScore - list[i]
	}
}

// between makes the highest number 100 and the lowest 0.
func between(list []int64) {
	low, top := slices.Min(list), slices.Max(list)
	for i := range list {
		if top == low {
			list[i] = 0
			continue
		}
		list[i] = int64(float64(maxScore) * float64(list[i]-low) / float64(top-low))
	}
}

// leastCrowded makes the lowest number the best; what is outside gets nothing.
func leastCrowded(list []int64) {
	low, top := int64(math.MaxInt64), int64(0)
	for _, n := range list {
		if n != outside {
			low, top = min(low, n), max(top, n)
		}
	}
	for i, n := range list {
		switch {
		case n == outside:
			list[i] = 0
		case top == 0:
			list[i] = maxScore
		default:
			list[i] = maxScore * (top + low - n) / top
		}
	}
}
