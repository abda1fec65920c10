package test

import (
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/lighter-k8s/lighter/test/rig"
)

// TestMigrationToOwnMember: a cluster moves from the embedded store into an etcd of the server's own and back, by a backup: its
// objects keep their UIDs, revisions rise; an etcd that holds something is left alone, with the way out in the message.
func TestMigrationToOwnMember(t *testing.T) {
	rig.Root(t)
	off := "--disable=scheduler,controllers,cloud-controllers"
	s := rig.New(rig.NewWire(t).Machine(), "server", off)
	files := t.TempDir()
	run := func(args ...string) string {
		t.Helper()
		out, err := s.Lighter("backup", append(args, "--data-dir", s.Dir)...)
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return out
	}
	uid, seen := "", 0
	look := func(when string, names ...string) {
		t.Helper()
		got := strings.Fields(s.Kubectl("get", "configmap", "first", "-o", "jsonpath={.metadata.uid} {.metadata.resourceVersion} {.data.x}"))
		if len(got) != 3 || got[2] != "1" || uid != "" && got[0] != uid {
			t.Fatalf("%s: %v, the UID was %s", when, got, uid)
		}
		rev, err := strconv.Atoi(got[1])
		if err != nil || rev <= seen {
			t.Errorf("%s: revision %s is not above %d", when, got[1], seen)
		}
		uid, seen = got[0], rev
		for _, name := range names {
			s.Kubectl("get", "configmap", name)
		}
		if secret := s.Kubectl("get", "secret", "s", "-o", "jsonpath={.data.p}"); secret != "eA==" {
			t.Errorf("%s: the secret is %q", when, secret)
		}
	}
	s.Up()
	s.Kubectl("create", "configmap", "first", "--from-literal=x=1")
	s.Kubectl("create", "secret", "generic", "s", "--from-literal=p=x")
	look("at first")
	s.Signal(syscall.SIGTERM)

	one, two := filepath.Join(files, "1.backup"), filepath.Join(files, "2.backup")
	run("save", one)
	run("restore", one, "--cluster-init")
	s.Args("server", off, "--cluster-init")
	s.Up()
	look("in an etcd of its own")
	s.Kubectl("create", "configmap", "second")
	s.Signal(syscall.SIGTERM)
	if out, err := s.Lighter("backup", "restore", one, "--cluster-init", "--data-dir", s.Dir); err == nil || !strings.Contains(out, "holds a cluster already; nothing was changed") {
		t.Errorf("into a member that is not empty: %v\n%s", err, out)
	}

	run("save", two, "--cluster-init")
	run("restore", two, "--store", "embedded")
	s.Args("server", off, "--store", "embedded")
	s.Up()
	look("in the embedded store again", "second")
	s.Signal(syscall.SIGTERM)
}
