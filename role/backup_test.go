package role_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/lighter-k8s/lighter/backup"
	"github.com/lighter-k8s/lighter/config"
	"github.com/lighter-k8s/lighter/role"
	"github.com/lighter-k8s/lighter/store/encrypt"
	"github.com/lighter-k8s/lighter/store/storetest"
)

var quiet = slog.New(slog.DiscardHandler)

// conf is the configuration of a data directory for what works on one that does not run.
func conf(t testing.TB, dir string, change func(*config.Config)) *config.Config {
	t.Helper()
	c := &config.Config{DataDir: dir}
	if change != nil {
		change(c)
	}
	if err := c.Complete(); err != nil {
		t.Fatal(err)
	}
	return c
}

func save(t testing.TB, c *config.Config, to, pass string) backup.Info {
	t.Helper()
	where, info, err := role.SaveBackup(t.Context(), c, quiet, to, []byte(pass))
	if err != nil {
		t.Fatal(err)
	}
	if where != to {
		t.Errorf("saved in %s, want %s", where, to)
	}
	return info
}

func restore(c *config.Config, from, pass string) (said string, err error) {
	say := func(format string, args ...any) { said += fmt.Sprintf(format, args...) + "\n" }
	err = role.Restore{From: from, Passphrase: []byte(pass), Say: say}.Run(context.Background(), c, quiet)
	return said, err
}

// version is the resourceVersion of a list of everything that changes.
func (s *server) version() int64 {
	s.t.Helper()
	all, err := s.typed.CoreV1().ConfigMaps("").List(s.t.Context(), metav1.ListOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	n, err := strconv.ParseInt(all.ResourceVersion, 10, 64)
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}

func (s *server) uid(name string) string {
	s.t.Helper()
	got, err := s.typed.CoreV1().Secrets("default").Get(s.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	return string(got.UID)
}

// Whoever saved a backup without the keys did not know which they were: those at hand are tried, whatever they are called.
func TestRestoreWithKeysNobodyKnew(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	file := filepath.Join(t.TempDir(), "a.backup")
	s := serve(t, dir, nil)
	s.put("a", canary)
	s.end()
	path := role.EncryptionFile(dir)
	keys := must(os.ReadFile(path))(t)
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	if info := save(t, conf(t, dir, nil), file, ""); len(info.Keys) != 1 || info.Keys[0].Fingerprint != "" {
		t.Fatalf("info %+v", info)
	}
	if err := os.Rename(path+".away", path); err != nil {
		t.Fatal(err)
	}

	others := must(encrypt.Read(keys))(t)
	others.Resources[0].Providers[0].AESGCM.Keys[0].Secret = make([]byte, 32)
	data := must(yaml.Marshal(others))(t)
	if err := errors.Join(os.MkdirAll(filepath.Join(other, "server"), 0o700), os.WriteFile(role.EncryptionFile(other), data, 0o600)); err != nil {
		t.Fatal(err)
	}
	if said, err := restore(conf(t, other, nil), file, ""); err == nil || !strings.Contains(err.Error(), "is not the one that the backup was made with") || !strings.Contains(err.Error(), "nothing was changed") {
		t.Errorf("with another key of that name: %v\n%s", err, said)
	}
	if said, err := restore(conf(t, dir, nil), file, ""); err != nil {
		t.Fatalf("with the key: %v\n%s", err, said)
	}
	s = serve(t, dir, nil)
	s.has("restored", map[string]string{"a": canary})
}

// A backup that was made while the server ran brings everything back: UIDs stay, revisions go on above all that was seen.
func TestBackupAndRestore(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(t.TempDir(), "a.backup")
	s := serve(t, dir, nil)
	want := map[string]string{"a": canary, "b": "2"}
	for name, value := range want {
		s.put(name, value)
	}
	uid := s.uid("a")
	info := save(t, s.config, file, "")
	if len(info.Keys) != 1 || info.Keys[0].Fingerprint == "" || info.Sealed {
		t.Errorf("info %+v", info)
	}
	if data, err := os.ReadFile(file); err != nil || strings.Contains(string(data), canary) {
		t.Errorf("the backup shows a Secret (%v)", err)
	}
	s.put("later", "3")
	s.put("a", "changed")
	seen := s.version()
	if _, err := restore(conf(t, dir, nil), file, ""); err == nil || !strings.Contains(err.Error(), "lighter down") {
		t.Errorf("restore while it runs: %v", err)
	}
	s.end()
	said, err := restore(conf(t, dir, nil), file, "")
	if err != nil {
		t.Fatalf("%s%v", said, err)
	}
	s = serve(t, dir, nil)
	s.has("restored", want)
	if got := s.uid("a"); got != uid {
		t.Errorf("UID %s became %s", uid, got)
	}
	if at := s.version(); at <= seen {
		t.Errorf("revision %d is not above %d, which was seen", at, seen)
	}
	_, err = s.typed.CoreV1().Secrets("default").List(t.Context(), metav1.ListOptions{ResourceVersion: fmt.Sprint(seen), ResourceVersionMatch: metav1.ResourceVersionMatchExact})
	if !apierrors.IsResourceExpired(err) && !apierrors.IsGone(err) {
		t.Errorf("a list of what was seen before: %v", err)
	}
	w, err := s.typed.CoreV1().Secrets("default").Watch(t.Context(), metav1.ListOptions{ResourceVersion: fmt.Sprint(seen)})
	if err == nil {
		e := <-w.ResultChan()
		err = apierrors.FromObject(e.Object)
		w.Stop()
	}
	if !apierrors.IsResourceExpired(err) && !apierrors.IsGone(err) {
		t.Errorf("a watch from what was seen before: %v", err)
	}
	s.end()
	if aside, err := filepath.Glob(filepath.Join(dir, "server", "store.before-*")); err != nil || len(aside) != 1 {
		t.Errorf("the store before: %v, %v", aside, err)
	}
	// One that does not run is saved too, where the scheduled ones go; the name has the revision.
	where, info, err := role.SaveBackup(t.Context(), conf(t, dir, nil), quiet, "", nil)
	if err != nil || !strings.HasSuffix(where, fmt.Sprintf("-r%d.backup", info.Revision)) {
		t.Errorf("%s, %v", where, err)
	}
	all, err := role.ListBackups(t.Context(), conf(t, dir, nil), "")
	if err != nil || len(all) != 1 || all[0].Where != where || all[0].Info.Entries != info.Entries {
		t.Errorf("%+v, %v", all, err)
	}
}

// A backup from before a rotation is restored with the key that is kept for it, and one of its objects brought back.
func TestBackupOlderThanTheKey(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(t.TempDir(), "a.backup")
	s := serve(t, dir, nil)
	s.put("a", canary)
	save(t, s.config, file, "")
	s.put("a", "changed")
	if out, err := s.rotate(""); err != nil {
		t.Fatalf("%s%v", out, err)
	}
	if out, err := s.undo(role.Undo{Object: "secret/a", From: file}); err != nil {
		t.Errorf("undo: %s%v", out, err)
	}
	s.has("brought back", map[string]string{"a": canary})
	s.put("a", "changed again")
	s.end()
	if said, err := restore(conf(t, dir, nil), file, ""); err != nil {
		t.Fatalf("%s%v", said, err)
	}
	s = serve(t, dir, nil)
	s.has("restored", map[string]string{"a": canary})
	if out, err := s.rotate(""); err != nil { // the old key is in use again; it goes as in any rotation
		t.Errorf("%s%v", out, err)
	}
	status, err := role.AskEncryption(t.Context(), dir)
	if err != nil || len(status.Keys) != 2 || status.Stale > 0 {
		t.Errorf("%+v, %v", status, err)
	}
	s.has("rotated", map[string]string{"a": canary})
}

// What cannot end well is refused before anything is touched.
func TestRestoreRefuses(t *testing.T) {
	dir, other, files := t.TempDir(), t.TempDir(), t.TempDir()
	file, sealed := filepath.Join(files, "a.backup"), filepath.Join(files, "sealed.backup")
	s := serve(t, dir, nil)
	s.put("a", "1")
	save(t, s.config, file, "")
	save(t, s.config, sealed, "open sesame")
	s.end()
	s = serve(t, other, nil)
	s.put("mine", "stays")
	s.end()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	hurt := filepath.Join(files, "hurt.backup")
	data[len(data)/2] ^= 1
	cut := filepath.Join(files, "cut.backup")
	if err := errors.Join(os.WriteFile(hurt, data, 0o600), os.WriteFile(cut, data[:len(data)/3], 0o600)); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct{ from, pass, want string }{
		"not there":                {filepath.Join(files, "none.backup"), "", "no such file"},
		"changed":                  {hurt, "", "nothing was changed"},
		"cut short":                {cut, "", "nothing was changed"},
		"without its keys":         {file, "", "encrypted with the key"},
		"its keys are in it":       {sealed, "", "--passphrase-file"},
		"another passphrase":       {sealed, "open", "passphrase"},
		"no keys behind one":       {file, "open sesame", "without --passphrase-file"},
		"a folder":                 {files + "/", "", "name one of them"},
		"into a store that is not": {file, "", "encrypted"},
	} {
		if _, err := restore(conf(t, other, nil), tt.from, tt.pass); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", name, err, tt.want)
		}
	}
	if _, err := restore(conf(t, other, func(c *config.Config) { c.Server.Store = "memory" }), file, ""); err == nil {
		t.Error("into memory")
	}
	s = serve(t, other, nil)
	s.has("after all that", map[string]string{"mine": "stays"})
	s.end()

	// A machine that was lost comes back as the same cluster, from the backup and the passphrase alone.
	lost := t.TempDir()
	before, err := role.Fingerprint(dir)
	if err != nil {
		t.Fatal(err)
	}
	if said, err := restore(conf(t, lost, nil), sealed, "open sesame\n"); err != nil {
		t.Fatalf("%s%v", said, err)
	}
	s = serve(t, lost, nil)
	s.has("on a new machine", map[string]string{"a": "1"})
	if after, err := role.Fingerprint(lost); err != nil || after != before {
		t.Errorf("authority %s became %s, %v", before, after, err)
	}
}

// Whenever a restore is killed, the next start finds the store before or the restored one, and says which.
func TestRestoreKilled(t *testing.T) {
	if dir := os.Getenv("LIGHTER_TEST_RESTORE"); dir != "" { // the process that is killed
		if said, err := restore(conf(t, dir, nil), os.Getenv("LIGHTER_TEST_BACKUP"), ""); err != nil {
			t.Fatalf("%s%v", said, err)
		}
		return
	}
	dir := t.TempDir()
	file := filepath.Join(t.TempDir(), "a.backup")
	s := serve(t, dir, nil)
	for i := range 200 {
		_, err := s.typed.CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("c", i)}, Data: map[string]string{"v": strings.Repeat("x", 2000)}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
	}
	s.put("which", "restored")
	save(t, s.config, file, "")
	s.put("which", "before")
	s.end()
	random := storetest.Seed(t)
	outcomes := map[string]int{}
	rounds := 6
	if os.Getenv("PROVE") != "" {
		rounds = 200
	}
	for range rounds {
		cmd := exec.Command(os.Args[0], "-test.run", "^TestRestoreKilled$")
		cmd.Env = append(os.Environ(), "LIGHTER_TEST_RESTORE="+dir, "LIGHTER_TEST_BACKUP="+file)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(40+random.IntN(160)) * time.Millisecond) // the moment of the crash is the input
		cmd.Process.Kill()
		cmd.Wait()
		s := serve(t, dir, nil)
		got, err := s.typed.CoreV1().Secrets("default").Get(t.Context(), "which", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		all, err := s.typed.CoreV1().ConfigMaps("default").List(t.Context(), metav1.ListOptions{})
		if err != nil || len(all.Items) != 200 {
			t.Fatalf("%d ConfigMaps, %v", len(all.Items), err)
		}
		outcomes[string(got.Data["v"])]++
		s.put("which", "before")
		s.end()
		if left, _ := filepath.Glob(filepath.Join(dir, "server", "restor*")); len(left) > 0 {
			t.Errorf("left over: %v", left)
		}
	}
	t.Logf("outcomes: %v", outcomes)
	if outcomes["restored"]+outcomes["before"] != rounds {
		t.Errorf("outcomes: %v", outcomes)
	}
}

// A data directory's cluster does not become another, empty one because the store's name changed.
func TestChangedStoreIsRefused(t *testing.T) {
	dir := t.TempDir()
	s := serve(t, dir, nil)
	s.put("a", "1")
	s.end()
	_, err := tryServe(t, dir, func(c *config.Config) { c.Server.Store = "memory" })
	if err == nil || !strings.Contains(err.Error(), "lighter backup save") || !strings.Contains(err.Error(), "lighter backup restore") {
		t.Errorf("got %v", err)
	}
	s = serve(t, dir, nil)
	s.has("as before", map[string]string{"a": "1"})
	s.end()
	s = serve(t, t.TempDir(), func(c *config.Config) { c.Server.Store = "memory" })
	s.put("a", "1")
	if info := save(t, s.config, filepath.Join(t.TempDir(), "memory.backup"), ""); info.Engine != "memory" || info.Entries == 0 {
		t.Errorf("a backup of memory: %+v", info)
	}
}

// From the embedded store to etcd and back: nothing is lost, UIDs stay, revisions rise, Secrets stay encrypted.
func TestMigration(t *testing.T) {
	endpoint := storetest.Etcd(t)
	dir, files := t.TempDir(), t.TempDir()
	toEtcd := func(c *config.Config) {
		c.Server.Store, c.Server.Etcd.Endpoints = "etcd", []string{endpoint}
		c.Server.Encrypt.Resources = []string{"secrets"}
	}
	s := serve(t, dir, nil)
	want := map[string]string{"a": canary}
	s.put("a", canary)
	uid, seen := s.uid("a"), s.version()
	s.end()
	if _, err := tryServe(t, dir, toEtcd); err == nil || !strings.Contains(err.Error(), "lighter backup save") {
		t.Fatalf("changed store: %v", err)
	}
	plain := func(c *config.Config) { toEtcd(c); c.Server.Encrypt.Resources = nil }
	save(t, conf(t, dir, nil), filepath.Join(files, "x.backup"), "")
	if _, err := restore(conf(t, dir, plain), filepath.Join(files, "x.backup"), ""); err == nil || !strings.Contains(err.Error(), "--encrypt-resources") {
		t.Errorf("into an etcd whose servers would not decrypt: %v", err)
	}
	for i, change := range []func(*config.Config){toEtcd, nil} {
		file := filepath.Join(files, fmt.Sprintf("%d.backup", i))
		save(t, conf(t, dir, map[bool]func(*config.Config){true: nil, false: toEtcd}[i == 0]), file, "")
		if said, err := restore(conf(t, dir, change), file, ""); err != nil {
			t.Fatalf("%d: %s%v", i, said, err)
		}
		if i == 0 {
			if _, err := restore(conf(t, dir, change), file, ""); err == nil || !strings.Contains(err.Error(), "not empty") {
				t.Errorf("into an etcd that has content: %v", err)
			}
		}
		s := serve(t, dir, change)
		s.has("after step", want)
		if got := s.uid("a"); got != uid {
			t.Errorf("step %d: UID %s became %s", i, uid, got)
		}
		if at := s.version(); at <= seen {
			t.Errorf("step %d: revision %d is not above %d", i, at, seen)
		} else {
			seen = at
		}
		name := fmt.Sprint("in-step-", i)
		s.put(name, "x")
		want[name] = "x"
		if i == 0 {
			for range 5 { // what it shares comes back to it, in the middle of the next one
				if out, err := s.rotate(""); err != nil { // this server is the only one, and says so
					t.Errorf("rotate on etcd: %s%v", out, err)
				}
			}
			s.has("rotated", want)
		}
		s.end()
	}
}
