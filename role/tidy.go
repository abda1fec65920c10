package role

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/lighter-k8s/lighter/store/etcd"
)

// tidier gives free pages of a member's file back. Source: etcd's maintenance guide, Defragmentation and Space quota.
type tidier struct {
	peer       string // URL of the member
	worthwhile int64  // what is given back at least, in bytes, while writes go on
	roomy      int64  // a member whose file is smaller may take writes again
	log        *slog.Logger
	data       string // where the file is, for the log

	at    int64 // revision at which the file was full
	tries int   // how often it was defragmented since
}

func (m *member) tidies() *tidier {
	return &tidier{peer: m.known().Peer, worthwhile: 256 << 20, roomy: quota / 10 * 9, log: m.log, data: m.data()}
}

// run does so when that is at least half of the file, one member at a time. When the file was full and writes have
// stopped, it does so anyway, and takes the alarm away when that made room.
func (t *tidier) run(ctx context.Context, all *etcd.Members) error {
	ctx, cancel := context.WithTimeout(ctx, 50*time.Second)
	defer cancel()
	list, err := all.List(ctx)
	if err != nil {
		return err
	}
	all.Ask(ctx, list, 5*time.Second)
	n := slices.IndexFunc(list, func(one etcd.Member) bool { return one.Peer == t.peer })
	if n < 0 || list[n].Err != nil {
		return nil
	}
	self := list[n]
	if len(self.Alarms) > 0 {
		t.log.Error("the store takes no writes", "err", strings.Join(self.Alarms, ", "), "object", t.data)
		return t.full(ctx, all, list, self)
	}
	if self.Free() < t.worthwhile || self.Free() < self.InUse {
		return nil
	}
	return all.Alone(ctx, "/lighter/defragment", func() error { return t.defragment(ctx, all, list, self) })
}

// full makes room in a store that takes no writes. None can keep the others away by writing, so they take turns: who has
// the largest file is first. How much of it is free, etcd knows only when something is written again; so it is tried as
// long as compactions may be on their way, and then when a deletion has changed something.
func (t *tidier) full(ctx context.Context, all *etcd.Members, list []etcd.Member, self etcd.Member) error {
	if self.Size < t.roomy {
		return all.Disarm(ctx, self.ID)
	}
	if t.at != self.Revision {
		t.at, t.tries = self.Revision, 0
	}
	largest := slices.MaxFunc(list, func(a, b etcd.Member) int { return cmp.Or(cmp.Compare(a.Size, b.Size), cmp.Compare(a.ID, b.ID)) })
	if largest.ID != self.ID || t.tries == 4 {
		return nil
	}
	t.tries++
	if err := t.defragment(ctx, all, list, self); err != nil {
		return err
	}
	after := []etcd.Member{self}
	if all.Ask(ctx, after, 5*time.Second); after[0].Err != nil || after[0].Size >= t.roomy {
		return after[0].Err
	}
	t.log.Info("the store takes writes again", "object", t.data, "bytes", after[0].Size)
	return all.Disarm(ctx, self.ID)
}

func (t *tidier) defragment(ctx context.Context, all *etcd.Members, list []etcd.Member, self etcd.Member) error {
	for _, one := range list {
		if self.Leader && one.ID != self.ID && one.Err == nil && !one.Learner { // a leader that does not answer would be voted out
			if err := all.Hand(ctx, self.Client, one.ID); err != nil {
				return err
			}
			break
		}
	}
	if err := all.Defragment(ctx, self.Client); err != nil {
		return err
	}
	t.log.Info("free pages of the store were given back", "object", t.data, "bytes", self.Free())
	return nil
}
