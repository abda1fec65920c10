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
	f, err := accept(r, true)
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
		return notAcceptable() // it has no frames
	}
	out := &stream{form: f, info: t.info}
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
		if watcher, err = s.Registry.State.Watch(t.info.Stored, filter, version); errors.Is(err, watch.ErrExpired) {
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
	ctx, cancel := context.WithTimeout(r.Context(), limit)
	defer cancel()
	begin(w, f)
	flush := http.NewResponseController(w)
	for _, item := range items {
		if err := out.item(watch.Added, item); err != nil {
			return s.endStream(w, out, err)
		}
		if out.buf.Len() > 64<<10 {
			if _, err := out.buf.WriteTo(w); err != nil {
				return nil // the client is gone
			}
		}
	}
	sent := watcher.Begin()
	if initial && o.AllowWatchBookmarks {
		if err := out.bookmark(sent, true); err != nil {
			return s.endStream(w, out, err)
		}
	}
	var tick <-chan time.Time
	if o.AllowWatchBookmarks {
		ticker := time.NewTicker(bookmarkEvery)
		defer ticker.Stop()
		tick = ticker.C
	}
	var events []*watch.Event
	for {
		if out.buf.Len() > 0 {
			if _, err := out.buf.WriteTo(w); err != nil {
				return nil // the client is gone
			}
		}
		if err := flush.Flush(); err != nil {
			return nil
		}
		due := false
		select {
		case <-watcher.Wake():
		case <-tick:
			due = true
		case <-ctx.Done():
			return nil
		case <-s.ending:
			return nil
		}
		clear(events)
		var upTo uint64
		events, upTo, err = watcher.Take(events[:0])
		if err != nil {
			return s.endStream(w, out, err)
		}
		for _, e := range events {
			if err := out.event(e, &filter); err != nil {
				return s.endStream(w, out, err)
			}
		}
		if due && upTo > sent {
			if err := out.bookmark(upTo, false); err != nil {
				return s.endStream(w, out, err)
			}
			sent = upTo
		}
	}
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
	form form
	info *api.Info
	buf  bytes.Buffer
}

func (o *stream) event(e *watch.Event, f *watch.Filter) error {
	kind, item := e.For(f)
	if item == nil {
		return nil
	}
	if o.form.as == "" && o.info.Stored == o.info {
		frame, err := e.Frame(o.form.media == typeProtobuf, kind, func() ([]byte, error) {
			var one stream
			one.form, one.info = o.form, o.info
			err := one.item(kind, item)
			return one.buf.Bytes(), err
		})
		o.buf.Write(frame)
		return err
	}
	return o.item(kind, item)
}

func (o *stream) item(kind watch.Type, item *watch.Item) error {
	f := o.form
	f.pretty = false
	body, _, err := encodeItem(f, o.info, item)
	if err != nil {
		return err
	}
	return o.frame(string(kind), body)
}

// frame puts one event around an encoded object: a line of JSON, or protobuf with its length in four bytes before it.
func (o *stream) frame(kind string, body []byte) error {
	switch o.form.media {
	case typeProtobuf:
		e := metav1.WatchEvent{Type: kind, Object: runtime.RawExtension{Raw: body}}
		data, err := e.Marshal()
		if err != nil {
			return err
		}
		var size [4]byte
		binary.BigEndian.PutUint32(size[:], uint32(len(data)))
		o.buf.Write(size[:])
		o.buf.Write(data)
	default:
		fmt.Fprintf(&o.buf, `{"type":"%s","object":%s}`+"\n", kind, bytes.TrimSuffix(body, []byte("\n")))
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
		data, err := json.Marshal(&metav1.Table{TypeMeta: metav1.TypeMeta{Kind: tableKind.Kind, APIVersion: tableKind.GroupVersion().String()},
			ListMeta: metav1.ListMeta{ResourceVersion: obj.GetResourceVersion()}, Rows: []metav1.TableRow{{Cells: []any{}, Object: bookmarkRow(obj)}}})
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

func bookmarkRow(obj api.Object) runtime.RawExtension {
	data, _ := json.Marshal(partial(obj)) // metadata always encodes
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
	if errors.Is(err, watch.ErrExpired) {
		return o.expired(w, 0)
	}
	s.Log.Warn("watch ended", "object", o.info.Resource, "err", err)
	return o.fail(w, apierrors.NewInternalError(err).Status())
}
