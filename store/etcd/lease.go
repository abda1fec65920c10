package etcd

import (
	"context"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/lighter-k8s/lighter/store"
)

// A lease of etcd's deletes its keys when its time is up. Many keys share one: it lasts leaseShared longer than they need,
// and is used for so long, and for leaseKeys keys.
const (
	leaseShared = time.Minute
	leaseKeys   = 1000
)

// leases are those in use, by how long their keys are good for.
type leases struct {
	mu  sync.Mutex
	use map[time.Duration]*lease
}

type lease struct {
	id    clientv3.LeaseID // 0: none is needed
	until time.Time        // no new keys from then on
	keys  int
}

// of is the lease of one op.
func (l lease) of(op store.Op) clientv3.LeaseID {
	if op.Life == 0 {
		return clientv3.NoLease
	}
	return l.id
}

// get gives the lease for a transaction's puts, of which those that do not stay are all good for the longest.
func (l *leases) get(ctx context.Context, c *clientv3.Client, ops []store.Op) (lease, error) {
	life, keys := time.Duration(0), 0
	for _, op := range ops {
		if op.Life > 0 && op.Value != nil {
			life, keys = max(life, op.Life), keys+1
		}
	}
	if life == 0 {
		return lease{}, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	shared := min(leaseShared, life)
	in := l.use[life]
	if in == nil || in.keys+keys > leaseKeys || time.Now().After(in.until) {
		until := time.Now().Add(shared)
		r, err := c.Grant(ctx, int64((life+shared+time.Second-1)/time.Second))
		if err != nil {
			return lease{}, err
		}
		in = &lease{id: r.ID, until: until}
		if l.use == nil {
			l.use = map[time.Duration]*lease{}
		}
		l.use[life] = in
	}
	in.keys += keys
	return *in, nil
}

// forget drops a lease that etcd does not know any more.
func (l *leases) forget(id clientv3.LeaseID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for life, in := range l.use {
		if in.id == id {
			delete(l.use, life)
		}
	}
}
