package role

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"time"

	"github.com/lighter-k8s/lighter/config"
	"github.com/lighter-k8s/lighter/store/etcd"
)

// Members are the servers of a cluster, asked and changed from one of them, whether its own process runs or not.
type Members struct {
	*etcd.Members
	Self string // the name of the server whose data directory this is
}

// OpenMembers reaches the members by what a data directory knows.
func OpenMembers(c *config.Config, log *slog.Logger) (*Members, error) {
	m := &member{config: c, log: log, dir: filepath.Join(c.DataDir, "server")}
	if err := m.load(); err != nil {
		return nil, fmt.Errorf("%s is no server with an etcd of its own: that takes 'lighter server --cluster-init' or '--join'", c.DataDir)
	}
	p, err := openPKI(c)
	if err != nil {
		return nil, err
	}
	if _, _, _, err := m.prove(p); err != nil {
		return nil, err
	}
	f := m.known()
	all, err := etcd.NewMembers(etcd.Config{Endpoints: append([]string{f.Client}, f.Others...), TLS: m.tls})
	if err != nil {
		return nil, err
	}
	return &Members{all, f.Name}, nil
}

// State lists the members with what each says of itself.
func (m *Members) State(ctx context.Context) ([]etcd.Member, error) {
	asking, cancel := context.WithTimeout(ctx, 4*time.Second)
	defer cancel()
	all, err := m.List(asking)
	if err != nil {
		return nil, fmt.Errorf("%w: do most servers run, and reach each other? If most are lost for good: 'lighter server --cluster-reset'", err)
	}
	m.Ask(ctx, all, 5*time.Second)
	return all, nil
}

// Drop removes a server by name. Errors: when the rest could not go on, unless forced.
func (m *Members) Drop(ctx context.Context, name string, force bool) error {
	all, err := m.State(ctx)
	if err != nil {
		return err
	}
	n := slices.IndexFunc(all, func(one etcd.Member) bool { return one.Name == name || fmt.Sprintf("%x", one.ID) == name })
	if n < 0 {
		return fmt.Errorf("%s: %w; see 'lighter members list'", name, etcd.ErrNoMember)
	}
	if err := removable(all, n); err != nil && !force {
		return fmt.Errorf("%w; --force removes it nevertheless", err)
	}
	return m.Remove(ctx, all[n].ID)
}

// removable says why a member should not be removed: the others would not be enough to go on.
func removable(all []etcd.Member, n int) error {
	if all[n].Learner {
		return nil // it has no vote
	}
	voters, well := 0, 0
	for i, one := range all {
		if one.Learner || i == n {
			continue
		}
		voters++
		if one.Err == nil {
			well++
		}
	}
	switch {
	case voters == 0:
		return errors.New("it is the only server")
	case well < voters/2+1:
		return fmt.Errorf("without it %d of %d servers would answer, and writes need %d", well, voters, voters/2+1)
	}
	return nil
}

// leave removes this server from its cluster before its data goes, if the others can go on without it.
func leave(ctx context.Context, c *config.Config, log *slog.Logger) error {
	m, err := OpenMembers(c, log)
	if err != nil {
		return nil // it is no member
	}
	defer m.Close()
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	err = m.Drop(ctx, m.Self, false)
	if errors.Is(err, etcd.ErrNoMember) {
		return nil
	}
	return err
}

// APIURL is where others reach the API of the server with this configuration.
func APIURL(c *config.Config) (string, error) {
	host, port, err := net.SplitHostPort(c.Server.Listen)
	if err != nil {
		return "", err
	}
	address, err := (&Server{Config: c}).advertise(host)
	if err != nil {
		return "", err
	}
	return "https://" + net.JoinHostPort(address.String(), port), nil
}
