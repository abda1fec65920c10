package encrypt_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"testing"

	"github.com/lighter-k8s/lighter/store"
	"github.com/lighter-k8s/lighter/store/embedded"
	"github.com/lighter-k8s/lighter/store/encrypt"
	"github.com/lighter-k8s/lighter/store/memory"
	"github.com/lighter-k8s/lighter/store/storetest"
)

func secret(b byte) string { return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{b}, 32)) }

// list is a provider with keys such as "a" and "b"; the first writes.
func list(kind string, names ...string) string {
	out := "  - " + kind + ":\n      keys:\n"
	for _, n := range names {
		out += fmt.Sprintf("      - {name: %s, secret: %s}\n", n, secret(n[0]))
	}
	return out
}

func file(resources string, providers ...string) []byte {
	return []byte("apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [" + resources + "]\n  providers:\n" + strings.Join(providers, ""))
}

const plain = "  - identity: {}\n"

// stored is what a server says of its resources.
var stored = map[string]string{"secrets": "secrets", "configmaps": "configmaps", "services/specs": "services", "deployments": "deployments.apps", "pods": "pods"}

func parse(t testing.TB, data []byte) *encrypt.Keys {
	t.Helper()
	k, err := encrypt.Parse(data, stored)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// shifted gives the suite's keys, such as "/a" and "/many/001", a place where those of a resource lie.
type shifted struct{ *encrypt.Store }

const shift = "/registry/example.com/foos"

func (s shifted) Commit(ctx context.Context, t store.Txn) (store.Revision, error) {
	t.Ops = slices.Clone(t.Ops)
	for i, op := range t.Ops {
		if op.Key != "" {
			t.Ops[i].Key = shift + op.Key
		}
	}
	at, err := s.Store.Commit(ctx, t)
	var c *store.Conflict
	if errors.As(err, &c) {
		c.Key = strings.TrimPrefix(c.Key, shift)
	}
	return at, err
}

func (s shifted) Get(ctx context.Context, key string, at store.Revision) (store.Entry, error) {
	e, err := s.Store.Get(ctx, shift+key, at)
	e.Key = strings.TrimPrefix(e.Key, shift)
	return e, err
}

func (s shifted) List(ctx context.Context, prefix string, p store.Page) ([]store.Entry, store.Revision, error) {
	if p.After != "" {
		p.After = shift + p.After
	}
	entries, at, err := s.Store.List(ctx, shift+prefix, p)
	for i, e := range entries {
		entries[i].Key = strings.TrimPrefix(e.Key, shift)
	}
	return entries, at, err
}

func (s shifted) Push(ctx context.Context, prefix string, after store.Revision, take func([]store.Event) bool) error {
	return s.Store.Push(ctx, shift+prefix, after, func(events []store.Event) bool {
		for n := range events {
			events[n].Key = strings.TrimPrefix(events[n].Key, shift)
		}
		return take(events)
	})
}

func (s shifted) Watch(ctx context.Context, prefix string, after store.Revision) iter.Seq2[store.Event, error] {
	return func(yield func(store.Event, error) bool) {
		for e, err := range s.Store.Watch(ctx, shift+prefix, after) {
			e.Key = strings.TrimPrefix(e.Key, shift)
			if !yield(e, err) {
				return
			}
		}
	}
}

// Backup gives the suite what it wrote; Store.Backup gives what is stored.
func (s shifted) Backup(ctx context.Context, w io.Writer) (store.Revision, error) {
	var b bytes.Buffer
	at, err := s.Store.Backup(ctx, &b)
	if err != nil {
		return 0, err
	}
	return at, translate(w, &b, func(e store.Entry) (store.Entry, error) {
		value, _, err := s.Keys().Open(ctx, e.Key, e.Value)
		return store.Entry{Key: strings.TrimPrefix(e.Key, shift), Value: value, Revision: e.Revision}, err
	})
}

func (s shifted) Restore(ctx context.Context, r io.Reader, atLeast store.Revision) (store.Revision, error) {
	var b bytes.Buffer
	err := translate(&b, r, func(e store.Entry) (store.Entry, error) {
		e.Key = shift + e.Key
		return e, nil
	})
	if err != nil {
		return 0, err
	}
	return s.Store.Restore(ctx, &b, atLeast)
}

func translate(w io.Writer, r io.Reader, f func(store.Entry) (store.Entry, error)) error {
	in, err := store.NewBackupReader(r)
	if err != nil {
		return err
	}
	out, err := store.NewBackupWriter(w, in.Revision())
	for err == nil {
		var e store.Entry
		if e, err = in.Next(); err == io.EOF {
			return out.Close()
		}
		if err == nil {
			if e, err = f(e); err == nil {
				err = out.Write(e)
			}
		}
	}
	return err
}

func TestStore(t *testing.T) {
	engines := map[string]func(t *testing.T) store.Store{
		"memory": func(*testing.T) store.Store { return memory.New() },
		"embedded": func(t *testing.T) store.Store {
			s, err := embedded.Open(t.TempDir(), embedded.Options{})
			if err != nil {
				t.Fatal(err)
			}
			return s
		},
	}
	for name, open := range engines {
		t.Run(name, func(t *testing.T) {
			storetest.Run(t, func(t *testing.T) store.Store {
				return shifted{encrypt.New(open(t), parse(t, file("'*.*'", list("aesgcm", "a"), plain)))}
			})
		})
	}
}

func put(t testing.TB, s store.Store, key, value string) {
	t.Helper()
	if _, err := s.Commit(t.Context(), store.Txn{Ops: []store.Op{{Key: key, Value: []byte(value), Expect: store.Any}}}); err != nil {
		t.Fatal(err)
	}
}

func raw(t testing.TB, s store.Store, key string) string {
	t.Helper()
	e, err := s.Get(t.Context(), key, 0)
	if err != nil {
		t.Fatal(err)
	}
	return string(e.Value)
}

func TestForms(t *testing.T) {
	const key, canary = "/registry/secrets/default/a", "canary in the coal mine"
	for name, tt := range map[string]struct {
		provider, begin string
		moved           bool // another key's value is noticed
		changed         bool // a changed value is noticed
	}{
		"aesgcm":    {list("aesgcm", "key1"), "k8s:enc:aesgcm:v1:key1:", true, true},
		"aescbc":    {list("aescbc", "key1"), "k8s:enc:aescbc:v1:key1:", false, false},
		"secretbox": {list("secretbox", "key1"), "k8s:enc:secretbox:v1:key1:", false, true},
	} {
		t.Run(name, func(t *testing.T) {
			engine := memory.New()
			s := encrypt.New(engine, parse(t, file("secrets", tt.provider, plain)))
			for _, value := range []string{canary, "", strings.Repeat("x", 16), strings.Repeat("x", 4000)} {
				put(t, s, key, value)
				if got := raw(t, s, key); got != value {
					t.Errorf("got %q, want %q", got, value)
				}
				at := raw(t, engine, key)
				if !strings.HasPrefix(at, tt.begin) || value != "" && strings.Contains(at, value) {
					t.Errorf("stored as %q", at)
				}
			}
			put(t, s, key, canary)
			first := raw(t, engine, key)
			put(t, s, key, canary)
			if raw(t, engine, key) == first {
				t.Error("the same plain text gives the same cipher text")
			}
			// What is not named stays as it is.
			put(t, s, "/registry/configmaps/default/a", canary)
			if raw(t, engine, "/registry/configmaps/default/a") != canary {
				t.Error("a ConfigMap is encrypted")
			}
			moved := "/registry/secrets/default/b"
			put(t, engine, moved, first)
			_, err := s.Get(t.Context(), moved, 0)
			if tt.moved != errors.Is(err, store.ErrUnreadable) || err != nil && !strings.Contains(err.Error(), moved) {
				t.Errorf("a value from another key: %v", err)
			}
			for i := len(tt.begin); i < len(first) && tt.changed; i++ {
				changed := []byte(first)
				changed[i] ^= 1
				put(t, engine, moved, string(changed))
				if _, err := s.Get(t.Context(), moved, 0); !errors.Is(err, store.ErrUnreadable) {
					t.Fatalf("byte %d changed: %v", i, err)
				}
			}
			for _, cut := range []string{first[:len(tt.begin)], first[:len(tt.begin)+5], first[:len(first)-1], "k8s:enc:", "k8s:enc:aesgcm:v1:other:xxxx"} {
				put(t, engine, moved, cut)
				if _, err := s.Get(t.Context(), moved, 0); !errors.Is(err, store.ErrUnreadable) {
					t.Errorf("cut to %q: %v", cut, err)
				}
			}
			wrong := encrypt.New(engine, parse(t, file("secrets", strings.ReplaceAll(tt.provider, secret('k'), secret('w')), plain)))
			if e, err := wrong.Get(t.Context(), key, 0); !errors.Is(err, store.ErrUnreadable) && string(e.Value) == canary {
				t.Errorf("another secret: %v", err)
			}
		})
	}
}

// One value that cannot be read takes no other with it.
func TestUnreadableIsAlone(t *testing.T) {
	engine := memory.New()
	s := encrypt.New(engine, parse(t, file("secrets", list("aesgcm", "a"))))
	put(t, s, "/registry/secrets/default/a", "1")
	put(t, s, "/registry/secrets/default/c", "3")
	at, err := engine.Revision(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	put(t, engine, "/registry/secrets/default/b", "plain")
	entries, _, err := s.List(t.Context(), "/registry/", store.Page{})
	if err != nil || len(entries) != 3 || string(entries[0].Value) != "1" || string(entries[2].Value) != "3" || entries[0].Err != nil {
		t.Fatalf("got %v, %v", entries, err)
	}
	if err := entries[1].Err; !errors.Is(err, store.ErrUnreadable) || !strings.Contains(err.Error(), "/registry/secrets/default/b") {
		t.Errorf("got %v", err)
	}
	for e, err := range s.Watch(t.Context(), "/registry/", at) {
		if err != nil || !errors.Is(e.Err, store.ErrUnreadable) {
			t.Errorf("watch: %v, %v", e, err)
		}
		break
	}
}

func TestWhichResources(t *testing.T) {
	const crd = "/registry/example.com/foos/default/a"
	for _, tt := range []struct {
		resources string
		want      string // of the keys, those that are encrypted
	}{
		{"secrets", "secrets"},
		{"secrets, configmaps", "secrets configmaps"},
		{"'*.'", "secrets configmaps services"},
		{"'*.apps'", "deployments"},
		{"'*.*'", "secrets configmaps services deployments crd"},
		{"deployments.apps, services", "services deployments"},
		{"foos.example.com", "crd"},
		{"'*.example.com'", "crd"},
	} {
		engine := memory.New()
		s := encrypt.New(engine, parse(t, file(tt.resources, list("aesgcm", "a"), plain)))
		var got []string
		for _, k := range [][2]string{{"secrets", "/registry/secrets/a/b"}, {"configmaps", "/registry/configmaps/a/b"}, {"services", "/registry/services/specs/a/b"},
			{"deployments", "/registry/deployments/a/b"}, {"crd", crd}, {"no resource", "/lighter/x"}} {
			put(t, s, k[1], "v")
			if raw(t, engine, k[1]) != "v" {
				got = append(got, k[0])
			}
			if raw(t, s, k[1]) != "v" {
				t.Errorf("%s: %s is not read back", tt.resources, k[0])
			}
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%s: got %v, want %s", tt.resources, got, tt.want)
		}
	}
}

func TestConfigurationErrors(t *testing.T) {
	two := func(first, second string) []byte {
		return append(file(first, plain), []byte("- resources: ["+second+"]\n  providers:\n"+plain)...)
	}
	for name, tt := range map[string]struct {
		file []byte
		want string // a part of the error; "": it is right
	}{
		"right":                   {file("secrets", list("aesgcm", "a"), plain), ""},
		"exception, then all":     {two("events", "'*.*'"), ""},
		"an unknown field":        {append(file("secrets", plain), []byte("more: 1\n")...), "more"},
		"another kind":            {[]byte("apiVersion: v1\nkind: Pod\n"), "Pod"},
		"no resources":            {[]byte("apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\n"), "resources"},
		"no providers":            {file("secrets"), "providers"},
		"no keys":                 {file("secrets", "  - aesgcm: {keys: []}\n"), "keys"},
		"a short key":             {file("secrets", "  - secretbox: {keys: [{name: a, secret: YWJj}]}\n"), "3 bytes"},
		"a key of no AES size":    {file("secrets", "  - aesgcm: {keys: [{name: a, secret: YWJj}]}\n"), "3 bytes"},
		"cbc wants 32":            {file("secrets", "  - aescbc: {keys: [{name: a, secret: MDEyMzQ1Njc4OWFiY2RlZg==}]}\n"), "16 bytes"},
		"not base64":              {file("secrets", "  - aesgcm: {keys: [{name: a, secret: '%%'}]}\n"), "base64"},
		"a name with a colon":     {file("secrets", "  - aesgcm: {keys: [{name: 'a:b', secret: "+secret('a')+"}]}\n"), "colon"},
		"a name twice":            {file("secrets", list("aesgcm", "a", "a")), "twice"},
		"two providers in one":    {file("secrets", "  - identity: {}\n    secretbox: {keys: [{name: a, secret: "+secret('a')+"}]}\n"), "exactly one"},
		"kms version 1":           {file("secrets", "  - kms: {apiVersion: v1, name: a, endpoint: 'unix:///x'}\n"), "v2"},
		"kms over the network":    {file("secrets", "  - kms: {apiVersion: v2, name: a, endpoint: 'tcp://x'}\n"), "unix"},
		"kms with a cache size":   {file("secrets", "  - kms: {apiVersion: v2, name: a, endpoint: 'unix:///x', cachesize: 3}\n"), "cachesize"},
		"a resource twice":        {file("secrets, secrets", plain), "twice"},
		"a resource again":        {two("secrets", "secrets"), "earlier"},
		"all, then one":           {two("'*.*'", "secrets"), "earlier"},
		"all and one":             {file("'*.*', secrets", plain), "beside"},
		"all and a group":         {file("'*.*', '*.apps'", plain), "beside"},
		"a star":                  {file("'*'", plain), "want a resource"},
		"upper case":              {file("Secrets", plain), "lower case"},
		"events under their name": {file("'*.events.k8s.io'", plain), "events"},
	} {
		_, err := encrypt.Parse(tt.file, stored)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", name, err, tt.want)
		}
		if err != nil && strings.Contains(err.Error(), secret('a')) {
			t.Errorf("%s: a secret is in the error", name)
		}
	}
}

// Each step of a rotation reads what all steps before wrote, however often Rewrite was ended in the middle.
func TestRewrite(t *testing.T) {
	engine := memory.New()
	s := encrypt.New(engine, parse(t, file("secrets", plain)))
	want := map[string]string{}
	for i := range 300 {
		key := fmt.Sprintf("/registry/secrets/default/s%03d", i)
		want[key] = fmt.Sprint("canary ", i)
		put(t, s, key, want[key])
	}
	check := func(step string) {
		t.Helper()
		entries, _, err := s.List(t.Context(), "/registry/secrets/", store.Page{})
		if err != nil || len(entries) != len(want) {
			t.Fatalf("%s: %d entries, %v", step, len(entries), err)
		}
		for _, e := range entries {
			if e.Err != nil || string(e.Value) != want[e.Key] {
				t.Fatalf("%s: %s is %q, %v", step, e.Key, e.Value, e.Err)
			}
		}
	}
	for _, step := range []struct {
		providers []string
		by        string
	}{
		{[]string{plain, list("aesgcm", "a")}, "identity"},
		{[]string{list("aesgcm", "a"), plain}, "aesgcm:v1:a"},
		{[]string{list("aesgcm", "a", "b")}, "aesgcm:v1:a"},
		{[]string{list("aesgcm", "b", "a")}, "aesgcm:v1:b"},
		{[]string{list("secretbox", "b"), list("aesgcm", "b")}, "secretbox:v1:b"},
	} {
		s.Use(parse(t, file("secrets", step.providers...)))
		check("new keys")
		interrupted, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := s.Rewrite(interrupted); !errors.Is(err, context.Canceled) {
			t.Errorf("interrupted: %v", err)
		}
		check("interrupted")
		if _, err := s.Rewrite(t.Context()); err != nil {
			t.Fatal(err)
		}
		check("rewritten")
		c, err := s.Count(t.Context())
		if err != nil || c.Stale != 0 || len(c.Unreadable) > 0 || c.By[step.by] != len(want) || len(c.By) != 1 {
			t.Errorf("%s: %+v, %v", step.by, c, err)
		}
		if n, err := s.Rewrite(t.Context()); n != 0 || err != nil {
			t.Errorf("nothing is left, and %d were written (%v)", n, err)
		}
	}
}

func FuzzOpen(f *testing.F) {
	keys := parse(f, file("secrets", list("aesgcm", "a"), list("aescbc", "b"), list("secretbox", "c"), plain))
	f.Add([]byte("k8s:enc:aesgcm:v1:a:0123456789012345678901234567890"))
	f.Add([]byte("k8s:enc:aescbc:v1:b:01234567890123450123456789012345"))
	f.Add([]byte("k8s:enc:secretbox:v1:c:"))
	f.Fuzz(func(t *testing.T, value []byte) {
		got, _, err := keys.Open(t.Context(), "/registry/secrets/a/b", value)
		if bytes.HasPrefix(value, []byte("k8s:enc:")) && err == nil && !bytes.HasPrefix(value, []byte("k8s:enc:aescbc:v1:b:")) { // which is not authenticated
			t.Errorf("%q is read as %q", value, got)
		}
	})
}

func BenchmarkCommit(b *testing.B) {
	value := bytes.Repeat([]byte("x"), 1500)
	for name, key := range map[string]string{"encrypted": "/registry/secrets/default/a", "plain": "/registry/pods/default/a"} {
		b.Run(name, func(b *testing.B) {
			s := encrypt.New(discard{memory.New()}, parse(b, file("secrets", list("aesgcm", "a"), plain)))
			b.ReportAllocs()
			t := store.Txn{Ops: []store.Op{{Key: key, Value: value, Expect: store.Any}}}
			for b.Loop() {
				if _, err := s.Commit(b.Context(), t); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkOpen(b *testing.B) {
	engine := memory.New()
	keys := parse(b, file("secrets", list("aesgcm", "a"), plain))
	s := encrypt.New(engine, keys)
	value := strings.Repeat("x", 1500)
	for name, key := range map[string]string{"encrypted": "/registry/secrets/default/a", "plain": "/registry/pods/default/a"} {
		put(b, s, key, value)
		stored := []byte(raw(b, engine, key))
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := keys.Open(b.Context(), key, stored); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// discard is an engine that costs nothing.
type discard struct{ store.Store }

func (discard) Commit(context.Context, store.Txn) (store.Revision, error) { return 1, nil }
