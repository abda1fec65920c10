package flow

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/lighter-k8s/lighter/authz"
)

// DebugPath is what the paths of Dump begin with.
const DebugPath = "/debug/api_priority_and_fairness/"

// dumps are what is below DebugPath. Source: Kubernetes documentation, Flow control, Debug endpoints. What differs: requests that are being
// served belong to no queue any more, they are counted by level and not listed; work is measured in seats, as if each request took a second.
var dumps = map[string]func(c *Controller, w io.Writer, details bool){
	"dump_priority_levels": (*Controller).dumpLevels,
	"dump_queues":          (*Controller).dumpQueues,
	"dump_requests":        (*Controller).dumpRequests,
}

// Dump shows levels, queues or who waits, in columns; false: there is no such path.
func (c *Controller) Dump(w http.ResponseWriter, r *http.Request) bool {
	dump, ok := dumps[strings.TrimPrefix(r.URL.Path, DebugPath)]
	if !ok {
		return false
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	columns := tabwriter.NewWriter(w, 8, 0, 1, ' ', 0)
	dump(c, columns, r.URL.Query().Get("includeRequestDetails") != "")
	_ = columns.Flush() // who goes meanwhile misses the rest
	return true
}

// row writes values with commas and cell ends between them.
func row(w io.Writer, values ...any) {
	for n, v := range values {
		if n > 0 {
			_, _ = io.WriteString(w, ",\t")
		}
		_, _ = fmt.Fprint(w, v)
	}
	_, _ = io.WriteString(w, "\n")
}

// sorted are the levels by name, with those that only wait for their last requests.
func (c *Controller) sorted() (levels []*level) {
	levels = slices.Clone(c.now.Load().levels)
	slices.SortFunc(levels, func(a, b *level) int { return strings.Compare(a.name, b.name) })
	return levels
}

func (c *Controller) dumpLevels(w io.Writer, _ bool) {
	row(w, "PriorityLevelName", "ActiveQueues", "IsIdle", "IsQuiescing", "WaitingRequests", "ExecutingRequests", "DispatchedRequests", "RejectedRequests", "TimedoutRequests", "CancelledRequests")
	for _, l := range c.sorted() {
		l.mu.Lock()
		active := 0
		for n := range l.queues {
			if len(l.queues[n].waiters) > 0 {
				active++
			}
		}
		l.mu.Unlock()
		waiting, served := l.waiting.Load(), l.served()
		row(w, l.name, active, waiting+served == 0, l.leaving.Load(), waiting, served, l.dispatched.Load(), l.refused.Load(), l.timedOut.Load(), l.cancelled.Load())
	}
}

func (c *Controller) dumpQueues(w io.Writer, _ bool) {
	row(w, "PriorityLevelName", "Index", "PendingRequests", "ExecutingRequests", "SeatsInUse", "NextDispatchR", "InitialSeatsSum", "MaxSeatsSum", "TotalWorkSum")
	for _, l := range c.sorted() {
		l.mu.Lock()
		for n := range l.queues {
			q := &l.queues[n]
			row(w, l.name, n, len(q.waiters), 0, 0, fmt.Sprintf("%.8fss", q.begins), q.seats, q.seats, fmt.Sprintf("%.8fss", float64(q.seats)))
		}
		l.mu.Unlock()
	}
}

func (c *Controller) dumpRequests(w io.Writer, details bool) {
	head := []any{"PriorityLevelName", "FlowSchemaName", "QueueIndex", "RequestIndexInQueue", "FlowDistingsher", "ArriveTime", "InitialSeats", "FinalSeats", "AdditionalLatency", "StartTime"}
	if details {
		head = append(head, "UserName", "Verb", "APIPath", "Namespace", "Name", "APIVersion", "Resource", "SubResource")
	}
	row(w, head...)
	for _, l := range c.sorted() {
		l.mu.Lock()
		for n := range l.queues {
			for k, one := range l.queues[n].waiters {
				values := []any{l.name, one.schema, n, k, one.flow, one.arrived.UTC().Format(time.RFC3339Nano), one.width, 0, "0s", time.Time{}.Format(time.RFC3339Nano)}
				if a := &one.asks; details {
					values = append(values, a.User.Username, a.Verb, pathOf(a), a.Namespace, a.Name, a.Version, a.Resource, a.Subresource)
				}
				row(w, values...)
			}
		}
		l.mu.Unlock()
	}
}

// pathOf is the path of a request.
func pathOf(a *authz.Attributes) string {
	if !a.ResourceRequest {
		return a.Path
	}
	parts := []string{"/api", a.Version}
	if a.Group != "" {
		parts = []string{"/apis", a.Group, a.Version}
	}
	if a.Namespace != "" {
		parts = append(parts, "namespaces", a.Namespace)
	}
	for _, p := range []string{a.Resource, a.Name, a.Subresource} {
		if p != "" {
			parts = append(parts, p)
		}
	}
	return strings.Join(parts, "/")
}
