package embedded

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/lighter-k8s/lighter/store"
)

// What pebble hands out as whole may still be wrong: the store's own checksum is
// over key, revision and value.
func TestChecksum(t *testing.T) {
	tests := map[string]func(s *Store, key, value []byte) error{
		"a changed value": func(s *Store, key, value []byte) error {
			value[len(value)-1] ^= 1
			return s.db.Set(key, value, pebble.NoSync)
		},
		"a deletion that was none": func(s *Store, key, value []byte) error {
			value[4] = kindDelete
			return s.db.Set(key, value, pebble.NoSync)
		},
		"a value cut short": func(s *Store, key, value []byte) error {
			return s.db.Set(key, value[:len(value)-2], pebble.NoSync)
		},
		"nothing left": func(s *Store, key, value []byte) error {
			return s.db.Set(key, nil, pebble.NoSync)
		},
		"another key's value": func(s *Store, key, _ []byte) error {
			other, closer, err := s.db.Get(appendVersionKey(nil, "/b", 2))
			if err != nil {
				return err
			}
			defer closer.Close()
			return s.db.Set(key, other, pebble.NoSync)
		},
		"an older value at the newest revision": func(s *Store, key, value []byte) error {
			return s.db.Set(appendVersionKey(nil, "/a", 2), value, pebble.NoSync)
		},
	}
	for name, damage := range tests {
		t.Run(name, func(t *testing.T) {
			ctx := context.Background()
			s, err := Open("data", Options{FS: vfs.NewMem(), RecentBytes: 1})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			for _, key := range []string{"/a", "/b"} {
				op := store.Op{Key: key, Value: []byte("value of " + key)}
				if _, err := s.Commit(ctx, store.Txn{Ops: []store.Op{op}}); err != nil {
					t.Fatal(err)
				}
			}
			key := appendVersionKey(nil, "/a", 1)
			value, closer, err := s.db.Get(key)
			if err != nil {
				t.Fatal(err)
			}
			if err := damage(s, key, append([]byte(nil), value...)); err != nil {
				t.Fatal(err)
			}
			closer.Close()

			_, err = s.Get(ctx, "/a", 0)
			named(t, "get", err)
			_, _, err = s.List(ctx, "/", store.Page{})
			named(t, "list", err)
			if e, err := s.Get(ctx, "/b", 0); err != nil || string(e.Value) != "value of /b" {
				t.Errorf("the other key: %q, %v", e.Value, err)
			}
		})
	}
}

// Commit trusts no damaged revision either.
func TestChecksumOfRevision(t *testing.T) {
	ctx := context.Background()
	key := currentKey(nil, "/a")
	for name, value := range map[string][]byte{
		"nothing left": nil, "another key's": appendCurrent(nil, currentKey(nil, "/b"), 1), "cut short": appendCurrent(nil, key, 1)[:8],
	} {
		fs := vfs.NewMem()
		s, err := Open("data", Options{FS: fs})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Commit(ctx, store.Txn{Ops: []store.Op{{Key: "/a", Value: []byte("x")}}}); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(s.db.Set(key, value, pebble.NoSync), s.flushNow(), s.Close()); err != nil {
			t.Fatal(err)
		}
		if s, err = Open("data", Options{FS: fs}); err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		_, err = s.Commit(ctx, store.Txn{Ops: []store.Op{{Key: "/a", Value: []byte("y"), Expect: 1}}})
		named(t, name, err)
	}
}

func named(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.Is(err, store.ErrCorrupt) || !strings.Contains(err.Error(), "/a") {
		t.Errorf("%s: got %v, want ErrCorrupt and the key", what, err)
	}
}

// A log whose process was killed has no end of its own. What was synced in it
// and is unreadable is damage all the same, not a torn tail.
func TestDamagedLogAfterKill(t *testing.T) {
	ctx := context.Background()
	s, err := Open("data", Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for range 20 {
		op := store.Op{Key: "/a", Value: []byte("0123456789"), Expect: store.Any}
		if _, err := s.Commit(ctx, store.Txn{Ops: []store.Op{op}}); err != nil {
			t.Fatal(err)
		}
	}
	data, err := s.log.read(1)
	if err != nil {
		t.Fatal(err)
	}
	var records []int64
	for at := int64(0); at < s.log.size; { // zeros follow
		_, size, ok := readRecord(data, 1, at)
		if !ok {
			t.Fatalf("no record at %d of %d", at, len(data))
		}
		records = append(records, at)
		at += size
	}
	for i, at := range records {
		for byteOf := at; byteOf < at+recordHeader+4; byteOf += 5 {
			data[byteOf] ^= 0x40
			if _, _, ok := readRecord(data, 1, at); ok {
				t.Errorf("record %d with byte %d flipped is read", i, byteOf-at)
			}
			// Only what no later record vouches for may be a torn tail.
			if last := i == len(records)-1; torn(data, 1, at) != last {
				t.Errorf("record %d of %d damaged: torn is %v", i, len(records), !last)
			}
			data[byteOf] ^= 0x40
		}
	}
}
