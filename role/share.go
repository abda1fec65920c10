package role

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/lighter-k8s/lighter/pki"
	"github.com/lighter-k8s/lighter/store"
	"github.com/lighter-k8s/lighter/store/encrypt"
	"github.com/lighter-k8s/lighter/watch"
)

// Where servers that share a store meet over its keys: each says which ones it has, and a rotation gives them the new file,
// encrypted with a key that all have. Both lie where the API's keys do, because the state in memory follows those alone and
// waits for the newest revision.
const (
	serversKey = watch.Prefix + "lighter/encryption/servers/"
	sharedKey  = watch.Prefix + "encryption.lighter.dev/files/current"
)

// sharePatience is how long a rotation waits for the other servers.
const sharePatience = 15 * time.Second

// announcement is what one server says.
type announcement struct {
	Name   string   `json:"name"`
	Reads  []string `json:"reads"` // "aesgcm:v1:key1 <fingerprint>"
	Writes string   `json:"writes"`
}

func (a announcement) reads(key encrypt.Secret) bool { return slices.Contains(a.Reads, keyID(key)) }

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
		err = e.put(ctx, serversKey+e.name, data)
	}
	if e.announced = err == nil; !e.announced && ctx.Err() == nil {
		e.log.Warn("encryption keys not announced", "err", err)
	}
}

// put writes into the engine as it is; nil deletes.
func (e *encryption) put(ctx context.Context, key string, value []byte) error {
	_, err := e.store.Store.Commit(ctx, store.Txn{Ops: []store.Op{{Key: key, Value: value, Expect: store.Any}}})
	return err
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

// all waits until every server that shares the store is as wanted; it is an error when one is not for too long, or byHand, when
// nothing comes to it by itself.
func (e *encryption) all(ctx context.Context, byHand bool, what string, wanted func(announcement) bool) error {
	for began := time.Now(); ; {
		servers, err := e.sharing(ctx)
		if err != nil {
			return err
		}
		n := slices.IndexFunc(servers, func(a announcement) bool { return !wanted(a) })
		if n < 0 {
			return nil
		}
		if byHand || time.Since(began) > sharePatience {
			return fmt.Errorf("server %s %s: copy %s there (it is read again within %s) and repeat the command; if that server is gone for good, add --forget %s",
				servers[n].Name, what, e.path, reloadEvery, servers[n].Name)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// share gives the other servers the cluster's own file, encrypted with a key that all have.
func (e *encryption) share(ctx context.Context, with encrypt.Secret) error {
	if e.name == "" {
		return nil
	}
	data, err := os.ReadFile(e.path)
	if err != nil {
		return err
	}
	keys, err := e.allOf([]encrypt.Secret{with})
	if err != nil {
		return err
	}
	value, err := keys.Seal(ctx, sharedKey, data)
	if err != nil {
		return err
	}
	return e.put(ctx, sharedKey, value)
}

// allOf are Keys that read and write everything with some secrets; the first writes.
func (e *encryption) allOf(secrets []encrypt.Secret) (*encrypt.Keys, error) {
	data, err := yaml.Marshal(ownConfiguration([]string{"*.*"}, nil, secrets))
	if err != nil {
		return nil, err
	}
	return encrypt.Parse(data, e.stored)
}

// adopt takes the file that another server shared, if it is not the one that is here.
func (e *encryption) adopt(ctx context.Context, engine store.Store) error {
	entry, err := engine.Get(ctx, sharedKey, 0)
	if err != nil || entry.Revision == 0 {
		return err
	}
	f, err := readOwn(e.path)
	if err != nil {
		return err
	}
	keys, err := e.allOf(f.keys)
	if err != nil {
		return err
	}
	data, _, err := keys.Open(ctx, sharedKey, entry.Value)
	if err != nil {
		return fmt.Errorf("another server has changed the encryption keys, and none that is here reads what it says: copy its %s: %w", e.path, err)
	}
	now, err := os.ReadFile(e.path)
	if err != nil || encrypt.Hash(now) == encrypt.Hash(data) {
		return err
	}
	c, err := encrypt.Read(data)
	if err != nil {
		return err
	}
	next, _, _, err := ownParts(c)
	if err != nil {
		return err
	}
	gone := slices.DeleteFunc(slices.Clone(f.keys), func(k encrypt.Secret) bool {
		return slices.ContainsFunc(next, func(n encrypt.Secret) bool { return n.Name == k.Name })
	})
	if len(gone) > 0 {
		if err := retire(e.path, gone); err != nil {
			return err
		}
	}
	return pki.WriteFile(e.path, data, 0o600)
}

// follow adopts what the other servers share, until ctx ends.
func (e *encryption) follow(ctx context.Context) {
	for ctx.Err() == nil {
		at, err := e.store.Store.Revision(ctx)
		if err == nil {
			err = e.adoptNow(ctx)
		}
		if err == nil {
			for ev, werr := range e.store.Store.Watch(ctx, sharedKey, at) {
				if err = werr; err == nil && ev.Key != "" {
					err = e.adoptNow(ctx)
				}
				if err != nil {
					break
				}
			}
		}
		if ctx.Err() == nil && err != nil {
			e.log.Error("encryption keys of the other servers not taken", "err", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(reloadEvery):
		}
	}
}

// adoptNow adopts and uses what another server shared. While this one rotates, what is shared may be older than its own file.
func (e *encryption) adoptNow(ctx context.Context) error {
	e.turn.Lock()
	defer e.turn.Unlock()
	if err := e.adopt(ctx, e.store.Store); err != nil {
		return err
	}
	return e.look(ctx)
}
