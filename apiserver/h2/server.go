// Package h2 is the server's side of HTTP/2 (RFC 9113) over TLS, for an http.Server that keeps accepting, the handshake
// and HTTP/1.1: Configure gives it the connections that speak "h2". It exists because what a connection writes for
// many streams must cost little: whoever has something to say appends its frames to what is pending on the
// connection, and one of them writes all of it at once, in full TLS records and one system call. No frame goes from one
// goroutine to another. role plugs it in; handlers see nothing but net/http's interfaces, and Stream.
package h2

import (
	"crypto/tls"
	"log"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// What a connection announces and holds its peer to.
const (
	frameSize    = 16 << 10 // of DATA that is sent, and the longest frame that is read: both are the protocol's default
	streamWindow = 512 << 10
	connWindow   = 1 << 20
	tableSize    = 4 << 10 // of HPACK, in both directions
	prefaceWait  = 10 * time.Second
)

// Stream is what a response of HTTP/2 can do beyond http.ResponseWriter. Reach it through Unwrap.
type Stream interface {
	// WriteFlush writes and flushes in one step. Like Write it waits while the client does not read.
	WriteFlush(p []byte) error
}

// Server serves the connections of one http.Server.
type Server struct {
	web        *http.Server
	streams    int // at once on a connection
	headerList int // bytes of a request's header fields
	workers    workers
	guard      guard
	held       atomic.Int64 // bytes of buffers that wait to be written, of all connections
	date       atomic.Pointer[date]

	mu     sync.Mutex
	conns  map[*conn]struct{}
	ending bool
}

// Configure makes web serve HTTP/2 with this package. It is called once, before web serves, and reads web's HTTP2 and
// IdleTimeout, MaxHeaderBytes and ErrorLog. web.Shutdown lets the connections end what runs, web.Close ends them at once.
func Configure(web *http.Server) *Server {
	s := &Server{web: web, streams: 250, headerList: http.DefaultMaxHeaderBytes, conns: map[*conn]struct{}{}}
	if web.HTTP2 != nil && web.HTTP2.MaxConcurrentStreams > 0 {
		s.streams = web.HTTP2.MaxConcurrentStreams
	}
	if web.MaxHeaderBytes > 0 {
		s.headerList = web.MaxHeaderBytes
	}
	if web.TLSConfig == nil {
		web.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	web.TLSConfig.NextProtos = []string{"h2", "http/1.1"}
	web.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){"h2": s.serve}
	web.RegisterOnShutdown(s.shutdown)
	return s
}

// serve runs one connection until it ends.
func (s *Server) serve(_ *http.Server, t *tls.Conn, h http.Handler) {
	c := newConn(s, t, h)
	s.mu.Lock()
	s.conns[c] = struct{}{}
	ending := s.ending
	s.mu.Unlock()
	if ending {
		c.leave()
	}
	c.serve()
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
}

// shutdown tells all peers to begin nothing more.
func (s *Server) shutdown() {
	s.mu.Lock()
	s.ending = true
	all := make([]*conn, 0, len(s.conns))
	for c := range s.conns {
		all = append(all, c)
	}
	s.mu.Unlock()
	for _, c := range all {
		c.leave()
	}
	s.workers.end()
}

func (s *Server) log(format string, args ...any) {
	if s.web.ErrorLog != nil {
		s.web.ErrorLog.Printf(format, args...)
		return
	}
	log.Printf(format, args...)
}

// date is the Date header of one second.
type date struct {
	second int64
	text   string
}

func (s *Server) now() string {
	now := time.Now()
	d := s.date.Load()
	if d == nil || d.second != now.Unix() {
		d = &date{now.Unix(), now.UTC().Format(http.TimeFormat)}
		s.date.Store(d)
	}
	return d.text
}
