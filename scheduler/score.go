package scheduler

import "math/rand/v2"

const maxScore = 100

// best is the node with the highest score; equals are drawn from.
func (c *cache) best(a *ask, found []*node, r *rand.Rand) *node {
	if len(found) == 1 {
		return found[0]
	}
	var best *node
	top, equals := int64(-1), 0
	for _, n := range found {
		score := leastAllocated(a, n) + balanced(a, n)
		switch {
		case score > top:
			best, top, equals = n, score, 1
		case score == top:
			if equals++; r.IntN(equals) == 0 {
				best = n
			}
		}
	}
	return best
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
