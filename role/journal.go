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
	Engine string      `json:"engine"`
	Fill   []string    `json:"fill,omitempty"` // folders that are being filled, and go if it does not come to more
	Ready  bool        `json:"ready"`          // they are whole: the moves are made
	Moves  [][2]string `json:"moves,omitempty"`
}

const (
	journalName = "restore.json"
	asideFormat = "before-20060102T150405Z" // what is moved aside ends with it
)

// install adds the moves by which the cluster's files take their places.
func (j *journal) install(files backup.Files, aside string) {
	for _, name := range clusterFiles {
		if _, ok := files[name]; ok {
			j.Moves = append(j.Moves, [2]string{name, name + "." + aside}, [2]string{"restoring/" + name, name})
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

// finish makes the moves that are not made yet: one is made when its target is there, or its source is not.
func (j journal) finish(dir string) error {
	for _, m := range j.Moves {
		from, to := filepath.Join(dir, m[0]), filepath.Join(dir, m[1])
		_, gone := os.Lstat(from)
		_, free := os.Lstat(to)
		if gone != nil || free == nil {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
			return err
		}
		if err := errors.Join(os.Rename(from, to), syncDir(filepath.Dir(to))); err != nil {
			return err
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
