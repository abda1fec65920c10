package h2

import (
	"net/http"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"
	"golang.org/x/net/http2/hpack"
)

// extra are the fields that an answer gets beside its handler's.
type extra struct {
	kind   string // Content-Type; "": none
	length int    // Content-Length; -1: none
}

// fieldWriter encodes header blocks; the connection's lock is held from begin until the block is pending: blocks change
// the table that the peer decodes the next one with.
type fieldWriter struct {
	c   *conn
	buf []byte
}

// Write takes what the encoder makes.
func (w *fieldWriter) Write(p []byte) (int, error) {
	w.buf = append(w.buf, p...)
	return len(p), nil
}

func (w *fieldWriter) begin(c *conn) {
	w.c, w.buf = c, w.buf[:0]
}

func (w *fieldWriter) field(name, value string) {
	_ = w.c.hpack.WriteField(hpack.HeaderField{Name: name, Value: value}) // into memory
}

// once is field for values that hardly come twice: they are not kept in the peer's table.
func (w *fieldWriter) once(name, value string) {
	_ = w.c.hpack.WriteField(hpack.HeaderField{Name: name, Value: value, Sensitive: true})
}

// headers appends the header of an answer, an interim one, or with status 0 trailers. It waits while much is pending.
// c.mu is held, and given up meanwhile.
func (c *conn) headers(st *stream, status int, h http.Header, more *extra, end bool) error {
	if err := c.wait(st, 512); err != nil {
		return err
	}
	w := &c.fields
	w.begin(c)
	if status != 0 {
		w.field(":status", statusText(status))
	}
	leave := false
	for key, values := range h {
		if strings.HasPrefix(key, http.TrailerPrefix) {
			continue
		}
		name := lower(key)
		switch name {
		case "connection":
			leave = leave || httpguts.HeaderValuesContainsToken(values, "close")
			continue
		case "keep-alive", "proxy-connection", "transfer-encoding", "upgrade":
			continue
		}
		if !validName(name) {
			continue
		}
		for _, v := range values {
			switch {
			case !httpguts.ValidHeaderFieldValue(v):
			case name == "content-length":
				w.once(name, v)
			default:
				w.field(name, v)
			}
		}
	}
	if more != nil {
		if more.kind != "" {
			w.field("content-type", more.kind)
		}
		if more.length >= 0 {
			w.once("content-length", strconv.Itoa(more.length))
		}
		if _, dated := h["Date"]; !dated {
			w.field("date", c.server.now())
		}
	}
	b := c.grow(len(w.buf) + 9*(1+len(w.buf)/frameSize))
	b.b = appendBlock(b.b, st.id, w.buf, end)
	if end {
		st.sent()
	}
	if leave {
		c.depart(asking) // what a handler means by it; HTTP/2 says it for the whole connection
	}
	return nil
}

// statusText is a code in digits.
func statusText(code int) string {
	switch code {
	case http.StatusOK:
		return "200"
	case http.StatusCreated:
		return "201"
	}
	return strconv.Itoa(code)
}
