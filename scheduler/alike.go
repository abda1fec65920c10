package scheduler

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// refused is what was said to a kind of pods: it holds for all of the kind until something helps.
type refused struct {
	by    cause
	help  uint64 // queue.help when it was said
	nodes int
	text  string
}

// mostKinds is how many kinds are remembered; then all are forgotten.
const mostKinds = 1000

// remember keeps a refusal for other pods of the same kind, so that a flood of them costs next to nothing.
func (s *scheduler) remember(e *entry, d decision) {
	if len(e.ask.claims) > 0 {
		return // volumes are a pod's own
	}
	if len(s.kinds) >= mostKinds {
		clear(s.kinds)
	}
	s.kinds[e.ask.kind()] = refused{d.rejected, s.queue.help(d.rejected), d.nodes, d.message()}
}

// refusedAlike refuses a pod as an earlier one of its kind was, if nothing has helped since.
func (s *scheduler) refusedAlike(ctx context.Context, e *entry, now time.Time) bool {
	if len(s.kinds) == 0 || e.ask.nominated != nil || len(e.ask.claims) > 0 {
		return false
	}
	r, ok := s.kinds[e.ask.kind()]
	if !ok || r.help != s.queue.help(r.by) || r.nodes != len(s.cache.order) {
		return false
	}
	s.say(ctx, e, r.by, r.text, now)
	return true
}

// kind is the same for pods on which all decisions are the same.
func (a *ask) kind() string {
	if a.class == "" {
		spec := &a.obj.Spec
		var ports []string
		for _, p := range a.ports {
			ports = append(ports, fmt.Sprint(p))
		}
		data, err := json.Marshal([]any{a.obj.Namespace, a.obj.Labels, a.priority, a.requests.words(), ports, spec.NodeSelector, spec.Affinity,
			spec.Tolerations, spec.TopologySpreadConstraints, spec.PreemptionPolicy, a.obj.OwnerReferences})
		if err != nil {
			return string(a.obj.UID) // of no kind
		}
		a.class = string(data)
	}
	return a.class
}

func (a *amounts) words() []int64 { return append([]int64{a.cpu, a.memory, a.storage}, a.extended...) }
