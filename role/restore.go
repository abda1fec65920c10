package role

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/lighter-k8s/lighter/api/builtin"
	"github.com/lighter-k8s/lighter/backup"
	"github.com/lighter-k8s/lighter/config"
	"github.com/lighter-k8s/lighter/pki"
	"github.com/lighter-k8s/lighter/store"
	"github.com/lighter-k8s/lighter/store/encrypt"
)

// How far a restore raises the revision above the newest that is known, so that it is above all that clients may have
// seen: little where the store before is there to be asked, much where it is lost. Etcd is raised by writes, so for it there are fewer.
const (
	marginKnown = 10_000
	marginLost  = 1_000_000_000
	marginEtcd  = 100_000
)

// Restore is one restore of a whole cluster's store.
type Restore struct {
	From       string // a file, or an s3:// URL
	Passphrase []byte // opens the cluster's authority and keys in the backup, which then replace those in the data directory
	Margin     int64  // how far to raise the revision; 0: as the constants say
	Say        func(format string, args ...any)
}

// Run restores into the data directory of a configuration, where nothing runs. What was there is moved aside. Until
// the backup is checked, and found to be of use with the keys at hand, nothing is touched.
func (r Restore) Run(ctx context.Context, c *config.Config, log *slog.Logger) (err error) {
	if c.Server.Store == "memory" {
		return errors.New("the memory store forgets all at its end: restore into embedded or etcd")
	}
	lock, err := Lock(c.DataDir)
	if err != nil {
		return fmt.Errorf("%w; end it first, with 'lighter down' or a signal", err)
	}
	defer lock.Close()
	dir := filepath.Join(c.DataDir, "server")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := finishRestore(dir, log); err != nil && !errors.Is(err, errHalfEtcd) {
		return err
	}
	path, done, err := LocalBackup(ctx, c, r.From)
	if err != nil {
		return err
	}
	defer done()
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := backup.Verify(file)
	if err != nil {
		return fmt.Errorf("%s: %w; nothing was changed", r.From, err)
	}
	r.Say("%s is whole: %d objects at revision %d, saved %s", r.From, info.Entries, info.Revision, info.Created.Format(time.RFC3339))
	files, err := r.unseal(info)
	if err != nil {
		return err
	}
	install, err := r.needs(c, info, files)
	if err == nil {
		err = opens(ctx, c, file, info, files)
	}
	if err != nil {
		return fmt.Errorf("%w; nothing was changed", err)
	}
	stream, err := fromItsStart(file)
	if err != nil {
		return err
	}
	defer stream.Close()
	if c.Server.Store == "etcd" {
		err = r.intoEtcd(ctx, c, dir, info, stream, install, log)
	} else {
		err = r.intoEmbedded(ctx, c, dir, info, stream, install, log)
	}
	if err != nil {
		return err
	}
	r.cluster(c, info, files)
	return nil
}

func (r Restore) unseal(info backup.Info) (backup.Files, error) {
	switch {
	case len(bytes.TrimSpace(r.Passphrase)) == 0:
		return nil, nil
	case !info.Sealed:
		return nil, errors.New("the backup has no authority and keys behind a passphrase: restore without --passphrase-file")
	}
	return backup.Unseal(info.SealedData, r.Passphrase)
}

// needs checks that the keys are at hand with which values of the backup are encrypted. It returns what must come into the data
// directory with the store: the files from behind the passphrase, or a key that was in use once, among those that are read with.
func (r Restore) needs(c *config.Config, info backup.Info, files backup.Files) (install backup.Files, err error) {
	have := named(c)
	if data, ok := files["encryption.yaml"]; ok {
		keys, err := encrypt.Parse(data, nil)
		if err != nil {
			return nil, fmt.Errorf("encryption keys in the backup: %w", err)
		}
		defer keys.Close()
		have = append(keys.Named(), have...)
	}
	path, own := encryptionFile(c)
	unused := path == "" // an external etcd, where nothing is encrypted unless somebody says so
	if unused {
		path, own = EncryptionFile(c.DataDir), true
	}
	var once []encrypt.Secret
	if own {
		if once, err = retired(path); err != nil {
			return nil, err
		}
	}
	var again []string
	for _, k := range info.Keys {
		found := false
		for _, h := range have {
			found = found || h.Name == k.Name && (k.Fingerprint == "" || h.Fingerprint == "" || h.Fingerprint == k.Fingerprint)
		}
		for _, o := range once {
			if !found && keyID(o) == k.Name+" "+k.Fingerprint {
				found, again = true, append(again, k.Name)
			}
		}
		if !found {
			how := "put the file with it there, or name it with --encryption-provider-config"
			switch {
			case unused:
				how = "say --encrypt-resources secrets, here and to the server, so that the store's keys are used with it too"
			case info.Sealed && files == nil:
				how = "it is in the backup: give --passphrase-file"
			}
			return nil, fmt.Errorf("%d values of the backup are encrypted with the key %s (fingerprint %s), which %s does not have: %s", k.Values, k.Name, k.Fingerprint, path, how)
		}
	}
	if files != nil || again == nil {
		return files, nil
	}
	with, err := withRetired(path, again)
	if err != nil {
		return nil, err
	}
	data, err := yaml.Marshal(with)
	return backup.Files{"encryption.yaml": data}, err
}

// fromItsStart is the store's stream in a backup's file, wherever that was read to.
func fromItsStart(file io.ReadSeeker) (*backup.File, error) {
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	return backup.Open(file)
}

// opens tries the keys at hand with the values of a backup that were encrypted with keys which whoever saved it did not know: a name alone
// says nothing. What a KMS plugin encrypted has no key here that could be another.
func opens(ctx context.Context, c *config.Config, file io.ReadSeeker, info backup.Info, files backup.Files) error {
	var unknown []string
	for _, k := range info.Keys {
		if k.Fingerprint == "" && !strings.HasPrefix(k.Name, "kms:") {
			unknown = append(unknown, k.Name)
		}
	}
	if unknown == nil {
		return nil
	}
	data, ok := files["encryption.yaml"]
	if !ok {
		path, _ := encryptionFile(c)
		var err error
		if data, err = os.ReadFile(cmp.Or(path, EncryptionFile(c.DataDir))); err != nil {
			return err
		}
	}
	keys, err := encrypt.Parse(data, storedResources(builtin.All()))
	if err != nil {
		return err
	}
	defer keys.Close()
	stream, err := fromItsStart(file)
	if err != nil {
		return err
	}
	defer stream.Close()
	entries, err := store.NewBackupReader(stream)
	if err != nil {
		return err
	}
	for {
		e, err := entries.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		name := encrypt.Provenance(e.Value)
		if !slices.Contains(unknown, name) {
			continue
		}
		if _, _, err := keys.Open(ctx, e.Key, e.Value); err != nil {
			return fmt.Errorf("the key %s at hand is not the one that the backup was made with: %w", name, err)
		}
	}
}

// intoEmbedded fills a store beside the one that is there, and then exchanges them.
func (r Restore) intoEmbedded(ctx context.Context, c *config.Config, dir string, info backup.Info, stream io.Reader, files backup.Files, log *slog.Logger) error {
	above, margin := store.Revision(info.Revision), int64(marginLost)
	if newest, err := newestOf(ctx, c, dir, log); err != nil {
		r.Say("the store that is there cannot be read (%v): the revision is raised by %d", err, margin)
	} else if newest > 0 {
		above, margin = max(above, newest), marginKnown
	}
	if r.Margin > 0 {
		margin = r.Margin
	}
	aside := time.Now().UTC().Format(asideFormat)
	j := journal{Engine: "embedded", Fill: []string{restoring}, Names: []string{"store"}, Away: []string{"member.json", "etcd"}, Aside: aside}
	j.install(files)
	if err := j.write(dir); err != nil {
		return err
	}
	fill := filepath.Join(dir, restoring)
	at, err := r.fill(ctx, c, fill, above+store.Revision(margin), info, stream, files, log)
	if err != nil {
		return errors.Join(fmt.Errorf("%w; the cluster is as before", err), os.RemoveAll(fill), j.remove(dir))
	}
	j.Ready = true
	if err := j.write(dir); err != nil {
		return err
	}
	if err := j.finish(dir); err != nil {
		return err
	}
	r.Say("%d objects are restored at revision %d", info.Entries, at)
	if _, err := os.Stat(filepath.Join(dir, "store."+aside)); err == nil {
		r.Say("the store before is in %s; remove it when you do not need it", filepath.Join(dir, "store."+aside))
	}
	return nil
}

// newestOf is the newest revision of the embedded store of a data directory; 0 when the cluster is not in it.
func newestOf(ctx context.Context, c *config.Config, dir string, log *slog.Logger) (store.Revision, error) {
	if l, err := readLineage(dir); err != nil || l.Store != "embedded" {
		return 0, err
	}
	old := *c
	old.Server.Store = "embedded"
	s, err := openStore(ctx, &old, dir, log)
	if err != nil {
		return 0, err
	}
	newest, err := s.Revision(ctx)
	return newest, errors.Join(err, s.Close())
}

// lay writes the cluster's files into a folder of their own.
func lay(fill string, files backup.Files) error {
	if err := errors.Join(os.RemoveAll(fill), os.MkdirAll(filepath.Join(fill, "pki"), 0o700)); err != nil {
		return err
	}
	for name, data := range files {
		if !slices.Contains(clusterFiles, name) {
			return fmt.Errorf("the backup has a file %q that this version does not know", name)
		}
		if err := pki.WriteFile(filepath.Join(fill, name), data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// fill makes the new store and the cluster's files in a folder of their own.
func (r Restore) fill(ctx context.Context, c *config.Config, fill string, atLeast store.Revision, info backup.Info, stream io.Reader, files backup.Files, log *slog.Logger) (store.Revision, error) {
	if err := lay(fill, files); err != nil {
		return 0, err
	}
	s, err := openStore(ctx, c, fill, log)
	if err != nil {
		return 0, err
	}
	at, err := s.Restore(ctx, stream, atLeast)
	if err == nil {
		err = complete(ctx, s, info)
	}
	return at, errors.Join(err, s.Close())
}

// complete counts what a store holds.
func complete(ctx context.Context, s store.Store, info backup.Info) error {
	var n int64
	for after := ""; ; {
		entries, _, err := s.List(ctx, "", store.Page{After: after, Limit: 1000})
		if err != nil {
			return err
		}
		if len(entries) == 0 {
			break
		}
		n, after = n+int64(len(entries)), entries[len(entries)-1].Key
	}
	if n != info.Entries {
		return fmt.Errorf("%d entries are restored, and the backup has %d", n, info.Entries)
	}
	return nil
}

// intoEtcd fills an empty etcd. One that a restore was interrupted in is emptied first.
func (r Restore) intoEtcd(ctx context.Context, c *config.Config, dir string, info backup.Info, stream io.Reader, files backup.Files, log *slog.Logger) (err error) {
	s, err := openStore(ctx, c, dir, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if j, err := readJournal(dir); err == nil && j.Engine == "etcd" {
		r.Say("etcd holds a part of a restore that was interrupted: it is emptied")
		if err := empty(ctx, s); err != nil {
			return err
		}
	}
	if there, _, err := s.List(ctx, "", store.Page{Limit: 1}); err != nil {
		return err
	} else if len(there) > 0 {
		return notEmpty(s, c)
	}
	above, margin := store.Revision(info.Revision), int64(marginEtcd)
	if newest, err := newestOf(ctx, c, dir, log); err == nil && newest > 0 { // the cluster comes from the embedded store
		above, margin = max(above, newest), marginKnown
	}
	if r.Margin > 0 {
		margin = r.Margin
	}
	j := journal{Engine: "etcd", Fill: []string{restoring}, Aside: time.Now().UTC().Format(asideFormat)}
	j.install(files)
	if err := errors.Join(j.write(dir), lay(filepath.Join(dir, restoring), files)); err != nil {
		return err
	}
	at, err := s.Restore(ctx, stream, above+store.Revision(margin))
	if err == nil {
		err = complete(ctx, s, info)
	}
	if err != nil {
		return errors.Join(err, empty(ctx, s), os.RemoveAll(filepath.Join(dir, restoring)), j.remove(dir))
	}
	j.Ready = true
	if err := errors.Join(j.write(dir), j.finish(dir)); err != nil {
		return err
	}
	r.Say("%d objects are restored into etcd at revision %d", info.Entries, at)
	return nil
}

// notEmpty says what stands in the way of a restore, and what would help.
func notEmpty(s store.Store, c *config.Config) error {
	if m, ok := s.(*memberStore); ok {
		return fmt.Errorf("this server's own etcd holds a cluster already; nothing was changed. To restore into it, stop all servers, move %s and %s away "+
			"on this one, restore with --cluster-init, start it, and let the others join anew", m.member.data(), filepath.Join(m.member.dir, memberName))
	}
	return fmt.Errorf("etcd %s is not empty: restore into an empty one; nothing was changed", strings.Join(c.Server.Etcd.Endpoints, ","))
}

// empty deletes all that a store holds.
func empty(ctx context.Context, s store.Store) error {
	for {
		entries, _, err := s.List(ctx, "", store.Page{Limit: 100})
		if err != nil || len(entries) == 0 {
			return err
		}
		var ops []store.Op
		for _, e := range entries {
			ops = append(ops, store.Op{Key: e.Key, Expect: store.Any})
		}
		if _, err := s.Commit(ctx, store.Txn{Ops: ops}); err != nil {
			return err
		}
	}
}

// cluster says what becomes of the authority and the keys.
func (r Restore) cluster(c *config.Config, info backup.Info, files backup.Files) {
	switch now := manifest(c).Cluster; {
	case files != nil:
		r.Say("the cluster's authority and keys are restored too: nodes and kubeconfigs go on as before")
	case now == "":
		r.Say("the authority is not restored (it is in backups made with --passphrase-file): the next start makes a new one; nodes must join again, and kubeconfigs are made anew")
	case info.Cluster != "" && now != info.Cluster:
		r.Say("the backup is of a cluster with another authority: nodes must join again, and kubeconfigs of that cluster do not fit")
	}
}
