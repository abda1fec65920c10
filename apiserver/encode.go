package apiserver

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/registry"
	"github.com/lighter-k8s/lighter/watch"
)

// compressFrom is the size from which a response is compressed for those who accept gzip.
// Source: kube-apiserver, 128 KiB.
const compressFrom = 128 << 10

// send writes a whole response.
func send(w http.ResponseWriter, r *http.Request, code int, media string, body []byte) {
	h := w.Header()
	h.Set("Content-Type", media)
	if h.Get("Cache-Control") == "" {
		h.Set("Cache-Control", "no-cache, private")
	}
	if len(body) >= compressFrom && strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		h.Set("Content-Encoding", "gzip")
		h.Add("Vary", "Accept-Encoding")
		w.WriteHeader(code)
		z := zippers.Get().(*gzip.Writer)
		z.Reset(w)
		_, _ = z.Write(body) // the client is gone if it fails
		_ = z.Close()
		zippers.Put(z)
		return
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(code)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // the client is gone if it fails
	}
}

var zippers = sync.Pool{New: func() any { z, _ := gzip.NewWriterLevel(nil, 1); return z }}

type marshaler interface{ Marshal() ([]byte, error) }

// encodeMeta encodes a type of meta.k8s.io or the like, whose TypeMeta is set.
func encodeMeta(f form, apiVersion, kind string, obj any) ([]byte, error) {
	if f.media == typeProtobuf {
		if m, ok := obj.(marshaler); ok {
			raw, err := m.Marshal()
			if err != nil {
				return nil, err
			}
			return api.Wrap(apiVersion, kind, raw), nil
		}
	}
	data, err := json.Marshal(obj)
	if err != nil {
		return nil, err
	}
	return dress(f, data)
}

// dress turns compact JSON into what the form asks for.
func dress(f form, data []byte) ([]byte, error) {
	switch {
	case f.media == typeYAML:
		return yaml.JSONToYAML(data)
	case f.pretty:
		var b bytes.Buffer
		if err := json.Indent(&b, data, "", "  "); err != nil {
			return nil, err
		}
		return b.Bytes(), nil
	}
	return append(data, '\n'), nil
}

// answer sends one typed object.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, code int, f form, i *api.Info, obj api.Object) error {
	auditAnswer(w, i, obj)
	body, media, err := encodeObject(f, i, obj)
	if err != nil {
		return err
	}
	send(w, r, code, media, body)
	return nil
}

// answerWritten is answer for what a write left: mostly it is what memory shows now, and need not be encoded again. If not, it is shown as
// memory would, where an empty list is none, by way of its message: for the JSON of a large object that costs a quarter of what its fields do.
func (s *Server) answerWritten(w http.ResponseWriter, r *http.Request, code int, f form, i *api.Info, q registry.Request, obj api.Object) error {
	if i.Stored != i || s.Registry.State.Info(i.StoreKey) != i {
		return s.answer(w, r, code, f, i, obj)
	}
	if !q.DryRun {
		item := s.Registry.State.Get(i, obj.GetNamespace(), obj.GetName())
		if item != nil && obj.GetResourceVersion() == strconv.FormatUint(item.Revision, 10) {
			return s.answerItem(w, r, code, f, i, item)
		}
	}
	if f.as != "" || f.media == typeProtobuf {
		return s.answer(w, r, code, f, i, obj)
	}
	raw, err := api.Message(i, obj)
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	if raw == nil {
		return s.answer(w, r, code, f, i, obj)
	}
	auditAnswer(w, i, obj)
	data, err := api.AppendJSON(make([]byte, 0, roomFor(raw)), i, raw)
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	body, err := dress(f, data)
	if err != nil {
		return err
	}
	send(w, r, code, f.media, body)
	return nil
}

func encodeObject(f form, i *api.Info, obj api.Object) (body []byte, media string, err error) {
	switch f.as {
	case "Table":
		if f.media == typeProtobuf {
			return nil, "", badForm()
		}
		t, err := table(f, i, source{objects: []api.Object{obj}, single: true})
		if err != nil {
			return nil, "", err
		}
		body, err = encodeMeta(f, f.version(), f.as, t)
		return body, f.media, err
	case "PartialObjectMetadata":
		body, err = encodeMeta(f, f.version(), f.as, f.partial(obj))
		return body, f.media, err
	case "PartialObjectMetadataList":
		return nil, "", badForm()
	}
	if f.media == typeProtobuf {
		m, ok := obj.(marshaler)
		if !ok {
			return nil, "", badForm()
		}
		raw, err := m.Marshal()
		if err != nil {
			return nil, "", apierrors.NewInternalError(err)
		}
		apiVersion, kind := gvkOf(i)
		return api.Wrap(apiVersion, kind, raw), f.media, nil
	}
	data, err := api.EncodeJSON(i, obj)
	if err != nil {
		return nil, "", apierrors.NewInternalError(err)
	}
	body, err = dress(f, data)
	return body, f.media, err
}

// answerItem sends what memory holds, without decoding it where that can be.
func (s *Server) answerItem(w http.ResponseWriter, r *http.Request, code int, f form, i *api.Info, item *watch.Item) error {
	auditItem(w, i, item)
	if f.media == typeProtobuf && f.as == "" && i.Stored == i && !item.IsJSON() {
		pooled := bodies.Get().(*[]byte)
		apiVersion, kind := gvkOf(i)
		*pooled = api.AppendWrapped((*pooled)[:0], apiVersion, kind, item.Raw())
		send(w, r, code, f.media, *pooled)
		if cap(*pooled) <= 2*bodyChunk {
			bodies.Put(pooled)
		}
		return nil
	}
	body, media, err := encodeItem(f, i, item)
	if err != nil {
		return err
	}
	send(w, r, code, media, body)
	return nil
}

func encodeItem(f form, i *api.Info, item *watch.Item) (body []byte, media string, err error) {
	switch {
	case f.media == typeProtobuf && f.as == "PartialObjectMetadata":
		if _, ok := api.RawMeta(item.Raw()); ok {
			start, end := api.MetaField(item.Raw())
			return api.Wrap(f.version(), f.as, item.Raw()[start:end]), f.media, nil
		}
	case f.media != typeProtobuf && f.as == "" && i.Stored == i:
		data, err := itemJSON(item)
		if err != nil {
			return nil, "", apierrors.NewInternalError(err)
		}
		body, err = dress(f, data)
		return body, f.media, err
	case f.media != typeProtobuf && f.as == "PartialObjectMetadata":
		data, err := f.appendPartial(nil, item)
		if err != nil {
			return nil, "", apierrors.NewInternalError(err)
		}
		body, err = dress(f, data)
		return body, f.media, err
	}
	obj, err := registry.Load(i, item)
	if err != nil {
		return nil, "", err
	}
	return encodeObject(f, i, obj)
}

func itemJSON(item *watch.Item) ([]byte, error) {
	return item.AppendJSON(make([]byte, 0, roomFor(item.Raw())))
}

// roomFor is what a message mostly takes in JSON: about as many bytes where there are many.
func roomFor(raw []byte) int { return 512 + len(raw)*9/8 }

// appendPartial appends an item's PartialObjectMetadata as JSON.
func (f form) appendPartial(dst []byte, item *watch.Item) ([]byte, error) {
	dst = append(append(append(dst, `{"kind":"PartialObjectMetadata","apiVersion":"`...), f.version()...), `","metadata":`...)
	dst, err := api.AppendMetaJSON(dst, item.Info, item.Raw())
	return append(dst, '}'), err
}

// partial is an object's PartialObjectMetadata.
func (f form) partial(obj api.Object) *metav1.PartialObjectMetadata {
	return &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{Kind: "PartialObjectMetadata", APIVersion: f.version()}, ObjectMeta: *api.MetaOf(obj)}
}

// source is what a list is made of: items of memory or typed objects.
type source struct {
	items     []*watch.Item
	objects   []api.Object
	single    bool // one object, not a list
	revision  uint64
	next      string // continue token
	remaining int64  // -1: not known
}

func (l source) meta() metav1.ListMeta {
	m := metav1.ListMeta{Continue: l.next}
	if l.revision > 0 {
		m.ResourceVersion = strconv.FormatUint(l.revision, 10)
	}
	if l.remaining > 0 {
		m.RemainingItemCount = &l.remaining
	}
	return m
}
