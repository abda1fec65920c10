package h2_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"slices"
	"strings"
	"testing"
	"time"
)

// exchange is one row of TestSameAsNetHTTP: a request, and the handler that answers it.
type exchange struct {
	method, path string
	header       http.Header
	body         io.Reader
	length       int64 // of body; 0: not said
	trailer      http.Header
	open         bool // the body begins and does not go on
	handler      http.HandlerFunc
}

// result is all that a client can see of an answer, and what the handler saw of the request.
func (e exchange) result(t *testing.T, std bool) string {
	var seen strings.Builder
	done := make(chan struct{})
	s := serve(t, std, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(done)
		fmt.Fprintf(&seen, "%s %s %s %d.%d host=%t uri=%s length=%d coding=%v close=%v tls=%v remote=%v pattern=%q\n", r.Method, r.URL, r.Proto, r.ProtoMajor, r.ProtoMinor,
			r.Host != "", r.RequestURI, r.ContentLength, r.TransferEncoding, r.Close, r.TLS != nil && r.TLS.NegotiatedProtocol == "h2", r.RemoteAddr != "", r.Pattern)
		show(&seen, r.Header)
		show(&seen, r.Trailer)
		_, server := r.Context().Value(http.ServerContextKey).(*http.Server)
		fmt.Fprintln(&seen, "server in context:", server, "local address:", r.Context().Value(http.LocalAddrContextKey) != nil)
		e.handler(w, r)
		show(&seen, r.Trailer)
	}))
	defer s.Close()
	var out strings.Builder
	trace := &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
		fmt.Fprintln(&out, "interim", code, h["Link"])
		return nil
	}}
	body := e.body
	if seek, ok := body.(io.Seeker); ok {
		_, _ = seek.Seek(0, io.SeekStart)
	}
	if e.open {
		in, out := io.Pipe()
		go func() { _, _ = io.WriteString(out, "x") }()
		body = in // the client closes it
	}
	ctx, cancel := context.WithTimeout(httptrace.WithClientTrace(t.Context(), trace), 10*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, e.method, s.URL, body)
	if err != nil {
		t.Fatal(err)
	}
	if r.URL.Opaque = ""; e.path != "" {
		r.URL, err = r.URL.Parse(s.URL + e.path)
		if err != nil {
			t.Fatal(err)
		}
	}
	maps.Copy(r.Header, e.header)
	r.Trailer, r.ContentLength = e.trailer, e.length
	s.Client().Transport.(*http.Transport).ExpectContinueTimeout = time.Minute
	resp, err := s.Client().Do(r)
	if err != nil {
		fmt.Fprintln(&out, "error:", kind(err))
	} else {
		data, err := io.ReadAll(resp.Body)
		fmt.Fprintln(&out, resp.Proto, resp.StatusCode, resp.ContentLength, resp.TransferEncoding, resp.Close, resp.Uncompressed)
		if dates := resp.Header["Date"]; len(dates) == 1 {
			at, perr := http.ParseTime(dates[0])
			fmt.Fprintln(&out, "date:", perr, time.Since(at).Abs() < time.Minute)
			delete(resp.Header, "Date")
		}
		show(&out, resp.Header)
		fmt.Fprintf(&out, "%d bytes %.200q, then %v\n", len(data), data, kind(err))
		show(&out, resp.Trailer)
		_ = resp.Body.Close()
	}
	select {
	case <-done:
	case <-ctx.Done():
		t.Error("the handler does not return")
	}
	return "the handler saw\n" + seen.String() + "the client saw\n" + out.String()
}

// kind is an error as far as both servers must agree on it.
func kind(err error) string {
	switch {
	case err == nil:
		return "no error"
	case errors.Is(err, context.DeadlineExceeded):
		return "deadline"
	case strings.Contains(err.Error(), "INTERNAL_ERROR"):
		return "reset: internal error"
	case strings.Contains(err.Error(), "PROTOCOL_ERROR"):
		return "reset: protocol error"
	case errors.Is(err, io.ErrUnexpectedEOF):
		return "too short"
	}
	return "another: " + err.Error()
}

func show(w io.Writer, h http.Header) {
	for _, key := range slices.Sorted(maps.Keys(h)) {
		fmt.Fprintf(w, "  %s: %q\n", key, h[key])
	}
}

// TestSameAsNetHTTP: the same handlers on net/http's server and on ours show the same requests and give the same answers.
func TestSameAsNetHTTP(t *testing.T) {
	long := strings.Repeat("0123456789", 2000)
	read := func(w http.ResponseWriter, r *http.Request) {
		data, err := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%d %v", len(data), err)
	}
	header := func(kv ...string) http.Header {
		h := http.Header{}
		for n := 0; n < len(kv); n += 2 {
			h.Add(kv[n], kv[n+1])
		}
		return h
	}
	for name, e := range map[string]exchange{
		"a short answer has its length and its type": {handler: func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "<html>hello") }},
		"nothing written":    {handler: func(w http.ResponseWriter, r *http.Request) {}},
		"nothing but a code": {handler: func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(404) }},
		"a long answer in pieces": {handler: func(w http.ResponseWriter, r *http.Request) {
			for range 100 {
				_, _ = io.WriteString(w, long)
			}
		}},
		"a long answer of a length": {handler: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "20000")
			_, _ = io.WriteString(w, long)
		}},
		"flushed between": {handler: func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, "one")
			err := http.NewResponseController(w).Flush()
			fmt.Fprint(w, "two", err)
		}},
		"flushed before anything": {handler: func(w http.ResponseWriter, r *http.Request) {
			w.(http.Flusher).Flush()
			w.Header().Set("Too-Late", "yes")
			_, _ = io.WriteString(w, "<html>")
		}},
		"header changed behind WriteHeader": {handler: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("A", "1")
			w.WriteHeader(202)
			w.Header().Set("A", "2")
			w.WriteHeader(500)
			_, _ = io.WriteString(w, "x")
		}},
		"a body where none may be": {handler: func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(204)
			if _, err := io.WriteString(w, "x"); !errors.Is(err, http.ErrBodyNotAllowed) {
				t.Error(err)
			}
		}},
		"not modified": {handler: func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Etag", `"x"`); w.WriteHeader(304) }},
		"HEAD":         {method: "HEAD", handler: func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "hello") }},
		"HEAD with a length": {method: "HEAD", handler: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "20000")
			w.Header().Set("Content-Type", "a/b")
			w.WriteHeader(200)
			_, _ = io.WriteString(w, long)
		}},
		"HEAD, long":    {method: "HEAD", handler: func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, long) }},
		"HEAD, nothing": {method: "HEAD", handler: func(w http.ResponseWriter, r *http.Request) {}},
		"type said to be absent": {handler: func(w http.ResponseWriter, r *http.Request) {
			w.Header()["Content-Type"] = nil
			_, _ = io.WriteString(w, "<html>")
		}},
		"no date wanted": {handler: func(w http.ResponseWriter, r *http.Request) { w.Header()["Date"] = nil }},
		"encoded, no sniffing": {handler: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "br")
			_, _ = io.WriteString(w, "<html>")
		}},
		"many values, odd ones": {handler: func(w http.ResponseWriter, r *http.Request) {
			h := w.Header()
			h["Many"] = []string{"a", "b", "a"}
			h["Bad-Value"] = []string{"a\nb"}
			h["bad name"] = []string{"x"}
			h["lower"] = []string{"y"}
			h.Set("Transfer-Encoding", "chunked")
		}},
		"a wrong length is left out": {handler: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "many")
			_, _ = io.WriteString(w, "x")
		}},
		"announced trailers": {handler: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Trailer", "A, B")
			_, _ = io.WriteString(w, "x")
			w.Header().Set("A", "1")
			w.Header().Set("C", "not announced")
		}},
		"trailers by prefix": {handler: func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, long)
			w.Header().Set(http.TrailerPrefix+"Later", "yes")
		}},
		"trailers without a body": {handler: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Trailer", "A")
			w.WriteHeader(200)
			w.Header().Set("A", "1")
		}},
		"interim answers": {handler: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Link", "</x>")
			w.WriteHeader(103)
			w.Header().Set("Link", "</y>")
			w.WriteHeader(103)
			w.WriteHeader(200)
		}},
		"aborted before": {handler: func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) }},
		"aborted in the midst": {handler: func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, "x")
			w.(http.Flusher).Flush()
			panic("oh")
		}},
		"an invalid code": {handler: func(w http.ResponseWriter, r *http.Request) {
			defer func() { fmt.Fprint(w, recover()) }()
			w.WriteHeader(42)
		}},
		"a body":                  {method: "POST", body: strings.NewReader(long), length: 20000, handler: read},
		"a body without a length": {method: "PUT", body: strings.NewReader(long), length: -1, handler: read},
		"an empty body":           {method: "POST", handler: read},
		"a big body":              {method: "POST", body: bytes.NewReader(make([]byte, 3<<20)), length: 3 << 20, handler: read},
		"a body with trailers":    {method: "POST", body: strings.NewReader("abc"), length: -1, trailer: header("Sum", "123"), handler: read},
		"a body that is expected": {method: "POST", body: strings.NewReader("abc"), length: 3, header: header("Expect", "100-continue"), handler: read},
		"a body that nobody reads": {method: "POST", body: strings.NewReader(long), length: 20000, handler: func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, "no")
		}},
		"a body read behind the answer": {method: "POST", body: strings.NewReader(long), length: 20000, handler: func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, "first ")
			w.(http.Flusher).Flush()
			data, err := io.ReadAll(r.Body)
			fmt.Fprint(w, len(data), err)
		}},
		"a body that is closed": {method: "POST", body: strings.NewReader(long), length: 20000, handler: func(w http.ResponseWriter, r *http.Request) {
			_ = r.Body.Close()
			_, err := r.Body.Read(make([]byte, 1))
			fmt.Fprint(w, err != nil)
		}},
		"too large for MaxBytesReader": {method: "POST", body: strings.NewReader(long), length: 20000, handler: func(w http.ResponseWriter, r *http.Request) {
			_, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 10))
			http.Error(w, fmt.Sprint(err), 413)
		}},
		"cookies and repeated fields": {header: header("Cookie", "a=1", "Cookie", "b=2", "X-Many", "1", "X-Many", "2", "User-Agent", "me", "X_odd", "z"), handler: func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, r.Cookies(), r.Header["X-Many"])
		}},
		"a path with a query and escapes": {path: "/a%2Fb/ü/../c?x=1&y=%20;z", handler: func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, r.URL.Path, r.URL.RawPath, r.URL.RawQuery, r.URL.Host)
		}},
		"OPTIONS": {method: "OPTIONS", handler: func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Method) }},
		"no upgrade": {handler: func(w http.ResponseWriter, r *http.Request) {
			_, _, err := http.NewResponseController(w).Hijack()
			fmt.Fprint(w, errors.Is(err, http.ErrNotSupported))
		}},
		"full duplex": {handler: func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, http.NewResponseController(w).EnableFullDuplex())
		}},
		"a write deadline that passed": {handler: func(w http.ResponseWriter, r *http.Request) {
			_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(-time.Second))
			<-r.Context().Done()
			_, _ = io.WriteString(w, "x")
		}},
		"a read deadline that passed": {method: "POST", open: true, length: -1, handler: func(w http.ResponseWriter, r *http.Request) {
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(10 * time.Millisecond))
			_, err := io.ReadAll(r.Body)
			fmt.Fprint(w, err)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if e.method == "" {
				e.method = "GET"
			}
			if want, got := e.result(t, true), e.result(t, false); got != want {
				t.Errorf("net/http's server:\n%s\nours:\n%s", want, got)
			}
		})
	}
}
