package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lighter-k8s/lighter/test/rig"
)

// TestService installs the systemd unit in a mount namespace of its own, where /etc/systemd is an empty folder.
func TestService(t *testing.T) {
	rig.Root(t)
	if _, err := os.Stat("/run/systemd/system"); err == nil {
		t.Skip("systemd runs here: it would start the unit")
	}
	dir := t.TempDir()
	for _, place := range []string{"/etc/systemd/system", "/etc/systemd"} {
		if _, err := os.Stat(place); err == nil {
			unit := filepath.Join(dir, strings.TrimPrefix("/etc/systemd/system", place), "lighter.service")
			if err := os.MkdirAll(filepath.Dir(unit), 0o755); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command("sh", "-c", `mount --bind "$1" "$2" && exec "$3" up --service --data-dir "/srv/with space" --listen 0.0.0.0:6443`, "sh", dir, place, rig.Binary())
			cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
			out, err := cmd.CombinedOutput()
			if err != nil || !strings.Contains(string(out), "wrote /etc/systemd/system/lighter.service") {
				t.Fatalf("%v: %s", err, out)
			}
			check(t, unit)
			return
		}
	}
	t.Skip("there is no /etc/systemd to cover")
}

func check(t *testing.T, path string) {
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"[Unit]", "After=network-online.target", "[Service]", "Type=notify",
		"ExecStart=" + rig.Binary() + ` up --foreground "--data-dir=/srv/with space" --listen=0.0.0.0:6443`,
		"Restart=always", "KillMode=process", "Delegate=yes", "[Install]", "WantedBy=multi-user.target"} {
		found := false
		for line := range strings.Lines(string(text)) {
			found = found || strings.TrimSpace(line) == want
		}
		if !found {
			t.Errorf("the unit lacks %q:\n%s", want, text)
		}
	}
}
