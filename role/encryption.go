package role

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/config"
	"github.com/lighter-k8s/lighter/pki"
	"github.com/lighter-k8s/lighter/store"
	"github.com/lighter-k8s/lighter/store/encrypt"
	"github.com/lighter-k8s/lighter/watch"
)

// reloadEvery is how often the encryption configuration is looked at for changes.
const reloadEvery = 5 * time.Second

// encryption is what encrypts in this process, and how it comes by its keys.
type encryption struct {
	store  *encrypt.Store
	path   string // of the file; "": none
	own    bool   // the file is ours: key rotation may write it
	stored map[string]string
	log    *slog.Logger

	mu        sync.Mutex // one change at a time
	turn      sync.Mutex // rotates, or takes what another server shared
	metrics   *encryptionMetrics
	failed    string // hash of a file that could not be used, so that it is said once
	plugins   context.CancelFunc
	announced bool            // the others know our keys
	rewrite   chan struct{}   // asks for a rewrite in the background
	asks      chan chan error // asks for a look at the file, now
	name      string          // of this server among those that share the store; "": nobody shares it
}

// EncryptionFile is where the cluster's own encryption keys lie in a data directory, as an EncryptionConfiguration.
func EncryptionFile(dataDir string) string {
	return filepath.Join(dataDir, "server", "encryption.yaml")
}

// encryptionFile is the file that a configuration means, "" for none, and whether it is the cluster's own.
func encryptionFile(c *config.Config) (path string, own bool) {
	if p := c.Server.Encrypt.ProviderConfig; p != "" {
		return p, false
	}
	path = EncryptionFile(c.DataDir)
	if len(c.Server.Encrypted()) > 0 {
		return path, true
	}
	if _, err := os.Stat(path); err == nil && c.Server.OwnStore() {
		return path, true // what it encrypted must be readable
	}
	return "", false
}

// openEncryption puts encryption above a store's engine, with the keys that the configuration means; at the first start a
// key is made. Without any, values pass as they are.
func openEncryption(ctx context.Context, c *config.Config, engine store.Store, infos []*api.Info, log *slog.Logger) (*encryption, error) {
	e := &encryption{stored: storedResources(infos), log: log, metrics: newEncryptionMetrics(), rewrite: make(chan struct{}, 1), asks: make(chan chan error), plugins: func() {}}
	e.path, e.own = encryptionFile(c)
	if c.Server.Store == "etcd" {
		e.name = fmt.Sprintf("%s-%.4x", c.Node.Name, sha256.Sum256([]byte(c.DataDir))) // several may run on one host
	}
	if e.path == "" {
		e.store = encrypt.New(engine, &encrypt.Keys{})
		return e, nil
	}
	if e.own {
		if err := ownKeys(ctx, e.path, c.Server.Encrypted(), engine); err != nil {
			return nil, err
		}
		if err := e.adopt(ctx, engine); err != nil && e.name != "" {
			log.Error("encryption keys of the other servers not taken", "err", err)
		}
	}
	keys, err := e.load()
	if err != nil {
		return nil, err
	}
	for said := false; ; said = true { // what a plugin encrypted cannot be read without it
		err := keys.Ready(ctx)
		if err == nil {
			break
		}
		if !said {
			log.Warn("waiting for the KMS plugin", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(err, keys.Close())
		case <-time.After(time.Second):
		}
	}
	e.store = encrypt.New(engine, keys)
	e.metrics.using(keys.Hash)
	return e, nil
}

// storedResources says which resource lies at which part of store keys: "services/specs" is "services".
func storedResources(infos []*api.Info) map[string]string {
	out := map[string]string{}
	for _, i := range infos {
		if !i.Virtual && i.Stored == i {
			out[i.StoreKey] = strings.TrimSuffix(i.Resource+"."+i.Group, ".")
		}
	}
	return out
}

// load reads the file; nil when it is the one in use.
func (e *encryption) load() (*encrypt.Keys, error) {
	data, err := os.ReadFile(e.path)
	if err == nil && e.store != nil && encrypt.Hash(data) == e.store.Keys().Hash {
		return nil, nil
	}
	var keys *encrypt.Keys
	if err == nil {
		keys, err = encrypt.Parse(data, e.stored)
	}
	if err != nil {
		return nil, fmt.Errorf("encryption configuration %s: %w", e.path, err)
	}
	return keys, nil
}

// ownKeys makes the cluster's own file at the first start, and makes it say which resources are encrypted.
func ownKeys(ctx context.Context, path string, resources []string, engine store.Store) error {
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		if err := noneEncrypted(ctx, path, engine); err != nil {
			return err
		}
		return writeEncryption(path, ownConfiguration(resources, nil, []encrypt.Secret{newEncryptionKey()}))
	}
	if err != nil {
		return err
	}
	c, err := encrypt.Read(data)
	if err != nil {
		return fmt.Errorf("encryption configuration %s: %w", path, err)
	}
	keys, now, before, err := ownParts(c)
	if err != nil {
		return fmt.Errorf("encryption configuration %s: %w", path, err)
	}
	if slices.Equal(now, resources) {
		return nil
	}
	for _, r := range now { // what is no longer encrypted must be readable until it is written again
		if !slices.Contains(resources, r) && !slices.Contains(before, r) {
			before = append(before, r)
		}
	}
	before = slices.DeleteFunc(before, func(r string) bool { return slices.Contains(resources, r) })
	next := ownConfiguration(resources, before, keys)
	text, err := yaml.Marshal(next)
	if err != nil {
		return err
	}
	if _, err := encrypt.Parse(text, nil); err != nil {
		return fmt.Errorf("encrypt-resources %s: %w", strings.Join(resources, ","), err)
	}
	return writeEncryption(path, next)
}

// noneEncrypted refuses to make a new key where the one that encrypted the store is missing.
func noneEncrypted(ctx context.Context, path string, engine store.Store) error {
	entries, _, err := engine.List(ctx, watch.Prefix+"secrets/", store.Page{Limit: 1000})
	if err != nil {
		return err
	}
	for _, e := range entries {
		if by := encrypt.Provenance(e.Value); by != "identity" {
			return fmt.Errorf("%s is missing, and the store has values that its key encrypted (%s, by %s): put the file back, "+
				"from 'lighter certs encryption-config' of another server or from a backup with --passphrase-file", path, e.Key, by)
		}
	}
	return nil
}

func newEncryptionKey() encrypt.Secret {
	secret := make([]byte, 32)
	rand.Read(secret)
	return encrypt.Secret{Name: "key-" + time.Now().UTC().Format("20060102-150405"), Secret: secret}
}

// ownConfiguration is the cluster's own file: resources are encrypted with the first key, before are those that were.
func ownConfiguration(resources, before []string, keys []encrypt.Secret) *encrypt.Configuration {
	c := &encrypt.Configuration{APIVersion: encrypt.APIVersion, Kind: encrypt.Kind}
	gcm, none := encrypt.Provider{AESGCM: &encrypt.Secrets{Keys: keys}}, encrypt.Provider{Identity: &struct{}{}}
	if len(resources) > 0 {
		c.Resources = append(c.Resources, encrypt.Resources{Resources: resources, Providers: []encrypt.Provider{gcm, none}})
	}
	if len(before) > 0 {
		c.Resources = append(c.Resources, encrypt.Resources{Resources: before, Providers: []encrypt.Provider{none, gcm}})
	}
	return c
}

// ownParts reads what ownConfiguration made.
func ownParts(c *encrypt.Configuration) (keys []encrypt.Secret, resources, before []string, err error) {
	for _, r := range c.Resources {
		if len(r.Providers) != 2 {
			return nil, nil, nil, errors.New("it was not made by Lighter; give it with --encryption-provider-config")
		}
		gcm, list := r.Providers[0].AESGCM, &resources
		if gcm == nil {
			gcm, list = r.Providers[1].AESGCM, &before
		}
		if gcm == nil {
			return nil, nil, nil, errors.New("it was not made by Lighter; give it with --encryption-provider-config")
		}
		keys, *list = gcm.Keys, append(*list, r.Resources...)
	}
	return keys, resources, before, nil
}

func writeEncryption(path string, c *encrypt.Configuration) error {
	data, err := yaml.Marshal(c)
	if err != nil {
		return err
	}
	return pki.WriteFile(path, append([]byte("# Made by Lighter. Whoever has this file can read what is encrypted in the cluster store.\n"), data...), 0o600)
}

// run keeps the keys as the file says, and rewrites what is stored otherwise, until ctx ends.
func (e *encryption) run(ctx context.Context, state *watch.State) error {
	if e.path == "" {
		return nil
	}
	var parts sync.WaitGroup
	defer parts.Wait()
	e.mu.Lock()
	e.begin(ctx, &parts, e.store.Keys())
	e.mu.Unlock()
	if e.own { // at the first start with keys, and after a rotation that a crash ended
		e.askRewrite()
	}
	parts.Go(func() { e.rewriter(ctx) })
	if e.own && e.name != "" {
		parts.Go(func() { e.follow(ctx) })
	}
	tick := time.NewTicker(reloadEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case reply := <-e.asks:
			reply <- e.reload(ctx, &parts)
			continue
		}
		if err := e.reload(ctx, &parts); err != nil {
			e.log.Error("encryption configuration not used", "err", err)
		}
		if !e.announced {
			e.announce(ctx)
		}
		for _, key := range state.Lost() { // the keys may be there now
			if _, err := e.store.Get(ctx, key, 0); err == nil {
				if err := e.store.Touch(ctx, key); err != nil && ctx.Err() == nil {
					e.log.Warn("object stays unreadable", "object", key, "err", err)
				}
			}
		}
	}
}

// begin asks the plugins of keys for their state from now on. e.mu must be held.
func (e *encryption) begin(ctx context.Context, parts *sync.WaitGroup, keys *encrypt.Keys) {
	e.plugins()
	ctx, e.plugins = context.WithCancel(ctx)
	parts.Go(func() {
		keys.Run(ctx)
		<-ctx.Done()
		// Reads that began with these keys may still ask.
		time.AfterFunc(time.Minute, func() { _ = keys.Close() })
	})
	e.announce(ctx)
}

// reload uses the file if it changed. A file that cannot be used is an error, once, and changes nothing.
func (e *encryption) reload(ctx context.Context, parts *sync.WaitGroup) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	keys, err := e.load()
	if err != nil {
		return e.refuse(err)
	}
	if keys == nil {
		e.failed = ""
		return nil
	}
	if err := keys.Ready(ctx); err != nil {
		return e.refuse(errors.Join(err, keys.Close()))
	}
	e.failed = ""
	e.use(ctx, parts, keys)
	return nil
}

// refuse is the error of a file that cannot be used, the first time.
func (e *encryption) refuse(err error) error {
	if e.failed == err.Error() {
		return nil
	}
	e.failed = err.Error()
	e.metrics.reloads.WithLabelValues("failure").Inc()
	return err
}

func (e *encryption) use(ctx context.Context, parts *sync.WaitGroup, keys *encrypt.Keys) {
	e.store.Use(keys)
	e.begin(ctx, parts, keys)
	e.metrics.reloaded(keys.Hash)
	e.log.Info("encryption configuration in use", "object", e.path, "hash", keys.Hash)
}

// askRewrite has what is stored otherwise than the file says written again, in the background.
func (e *encryption) askRewrite() {
	select {
	case e.rewrite <- struct{}{}:
	default: // somebody asked already
	}
}

// rewriter does what askRewrite asks for.
func (e *encryption) rewriter(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.rewrite:
		}
		n, err := e.store.Rewrite(ctx)
		switch {
		case err != nil && ctx.Err() == nil:
			e.log.Error("stored values not rewritten; the next start goes on", "err", err)
		case n > 0:
			e.log.Info("stored values rewritten as the encryption configuration says", "n", n)
		}
	}
}
