package role

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/lighter-k8s/lighter/config"
	"github.com/lighter-k8s/lighter/pki"
	"github.com/lighter-k8s/lighter/store"
	"github.com/lighter-k8s/lighter/watch"
)

// lineage is where a data directory's cluster is: the file <data>/server/store.json, written when there is a cluster.
type lineage struct {
	Store string `json:"store"` // embedded or etcd; memory leaves nothing
}

const lineageName = "store.json"

func (l lineage) write(dir string) error {
	data, err := json.Marshal(l)
	if err != nil {
		return err
	}
	return pki.WriteFile(filepath.Join(dir, lineageName), append(data, '\n'), 0o600)
}

// readLineage says where the cluster of a data directory is; "" where there is none.
func readLineage(dir string) (l lineage, err error) {
	data, err := os.ReadFile(filepath.Join(dir, lineageName))
	switch {
	case err == nil:
		if err := json.Unmarshal(data, &l); err != nil {
			return l, fmt.Errorf("%s: %w", filepath.Join(dir, lineageName), err)
		}
	case !errors.Is(err, os.ErrNotExist):
		return l, err
	default: // of a version that did not write the file
		if _, err := os.Stat(filepath.Join(dir, "store")); err == nil {
			l.Store = "embedded"
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "store")); l.Store == "embedded" && errors.Is(err, os.ErrNotExist) {
		return lineage{}, nil // somebody removed it
	}
	return l, nil
}

// asStored is the configuration with the store that the data directory's cluster is in.
func asStored(c *config.Config) (*config.Config, error) {
	l, err := readLineage(filepath.Join(c.DataDir, "server"))
	if err != nil || l.Store == "" || l.Store == c.Server.Store {
		return c, err
	}
	if _, err := os.Stat(filepath.Join(c.DataDir, "server", memberName)); l.Store == "etcd" && err == nil {
		old := *c
		old.Server.Store, old.Server.ClusterInit = "etcd", true
		return &old, nil
	}
	if l.Store == "etcd" && len(c.Server.Etcd.Endpoints) == 0 {
		return nil, errors.New("the cluster is in etcd: give --store etcd and --etcd-endpoints")
	}
	old := *c
	old.Server.Store = l.Store
	return &old, nil
}

// sameStore refuses to go on with another store than the one that the cluster is in: it would be another, empty cluster
// under the same name, with revisions that begin anew.
func sameStore(ctx context.Context, c *config.Config, dir string, engine store.Store, log *slog.Logger) error {
	l, err := readLineage(dir)
	if err != nil || l.Store == "" || l.Store == c.Server.Store || c.Server.Store == "memory" && l.Store == "memory" {
		return err
	}
	if l.Store == "embedded" {
		old := *c
		old.Server.Store = l.Store
		s, err := openStore(ctx, &old, dir, log)
		if err != nil {
			return err
		}
		none, err := isEmpty(ctx, s)
		if err = errors.Join(err, s.Close()); err != nil {
			return err
		}
		if here, err := isEmpty(ctx, engine); err != nil || none && here {
			return err
		}
	}
	return fmt.Errorf(`the cluster of %s is in the %s store, and --store %s is asked for; nothing is copied by itself. To copy it:
  lighter backup save --data-dir %s cluster.backup
  lighter backup restore --data-dir %s --store %s ... cluster.backup
which keeps UIDs and raises the revision. To begin anew without it, remove %s`,
		c.DataDir, l.Store, c.Server.Store, c.DataDir, c.DataDir, c.Server.Store, filepath.Join(dir, lineageName)+remainder(l, dir))
}

func remainder(l lineage, dir string) string {
	if l.Store == "embedded" {
		return " and " + filepath.Join(dir, "store")
	}
	return ""
}

func isEmpty(ctx context.Context, s store.Store) (bool, error) {
	entries, _, err := s.List(ctx, watch.Prefix, store.Page{Limit: 1})
	return len(entries) == 0, err
}
