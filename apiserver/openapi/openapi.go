package openapi

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	openapi2 "github.com/google/gnostic-models/openapiv2"
	openapi3 "github.com/google/gnostic-models/openapiv3"
	"google.golang.org/protobuf/proto"

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
	hashes map[string]string    // of what is built in, by "/apis/apps/v1"
}

// document is a description in the two forms that clients ask for.
type document struct {
	json, proto []byte
	tag         string
}

// New makes a handler; version is the server's, "v1.37.0".
func New(infos []*api.Info, version string) *Handler {
	return &Handler{infos: infos, version: version, docs: map[string]*document{}, hashes: map[string]string{}}
}

const (
	proto2 = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
	proto3 = "application/com.github.proto-openapi.spec.v3.v1.0+protobuf"
)

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := strings.Trim(strings.TrimPrefix(r.URL.Path, "/openapi/"), "/")
	wantsProto := strings.Contains(r.Header.Get("Accept"), "protobuf")
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
			at = "/" + at
			infos := described(h.all())[at]
			if !slices.ContainsFunc(infos, func(i *api.Info) bool { return i.Custom != nil }) {
				h.hashes[at] = tag
			}
			if tag, err = h.hash(at, infos); err != nil {
				return nil, err
			}
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
		return h.v2(), nil
	case name == "v3":
		return h.index()
	case strings.HasPrefix(name, "v3/"):
		at := "/" + strings.TrimPrefix(name, "v3/")
		infos := slices.DeleteFunc(h.all(), func(i *api.Info) bool { return root(i.Group, i.Version) != at })
		if len(infos) > 0 {
			return h.v3(infos), nil
		}
	}
	return nil, nil
}

// index lists the group versions' documents, each with its hash, so that clients fetch what changed.
func (h *Handler) index() (any, error) {
	list := doc{}
	for at, infos := range described(h.all()) {
		hash, err := h.hash(at, infos)
		if err != nil {
			return nil, err
		}
		list[strings.TrimPrefix(at, "/")] = doc{"serverRelativeURL": "/openapi/v3" + at + "?hash=" + hash}
	}
	for at, o := range h.others {
		if o.URL != "" {
			list[at] = doc{"serverRelativeURL": o.URL}
		}
	}
	return doc{"paths": list}, nil
}

func (h *Handler) info() doc { return doc{"title": "Kubernetes", "version": h.version} }

// v3 describes one group version. Source: OpenAPI Specification 3.0.
func (h *Handler) v3(infos []*api.Info) any {
	m := newModels(true)
	all := doc{}
	for _, i := range infos {
		for _, p := range paths(i) {
			item := doc{"parameters": parameters(p.url, []string{"pretty"}, true)}
			for _, op := range p.ops {
				item[op.method] = m.operation3(p, op)
			}
			all[p.url] = item
		}
	}
	m.kindsOf(infos)
	return doc{"openapi": "3.0.0", "info": h.info(), "paths": all, "components": doc{"schemas": m.schemas,
		"securitySchemes": doc{"BearerToken": doc{"type": "apiKey", "description": "Bearer Token authentication", "name": "authorization", "in": "header"}}}}
}

func (m *models) operation3(p path, op operation) doc {
	content := func(s doc, media ...string) doc {
		out := doc{}
		for _, t := range media {
			out[t] = doc{"schema": s}
		}
		return out
	}
	ok := doc{"description": "OK"}
	if !op.answer.none() {
		ok["content"] = content(m.refKind(op.answer), "application/json", "application/yaml", "application/vnd.kubernetes.protobuf")
	}
	out := m.operation(p, op)
	out["responses"] = op.responses(ok)
	if list := parameters("", op.query, true); len(list) > 0 { // an empty one would be gone once a client writes the document again
		out["parameters"] = list
	}
	switch {
	case op.patches:
		out["requestBody"] = doc{"required": true, "content": content(m.patchRef(), patchTypes(p.info)...)}
	case !op.body.none():
		out["requestBody"] = doc{"content": content(m.refKind(op.body), "*/*"), "required": op.method != "delete"}
	}
	return out
}

// responses are an operation's: a patch that is an apply may make the object.
func (op operation) responses(ok doc) doc {
	out := doc{"200": ok, "401": doc{"description": "Unauthorized"}}
	if op.patches {
		created := maps.Clone(ok)
		created["description"] = "Created"
		out["201"] = created
	}
	return out
}

// patchTypes are the kinds of patches that a resource takes.
func patchTypes(i *api.Info) []string {
	if i.Custom != nil {
		return []string{"application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml"}
	}
	return []string{"application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json", "application/apply-patch+yaml"}
}

func (m *models) patchRef() doc {
	const n = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch"
	m.schemas[n] = doc{"type": "object", "description": "Patch is provided to give a concrete name and type to the Kubernetes PATCH request body."}
	return doc{"$ref": m.prefix + n}
}

// operation is what v2 and v3 have in common.
func (m *models) operation(p path, op operation) doc {
	gvk := p.info.GVK()
	if p.kind != nil {
		if p.kind.Version != "" {
			gvk.Group, gvk.Version = p.kind.Group, p.kind.Version
		}
		gvk.Kind = p.kind.Kind
	}
	tag := camel(p.info.Group, p.info.Version)
	return doc{"operationId": op.id, "description": op.text, "tags": []string{strings.ToLower(tag[:1]) + tag[1:]},
		"x-kubernetes-action": op.action, "x-kubernetes-group-version-kind": doc{"group": gvk.Group, "version": gvk.Version, "kind": gvk.Kind}}
}

// parameters describes a path's and an operation's parameters.
func parameters(url string, query []string, v3 bool) []doc {
	out := []doc{}
	add := func(name, in, kind, text string) {
		p := doc{"name": name, "in": in, "description": text}
		if in == "path" {
			p["required"] = true
		}
		if v3 {
			p["schema"] = doc{"type": kind, "uniqueItems": true}
		} else {
			p["type"], p["uniqueItems"] = kind, true
		}
		out = append(out, p)
	}
	if strings.Contains(url, "{name}") {
		add("name", "path", "string", "name of the object")
	}
	if strings.Contains(url, "{namespace}") {
		add("namespace", "path", "string", "object name and auth scope, such as for teams and projects")
	}
	seen := map[string]bool{}
	for _, q := range query {
		if h := help[q]; !seen[q] && h.kind != "" {
			seen[q] = true
			add(q, "query", h.kind, h.text)
		}
	}
	return out
}

// kindsOf marks each model that is a kind by itself.
func (m *models) kindsOf(infos []*api.Info) {
	mark := func(n string, group, version, kind string) {
		s, ok := m.schemas[n].(doc)
		if !ok {
			return
		}
		list, _ := s["x-kubernetes-group-version-kind"].([]doc)
		s["x-kubernetes-group-version-kind"] = append(list, doc{"group": group, "version": version, "kind": kind})
	}
	for _, i := range infos {
		if i.Custom != nil { // which says so itself
			continue
		}
		mark(name(typeOf(i.New())), i.Group, i.Version, i.Kind)
		if slices.Contains(i.Verbs, "list") {
			mark(name(typeOf(i.NewList())), i.Group, i.Version, i.ListKind)
		}
	}
}

// v2 describes everything in one document. Source: OpenAPI Specification 2.0.
func (h *Handler) v2() any {
	m := newModels(false)
	all := doc{}
	for _, i := range h.all() {
		for _, p := range paths(i) {
			item := doc{"parameters": parameters(p.url, []string{"pretty"}, false)}
			for _, op := range p.ops {
				out := m.operation(p, op)
				params := parameters("", op.query, false)
				switch {
				case op.patches:
					params = append(params, doc{"name": "body", "in": "body", "required": true, "schema": m.patchRef()})
					out["consumes"] = patchTypes(p.info)
				case !op.body.none():
					params = append(params, doc{"name": "body", "in": "body", "required": op.method != "delete", "schema": m.refKind(op.body)})
				}
				ok := doc{"description": "OK"}
				if !op.answer.none() {
					ok["schema"] = m.refKind(op.answer)
				}
				out["parameters"], out["responses"] = params, op.responses(ok)
				out["schemes"], out["produces"] = []string{"https"}, []string{"application/json", "application/yaml", "application/vnd.kubernetes.protobuf"}
				item[op.method] = out
			}
			all[p.url] = item
		}
	}
	m.kindsOf(h.all())
	return doc{"swagger": "2.0", "info": h.info(), "paths": all, "definitions": m.schemas,
		"securityDefinitions": doc{"BearerToken": doc{"type": "apiKey", "description": "Bearer Token authentication", "name": "authorization", "in": "header"}},
		"security":            []doc{{"BearerToken": []string{}}}}
}
