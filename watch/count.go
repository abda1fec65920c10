package watch

import "github.com/lighter-k8s/lighter/api"

// Count is what there is of a resource, and what lists have cost since its table was made.
type Count struct {
	Info    *api.Info
	Objects int
	// Lists were answered from memory: Walked objects were looked at for them, and Listed ones of those were what they asked for.
	Lists, Walked, Listed uint64
	Events                uint64 // that the store told
}

// Counts are those of all resources, in no order.
func (s *State) Counts() []Count {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := make([]Count, 0, len(s.tables))
	for _, t := range s.tables {
		out = append(out, Count{t.info, t.items.Len(), t.lists.Load(), t.walked.Load(), t.listed.Load(), t.received})
	}
	return out
}
