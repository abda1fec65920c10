package store_test

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/lighter-k8s/lighter/store"
)

// read returns the entries of a stream and the error it ends with; io.EOF: it was whole.
func read(data []byte) (entries []store.Entry, at store.Revision, err error) {
	b, err := store.NewBackupReader(bytes.NewReader(data))
	if err != nil {
		return nil, 0, err
	}
	for {
		e, err := b.Next()
		if err != nil {
			return entries, b.Revision(), err
		}
		entries = append(entries, e)
	}
}

func write(t testing.TB, at store.Revision, entries ...store.Entry) []byte {
	var out bytes.Buffer
	b, err := store.NewBackupWriter(&out, at)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if err := b.Write(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// Every single bit and every cut is noticed.
func TestBackupDamage(t *testing.T) {
	data := write(t, 7, store.Entry{Key: "/a", Value: []byte("1"), Revision: 3}, store.Entry{Key: "/b", Value: []byte{}, Revision: 7})
	entries, at, err := read(data)
	if len(entries) != 2 || at != 7 || err != io.EOF || entries[1].Value == nil || entries[0].Revision != 3 {
		t.Fatalf("got %v at %d, %v", entries, at, err)
	}
	for bit := range len(data) * 8 {
		hurt := bytes.Clone(data)
		hurt[bit/8] ^= 1 << (bit % 8)
		if _, _, err := read(hurt); !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("bit %d flipped: got %v", bit, err)
		}
	}
	for n := range len(data) {
		if _, _, err := read(data[:n]); !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("cut after %d bytes: got %v", n, err)
		}
	}
}

func FuzzBackupReader(f *testing.F) {
	f.Add(write(f, 1))
	f.Add(write(f, 9, store.Entry{Key: "/a", Value: []byte("value"), Revision: 9}))
	f.Fuzz(func(t *testing.T, data []byte) {
		entries, at, err := read(data)
		if err == io.EOF && !bytes.Equal(write(t, at, entries...), data) {
			t.Error("what is read as whole is not what a writer writes")
		}
	})
}

func TestPlan(t *testing.T) {
	op := func(key string) store.Op { return store.Op{Key: key} }
	ops := []store.Op{op("/b"), op("/a")}
	got, err := store.Txn{Ops: ops}.Plan()
	if err != nil || got[0].Key != "/a" || got[1].Key != "/b" {
		t.Errorf("got %v, %v", got, err)
	}
	if ops[0].Key != "/b" {
		t.Error("the caller's ops were moved")
	}
}
