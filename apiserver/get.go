package apiserver

import (
	"fmt"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lighter-k8s/lighter/registry"
	"github.com/lighter-k8s/lighter/watch"
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
	if asked != "" {
		if err := s.reach(r, version); err != nil {
			return err
		}
	}
	var item *watch.Item
	switch match := metav1.ResourceVersionMatch(t.query.Get("resourceVersionMatch")); {
	case match == metav1.ResourceVersionMatchExact && version > 0: // more than Kubernetes offers
		item, err = s.Registry.GetAt(r.Context(), q, version)
	case match == "" || match == metav1.ResourceVersionMatchNotOlderThan && asked != "":
		now := asked == "" // else what memory shows by now is new enough
		item, err = s.Registry.Get(r.Context(), q, now)
	default:
		err = apierrors.NewBadRequest(fmt.Sprintf("resourceVersionMatch %q does not go with resourceVersion %q", match, asked))
	}
	if err != nil {
		return err
	}
	if t.subresource == "scale" {
		obj, err := registry.Load(t.info, item)
		if err != nil {
			return err
		}
		if err := registry.Scalable(t.info, obj); err != nil {
			return err
		}
		return s.answer(w, r, http.StatusOK, f, registry.ScaleInfo, registry.ScaleOf(t.info, obj))
	}
	return s.answerItem(w, r, http.StatusOK, f, t.info, item)
}
