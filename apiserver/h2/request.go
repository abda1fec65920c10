package h2

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"
	"golang.org/x/net/http2"
)

// request takes in HEADERS: a new request, or the trailers of one.
func (c *conn) request(f *http2.HeadersFrame) error {
	id, ends := f.StreamID, f.StreamEnded()
	self := f.HasPriority() && f.Priority.StreamDep == id
	if err := c.readBlock(f); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch st := c.streams[id]; {
	case id%2 == 0:
		return protocol("a client's stream has an odd number")
	case st != nil:
		return c.requestTrailers(st, ends)
	case id <= c.last:
		if c.wasOurs(id) {
			return nil
		}
		return connError{http2.ErrCodeStreamClosed, "HEADERS on a closed stream"}
	case c.leaving == drained:
		return nil // the peer was told that it is not served
	}
	c.last = id
	if self {
		return c.refuse(id, http2.ErrCodeProtocol)
	}
	if len(c.streams)+c.ghosts >= c.server.streams {
		return c.refuse(id, http2.ErrCodeRefusedStream)
	}
	st := &stream{id: id, c: c, window: c.initial, recv: streamWindow, remote: ends}
	st.cond.L = &c.mu
	st.res.st = st
	if c.block.tooLarge {
		return c.tooLarge(st)
	}
	if why := c.block.complete(); why != "" {
		return c.refuse(id, http2.ErrCodeProtocol)
	}
	if !c.makeRequest(st) {
		return c.refuse(id, http2.ErrCodeProtocol)
	}
	c.streams[id] = st
	c.came()
	c.unstarted++
	if ends || !st.in.asked || st.in.declared < 0 || st.in.declared > shortBody {
		st.start(true)
	}
	return nil
}

// requestTrailers takes in what comes behind a body. c.mu is held.
func (c *conn) requestTrailers(st *stream, ends bool) error {
	switch b := &c.block; {
	case st.remote:
		return c.refuse(st.id, http2.ErrCodeStreamClosed)
	case !ends || b.malformed != "" || len(b.pseudo) > 0 || b.tooLarge || st.in.declared >= 0 && st.in.got != st.in.declared:
		return c.refuse(st.id, http2.ErrCodeProtocol)
	}
	st.in.trailer = http.Header{}
	for _, f := range c.block.fields {
		key := canonical(f.Name)
		st.in.trailer[key] = append(st.in.trailer[key], f.Value)
	}
	st.received()
	return nil
}

// tooLarge answers a request whose header fields are too many. c.mu is held.
func (c *conn) tooLarge(st *stream) error {
	if c.err != nil {
		return c.err
	}
	c.fields.begin(c)
	c.fields.field(":status", strconv.Itoa(http.StatusRequestHeaderFieldsTooLarge))
	block := c.fields.buf
	b := c.grow(len(block) + 32)
	b.b = appendBlock(b.b, st.id, block, true)
	if st.remote {
		return c.broke()
	}
	return c.refuse(st.id, http2.ErrCodeNo)
}

// makeRequest makes the request of the block, and its context. False: it is malformed. c.mu is held.
func (c *conn) makeRequest(st *stream) bool {
	b := &c.block
	header := make(http.Header, len(b.fields))
	values := make([]string, len(b.fields)) // one for all
	host := ""
	for _, f := range b.fields {
		key := canonical(f.Name)
		switch f.Name {
		case "host":
			host = f.Value
			continue
		case "cookie":
			if had := header[key]; len(had) > 0 {
				had[0] += "; " + f.Value // RFC 9113, section 8.2.3
				continue
			}
		}
		if had, ok := header[key]; ok {
			header[key] = append(had, f.Value)
			continue
		}
		values[0] = f.Value
		header[key], values = values[:1:1], values[1:]
	}
	if b.authority == "" {
		b.authority = host
	} else if host != "" && host != b.authority {
		return false // RFC 9113, section 8.3.1
	}
	to := &url.URL{Host: b.authority}
	uri := b.authority
	if b.method != http.MethodConnect {
		var err error
		if to, err = url.ParseRequestURI(b.path); err != nil {
			return false
		}
		uri = b.path
	}
	st.in.declared = -1
	if v := header["Content-Length"]; len(v) > 0 {
		n, err := strconv.ParseUint(v[0], 10, 63)
		if err != nil || len(v) > 1 {
			return false
		}
		st.in.declared = int64(n)
	}
	r := http.Request{Method: b.method, URL: to, Proto: "HTTP/2.0", ProtoMajor: 2, Header: header, Host: b.authority,
		RequestURI: uri, RemoteAddr: c.remote, TLS: c.state, Body: http.NoBody, ContentLength: st.in.declared}
	st.in.asked = true
	if st.remote {
		if st.in.declared > 0 {
			return false
		}
		r.ContentLength = 0
	} else {
		r.Body = reader{st}
		if httpguts.HeaderValuesContainsToken(header["Expect"], "100-continue") {
			st.in.asked = false
			delete(header, "Expect")
		}
		r.Trailer = announced(header)
	}
	var ctx context.Context
	ctx, st.cancel = context.WithCancel(c.ctx)
	st.req = r.WithContext(ctx)
	return true
}

// announced are the trailers that a request says will come.
func announced(header http.Header) (out http.Header) {
	for _, list := range header["Trailer"] {
		for name := range strings.SplitSeq(list, ",") {
			switch key := http.CanonicalHeaderKey(strings.TrimSpace(name)); key {
			case "", "Transfer-Encoding", "Trailer", "Content-Length": // RFC 9110, section 6.5.1
			default:
				if out == nil {
					out = http.Header{}
				}
				out[key] = nil
			}
		}
	}
	delete(header, "Trailer")
	return out
}
