package apiserver

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/watch"
)

// bookmarkEvery is how often a watcher who wants bookmarks gets one while nothing else happens.
const bookmarkEvery = time.Minute

// watch streams what happens to a resource's objects. What is due is gathered into one write.
// Source: API concepts, Efficient detection of changes.
func (s *Server) watch(w http.ResponseWriter, r *http.Request, t *route) error {
	began := time.Now()
	f, err := accept(r, true, watchMedia...)
	if err != nil {
		return err
	}
	o, filter, err := listOptions(t)
	if err != nil {
		return err
	}
	if t.name != "" {
		filter.Name = t.name
	}
	initial := o.SendInitialEvents != nil && *o.SendInitialEvents
	if f.media == typeYAML {
		return badForm() // it has no frames
	}
	out := &stream{form: f, info: t.info, watched: s.metrics.watched(t.info)}
	var items []*watch.Item
	var watcher *watch.Watcher
	version, err := parseVersion(o.ResourceVersion)
	if err != nil {
		return err
	}
	switch {
	case version == 0 || initial:
		if o.ResourceVersion == "" || initial && version == 0 && o.ResourceVersion == "" {
			if err := s.Registry.State.Now(r.Context()); err != nil {
				return apierrors.NewInternalError(err)
			}
		} else if err := s.reach(r, version); err != nil {
			return err
		}
		items, watcher = s.Registry.State.ListWatch(t.info.Stored, filter)
		if o.SendInitialEvents != nil && !initial {
			items = nil
		}
	default:
		if watcher, err = s.Registry.State.Watch(r.Context(), t.info.Stored, filter, version); errors.Is(err, watch.ErrExpired) {
			// A stream that says so: clients list again.
			begin(w, f)
			return out.expired(w, version)
		} else if err != nil {
			return apierrors.NewInternalError(err)
		}
	}
	defer watcher.Close()

	limit := time.Duration(1800+rand.IntN(1800)) * time.Second
	if o.TimeoutSeconds != nil && *o.TimeoutSeconds > 0 {
		limit = time.Duration(*o.TimeoutSeconds) * time.Second
	}
	begin(w, f)
	sent := watcher.Begin()
	if err := out.first(w, items, sent, initial && o.AllowWatchBookmarks); err != nil {
		return s.endStream(w, out, err)
	}
	if initial {
		s.metrics.watchLists.WithLabelValues(t.info.Group, t.info.Version, t.info.Resource, t.scope()).Observe(time.Since(began).Seconds())
	}
	items = nil
	if sw, ok := w.(*statusWriter); ok {
		sw.seats.Release() // from here on it costs by what happens
	}
	return s.follow(w, r, out, watcher, &filter, time.Now().Add(limit), sent, o.AllowWatchBookmarks)
}

// first sends what is there already and, when it is wanted, the bookmark that says that this was all.
func (o *stream) first(w http.ResponseWriter, items []*watch.Item, revision uint64, bookmark bool) error {
	for _, item := range items {
		before := o.buf.Len()
		if err := o.item(watch.Added, item); err != nil {
			return err
		}
		o.watched.sent(o.buf.Len() - before)
		if o.buf.Len() > 32<<10 {
			if _, err := o.buf.WriteTo(w); err != nil {
				return errGone
			}
		}
	}
	if bookmark {
		if err := o.bookmark(revision, true); err != nil {
			return err
		}
	}
	_, err := o.buf.WriteTo(w)
	o.buf = bytes.Buffer{} // most watchers never need as much again
	if err == nil {
		err = http.NewResponseController(w).Flush()
	}
	if err != nil {
		return errGone
	}
	return nil
}

var errGone = errors.New("the client is gone")

// follow sends what happens until the client goes, the time is up or the watcher falls behind. A watcher who
// waits holds no more than this function's frame: there may be many. It waits for one channel alone, which all that may
// happen pokes: to wait for several costs as much as to send an event.
func (s *Server) follow(w http.ResponseWriter, r *http.Request, out *stream, watcher *watch.Watcher, filter *watch.Filter, until time.Time, sent uint64, bookmarks bool) error {
	pause := func() time.Duration {
		left := time.Until(until)
		if bookmarks {
			left = min(left, bookmarkEvery)
		}
		return left
	}
	var due, over atomic.Bool
	timer := time.AfterFunc(pause(), func() { due.Store(true); watcher.Poke() })
	defer timer.Stop()
	end := func() { over.Store(true); watcher.Poke() }
	defer context.AfterFunc(r.Context(), end)()
	defer context.AfterFunc(s.ending, end)()
	to := sender(w)
	var events []*watch.Event
	for {
		<-watcher.Wake()
		if over.Load() {
			return nil
		}
		tick := due.Swap(false)
		if tick {
			if time.Until(until) <= 0 {
				return nil
			}
			timer.Reset(pause())
		}
		var err error
		var upTo uint64
		if events, upTo, err = watcher.Take(events[:0]); err != nil {
			return s.endStream(w, out, err)
		}
		if err := out.events(to, events, filter); err != nil {
			return s.endStream(w, out, err)
		}
		if cap(events) > 16 {
			events = nil
		}
		if tick && bookmarks && upTo > sent && len(watcher.Wake()) == 0 {
			if err := out.bookmark(upTo, false); err != nil {
				return s.endStream(w, out, err)
			}
			if err := to.WriteFlush(out.buf.Bytes()); err != nil {
				return nil
			}
			out.buf = bytes.Buffer{}
			sent = upTo
		}
	}
}

// flusher writes and flushes in one step; a response of apiserver/h2 does.
type flusher interface{ WriteFlush([]byte) error }

// sender is what events are written to.
func sender(w http.ResponseWriter) flusher {
	for inner := w; ; {
		if f, ok := inner.(flusher); ok {
			return f
		}
		wrapped, ok := inner.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return twoSteps{w, http.NewResponseController(w)}
		}
		inner = wrapped.Unwrap()
	}
}

// twoSteps is flusher for all other responses.
type twoSteps struct {
	http.ResponseWriter
	control *http.ResponseController
}

func (t twoSteps) WriteFlush(p []byte) error {
	if _, err := t.Write(p); err != nil {
		return err
	}
	return t.control.Flush()
}

var frames = sync.Pool{New: func() any { b := make([]byte, 0, 12<<10); return &b }}

// events sends several events in one write. One alone is written from where all watchers share it.
func (o *stream) events(w flusher, events []*watch.Event, f *watch.Filter) error {
	var one []byte
	var pooled *[]byte
	for _, e := range events {
		frame, err := o.event(e, f)
		if err != nil {
			return err
		}
		if len(frame) > 0 {
			o.watched.sent(len(frame))
		}
		switch {
		case len(frame) == 0:
		case one == nil:
			one = frame
		default:
			if pooled == nil {
				pooled = frames.Get().(*[]byte)
				*pooled = append((*pooled)[:0], one...)
			}
			*pooled = append(*pooled, frame...)
		}
	}
	if pooled != nil {
		one = *pooled
		defer func() {
			if cap(*pooled) <= 32<<10 {
				frames.Put(pooled)
			}
		}()
	}
	clear(events) // a write may take long: what it is made of can go meanwhile
	if one != nil {
		if err := w.WriteFlush(one); err != nil {
			return errGone
		}
	}
	return nil
}

func begin(w http.ResponseWriter, f form) {
	media := f.media
	if media == typeProtobuf {
		media += ";stream=watch"
	}
	w.Header().Set("Content-Type", media)
	w.Header().Set("Cache-Control", "no-cache, private")
	w.WriteHeader(http.StatusOK)
}

// stream encodes watch events one behind the other.
type stream struct {
	form    form
	info    *api.Info
	buf     bytes.Buffer
	watched watched
}

// encoding numbers the encodings that watchers share; -1: the watcher's own.
func (o *stream) encoding() int {
	n := 0
	switch {
	case o.form.beta:
		return -1
	case o.form.as == "PartialObjectMetadata" || o.form.as == "PartialObjectMetadataList":
		n = 2 // the same in all versions
	case o.form.as != "" || o.info.Stored != o.info:
		return -1
	}
	if o.form.media == typeProtobuf {
		n++
	}
	return n
}

// event gives an event as it goes to the watcher, or nothing.
func (o *stream) event(e *watch.Event, f *watch.Filter) ([]byte, error) {
	kind, item := e.For(f)
	if item == nil {
		return nil, nil
	}
	encode := func() ([]byte, error) {
		one := stream{form: o.form, info: o.info}
		err := one.item(kind, item)
		o.form.bare = one.form.bare
		return one.buf.Bytes(), err
	}
	if n := o.encoding(); n >= 0 {
		return e.Frame(n, kind, encode)
	}
	return encode()
}

func (o *stream) item(kind watch.Type, item *watch.Item) error {
	f := o.form
	f.pretty = false
	body, _, err := encodeItem(f, o.info, item)
	if err != nil {
		return err
	}
	o.form.bare = f.as == "Table"
	return o.frame(string(kind), body)
}

// frame puts one event around an encoded object: a line of JSON, or protobuf with its length in four bytes before it.
func (o *stream) frame(kind string, body []byte) error {
	switch o.form.media {
	case typeProtobuf:
		e := metav1.WatchEvent{Type: kind, Object: runtime.RawExtension{Raw: body}}
		size := e.Size()
		o.buf.Grow(4 + size)
		b := o.buf.AvailableBuffer()[:4+size]
		binary.BigEndian.PutUint32(b, uint32(size))
		if _, err := e.MarshalToSizedBuffer(b[4:]); err != nil {
			return err
		}
		o.buf.Write(b)
	default:
		o.buf.Grow(len(body) + 40)
		o.buf.WriteString(`{"type":"`)
		o.buf.WriteString(kind)
		o.buf.WriteString(`","object":`)
		o.buf.Write(bytes.TrimSuffix(body, []byte("\n")))
		o.buf.WriteString("}\n")
	}
	return nil
}

// bookmark says up to which revision nothing is missing.
func (o *stream) bookmark(revision uint64, initialDone bool) error {
	obj := o.info.New()
	obj.SetResourceVersion(strconv.FormatUint(revision, 10))
	if initialDone {
		obj.SetAnnotations(map[string]string{metav1.InitialEventsAnnotationKey: "true"})
	}
	f := o.form
	f.pretty = false
	if f.as == "Table" {
		data, err := json.Marshal(&metav1.Table{TypeMeta: metav1.TypeMeta{Kind: f.as, APIVersion: f.version()},
			ListMeta: metav1.ListMeta{ResourceVersion: obj.GetResourceVersion()}, Rows: []metav1.TableRow{{Cells: []any{}, Object: bookmarkRow(f, obj)}}})
		if err != nil {
			return err
		}
		return o.frame("BOOKMARK", data)
	}
	body, _, err := encodeObject(f, o.info, obj)
	if err != nil {
		return err
	}
	return o.frame("BOOKMARK", body)
}

func bookmarkRow(f form, obj api.Object) runtime.RawExtension {
	data, _ := json.Marshal(f.partial(obj)) // metadata always encodes
	return runtime.RawExtension{Raw: data}
}

// expired ends a stream with 410.
func (o *stream) expired(w http.ResponseWriter, version uint64) error {
	return o.fail(w, apierrors.NewResourceExpired(fmt.Sprintf("too old resource version: %d", version)).Status())
}

func (o *stream) fail(w http.ResponseWriter, status metav1.Status) error {
	status.Kind, status.APIVersion = "Status", "v1"
	body, err := encodeMeta(form{media: o.form.media}, "v1", "Status", &status)
	if err == nil {
		err = o.frame("ERROR", body)
	}
	if err == nil {
		_, _ = o.buf.WriteTo(w) // the client is gone if it fails
	}
	return nil
}

// endStream tells the client why its stream ends.
func (s *Server) endStream(w http.ResponseWriter, o *stream, err error) error {
	switch {
	case errors.Is(err, errGone), errors.Is(err, watch.ErrEnded):
		return nil
	case errors.Is(err, watch.ErrExpired):
		s.metrics.fellBehind.WithLabelValues(o.info.Group, o.info.Resource).Inc()
		return o.expired(w, 0)
	}
	s.Log.Warn("watch ended", "object", o.info.Resource, "err", err)
	return o.fail(w, apierrors.NewInternalError(err).Status())
}
