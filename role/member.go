package role

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lighter-k8s/lighter/config"
	"github.com/lighter-k8s/lighter/pki"
	"github.com/lighter-k8s/lighter/runtime"
	"github.com/lighter-k8s/lighter/store/etcd"
)

// member is this server as one of several: the etcd member that it runs, and what it knows of the others. It runs
// longer than anything else of the server: from before the store is opened until it is closed.
type member struct {
	config *config.Config
	log    *slog.Logger
	dir    string // <data-dir>/server
	etcd   *runtime.Etcd
	tls    *tls.Config // as a client of the members
	certs  []*pki.Rotating
	// authority is that of the members; again has etcd start again.
	authority *pki.Authority
	again     chan struct{}
	engine    *etcd.Store
	changed   func() // called when others come or go

	mu   sync.Mutex
	file memberFile

	end  context.CancelFunc
	done chan struct{} // closed when etcd has ended for good; err says why
	err  error
}

// memberFile is <data-dir>/server/member.json.
type memberFile struct {
	Name    string   `json:"name"`              // the server's address
	Peer    string   `json:"peer"`              // URLs of its member: for the others' members
	Client  string   `json:"client"`            // and for their servers
	ID      uint64   `json:"id,omitempty"`      // once it is a member
	Others  []string `json:"others,omitempty"`  // client URLs of the other members
	Joins   bool     `json:"joins,omitempty"`   // it is not the first one
	Initial string   `json:"initial,omitempty"` // the members when it began, as etcd takes them
	Facts   facts    `json:"facts"`
}

// facts are settings that are the same on all servers.
type facts struct {
	PodCIDR, ServiceCIDR, Domain, NodePorts string
}

func factsOf(c *config.Config) facts {
	return facts{c.Server.PodCIDR, c.Server.ServiceCIDR, c.Server.Domain, c.Server.NodePorts}
}

const memberName = "member.json"

// errRemoved: the other members have agreed that this one is gone for good.
var errRemoved = errors.New("this server was removed from its cluster: join again with 'lighter server --join URL --token TOKEN', which sets its old store aside, or remove what is left of it with 'lighter reset'")

// openMember says whether this server is, or is to be, one of several (else nil), and fetches what all servers share
// if it joins them. It starts nothing.
func openMember(ctx context.Context, c *config.Config, log *slog.Logger) (*member, error) {
	m := &member{config: c, log: log.With("part", "etcd"), dir: filepath.Join(c.DataDir, "server"), done: make(chan struct{}), again: make(chan struct{}, 1)}
	err := m.load()
	if err == nil {
		c.Server.Store, c.Server.ClusterInit = "etcd", c.Server.Join == ""
		m.adopt()
		return m, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if !c.Server.ClusterInit && c.Server.Join == "" {
		return nil, nil
	}
	host, _, err := net.SplitHostPort(c.Server.Listen)
	if err != nil {
		return nil, err
	}
	address, err := (&Server{Config: c}).advertise(host)
	if err != nil {
		return nil, err
	}
	at := func(port int) string { return "https://" + net.JoinHostPort(address.String(), strconv.Itoa(port)) }
	m.file = memberFile{Name: address.String(), Client: at(c.Server.EtcdPort), Peer: at(c.Server.EtcdPort + 1), Facts: factsOf(c)}
	m.file.Initial = m.file.Name + "=" + m.file.Peer
	if c.Server.Join != "" {
		if err := m.enter(ctx); err != nil {
			return nil, err
		}
		m.adopt()
	}
	if err := os.MkdirAll(m.dir, 0o700); err != nil {
		return nil, err
	}
	return m, m.save()
}

// enterCluster makes the data directory one of a cluster's servers, if that is asked for and it is none yet.
func enterCluster(ctx context.Context, c *config.Config, log *slog.Logger) error {
	dir := filepath.Join(c.DataDir, "server")
	if l, err := readLineage(dir); err == nil && l.Store == "embedded" && (c.Server.ClusterInit || c.Server.Join != "") {
		return fmt.Errorf("the cluster of %[1]s is in the embedded store, which an etcd does not take over by itself. To copy it:\n"+
			"  lighter backup save --data-dir %[1]s cluster.backup\n  lighter backup restore --data-dir %[1]s --cluster-init cluster.backup", c.DataDir)
	}
	_, err := openMember(ctx, c, log)
	return err
}

// memberStore is the store of a server that is one of several: its end is that of the member.
type memberStore struct {
	*etcd.Store
	member *member
}

// openMemberStore starts the member and waits, as long as ctx, until most of them agree.
func openMemberStore(ctx context.Context, c *config.Config, log *slog.Logger) (*memberStore, error) {
	m, err := openMember(ctx, c, log)
	if err != nil {
		return nil, err
	}
	if m == nil {
		return nil, errors.New("the cluster is in etcd: give --etcd-endpoints")
	}
	p, err := openPKI(c)
	if err != nil {
		return nil, err
	}
	if err := m.start(ctx, p); err != nil {
		m.stop()
		return nil, err
	}
	s, err := etcd.Open(ctx, m.store())
	if err != nil {
		m.stop()
		return nil, err
	}
	m.engine = s
	return &memberStore{s, m}, nil
}

// Close ends the store and then the member.
func (s *memberStore) Close() error {
	err := s.Store.Close()
	s.member.stop()
	return err
}

// adopt takes the settings that are the same on all servers from the cluster.
func (m *member) adopt() {
	f, s := m.file.Facts, &m.config.Server
	if f != factsOf(m.config) {
		m.log.Info("settings of the cluster win over this server's own", "object", fmt.Sprintf("%+v", f))
	}
	s.PodCIDR, s.ServiceCIDR, s.Domain, s.NodePorts = f.PodCIDR, f.ServiceCIDR, f.Domain, f.NodePorts
}

func (m *member) load() error {
	data, err := os.ReadFile(filepath.Join(m.dir, memberName))
	if err == nil {
		if err = json.Unmarshal(data, &m.file); err != nil {
			err = fmt.Errorf("read %s: %w", filepath.Join(m.dir, memberName), err)
		}
	}
	return err
}

func (m *member) save() error {
	data, err := json.MarshalIndent(m.file, "", "  ")
	if err != nil {
		return err
	}
	return pki.WriteFile(filepath.Join(m.dir, memberName), append(data, '\n'), 0o600)
}

// change is an atomic change of what is known, saved.
func (m *member) change(f func(*memberFile)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	f(&m.file)
	return m.save()
}

func (m *member) known() memberFile {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.file
}

func (m *member) data() string { return filepath.Join(m.dir, "etcd") }

// otherServers are the addresses of a cluster's other servers, as a data directory knows them.
func otherServers(c *config.Config) (out []string) {
	m := &member{dir: filepath.Join(c.DataDir, "server")}
	if m.load() != nil {
		return nil // a single server
	}
	for _, o := range m.file.Others {
		if u, err := url.Parse(o); err == nil {
			out = append(out, u.Hostname())
		}
	}
	return out
}

// Servers are the addresses of all servers of the cluster of a data directory, this one first; nil: it is a single server.
func Servers(dataDir string) []string {
	m := &member{dir: filepath.Join(dataDir, "server")}
	if m.load() != nil {
		return nil
	}
	return append([]string{m.file.Name}, otherServers(&config.Config{DataDir: dataDir})...)
}

// begun reports whether the member has data here.
func (m *member) begun() bool {
	_, err := os.Stat(filepath.Join(m.data(), "member", "wal"))
	return err == nil
}

// own is where the member serves this server.
func (m *member) own() string {
	return "https://127.0.0.1:" + strconv.Itoa(m.config.Server.EtcdPort)
}

// store says how the store's engine reaches etcd: by the member of its own first.
func (m *member) store() etcd.Config {
	return etcd.Config{Endpoints: append([]string{m.own()}, m.known().Others...), TLS: m.tls, Own: true}
}

// others reaches the other members; nil when there are none.
func (m *member) others() (*etcd.Members, error) {
	o := m.known().Others
	if len(o) == 0 {
		return nil, nil
	}
	return etcd.NewMembers(etcd.Config{Endpoints: o, TLS: m.tls})
}

// prove opens the certificates of the member and of this server as a client of all.
func (m *member) prove(p *pki.PKI) (cert, client *pki.Rotating, store *pki.PKI, err error) {
	if store, err = p.Etcd(); err != nil {
		return nil, nil, nil, err
	}
	ip, err := netip.ParseAddr(m.file.Name)
	if err != nil {
		return nil, nil, nil, err
	}
	if cert, err = store.Rotated("member", pki.EtcdMember(ip.AsSlice())); err != nil {
		return nil, nil, nil, err
	}
	if client, err = store.Rotated("client", pki.EtcdClient()); err != nil {
		return nil, nil, nil, err
	}
	m.authority = store.CA
	m.tls = store.CA.Client(&tls.Config{MinVersion: tls.VersionTLS12, GetClientCertificate: client.GetClientCertificate})
	return cert, client, store, nil
}

// quota is how large etcd's file may get, in bytes. Source: etcd's documentation, the suggested maximum.
const quota = 8 << 30

// prepare makes the etcd process, and starts nothing. more are further flags.
func (m *member) prepare(p *pki.PKI, more ...string) error {
	cert, client, store, err := m.prove(p)
	if err != nil {
		return err
	}
	m.certs = []*pki.Rotating{cert, client}
	if err := m.authority.Repair(); err != nil { // etcd reads the files
		return err
	}
	program, err := runtime.EtcdProgram(filepath.Join(m.config.DataDir, "programs"))
	if err != nil {
		return err
	}
	f := m.known()
	in := func(name string) string { return filepath.Join(store.Dir, name) }
	state := "new"
	if f.Joins {
		state = "existing"
	}
	listen := []string{m.own()}
	if f.Client != m.own() {
		listen = append(listen, f.Client)
	}
	m.etcd = &runtime.Etcd{Program: program, DataDir: m.data(), Log: filepath.Join(m.config.DataDir, "log", "etcd.log"), Logger: m.log, Ended: m.ended, Again: m.again,
		Args: append([]string{
			"--name", f.Name, "--initial-cluster", f.Initial, "--initial-cluster-state", state,
			"--listen-client-urls", strings.Join(listen, ","), "--advertise-client-urls", f.Client,
			"--listen-peer-urls", f.Peer, "--initial-advertise-peer-urls", f.Peer,
			"--cert-file", in("member.crt"), "--key-file", in("member.key"), "--trusted-ca-file", in("ca.crt"), "--client-cert-auth",
			"--peer-cert-file", in("member.crt"), "--peer-key-file", in("member.key"), "--peer-trusted-ca-file", in("ca.crt"), "--peer-client-cert-auth",
			"--peer-skip-client-san-verification", // a peer may call from an address that its certificate does not have
			"--tls-min-version", "TLS1.2", "--enable-grpc-gateway=false",
			"--quota-backend-bytes", strconv.Itoa(quota),
			"--grpc-keepalive-min-time", (etcd.PingTime / 2).String(),
			// A member whose data differs from the others' does not serve it.
			"--feature-gates", "InitialCorruptCheck=true,CompactHashCheck=true",
			// etcd would refuse a further member while one is down. It begins without a vote and gets it only from most of those
			// that have one, of which it then is one more that answers; Drop looks after removals.
			"--strict-reconfig-check=false",
			"--log-level", "warn"}, more...)}
	return nil
}

// start runs the member and returns when it has a vote; the process may still be on its way.
func (m *member) start(ctx context.Context, p *pki.PKI) error {
	if err := m.settle(ctx, p); err != nil {
		return err
	}
	if err := m.prepare(p); err != nil {
		return err
	}
	m.launch(ctx)
	return m.vote(ctx)
}

// settle makes sure that the cluster has a place for this member.
func (m *member) settle(ctx context.Context, p *pki.PKI) error {
	if _, _, _, err := m.prove(p); err != nil {
		return err
	}
	if m.begun() {
		if !m.removed(ctx) {
			return nil
		}
		if m.config.Server.Join == "" || m.config.Server.Token == "" {
			return errRemoved
		}
		aside := m.data() + ".removed-" + time.Now().UTC().Format("20060102-150405")
		m.log.Warn("this server was removed from its cluster and joins again: its old store is set aside", "object", aside)
		if err := os.Rename(m.data(), aside); err != nil {
			return err
		}
		if err := m.change(func(f *memberFile) { f.ID, f.Joins = 0, true }); err != nil {
			return err
		}
	}
	if !m.known().Joins {
		return nil
	}
	return m.place(ctx)
}

// launch starts etcd; it runs until stop.
func (m *member) launch(ctx context.Context) {
	ctx, m.end = context.WithCancel(context.WithoutCancel(ctx))
	go func() {
		defer close(m.done)
		g, ctx := errgroup.WithContext(ctx)
		for _, c := range m.certs {
			g.Go(func() error { return c.Run(ctx, m.log) })
		}
		g.Go(func() error { return m.etcd.Run(ctx) })
		m.err = g.Wait()
	}()
}

// stop ends etcd in order and waits for it.
func (m *member) stop() {
	if m != nil && m.end != nil {
		m.end()
		<-m.done
	}
}

// removed reports whether the others say that this member is gone for good. It asks for a moment only: where nobody
// answers, nobody says so.
func (m *member) removed(ctx context.Context) bool {
	o, err := m.others()
	id := m.known().ID
	if o == nil || err != nil || id == 0 {
		return false
	}
	defer o.Close()
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	all, err := o.List(ctx)
	return err == nil && !slices.ContainsFunc(all, func(one etcd.Member) bool { return one.ID == id })
}

func (m *member) ended(ctx context.Context) error {
	if m.removed(ctx) {
		return errRemoved
	}
	return nil
}

// patience is how long a server that joins waits for others to let it.
const patience = 2 * time.Minute

// place gets this server a place among the members: one without a vote, until it has caught up. What an earlier, interrupted
// try left is used, or removed where it is of no use.
func (m *member) place(ctx context.Context) error {
	o, err := m.others()
	if err != nil {
		return err
	}
	if o == nil {
		return errors.New("no other member is known: join again with --token in an empty data directory")
	}
	defer o.Close()
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	f := m.known()
	for last := ""; ; {
		err := m.tryPlace(limited, o, f)
		if err == nil {
			return nil
		}
		if !errors.Is(err, etcd.ErrBusy) || limited.Err() != nil {
			return fmt.Errorf("join the store of %s: %w; see 'lighter members list' on a server that runs", strings.Join(f.Others, ", "), err)
		}
		if text := err.Error(); text != last {
			m.log.Info("waiting for the other servers", "err", err)
			last = text
		}
		wait(limited, 500*time.Millisecond)
	}
}

func (m *member) tryPlace(ctx context.Context, o *etcd.Members, f memberFile) error {
	asking, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	all, err := o.List(asking)
	if err != nil {
		return fmt.Errorf("%w: %w", etcd.ErrBusy, err)
	}
	n := slices.IndexFunc(all, func(one etcd.Member) bool { return one.Peer == f.Peer })
	switch {
	case n < 0:
		if _, err := o.Add(asking, f.Peer); err != nil {
			return err
		}
		return m.tryPlace(ctx, o, f)
	case all[n].Name != "" && all[n].Learner: // it began to join and lost what it had: it never had a vote
		if err := o.Remove(asking, all[n].ID); err != nil {
			return err
		}
		return m.tryPlace(ctx, o, f)
	case all[n].Name != "":
		return fmt.Errorf("%s is a member already, and its data is not here: if it is lost, say so on another server with 'lighter members replace %s', then join again", f.Peer, all[n].Name)
	}
	var initial, clients []string
	for i, one := range all {
		name := one.Name
		if i == n {
			name = f.Name
		} else if name == "" {
			name = one.Peer
		}
		initial = append(initial, name+"="+one.Peer)
		if i != n && one.Client != "" {
			clients = append(clients, one.Client)
		}
	}
	return m.change(func(f *memberFile) { f.ID, f.Initial, f.Others = all[n].ID, strings.Join(initial, ","), clients })
}

// vote waits until the member may vote: it is promoted when it has caught up. One that has others and does not hear
// from them goes on: it had its vote before, or will be told otherwise.
func (m *member) vote(ctx context.Context) error {
	o, err := m.others()
	if o == nil || err != nil {
		return err
	}
	defer o.Close()
	began := time.Now()
	for said := false; ; wait(ctx, 100*time.Millisecond) {
		select {
		case <-m.done:
			return m.err
		case <-ctx.Done():
			return ctx.Err()
		default:
		}
		asking, cancel := context.WithTimeout(ctx, 3*time.Second)
		all, err := o.List(asking)
		id := m.known().ID
		n := slices.IndexFunc(all, func(one etcd.Member) bool { return one.ID == id })
		switch {
		case err != nil:
		case n >= 0 && all[n].Learner:
			err = o.Promote(asking, id)
		default:
			cancel()
			return nil
		}
		cancel()
		if !said && time.Since(began) > 5*time.Second {
			said = true
			m.log.Info("waiting until the store has caught up and the other servers agree", "err", err)
		}
	}
}

// bump is by how much a reset raises the store's revision: others may have acknowledged, and clients seen, a little more
// than this server had.
const bump = 10_000

// ResetCluster makes this server's member the only one, from its own data. No server runs from the data directory.
func ResetCluster(ctx context.Context, c *config.Config, log *slog.Logger) error {
	m := &member{config: c, log: log.With("part", "etcd"), dir: filepath.Join(c.DataDir, "server"), done: make(chan struct{}), again: make(chan struct{}, 1)}
	if err := m.load(); err != nil || !m.begun() {
		return fmt.Errorf("%s is no server with an etcd of its own: there is nothing to reset", c.DataDir)
	}
	if err := m.change(func(f *memberFile) { f.Others, f.Initial, f.Joins = nil, f.Name+"="+f.Peer, false }); err != nil {
		return err
	}
	p, err := openPKI(c)
	if err != nil {
		return err
	}
	if err := m.prepare(p, "--force-new-cluster"); err != nil {
		return err
	}
	m.launch(ctx)
	defer m.stop()
	opening, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	s, err := etcd.Open(opening, m.store())
	if err != nil {
		return err
	}
	defer s.Close()
	now, err := s.Revision(ctx)
	if err != nil {
		return err
	}
	log.Info("raising the revision", "rev", now, "object", bump)
	return s.Raise(ctx, now+bump)
}
