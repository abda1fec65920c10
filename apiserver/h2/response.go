package h2

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http2"
)

// response is the http.ResponseWriter of a stream. Its handler uses it, on one goroutine at a time.
type response struct {
	st       *stream
	header   http.Header
	status   int         // 0: not written yet
	shown    http.Header // header as it was then, while it waits for the body's begin
	sent     bool        // the header was; guarded by the connection's lock when the reader of the body asks
	declared int64       // content-length; -1: none
	wrote    int64
	buf      *[]byte // of the body, while it is short
	trailers []string
	deadline *time.Timer
	ended    bool // the handler returned
}

// gather is how much of a body waits for more: the answers that are shorter get a Content-Length.
const gather = 4 << 10

var gathers = sync.Pool{New: func() any { b := make([]byte, 0, gather); return &b }}

var errBody = errors.New("http2: the answer is shorter than its Content-Length")

func (w *response) Header() http.Header {
	if w.header == nil {
		w.header = http.Header{}
	}
	return w.header
}

// bodiless answers have none: RFC 9110, section 6.4.1.
func (w *response) bodiless() bool {
	return w.status == http.StatusNoContent || w.status == http.StatusNotModified || w.status < 200
}

// WriteHeader sends the header at once when all of it is known, else with the body's begin.
func (w *response) WriteHeader(code int) {
	if code < 100 || code > 999 {
		panic(fmt.Sprintf("invalid WriteHeader code %v", code))
	}
	if w.status != 0 {
		return
	}
	if w.Header(); code < 200 && code != http.StatusSwitchingProtocols {
		w.inform(code)
		return
	}
	w.status, w.declared = code, -1
	if v := w.header["Content-Length"]; len(v) > 0 {
		if n, err := strconv.ParseUint(v[0], 10, 63); err == nil && len(v) == 1 {
			w.declared = int64(n)
		} else {
			delete(w.header, "Content-Length")
		}
	}
	w.announce()
	_, typed := w.header["Content-Type"]
	if w.bodiless() || w.declared >= 0 && typed || w.declared == 0 {
		c := w.st.c
		c.mu.Lock()
		_ = w.begin(w.header, nil, w.silent()) // whoever writes the body is told
		c.mu.Unlock()
		return
	}
	w.shown = w.header.Clone()
}

// inform sends an interim answer.
func (w *response) inform(code int) {
	c := w.st.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if code == http.StatusContinue {
		w.st.in.asked = true
	}
	if c.headers(w.st, code, w.header, nil, false) == nil {
		c.flush()
	}
}

// announce takes the names in "Trailer" for those that are sent behind the body.
func (w *response) announce() {
	for key := range announced(http.Header{"Trailer": w.header["Trailer"]}) {
		w.trailers = append(w.trailers, key)
	}
}

// silent tells that no body and no trailers follow the header.
func (w *response) silent() bool {
	return len(w.trailers) == 0 && (w.bodiless() || w.st.req.Method == http.MethodHead || w.declared == 0)
}

// begin sends the header, with what it lacks for a body that begins with p. The connection's lock is held.
func (w *response) begin(h http.Header, p []byte, end bool) error {
	w.sent, w.shown = true, nil
	more := extra{length: -1}
	_, typed := h["Content-Type"]
	_, coded := h["Content-Encoding"]
	if !typed && !coded && len(p) > 0 && !w.bodiless() {
		more.kind = http.DetectContentType(p)
	}
	if head := w.st.req.Method == http.MethodHead; w.ended && w.declared < 0 && !w.bodiless() && (len(p) > 0 || !head) {
		more.length = len(p)
	}
	return w.st.c.headers(w.st, w.status, h, &more, end)
}

// Write sends p, or keeps it when it is short.
func (w *response) Write(p []byte) (int, error) { return w.write(p, false) }

// WriteString is Write.
func (w *response) WriteString(s string) (int, error) { return w.write([]byte(s), false) }

// WriteFlush is Write and Flush.
func (w *response) WriteFlush(p []byte) error {
	_, err := w.write(p, true)
	return err
}

func (w *response) write(p []byte, now bool) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if w.bodiless() {
		return 0, http.ErrBodyNotAllowed
	}
	if w.wrote += int64(len(p)); w.declared >= 0 && w.wrote > w.declared {
		return 0, http.ErrContentLength
	}
	whole := w.wrote == w.declared
	if !now && !whole && (w.buf == nil && len(p) < gather || w.buf != nil && len(*w.buf)+len(p) <= gather) {
		if w.buf == nil {
			w.buf = gathers.Get().(*[]byte)
		}
		*w.buf = append(*w.buf, p...)
		return len(p), w.over()
	}
	c := w.st.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := w.push(p, whole && len(w.trailers) == 0); err != nil {
		return 0, err
	}
	c.flush()
	return len(p), nil
}

// over tells a handler whose client is gone.
func (w *response) over() error {
	c := w.st.c
	c.mu.Lock()
	defer c.mu.Unlock()
	return w.st.err
}

// push sends the header, what was kept and p. The connection's lock is held.
func (w *response) push(p []byte, end bool) error {
	st, c := w.st, w.st.c
	var kept []byte
	if w.buf != nil {
		kept = *w.buf
		defer func() {
			*w.buf = kept[:0]
			gathers.Put(w.buf)
			w.buf = nil
		}()
	}
	if !w.sent {
		first := kept
		if len(first) == 0 {
			first = p
		}
		if err := w.begin(w.shown, first, end && (w.silent() || len(first) == 0)); err != nil {
			return err
		}
	}
	if st.req.Method == http.MethodHead {
		kept, p = kept[:0], nil
	}
	if st.local {
		return st.err
	}
	if len(kept) > 0 {
		if err := c.data(st, kept, end && len(p) == 0); err != nil {
			return err
		}
	}
	if len(p) > 0 || end && !st.local {
		return c.data(st, p, end)
	}
	return st.err
}

// Flush sends what was written.
func (w *response) Flush() { _ = w.FlushError() }

// FlushError is Flush, and says whether the client is gone.
func (w *response) FlushError() error {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	c := w.st.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if w.sent && w.buf == nil {
		if c.waiting() > 0 && c.phase != writing {
			c.flush()
		}
		return w.st.err
	}
	if err := w.push(nil, false); err != nil {
		return err
	}
	c.flush()
	return nil
}

// finish ends the answer when the handler has returned.
func (w *response) finish() {
	w.ended = true
	if w.deadline != nil {
		w.deadline.Stop()
	}
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	st, c := w.st, w.st.c
	if w.declared > w.wrote && !w.bodiless() && st.req.Method != http.MethodHead {
		st.reset(http2.ErrCodeInternal, errBody)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if st.local || st.err != nil {
		return
	}
	trailer := w.trailer()
	if w.push(nil, trailer == nil) != nil || st.local || trailer == nil {
		return
	}
	_ = c.headers(st, 0, trailer, nil, true) // nobody is left to be told
}

// trailer is what goes behind the body, or nil.
func (w *response) trailer() (out http.Header) {
	add := func(key string, v []string) {
		if len(v) > 0 {
			if out == nil {
				out = http.Header{}
			}
			out[key] = v
		}
	}
	for _, key := range w.trailers {
		add(key, w.header[key])
	}
	for key, v := range w.header {
		if name, ok := strings.CutPrefix(key, http.TrailerPrefix); ok {
			add(http.CanonicalHeaderKey(name), v)
		}
	}
	return out
}

// SetReadDeadline bounds the reading of the request's body.
func (w *response) SetReadDeadline(t time.Time) error {
	st, c := w.st, w.st.c
	c.mu.Lock()
	st.in.deadline = nil
	c.mu.Unlock()
	if !t.IsZero() {
		time.AfterFunc(time.Until(t), func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			st.in.deadline = os.ErrDeadlineExceeded
			st.cond.Broadcast()
		})
	}
	return nil
}

// SetWriteDeadline bounds the answer: what is not written by then resets the stream.
func (w *response) SetWriteDeadline(t time.Time) error {
	if w.deadline != nil {
		w.deadline.Stop()
	}
	if !t.IsZero() {
		w.deadline = time.AfterFunc(time.Until(t), func() { w.st.reset(http2.ErrCodeInternal, os.ErrDeadlineExceeded) })
	}
	return nil
}

// EnableFullDuplex is what HTTP/2 always does.
func (w *response) EnableFullDuplex() error { return nil }
