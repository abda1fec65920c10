package etcd_test

import (
	"fmt"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/lighter-k8s/lighter/store"
	"github.com/lighter-k8s/lighter/store/etcd"
	"github.com/lighter-k8s/lighter/store/storetest"
)

// Keys that do not stay go by a lease of etcd's, which many share and which lasts as long as each needs; written anew they
// get another one or none; a lease that etcd has forgotten is replaced.
func TestLife(t *testing.T) {
	endpoint := storetest.Etcd(t)
	s := connect(t, etcd.Config{Endpoints: []string{endpoint}})
	defer s.Close()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	put := func(key string, life time.Duration) clientv3.LeaseID {
		t.Helper()
		op := store.Op{Key: key, Value: []byte("x"), Expect: store.Any, Life: life}
		if _, err := s.Commit(t.Context(), store.Txn{Ops: []store.Op{op, {Key: "/stays" + key, Value: []byte("x"), Expect: store.Any}}}); err != nil {
			t.Fatal(err)
		}
		r, err := c.Get(t.Context(), key)
		if err != nil || len(r.Kvs) != 1 {
			t.Fatalf("%s: %v, %v", key, r, err)
		}
		if r, err := c.Get(t.Context(), "/stays"+key); err != nil || r.Kvs[0].Lease != 0 {
			t.Errorf("beside %s: %v, %v", key, r, err)
		}
		return clientv3.LeaseID(r.Kvs[0].Lease)
	}
	if id := put("/a", 0); id != 0 {
		t.Errorf("a key that stays has a lease")
	}
	id := put("/b", time.Hour)
	if other := put("/c", time.Hour); id == 0 || other != id {
		t.Errorf("leases %x and %x, want one", id, other)
	}
	if r, err := c.TimeToLive(t.Context(), id); err != nil || r.GrantedTTL < 3600 || r.GrantedTTL > 3700 {
		t.Errorf("lease %+v, %v, want an hour and a little", r, err)
	}
	if short := put("/d", 8*time.Second); short == id {
		t.Error("a short life shares a lease with a long one")
	}
	if now := put("/b", 0); now != 0 {
		t.Error("a key that is to stay now still has its lease")
	}
	for n := range 1000 {
		put(fmt.Sprint("/n/", n), time.Hour)
	}
	if put("/e", time.Hour) == id {
		t.Error("a lease has more than a thousand keys")
	}
	last := put("/f", time.Hour)
	if _, err := c.Revoke(t.Context(), last); err != nil {
		t.Fatal(err)
	}
	if now := put("/f", time.Hour); now == 0 || now == last {
		t.Errorf("lease %x after %x is gone", now, last)
	}
}
