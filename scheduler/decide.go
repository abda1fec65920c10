package scheduler

import (
	"fmt"
	"slices"
	"strings"
)

// decision is where a pod goes, or why it goes nowhere.
type decision struct {
	node       *node          // nil: nowhere
	nodes      int            // how many there are
	why        map[string]int // on how many nodes each reason stands
	whole      string         // a reason that holds for all nodes at once
	rejected   cause
	resolvable []*node // that refuse for what preemption could change
	after      string  // what preemption says
	leaving    bool    // pods are on their way out to make room
}

// enough is how many nodes that can take a pod are looked for before the best is chosen: all of a few
// hundred, a tenth of thousands.
func enough(nodes int) int { return max(500, nodes/10) }

// decide looks for the best node. It changes nothing but where the next search begins.
func (s *scheduler) decide(a *ask) decision {
	c := s.cache
	d := decision{nodes: len(c.order)}
	if d.nodes == 0 {
		d.rejected = byAnything
		return d
	}
	if len(a.claims) > 0 {
		if d.whole = s.views.surveyVolumes(a); d.whole != "" {
			d.rejected = byVolumes
			return d
		}
	}
	candidates := c.order
	if a.only != nil {
		candidates = nil
		for _, name := range a.only {
			if n := c.byName[name]; n != nil && n.obj != nil {
				candidates = append(candidates, n)
			}
		}
		if others := d.nodes - len(candidates); others > 0 {
			d.refuse(isNotSelected, others)
		}
	}
	c.survey(a)
	for _, n := range [...]*node{a.nominated, c.claimsNode(a)} {
		if n != nil && n.obj != nil && len(s.refusal(a, n, nil)) == 0 {
			d.node = n
			return d
		}
	}
	found := s.found[:0]
	var buf [8]reason
	first, limit, looked := 0, enough(d.nodes), 0
	if a.only == nil {
		first = c.next % len(candidates)
	}
	for looked < len(candidates) && len(found) < limit {
		n := candidates[(first+looked)%len(candidates)]
		looked++
		why := s.refusal(a, n, buf[:0])
		if len(why) == 0 {
			found = append(found, n)
			continue
		}
		for _, r := range why {
			d.refuse(r, 1)
		}
		if !slices.ContainsFunc(why, func(r reason) bool { return r.final }) {
			d.resolvable = append(d.resolvable, n)
		}
	}
	if a.only == nil {
		c.next = (first + looked) % len(candidates)
	}
	s.found = found
	if len(found) > 0 {
		d.node = c.best(a, found, s.rand)
	}
	return d
}

func (d *decision) refuse(r reason, nodes int) {
	if d.why == nil {
		d.why = map[string]int{}
	}
	d.why[r.text] += nodes
	d.rejected |= r.by
}

// message is what the condition and the event say, to the letter of Kubernetes.
func (d *decision) message() string {
	if d.nodes == 0 {
		return "no nodes available to schedule pods"
	}
	text := fmt.Sprintf("0/%d nodes are available: ", d.nodes)
	if d.whole != "" {
		text += d.whole + "."
	} else {
		text += counted(d.why) + "."
	}
	if d.after != "" {
		text += " " + d.after
	}
	return text
}

// counted is "1 reason, 2 other reason", ordered as text.
func counted(why map[string]int) string {
	var list []string
	for text, n := range why {
		list = append(list, fmt.Sprintf("%d %s", n, text))
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}
