package openapi

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	openapi2 "github.com/google/gnostic-models/openapiv2"
	openapi3 "github.com/google/gnostic-models/openapiv3"
	"google.golang.org/protobuf/proto"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/lighter-k8s/lighter/api"
)

// Handler answers /openapi/v2 and /openapi/v3 for a set of resources.
type Handler struct {
	infos   []*api.Info
	version string

	mu     sync.Mutex
	custom []*api.Info
	others map[string]Other // what other servers describe, by "apis/example.com/v1"
	merged mergedV2
	docs   map[string]*document // "v2", "v3", "v3/apis/apps/v1"
}

// document is a description in the two forms that clients ask for.
type document struct {
	json, proto []byte
	tag         string
}

// New makes a handler; version is the server's, "v1.37.0".
func New(infos []*api.Info, version string) *Handler {
	return &Handler{infos: infos, version: version, docs: map[string]*document{}}
}

const (
	proto2 = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
	proto3 = "application/com.github.proto-openapi.spec.v3.v1.0+protobuf"
)

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(r.URL.Path, "/openapi/")
	wantsProto, ok := accepts(strings.Join(r.Header.Values("Accept"), ","))
	if !ok && name != "v3" { // Source: what Kubernetes 1.37 does
		w.WriteHeader(http.StatusNotAcceptable)
		return
	}
	d, err := h.document(name, wantsProto)
	if name == "v2" && err == nil {
		d, err = h.withOthers(r.Context(), d, wantsProto)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if d == nil {
		http.NotFound(w, r)
		return
	}
	body, media := d.json, "application/json"
	if wantsProto && d.proto != nil {
		body, media = d.proto, proto3
		if name == "v2" {
			media = proto2
		}
	}
	w.Header().Set("Content-Type", media)
	w.Header().Set("ETag", d.tag)
	w.Header().Set("Vary", "Accept, Accept-Encoding")
	w.Header().Set("Cache-Control", "no-cache, private")
	if hash := r.URL.Query().Get("hash"); hash != "" && strings.HasPrefix(name, "v3/") {
		if hash != strings.Trim(d.tag, `"`) {
			http.Redirect(w, r, fmt.Sprintf("/openapi/%s?hash=%s", name, strings.Trim(d.tag, `"`)), http.StatusMovedPermanently)
			return
		}
		w.Header().Set("Cache-Control", "public, immutable")
		w.Header().Set("Expires", time.Now().UTC().AddDate(1, 0, 0).Format(http.TimeFormat))
	}
	if r.Header.Get("If-None-Match") == d.tag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	_, _ = w.Write(body) // the client is gone if it fails
}

// accepts tells whether the first form in an Accept header that a document has is protobuf; ok: there is one.
func accepts(header string) (proto, ok bool) {
	for part := range strings.SplitSeq(header, ",") {
		part = strings.TrimSpace(part)
		media, _, err := mime.ParseMediaType(part)
		switch {
		case strings.HasPrefix(part, "application/com.github.proto-openapi.spec."): // "v2@v1.0" is none to mime
			return true, true
		case err == nil && (media == "application/json" || media == "application/*" || media == "*/*"):
			return false, true
		}
	}
	return false, header == ""
}

// document makes or finds a document; nil when there is none of that name.
func (h *Handler) document(name string, wantsProto bool) (*document, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	d := h.docs[name]
	if d == nil {
		content, err := h.make(name)
		if content == nil || err != nil {
			return nil, err
		}
		data, err := json.Marshal(content)
		if err != nil {
			return nil, err
		}
		tag := sum(data)
		if at, ok := strings.CutPrefix(name, "v3/"); ok {
			tag = h.hash(at, described(h.all())["/"+at])
		}
		d = &document{json: data, tag: fmt.Sprintf("%q", tag)}
		h.docs[name] = d
	}
	if wantsProto && d.proto == nil && name != "v3" {
		var err error
		if d.proto, err = toProto(name, d.json); err != nil {
			return nil, err
		}
	}
	return d, nil
}

func toProto(name string, data []byte) ([]byte, error) {
	var m proto.Message
	var err error
	if name == "v2" {
		m, err = openapi2.ParseDocument(data)
	} else {
		m, err = openapi3.ParseDocument(data)
	}
	if err != nil {
		return nil, fmt.Errorf("describe %s: %w", name, err)
	}
	return proto.Marshal(m)
}

func (h *Handler) make(name string) (any, error) {
	switch {
	case name == "v2":
		return h.v2()
	case name == "v3":
		return h.index(), nil
	case strings.HasPrefix(name, "v3/"):
		at := "/" + strings.TrimPrefix(name, "v3/")
		infos := slices.DeleteFunc(h.all(), func(i *api.Info) bool { return root(i.Group, i.Version) != at })
		if len(infos) > 0 {
			return h.v3(infos), nil
		}
		if p, ok := fixed(h.infos)[strings.TrimPrefix(at, "/")]; ok {
			return h.of3([]path{p}), nil
		}
	}
	return nil, nil
}

// index lists the group versions' documents, each with its hash, so that clients fetch what changed.
func (h *Handler) index() any {
	list := doc{}
	for at, infos := range described(h.all()) {
		at = strings.TrimPrefix(at, "/")
		list[at] = doc{"serverRelativeURL": "/openapi/v3/" + at + "?hash=" + h.hash(at, infos)}
	}
	for at := range fixed(h.infos) {
		list[at] = doc{"serverRelativeURL": "/openapi/v3/" + at + "?hash=" + h.hash(at, nil)}
	}
	for at, o := range h.others {
		if o.URL != "" {
			list[at] = doc{"serverRelativeURL": o.URL}
		}
	}
	return doc{"paths": list}
}

func (h *Handler) info() doc {
	parts := strings.SplitN(strings.TrimPrefix(h.version, "v"), ".", 3)
	return doc{"title": "Kubernetes", "version": strings.Join(parts[:min(2, len(parts))], ".")}
}

// v3 describes one group version. Source: OpenAPI Specification 3.0.
func (h *Handler) v3(infos []*api.Info) any {
	var list []path
	for _, i := range infos {
		list = append(list, paths(i)...)
	}
	if infos[0].Custom == nil {
		list = append(list, discovery(infos[0].Group, infos[0].Version))
		return h.of3(list)
	}
	out := h.of3(list)
	out["info"] = doc{"title": "Kubernetes CRD Swagger", "version": "v0.1.0"} // Source: what Kubernetes 1.37 says
	delete(out["components"].(doc), "securitySchemes")
	return out
}

func (h *Handler) of3(list []path) doc {
	m := newModels(true)
	if gvk := list[0].ops[0].gvk; gvk != nil {
		m.of, m.custom = gvk.GroupVersion(), list[0].ops[0].custom
	}
	all := doc{}
	for _, p := range list {
		item := doc{}
		if shared := p.shared(); len(shared) > 0 {
			item["parameters"] = describe(shared, true)
		}
		for _, op := range p.ops {
			item[op.method] = m.operation3(op)
		}
		all[p.url] = item
	}
	m.kindsOf()
	components := doc{"securitySchemes": doc{"BearerToken": doc{"type": "apiKey", "description": "Bearer Token authentication", "name": "authorization", "in": "header"}}}
	if len(m.schemas) > 0 {
		components["schemas"] = m.schemas
	}
	return doc{"openapi": "3.0.0", "info": h.info(), "paths": all, "components": components}
}

func (m *models) operation3(op operation) doc {
	content := func(s doc, media ...string) doc {
		out := doc{}
		for _, t := range media {
			out[t] = doc{"schema": s}
		}
		return out
	}
	out := m.operation(op)
	out["responses"] = op.responses(doc{"content": content(m.answered(op), op.media...)})
	if len(op.query) > 0 {
		out["parameters"] = describe(op.query, true)
	}
	switch {
	case op.patches != nil:
		out["requestBody"] = doc{"required": true, "content": content(m.patchRef(), op.patches...)}
	case !op.body.none():
		body := doc{"content": content(m.refKind(op.body), op.sent()...)}
		if !op.may {
			body["required"] = true
		}
		out["requestBody"] = body
	}
	return out
}

// sent are the media types of a body.
func (op operation) sent() []string {
	if op.custom {
		return op.media
	}
	return anyMedia
}

// answered is the schema of an answer.
func (m *models) answered(op operation) doc {
	if op.answer.none() {
		return doc{"type": "string"}
	}
	return m.refKind(op.answer)
}

// responses are an operation's by their codes, each that succeeds with the same answer.
func (op operation) responses(answer doc) doc {
	out := doc{"401": doc{"description": "Unauthorized"}}
	for _, code := range append([]string{"200"}, op.codes...) {
		one := maps.Clone(answer)
		one["description"] = map[string]string{"200": "OK", "201": "Created", "202": "Accepted"}[code]
		out[code] = one
	}
	return out
}

func (m *models) patchRef() doc {
	const n = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch"
	m.schemas[n] = doc{"type": "object", "description": "Patch is provided to give a concrete name and type to the Kubernetes PATCH request body."}
	return doc{"$ref": m.prefix + n}
}

// operation is what v2 and v3 have in common.
func (m *models) operation(op operation) doc {
	out := doc{"operationId": op.id, "description": op.text, "tags": []string{op.tag}}
	if op.action != "" {
		out["x-kubernetes-action"] = op.action
	}
	if op.gvk != nil {
		out["x-kubernetes-group-version-kind"] = doc{"group": op.gvk.Group, "version": op.gvk.Version, "kind": op.gvk.Kind}
	}
	return out
}

// kindsOf marks each model that is a kind by itself, by each group version that has it.
func (m *models) kindsOf() {
	for n, t := range m.types {
		v, ok := reflect.New(t).Interface().(runtime.Object)
		if !ok {
			continue
		}
		kinds, _, err := api.Scheme().ObjectKinds(v)
		if err != nil {
			continue
		}
		if (!m.v3 || m.custom) && len(kinds) > 3 {
			for _, gv := range unserved() {
				kinds = append(kinds, gv.WithKind(kinds[0].Kind))
			}
		}
		var list []doc
		for _, k := range kinds {
			every := len(kinds) > 3 // groups have it
			if every && m.v3 && !m.custom && k.Group != "" && k.GroupVersion() != m.of || every && m.custom && slices.Contains(apart, k.Group) {
				continue
			}
			list = append(list, doc{"group": k.Group, "version": k.Version, "kind": k.Kind})
		}
		slices.SortFunc(list, func(a, b doc) int {
			return cmp.Compare(fmt.Sprint(a["group"], " ", a["version"], " ", a["kind"]), fmt.Sprint(b["group"], " ", b["version"], " ", b["kind"]))
		})
		m.schemas[n].(doc)["x-kubernetes-group-version-kind"] = list
	}
}

// apart are groups of which documents of custom resources do not tell.
var apart = []string{"admission.k8s.io", "apiextensions.k8s.io", "apiregistration.k8s.io", "imagepolicy.k8s.io"}

// unserved are the versions that Kubernetes 1.37 knows, and serves nothing of: what is every group's is theirs too.
func unserved() (out []schema.GroupVersion) {
	for at := range strings.FieldsSeq(`admission.k8s.io/v1 admission.k8s.io/v1beta1 apiextensions.k8s.io/v1beta1 apiregistration.k8s.io/v1beta1 apps/v1beta1 apps/v1beta2
		authentication.k8s.io/v1alpha1 authentication.k8s.io/v1beta1 authorization.k8s.io/v1beta1 batch/v1beta1 certificates.k8s.io/v1alpha1 discovery.k8s.io/v1beta1
		events.k8s.io/v1beta1 extensions/v1beta1 flowcontrol.apiserver.k8s.io/v1beta1 flowcontrol.apiserver.k8s.io/v1beta2 flowcontrol.apiserver.k8s.io/v1beta3
		imagepolicy.k8s.io/v1alpha1 lifecycle.k8s.io/v1alpha1 networking.k8s.io/v1beta1 node.k8s.io/v1alpha1 node.k8s.io/v1beta1 policy/v1beta1
		rbac.authorization.k8s.io/v1alpha1 rbac.authorization.k8s.io/v1beta1 scheduling.k8s.io/v1alpha3 scheduling.k8s.io/v1beta1 storage.k8s.io/v1alpha1 storage.k8s.io/v1beta1`) {
		group, version, _ := strings.Cut(at, "/")
		out = append(out, schema.GroupVersion{Group: group, Version: version})
	}
	return out
}
