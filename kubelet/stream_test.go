package kubelet

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/websocket"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	utilexec "k8s.io/client-go/util/exec"

	"github.com/lighter-k8s/lighter/kubelet/server"
)

// TestRealStreams talks to containers through the kubelet's server with the clients that kubectl uses.
func TestRealStreams(t *testing.T) {
	m := newMachine(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ts := httptest.NewUnstartedServer(nil) // for its certificate
	ts.StartTLS()
	defer ts.Close()
	m.config.Listener, m.config.TLS = l, &tls.Config{Certificates: ts.TLS.Certificates}
	m.config.Authenticate = func(r *http.Request) (server.User, error) {
		if r.Header.Get("Authorization") != "Bearer good" {
			return server.User{}, errors.New("who?")
		}
		return server.User{Name: "admin"}, nil
	}
	m.config.Authorize = func(_ context.Context, u server.User, a server.Attributes) error {
		if a.Subresource == "metrics" {
			return errors.New("not that")
		}
		return nil
	}
	m.begin()
	pod := toolPod("s", "wait")
	pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: "upper", Image: "tool:1", Args: []string{"upper"}, Stdin: true},
		corev1.Container{Name: "echo", Image: "tool:1", Args: []string{"echo", "7777"}}, corev1.Container{Name: "count", Image: "tool:1", Args: []string{"count", "5", "100ms"}})
	m.create(pod)
	m.wait("s", "running", func(p *corev1.Pod) bool {
		s := p.Status.ContainerStatuses
		return len(s) == 4 && s[0].State.Running != nil && s[1].State.Running != nil && s[2].State.Running != nil && s[3].State.Waiting == nil
	})
	base := "https://" + l.Addr().String()
	cfg := &rest.Config{Host: base, BearerToken: "good", TLSClientConfig: rest.TLSClientConfig{Insecure: true}}

	executors := map[string]func(u *url.URL) (remotecommand.Executor, error){
		"websocket": func(u *url.URL) (remotecommand.Executor, error) {
			return remotecommand.NewWebSocketExecutor(cfg, "GET", u.String())
		},
		"websocket v4": func(u *url.URL) (remotecommand.Executor, error) {
			return remotecommand.NewWebSocketExecutorForProtocols(cfg, "GET", u.String(), "v4.channel.k8s.io")
		},
		"spdy": func(u *url.URL) (remotecommand.Executor, error) { return remotecommand.NewSPDYExecutor(cfg, "POST", u) },
	}
	for name, executor := range executors {
		t.Run("exec over "+name, func(t *testing.T) {
			stdin := "one\nerr\ntwo\nseven\n"
			u, _ := url.Parse(base + "/exec/default/s/main?command=/tool&command=upper&input=1&output=1&error=1")
			e, err := executor(u)
			if err != nil {
				t.Fatal(err)
			}
			var out, errs bytes.Buffer
			err = e.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdin: strings.NewReader(stdin), Stdout: &out, Stderr: &errs})
			var code utilexec.CodeExitError
			if !errors.As(err, &code) || code.Code != 7 || out.String() != "ONE\nTWO\n" || errs.String() != "ERR\n" {
				t.Errorf("%v, %q, %q", err, out.String(), errs.String())
			}
		})
	}
	t.Run("the end of stdin reaches the command", func(t *testing.T) {
		for _, name := range []string{"websocket", "spdy"} { // v4 over WebSocket cannot say it
			u, _ := url.Parse(base + "/exec/default/s/main?command=/tool&command=upper&input=1&output=1")
			e, err := executors[name](u)
			if err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			err = e.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdin: strings.NewReader("a\n"), Stdout: &out})
			if err != nil || out.String() != "A\n" {
				t.Errorf("%s: %v, %q", name, err, out.String())
			}
		}
	})
	t.Run("a terminal has a size", func(t *testing.T) {
		u, _ := url.Parse(base + "/exec/default/s/main?command=/tool&command=size&output=1&input=1&tty=1")
		e, err := executors["websocket"](u)
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		q := make(sizes, 1)
		q <- remotecommand.TerminalSize{Width: 123, Height: 45}
		in, stop := io.Pipe()
		defer stop.Close()
		err = e.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdin: in, Stdout: &out, Tty: true, TerminalSizeQueue: q})
		if err != nil || !strings.Contains(out.String(), "123x45") {
			t.Errorf("%v, %q", err, out.String())
		}
	})
	t.Run("attach", func(t *testing.T) {
		for name, executor := range executors {
			u, _ := url.Parse(base + "/attach/default/s/upper?input=1&output=1")
			e, err := executor(u)
			if err != nil {
				t.Fatal(err)
			}
			in, w := io.Pipe()
			out := &until{want: "HELLO\n", done: make(chan struct{})}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- e.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: in, Stdout: out}) }()
			fmt.Fprintln(w, "hello") // containerd may take it before it is ready to show an answer
			again := time.AfterFunc(time.Second, func() { fmt.Fprintln(w, "hello") })
			defer again.Stop()
			select {
			case <-out.done:
			case <-time.After(20 * time.Second):
				t.Errorf("%s: no answer", name)
			}
			cancel()
			w.Close()
			<-done
		}
	})
	t.Run("port forward", func(t *testing.T) {
		u, _ := url.Parse(base + "/portForward/default/s")
		rt, up, err := spdy.RoundTripperFor(cfg)
		if err != nil {
			t.Fatal(err)
		}
		overWebSocket, err := portforward.NewSPDYOverWebsocketDialer(u, cfg)
		if err != nil {
			t.Fatal(err)
		}
		for name, dialer := range map[string]httpstream.Dialer{"spdy": spdy.NewDialer(up, &http.Client{Transport: rt}, "POST", u), "websocket": overWebSocket} {
			stop, ready := make(chan struct{}), make(chan struct{})
			pf, err := portforward.New(dialer, []string{"0:7777"}, stop, ready, io.Discard, io.Discard)
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan error, 1)
			go func() { done <- pf.ForwardPorts() }()
			select {
			case <-ready:
			case err := <-done:
				t.Fatalf("%s: %v", name, err)
			}
			ports, _ := pf.GetPorts()
			c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", ports[0].Local))
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprint(c, "ping")
			_ = c.(*net.TCPConn).CloseWrite()
			if got, err := io.ReadAll(c); string(got) != "ping" {
				t.Errorf("%s: %q, %v", name, got, err)
			}
			c.Close()
			close(stop)
			<-done
		}
	})
	t.Run("ports over the channels of a WebSocket", func(t *testing.T) {
		c, err := websocket.NewConfig(strings.Replace(base, "https", "wss", 1)+"/portForward/default/s?ports=7777&ports=7776", base)
		if err != nil {
			t.Fatal(err)
		}
		c.TlsConfig, c.Protocol = &tls.Config{InsecureSkipVerify: true}, []string{"v4.channel.k8s.io"}
		c.Header.Set("Authorization", "Bearer good")
		ws, err := websocket.DialConfig(c)
		if err != nil {
			t.Fatal(err)
		}
		defer ws.Close()
		_ = ws.SetDeadline(time.Now().Add(20 * time.Second))
		var got [4]string
		receive := func() {
			var b []byte
			if err := websocket.Message.Receive(ws, &b); err != nil || len(b) == 0 || b[0] > 3 {
				t.Fatalf("%q, %v", b, err)
			}
			got[b[0]] += string(b[1:])
		}
		for range 4 {
			receive()
		}
		if want := [4]string{"\x61\x1e", "\x61\x1e", "\x60\x1e", "\x60\x1e"}; got != want {
			t.Fatalf("the ports' names: %q", got)
		}
		_ = websocket.Message.Send(ws, []byte("\x00ping"))
		for !strings.HasSuffix(got[0], "ping") || len(got[3]) == 2 {
			receive()
		}
		if !strings.Contains(got[3], "7776") || len(got[1]) != 2 {
			t.Errorf("nobody listens on 7776, but %q", got)
		}
	})
	get := func(path, token string) (int, string) {
		req, _ := http.NewRequest("GET", base+path, nil)
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := (&http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(body)
	}
	t.Run("plain requests", func(t *testing.T) {
		tests := map[string]struct {
			path, token string
			code        int
			body        string
		}{
			"a followed log ends with its container": {"/containerLogs/default/s/count?follow=true", "good", 200, "0\n1\n2\n3\n4\n"},
			"the last lines":                         {"/containerLogs/default/s/count?tailLines=2", "good", 200, "3\n4\n"},
			"some bytes":                             {"/containerLogs/default/s/count?limitBytes=3", "good", 200, "0\n1"},
			"no pod":                                 {"/containerLogs/default/none/count", "good", 404, "pod \"none\" not found\n"},
			"no container":                           {"/containerLogs/default/s/none", "good", 400, "container \"none\" in pod \"s\" is not available\n"},
			"none before":                            {"/containerLogs/default/s/main?previous=true", "good", 400, "previous terminated container \"main\" in pod \"s\" not found\n"},
			"health":                                 {"/healthz", "good", 200, "ok"},
			"a stranger":                             {"/pods", "bad", 401, "Unauthorized\n"},
			"without the right":                      {"/metrics/resource", "good", 403, "Forbidden (not that)\n"},
			"exec without an upgrade":                {"/exec/default/s/main?command=x&output=1", "good", 400, "Upgrade request required\n"},
		}
		for name, tt := range tests {
			if code, body := get(tt.path, tt.token); code != tt.code || body != tt.body {
				t.Errorf("%s: got %d %q, want %d %q", name, code, body, tt.code, tt.body)
			}
		}
	})
	if code, body := get("/pods", "good"); code != 200 || !strings.Contains(body, `"name":"s"`) {
		t.Errorf("pods: %d %s", code, body)
	}
	if code, body := get("/stats/summary", "good"); code != 200 || !strings.Contains(body, `"name":"upper"`) {
		t.Errorf("summary: %d %s", code, body)
	}
}

// until is closed when it has been written what it waits for.
type until struct {
	got  bytes.Buffer // not embedded: it must not be read into past Write
	want string
	done chan struct{}
}

func (u *until) Write(p []byte) (int, error) {
	n, _ := u.got.Write(p)
	if strings.Contains(u.got.String(), u.want) {
		select {
		case <-u.done:
		default:
			close(u.done)
		}
	}
	return n, nil
}

type sizes chan remotecommand.TerminalSize

func (s sizes) Next() *remotecommand.TerminalSize {
	size, ok := <-s
	if !ok {
		return nil
	}
	return &size
}
