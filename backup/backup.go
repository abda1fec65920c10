// Package backup is the file that a cluster's store is saved in: what Save makes of a store, Verify checks and Open
// gives back to a store's Restore. Values stand in it as they are stored, so what is encrypted stays so; the file says
// which keys it needs. role decides when to save and where to; files and S3 are its business.
//
//	backup.go  Save         read.go     Verify, Open    frames.go  the file's bytes
//	sealed.go  the authority and the keys, behind a passphrase
//	keep.go    names, and which backups go    shelf.go  where they lie    s3.go  in a bucket
package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/lighter-k8s/lighter/store"
	"github.com/lighter-k8s/lighter/store/encrypt"
)

// Manifest is what is known before a backup begins.
type Manifest struct {
	Created time.Time `json:"created"`
	Version string    `json:"version,omitempty"` // of Lighter
	Engine  string    `json:"engine"`            // embedded, etcd or memory
	Cluster string    `json:"cluster,omitempty"` // fingerprint of its authority: "sha256:..."
	Server  string    `json:"server,omitempty"`  // who made it
}

// Summary is what a backup holds; it is its last part, so that a file without it is not whole.
type Summary struct {
	Revision int64 `json:"revision"` // that it shows
	Entries  int64 `json:"entries"`
	Keys     []Key `json:"keys,omitempty"` // those that its encrypted values need
	Sealed   bool  `json:"sealed"`         // the cluster's authority and keys are in it, behind a passphrase
}

// Key is one that values of a backup are encrypted with.
type Key struct {
	Name        string `json:"name"`                  // "aesgcm:v1:key1"
	Fingerprint string `json:"fingerprint,omitempty"` // of its secret, where it is known to be that one
	Values      int64  `json:"values"`
}

// Save writes a backup of a store's engine: consistent, while writers go on. keys are those in use, for their
// fingerprints; sealed, if not nil, is what Seal made.
func Save(ctx context.Context, engine store.Store, w io.Writer, m Manifest, keys []encrypt.Named, sealed []byte) (Summary, error) {
	sum := Summary{Sealed: sealed != nil}
	f, err := newFrames(w)
	if err != nil {
		return sum, err
	}
	head, err := json.Marshal(m)
	if err != nil {
		return sum, err
	}
	if err := f.write(frameManifest, head); err != nil {
		return sum, err
	}
	if sealed != nil {
		if err := f.write(frameSealed, sealed); err != nil {
			return sum, err
		}
	}
	z, err := zstd.NewWriter(f, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(1<<20))
	if err != nil {
		return sum, err
	}
	// What is written is read at once, to know what is in it.
	r, pipe := io.Pipe()
	counted := make(chan error, 1)
	by := map[string]int64{}
	go func() {
		err := each(r, func(at store.Revision, e store.Entry) {
			if sum.Revision = int64(at); e.Key == "" {
				return
			}
			sum.Entries++
			by[encrypt.Provenance(e.Value)]++
		})
		r.CloseWithError(err)
		counted <- err
	}()
	_, err = engine.Backup(ctx, io.MultiWriter(z, pipe))
	err = errors.Join(err, pipe.CloseWithError(err), z.Close())
	if counting := <-counted; err == nil {
		err = counting
	}
	if err != nil {
		return sum, fmt.Errorf("backup: %w", err)
	}
	for _, name := range slices.Sorted(maps.Keys(by)) {
		if name == "identity" {
			continue
		}
		k := Key{Name: name, Values: by[name]}
		k.Fingerprint = fingerprint(keys, name)
		sum.Keys = append(sum.Keys, k)
	}
	tail, err := json.Marshal(sum)
	if err != nil {
		return sum, err
	}
	return sum, f.end(tail)
}

// fingerprint is that of the key with a name; "" where there is none, or several, of which each is for other resources: who restores has to try them.
func fingerprint(keys []encrypt.Named, name string) (found string) {
	for _, n := range keys {
		if n.Name == name && found != "" && n.Fingerprint != found {
			return ""
		}
		if n.Name == name {
			found = n.Fingerprint
		}
	}
	return found
}

// each reads a store's stream: f gets its revision with an empty entry, and then every entry.
func each(r io.Reader, f func(at store.Revision, e store.Entry)) error {
	b, err := store.NewBackupReader(r)
	if err != nil {
		return err
	}
	f(b.Revision(), store.Entry{})
	for {
		e, err := b.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		f(b.Revision(), e)
	}
}
