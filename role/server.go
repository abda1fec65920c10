// Package role is the only wiring: which parts make a control plane (server.go), a node
// (agent.go), both on one machine (up.go), or one part alone (part.go).
package role

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/lighter-k8s/lighter/admission"
	"github.com/lighter-k8s/lighter/aggregate"
	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/api/apiextensions"
	"github.com/lighter-k8s/lighter/api/apiregistration"
	"github.com/lighter-k8s/lighter/api/builtin"
	"github.com/lighter-k8s/lighter/apiserver"
	"github.com/lighter-k8s/lighter/apiserver/h2"
	"github.com/lighter-k8s/lighter/apiserver/openapi"
	"github.com/lighter-k8s/lighter/audit"
	"github.com/lighter-k8s/lighter/authn"
	"github.com/lighter-k8s/lighter/authz"
	"github.com/lighter-k8s/lighter/callout"
	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/client/direct"
	"github.com/lighter-k8s/lighter/config"
	"github.com/lighter-k8s/lighter/controller"
	"github.com/lighter-k8s/lighter/flow"
	"github.com/lighter-k8s/lighter/network"
	"github.com/lighter-k8s/lighter/pki"
	"github.com/lighter-k8s/lighter/pki/succession"
	"github.com/lighter-k8s/lighter/registry"
	"github.com/lighter-k8s/lighter/store"
	"github.com/lighter-k8s/lighter/store/embedded"
	"github.com/lighter-k8s/lighter/store/etcd"
	"github.com/lighter-k8s/lighter/store/forms"
	"github.com/lighter-k8s/lighter/store/measured"
	"github.com/lighter-k8s/lighter/store/memory"
	"github.com/lighter-k8s/lighter/watch"
)

// Server is a control plane in this process.
type Server struct {
	Config  *config.Config
	Log     *slog.Logger
	Version string // of Kubernetes that is served: "v1.37.0"
	PKI     *pki.PKI
	Direct  *direct.Server
	API     *apiserver.Server

	services      *registry.Services
	tokens        *authn.Tokens
	bearer        authn.Bearer
	authn         authn.Authenticator
	rbac          *authz.RBAC
	judges        *authz.Structured
	audit         *audit.Trail
	store         store.Store
	encryption    *encryption
	snapshots     *snapshots
	timeline      *timeline
	openapi       *openapi.Handler
	custom        atomic.Pointer[[]*api.Info] // resources that are served beside built-in ones
	changed       chan struct{}               // holds one when custom has changed
	others        aggregate.Kinds             // of resources that other servers serve
	customChanges changes
	state         *watch.State
	address       netip.Addr // where nodes and pods reach the API
	member        *member    // of the servers' own etcd; nil: the store is another
	identity      string     // among several servers
	wellness      wellness
	given         *pki.Given          // the API's certificate that somebody else looks after
	clients       []*x509.Certificate // further authorities of clients
	clientsPEM    []byte              // the same
	keeper        pki.Keeper          // of all that is renewed while the server runs
	lines         *succession.Lines   // of its authorities
	builtin       builtin.Choice
	callout       callout.Named                 // the ways to webhooks of admission and conversion
	news          *client.Recorder              // of what happens to admission itself
	queues        controller.Queues             // of the controllers in this process
	requests      *client.Requests              // of all parts in this process
	obstacles     *admission.Obstacles          // webhooks and policies that stand in the cluster's way
	measures      []prometheus.Collector        // of parts that are made before the API
	runs          []func(context.Context) error // what follows files for as long as the server runs
}

// KubernetesVersion is the version whose API is served.
const KubernetesVersion = "v1.37.2"

// NewServer opens the store and makes all parts, none of which runs yet.
func NewServer(ctx context.Context, c *config.Config, log *slog.Logger) (*Server, error) {
	s := &Server{Config: c, Log: log, Version: KubernetesVersion, changed: make(chan struct{}, 1), requests: client.NewRequests()}
	s.wellness.server = s
	s.callout.Addresses = s.serviceAddresses
	dir := filepath.Join(c.DataDir, "server")
	err := enterCluster(ctx, c, log)
	if err != nil {
		return nil, err
	}
	if s.PKI, err = openPKI(c); err != nil {
		return nil, err
	}
	if err := errors.Join(s.PKI.CA.Repair(), s.PKI.Proxy.Repair()); err != nil {
		return nil, err
	}
	if s.builtin, err = builtin.Choose(c.Server.RuntimeConfig); err != nil {
		return nil, fmt.Errorf("--runtime-config: %w", err)
	}
	infos := s.builtin.All
	if err := finishRestore(dir, log); err != nil {
		return nil, err
	}
	if s.store, err = openStore(ctx, c, dir, log); err != nil {
		return nil, err
	}
	if err := sameStore(ctx, c, dir, s.store, log); err != nil {
		return nil, errors.Join(err, s.store.Close())
	}
	counted := measured.New(s.store, c.Server.Store, watch.Prefix, storedResources(infos))
	s.measures = append(s.measures, counted.Metrics()...)
	if s.encryption, err = openEncryption(ctx, c, counted, infos, log); err != nil {
		return nil, errors.Join(err, s.store.Close())
	}
	if m, ok := s.store.(*memberStore); ok {
		s.member, s.encryption.name = m.member, m.member.known().Name
		m.member.changed = func() {
			if err := s.WriteKubeconfig(); err != nil {
				log.Error("kubeconfig not written", "err", err)
			}
		}
	}
	if s.several() {
		if s.identity, err = openIdentity(dir, c.Node.Name); err != nil {
			return nil, errors.Join(err, s.store.Close())
		}
	}
	s.store = upstreamForms(s.encryption.store, c.Server.Store == "etcd")
	s.state = watch.New(s.store, log, time.Now, infos)
	if err := s.state.Load(ctx); err != nil {
		return nil, errors.Join(err, s.store.Close())
	}
	reg := registry.New(s.store, s.state, log, time.Now, infos)
	byResource := map[schema.GroupVersionResource]*api.Info{}
	for _, i := range infos {
		byResource[i.GroupVersionResource] = i
	}
	s.Direct = &direct.Server{Registry: reg, Resources: byResource}
	if err := s.access(ctx); err != nil {
		return nil, errors.Join(err, s.store.Close())
	}
	first, n, err := c.Ports()
	if err != nil {
		return nil, err
	}
	cidr, err := netip.ParsePrefix(c.Server.ServiceCIDR)
	if err != nil {
		return nil, err
	}
	s.services = registry.NewServices(reg, []netip.Prefix{cidr}, first, n)
	s.reviews(reg)
	if reg.Admission, err = s.admission(infos, reg); err != nil {
		return nil, errors.Join(err, s.store.Close())
	}
	var steps prometheus.Collector
	reg.Admission, steps = reg.Admission.Measured()

	var groups []apiserver.Group
	for _, g := range s.builtin.Groups {
		groups = append(groups, apiserver.Group(g))
	}
	if s.audit, err = openAudit(c, log); err != nil {
		return nil, errors.Join(err, s.store.Close())
	}
	s.Direct.Audit = s.audit
	s.API = apiserver.New(s.builtin.Served, groups)
	s.API.Audit = s.audit
	s.API.Flow = flow.New(ctx, c.Server.MaxRequests+c.Server.MaxMutatingRequests, flow.Views{Schemas: view(s, client.FlowSchemas), Levels: view(s, client.PriorityLevelConfigurations)})
	s.API.Measure(s.API.Flow, steps, buildInfo(s.Version), &s.queues, celMetrics{}, storeSize(c))
	s.API.Measure(s.audit.Metrics()...)
	s.API.Measure(s.requests.Metrics()...)
	s.API.Registry, s.API.Authn, s.API.Authz, s.API.Log, s.API.Version = reg, s.authn, s.judges.Metrics.Measured(s.judges), log, s.Version
	s.snapshots, s.timeline = newSnapshots(s), openTimeline(c.DataDir)
	s.API.Measure(s.measures...)
	s.API.Measure(append(s.encryption.metrics.all(), s.snapshots.last, s.snapshots.failed)...)
	s.openapi = openapi.New(s.builtin.Served, s.Version)
	s.API.OpenAPI, s.API.OpenID = s.openapi, http.HandlerFunc(s.openID)
	s.API.Several = s.several()
	s.API.Components = s.components()
	if s.member != nil {
		s.API.Pages = map[string]http.Handler{joinPath: s.member}
	}
	s.lines = s.authorities()
	return s, nil
}

// upstreamForms keeps what upstream keeps as JSON in that form, where upstream may go on with the store.
func upstreamForms(s store.Store, write bool) store.Store {
	return forms.New(s, write,
		forms.Form{Prefix: watch.Prefix + apiextensions.CustomResourceDefinition.StoreKey + "/", In: apiextensions.FromKept, Out: apiextensions.ToKept},
		forms.Form{Prefix: watch.Prefix + apiregistration.APIService.StoreKey + "/", In: apiregistration.FromKept, Out: apiregistration.ToKept})
}

// Serve runs a control plane alone until ctx ends. ready is called when it may be used.
func Serve(ctx context.Context, c *config.Config, log *slog.Logger, p *Progress, ready func()) error {
	s, err := NewServer(ctx, c, log)
	if err != nil {
		return err
	}
	p.Done("store and state")
	s.Control(p)
	return s.Run(ctx, func() {
		p.Done("control plane")
		if err := s.WriteKubeconfig(); err != nil {
			log.Error("kubeconfig not written", "err", err)
		}
		ready()
	})
}

// openPKI opens the authority in a data directory.
func openPKI(c *config.Config) (*pki.PKI, error) {
	dir := filepath.Join(c.DataDir, "server")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return pki.Open(filepath.Join(dir, "pki"), pki.Lives{Authority: config.Duration(c.Server.AuthorityLife), Leaf: c.Server.LeafLife()})
}

// Fingerprint recognizes the cluster of a data directory: "sha256:..." of its authority's key.
func Fingerprint(dataDir string) (string, error) {
	p, err := openPKI(&config.Config{DataDir: dataDir})
	if err != nil {
		return "", err
	}
	return p.CA.Fingerprint(), nil
}

// Client acts in the cluster as one of its parts, in this process.
func (s *Server) Client(user string, groups ...string) client.Client {
	return s.requests.Counted(s.Direct.As(authenticationv1.UserInfo{Username: user, Groups: append(groups, authn.AuthenticatedGroup)}))
}

// Run serves until ctx ends. ready is called once the API answers and all that a user may count on exists.
func (s *Server) Run(ctx context.Context, ready func()) error {
	listeners, err := s.listen()
	if err != nil {
		return errors.Join(err, s.store.Close())
	}
	names := append([]string{s.services.Nth(1).String(), s.address.String()}, s.Config.Server.Names...)
	if host, err := os.Hostname(); err == nil {
		names = append(names, host)
	}
	certs, err := s.certificates(names)
	if err != nil {
		return errors.Join(err, s.store.Close())
	}
	others := s.aggregation(certs.toServers)
	s.API.Kubelet = &apiserver.Tunnel{
		Kubelet: pki.NewTransport(certs.toKubelets, func() *http.Transport {
			return &http.Transport{TLSClientConfig: s.PKI.CA.Client(&tls.Config{GetClientCertificate: certs.toKubelets.GetClientCertificate})}
		}),
		Pods: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}, // pods have no certificate that we could check
	}
	handler := http.Handler(s.API)
	if s.several() {
		s.wellness.recover(context.WithoutCancel(ctx))
		handler, s.API.Unfit = s.wellness.gate(s.API), s.wellness.unfit
	}
	web := &http.Server{Handler: handler, ReadHeaderTimeout: 32 * time.Second, IdleTimeout: 90 * time.Second,
		ErrorLog: slog.NewLogLogger(s.Log.Handler(), slog.LevelDebug),
		HTTP2:    &http.HTTP2Config{MaxConcurrentStreams: 1000},
		TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12, DynamicRecordSizingDisabled: true, GetCertificate: s.serving(certs), ClientCAs: s.clientAuthorities(),
			ClientAuth: tls.RequestClientCert}} // authn checks it, so that a wrong one gets a 401
	h2.Configure(web)
	state, end := context.WithCancel(context.WithoutCancel(ctx)) // outlives the parts, which still write at their end
	g, ctx := errgroup.WithContext(ctx)
	followed, written := make(chan error, 1), make(chan error, 1)
	go func() { followed <- s.state.Run(state) }()
	go func() { written <- s.audit.Run(state) }()
	g.Go(func() error {
		select {
		case err := <-followed: // memory would show the past from here on
			followed <- err
			return fmt.Errorf("the store's log of writes ended: %w", err)
		case <-ctx.Done():
			return nil
		}
	})
	custom, served := s.customResources(), make(chan struct{})
	g.Go(func() error { return custom.Run(ctx, func() { close(served) }) })
	g.Go(func() error { return others.Run(ctx) })
	g.Go(func() error { return certs.run(ctx, s.Log) })
	g.Go(func() error { return s.keepTokenKeys(ctx) })
	for _, run := range s.runs {
		g.Go(func() error { return run(ctx) })
	}
	g.Go(func() error { return s.compact(ctx) })
	g.Go(func() error { return s.expire(ctx) })
	g.Go(func() error { return s.encryption.run(ctx, s.state) })
	g.Go(func() error { return s.API.Flow.Run(ctx) })
	g.Go(func() error { return s.news.Run(admission.Exempt(ctx)) })
	g.Go(func() error { return s.snapshots.run(ctx) })
	g.Go(func() error { return s.timeline.run(ctx, s.state.Revision) })
	g.Go(func() error { return boundHeap(ctx, s.state.Rest) })
	for _, l := range listeners {
		g.Go(func() error {
			if err := web.ServeTLS(h2.Listen(l), "", ""); !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("serve %s: %w", l.Addr(), err)
			}
			return nil
		})
	}
	g.Go(func() error {
		if err := s.lines.Ready(ctx); err != nil {
			s.Log.Warn("authorities are as they were when this server ended", "err", err)
		}
		// What users add to admission cannot keep a server from starting.
		if err := s.bootstrapWith(admission.Exempt(ctx)); err != nil {
			return fmt.Errorf("bootstrap: %w", err)
		}
		if c := s.Config; c.Server.Store != "memory" {
			if err := (lineage{Store: c.Server.Store}).write(filepath.Join(c.DataDir, "server")); err != nil {
				return err
			}
		}
		select {
		case <-served:
		case <-ctx.Done():
			return nil
		}
		s.API.SetReady(s.wellness.checks())
		g.Go(func() error { return s.keepAuthorities(ctx) })
		g.Go(func() error { return others.KeepLocal(ctx, s.local, s.changed) })
		if ready != nil {
			ready()
		}
		return s.parts(ctx)
	})
	g.Go(func() error {
		<-ctx.Done()
		s.wellness.ending.Store(true)
		if s.several() {
			if err := s.unregister(ctx); err != nil {
				s.Log.Warn("this server is still registered", "err", err)
			}
			time.Sleep(lameduck)
		}
		s.API.End()
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
		defer cancel()
		if err := web.Shutdown(late); err != nil {
			return web.Close()
		}
		return nil
	})
	err = g.Wait()
	end()
	if err := <-written; err != nil {
		s.Log.Error("the end of the audit trail is not written", "err", err)
	}
	return errors.Join(err, <-followed, s.store.Close())
}

// compactEvery is how long the store keeps what was overwritten, at least. Source: kube-apiserver, --etcd-compaction-interval.
const compactEvery = 5 * time.Minute

// compact lets the store forget, every five minutes, what was overwritten more than five minutes ago. Several servers all
// do, each up to what it showed itself five minutes before: none forgets more than that, whoever is first.
func (s *Server) compact(ctx context.Context) error {
	tick := time.NewTicker(compactEvery)
	defer tick.Stop()
	last, done := s.state.Revision(), uint64(0)
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		if last > done {
			if err := s.store.Compact(ctx, store.Revision(last)); err != nil && ctx.Err() == nil && !errors.Is(err, store.ErrCompacted) {
				s.Log.Warn("compaction failed", "rev", last, "err", err)
			}
			done = last
		}
		last = s.state.Revision()
	}
}

// serving is what the API shows: the user's own certificate, or ours.
func (s *Server) serving(certs certificateSet) func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if s.given != nil {
		return s.given.GetCertificate
	}
	return s.withCA(certs.serving)
}

// withCA shows the authorities behind the server's certificate, so that nodes that join can recognize one by their token.
func (s *Server) withCA(serving *pki.Rotating) func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
		c, err := serving.GetCertificate(h)
		if err != nil {
			return nil, err
		}
		full := *c
		full.Certificate = slices.Clip(c.Certificate)
		for _, ca := range s.PKI.CA.Trusted() {
			full.Certificate = append(full.Certificate, ca.Raw)
		}
		return &full, nil
	}
}

// listen opens the API's sockets: what was asked for and, where that is loopback, the node's address too.
func (s *Server) listen() (out []net.Listener, err error) {
	host, port, err := net.SplitHostPort(s.Config.Server.Listen)
	if err != nil {
		return nil, err
	}
	s.address, err = s.advertise(host)
	if err != nil {
		return nil, err
	}
	addrs := []string{s.Config.Server.Listen}
	if ip, err := netip.ParseAddr(host); err == nil && ip.IsLoopback() && !s.Config.Server.ListenOnly && s.address.IsValid() && !s.address.IsLoopback() {
		addrs = append(addrs, net.JoinHostPort(s.address.String(), port))
	}
	for _, a := range slices.Compact(addrs) {
		l, err := net.Listen("tcp", a)
		if err != nil {
			for _, open := range out {
				_ = open.Close()
			}
			return nil, fmt.Errorf("listen on %s: %w", a, err)
		}
		out = append(out, l)
	}
	return out, nil
}

// advertise is the address by which others reach the API.
func (s *Server) advertise(host string) (netip.Addr, error) {
	if a := s.Config.Server.Advertise; a != "" {
		return netip.ParseAddr(a)
	}
	if ip, err := netip.ParseAddr(host); err == nil && !ip.IsLoopback() && !ip.IsUnspecified() {
		return ip, nil
	}
	if s.Config.Node.IP != "" {
		return netip.ParseAddr(s.Config.Node.IP)
	}
	return network.NodeIP()
}

// Address is where the API is reached from this machine and from others: "10.0.0.5:6443".
func (s *Server) Address() string {
	_, port, _ := net.SplitHostPort(s.Config.Server.Listen) // checked in listen
	return net.JoinHostPort(s.address.String(), port)
}

func tlsFiles(ca, cert, key string) (*tls.Config, error) {
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca != "" {
		data, err := os.ReadFile(ca)
		if err != nil {
			return nil, err
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(data) {
			return nil, fmt.Errorf("%s holds no certificate", ca)
		}
	}
	if cert != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, err
		}
		t.Certificates = []tls.Certificate{pair}
	}
	return t, nil
}

func openStore(ctx context.Context, c *config.Config, dir string, log *slog.Logger) (store.Store, error) {
	switch c.Server.Store {
	case "memory":
		return memory.New(), nil
	case "etcd":
		if len(c.Server.Etcd.Endpoints) == 0 {
			return openMemberStore(ctx, c, log)
		}
		cfg := etcd.Config{Endpoints: c.Server.Etcd.Endpoints}
		if e := c.Server.Etcd; e.CA != "" || e.Cert != "" {
			t, err := tlsFiles(e.CA, e.Cert, e.Key)
			if err != nil {
				return nil, fmt.Errorf("etcd certificates: %w", err)
			}
			cfg.TLS = t
		}
		return etcd.Open(ctx, cfg)
	}
	return embedded.Open(filepath.Join(dir, "store"), embedded.Options{Logger: log})
}

// Control makes the server answer the commands that work on a running one.
func (s *Server) Control(p *Progress) {
	p.audited(s.audit)
	p.Serve("/encryption", func(w http.ResponseWriter, r *http.Request) error {
		status, err := s.encryption.status(r.Context())
		return reply(w, status, err)
	})
	p.Serve("/encryption/rotate", s.encryption.serveRotate)
	p.Serve("/certs/rotate", serveRenewal(&s.keeper))
	p.Serve("/certs/follow", s.serveFollow)
	p.Serve("/backup", s.serveBackup)
	p.Serve("/undo", s.serveUndo)
	s.snapshots.tell = p.Saved
	p.Watch(s.obstacles.Recent)
}

// KubeconfigPath is where the administrator's kubeconfig lies in a data directory.
func KubeconfigPath(dataDir string) string {
	return filepath.Join(dataDir, "server", "admin.kubeconfig")
}

// WriteKubeconfig writes the administrator's kubeconfig.
func (s *Server) WriteKubeconfig() error {
	k, err := s.Kubeconfig()
	if err != nil {
		return err
	}
	return k.Write(KubeconfigPath(s.Config.DataDir))
}

// Kubeconfig is the administrator's kubeconfig.
func (s *Server) Kubeconfig() (pki.Kubeconfig, error) {
	host, port, err := net.SplitHostPort(s.Config.Server.Listen)
	if err != nil {
		return pki.Kubeconfig{}, err
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	k, err := s.PKI.Admin("https://" + net.JoinHostPort(host, port))
	k.Name = "lighter"
	for _, other := range otherServers(s.Config) {
		k.Others = append(k.Others, "https://"+net.JoinHostPort(other, port))
	}
	return k, err
}
