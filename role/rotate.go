package role

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"

	"github.com/lighter-k8s/lighter/store/encrypt"
)

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

// retiredFile holds keys that only backups need any more. Whoever rotated because a key became known removes it, with these backups.
func retiredFile(path string) string { return strings.TrimSuffix(path, ".yaml") + "-retired.yaml" }

// retired are the keys that were in use once.
func retired(path string) ([]encrypt.Secret, error) {
	data, err := os.ReadFile(retiredFile(path))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	c, err := encrypt.Read(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", retiredFile(path), err)
	}
	keys, _, _, err := ownParts(c)
	return keys, err
}

// retire keeps keys for backups.
func retire(path string, keys []encrypt.Secret) error {
	old, err := retired(path)
	if err != nil {
		return err
	}
	return writeEncryption(retiredFile(path), ownConfiguration(nil, []string{"*.*"}, without(append(slices.Clone(keys), old...))))
}

// without leaves out what is there twice.
func without(keys []encrypt.Secret) (out []encrypt.Secret) {
	for _, k := range keys {
		if !slices.ContainsFunc(out, func(o encrypt.Secret) bool { return o.Name == k.Name }) {
			out = append(out, k)
		}
	}
	return out
}

// withRetired is the cluster's own file with keys that were in use once as further reading keys; names are those that are wanted.
func withRetired(path string, names []string) (*encrypt.Configuration, error) {
	old, err := retired(path)
	if err != nil {
		return nil, err
	}
	old = slices.DeleteFunc(old, func(k encrypt.Secret) bool { return !slices.Contains(names, "aesgcm:v1:"+k.Name) })
	f, err := readOwn(path)
	if errors.Is(err, os.ErrNotExist) && len(old) > 0 {
		return ownConfiguration([]string{"secrets"}, nil, old), nil
	}
	return ownConfiguration(f.resources, f.before, without(append(f.keys, old...))), err
}

// everKeys read what any key of the cluster wrote, those of old too, in whatever resource.
func (e *encryption) everKeys() (*encrypt.Keys, error) {
	f, err := readOwn(e.path)
	if err != nil {
		return nil, err
	}
	old, err := retired(e.path)
	if err != nil {
		return nil, err
	}
	return e.allOf(without(append(f.keys, old...)))
}

// change writes the file with other keys, has this server use it and, unless byHand, gives it to the others.
func (e *encryption) change(ctx context.Context, f ownFile, keys []encrypt.Secret, byHand bool) error {
	if err := writeEncryption(e.path, ownConfiguration(f.resources, f.before, keys)); err != nil {
		return err
	}
	if err := e.look(ctx); err != nil || byHand {
		return err
	}
	return e.share(ctx, f.keys[0])
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
func (e *encryption) rotate(ctx context.Context, last string, byHand bool, say func(format string, args ...any)) error {
	if !e.own {
		return errors.New("the encryption configuration is yours (--encryption-provider-config): add a key in second place, on every server; then put it first; " +
			"then 'lighter certs rotate-encryption-key --rewrite'; then take the old key out")
	}
	e.turn.Lock()
	defer e.turn.Unlock()
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
			err = e.change(ctx, f, append(f.keys, key), byHand)
			say("%s can be read with", key.Name)
		case stepWrite:
			key := f.newest()
			if err := e.all(ctx, byHand, "cannot read with "+key.Name+" yet", func(a announcement) bool { return a.reads(key) }); err != nil {
				return err
			}
			rest := slices.DeleteFunc(slices.Clone(f.keys), func(k encrypt.Secret) bool { return k.Name == key.Name })
			err = e.change(ctx, f, append([]encrypt.Secret{key}, rest...), byHand)
			say("%s is what is written with", key.Name)
		case stepDrop:
			key := f.keys[0]
			if err := e.all(ctx, byHand, "does not write with "+key.Name+" yet", func(a announcement) bool { return a.Writes == keyID(key) }); err != nil {
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
			if err := retire(e.path, f.keys[1:]); err != nil {
				return err
			}
			if err := e.change(ctx, f, f.keys[:1], byHand); err != nil {
				return err
			}
			for _, old := range f.keys[1:] {
				say("%s is no longer in use; it is kept in %s for backups made until now", old.Name, retiredFile(e.path))
			}
		}
		if err != nil || step == last || step == stepDrop {
			return err
		}
	}
}

// forget removes what a server that is gone said.
func (e *encryption) forget(ctx context.Context, name string) error {
	return e.put(ctx, serversKey+name, nil)
}

// serveRotate answers 'lighter certs rotate-encryption-key'.
func (e *encryption) serveRotate(w http.ResponseWriter, r *http.Request) error {
	return tell(w, func(say func(string, ...any)) error {
		if name := r.FormValue("forget"); name != "" {
			if err := e.forget(r.Context(), name); err != nil {
				return err
			}
		}
		if r.FormValue("rewrite") == "" {
			return e.rotate(r.Context(), r.FormValue("last"), r.FormValue("byhand") != "", say)
		}
		if err := e.look(r.Context()); err != nil {
			return err
		}
		n, err := e.store.Rewrite(r.Context())
		say("%d values are rewritten", n)
		return err
	})
}
