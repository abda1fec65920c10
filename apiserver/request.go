package apiserver

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/authz"
)

// route is what a request asks for, parsed once: authorization judges it and the handler executes it.
type route struct {
	path        string // as it came, for what is no resource
	info        *api.Info
	verb        string // get list watch create update patch delete deletecollection, or the method in lower case
	namespace   string
	name        string
	subresource string
	rest        string // behind a proxy subresource
	query       url.Values
	applies     bool // a patch that is a server-side apply

	group, version string // of a path below /api or /apis, also when it names no resource
	plural         string
}

// attributes is the question to the authorizer.
func (t *route) attributes() authz.Attributes {
	a := authz.Attributes{Verb: t.verb, Path: t.path}
	if t.plural != "" {
		a.ResourceRequest = true
		a.Group, a.Version, a.Resource, a.Subresource = t.group, t.version, t.plural, t.subresource
		a.Namespace, a.Name = t.namespace, t.name
		switch t.verb { // elsewhere they choose nothing
		case "list", "watch", "deletecollection":
			a.FieldSelector, a.LabelSelector = t.query.Get("fieldSelector"), t.query.Get("labelSelector")
		}
	}
	return a
}

// parse reads method and path. Source: Kubernetes API concepts, Resource URIs. A path that no
// resource of the server matches leaves info nil.
func (s *Server) parse(r *http.Request) *route {
	t := &route{path: r.URL.Path, verb: strings.ToLower(r.Method), query: r.URL.Query()}
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	switch {
	case len(parts) >= 3 && parts[0] == "api":
		t.version = parts[1]
		parts = parts[2:]
	case len(parts) >= 4 && parts[0] == "apis":
		t.group, t.version = parts[1], parts[2]
		parts = parts[3:]
	default:
		return t
	}
	// The older form /watch/... asks for a watch.
	watching := false
	if parts[0] == "watch" && len(parts) > 1 {
		watching, parts = true, parts[1:]
	}
	if parts[0] == "namespaces" {
		if len(parts) > 1 {
			t.namespace = parts[1]
			// /namespaces/X and its own subresources stay; what follows else is a resource within X.
			if len(parts) > 2 && !(len(parts) == 3 && (parts[2] == "status" || parts[2] == "finalize")) {
				parts = parts[2:]
			}
		}
	}
	t.plural = parts[0]
	if len(parts) > 1 {
		t.name = parts[1]
	}
	if len(parts) > 2 {
		t.subresource = parts[2]
	}
	if len(parts) > 3 {
		t.rest = strings.Join(parts[3:], "/")
		if strings.HasSuffix(r.URL.Path, "/") {
			t.rest += "/"
		}
	}
	t.info = s.lookup(r.Context(), t.group, t.version, t.plural)
	if t.info != nil && t.info.Namespaced != (t.namespace != "") && !(t.info.Namespaced && t.name == "") && !(t.plural == "namespaces") {
		t.info = nil // a cluster resource below a namespace, or a namespaced object without one
	}
	t.verb = verb(r.Method, t, watching)
	t.applies = t.verb == "patch" && patchType(r) == types.ApplyYAMLPatchType
	return t
}

// manager is the name under which a write owns what it writes: what the client says, or the beginning of its user agent.
// Source: API concepts, fieldManager.
func manager(t *route, r *http.Request) string {
	if m := t.query.Get("fieldManager"); m != "" {
		return m
	}
	agent, _, _ := strings.Cut(r.UserAgent(), "/")
	var b strings.Builder
	for _, c := range agent {
		if !unicode.IsPrint(c) {
			continue
		}
		if b.Len()+utf8.RuneLen(c) > 128 {
			break
		}
		b.WriteRune(c)
	}
	return b.String()
}

func verb(method string, t *route, watching bool) string {
	switch method {
	case http.MethodPost:
		return "create"
	case http.MethodPut:
		return "update"
	case http.MethodPatch:
		return "patch"
	case http.MethodDelete:
		if t.name == "" {
			return "deletecollection"
		}
		return "delete"
	case http.MethodGet, http.MethodHead:
		if t.subresource != "" {
			return "get"
		}
		if said := t.query["watch"]; len(said) > 0 {
			_ = runtime.Convert_Slice_string_To_bool(&said, &watching, nil) // never fails: what is not false is true
		}
		if watching {
			if t.name == "" {
				t.name = onlyName(t.query)
			}
			return "watch"
		}
		if t.name == "" {
			t.name = onlyName(t.query)
			return "list"
		}
		return "get"
	}
	return strings.ToLower(method)
}

// onlyName is the name that a field selector narrows a list to: access may be granted to it alone.
func onlyName(q url.Values) string {
	text := q.Get("fieldSelector")
	if longSelector(text) != nil {
		return ""
	}
	sel, err := fields.ParseSelector(text)
	if err != nil || sel.Empty() {
		return ""
	}
	name, _ := sel.RequiresExactMatch("metadata.name")
	return name
}

// contextWithin bounds a wait in seconds.
func contextWithin(ctx context.Context, seconds int) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, time.Duration(seconds)*time.Second)
}
