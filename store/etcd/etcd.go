// Package etcd is the store's engine for an etcd cluster, 3.5 or later, its own
// or somebody else's: keys and values stand in etcd exactly as they are given,
// a key's revision is its mod revision, and the store's is etcd's. Others may
// write to the same etcd.
//
//	etcd.go     Open, Get, List      commit.go  Commit      watch.go   Watch      backup.go  Backup, Restore
//	members.go  the members of an etcd that Lighter runs itself      version.go  which etcd to trust with what
//	lease.go    keys that do not stay
package etcd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/lighter-k8s/lighter/store"
	"github.com/lighter-k8s/lighter/store/wire"
)

const (
	// MaxOps is the most Ops that Commit takes: etcd's default --max-txn-ops. More are an ErrInvalid.
	MaxOps = 128

	pageEntries = 500      // fetched at once
	maxMessage  = 64 << 20 // bytes of a request; the server's limit is its own, 1.5 MiB by default

	keepAlive, keepPatience = 10 * time.Second, 3 * time.Second // see options

	// What etcd may send before it is read: of one answer or watch, and of all.
	streamWindow, connectionWindow = 512 << 10, 8 << 20
)

// Config says where etcd is.
type Config struct {
	Endpoints []string    // "https://host:2379"
	TLS       *tls.Config // nil: none
	Prefix    string      // before each key in etcd; usually empty
	// Own: the first endpoint is this server's own member, which is asked as long as it answers; the others stand in
	// for it. Else requests go round all of them.
	Own bool
}

// options are how a connection is kept: a server that is silent (its machine is gone, or stopped) is noticed by
// pings, since a cut network says nothing. Etcd refuses pings more often than every 5 s, unless it is told to allow them.
func (c Config) options() clientv3.Config {
	o := clientv3.Config{Endpoints: c.Endpoints, TLS: c.TLS, MaxCallSendMsgSize: maxMessage,
		DialKeepAliveTime: keepAlive, DialKeepAliveTimeout: keepPatience,
		Logger: zap.NewNop(), // what matters is returned
		// With windows of its own choice gRPC does not measure the connection, by a ping for each answer.
		DialOptions: []grpc.DialOption{grpc.WithInitialWindowSize(streamWindow), grpc.WithInitialConnWindowSize(connectionWindow)}}
	if c.Own {
		o.DialKeepAliveTime, o.DialKeepAliveTimeout = PingTime, PingTime
		o.DialOptions = append(o.DialOptions,
			// Etcd's client asks for round_robin in a service config; this is gRPC's way to say otherwise.
			grpc.WithDisableServiceConfig(), grpc.WithDefaultServiceConfig(`{"loadBalancingConfig": [{"pick_first": {}}]}`),
			grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: 2 * time.Second,
				Backoff: backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second}}))
	}
	return o
}

// PingTime is how often a member that Lighter runs is pinged, and how long it may take to answer.
const PingTime = time.Second

// Store implements store.Store. Both classes are durable before Commit returns.
type Store struct {
	client *clientv3.Client
	wire   *wire.Client // transactions and a watch; client has all else, and transactions too when this has no connection
	conf   Config
	prefix string
	closed atomic.Bool
	life   context.Context // of watches
	end    context.CancelFunc
	single atomic.Bool // it has no transactions of several keys: see singly

	own      bool          // Lighter's own members, which are all new enough
	turn     atomic.Uint32 // of the endpoints
	versions versions      // of the others
	leases   leases        // of keys that do not stay

	mu     sync.Mutex
	wanted store.Revision // the newest that Revision gave
	more   chan struct{}  // closed and replaced when wanted rises
}

var _ store.Store = (*Store)(nil)

// Open connects to etcd and waits, as long as ctx, until it answers.
func Open(ctx context.Context, c Config) (*Store, error) {
	client, err := clientv3.New(c.options())
	if err != nil {
		return nil, fmt.Errorf("open etcd %s: %w", strings.Join(c.Endpoints, ","), err)
	}
	s := &Store{client: client, conf: c, prefix: c.Prefix, own: c.Own, more: make(chan struct{})}
	_, err = s.Revision(ctx)
	for err != nil && passing(err) && pause(ctx, 200*time.Millisecond) {
		_, err = s.Revision(ctx)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open etcd %s: %w", strings.Join(c.Endpoints, ","), err), client.Close())
	}
	s.life, s.end = context.WithCancel(context.Background())
	s.wire = wire.NewClient(txnMethod, func() wire.Config { return s.wires()[0] })
	return s, nil
}

// SetEndpoints changes where etcd is: its members change.
func (s *Store) SetEndpoints(endpoints ...string) { s.client.SetEndpoints(endpoints...) }

// wires are the servers that a connection of ours may go to, in the order in which they are tried.
func (s *Store) wires() []wire.Config {
	endpoints := slices.Clone(s.client.Endpoints())
	c := wire.Config{TLS: s.conf.TLS, Ping: keepAlive, Patience: keepPatience, Window: streamWindow}
	if s.own {
		c.Ping, c.Patience = PingTime, PingTime
	} else {
		n := int(s.turn.Add(1)) % len(endpoints)
		endpoints = append(endpoints[n:], endpoints[:n]...)
	}
	all := make([]wire.Config, len(endpoints))
	for n := range all {
		c.Endpoint = endpoints[n]
		all[n] = c
	}
	return all
}

// passing reports whether an error is one that goes by itself: no leader just now, a member that starts or ends.
func passing(err error) bool {
	var e rpctypes.EtcdError
	if errors.As(err, &e) {
		return e.Code() == codes.Unavailable
	}
	return status.Code(err) == codes.Unavailable
}

// pause waits; false: ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Revision implements store.Store: a read that etcd confirms with its members.
func (s *Store) Revision(ctx context.Context) (store.Revision, error) {
	if err := s.usable(ctx); err != nil {
		return 0, err
	}
	r, err := s.client.Get(ctx, s.prefix+"\x00", clientv3.WithCountOnly())
	if err != nil {
		return 0, fmt.Errorf("revision: %w", s.explain(ctx, err))
	}
	at := store.Revision(r.Header.Revision)
	s.asked(at)
	return at, nil
}

// asked notes that somebody will wait until watches show the revision, and wakes those that do not yet.
func (s *Store) asked(at store.Revision) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at <= s.wanted {
		return
	}
	s.wanted = at
	close(s.more)
	s.more = make(chan struct{})
}

// wantedNow is the newest revision that was asked for, and a channel that ends when there is a newer one.
func (s *Store) wantedNow() (store.Revision, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.wanted, s.more
}

// Get implements store.Store.
func (s *Store) Get(ctx context.Context, key string, at store.Revision) (store.Entry, error) {
	if err := s.usable(ctx); err != nil {
		return store.Entry{}, fmt.Errorf("get %s: %w", key, err)
	}
	r, err := s.client.Get(ctx, s.prefix+key, clientv3.WithRev(int64(at)))
	if err != nil {
		return store.Entry{}, fmt.Errorf("get %s: %w", key, s.explain(ctx, err))
	}
	if len(r.Kvs) == 0 {
		return store.Entry{Key: key}, nil
	}
	return store.Entry{Key: key, Value: present(r.Kvs[0].Value), Revision: store.Revision(r.Kvs[0].ModRevision)}, nil
}

// List implements store.Store. It asks for pages, all at one revision.
func (s *Store) List(ctx context.Context, prefix string, p store.Page) ([]store.Entry, store.Revision, error) {
	for {
		var entries []store.Entry
		at, err := s.pages(ctx, prefix, p, func(e store.Entry) error {
			entries = append(entries, e)
			return nil
		})
		if err == nil {
			return entries, at, nil
		}
		if p.At != 0 || at == 0 || !errors.Is(err, store.ErrCompacted) {
			return nil, 0, fmt.Errorf("list %s: %w", prefix, err)
		}
		// The newest revision was compacted between two pages: a newer one it is, then.
	}
}

// pages calls yield with the entries of a list and returns the revision they are at.
func (s *Store) pages(ctx context.Context, prefix string, p store.Page, yield func(store.Entry) error) (store.Revision, error) {
	from, end := s.prefix+prefix, clientv3.GetPrefixRangeEnd(s.prefix+prefix)
	if from == "" {
		from, end = "\x00", "\x00"
	}
	if p.After >= prefix && p.After != "" {
		from = s.prefix + p.After + "\x00"
	}
	if end != "\x00" && from >= end {
		from = end // etcd refuses what the contract calls an empty list
	}
	at := p.At
	for left := p.Limit; ; {
		if err := s.usable(ctx); err != nil {
			return at, err
		}
		limit := pageEntries
		if p.Limit > 0 {
			limit = min(limit, left)
		}
		r, err := s.client.Get(ctx, from, clientv3.WithRange(end), clientv3.WithRev(int64(at)), clientv3.WithLimit(int64(limit)))
		if err != nil {
			return at, s.explain(ctx, err)
		}
		if at == 0 {
			at = store.Revision(r.Header.Revision)
		}
		for _, kv := range r.Kvs {
			e := store.Entry{Key: string(kv.Key[len(s.prefix):]), Value: present(kv.Value), Revision: store.Revision(kv.ModRevision)}
			if err := yield(e); err != nil {
				return at, err
			}
			from = string(kv.Key) + "\x00"
		}
		left -= len(r.Kvs)
		if !r.More || p.Limit > 0 && left <= 0 {
			return at, nil
		}
	}
}

// Compact implements store.Store.
func (s *Store) Compact(ctx context.Context, before store.Revision) error {
	if err := s.usable(ctx); err != nil {
		return fmt.Errorf("compact before %d: %w", before, err)
	}
	if _, err := s.client.Compact(ctx, int64(before)); err != nil {
		return fmt.Errorf("compact before %d: %w", before, s.explain(ctx, err))
	}
	return nil
}

// Close implements store.Store. Watches end with ErrClosed.
func (s *Store) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	s.end()
	s.wire.Close()
	if err := s.client.Close(); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("close etcd: %w", err)
	}
	return nil
}

func (s *Store) usable(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.closed.Load() {
		return store.ErrClosed
	}
	return nil
}

// explain gives etcd's errors the contract's names.
func (s *Store) explain(ctx context.Context, err error) error {
	if e := s.usable(ctx); e != nil {
		return fmt.Errorf("%w: %w", e, err)
	}
	for theirs, ours := range map[error]error{
		rpctypes.ErrCompacted:       store.ErrCompacted,
		rpctypes.ErrFutureRev:       store.ErrFuture,
		rpctypes.ErrNoSpace:         store.ErrReadOnly,
		rpctypes.ErrCorrupt:         store.ErrCorrupt,
		rpctypes.ErrRequestTooLarge: store.ErrInvalid,
		rpctypes.ErrTooManyOps:      store.ErrInvalid,
	} {
		if errors.Is(err, theirs) {
			return fmt.Errorf("%w: %w", ours, err)
		}
	}
	if status.Code(err) == codes.ResourceExhausted && strings.Contains(err.Error(), "larger than max") {
		return fmt.Errorf("%w: %w", store.ErrInvalid, err) // gRPC's limit, above etcd's own
	}
	return err
}

// present is the value of a key that is there, which gRPC makes nil when it is empty.
func present(value []byte) []byte {
	if value == nil {
		return []byte{}
	}
	return value
}
