package server

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/websocket"
	"k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/portforward"
	remote "k8s.io/apimachinery/pkg/util/remotecommand"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
	utilexec "k8s.io/client-go/util/exec"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/streaming/pkg/httpstream/wsstream"
)

// streams are which of a process's streams a client wants.
type streams struct{ in, out, err, tty bool }

func wanted(r *http.Request) (streams, error) {
	q := r.URL.Query()
	on := func(names ...string) bool {
		for _, n := range names {
			if v := q.Get(n); v == "1" || v == "true" {
				return true
			}
		}
		return false
	}
	s := streams{on("input", "stdin"), on("output", "stdout"), on("error", "stderr"), on("tty")}
	if s.tty && s.err {
		s.err = false // a terminal has one output
	}
	if !s.in && !s.out && !s.err {
		return s, &Error{http.StatusBadRequest, "you must specify at least 1 of stdin, stdout, stderr"}
	}
	return s, nil
}

func (s *Server) exec(w http.ResponseWriter, r *http.Request) error {
	want, err := wanted(r)
	if err != nil {
		return err
	}
	c, err := s.Pods.Container(r.PathValue("namespace"), r.PathValue("pod"), r.PathValue("uid"), r.PathValue("container"), false)
	if err != nil {
		return err
	}
	resp, err := s.Runtime.Exec(r.Context(), &runtimev1.ExecRequest{ContainerId: c.ID, Cmd: r.URL.Query()["command"], Stdin: want.in, Stdout: want.out, Stderr: want.err, Tty: want.tty})
	if err != nil {
		return err
	}
	return s.stream(w, r, resp.Url, want)
}

func (s *Server) attach(w http.ResponseWriter, r *http.Request) error {
	want, err := wanted(r)
	if err != nil {
		return err
	}
	c, err := s.Pods.Container(r.PathValue("namespace"), r.PathValue("pod"), r.PathValue("uid"), r.PathValue("container"), false)
	if err != nil {
		return err
	}
	resp, err := s.Runtime.Attach(r.Context(), &runtimev1.AttachRequest{ContainerId: c.ID, Stdin: want.in, Stdout: want.out, Stderr: want.err, Tty: want.tty})
	if err != nil {
		return err
	}
	return s.stream(w, r, resp.Url, want)
}

// stream joins a client to the runtime's streaming server, which speaks SPDY: as it is for a client that
// does too, else translated.
func (s *Server) stream(w http.ResponseWriter, r *http.Request, to string, want streams) error {
	u, err := url.Parse(to)
	if err != nil {
		return err
	}
	if !wsstream.IsWebSocketRequest(r) {
		return splice(w, r, u)
	}
	none, in, out := wsstream.IgnoreChannel, wsstream.ReadChannel, wsstream.WriteChannel
	pick := func(on bool, t wsstream.ChannelType) wsstream.ChannelType {
		if on {
			return t
		}
		return none
	}
	channels := []wsstream.ChannelType{remote.StreamStdIn: pick(want.in, in), remote.StreamStdOut: pick(want.out, out),
		remote.StreamStdErr: pick(want.err, out), remote.StreamErr: out, remote.StreamResize: in}
	protocols := map[string]wsstream.ChannelProtocolConfig{}
	for _, name := range []string{"", remote.StreamProtocolV1Name, remote.StreamProtocolV4Name, remote.StreamProtocolV5Name} {
		protocols[name] = wsstream.ChannelProtocolConfig{Binary: true, Channels: channels}
	}
	for _, name := range []string{"base64." + remote.StreamProtocolV1Name, "v4.base64." + remote.StreamProtocolV1Name} {
		protocols[name] = wsstream.ChannelProtocolConfig{Binary: false, Channels: channels}
	}
	conn := wsstream.NewConn(protocols)
	conn.SetIdleTimeout(4 * time.Hour)
	protocol, ch, err := conn.Open(w, r)
	if err != nil {
		s.Log.Debug("websocket", "err", err)
		return nil // it has been answered
	}
	defer conn.Close()
	o := remotecommand.StreamOptions{Tty: want.tty}
	if want.in {
		o.Stdin = ch[remote.StreamStdIn]
	}
	if want.out {
		o.Stdout = ch[remote.StreamStdOut]
	}
	if want.err {
		o.Stderr = ch[remote.StreamStdErr]
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	if want.tty {
		o.TerminalSizeQueue = sizes(ctx, ch[remote.StreamResize])
	}
	executor, err := remotecommand.NewSPDYExecutor(&rest.Config{Host: u.Host}, http.MethodPost, u)
	if err == nil {
		err = executor.StreamWithContext(ctx, o)
	}
	_, werr := ch[remote.StreamErr].Write(verdict(protocol, err))
	if werr != nil {
		s.Log.Debug("websocket", "err", werr)
	}
	return nil
}

// verdict is how a command ended, as the protocol says it.
func verdict(protocol string, err error) []byte {
	if protocol == "" || strings.HasSuffix(protocol, remote.StreamProtocolV1Name) && !strings.HasPrefix(protocol, "v") {
		if err == nil {
			return []byte{}
		}
		return []byte(err.Error())
	}
	status := v1.Status{Status: v1.StatusSuccess}
	if err != nil {
		status = v1.Status{Status: v1.StatusFailure, Message: err.Error(), Reason: v1.StatusReasonInternalError, Code: http.StatusInternalServerError,
			Details: &v1.StatusDetails{Causes: []v1.StatusCause{{Message: err.Error()}}}}
		var e utilexec.CodeExitError
		if errors.As(err, &e) {
			status = v1.Status{Status: v1.StatusFailure, Reason: remote.NonZeroExitCodeReason,
				Message: fmt.Sprintf("command terminated with non-zero exit code: %v", err),
				Details: &v1.StatusDetails{Causes: []v1.StatusCause{{Type: remote.ExitCodeCauseType, Message: strconv.Itoa(e.Code)}}}}
		}
	}
	data, _ := json.Marshal(status)
	return data
}

// sizeQueue hands on the client's terminal sizes, which it sends as JSON.
type sizeQueue chan remotecommand.TerminalSize

func (q sizeQueue) Next() *remotecommand.TerminalSize {
	size, ok := <-q
	if !ok {
		return nil
	}
	return &size
}

func sizes(ctx context.Context, r io.Reader) sizeQueue {
	q := make(sizeQueue)
	go func() {
		defer close(q)
		for d := json.NewDecoder(r); ; {
			var size remotecommand.TerminalSize
			if d.Decode(&size) != nil {
				return
			}
			select {
			case q <- size:
			case <-ctx.Done():
				return
			}
		}
	}()
	return q
}

func (s *Server) portForward(w http.ResponseWriter, r *http.Request) error {
	id, err := s.Pods.Sandbox(r.PathValue("namespace"), r.PathValue("pod"), r.PathValue("uid"))
	if err != nil {
		return err
	}
	resp, err := s.Runtime.PortForward(r.Context(), &runtimev1.PortForwardRequest{PodSandboxId: id})
	if err != nil {
		return err
	}
	u, err := url.Parse(resp.Url)
	if err != nil {
		return err
	}
	if !wsstream.IsWebSocketRequest(r) {
		return splice(w, r, u)
	}
	if !wsstream.IsWebSocketRequestWithTunnelingProtocol(r) {
		return s.portsToSocket(w, r, u)
	}
	// The client speaks SPDY inside WebSocket messages: take it out, and it is what the runtime speaks.
	to, reader, head, err := upgrade(r.Context(), u, http.MethodPost, http.Header{
		"X-Stream-Protocol-Version": {portforward.PortForwardV1Name}})
	if err != nil {
		return err
	}
	defer to.Close()
	if head.StatusCode != http.StatusSwitchingProtocols {
		return &Error{http.StatusInternalServerError, "the runtime refuses to forward ports: " + head.Status}
	}
	websocket.Server{
		Handshake: func(c *websocket.Config, r *http.Request) error {
			c.Protocol = []string{portforward.WebsocketsSPDYTunnelingPortForwardV1}
			return nil
		},
		Handler: func(ws *websocket.Conn) {
			ws.PayloadType = websocket.BinaryFrame
			both(ws, to, reader)
		},
	}.ServeHTTP(w, r)
	return nil
}

// upgrade asks the runtime for an SPDY connection. reader holds what came after the answer's head.
func upgrade(ctx context.Context, u *url.URL, method string, h http.Header) (net.Conn, *bufio.Reader, *http.Response, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", u.Host)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("connect to the runtime's streaming server: %w", err)
	}
	req := (&http.Request{Method: method, URL: u, Host: u.Host, Header: h, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}).WithContext(ctx)
	h.Set("Connection", "Upgrade")
	h.Set("Upgrade", "SPDY/3.1")
	if err := req.Write(conn); err != nil {
		conn.Close()
		return nil, nil, nil, fmt.Errorf("ask the runtime's streaming server: %w", err)
	}
	reader := bufio.NewReader(conn)
	resp, err := http.ReadResponse(reader, req)
	if err != nil {
		conn.Close()
		return nil, nil, nil, fmt.Errorf("ask the runtime's streaming server: %w", err)
	}
	return conn, reader, resp, nil
}

// splice hands the client's upgrade on to the runtime and then joins the two connections.
func splice(w http.ResponseWriter, r *http.Request, u *url.URL) error {
	if !strings.EqualFold(r.Header.Get("Upgrade"), "SPDY/3.1") {
		return &Error{http.StatusBadRequest, "Upgrade request required"}
	}
	h := http.Header{}
	for k, v := range r.Header {
		if k == "X-Stream-Protocol-Version" { // credentials stay here
			h[k] = v
		}
	}
	to, reader, resp, err := upgrade(r.Context(), u, r.Method, h)
	if err != nil {
		return err
	}
	defer to.Close()
	if resp.StatusCode != http.StatusSwitchingProtocols {
		body, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
		return &Error{resp.StatusCode, strings.TrimSpace(string(body))}
	}
	client, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return err
	}
	defer client.Close()
	_ = client.SetDeadline(time.Time{})
	var head bytes.Buffer
	head.WriteString("HTTP/1.1 101 Switching Protocols\r\n")
	_ = resp.Header.Write(&head)
	head.WriteString("\r\n")
	if _, err := client.Write(head.Bytes()); err != nil {
		return nil // the client has gone
	}
	both(struct {
		io.Reader
		io.WriteCloser
	}{buffered, client}, to, reader)
	return nil
}

// both copies in both directions until each is over; the end of one ends the other.
func both(client io.ReadWriteCloser, to net.Conn, reader io.Reader) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(to, client)
		to.Close()
	}()
	_, _ = io.Copy(client, reader)
	client.Close()
	to.Close()
	<-done
}

func (s *Server) containerLogs(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	o := LogOptions{Follow: flag(q.Get("follow")), Timestamps: flag(q.Get("timestamps")), Previous: flag(q.Get("previous")), Streams: q.Get("stream")}
	for name, to := range map[string]**int64{"tailLines": &o.Tail, "limitBytes": &o.LimitBytes} {
		if v := q.Get(name); v != "" {
			n, err := strconv.ParseInt(v, 10, 64)
			if err != nil || n < 0 {
				return &Error{http.StatusBadRequest, fmt.Sprintf("invalid %s: %q", name, v)}
			}
			*to = &n
		}
	}
	if q.Get("tailLines") == "all" {
		o.Tail = nil
	}
	if v := q.Get("sinceTime"); v != "" {
		at, err := time.Parse(time.RFC3339, v)
		if err != nil {
			return &Error{http.StatusBadRequest, "invalid sinceTime: " + v}
		}
		o.Since = at
	} else if v := q.Get("sinceSeconds"); v != "" {
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil || n < 1 {
			return &Error{http.StatusBadRequest, "invalid sinceSeconds: " + v}
		}
		o.Since = time.Now().Add(-time.Duration(n) * time.Second)
	}
	if o.Streams == "All" {
		o.Streams = ""
	}
	c, err := s.Pods.Container(r.PathValue("namespace"), r.PathValue("pod"), "", r.PathValue("container"), o.Previous)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/plain")
	out := &flusher{w: w}
	if o.Follow {
		w.WriteHeader(http.StatusOK)
		out.Flush()
	}
	err = CopyLog(r.Context(), c.LogPath, o, c.Ended, out, out)
	if err != nil && out.n == 0 && !o.Follow {
		return fmt.Errorf("failed to read the log of container %q: %w", r.PathValue("container"), err)
	}
	return nil
}

func flag(v string) bool { return v == "true" || v == "1" }

// flusher counts what it writes and can send on what is buffered.
type flusher struct {
	w http.ResponseWriter
	n int64
}

func (f *flusher) Write(p []byte) (int, error) {
	n, err := f.w.Write(p)
	f.n += int64(n)
	return n, err
}

func (f *flusher) Flush() { _ = http.NewResponseController(f.w).Flush() }
