package apiserver

import (
	"net/http"

	"github.com/lighter-k8s/lighter/registry"
)

// get answers with one object, or its status or scale.
func (s *Server) get(w http.ResponseWriter, r *http.Request, t *route, q registry.Request) error {
	f, err := accept(r, true)
	if err != nil {
		return err
	}
	asked := t.query.Get("resourceVersion")
	version, err := parseVersion(asked)
	if err != nil {
		return err
	}
	if err := s.reach(r, version); err != nil {
		return err
	}
	now := asked == "" // else what memory shows by now is new enough
	item, err := s.Registry.Get(r.Context(), q, now)
	if err != nil {
		return err
	}
	if t.subresource == "scale" {
		obj, err := registry.Load(t.info, item)
		if err != nil {
			return err
		}
		return s.answer(w, r, http.StatusOK, f, scaleInfo, registry.ScaleOf(t.info, obj))
	}
	return s.answerItem(w, r, f, t.info, item)
}
