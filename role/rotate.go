package role

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"

	"github.com/lighter-k8s/lighter/store"
	"github.com/lighter-k8s/lighter/store/encrypt"
	"github.com/lighter-k8s/lighter/watch"
)

// serversKey is where servers that share a store say which keys they have. It lies where the API's keys do, because the
// state in memory follows those alone and waits for the newest revision.
const serversKey = watch.Prefix + "lighter/encryption/servers/"

// announcement is what one server says.
type announcement struct {
	Name   string   `json:"name"`
	Reads  []string `json:"reads"` // "aesgcm:v1:key1 <fingerprint>"
	Writes string   `json:"writes"`
}

func (a announcement) reads(key encrypt.Secret) bool {
	return slices.Contains(a.Reads, keyID(key))
}

// keyID is how a key of the cluster's own file is known to others.
func keyID(key encrypt.Secret) string {
	return "aesgcm:v1:" + key.Name + " " + encrypt.Fingerprint(key.Secret)
}

// announce tells the servers that share the store which keys this one has, as soon as it uses them.
func (e *encryption) announce(ctx context.Context) {
	if e.name == "" {
		e.announced = true
		return
	}
	a := announcement{Name: e.name}
	for _, n := range e.store.Keys().Named() {
		id := strings.TrimSpace(n.Name + " " + n.Fingerprint)
		a.Reads = append(a.Reads, id)
		if n.Writes && a.Writes == "" {
			a.Writes = id
		}
	}
	data, err := json.Marshal(a)
	if err == nil {
		_, err = e.store.Store.Commit(ctx, store.Txn{Ops: []store.Op{{Key: serversKey + e.name, Value: data, Expect: store.Any}}})
	}
	if e.announced = err == nil; !e.announced && ctx.Err() == nil {
		e.log.Warn("encryption keys not announced", "err", err)
	}
}

// sharing lists what the servers say that share the store.
func (e *encryption) sharing(ctx context.Context) ([]announcement, error) {
	entries, _, err := e.store.Store.List(ctx, serversKey, store.Page{})
	if err != nil {
		return nil, err
	}
	var out []announcement
	for _, entry := range entries {
		var a announcement
		if err := json.Unmarshal(entry.Value, &a); err != nil {
			return nil, fmt.Errorf("%s: %w", entry.Key, err)
		}
		out = append(out, a)
	}
	return out, nil
}

// EncryptionStatus is what 'lighter certs encryption-status' shows.
type EncryptionStatus struct {
	File       string          `json:"file,omitempty"` // "": nothing is encrypted
	Own        bool            `json:"own,omitempty"`
	Keys       []encrypt.Named `json:"keys,omitempty"`
	Stored     map[string]int  `json:"stored,omitempty"` // by what wrote it
	Stale      int             `json:"stale,omitempty"`
	Unreadable []string        `json:"unreadable,omitempty"`
	Rotation   string          `json:"rotation,omitempty"` // the next step of one that was begun
	Servers    []announcement  `json:"servers,omitempty"`
}

func (e *encryption) status(ctx context.Context) (EncryptionStatus, error) {
	s := EncryptionStatus{File: e.path, Own: e.own}
	if e.path == "" {
		return s, nil
	}
	s.Keys = e.store.Keys().Named()
	count, err := e.store.Count(ctx)
	if err != nil {
		return s, err
	}
	s.Stored, s.Stale, s.Unreadable = count.By, count.Stale, count.Unreadable
	if s.Servers, err = e.sharing(ctx); err != nil {
		return s, err
	}
	if e.own {
		f, err := readOwn(e.path)
		if err != nil {
			return s, err
		}
		if step := f.next(); step != stepAdd {
			s.Rotation = step
		}
	}
	return s, nil
}

// The steps of a rotation. Which one is next stands in the file alone, so that one which was interrupted goes on.
const (
	stepAdd   = "add"   // a new key can be read with
	stepWrite = "write" // it is written with
	stepDrop  = "drop"  // all is rewritten, the old keys go
)

// ownFile is the cluster's own encryption configuration.
type ownFile struct {
	keys              []encrypt.Secret
	resources, before []string
}

func readOwn(path string) (f ownFile, err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return f, err
	}
	c, err := encrypt.Read(data)
	if err == nil {
		f.keys, f.resources, f.before, err = ownParts(c)
	}
	if err == nil && len(f.resources) == 0 {
		err = errors.New("it says that nothing is encrypted")
	}
	if err != nil {
		return f, fmt.Errorf("encryption configuration %s: %w", path, err)
	}
	return f, nil
}

// newest is the key that was made last: their names rise.
func (f ownFile) newest() encrypt.Secret {
	return slices.MaxFunc(f.keys, func(a, b encrypt.Secret) int { return cmp.Compare(a.Name, b.Name) })
}

func (f ownFile) next() string {
	switch {
	case len(f.keys) == 1:
		return stepAdd
	case f.newest().Name != f.keys[0].Name:
		return stepWrite
	}
	return stepDrop
}

// change writes the file with other keys and has this server use it.
func (e *encryption) change(ctx context.Context, f ownFile, keys []encrypt.Secret) error {
	if err := writeEncryption(e.path, ownConfiguration(f.resources, f.before, keys)); err != nil {
		return err
	}
	return e.look(ctx)
}

// look has the file looked at now.
func (e *encryption) look(ctx context.Context) error {
	reply := make(chan error, 1)
	select {
	case e.asks <- reply:
		return <-reply
	case <-ctx.Done():
		return ctx.Err()
	}
}

// rotate goes on with a rotation, or begins one, up to and with the step last; say tells what was done.
func (e *encryption) rotate(ctx context.Context, last string, say func(format string, args ...any)) error {
	if !e.own {
		return errors.New("the encryption configuration is yours (--encryption-provider-config): add a key in second place, on every server; then put it first; " +
			"then 'lighter certs rotate-encryption-key --rewrite'; then take the old key out")
	}
	for {
		f, err := readOwn(e.path)
		if err != nil {
			return err
		}
		step := f.next()
		switch step {
		case stepAdd:
			key := newEncryptionKey()
			if old := f.newest().Name; key.Name <= old { // two within a second
				key.Name = old + "a"
			}
			err = e.change(ctx, f, append(f.keys, key))
			say("%s can be read with", key.Name)
		case stepWrite:
			key := f.newest()
			if err := e.all(ctx, "cannot read with "+key.Name+" yet", func(a announcement) bool { return a.reads(key) }); err != nil {
				return err
			}
			rest := slices.DeleteFunc(slices.Clone(f.keys), func(k encrypt.Secret) bool { return k.Name == key.Name })
			err = e.change(ctx, f, append([]encrypt.Secret{key}, rest...))
			say("%s is what is written with", key.Name)
		case stepDrop:
			key := f.keys[0]
			if err := e.all(ctx, "does not write with "+key.Name+" yet", func(a announcement) bool { return a.Writes == keyID(key) }); err != nil {
				return err
			}
			n, err := e.store.Rewrite(ctx)
			if err != nil {
				return err
			}
			say("%d values are rewritten", n)
			count, err := e.store.Count(ctx)
			if err != nil {
				return err
			}
			if len(count.Unreadable) > 0 || count.Stale > 0 {
				return fmt.Errorf("the old keys stay: %d values are still encrypted otherwise and %d cannot be read (%s)", count.Stale, len(count.Unreadable),
					strings.Join(count.Unreadable[:min(3, len(count.Unreadable))], ", "))
			}
			f.before = nil
			if err := e.change(ctx, f, f.keys[:1]); err != nil {
				return err
			}
			for _, old := range f.keys[1:] {
				say("%s is gone: backups made until now need it, from a copy of the file or of a backup with a passphrase", old.Name)
			}
		}
		if err != nil || step == last || step == stepDrop {
			return err
		}
	}
}

// all is nil when every server that shares the store is as wanted.
func (e *encryption) all(ctx context.Context, what string, wanted func(announcement) bool) error {
	servers, err := e.sharing(ctx)
	if err != nil {
		return err
	}
	for _, a := range servers {
		if !wanted(a) {
			return fmt.Errorf("server %s %s: copy %s there (it is read again within %s) and repeat the command; if that server is gone for good, add --forget %s",
				a.Name, what, e.path, reloadEvery, a.Name)
		}
	}
	return nil
}

// forget removes what a server that is gone said.
func (e *encryption) forget(ctx context.Context, name string) error {
	_, err := e.store.Store.Commit(ctx, store.Txn{Ops: []store.Op{{Key: serversKey + name, Expect: store.Any}}})
	return err
}

// serveRotate answers 'lighter certs rotate-encryption-key'.
func (e *encryption) serveRotate(w http.ResponseWriter, r *http.Request) {
	tell(w, func(say func(string, ...any)) error {
		if name := r.FormValue("forget"); name != "" {
			if err := e.forget(r.Context(), name); err != nil {
				return err
			}
		}
		if r.FormValue("rewrite") == "" {
			return e.rotate(r.Context(), r.FormValue("last"), say)
		}
		if err := e.look(r.Context()); err != nil {
			return err
		}
		n, err := e.store.Rewrite(r.Context())
		say("%d values are rewritten", n)
		return err
	})
}
