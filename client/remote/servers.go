package remote

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// ServerName is the name by which every API server of a cluster can be verified, whatever its address.
const ServerName = "kubernetes.default.svc"

// Servers is the way to a cluster of several API servers: requests go to one of them as long as it answers, and then to
// the next. It is an http.RoundTripper whose requests may name any of them. Safe for concurrent use.
//
// With one server only, a connection is kept as long as TCP keeps it: there is nowhere else to go. With several, one that is
// silent for most of a second is pinged, and given up when it says nothing for most of the next: a machine that is gone sends no
// farewell, and the next server is to be asked within two seconds.
type Servers struct {
	// Dial connects to a server; net.Dialer's DialContext unless it is set before the first request.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	tls *tls.Config

	mu        sync.Mutex
	addresses []string // host:port, the one to dial next first
	transport *http.Transport
	conns     map[net.Conn]string
}

const (
	silence    = 800 * time.Millisecond // before a ping
	farewell   = 700 * time.Millisecond // for its answer
	headstart  = 150 * time.Millisecond // of one dial before the next server's begins
	dialWithin = 10 * time.Second
)

// NewServers reaches the servers at these addresses (host:port), of which there is at least one. config needs no ServerName.
func NewServers(config *tls.Config, addresses ...string) *Servers {
	c := config.Clone()
	c.ServerName = ServerName
	s := &Servers{tls: c, addresses: slices.Clone(addresses), conns: map[net.Conn]string{}, Dial: new(net.Dialer).DialContext}
	s.transport = s.fresh(len(addresses) > 1)
	return s
}

// fresh makes a transport; alert: it notices silence.
func (s *Servers) fresh(alert bool) *http.Transport {
	t := &http.Transport{ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 4, IdleConnTimeout: 90 * time.Second, TLSHandshakeTimeout: dialWithin,
		DialContext: s.dial, TLSClientConfig: s.tls, HTTP2: &http.HTTP2Config{}}
	if alert {
		t.TLSHandshakeTimeout = farewell
		t.HTTP2.SendPingTimeout, t.HTTP2.PingTimeout = silence, farewell
	}
	return t
}

// Set changes which servers there are. Connections to those that are no longer named close, and so do all when a
// second server appears: from then on silence is to be noticed.
func (s *Servers) Set(addresses ...string) {
	if len(addresses) == 0 {
		return
	}
	closing, old := s.set(addresses)
	for _, conn := range closing {
		_ = conn.Close() // whoever used it tries again
	}
	if old != nil {
		old.CloseIdleConnections()
	}
}

// set returns the connections that are to close, and the transport that is no longer used. A connection that closes
// takes the lock itself.
func (s *Servers) set(addresses []string) (closing []net.Conn, old *http.Transport) {
	s.mu.Lock()
	defer s.mu.Unlock()
	alert, was := len(addresses) > 1, len(s.addresses) > 1
	// Those that are known keep their order: the first of them is in use.
	kept := slices.DeleteFunc(slices.Clone(s.addresses), func(a string) bool { return !slices.Contains(addresses, a) })
	for _, a := range addresses {
		if !slices.Contains(kept, a) {
			kept = append(kept, a)
		}
	}
	s.addresses = kept
	if alert != was {
		old, s.transport = s.transport, s.fresh(alert)
	}
	for conn, a := range s.conns {
		if alert && !was || !slices.Contains(addresses, a) {
			closing = append(closing, conn)
		}
	}
	return closing, old
}

// Refresh begins new connections for the requests to come: what the old ones began with, such as a client certificate, is
// no longer wanted. Those of before stay open for as long as something is under way on them.
func (s *Servers) Refresh() {
	s.mu.Lock()
	old := s.transport
	s.transport = s.fresh(len(s.addresses) > 1)
	s.mu.Unlock()
	old.CloseIdleConnections()
}

// Addresses are the servers, the one in use first.
func (s *Servers) Addresses() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.addresses)
}

// RoundTrip sends a request to a server that answers.
func (s *Servers) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	t := s.transport
	s.mu.Unlock()
	return t.RoundTrip(r)
}

// dial connects to the first server that takes the connection. Each gets a little head start before the next one is tried too.
func (s *Servers) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialWithin)
	defer cancel()
	addresses := s.Addresses()
	type result struct {
		conn    net.Conn
		address string
		err     error
	}
	results := make(chan result, len(addresses))
	next, pending := 0, 0
	begin := func() {
		a := addresses[next]
		next++
		pending++
		go func() {
			conn, err := s.Dial(ctx, network, a)
			results <- result{conn, a, err}
		}()
	}
	begin()
	late := time.NewTimer(headstart)
	defer late.Stop()
	var errs []error
	for pending > 0 {
		select {
		case r := <-results:
			pending--
			if r.err == nil {
				cancel()
				go func(n int) { // those that come too late
					for range n {
						if r := <-results; r.conn != nil {
							_ = r.conn.Close()
						}
					}
				}(pending)
				return s.track(r.conn, r.address), nil
			}
			errs = append(errs, r.err)
			if next < len(addresses) {
				begin()
				late.Reset(headstart)
			}
		case <-late.C:
			if next < len(addresses) {
				begin()
				late.Reset(headstart)
			}
		}
	}
	return nil, fmt.Errorf("no server answers: %w", errors.Join(errs...))
}

// track notes an open connection. When it closes, for whatever reason, another server is to be tried before this one.
func (s *Servers) track(c net.Conn, address string) net.Conn {
	t := &tracked{Conn: c, servers: s, address: address}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns[t] = address
	s.prefer(address)
	return t
}

// prefer moves an address to the front; s.mu is held.
func (s *Servers) prefer(address string) {
	if n := slices.Index(s.addresses, address); n > 0 {
		s.addresses = slices.Insert(slices.Delete(s.addresses, n, n+1), 0, address)
	}
}

type tracked struct {
	net.Conn
	servers *Servers
	address string
	once    sync.Once
}

func (t *tracked) Close() error {
	t.once.Do(func() {
		s := t.servers
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.conns, t)
		if n := slices.Index(s.addresses, t.address); n >= 0 {
			s.addresses = append(slices.Delete(s.addresses, n, n+1), t.address)
		}
	})
	return t.Conn.Close()
}
