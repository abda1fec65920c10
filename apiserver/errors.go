package apiserver

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/authz"
)

// fail answers with an error's Status, in the form that the client accepts.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	var known apierrors.APIStatus
	if !errors.As(err, &known) {
		known = apierrors.NewInternalError(err)
	}
	status := known.Status()
	status.Kind, status.APIVersion = "Status", "v1"
	if status.Code == 0 {
		status.Code = http.StatusInternalServerError
	}
	if status.Code == http.StatusInternalServerError {
		s.Log.Warn("request failed", "object", r.URL.Path, "err", err)
	}
	auditStatus(w, &status)
	if status.Code == http.StatusUnauthorized {
		auditRefused(w, r)
	}
	if d := status.Details; d != nil && d.RetryAfterSeconds > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(d.RetryAfterSeconds)))
	}
	f, ferr := accept(r, false)
	if ferr != nil {
		f = form{media: typeJSON, pretty: true}
	}
	body, eerr := encodeMeta(f, "v1", "Status", &status)
	if eerr != nil {
		http.Error(w, eerr.Error(), http.StatusInternalServerError)
		return
	}
	if status.Code == http.StatusUnauthorized {
		w.Header().Set("Cache-Control", "no-cache, private")
	}
	send(w, r, int(status.Code), f.media, body)
}

// Forbidden is the 403 of a request that the authorizer did not allow.
func Forbidden(a authz.Attributes, reason string) error {
	err := apierrors.NewForbidden(schema.GroupResource{Group: a.Group, Resource: a.Resource}, a.Name, errors.New(""))
	err.ErrStatus.Message = authz.Forbidden(a, reason)
	if !a.ResourceRequest {
		err.ErrStatus.Details = &metav1.StatusDetails{}
	}
	return err
}

// notFoundPath is the 404 of a path that is no resource of the server.
func notFoundPath() error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: http.StatusNotFound, Reason: metav1.StatusReasonNotFound,
		Message: "the server could not find the requested resource", Details: &metav1.StatusDetails{}}}
}

// noPage is the 404 of a path that is neither below /api nor below a group that is served.
func noPage(w http.ResponseWriter) error {
	w.Header().Set("Cache-Control", "no-cache, private")
	http.Error(w, "404 page not found", http.StatusNotFound)
	return nil
}

// methodNotAllowed is the 405 of a path that is there and does not know the method.
func methodNotAllowed() error {
	return apierrors.NewGenericServerResponse(http.StatusMethodNotAllowed, "", schema.GroupResource{}, "", "", 0, false)
}

// tooLarge is the 413 of a body beyond maxBody.
func tooLarge() error {
	return apierrors.NewRequestEntityTooLargeError(fmt.Sprintf("limit is %d", maxBody))
}

// gvkOf is the kind that a record's objects have on the wire.
func gvkOf(i *api.Info) (apiVersion, kind string) {
	apiVersion, kind = i.GVK().ToAPIVersionAndKind()
	return apiVersion, kind
}
