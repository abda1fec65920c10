package role

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A restore that ended between any two of its moves is completed by the next start; one that was not ready leaves no trace.
func TestJournal(t *testing.T) {
	files := map[string]string{"store/x": "old", "restoring/store/x": "new", "pki/ca.key": "old", "restoring/pki/ca.key": "new", "restoring/pki/sa.key": "new", "etcd/x": "old"}
	j := journal{Engine: "embedded", Fill: []string{restoring}, Names: []string{"store"}, Away: []string{"member.json", "etcd"}, Aside: "before"}
	j.install(map[string][]byte{"pki/ca.key": nil, "pki/sa.key": nil})
	moves := [][2]string{{"store", "store.before"}, {"restoring/store", "store"}, {"pki/ca.key", "pki/ca.key.before"}, {"restoring/pki/ca.key", "pki/ca.key"}, {"restoring/pki/sa.key", "pki/sa.key"}, {"etcd", "etcd.before"}}
	lay := func() string {
		dir := t.TempDir()
		for name, text := range files {
			path := filepath.Join(dir, name)
			if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	tree := func(dir string) string {
		var out []string
		err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() && d.Name() != lineageName {
				text, _ := os.ReadFile(path)
				name, _ := filepath.Rel(dir, path)
				out = append(out, name+"="+string(text))
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(out, " ")
	}
	log := slog.New(slog.DiscardHandler)
	for made := range len(moves) + 1 {
		dir := lay()
		j.Ready = true
		if err := j.write(dir); err != nil {
			t.Fatal(err)
		}
		for _, m := range moves[:made] { // and then the crash
			if err := os.Rename(filepath.Join(dir, m[0]), filepath.Join(dir, m[1])); err != nil {
				t.Fatal(err)
			}
		}
		if err := finishRestore(dir, log); err != nil {
			t.Errorf("after %d moves: %v", made, err)
		}
		if got, want := tree(dir), "etcd.before/x=old pki/ca.key=new pki/ca.key.before=old pki/sa.key=new store/x=new store.before/x=old"; got != want {
			t.Errorf("after %d moves: got %s, want %s", made, got, want)
		}
	}
	dir := lay()
	j.Ready = false
	if err := errors.Join(j.write(dir), finishRestore(dir, log), finishRestore(dir, log)); err != nil {
		t.Error(err)
	}
	if got := tree(dir); got != "etcd/x=old pki/ca.key=old store/x=old" {
		t.Errorf("not ready: %s", got)
	}
	if err := (journal{Engine: "etcd"}).write(dir); err != nil {
		t.Fatal(err)
	}
	if err := finishRestore(dir, log); !errors.Is(err, errHalfEtcd) {
		t.Errorf("half an etcd: %v", err)
	}
}
