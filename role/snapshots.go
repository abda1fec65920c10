package role

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lighter-k8s/lighter/backup"
	"github.com/lighter-k8s/lighter/store"
)

const (
	snapshotAfter = time.Minute // of running, before the first look whether a backup is due
	snapshotLook  = time.Minute // between looks
)

// Snapshot is how the last backup by schedule went.
type Snapshot struct {
	At       time.Time `json:"at"`
	Where    string    `json:"where,omitempty"`
	Revision int64     `json:"revision,omitempty"`
	Failed   string    `json:"failed,omitempty"` // why; the older ones are there
}

// snapshots makes backups by schedule.
type snapshots struct {
	server *Server
	log    *slog.Logger
	tell   func(Snapshot) // what 'lighter status' shows
	last   *prometheus.GaugeVec
	failed prometheus.Counter
}

func newSnapshots(s *Server) *snapshots {
	return &snapshots{server: s, log: s.Log, tell: func(Snapshot) {},
		last:   prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "lighter_backup_last", Help: "The last backup by schedule that is whole: when (seconds), its bytes and revision."}, []string{"what"}),
		failed: prometheus.NewCounter(prometheus.CounterOpts{Name: "lighter_backup_failures_total", Help: "Backups by schedule that failed."}),
	}
}

// run makes a backup when one is due and something changed since the last, until ctx ends.
func (b *snapshots) run(ctx context.Context) error {
	c := b.server.Config
	every := c.Server.Interval()
	if every == 0 {
		return nil
	}
	wait := time.NewTimer(snapshotAfter)
	defer wait.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-wait.C:
		}
		wait.Reset(snapshotLook)
		b.once(ctx, every)
	}
}

// once makes a backup if one is due; one that failed is due again at the next look.
func (b *snapshots) once(ctx context.Context, every time.Duration) {
	c := b.server.Config
	s, err := Shelf(c)
	var all []backup.Stored
	if err == nil {
		all, err = s.List(ctx)
	}
	if err == nil {
		var due bool
		if due, err = b.due(ctx, all, every); err == nil && !due {
			return
		}
	}
	var where string
	var info backup.Info
	if err == nil {
		where, info, err = b.make(ctx, s)
	}
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		b.failed.Inc()
		b.log.Error("backup by schedule failed", "object", c.Server.Backup.To, "err", err)
		b.tell(Snapshot{At: time.Now(), Failed: err.Error()})
		return
	}
	b.log.Info("backup made by schedule", "object", where, "rev", info.Revision, "n", info.Entries)
	b.last.WithLabelValues("timestamp_seconds").SetToCurrentTime()
	b.last.WithLabelValues("revision").Set(float64(info.Revision))
	b.tell(Snapshot{At: time.Now(), Where: where, Revision: info.Revision})
	if all, err = s.List(ctx); err == nil {
		err = b.tidy(ctx, s, all)
	}
	if err != nil {
		b.log.Warn("old backups not removed", "object", c.Server.Backup.To, "err", err)
	}
}

// due tells whether the last backup by schedule is older than every, and not of the revision that the store is at.
func (b *snapshots) due(ctx context.Context, all []backup.Stored, every time.Duration) (bool, error) {
	last := ""
	for _, s := range all {
		if at := backup.Time(s.Name); backup.Scheduled(s.Name) && at.After(backup.Time(last)) {
			last = s.Name
		}
	}
	if last == "" {
		return true, nil
	}
	now, err := b.server.store.Revision(ctx)
	return time.Since(backup.Time(last)) >= every && now != revisionOf(last), err
}

// revisionOf reads the revision in a backup's name.
func revisionOf(name string) store.Revision {
	_, text, _ := strings.Cut(strings.TrimSuffix(name, backup.Suffix), "-r")
	n, _ := strconv.ParseInt(text, 10, 64) // 0: no revision is that
	return store.Revision(n)
}

func (b *snapshots) make(ctx context.Context, s backup.Shelf) (where string, info backup.Info, err error) {
	c := b.server.Config
	var pass []byte
	if p := c.Server.Backup.PassphraseFile; p != "" {
		if pass, err = os.ReadFile(p); err != nil {
			return "", info, err
		}
		if len(strings.TrimSpace(string(pass))) == 0 {
			return "", info, errors.New("passphrase file " + p + " is empty")
		}
	}
	sealed, err := sealCluster(c, pass)
	if err != nil {
		return "", info, err
	}
	now := time.Now()
	return backup.Keep(ctx, s, filepath.Join(c.DataDir, "server", "backups"), func(sum backup.Summary) string { return backup.Name(now, sum.Revision, true) },
		func(w io.Writer) error {
			e := b.server.encryption.store
			_, err := backup.Save(ctx, e.Store, w, manifest(c), e.Keys().Named(), sealed)
			return err
		})
}

// tidy removes what is more than the newest.
func (b *snapshots) tidy(ctx context.Context, s backup.Shelf, all []backup.Stored) error {
	var names []string
	for _, stored := range all {
		names = append(names, stored.Name)
	}
	var errs []error
	for _, name := range backup.Surplus(names, b.server.Config.Server.Backup.Keep) {
		errs = append(errs, s.Remove(ctx, name))
	}
	return errors.Join(errs...)
}
