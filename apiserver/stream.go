package apiserver

import (
	"bytes"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/registry"
	"github.com/lighter-k8s/lighter/watch"
)

// Lists go out item by item through one bounded buffer, whatever their size: a slow client costs that buffer. An item
// that cannot be encoded is an error of the request while nothing has been sent, and the end of the stream after
// that, never a list that looks whole.

// bodyChunk is how much of a body is gathered before it is written.
const bodyChunk = 48 << 10

// output gathers what is written to a response.
type output struct {
	w     http.ResponseWriter
	r     *http.Request
	media string
	buf   []byte
	began bool // the header is sent
	zip   *zipWriter
	turn  turn // without turns: it is put together in memory
	waits bool // for others, while it is put together
	gone  bool // the client
}

var bodies = sync.Pool{New: func() any { b := make([]byte, 0, bodyChunk+16<<10); return &b }}

// stream answers with what write puts together, whole forms (YAML, indented JSON) in memory. waits: write may wait for others.
func (s *Server) stream(w http.ResponseWriter, r *http.Request, f form, waits bool, write func(*output) error) (err error) {
	if f.media == typeYAML || f.pretty {
		b := &output{}
		if err := write(b); err != nil {
			return err
		}
		data, err := dress(f, b.buf)
		if err == nil {
			send(w, r, http.StatusOK, f.media, data)
		}
		return err
	}
	pooled := bodies.Get().(*[]byte)
	b := &output{w: w, r: r, media: f.media, buf: (*pooled)[:0], turn: turn{turns: s.turns}, waits: waits}
	defer func() {
		b.turn.give()
		if cap(b.buf) <= 2*bodyChunk {
			*pooled = b.buf[:0]
			bodies.Put(pooled)
		}
	}()
	if err = write(b); err == nil {
		b.buf = append(b.buf, '\n')
	}
	switch {
	case !b.began && err == nil:
		b.turn.give()
		send(w, r, http.StatusOK, f.media, b.buf)
	case !b.began:
		return err
	case err != nil:
		s.Log.Error("list broken off", "object", r.URL.Path, "err", err)
		panic(http.ErrAbortHandler)
	default:
		b.flush()
		if b.zip != nil && !b.gone {
			_ = b.zip.Close() // the client is gone if it fails
		}
	}
	if b.zip != nil {
		b.zip.free()
	}
	return nil
}

// full flushes when enough was gathered; false: nobody reads any more. Without a response all is gathered.
func (b *output) full() bool {
	if b.w != nil && len(b.buf) >= bodyChunk {
		b.flush()
		if b.waits || b.gone {
			b.turn.give()
		} else {
			b.turn.take() // the next part is put together in turn
		}
	}
	return !b.gone
}

func (b *output) flush() {
	if !b.began {
		b.began = true
		h := b.w.Header()
		h.Set("Content-Type", b.media)
		if h.Get("Cache-Control") == "" {
			h.Set("Cache-Control", "no-cache, private")
		}
		if strings.Contains(b.r.Header.Get("Accept-Encoding"), "gzip") {
			h.Set("Content-Encoding", "gzip")
			h.Add("Vary", "Accept-Encoding")
			b.zip = newZipWriter(b.w, &b.turn)
		}
		b.turn.give() // the audit trail may want to hear of it first
		b.w.WriteHeader(http.StatusOK)
	}
	var err error
	switch {
	case b.r.Method == http.MethodHead:
		b.gone = true
	case b.zip != nil:
		_, err = b.zip.Write(b.buf)
	default:
		err = b.turn.given(b.w, b.buf)
	}
	b.gone = b.gone || err != nil
	b.buf = b.buf[:0]
}

// answerList sends a list in the wanted form.
func (s *Server) answerList(w http.ResponseWriter, r *http.Request, f form, i *api.Info, l source) error {
	s.auditList(w, r, i, l)
	if f.media == typeProtobuf {
		return s.protobufList(w, r, f, i, l)
	}
	var head []byte
	var err error
	var item func([]byte, *watch.Item) ([]byte, error)
	var object func([]byte, api.Object) ([]byte, error)
	switch f.as {
	case "Table":
		t, err := table(f, i, source{revision: l.revision, next: l.next, remaining: l.remaining})
		if err != nil {
			return err
		}
		if head, err = json.Marshal(t); err != nil {
			return err
		}
		head = bytes.TrimSuffix(head, []byte("]}")) // rows are the last
		rows := rows{f, i, i.Table()}
		item, object = rows.item, rows.object
	case "PartialObjectMetadata":
		return badForm()
	case "PartialObjectMetadataList":
		if head, err = listHead(f.as, f.version(), l); err != nil {
			return err
		}
		item = f.appendPartial
		object = func(dst []byte, o api.Object) ([]byte, error) {
			data, err := json.Marshal(f.partial(o))
			return append(dst, data...), err
		}
	default:
		if head, err = listHead(i.ListKind, i.GVK().GroupVersion().String(), l); err != nil {
			return err
		}
		if i.Custom != nil && l.next == "" { // whose lists say so
			head = bytes.Replace(head, []byte(`"metadata":{"`), []byte(`"metadata":{"continue":"","`), 1)
		}
		prefix := len(api.JSONPrefix(i)) // items of a list do not repeat what they are, unless they are custom resources
		cut := func(dst []byte, at int, err error) ([]byte, error) {
			if err != nil || i.Custom != nil {
				return dst, err
			}
			n := copy(dst[at+1:], dst[at+prefix:])
			return dst[:at+1+n], nil
		}
		item = func(dst []byte, o *watch.Item) ([]byte, error) {
			at := len(dst)
			dst, err := o.AppendJSON(dst)
			return cut(dst, at, err)
		}
		object = func(dst []byte, o api.Object) ([]byte, error) {
			at := len(dst)
			data, err := api.EncodeJSON(i, o)
			return cut(append(dst, data...), at, err)
		}
	}
	return s.stream(w, r, f, i.Custom != nil, func(b *output) error {
		if b.w != nil && !b.waits && manyParts(l.items) {
			b.turn.take()
		}
		b.buf = append(b.buf, head...)
		for n, x := range l.items {
			if n%warmed == 0 && i.Custom != nil {
				warm(i, l.items[n:min(n+warmed, len(l.items))])
			}
			if n > 0 {
				b.buf = append(b.buf, ',')
			}
			if i.Stored == i || f.as == "PartialObjectMetadataList" {
				b.buf, err = item(b.buf, x)
			} else if o, lerr := registry.Load(i, x); lerr == nil {
				b.buf, err = object(b.buf, o)
			} else {
				err = lerr
			}
			if err != nil {
				return apierrors.NewInternalError(err)
			}
			if !b.full() {
				return nil
			}
		}
		for n, o := range l.objects {
			if n > 0 {
				b.buf = append(b.buf, ',')
			}
			if b.buf, err = object(b.buf, o); err != nil {
				return apierrors.NewInternalError(err)
			}
			if !b.full() {
				return nil
			}
		}
		b.buf = append(b.buf, "]}"...)
		return nil
	})
}

// manyParts tells whether items are more than one part of a body.
func manyParts(items []*watch.Item) bool {
	bytes := 0
	for _, i := range items {
		if bytes += len(i.Raw()); bytes >= bodyChunk {
			return true
		}
	}
	return false
}

// warmed is how many objects a conversion webhook is asked about at a time.
const warmed = 200

// warm has custom resources converted together that are about to be sent.
func warm(i *api.Info, items []*watch.Item) {
	if i.Custom.Warm == nil {
		return
	}
	raws := make([][]byte, len(items))
	for n, item := range items {
		raws[n] = item.Raw()
	}
	i.Custom.Warm(raws)
}

// listHead is a list up to its first item.
func listHead(kind, apiVersion string, l source) ([]byte, error) {
	meta, err := json.Marshal(l.meta())
	return fmt.Appendf(nil, `{"kind":%q,"apiVersion":%q,"metadata":%s,"items":[`, kind, apiVersion, meta), err
}

// protobufList sends the items' bytes as they are in memory, each with its length before it.
func (s *Server) protobufList(w http.ResponseWriter, r *http.Request, f form, i *api.Info, l source) error {
	apiVersion, kind := i.GVK().GroupVersion().String(), i.ListKind
	var items iter.Seq[[]byte]
	switch f.as {
	case "Table", "PartialObjectMetadata":
		return badForm()
	case "PartialObjectMetadataList":
		apiVersion, kind = f.version(), f.as
		if len(l.items) > 0 && l.items[0].IsJSON() {
			objs, err := l.all(i)
			if err != nil {
				return err
			}
			l = source{objects: objs, revision: l.revision, next: l.next, remaining: l.remaining}
		}
		raws := make([][]byte, 0, len(l.objects))
		for _, o := range l.objects {
			raw, err := f.partial(o).Marshal()
			if err != nil {
				return apierrors.NewInternalError(err)
			}
			raws = append(raws, raw)
		}
		items = chain(func(item *watch.Item) []byte {
			start, end := api.MetaField(item.Raw())
			return item.Raw()[start:end]
		}, l.items, raws)
	default:
		if i.Stored == i && (len(l.items) == 0 || !l.items[0].IsJSON()) {
			raws, err := marshal(l.objects)
			if err != nil {
				return err
			}
			items = chain((*watch.Item).Raw, l.items, raws)
			break
		}
		objs, err := l.all(i)
		if err != nil {
			return err
		}
		raws, err := marshal(objs)
		if err != nil {
			return err
		}
		items = slices.Values(raws)
	}
	meta := l.meta()
	rawMeta, err := meta.Marshal()
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	list := api.NewProtobufList(apiVersion, kind, rawMeta, items)
	h := w.Header()
	h.Set("Content-Type", typeProtobuf)
	h.Set("Cache-Control", "no-cache, private")
	if list.Size() >= compressFrom && strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		h.Set("Content-Encoding", "gzip")
		h.Add("Vary", "Accept-Encoding")
		t := &turn{turns: s.turns}
		defer t.give()
		z := newZipWriter(w, t)
		defer z.free()
		if _, err := list.WriteTo(z); err == nil {
			_ = z.Close() // the client is gone if it fails
		}
		return nil
	}
	h.Set("Content-Length", strconv.Itoa(list.Size()))
	if r.Method != http.MethodHead {
		_, _ = list.WriteTo(w) // the client is gone if it fails
	}
	return nil
}

// chain is the bytes of items and then those of raws.
func chain(of func(*watch.Item) []byte, items []*watch.Item, raws [][]byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for _, i := range items {
			if !yield(of(i)) {
				return
			}
		}
		for _, raw := range raws {
			if !yield(raw) {
				return
			}
		}
	}
}

func marshal(objs []api.Object) ([][]byte, error) {
	out := make([][]byte, 0, len(objs))
	for _, o := range objs {
		m, ok := o.(marshaler)
		if !ok {
			return nil, badForm()
		}
		raw, err := m.Marshal()
		if err != nil {
			return nil, apierrors.NewInternalError(err)
		}
		out = append(out, raw)
	}
	return out, nil
}

// all gives the typed objects in version i.
func (l source) all(i *api.Info) ([]api.Object, error) {
	out := slices.Clip(l.objects)
	for _, item := range l.items {
		obj, err := registry.Load(i, item)
		if err != nil {
			return nil, err
		}
		out = append(out, obj)
	}
	return out, nil
}
