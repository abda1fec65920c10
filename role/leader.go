package role

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/client/election"
	"github.com/lighter-k8s/lighter/pki"
)

// The Leases by which one process leads, named as Kubernetes' own components name theirs: they and ours exclude each other.
const (
	schedulerLease   = "kube-scheduler"
	controllersLease = "kube-controller-manager"
	cloudLease       = "cloud-controller-manager"
)

// several reports whether other servers may share the store. Only then is there an election, a registration, a lameduck:
// a single server has none of their cost. Beside a single server, components of Kubernetes' own run with --disable.
func (s *Server) several() bool { return s.Config.Server.Store == "etcd" || s.member != nil }

// fence makes a client that writes while this process leads.
type fence func(client.Client) client.Client

// free is the fence of who need not be elected.
func free(c client.Client) client.Client { return c }

// elected runs parts while this server leads them: a group at a time, each with the fence of its term.
func (s *Server) elected(ctx context.Context, lease, user string, parts func(context.Context, *errgroup.Group, fence)) error {
	if !s.several() {
		g, ctx := errgroup.WithContext(ctx)
		parts(ctx, g, free)
		return g.Wait()
	}
	var groups []string
	if user == "system:apiserver" {
		groups = []string{pki.MastersGroup}
	}
	c := &election.Candidate{Client: s.Client(user, groups...), Name: lease, Identity: s.identity, Log: s.Log.With("part", "election")}
	return c.Run(ctx, func(ctx context.Context, t *election.Term) error { return term(ctx, t, parts) })
}

// term runs parts until the term ends.
func term(ctx context.Context, t *election.Term, parts func(context.Context, *errgroup.Group, fence)) error {
	g, ctx := errgroup.WithContext(ctx)
	parts(ctx, g, t.Client)
	return g.Wait()
}

// electedAlone is elected for a part that runs alone, beside whoever else wants to lead.
func electedAlone(ctx context.Context, c client.Client, lease string, log *slog.Logger, parts func(context.Context, *errgroup.Group, fence)) error {
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	one := &election.Candidate{Client: c, Name: lease, Identity: host + "_" + uuid.NewString(), Log: log.With("part", "election")}
	return one.Run(ctx, func(ctx context.Context, t *election.Term) error { return term(ctx, t, parts) })
}

// openIdentity is this server's name among all, the same at each start: who comes back leads at once what it led.
func openIdentity(dir, name string) (string, error) {
	path := filepath.Join(dir, "identity")
	data, err := os.ReadFile(path)
	if err == nil && len(data) > 0 {
		return strings.TrimSpace(string(data)), nil
	}
	if err != nil && !os.IsNotExist(err) {
		return "", fmt.Errorf("read this server's identity: %w", err)
	}
	id := name + "_" + uuid.NewString()
	return id, pki.WriteFile(path, []byte(id+"\n"), 0o600)
}
