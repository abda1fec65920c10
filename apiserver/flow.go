package apiserver

import (
	"net/http"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/lighter-k8s/lighter/authz"
	"github.com/lighter-k8s/lighter/watch"
)

// The headers that say which FlowSchema and PriorityLevelConfiguration a request was of, in net/http's spelling.
// Source: flowcontrol/v1, ResponseHeaderMatchedFlowSchemaUID and ResponseHeaderMatchedPriorityLevelConfigurationUID.
const (
	schemaHeader = "X-Kubernetes-Pf-Flowschema-Uid"
	levelHeader  = "X-Kubernetes-Pf-Prioritylevel-Uid"
)

// seated waits until the request may be served. Tunnels take no seat; a watch does until it has sent what there is at its beginning.
func (s *Server) seated(w *statusWriter, r *http.Request, t *route, a *authz.Attributes) error {
	if s.Flow == nil || t.long() && t.verb != "watch" {
		return nil
	}
	var err error
	w.seats, err = s.Flow.Begin(r.Context(), a, func() int { return s.width(t) })
	if w.seats.Schema != nil {
		h := w.Header()
		h[schemaHeader], h[levelHeader] = w.seats.Schema, w.seats.Level
	}
	if err != nil {
		return apierrors.NewTooManyRequests(err.Error(), 1)
	}
	return nil
}

const (
	// seatBytes is how much of a list is worth a seat: about what a write costs, on top of its own.
	seatBytes = 1 << 20
	// widest bounds what one request takes. Source: kube-apiserver.
	widest = 10
)

// width is how many seats a request takes: a list of the whole cluster or of a namespace as many as it has megabytes, all else one.
func (s *Server) width(t *route) int {
	if t.verb != "list" || t.info == nil || t.info.Virtual || t.name != "" {
		return 1
	}
	first, more := s.Registry.State.First(t.info.Stored, watch.Filter{Namespace: t.namespace})
	if first == nil || more <= 0 {
		return 1
	}
	if limit, err := strconv.ParseInt(t.query.Get("limit"), 10, 64); err == nil && limit > 0 {
		more = min(more, limit)
	}
	return int(min(widest, 1+more*int64(len(first.Raw()))/seatBytes))
}
