package role

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/lighter-k8s/lighter/backup"
	"github.com/lighter-k8s/lighter/config"
	"github.com/lighter-k8s/lighter/pki"
	"github.com/lighter-k8s/lighter/store/encrypt"
)

// Shelf is where a configuration's backups lie.
func Shelf(c *config.Config) (backup.Shelf, error) { return shelf(c, c.Server.Backup.To) }

// shelf is a folder, or a bucket.
func shelf(c *config.Config, to string) (backup.Shelf, error) {
	if strings.HasPrefix(to, "s3://") {
		return backup.NewBucket(to, c.Server.Backup.S3.Endpoint, c.Server.Backup.S3.Region)
	}
	return backup.Folder(to), nil
}

// Place splits where a backup is, "s3://bucket/prefix/name" or a path, into shelf and name; without a suffix it is the shelf alone.
func Place(c *config.Config, where string) (backup.Shelf, string, error) {
	switch {
	case where == "":
		s, err := Shelf(c)
		return s, "", err
	case !strings.HasSuffix(where, backup.Suffix) && (strings.HasPrefix(where, "s3://") || isFolder(where)):
		s, err := shelf(c, where)
		return s, "", err
	case strings.HasPrefix(where, "s3://"):
		i := strings.LastIndexByte(where, '/')
		s, err := shelf(c, where[:i])
		return s, where[i+1:], err
	}
	dir, name := filepath.Split(where)
	if _, err := os.Stat(where); dir == "" && err != nil {
		if _, err := os.Stat(filepath.Join(c.Server.Backup.To, name)); err == nil {
			dir = c.Server.Backup.To // as 'lighter backup list' shows it
		}
	}
	path, err := filepath.Abs(filepath.Join(dir, name))
	return backup.Folder(filepath.Dir(path)), filepath.Base(path), err
}

func isFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir() || strings.HasSuffix(path, "/")
}

// SaveBackup saves the store of a data directory: through the server that runs from it, or itself when none does. to is a file, a
// folder or an s3:// URL, "" where the configuration says; with a passphrase, the cluster's authority and keys are in it too.
func SaveBackup(ctx context.Context, c *config.Config, log *slog.Logger, to string, passphrase []byte) (where string, info backup.Info, err error) {
	s, name, err := Place(c, to)
	if err != nil {
		return "", info, err
	}
	sealed, err := sealCluster(c, passphrase)
	if err != nil {
		return "", info, err
	}
	produce := func(w io.Writer) error { return fetchBackup(ctx, c.DataDir, sealed, w) }
	if _, err := Ask(ctx, c.DataDir); errors.Is(err, ErrNotRunning) || errors.Is(err, os.ErrNotExist) {
		lock, err := Lock(c.DataDir)
		if err != nil {
			return "", info, err
		}
		defer lock.Close()
		c, err := asStored(c)
		if err != nil {
			return "", info, err
		}
		engine, err := openStore(ctx, c, filepath.Join(c.DataDir, "server"), log)
		if err != nil {
			return "", info, err
		}
		defer func() { err = errors.Join(err, engine.Close()) }()
		produce = func(w io.Writer) error {
			_, err := backup.Save(ctx, engine, w, manifest(c), named(c), sealed)
			return err
		}
	}
	return backup.Keep(ctx, s, filepath.Join(c.DataDir, "server", "backups"), func(sum backup.Summary) string {
		if name != "" {
			return name
		}
		return backup.Name(time.Now(), sum.Revision, false)
	}, produce)
}

// fetchBackup has the running server make a backup.
func fetchBackup(ctx context.Context, dataDir string, sealed []byte, w io.Writer) error {
	resp, err := callWith(ctx, dataDir, http.MethodPost, "/backup", bytes.NewReader(sealed))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := refused(resp); err != nil {
		return err
	}
	_, err = io.Copy(w, resp.Body) // one that was cut short is found when it is read back
	return err
}

// serveBackup answers with a backup; the body is what is sealed in it.
func (s *Server) serveBackup(w http.ResponseWriter, r *http.Request) error {
	sealed, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return err
	}
	if len(sealed) == 0 {
		sealed = nil
	}
	sum, err := backup.Save(r.Context(), s.encryption.store.Store, w, manifest(s.Config), s.encryption.store.Keys().Named(), sealed)
	if err != nil {
		s.Log.Error("backup not made", "err", err)
		return errors.Join(err, http.ErrAbortHandler) // the reader must not take it for whole
	}
	s.Log.Info("backup made", "rev", sum.Revision, "n", sum.Entries)
	return nil
}

func manifest(c *config.Config) backup.Manifest {
	m := backup.Manifest{Created: time.Now().UTC().Truncate(time.Second), Version: KubernetesVersion, Engine: c.Server.Store, Server: c.Node.Name}
	if a, err := os.ReadFile(filepath.Join(c.DataDir, "server", "pki", "ca.crt")); err == nil {
		if cert, err := pki.ParseCertificate(a); err == nil {
			m.Cluster = pki.Fingerprint(cert)
		}
	}
	return m
}

// named are the encryption keys of a configuration, as far as its file can be read.
func named(c *config.Config) []encrypt.Named {
	path, _ := encryptionFile(c)
	data, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	keys, err := encrypt.Parse(data, nil)
	if err != nil {
		return nil
	}
	defer keys.Close()
	return keys.Named()
}

// clusterFiles are what, beside the store, makes a cluster the same one: names below <data>/server.
var clusterFiles = []string{"pki/ca.crt", "pki/ca.key", "pki/sa.key", "pki/sa.pub", "encryption.yaml", "encryption-retired.yaml"}

// sealCluster seals the cluster's authority and keys; nil without a passphrase.
func sealCluster(c *config.Config, passphrase []byte) ([]byte, error) {
	if len(bytes.TrimSpace(passphrase)) == 0 {
		return nil, nil
	}
	files := backup.Files{}
	for _, name := range clusterFiles {
		path := filepath.Join(c.DataDir, "server", name)
		if p := c.Server.Encrypt.ProviderConfig; p != "" && name == "encryption.yaml" {
			path = p
		}
		data, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		files[name] = data
	}
	return backup.Seal(files, passphrase)
}

// Kept is a backup in a list.
type Kept struct {
	backup.Stored
	Where string
	Info  backup.Info
	Err   error // it cannot be read
}

// ListBackups lists the backups of a place, newest last. Those in folders are read to their end.
func ListBackups(ctx context.Context, c *config.Config, from string) ([]Kept, error) {
	s, name, err := Place(c, from)
	if err != nil {
		return nil, err
	}
	all, err := s.List(ctx)
	if err != nil {
		return nil, err
	}
	var out []Kept
	for _, stored := range all {
		if name != "" && stored.Name != name {
			continue
		}
		k := Kept{Stored: stored, Where: s.Where(stored.Name)}
		if at := backup.Time(stored.Name); !at.IsZero() {
			k.Time = at
		}
		if _, ok := s.(backup.Folder); ok {
			k.Info, k.Err = verify(ctx, s, stored.Name)
		}
		out = append(out, k)
	}
	return out, nil
}

func verify(ctx context.Context, s backup.Shelf, name string) (backup.Info, error) {
	r, err := s.Get(ctx, name)
	if err != nil {
		return backup.Info{}, err
	}
	info, err := backup.Verify(r)
	return info, errors.Join(err, r.Close())
}

// LocalBackup gives the path of a backup on this machine; one that is elsewhere is fetched, until done is called.
func LocalBackup(ctx context.Context, c *config.Config, from string) (path string, done func(), err error) {
	s, name, err := Place(c, from)
	if err != nil {
		return "", nil, err
	}
	if name == "" {
		return "", nil, errors.New(from + " is a place for backups: name one of them; see 'lighter backup list'")
	}
	if _, ok := s.(backup.Folder); ok {
		return s.Where(name), func() {}, nil
	}
	in, err := s.Get(ctx, name)
	if err != nil {
		return "", nil, err
	}
	defer in.Close()
	file, err := os.CreateTemp("", "lighter-*"+backup.Suffix)
	if err != nil {
		return "", nil, err
	}
	_, err = io.Copy(file, in)
	if err = errors.Join(err, file.Close()); err != nil {
		return "", nil, errors.Join(err, os.Remove(file.Name()))
	}
	return file.Name(), func() { _ = os.Remove(file.Name()) }, nil
}
