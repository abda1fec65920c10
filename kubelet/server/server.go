// Package server is the kubelet's own HTTP API: logs, exec, attach and port-forward of its containers, its
// pods, health, statistics and metrics. The API server calls it on behalf of users. Each path is mapped to
// a subresource of the node, and whoever asks must be allowed that.
package server

import (
	"context"
	"encoding/json"
	"errors"
	"log"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// User is who asks.
type User struct {
	Name   string
	UID    string
	Groups []string
	Extra  map[string][]string
}

// Attributes is what is asked, in the words of a SubjectAccessReview: a verb on a subresource of the node.
type Attributes struct {
	Verb        string // get, create, update, patch, delete
	Node        string
	Subresource string // proxy, stats, log, metrics, pods, healthz, configz
	Path        string
}

// Pods tells the server about the node's pods. Errors are *Error or say that the runtime failed.
type Pods interface {
	// Pods lists the pods with their newest status.
	Pods() []*corev1.Pod
	// Container finds a container; previous asks for the one before. uid may be "".
	Container(namespace, pod, uid, container string, previous bool) (Container, error)
	// Sandbox finds the runtime's ID of the pod's sandbox.
	Sandbox(namespace, pod, uid string) (string, error)
}

// Container is one container of a pod.
type Container struct {
	ID, LogPath string
	Ended       func() bool // tells whether it will write no more
}

// Error is an answer other than success.
type Error struct {
	Code    int
	Message string
}

func (e *Error) Error() string { return e.Message }

// Server answers for one node. All fields must be set.
type Server struct {
	Node         string
	Pods         Pods
	Runtime      runtimev1.RuntimeServiceClient
	Authenticate func(*http.Request) (User, error)
	Authorize    func(ctx context.Context, u User, a Attributes) error
	Summary      func(ctx context.Context) (any, error)                 // /stats/summary
	Metrics      func(ctx context.Context, kind string) ([]byte, error) // /metrics ("") and /metrics/<kind>
	Healthy      func() error
	Log          *slog.Logger
}

// Serve answers on the listener (TLS already applied) until ctx ends, then ends all connections.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	srv := &http.Server{Handler: s.Handler(), ReadHeaderTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute,
		BaseContext: func(net.Listener) context.Context { return ctx }, ErrorLog: log.New(quiet{s.Log}, "", 0)}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	err := srv.Close()
	<-done
	return err
}

type quiet struct{ log *slog.Logger }

func (q quiet) Write(p []byte) (int, error) {
	q.log.Debug("kubelet server", "err", strings.TrimSpace(string(p)))
	return len(p), nil
}

// Handler is the API behind authentication and authorization.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, f func(http.ResponseWriter, *http.Request) error) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if err := f(w, r); err != nil {
				var e *Error
				if !errors.As(err, &e) {
					e = &Error{http.StatusInternalServerError, err.Error()}
				}
				http.Error(w, e.Message, e.Code)
			}
		})
	}
	handle("GET /healthz", s.healthz)
	handle("GET /healthz/{check}", s.healthz)
	handle("GET /pods", s.pods)
	handle("GET /runningpods/", s.pods)
	handle("GET /stats/summary", s.summary)
	handle("GET /metrics", s.metrics)
	handle("GET /metrics/{kind}", s.metrics)
	handle("GET /containerLogs/{namespace}/{pod}/{container}", s.containerLogs)
	for _, method := range []string{"GET ", "POST "} {
		handle(method+"/exec/{namespace}/{pod}/{container}", s.exec)
		handle(method+"/exec/{namespace}/{pod}/{uid}/{container}", s.exec)
		handle(method+"/attach/{namespace}/{pod}/{container}", s.attach)
		handle(method+"/attach/{namespace}/{pod}/{uid}/{container}", s.attach)
		handle(method+"/portForward/{namespace}/{pod}", s.portForward)
		handle(method+"/portForward/{namespace}/{pod}/{uid}", s.portForward)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, err := s.Authenticate(r)
		if err != nil {
			http.Error(w, "Unauthorized", http.StatusUnauthorized)
			return
		}
		for _, a := range attributes(s.Node, r) {
			if err = s.Authorize(r.Context(), user, a); err == nil {
				mux.ServeHTTP(w, r)
				return
			}
		}
		http.Error(w, "Forbidden ("+err.Error()+")", http.StatusForbidden)
	})
}

// attributes are the rights of which one suffices for the request. A command in a container is never a mere
// get, whatever the method: WebSocket clients can send no other. Source: "Kubelet authentication/authorization".
func attributes(node string, r *http.Request) []Attributes {
	a := Attributes{Node: node, Path: r.URL.Path, Subresource: "proxy", Verb: map[string]string{http.MethodPost: "create",
		http.MethodPut: "update", http.MethodPatch: "patch", http.MethodDelete: "delete"}[r.Method]}
	if a.Verb == "" {
		a.Verb = "get"
	}
	under := func(p string) bool { return r.URL.Path == p || strings.HasPrefix(r.URL.Path, p+"/") }
	switch {
	case under("/exec"), under("/attach"), under("/portForward"), under("/run"):
		a.Verb = "create"
	case under("/stats"):
		a.Subresource = "stats"
	case under("/metrics"):
		a.Subresource = "metrics"
	case under("/logs"):
		a.Subresource = "log"
	case under("/pods"), under("/runningpods"), under("/healthz"), under("/configz"):
		fine := a
		fine.Subresource = strings.Split(r.URL.Path, "/")[1]
		if fine.Subresource == "runningpods" {
			fine.Subresource = "pods"
		}
		return []Attributes{fine, a}
	}
	return []Attributes{a}
}

func (s *Server) healthz(w http.ResponseWriter, r *http.Request) error {
	if err := s.Healthy(); err != nil {
		return &Error{http.StatusInternalServerError, err.Error()}
	}
	_, err := w.Write([]byte("ok"))
	return err
}

func (s *Server) pods(w http.ResponseWriter, r *http.Request) error {
	list := corev1.PodList{TypeMeta: v1.TypeMeta{Kind: "PodList", APIVersion: "v1"}, Items: []corev1.Pod{}}
	for _, p := range s.Pods.Pods() {
		list.Items = append(list.Items, *p)
	}
	return answer(w, &list)
}

func answer(w http.ResponseWriter, v any) error {
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(v)
}

func (s *Server) summary(w http.ResponseWriter, r *http.Request) error {
	v, err := s.Summary(r.Context())
	if err != nil {
		return err
	}
	return answer(w, v)
}

func (s *Server) metrics(w http.ResponseWriter, r *http.Request) error {
	text, err := s.Metrics(r.Context(), r.PathValue("kind"))
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	_, err = w.Write(text)
	return err
}
