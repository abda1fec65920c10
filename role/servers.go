package role

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"log/slog"
	"net"
	"os"
	"slices"
	"strconv"
	"sync"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/client/remote"
	"github.com/lighter-k8s/lighter/pki"
)

// servers are the API servers that a node knows: those that the Service "kubernetes" leads to, kept on disk for a start
// while the one that it joined is away.
type servers struct {
	path  string // of the file
	first string // host:port that the user gave; it stays known, since it may be a load balancer's

	mu   sync.Mutex
	ways []*remote.Servers
}

// load is what is known at the start: the user's own first.
func (s *servers) load() []string {
	out := []string{s.first}
	data, err := os.ReadFile(s.path)
	var more []string
	if err != nil || json.Unmarshal(data, &more) != nil {
		return out // it is learned again
	}
	for _, a := range more {
		if !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	return out
}

// way is a transport to them that learns of changes.
func (s *servers) way(c *tls.Config) *remote.Servers {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := remote.NewServers(c, s.load()...)
	s.ways = append(s.ways, w)
	return w
}

// follow learns of changes until ctx ends.
func (s *servers) follow(ctx context.Context, c client.Client, log *slog.Logger) {
	slices := client.EndpointSlices.View(ctx, c, client.Selection{Namespace: metav1.NamespaceDefault, Fields: "metadata.name=" + apiService})
	slices.Subscribe(ctx, func(_, now *discoveryv1.EndpointSlice) {
		if now == nil || len(now.Endpoints) == 0 || len(now.Ports) == 0 || now.Ports[0].Port == nil {
			return // nobody serves who could have said so: this is about to change
		}
		s.learn(now, log)
	})
}

func (s *servers) learn(now *discoveryv1.EndpointSlice, log *slog.Logger) {
	var out []string
	for _, e := range now.Endpoints {
		for _, a := range e.Addresses {
			out = append(out, net.JoinHostPort(a, strconv.Itoa(int(*now.Ports[0].Port))))
		}
	}
	if !slices.Contains(out, s.first) {
		if len(out) == 1 {
			out = nil // one server, by the name that the user has for it
		}
		out = append(out, s.first)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.Equal(out, s.load()) {
		return
	}
	data, err := json.Marshal(out)
	if err == nil {
		err = pki.WriteFile(s.path, data, 0o600)
	}
	if err != nil {
		log.Warn("the servers were not noted", "object", s.path, "err", err)
	}
	log.Info("servers of the cluster", "object", out)
	for _, w := range s.ways {
		w.Set(out...)
	}
}
