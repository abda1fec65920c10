package runtime

import (
	"bytes"
	"context"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/lighter-k8s/lighter/runtime/payload"
)

func TestDirs(t *testing.T) {
	long := "/var/lib/" + strings.Repeat("long", 10)
	tests := map[string]struct{ data, socket string }{
		"below the data directory":          {"/var/lib/lighter", "/var/lib/lighter/run/containerd.sock"},
		"in /run when that is too long":     {long, "/run/lighter/"},
		"the longest that fits":             {"/" + strings.Repeat("a", 35), "/" + strings.Repeat("a", 35) + "/run/containerd.sock"},
		"one more does not fit with a shim": {"/" + strings.Repeat("a", 36), "/run/lighter/"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			d, err := NewDirs(tt.data)
			if err != nil || !strings.HasPrefix(d.Socket, tt.socket) {
				t.Errorf("socket is %s, %v, want %s", d.Socket, err, tt.socket)
			}
			if n := len(d.ShimSocket) + 1 + 64; n > 107 {
				t.Errorf("a shim's socket has %d bytes", n)
			}
		})
	}
	dir := t.TempDir()
	link := filepath.Join(dir, "link")
	if err := os.Symlink("real", link); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "real"), 0o755); err != nil {
		t.Fatal(err)
	}
	if d, err := NewDirs(link + "/not/there"); err != nil || d.Data != filepath.Join(dir, "real/not/there") {
		t.Errorf("through a link: %s, %v", d.Data, err)
	}
}

func TestParseMount(t *testing.T) {
	tests := map[string]struct {
		line, at string
		shared   bool
	}{
		"private":               {"36 35 98:0 / /mnt rw,noatime - ext3 /dev/root rw", "/mnt", false},
		"shared":                {"36 35 98:0 / /mnt rw shared:1 - ext3 /dev/root rw", "/mnt", true},
		"a slave that shares":   {"36 35 98:0 / /mnt rw master:2 shared:1 - ext3 /dev/root rw", "/mnt", true},
		"a name like an option": {"36 35 98:0 / /mnt rw - ext3 shared:1 rw", "/mnt", false},
		"spaces in the path":    {`36 35 98:0 / /a\040b\134c rw - tmpfs none rw`, `/a b\c`, false},
		"not a mount":           {"36 35", "", false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if m, _ := parseMount(tt.line); m != (mount{tt.at, tt.shared}) {
				t.Errorf("got %+v", m)
			}
		})
	}
}

func TestBoundLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if err := boundLog(path, 10); err != nil {
		t.Errorf("no log yet: %v", err)
	}
	w, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	show := func() string {
		now, _ := os.ReadFile(path)
		old, _ := os.ReadFile(path + ".1")
		return string(old) + "|" + string(now)
	}
	for _, step := range []struct{ write, want string }{
		{"0123456789", "|0123456789"},
		{"abc", "3456789abc|"}, // the end of it is kept
		{"d", "3456789abc|d"},  // and its writer goes on at the start
	} {
		if _, err := w.WriteString(step.write); err != nil {
			t.Fatal(err)
		}
		if err := boundLog(path, 10); err != nil {
			t.Fatal(err)
		}
		if got := show(); got != step.want {
			t.Errorf("after %q: %q, want %q", step.write, got, step.want)
		}
	}
}

func TestConflist(t *testing.T) {
	dirs, err := NewDirs(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	n := CNI{Subnets: []netip.Prefix{netip.MustParsePrefix("10.1.2.3/24"), netip.MustParsePrefix("fd00::/64")}, MTU: 1450}
	if err := WriteCNI(dirs, n); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dirs.CNIConf, "10-lighter.conflist")
	text, err := os.ReadFile(path)
	want := `{"cniVersion":"1.0.0","name":"lighter","plugins":[{"bridge":"lighter0","hairpinMode":true,"ipMasq":false,` +
		`"ipam":{"dataDir":"` + dirs.CNIState + `","ranges":[[{"subnet":"10.1.2.0/24"}],[{"subnet":"fd00::/64"}]],"type":"host-local"},` +
		`"isDefaultGateway":true,"mtu":1450,"type":"bridge"}]}`
	if got := strings.NewReplacer("\n", "", " ", "").Replace(string(text)); err != nil || got != want {
		t.Errorf("%v, got\n%s\nwant\n%s", err, got, want)
	}
	before, _ := os.Stat(path)
	if err := WriteCNI(dirs, n); err != nil {
		t.Fatal(err)
	}
	if after, _ := os.Stat(path); !os.SameFile(before, after) {
		t.Error("the same configuration was written again: containerd would read it again")
	}
	if err := WriteCNI(dirs, CNI{}); err == nil {
		t.Error("a network without addresses is no error")
	}
}

// The name of the file must change with every setting, since that is how a containerd with other
// settings is told from one to adopt.
func TestConfigName(t *testing.T) {
	dirs, err := NewDirs("/data")
	if err != nil {
		t.Fatal(err)
	}
	base := settings{Dirs: dirs, CNIBin: []string{"/a"}}
	name, text, err := base.text()
	if err != nil || !strings.Contains(string(text), "\nstate = \"/data/run/containerd\"\n") {
		t.Fatalf("%v\n%s", err, text)
	}
	for what, change := range map[string]func(*settings){
		"runc": func(s *settings) { s.Runc = "/x" }, "shim": func(s *settings) { s.Shim = "/x" },
		"plugins": func(s *settings) { s.CNIBin = []string{"/a", "/b"} }, "networks": func(s *settings) { s.CNIConf = "/x" },
		"sandbox image": func(s *settings) { s.SandboxImage = "x" }, "log level": func(s *settings) { s.LogLevel = "x" },
		"apparmor": func(s *settings) { s.NoAppArmor = true }, "oom score": func(s *settings) { s.KeepOOMScore = true },
	} {
		other := base
		change(&other)
		if changed, _, _ := other.text(); changed == name || filepath.Dir(changed) != "/data/run" {
			t.Errorf("another %s, the same name %s", what, changed)
		}
	}
}

func TestUnpack(t *testing.T) {
	files, hash, err := payload.Group("kubectl")
	if err != nil {
		t.Skipf("run `make test`, or `make payload` and go test -tags payload: %v", err)
	}
	dir := t.TempDir()
	// What an older version left: one folder in use, one not, and a torn one of each age.
	for _, d := range []string{"0123456789abcdef", "fedcba9876543210", ".new-1", ".new-2", "other"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chtimes(filepath.Join(dir, ".new-1"), time.Time{}, time.Now().Add(-2*time.Hour)); err != nil {
		t.Fatal(err)
	}
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(sleep)
	if err != nil {
		t.Fatal(err)
	}
	used := filepath.Join(dir, "0123456789abcdef/sleep")
	if err := os.WriteFile(used, program, 0o755); err != nil {
		t.Fatal(err)
	}
	running := exec.Command(used, "1000")
	if err := running.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = running.Process.Kill(); _ = running.Wait() }()

	path, err := Kubectl(dir)
	if err != nil || path != filepath.Join(dir, hash, "kubectl") {
		t.Fatalf("unpacked to %s, %v", path, err)
	}
	list := func() string {
		var names []string
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			names = append(names, e.Name())
		}
		return strings.ReplaceAll(strings.Join(names, " "), hash, "HASH")
	}
	for _, want := range []string{".new-2 0123456789abcdef", "HASH", "other"} {
		if !strings.Contains(list(), want) {
			t.Errorf("%s is not there: %s", want, list())
		}
	}
	for _, gone := range []string{".new-1", "fedcba9876543210"} {
		if strings.Contains(list(), gone) {
			t.Errorf("%s is still there: %s", gone, list())
		}
	}
	before, _ := os.Stat(path)
	if _, err := Kubectl(dir); err != nil {
		t.Fatal(err)
	}
	if after, _ := os.Stat(path); !os.SameFile(before, after) {
		t.Error("unpacked again although it was there")
	}
	if err := os.Truncate(path, files[0].Size-1); err != nil {
		t.Fatal(err)
	}
	if _, err := Kubectl(dir); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(path, "version", "--client").CombinedOutput(); err != nil || !bytes.Contains(out, []byte("Client Version: v1.37.")) {
		t.Errorf("after a torn file: %v\n%s", err, out)
	}
}

func TestEnd(t *testing.T) {
	started := func(name string, args ...string) process {
		cmd := exec.Command(name, args...)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := out.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
		return process(cmd.Process.Pid)
	}
	polite := started("sh", "-c", "echo; exec sleep 1000")
	deaf := started("sh", "-c", "trap '' TERM; echo; exec sleep 1000")
	ctx := context.Background()
	if err := end(ctx, []process{deaf, polite}, 10*time.Millisecond); err != nil {
		t.Error(err)
	}
	for _, p := range []process{polite, deaf} {
		if args := p.args(); args != nil {
			t.Errorf("still runs: %q", args)
		}
	}
	other := started("sh", "-c", "trap '' TERM; echo; exec sleep 1000")
	short, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
	defer cancel()
	if err := end(short, []process{other}, time.Hour); err == nil || other.args() == nil {
		t.Errorf("an ended context: %v", err)
	}
}

func FuzzValues(f *testing.F) {
	f.Add(field(flag(field(nil, 1, "saved"), 4), 2, "name"))
	f.Add([]byte{0x0a, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		total := 0
		err := values(b, func(n protowire.Number, bytes []byte, _ uint64) { total += len(bytes) })
		if err == nil && total > len(b) {
			t.Errorf("%d bytes of %d", total, len(b))
		}
	})
}
