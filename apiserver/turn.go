package apiserver

import (
	"bytes"
	"compress/gzip"
	"io"
	"runtime"
	"sync"
)

// turns bounds how many large bodies are put together and compressed at a time: as many as there are processors. More would not be
// ready sooner, and whoever comes for something small would wait behind them all for a processor. Nobody holds a turn while he
// waits for something else: a client, or a webhook.
type turns chan struct{}

func newTurns() turns { return make(turns, runtime.GOMAXPROCS(0)) }

// turn is a request's part in the turns, used by one goroutine. give must be called at its end.
type turn struct {
	turns turns
	held  bool
}

// take waits for a turn, unless it is held. Since no holder waits, that is soon.
func (t *turn) take() {
	if !t.held {
		t.turns <- struct{}{}
		t.held = true
	}
}

func (t *turn) give() {
	if t.held {
		<-t.turns
		t.held = false
	}
}

// given writes what does not need a turn: the client may be slow.
func (t *turn) given(w io.Writer, p []byte) error {
	t.give()
	_, err := w.Write(p)
	return err
}

// zipChunk is how much of a compressed body is gathered before it is written.
const zipChunk = 16 << 10

// zipWriter compresses in turn. It keeps the turn from one Write to the next.
type zipWriter struct {
	*turn
	to  io.Writer
	zip *gzip.Writer
	buf bytes.Buffer // what zip gave
}

var zipWriters = sync.Pool{New: func() any {
	z := &zipWriter{}
	z.zip, _ = gzip.NewWriterLevel(&z.buf, 1)
	return z
}}

func newZipWriter(to io.Writer, t *turn) *zipWriter {
	z := zipWriters.Get().(*zipWriter)
	z.turn, z.to = t, to
	return z
}

// free lets somebody else use it.
func (z *zipWriter) free() {
	z.turn, z.to = nil, nil
	z.buf.Reset()
	z.zip.Reset(&z.buf)
	zipWriters.Put(z)
}

// Write implements io.Writer.
func (z *zipWriter) Write(p []byte) (n int, err error) {
	for n < len(p) {
		z.take()
		part := p[n:min(n+bodyChunk, len(p))]
		if _, err := z.zip.Write(part); err != nil {
			return n, err
		}
		n += len(part)
		if z.buf.Len() >= zipChunk {
			if err := z.send(); err != nil {
				return n, err
			}
		}
	}
	return n, nil
}

func (z *zipWriter) send() error {
	err := z.given(z.to, z.buf.Bytes())
	z.buf.Reset()
	return err
}

// Close writes what is left.
func (z *zipWriter) Close() error {
	z.take()
	if err := z.zip.Close(); err != nil {
		return err
	}
	return z.send()
}
