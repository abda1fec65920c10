package etcd

import (
	"context"
	"errors"
	"fmt"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/lighter-k8s/lighter/store"
	"github.com/lighter-k8s/lighter/store/wire"
)

// Commit implements store.Store. It takes at most MaxOps Ops.
func (s *Store) Commit(ctx context.Context, t store.Txn) (store.Revision, error) {
	ops, err := t.Plan()
	if err != nil {
		return 0, fmt.Errorf("commit: %w", err)
	}
	if len(ops) > MaxOps {
		return 0, fmt.Errorf("commit: %w: %d ops, etcd takes %d at once", store.ErrInvalid, len(ops), MaxOps)
	}
	if err := s.usable(ctx); err != nil {
		return 0, fmt.Errorf("commit: %w", err)
	}
	if s.single.Load() {
		return s.singly(ctx, t.Ops)
	}
	lease, err := s.leases.get(ctx, s.client, ops)
	if err != nil {
		return 0, fmt.Errorf("commit: %w", s.explain(ctx, err))
	}
	if len(ops) == 0 {
		return s.Revision(ctx)
	}
	var request pb.TxnRequest // without an Else, which etcd checks each time
	var looked []store.Op
	for _, op := range ops {
		key := []byte(s.prefix + op.Key)
		if op.Expect != store.Any {
			request.Compare = append(request.Compare, &pb.Compare{Target: pb.Compare_MOD, Key: key, TargetUnion: &pb.Compare_ModRevision{ModRevision: int64(op.Expect)}})
			looked = append(looked, op)
		}
		switch {
		case op.Check:
		case op.Value == nil:
			request.Success = append(request.Success, &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: key}}})
		default:
			request.Success = append(request.Success, &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: key, Value: op.Value, Lease: int64(lease.of(op))}}})
		}
	}
	r, err := s.txn(ctx, &request)
	if unsupported(err) {
		s.single.Store(true)
		return s.singly(ctx, t.Ops)
	}
	if errors.Is(err, rpctypes.ErrLeaseNotFound) {
		s.leases.forget(lease.id)
		return s.Commit(ctx, t) // of which nothing was done
	}
	if err != nil {
		return 0, fmt.Errorf("commit: %w", s.explain(ctx, err))
	}
	if r.Succeeded {
		return store.Revision(r.Header.Revision), nil
	}
	for _, op := range looked {
		r, err := s.client.Get(ctx, s.prefix+op.Key, clientv3.WithKeysOnly())
		if err != nil {
			return 0, fmt.Errorf("commit: %w", s.explain(ctx, err))
		}
		var actual store.Revision
		if len(r.Kvs) > 0 {
			actual = store.Revision(r.Kvs[0].ModRevision)
		}
		if actual != op.Expect {
			return 0, &store.Conflict{Key: op.Key, Expect: op.Expect, Actual: actual}
		}
	}
	return s.Commit(ctx, t) // what was in the way is gone by now
}

const txnMethod = "/etcdserverpb.KV/Txn"

// txn makes a transaction on the wire, or by etcd's client where there is none.
func (s *Store) txn(ctx context.Context, request *pb.TxnRequest) (*pb.TxnResponse, error) {
	answer, err := s.wire.Do(ctx, proto.Size(request), func(room []byte) ([]byte, error) {
		return proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(room, request)
	})
	if errors.Is(err, wire.ErrGone) {
		r, err := clientv3.RetryKVClient(s.client).Txn(ctx, request, grpc.MaxCallSendMsgSize(maxMessage))
		return r, rpctypes.Error(err)
	}
	if err != nil {
		return nil, rpctypes.Error(err)
	}
	r := &pb.TxnResponse{}
	return r, proto.Unmarshal(answer, r)
}

// unsupported tells of a store that speaks etcd's protocol and knows but the transactions that Kubernetes' own API
// server makes, of one key each: kine.
func unsupported(err error) bool {
	return err != nil && (status.Code(err) == codes.Unimplemented || strings.Contains(err.Error(), "unsupported operations in txn"))
}

// singly is Commit where a transaction has one key at most: first what is only expected is looked at, then the ops follow
// one another as they were given, the object itself last. When one fails those before it are taken back. Readers may see
// some of them before the others, and a crash in between leaves the first, as it does with Kubernetes' API server.
func (s *Store) singly(ctx context.Context, ops []store.Op) (store.Revision, error) {
	var at store.Revision
	var done []store.Op // that undo what was written
	for pass, checks := range []bool{true, false} {
		for _, op := range ops {
			if op.Check != checks {
				continue
			}
			var err error
			var was store.Entry
			if checks || len(ops) > 1 || op.Expect == store.Any || op.Value == nil && op.Expect == 0 {
				if was, err = s.Get(ctx, op.Key, 0); err == nil && op.Expect != store.Any && was.Revision != op.Expect {
					err = &store.Conflict{Key: op.Key, Expect: op.Expect, Actual: was.Revision}
				}
			}
			if err == nil && pass == 1 && !(op.Value == nil && was.Revision == 0 && op.Expect <= 0) {
				if op.Expect == store.Any {
					op.Expect = was.Revision
				}
				if at, err = s.one(ctx, op); err == nil {
					back := store.Op{Key: op.Key, Value: was.Value, Expect: at}
					if op.Value == nil {
						back.Expect = 0
					}
					done = append(done, back)
				}
			}
			if err != nil {
				for n := len(done) - 1; n >= 0; n-- {
					if _, undo := s.one(context.WithoutCancel(ctx), done[n]); undo != nil && !errors.Is(undo, store.ErrConflict) {
						err = errors.Join(err, fmt.Errorf("take back %s: %w", done[n].Key, undo))
					}
				}
				return 0, err
			}
		}
	}
	if at == 0 {
		return s.Revision(ctx)
	}
	return at, nil
}

// one writes one key that is at a known revision, in the form that Kubernetes' API server uses.
func (s *Store) one(ctx context.Context, op store.Op) (store.Revision, error) {
	key := s.prefix + op.Key
	lease, err := s.leases.get(ctx, s.client, []store.Op{op})
	if err != nil {
		return 0, fmt.Errorf("commit: %w", s.explain(ctx, err))
	}
	put := clientv3.OpPut(key, string(op.Value), clientv3.WithLease(lease.of(op)))
	txn := s.client.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(key), "=", int64(op.Expect)))
	switch {
	case op.Value == nil:
		txn = txn.Then(clientv3.OpDelete(key)).Else(clientv3.OpGet(key))
	case op.Expect == 0:
		txn = txn.Then(put)
	default:
		txn = txn.Then(put).Else(clientv3.OpGet(key))
	}
	r, err := txn.Commit()
	if err != nil {
		return 0, fmt.Errorf("commit: %w", s.explain(ctx, err))
	}
	if r.Succeeded {
		return store.Revision(r.Header.Revision), nil
	}
	now, err := s.Get(ctx, op.Key, 0)
	if err != nil {
		return 0, err
	}
	return 0, &store.Conflict{Key: op.Key, Expect: op.Expect, Actual: now.Revision}
}
