package h2_test

import (
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"

	"github.com/lighter-k8s/lighter/apiserver/h2"
)

// serve runs a handler on a server of ours, or with std on net/http's own.
func serve(t testing.TB, std bool, h http.Handler, change ...func(*http.Server)) *httptest.Server {
	t.Helper()
	return start(t, std, h, nil, change...)
}

// serveOn is serve, and gives the server of ours.
func serveOn(t testing.TB, h http.Handler, server **h2.Server) *httptest.Server {
	t.Helper()
	return start(t, false, h, server)
}

func start(t testing.TB, std bool, h http.Handler, server **h2.Server, change ...func(*http.Server)) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.Config.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: 1000}
	for _, c := range change {
		c(s.Config)
	}
	s.EnableHTTP2 = true
	if !std {
		ours := h2.Configure(s.Config)
		if server != nil {
			*server = ours
		}
		s.TLS = &tls.Config{NextProtos: s.Config.TLSConfig.NextProtos}
		s.Listener = h2.Listen(s.Listener)
	}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// address is the host and port of a server.
func address(t testing.TB, s *httptest.Server) (string, int) {
	t.Helper()
	host, port, err := net.SplitHostPort(s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	return host, n
}

func TestAnswers(t *testing.T) {
	s := serve(t, false, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(w, r.Body)
	}))
	resp, err := s.Client().Post(s.URL, "text/plain", io.LimitReader(zeros{}, 5<<20))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	n, err := io.Copy(io.Discard, resp.Body)
	if err != nil || n != 5<<20 || resp.Proto != "HTTP/2.0" {
		t.Fatal(n, err, resp.Proto)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
