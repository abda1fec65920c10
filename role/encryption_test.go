package role_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/lighter-k8s/lighter/config"
	"github.com/lighter-k8s/lighter/role"
	"github.com/lighter-k8s/lighter/store"
	"github.com/lighter-k8s/lighter/store/embedded"
	"github.com/lighter-k8s/lighter/store/storetest"
)

// server is a control plane with its control socket, as a process of 'lighter server' has it.
type server struct {
	t      testing.TB
	config *config.Config
	typed  *kubernetes.Clientset
	log    *bytes.Buffer
	end    func()
	close  func() // idle connections
}

// serve starts a control plane from a data directory and waits until it is ready.
func serve(t testing.TB, dir string, change func(*config.Config)) *server {
	t.Helper()
	s, err := tryServe(t, dir, change)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func tryServe(t testing.TB, dir string, change func(*config.Config)) (*server, error) {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listen := fmt.Sprintf("localhost:%d", free.Addr().(*net.TCPAddr).Port)
	free.Close()
	c := &config.Config{DataDir: dir, Server: config.Server{Listen: listen, Advertise: "192.0.2.1", Disable: []string{"scheduler", "controllers", "cloud-controllers"}}}
	if change != nil {
		change(c)
	}
	if err := c.Complete(); err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, config: c, log: &bytes.Buffer{}}
	lock, err := role.Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if s.end == nil {
			lock.Close()
		}
	}()
	ctx, cancel := context.WithCancel(context.Background())
	log := slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	p := role.NewProgress(role.State{})
	ready, served, control := make(chan struct{}), make(chan error, 1), make(chan error, 1)
	go func() { control <- role.Control(ctx, dir, p, cancel, log) }()
	go func() { served <- role.Serve(ctx, c, log, p, func() { close(ready) }) }()
	select {
	case <-ready:
	case err := <-served:
		cancel()
		<-control
		return nil, err
	case <-time.After(30 * time.Second):
		t.Fatalf("not ready: %s", s.log)
	}
	ended := false
	s.end = func() {
		if !ended {
			ended = true
			s.close() // or the end waits for them
			cancel()
			<-served
			<-control
			lock.Close()
		}
	}
	t.Cleanup(s.end)
	admin, err := clientcmd.BuildConfigFromFlags("", role.KubeconfigPath(dir))
	if err != nil {
		t.Fatal(err)
	}
	admin.QPS = -1
	admin.NextProtos = []string{"http/1.1"} // an end of HTTP/2 takes a second
	web, err := rest.HTTPClientFor(admin)
	if err != nil {
		t.Fatal(err)
	}
	s.close = web.CloseIdleConnections
	if s.typed, err = kubernetes.NewForConfigAndClient(admin, web); err != nil {
		t.Fatal(err)
	}
	return s, nil
}

func secretOf(name, value string) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string][]byte{"v": []byte(value)}}
}

func (s *server) put(name, value string) {
	s.t.Helper()
	secrets := s.typed.CoreV1().Secrets("default")
	_, err := secrets.Create(s.t.Context(), secretOf(name, value), metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		_, err = secrets.Update(s.t.Context(), secretOf(name, value), metav1.UpdateOptions{})
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// has checks that exactly these Secrets are served, by GET and by LIST.
func (s *server) has(when string, want map[string]string) {
	s.t.Helper()
	all, err := s.typed.CoreV1().Secrets("default").List(s.t.Context(), metav1.ListOptions{})
	if err != nil {
		s.t.Fatalf("%s: %v", when, err)
	}
	if len(all.Items) != len(want) {
		s.t.Errorf("%s: %d secrets, want %d", when, len(all.Items), len(want))
	}
	for name, value := range want {
		got, err := s.typed.CoreV1().Secrets("default").Get(s.t.Context(), name, metav1.GetOptions{})
		if err != nil || string(got.Data["v"]) != value {
			s.t.Errorf("%s: %s is %q, %v", when, name, got.Data["v"], err)
		}
	}
}

func (s *server) rotate(to string) (out string, err error) {
	err = role.AskTo(s.t.Context(), s.config.DataDir, "/encryption/rotate?last="+to, func(line string) { out += line + "\n" })
	return out, err
}

// found are the files under dir that hold any of the words, plain or in base64; the store is read through its engine too, because
// its tables are compressed.
func found(t testing.TB, dir, word string) (where []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if bytes.Contains(data, []byte(word)) {
			where = append(where, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	s, err := embedded.Open(filepath.Join(dir, "server", "store"), embedded.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	entries, _, err := s.List(t.Context(), "", store.Page{})
	if err != nil || len(entries) < 10 {
		t.Fatalf("%d entries, %v", len(entries), err)
	}
	for _, e := range entries {
		if bytes.Contains(e.Value, []byte(word)) {
			where = append(where, e.Key)
		}
	}
	return where
}

const canary = "canary-3f9a51c7-in-the-coal-mine"

// The test finds the canary where nothing is encrypted; by default it is nowhere, whatever was done.
func TestCanary(t *testing.T) {
	t.Run("encryption off: found", func(t *testing.T) {
		dir := t.TempDir()
		s := serve(t, dir, func(c *config.Config) { c.Server.Encrypt.Resources = []string{"none"} })
		s.put("a", canary)
		s.end()
		if len(found(t, dir, canary)) < 2 {
			t.Error("the canary is not found where it must be: in the log of the store and in its table")
		}
	})
	t.Run("by default: nowhere", func(t *testing.T) {
		dir := t.TempDir()
		s := serve(t, dir, nil)
		want := map[string]string{}
		for i := range 20 {
			name := fmt.Sprintf("s%02d", i)
			s.put(name, "before")
			want[name] = fmt.Sprint(canary, i)
			s.put(name, want[name])
		}
		s.has("written", want)
		if out, err := s.rotate(""); err != nil || strings.Count(out, "\n") < 4 {
			t.Fatalf("rotate: %s, %v", out, err)
		}
		s.has("rotated", want)
		status, err := role.AskEncryption(t.Context(), dir)
		if err != nil || len(status.Keys) != 2 || status.Stale != 0 || status.Stored[status.Keys[0].Name] != len(want) || len(status.Stored) != 1 {
			t.Errorf("status: %+v, %v", status, err)
		}
		info, err := os.Stat(role.EncryptionFile(dir))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("the keys' file: %v, %v", info.Mode(), err)
		}
		s.end()
		if where := found(t, dir, canary); len(where) > 0 {
			t.Errorf("the canary is in %v", where)
		}
		if strings.Contains(s.log.String(), canary) {
			t.Error("the canary is in the log")
		}
		s = serve(t, dir, nil)
		s.has("started again", want)
	})
}

// A rotation that ends after any step is gone on with, and everything is read at each moment.
func TestRotationGoesOn(t *testing.T) {
	dir := t.TempDir()
	want := map[string]string{"a": "1", "b": "2"}
	s := serve(t, dir, func(c *config.Config) { c.Server.Encrypt.Resources = []string{"none"} })
	for name, value := range want {
		s.put(name, value)
	}
	s.end()
	s = serve(t, dir, nil) // from now on encrypted; what is there is rewritten in the background
	s.has("encryption on", want)
	for _, to := range []string{"add", "write", "drop"} {
		if out, err := s.rotate(to); err != nil {
			t.Fatalf("%s: %s%v", to, out, err)
		}
		s.put("after-"+to, to)
		want["after-"+to] = to
		s.has(to, want)
		s.end()
		s = serve(t, dir, nil)
		s.has("started again after "+to, want)
	}
	if _, err := os.Stat(role.EncryptionFile(dir)); err != nil {
		t.Fatal(err)
	}
	s.end()
	s = serve(t, dir, func(c *config.Config) { c.Server.Encrypt.Resources = []string{"configmaps"} })
	s.has("secrets no longer encrypted", want)
	s.end()
	if err := os.Rename(role.EncryptionFile(dir), filepath.Join(dir, "aside")); err != nil {
		t.Fatal(err)
	}
}

// Without its key a value is served to nobody, and all others are; with the key it is back.
func TestUnreadableSecret(t *testing.T) {
	dir := t.TempDir()
	s := serve(t, dir, nil)
	want := map[string]string{"a": "1", "b": "2", "c": "3"}
	for name, value := range want {
		s.put(name, value)
	}
	s.end()
	engine, err := embedded.Open(filepath.Join(dir, "server", "store"), embedded.Options{})
	if err != nil {
		t.Fatal(err)
	}
	key := "/registry/secrets/default/b"
	e, err := engine.Get(t.Context(), key, 0)
	if err != nil {
		t.Fatal(err)
	}
	e.Value[len(e.Value)-1] ^= 1
	if _, err := engine.Commit(t.Context(), store.Txn{Ops: []store.Op{{Key: key, Value: e.Value, Expect: store.Any}}}); err != nil {
		t.Fatal(err)
	}
	if err := engine.Close(); err != nil {
		t.Fatal(err)
	}
	s = serve(t, dir, nil)
	secrets := s.typed.CoreV1().Secrets("default")
	if _, err := secrets.Get(t.Context(), "b", metav1.GetOptions{}); !apierrors.IsStoreReadError(err) || !strings.Contains(err.Error(), key) {
		t.Errorf("get: %v", err)
	}
	if _, err := secrets.List(t.Context(), metav1.ListOptions{}); !apierrors.IsStoreReadError(err) || !strings.Contains(err.Error(), key) {
		t.Errorf("list: %v", err)
	}
	if _, err := s.typed.CoreV1().Secrets("kube-system").List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Errorf("list of another namespace: %v", err)
	}
	for _, name := range []string{"a", "c"} {
		if got, err := secrets.Get(t.Context(), name, metav1.GetOptions{}); err != nil || string(got.Data["v"]) != want[name] {
			t.Errorf("get %s: %v", name, err)
		}
	}
	if err := secrets.Delete(t.Context(), "b", metav1.DeleteOptions{}); !apierrors.IsStoreReadError(err) {
		t.Errorf("delete: %v", err)
	}
	if _, err := secrets.Create(t.Context(), secretOf("b", "x"), metav1.CreateOptions{}); !apierrors.IsAlreadyExists(err) {
		t.Errorf("create: %v", err)
	}
	if _, err := s.rotate(""); err == nil || !strings.Contains(err.Error(), "the old keys stay") {
		t.Errorf("a rotation that would lose a key: %v", err)
	}
	yes := true
	if err := secrets.Delete(t.Context(), "b", metav1.DeleteOptions{IgnoreStoreReadErrorWithClusterBreakingPotential: &yes}); err != nil {
		t.Errorf("unsafe delete: %v", err)
	}
	delete(want, "b")
	s.has("the unreadable one deleted", want)
	s.end()

	// The keys' file is lost: no new one is made in its place; with it all is there again.
	aside := filepath.Join(dir, "aside")
	if err := os.Rename(role.EncryptionFile(dir), aside); err != nil {
		t.Fatal(err)
	}
	if _, err := tryServe(t, dir, nil); err == nil || !strings.Contains(err.Error(), "put the file back") {
		t.Fatalf("without the keys: %v", err)
	}
	if err := os.Rename(aside, role.EncryptionFile(dir)); err != nil {
		t.Fatal(err)
	}
	s = serve(t, dir, nil)
	s.has("the keys are back", want)
}

// A file of the user's is used, and used anew when it changes; one that is wrong changes nothing.
func TestConfiguredEncryption(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "encryption.yaml")
	write := func(providers string) {
		t.Helper()
		text := "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [secrets]\n  providers:\n" + providers
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const one = "  - secretbox: {keys: [{name: one, secret: MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=}]}\n  - identity: {}\n"
	const two = "  - aesgcm: {keys: [{name: two, secret: MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=}]}\n"
	write(one)
	s := serve(t, dir, func(c *config.Config) { c.Server.Encrypt.ProviderConfig = path })
	s.put("a", "1")
	if _, err := s.rotate(""); err == nil {
		t.Error("a file of the user's is written to")
	}
	use := func() error { return role.AskTo(t.Context(), dir, "/encryption/rotate?rewrite=1", func(string) {}) }
	write("  - nonsense: {}\n")
	if err := use(); err == nil || !strings.Contains(err.Error(), "nonsense") {
		t.Errorf("a wrong file: %v", err)
	}
	s.put("b", "2")
	write(two + one)
	if err := use(); err != nil {
		t.Error(err)
	}
	s.put("c", "3")
	status, err := role.AskEncryption(t.Context(), dir)
	if err != nil || status.Stored["aesgcm:v1:two"] != 3 || len(status.Stored) != 1 {
		t.Errorf("%+v, %v", status, err)
	}
	s.has("at the end", map[string]string{"a": "1", "b": "2", "c": "3"})
}

// Whenever the process is killed in a rotation, the next one reads everything and goes on with it.
func TestRotationKilled(t *testing.T) {
	if dir := os.Getenv("LIGHTER_TEST_ROTATION"); dir != "" { // the process that is killed
		serve(t, dir, nil)
		fmt.Println("ready")
		select {}
	}
	dir := t.TempDir()
	s := serve(t, dir, nil)
	want := map[string]string{}
	for i := range 100 {
		name := fmt.Sprint("s", i)
		want[name] = fmt.Sprint(canary, i)
		s.put(name, want[name])
	}
	s.end()
	random := storetest.Seed(t)
	rounds, steps := 5, map[string]int{}
	if os.Getenv("PROVE") != "" {
		rounds = 200
	}
	for range rounds {
		cmd := exec.Command(os.Args[0], "-test.run", "^TestRotationKilled$")
		cmd.Env = append(os.Environ(), "LIGHTER_TEST_ROTATION="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
			t.Fatalf("%q, %v", line, err)
		}
		ended := make(chan error, 1)
		go func() { ended <- role.AskTo(t.Context(), dir, "/encryption/rotate", func(string) {}) }()
		time.Sleep(time.Duration(random.IntN(60)) * time.Millisecond) // the moment of the crash is the input
		cmd.Process.Kill()
		cmd.Wait()
		<-ended
		s := serve(t, dir, nil)
		s.has("after the kill", want)
		status, err := role.AskEncryption(t.Context(), dir)
		if err != nil || len(status.Unreadable) > 0 {
			t.Fatalf("%+v, %v", status, err)
		}
		steps[status.Rotation]++
		if random.IntN(2) == 0 {
			if out, err := s.rotate(""); err != nil {
				t.Errorf("going on: %s%v", out, err)
			}
			s.has("after the rotation", want)
		}
		s.end()
	}
	t.Logf("next steps after the kills: %v", steps)
	if where := found(t, dir, canary); len(where) > 0 {
		t.Errorf("the canary is in %v", where)
	}
}
