package role

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/lighter-k8s/lighter/backup"
	"github.com/lighter-k8s/lighter/config"
	"github.com/lighter-k8s/lighter/store"
)

// Backups are made by schedule when something changed, the oldest go, and one that fails is told.
func TestSnapshots(t *testing.T) {
	c := &config.Config{DataDir: t.TempDir()}
	if err := c.Complete(); err != nil {
		t.Fatal(err)
	}
	s, err := NewServer(t.Context(), c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer s.store.Close()
	p := NewProgress(State{})
	s.Control(p)
	folder := c.Server.Backup.To
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	for i := range 7 {
		name := fmt.Sprintf("scheduled-2026010%dT000000Z-r0.backup", i+1)
		if err := os.WriteFile(filepath.Join(folder, name), []byte("old"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	change := func() {
		if _, err := s.store.Commit(t.Context(), store.Txn{Ops: []store.Op{{Key: "/registry/x/a", Value: []byte("1"), Expect: store.Any}}}); err != nil {
			t.Fatal(err)
		}
	}
	names := func() (out []string) {
		all, err := backup.Folder(folder).List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range all {
			out = append(out, b.Name)
		}
		return out
	}
	change()
	s.snapshots.once(t.Context(), time.Hour)
	got := names()
	if len(got) != 5 || got[0] != "scheduled-20260104T000000Z-r0.backup" {
		t.Fatalf("%v", got)
	}
	last := got[4]
	if info, err := verify(t.Context(), backup.Folder(folder), last); err != nil || info.Entries != 1 || revisionOf(last) != 1 {
		t.Errorf("%+v, %v", info, err)
	}
	if state := p.State().Snapshot; state == nil || state.Where != filepath.Join(folder, last) {
		t.Errorf("status: %+v", state)
	}
	s.snapshots.once(t.Context(), 0) // due, but nothing changed
	change()
	s.snapshots.once(t.Context(), time.Hour) // changed, but not due
	if again := names(); again[4] != last {
		t.Errorf("%v", again)
	}
	s.snapshots.once(t.Context(), 0)
	if again := names(); len(again) != 5 || again[4] == last || revisionOf(again[4]) != 2 {
		t.Errorf("%v", again)
	}
	if err := os.RemoveAll(folder); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(folder, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s.snapshots.once(t.Context(), 0)
	if state := p.State().Snapshot; state.Failed == "" {
		t.Errorf("status of a failure: %+v", state)
	}
}
