package remote

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/lighter-k8s/lighter/pki"
)

// cluster is API servers that say their number.
func cluster(t *testing.T, n int) (servers []*httptest.Server, addresses []string, config *tls.Config) {
	t.Helper()
	authority, err := pki.NewAuthority("test")
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		pair, err := authority.Issue(pki.APIServer())
		if err != nil {
			t.Fatal(err)
		}
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, i)
			if r.URL.Path == "/watch" {
				w.(http.Flusher).Flush()
				<-r.Context().Done()
			}
		}))
		s.TLS = &tls.Config{Certificates: []tls.Certificate{*pair.TLS()}}
		s.EnableHTTP2 = true
		s.StartTLS()
		t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
		servers, addresses = append(servers, s), append(addresses, s.Listener.Addr().String())
	}
	pool := x509.NewCertPool()
	pool.AddCert(authority.Cert())
	return servers, addresses, &tls.Config{RootCAs: pool}
}

func get(t *testing.T, s *Servers, path string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://any:1"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := s.RoundTrip(r)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	return string(data), err
}

// answers asks until there is an answer: what was under way when a server went is lost, and its caller tries again.
func answers(t *testing.T, s *Servers) string {
	t.Helper()
	for range 100 {
		if got, err := get(t, s, "/"); err == nil {
			return got
		}
	}
	t.Fatal("nobody answers")
	return ""
}

func TestServersGoOnWithTheNext(t *testing.T) {
	servers, addresses, config := cluster(t, 3)
	s := NewServers(config, addresses...)
	for range 3 {
		if got := answers(t, s); got != "0" {
			t.Errorf("answered by %s: one server is used as long as it answers", got)
		}
	}
	servers[0].CloseClientConnections()
	servers[0].Listener.Close()
	if got := answers(t, s); got != "1" {
		t.Errorf("answered by %s, want the next", got)
	}
	if got := s.Addresses(); got[len(got)-1] != addresses[0] {
		t.Errorf("%v: the one that went comes last, want %s", got, addresses[0])
	}
	servers[1].CloseClientConnections()
	servers[1].Listener.Close()
	if got := answers(t, s); got != "2" {
		t.Errorf("answered by %s, want the last", got)
	}
}

// TestServersLearn changes the servers while one is in use by a watch, which must end: the connection notices no silence.
func TestServersLearn(t *testing.T) {
	_, addresses, config := cluster(t, 3)
	s := NewServers(config, addresses[0])
	ended := make(chan error, 1)
	go func() {
		_, err := get(t, s, "/watch")
		ended <- err
	}()
	answers(t, s) // a connection that is idle, too
	s.Set(addresses...)
	if err := <-ended; err == nil {
		t.Error("the watch on the old connection ended in order")
	}
	if got := answers(t, s); got == "" {
		t.Error("no answer")
	}
	s.Set(addresses[2])
	if got := answers(t, s); got != "2" {
		t.Errorf("answered by %s, want the only one", got)
	}
	s.Set()
	if got := s.Addresses(); !slices.Equal(got, addresses[2:]) {
		t.Errorf("nobody is no list of servers: %v", got)
	}
}

// TestServersNoticeSilence: a server that takes everything in and says nothing is given up.
func TestServersNoticeSilence(t *testing.T) {
	_, addresses, config := cluster(t, 2)
	s := NewServers(config, addresses...)
	silent := make(chan struct{})
	s.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, address)
		if err == nil && address == addresses[0] {
			return &mute{c, silent, make(chan struct{})}, nil
		}
		return c, err
	}
	if got := answers(t, s); got != "0" {
		t.Fatalf("answered by %s", got)
	}
	close(silent)
	if got := answers(t, s); got != "1" {
		t.Errorf("answered by %s", got)
	}
}

// mute is a connection that nothing comes from any more once silent is closed.
type mute struct {
	net.Conn
	silent, closed chan struct{}
}

func (m *mute) Read(b []byte) (int, error) {
	n, err := m.Conn.Read(b)
	select {
	case <-m.silent:
		<-m.closed
		return 0, net.ErrClosed
	default:
		return n, err
	}
}

func (m *mute) Close() error {
	select {
	case <-m.closed:
	default:
		close(m.closed)
	}
	return m.Conn.Close()
}
