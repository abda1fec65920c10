package direct

import (
	"encoding/json"
	"errors"
	"net/http"
	"reflect"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/audit"
	"github.com/lighter-k8s/lighter/authz"
	"github.com/lighter-k8s/lighter/client"
)

// act is a request as the audit trail has it; nil: nothing is written down.
type act struct {
	audit.Event
	ok int // the code of success
}

// here is where requests in the process come from.
var here = []string{"127.0.0.1"}

// begin begins the event of a request, in the words that HTTP would have for it.
func (c *Client) begin(a *authz.Attributes) (*act, error) {
	if c.server.Audit == nil {
		return nil, nil
	}
	e := &act{ok: http.StatusOK}
	if a.Verb == "create" {
		e.ok = http.StatusCreated
	}
	e.ID, e.RequestURI, e.Received, e.SourceIPs, e.UserAgent = audit.NewID(), path(a), time.Now(), here, "lighter/direct "+manager(a.User.Username)
	if err := c.server.Audit.Begin(&e.Event, a); err != nil {
		return e, apierrors.NewInternalError(err)
	}
	if !e.Writes() {
		return nil, nil
	}
	return e, nil
}

// path is a request's over HTTP.
func path(a *authz.Attributes) string {
	var b strings.Builder
	if a.Group == "" {
		b.WriteString("/api/")
	} else {
		b.WriteString("/apis/" + a.Group + "/")
	}
	b.WriteString(a.Version)
	if a.Namespace != "" && (a.Resource != "namespaces" || a.Group != "") {
		b.WriteString("/namespaces/" + a.Namespace)
	}
	b.WriteString("/" + a.Resource)
	if a.Name != "" && (a.Verb != "create" || a.Subresource != "") {
		b.WriteString("/" + a.Name)
	}
	if a.Subresource != "" {
		b.WriteString("/" + a.Subresource)
	}
	return b.String()
}

func (e *act) judged(d authz.Decision, reason string) {
	if e != nil {
		e.Judged(d, reason)
	}
}

// object notes what is to be written.
func (e *act) object(i *api.Info, obj client.Object) {
	if e == nil {
		return
	}
	e.About(obj)
	if e.WantsRequest() {
		e.Sent(encoded(i, obj))
	}
}

func (e *act) sent(patch []byte) {
	if e != nil && e.WantsRequest() {
		e.Sent(patch)
	}
}

// over ends the event. got is what the request gave, if it gave one object.
func (e *act) over(i *api.Info, got client.Object, err error) {
	if e == nil {
		return
	}
	code := e.ok
	if err != nil {
		known := apierrors.APIStatus(nil)
		if !errors.As(err, &known) {
			known = apierrors.NewInternalError(err)
		}
		status := known.Status()
		e.Status, code = &status, int(status.Code)
	} else if got != nil {
		e.Named(got.GetName())
		if e.WantsResponse() {
			e.Answered(encoded(i, got))
		}
	} else if status := (metav1.Status{Status: metav1.StatusSuccess}); e.ok == http.StatusOK {
		e.Status = &status
	}
	_ = e.Reached(audit.ResponseComplete, code) // it is done already
}

// encoded is an object's JSON. What is sent to or answered by a subresource may be of another kind than i, such as a
// Binding: it says what it is, or it is not said.
func encoded(i *api.Info, obj client.Object) []byte {
	encode := func() ([]byte, error) { return api.EncodeJSON(i, obj) }
	if reflect.TypeOf(obj) != reflect.TypeOf(i.New()) {
		encode = func() ([]byte, error) { return json.Marshal(obj) }
	}
	data, err := encode()
	if err != nil {
		return nil
	}
	return data
}
