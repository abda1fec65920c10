package apiserver

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/api/yamljson"
	"github.com/lighter-k8s/lighter/audit"
	"github.com/lighter-k8s/lighter/watch"
)

// auditHeader is audit.k8s.io/v1's HeaderAuditID in net/http's spelling.
const auditHeader = "Audit-Id"

// identified gives the request its ID, the client's own if it has one, and says it in the answer.
func identified(w *statusWriter, r *http.Request) {
	id := r.Header[auditHeader]
	if len(id) == 0 || id[0] == "" {
		id = []string{audit.NewID()}
		r.Header[auditHeader] = id // for those to whom the request may be passed on
	}
	w.event.ID, w.event.Received = id[0], time.Now()
	w.Header()[auditHeader] = id[:1:1]
}

// audited begins the audit trail's event of a request that is about to be judged.
func (s *Server) audited(w *statusWriter, r *http.Request, t *route, user authenticationv1.UserInfo) error {
	if s.Audit == nil {
		return nil
	}
	e := &w.event
	e.RequestURI, e.UserAgent, e.SourceIPs, w.long = r.RequestURI, r.UserAgent(), sources(r), t.long()
	if e.RequestURI == "" { // not from a connection
		e.RequestURI = r.URL.RequestURI()
	}
	a := t.attributes()
	a.User = user
	if err := s.Audit.Begin(e, &a); err != nil {
		return apierrors.NewInternalError(err)
	}
	return nil
}

// sources are the addresses that a request came through. Source: audit.k8s.io/v1, Event, sourceIPs.
func sources(r *http.Request) []string {
	if r.Header["X-Forwarded-For"] == nil && r.Header["X-Real-Ip"] == nil {
		if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
			return []string{host}
		}
	}
	var out []string
	for _, ip := range utilnet.SourceIPs(r) {
		out = append(out, ip.String())
	}
	return out
}

// started is called when a response's headers go out.
func (w *statusWriter) started() {
	if w.long && (w.code >= 200 || w.code == http.StatusSwitchingProtocols) {
		_ = w.event.Reached(audit.ResponseStarted, w.code) // the request is done already
	}
}

// completed is called when a request is over, however it ended.
func (w *statusWriter) completed() {
	if w.code == 0 {
		w.code = http.StatusOK // net/http's answer to a handler without one
	}
	_ = w.event.Reached(audit.ResponseComplete, w.code) // the request is done already
}

// panicked notes that a handler did.
func (w *statusWriter) panicked(p any) {
	w.event.Status = &apierrors.NewInternalError(fmt.Errorf("the server could not complete the request: %v", p)).ErrStatus
	_ = w.event.Reached(audit.Panic, http.StatusInternalServerError) // there is an error already
}

// nobody is the event of what is no request to the server.
var nobody audit.Event

// eventOf is the event of the request that w answers.
func eventOf(w http.ResponseWriter) *audit.Event {
	if sw, ok := w.(*statusWriter); ok {
		return &sw.event
	}
	return &nobody
}

// auditSent notes the body of a create or update, as it came.
func auditSent(w http.ResponseWriter, in input, obj api.Object) {
	e := eventOf(w)
	if !e.Writes() {
		return
	}
	e.About(obj)
	if !e.WantsRequest() {
		return
	}
	data, err := *in.data, error(nil)
	switch in.media {
	case typeYAML:
		data, _, err = yamljson.Convert(data)
	case typeProtobuf:
		data, err = api.EncodeJSON(in.info, obj)
	}
	if err == nil {
		e.Sent(data)
	}
}

// auditPatch notes the body of a patch.
func auditPatch(w http.ResponseWriter, data []byte) {
	if e := eventOf(w); e.WantsRequest() {
		if json.Valid(data) { // an apply's too, mostly
			e.Sent(data)
		} else if data, _, err := yamljson.Convert(data); err == nil {
			e.Sent(data)
		}
	}
}

// auditOptions notes how an object is to be deleted.
func auditOptions(w http.ResponseWriter, r *http.Request, o metav1.DeleteOptions) {
	if e := eventOf(w); e.WantsRequest() && r.ContentLength != 0 {
		o.Kind, o.APIVersion = "DeleteOptions", cmp.Or(o.APIVersion, "v1")
		if data, err := json.Marshal(&o); err == nil {
			e.Sent(data)
		}
	}
}

// auditAnswer notes an object that is answered.
func auditAnswer(w http.ResponseWriter, i *api.Info, obj api.Object) {
	e := eventOf(w)
	if e.Writes() {
		e.Named(obj.GetName())
	}
	if e.WantsResponse() {
		if data, err := api.EncodeJSON(i, obj); err == nil {
			e.Answered(data)
		}
	}
}

// auditItem is auditAnswer for what memory holds.
func auditItem(w http.ResponseWriter, i *api.Info, item *watch.Item) {
	e := eventOf(w)
	if e.Writes() {
		e.Named(item.Name)
	}
	if e.WantsResponse() {
		if data, _, err := encodeItem(form{media: typeJSON}, i, item); err == nil {
			e.Answered(data)
		}
	}
}

// auditStatus notes a Status that is answered.
func auditStatus(w http.ResponseWriter, status *metav1.Status) {
	e := eventOf(w)
	if !e.Writes() {
		return
	}
	e.Status = status
	if e.WantsResponse() {
		if data, err := json.Marshal(status); err == nil {
			e.Answered(data)
		}
	}
}

// auditRefused notes which kinds of credentials a request showed that nobody took: who asked is told nothing of it.
func auditRefused(w http.ResponseWriter, r *http.Request) {
	if e := eventOf(w); e.Writes() {
		e.Status = &metav1.Status{Status: metav1.StatusFailure, Message: attempted(r), Reason: metav1.StatusReasonUnauthorized}
	}
}

// attempted says by what a request wanted to be known. Source: audit events of a kube-apiserver.
func attempted(r *http.Request) string {
	var shown []string
	if scheme, _, _ := strings.Cut(strings.TrimSpace(r.Header.Get("Authorization")), " "); scheme != "" {
		switch scheme = strings.ToLower(scheme); scheme {
		case "basic", "bearer":
			shown = append(shown, scheme)
		default:
			shown = append(shown, "unknown") // not the header itself: it may be the secret
		}
	}
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		shown = append(shown, "x509")
	}
	if len(shown) == 0 {
		return "Authentication failed, no credentials provided"
	}
	return "Authentication failed, attempted: " + strings.Join(shown, ", ")
}

// auditList notes a list, as JSON whatever the client wanted, if it is not too long.
func (s *Server) auditList(w http.ResponseWriter, r *http.Request, i *api.Info, l source) {
	e := eventOf(w)
	if !e.WantsResponse() {
		return
	}
	to := &recorder{header: http.Header{}}
	err := s.answerList(to, &http.Request{Method: http.MethodGet, URL: r.URL, Header: http.Header{}}, form{media: typeJSON}, i, l)
	switch {
	case to.long:
		e.Cut()
	case err == nil:
		e.Answered(to.body)
	}
}

// recorder keeps a response, up to what the audit trail takes.
type recorder struct {
	header http.Header
	body   []byte
	long   bool
}

func (r *recorder) Header() http.Header { return r.header }
func (r *recorder) WriteHeader(int)     {}

func (r *recorder) Write(p []byte) (int, error) {
	if r.long = r.long || len(r.body)+len(p) > audit.Longest; r.long {
		r.body = nil
		return 0, errGone
	}
	r.body = append(r.body, p...)
	return len(p), nil
}
