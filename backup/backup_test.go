package backup_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lighter-k8s/lighter/backup"
	"github.com/lighter-k8s/lighter/store"
	"github.com/lighter-k8s/lighter/store/encrypt"
	"github.com/lighter-k8s/lighter/store/memory"
)

func filled(t testing.TB, n int) store.Store {
	s := memory.New()
	for i := range n {
		value := fmt.Sprint("value ", i)
		if i%10 == 0 {
			value = "k8s:enc:aesgcm:v1:one:" + value
		}
		if _, err := s.Commit(context.Background(), store.Txn{Ops: []store.Op{{Key: fmt.Sprintf("/registry/secrets/a/%04d", i), Value: []byte(value)}}}); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func save(t testing.TB, s store.Store, sealed []byte) ([]byte, backup.Summary) {
	t.Helper()
	var b bytes.Buffer
	sum, err := backup.Save(context.Background(), s, &b, backup.Manifest{Created: time.Unix(1, 0), Engine: "memory"}, []encrypt.Named{{Name: "aesgcm:v1:one", Fingerprint: "f"}}, sealed)
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), sum
}

func TestSaveAndRestore(t *testing.T) {
	s := filled(t, 200)
	data, sum := save(t, s, nil)
	if sum.Entries != 200 || sum.Revision != 200 || len(sum.Keys) != 1 || sum.Keys[0] != (backup.Key{"aesgcm:v1:one", "f", 20}) {
		t.Errorf("summary %+v", sum)
	}
	info, err := backup.Verify(bytes.NewReader(data))
	if err != nil || info.Engine != "memory" || info.Entries != 200 {
		t.Errorf("%+v, %v", info, err)
	}
	f, err := backup.Open(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	to := memory.New()
	at, err := to.Restore(t.Context(), f, 5000)
	if err != nil || at <= 5000 {
		t.Fatalf("%d, %v", at, err)
	}
	if _, err := f.End(); err != nil {
		t.Error(err)
	}
	want, _, _ := s.List(t.Context(), "", store.Page{})
	got, _, _ := to.List(t.Context(), "", store.Page{})
	if len(got) != len(want) || string(got[7].Value) != string(want[7].Value) {
		t.Errorf("%d entries of %d", len(got), len(want))
	}
}

// Every cut, and every changed byte, is noticed.
func TestDamage(t *testing.T) {
	data, _ := save(t, filled(t, 30), []byte("sealed"))
	for i := range data {
		hurt := bytes.Clone(data)
		hurt[i] ^= 0x10
		if _, err := backup.Verify(bytes.NewReader(hurt)); !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("byte %d changed: %v", i, err)
		}
		if _, err := backup.Verify(bytes.NewReader(data[:i])); !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("cut after %d bytes: %v", i, err)
		}
	}
	if _, err := backup.Verify(bytes.NewReader(append(bytes.Clone(data), 0))); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("longer: %v", err)
	}
}

func FuzzVerify(f *testing.F) {
	data, _ := save(f, filled(f, 3), nil)
	f.Add(data)
	f.Add(data[:40])
	f.Fuzz(func(t *testing.T, data []byte) { _, _ = backup.Verify(bytes.NewReader(data)) })
}

func TestSeal(t *testing.T) {
	files := backup.Files{"pki/ca.key": []byte("very secret")}
	sealed, err := backup.Seal(files, []byte("open sesame\n"))
	if err != nil || bytes.Contains(sealed, files["pki/ca.key"]) {
		t.Fatalf("%q, %v", sealed, err)
	}
	got, err := backup.Unseal(sealed, []byte("open sesame"))
	if err != nil || string(got["pki/ca.key"]) != "very secret" {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := backup.Unseal(sealed, []byte("open")); !errors.Is(err, backup.ErrPassphrase) {
		t.Errorf("another passphrase: %v", err)
	}
	sealed[len(sealed)-1] ^= 1
	if _, err := backup.Unseal(sealed, []byte("open sesame")); !errors.Is(err, backup.ErrPassphrase) {
		t.Errorf("changed: %v", err)
	}
	for _, cut := range [][]byte{nil, sealed[:1], sealed[:40], {9}} {
		if _, err := backup.Unseal(cut, nil); err == nil {
			t.Errorf("cut to %d bytes", len(cut))
		}
	}
}

func TestKeep(t *testing.T) {
	var names []string
	for i := range 8 {
		names = append(names, backup.Name(time.Unix(int64(i)*3600, 0), 99+int64(i), true), backup.Name(time.Unix(int64(i)*3600, 0), int64(i), false))
	}
	names = append(names, "scheduled-notes.txt")
	slices.Reverse(names)
	got := backup.Surplus(names, 5)
	if len(got) != 3 || got[0] != "scheduled-19700101T000000Z-r99.backup" || strings.HasPrefix(got[2], "saved") {
		t.Errorf("%v", got)
	}
	if at := backup.Time(got[1]); at.Unix() != 3600 {
		t.Errorf("%v", at)
	}
	if !backup.Time("x.backup").IsZero() || len(backup.Surplus(nil, 3)) != 0 {
		t.Error("what is not a backup counts as one")
	}
}
