package apiserver

import (
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1beta1 "k8s.io/apimachinery/pkg/apis/meta/v1beta1"
)

// The representations of objects.
const (
	typeJSON     = "application/json"
	typeYAML     = "application/yaml"
	typeProtobuf = "application/vnd.kubernetes.protobuf"
)

// form is what a client accepts: a media type and, instead of the object itself, a Table or its metadata.
type form struct {
	media   string // typeJSON, typeYAML or typeProtobuf
	as      string // "", "Table", "PartialObjectMetadata" or "PartialObjectMetadataList"
	beta    bool   // that in meta.k8s.io/v1beta1
	include string // what a Table's rows have of their objects: None, Metadata or Object; "": Metadata
	bare    bool   // a Table that does not say its columns (again)
	pretty  bool
}

// version is the version of what as names.
func (f form) version() string {
	if f.beta {
		return metav1beta1.SchemeGroupVersion.String()
	}
	return metav1.SchemeGroupVersion.String()
}

// accept picks the first acceptable form of the Accept header. Tables and metadata are offered where allowed; streams are media types
// that the path has beside the objects'.
func accept(r *http.Request, transforms bool, streams ...string) (form, error) {
	pretty := readable(r)
	header := strings.Join(r.Header.Values("Accept"), ",")
	if header == "" {
		return form{media: typeJSON, pretty: pretty}, nil
	}
	key := accepted{header, transforms}
	f, ok := headers.get(key)
	if !ok {
		if f, ok = choose(header, transforms); !ok {
			return form{}, notAcceptable(header, streams...)
		}
		headers.put(key, f)
	}
	f.pretty = pretty
	if f.as == "Table" {
		switch f.include = r.URL.Query().Get("includeObject"); f.include {
		case "", "None", "Metadata", "Object":
		default: // Source: what Kubernetes 1.37 says
			return form{}, apierrors.NewBadRequest(fmt.Sprintf("Unable to convert to Table as requested: includeObject: Invalid value: %q: must be 'Metadata', 'Object', 'None', or empty", f.include))
		}
	}
	return f, nil
}

// readable tells whether JSON is to be indented: as the request says, or for browsers and tools that show it to people.
// Source: the parameter pretty in Kubernetes' OpenAPI documents.
func readable(r *http.Request) bool {
	if v, given := r.URL.Query()["pretty"]; given {
		pretty, _ := strconv.ParseBool(v[0])
		return pretty
	}
	agent := r.UserAgent()
	return strings.HasPrefix(agent, "curl") || strings.HasPrefix(agent, "Wget") || strings.HasPrefix(agent, "Mozilla/5.0")
}

// accepted is what a choice of a form depends on.
type accepted struct {
	header     string
	transforms bool
}

// headers are the forms of headers that were seen: clients send the same few again and again.
var headers = forms{of: map[accepted]form{}}

type forms struct {
	mu sync.RWMutex
	of map[accepted]form
}

func (m *forms) get(key accepted) (form, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	f, ok := m.of[key]
	return f, ok
}

func (m *forms) put(key accepted, f form) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.of) < 256 && len(key.header) < 1024 {
		m.of[key] = f
	}
}

// choose picks from a header that is not empty.
func choose(header string, transforms bool) (form, bool) {
	type choice struct {
		f form
		q float64
	}
	var best *choice
	for part := range strings.SplitSeq(header, ",") {
		media, params, err := mime.ParseMediaType(strings.TrimSpace(part))
		if err != nil {
			continue
		}
		var f form
		switch media {
		case typeJSON, "application/*", "*/*":
			f.media = typeJSON
		case typeYAML:
			f.media = typeYAML
		case typeProtobuf:
			f.media = typeProtobuf
		default:
			continue
		}
		if as := params["as"]; as != "" {
			v := params["v"]
			if f.beta = v == metav1beta1.SchemeGroupVersion.Version; !transforms || params["g"] != metav1.GroupName || v != "v1" && !f.beta {
				continue
			}
			switch as {
			case "Table", "PartialObjectMetadata", "PartialObjectMetadataList":
				f.as = as
			default:
				continue
			}
		}
		q := 1.0
		if v, err := strconv.ParseFloat(params["q"], 64); err == nil {
			q = v
		}
		if best == nil || q > best.q {
			best = &choice{f, q}
		}
	}
	if best == nil {
		return form{}, false
	}
	return best.f, true
}

// withoutProtobuf is a request for a resource that has no such form: of what the client accepts the rest counts. Tables and
// metadata have it.
func withoutProtobuf(r *http.Request) *http.Request {
	header := strings.Join(r.Header.Values("Accept"), ",")
	if !strings.Contains(header, typeProtobuf) {
		return r
	}
	var rest []string
	for part := range strings.SplitSeq(header, ",") {
		if media, params, err := mime.ParseMediaType(strings.TrimSpace(part)); err != nil || media != typeProtobuf || params["as"] != "" {
			rest = append(rest, part)
		}
	}
	if len(rest) == 0 {
		return r // and told so
	}
	out := *r
	out.Header = r.Header.Clone()
	out.Header.Set("Accept", strings.Join(rest, ","))
	return &out
}

// watchMedia are the media types of lists' paths beside those of objects.
var watchMedia = []string{typeJSON + ";stream=watch", typeProtobuf + ";stream=watch"}

// notAcceptable is the 406 of an Accept header: it names no media type that there is, or none in a form that there is.
func notAcceptable(header string, more ...string) error {
	if objects := []string{typeJSON, typeYAML, typeProtobuf}; !mentions(header, objects) {
		return unrepresented(append(objects, more...)...)
	}
	return badForm()
}

// badForm is the 406 of a media type that cannot have the form that is asked for.
func badForm() error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: http.StatusNotAcceptable, Reason: metav1.StatusReasonNotAcceptable,
		Message: "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf"}}
}

// unrepresented is the 406 of a path that has no other media types. Source: what Kubernetes 1.37 says.
func unrepresented(media ...string) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: http.StatusNotAcceptable, Reason: metav1.StatusReasonNotAcceptable,
		Message: "406: Not Acceptable\n\nAvailable representations: " + strings.Join(media, ", "), Details: &metav1.StatusDetails{}}}
}

// mentions tells whether an Accept header names one of the media types, in whatever form, or anything at all.
func mentions(header string, of []string) bool {
	for part := range strings.SplitSeq(header, ",") {
		if media, _, err := mime.ParseMediaType(strings.TrimSpace(part)); err == nil && (media == "*/*" || media == "application/*" || slices.Contains(of, media)) {
			return true
		}
	}
	return header == ""
}

// contentType is the media type of a body; JSON when none is given.
func contentType(r *http.Request) (string, error) {
	h := r.Header.Get("Content-Type")
	switch h {
	case "":
		return typeJSON, nil
	case typeJSON, typeYAML, typeProtobuf:
		return h, nil
	}
	media, _, err := mime.ParseMediaType(h)
	if err == nil {
		switch media {
		case typeJSON, typeYAML, typeProtobuf:
			return media, nil
		}
	}
	return "", unsupported(h, typeJSON, typeYAML, typeProtobuf)
}

func unsupported(got string, want ...string) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: http.StatusUnsupportedMediaType, Reason: metav1.StatusReasonUnsupportedMediaType,
		Message: "the body of the request was in an unknown format - accepted media types include: " + strings.Join(want, ", ")}}
}
