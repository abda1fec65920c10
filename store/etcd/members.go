package etcd

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Member is one member of an etcd cluster.
type Member struct {
	ID      uint64
	Name    string // empty until it has started
	Peer    string // URLs by which the others and clients reach it
	Client  string
	Learner bool // it has no vote yet

	// What it says itself, when it was asked (List with status).
	Err      error // it did not answer
	Leader   bool
	Version  string
	Revision int64 // the newest that it has
	Size     int64 // of its file, in bytes
	InUse    int64 // of that
	Alarms   []string
}

// Free is how much of its file holds nothing, in bytes; 0 when it did not answer.
func (m Member) Free() int64 { return m.Size - m.InUse }

// Errors of Members.
var (
	ErrNoMember = errors.New("no such member")
	// ErrBusy: another change is under way, or the cluster is not healthy enough for one; it may go if it is tried again.
	ErrBusy = errors.New("the members cannot be changed now")
)

// Members changes and shows the members of an etcd cluster that Lighter runs. It must be closed.
type Members struct {
	client *clientv3.Client
	tls    *tls.Config
}

// NewMembers does not wait for anybody: each call does, as long as its ctx.
func NewMembers(c Config) (*Members, error) {
	c.Own = false
	o := c.options()
	o.DialKeepAliveTime, o.DialKeepAliveTimeout = PingTime, PingTime
	client, err := clientv3.New(o)
	if err != nil {
		return nil, err
	}
	return &Members{client, c.TLS}, nil
}

// Close ends the connections.
func (m *Members) Close() error { return m.client.Close() }

// List returns the members by name, as the cluster has agreed on them.
func (m *Members) List(ctx context.Context) ([]Member, error) {
	r, err := m.client.MemberList(ctx)
	if err != nil {
		return nil, fmt.Errorf("list members: %w", err)
	}
	var all []Member
	for _, t := range r.Members {
		one := Member{ID: t.ID, Name: t.Name, Learner: t.IsLearner}
		if len(t.PeerURLs) > 0 {
			one.Peer = t.PeerURLs[0]
		}
		if len(t.ClientURLs) > 0 {
			one.Client = t.ClientURLs[0]
		}
		all = append(all, one)
	}
	slices.SortFunc(all, func(a, b Member) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) })
	return all, nil
}

// Ask fills in what each member says of itself; who does not answer within patience has Err.
func (m *Members) Ask(ctx context.Context, all []Member, patience time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var group sync.WaitGroup
	for i := range all {
		group.Go(func() {
			one := &all[i]
			if one.Client == "" {
				one.Err = errors.New("it has not started yet")
				return
			}
			s, err := m.client.Status(ctx, one.Client) // by a connection of its own
			if err != nil {
				one.Err = err
				return
			}
			one.Leader, one.Version, one.Revision = s.Leader == s.Header.MemberId, s.Version, s.Header.Revision
			one.Size, one.InUse, one.Alarms = s.DbSize, s.DbSizeInUse, s.Errors
		})
	}
	group.Wait()
}

// Add makes room for a member that has no vote yet: it is to start and to be promoted. Errors: ErrBusy.
func (m *Members) Add(ctx context.Context, peer string) (id uint64, err error) {
	r, err := m.client.MemberAddAsLearner(ctx, []string{peer})
	if err != nil {
		return 0, fmt.Errorf("add member %s: %w", peer, busy(err))
	}
	return r.Member.ID, nil
}

// Promote gives a member its vote. Errors: ErrBusy while it has not caught up.
func (m *Members) Promote(ctx context.Context, id uint64) error {
	if _, err := m.client.MemberPromote(ctx, id); err != nil && !errors.Is(err, rpctypes.ErrMemberNotLearner) {
		return fmt.Errorf("promote member: %w", busy(err))
	}
	return nil
}

// Remove takes a member out for good. Errors: ErrBusy, ErrNoMember.
func (m *Members) Remove(ctx context.Context, id uint64) error {
	_, err := m.client.MemberRemove(ctx, id)
	if errors.Is(err, rpctypes.ErrMemberNotFound) {
		return ErrNoMember
	}
	if err != nil {
		return fmt.Errorf("remove member: %w", busy(err))
	}
	return nil
}

func busy(err error) error {
	for _, e := range []error{rpctypes.ErrTooManyLearners, rpctypes.ErrUnhealthy, rpctypes.ErrMemberNotEnoughStarted, rpctypes.ErrMemberLearnerNotReady} {
		if errors.Is(err, e) {
			return fmt.Errorf("%w: %w", ErrBusy, err)
		}
	}
	if passing(err) {
		return fmt.Errorf("%w: %w", ErrBusy, err)
	}
	return err
}

// Hand moves the leadership from the member at an endpoint to another one.
func (m *Members) Hand(ctx context.Context, from string, to uint64) error {
	c, err := clientv3.New(Config{Endpoints: []string{from}, TLS: m.tls}.options()) // only the leader itself can
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.MoveLeader(ctx, to)
	return err
}

// Defragment gives the free pages of a member's file back to the disk. It answers nobody while it does.
func (m *Members) Defragment(ctx context.Context, client string) error {
	_, err := m.client.Defragment(ctx, client)
	return err
}

// Disarm takes all alarms of a member away: what raised them is over.
func (m *Members) Disarm(ctx context.Context, id uint64) error {
	r, err := m.client.AlarmList(ctx)
	if err != nil {
		return err
	}
	for _, a := range r.Alarms {
		if a.MemberID == id {
			if _, err := m.client.AlarmDisarm(ctx, (*clientv3.AlarmMember)(a)); err != nil {
				return err
			}
		}
	}
	return nil
}

// Alone runs f while no other holder of the key does anything, and not at all when one does.
// A holder that dies lets go after a minute.
func (m *Members) Alone(ctx context.Context, key string, f func() error) error {
	lease, err := m.client.Grant(ctx, 60)
	if err != nil {
		return err
	}
	defer func() {
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
		defer cancel()
		_, _ = m.client.Revoke(late, lease.ID) // it ends by itself too
	}()
	r, err := m.client.Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision(key), "=", 0)).
		Then(clientv3.OpPut(key, "", clientv3.WithLease(lease.ID))).Commit()
	if err != nil || !r.Succeeded {
		return err
	}
	return f()
}
