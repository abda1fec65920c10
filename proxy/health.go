package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/vishvananda/netns"
	"k8s.io/apimachinery/pkg/types"
)

// health answers load balancers that ask whether this node has endpoints of a service: 200 if it has,
// 503 if not, on the service's healthCheckNodePort, as kube-proxy does.
type health struct {
	Config
	mu      sync.Mutex
	want    map[types.NamespacedName]localHealth
	servers map[types.NamespacedName]*healthServer
	serving sync.WaitGroup
}

type healthServer struct {
	port   uint16
	server *http.Server
}

func newHealth(c Config) *health {
	return &health{Config: c, want: map[types.NamespacedName]localHealth{}, servers: map[types.NamespacedName]*healthServer{}}
}

func (h *health) set(key types.NamespacedName, to localHealth) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if to.Port == 0 {
		delete(h.want, key)
	} else {
		h.want[key] = to
	}
}

// listen opens and closes ports so that they are the wanted ones. A port that cannot be had is logged and
// tried again with the next change.
func (h *health) listen() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for key, s := range h.servers {
		if h.want[key].Port != s.port {
			s.server.Close()
			delete(h.servers, key)
		}
	}
	for key, want := range h.want {
		if h.servers[key] != nil {
			continue
		}
		l, err := listenIn(h.NetNS, want.Port)
		if err != nil {
			h.Log.Error("listen for health checks", "object", key.String(), "err", err)
			continue
		}
		s := &http.Server{Handler: h.handler(key), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute}
		h.servers[key] = &healthServer{want.Port, s}
		h.serving.Go(func() {
			if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				h.Log.Error("serve health checks", "object", key.String(), "err", err)
			}
		})
	}
}

func (h *health) handler(key types.NamespacedName) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		h.mu.Lock()
		local := h.want[key].Local
		h.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("X-Load-Balancing-Endpoint-Weight", strconv.Itoa(local))
		if local == 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		fmt.Fprintf(w, "{\n\t\"service\": {\n\t\t\"namespace\": %q,\n\t\t\"name\": %q\n\t},\n\t\"localEndpoints\": %d,\n\t\"serviceProxyHealthy\": true\n}",
			key.Namespace, key.Name, local)
	}
}

func (h *health) close() {
	h.mu.Lock()
	for _, s := range h.servers {
		s.server.Close()
	}
	h.mu.Unlock()
	h.serving.Wait()
}

// listenIn listens on the port in the network namespace (a file descriptor; 0 is the process's own).
func listenIn(ns int, port uint16) (net.Listener, error) {
	address := ":" + strconv.Itoa(int(port))
	if ns == 0 {
		return (&net.ListenConfig{}).Listen(context.Background(), "tcp", address)
	}
	runtime.LockOSThread()
	own, err := netns.Get()
	if err != nil {
		runtime.UnlockOSThread()
		return nil, err
	}
	defer own.Close()
	if err := netns.Set(netns.NsHandle(ns)); err != nil {
		runtime.UnlockOSThread()
		return nil, err
	}
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", address)
	if netns.Set(own) == nil {
		runtime.UnlockOSThread() // a thread that cannot come back is left to end
	}
	return l, err
}
