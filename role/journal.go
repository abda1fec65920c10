package role

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/lighter-k8s/lighter/backup"
	"github.com/lighter-k8s/lighter/pki"
)

// journal says what a restore is about to do, so that a start after a crash can end it. It lies in <data>/server.
type journal struct {
	Engine string   `json:"engine"`
	Fill   []string `json:"fill,omitempty"`  // folders that are being filled, and go if it does not come to more
	Ready  bool     `json:"ready"`           // they are whole: the names take their places
	Names  []string `json:"names,omitempty"` // that come from the folder restoring
	Away   []string `json:"away,omitempty"`  // what else goes aside: an etcd member of this server's, and what it knew
	Aside  string   `json:"aside,omitempty"` // what is there under such a name gets this at its end
}

const (
	journalName = "restore.json"
	restoring   = "restoring"                   // the folder that is being filled
	asideFormat = "before-20060102T150405.000Z" // what is moved aside ends with it
)

// install adds the cluster's files.
func (j *journal) install(files backup.Files) {
	for _, name := range clusterFiles {
		if _, ok := files[name]; ok {
			j.Names = append(j.Names, name)
		}
	}
}

func (j journal) write(dir string) error {
	data, err := json.Marshal(j)
	if err != nil {
		return err
	}
	return pki.WriteFile(filepath.Join(dir, journalName), data, 0o600)
}

func (j journal) remove(dir string) error { return os.Remove(filepath.Join(dir, journalName)) }

func readJournal(dir string) (j journal, err error) {
	data, err := os.ReadFile(filepath.Join(dir, journalName))
	if err == nil {
		err = json.Unmarshal(data, &j)
	}
	return j, err
}

// finish puts everything in its place. It may be repeated after a crash: what is no longer in the folder restoring has its place.
func (j journal) finish(dir string) error {
	for _, name := range j.Names {
		from, to := filepath.Join(dir, restoring, name), filepath.Join(dir, name)
		if _, err := os.Lstat(from); err != nil {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
			return err
		}
		if _, err := os.Lstat(to); err == nil {
			if err := os.Rename(to, to+"."+j.Aside); err != nil {
				return err
			}
		}
		if err := errors.Join(os.Rename(from, to), syncDir(filepath.Dir(to)), syncDir(filepath.Dir(from))); err != nil {
			return err
		}
	}
	for _, name := range j.Away {
		path := filepath.Join(dir, name)
		if _, err := os.Lstat(path); err == nil {
			if err := errors.Join(os.Rename(path, path+"."+j.Aside), syncDir(dir)); err != nil {
				return err
			}
		}
	}
	if err := (lineage{Store: j.Engine}).write(dir); err != nil {
		return err
	}
	for _, f := range j.Fill {
		if err := os.RemoveAll(filepath.Join(dir, f)); err != nil {
			return err
		}
	}
	return j.remove(dir)
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// errHalfEtcd: etcd holds a part of a restore.
var errHalfEtcd = errors.New("a restore into etcd was interrupted, and etcd holds a part of it: repeat 'lighter backup restore'")

// finishRestore ends a restore that a crash interrupted, in one way or the other, and says which.
func finishRestore(dir string, log *slog.Logger) error {
	j, err := readJournal(dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("%s: %w", filepath.Join(dir, journalName), err)
	case j.Engine == "etcd" && !j.Ready:
		return errHalfEtcd
	case j.Ready:
		log.Warn("a restore was interrupted after its data was whole: it is completed")
		return j.finish(dir)
	}
	log.Warn("a restore was interrupted before it took effect: the cluster is as before; repeat 'lighter backup restore'")
	for _, f := range j.Fill {
		if err := os.RemoveAll(filepath.Join(dir, f)); err != nil {
			return err
		}
	}
	return j.remove(dir)
}
