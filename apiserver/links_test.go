package apiserver

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"strings"
	"testing"
)

// TestLinks: links to the proxied server's own paths lead through the proxy, all else stays byte by byte.
func TestLinks(t *testing.T) {
	l := links{prefix: "/p/proxy", host: "10.0.0.1:80"}
	const in = `<!doctype html><A href="/a?b=1">x</A><img src='http://10.0.0.1:80/i.png'><a href="other">&amp;</a><a href="http://example.com/a"><b  id=1>`
	const want = `<!doctype html><a href="/p/proxy/a?b=1">x</A><img src="/p/proxy/i.png"><a href="other">&amp;</a><a href="http://example.com/a"><b  id=1>`
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	if _, err := w.Write([]byte(in)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct{ media, encoding, body, want string }{
		"a page":                    {"text/html; charset=utf-8", "", in, want},
		"a compressed page":         {"text/html", "gzip", packed.String(), want},
		"text that looks like HTML": {"text/plain", "", in, in},
		"an unknown encoding":       {"text/html", "br", in, in},
	} {
		res := &http.Response{Header: http.Header{"Content-Type": {tt.media}, "Location": {"/next"}}, Body: io.NopCloser(strings.NewReader(tt.body)),
			Request: &http.Request{Method: http.MethodGet}}
		if tt.encoding != "" {
			res.Header.Set("Content-Encoding", tt.encoding)
		}
		if err := l.rewrite(res); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got, err := io.ReadAll(res.Body)
		if err != nil || string(got) != tt.want {
			t.Errorf("%s: %v\n%s\nwant\n%s", name, err, got, tt.want)
		}
		if to := res.Header.Get("Location"); to != "/p/proxy/next" {
			t.Errorf("%s: Location %s", name, to)
		}
	}
}
