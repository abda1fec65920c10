package rig

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/lighter-k8s/lighter/runtime/image"
)

// Top is the repository's folder: tests run in theirs.
func Top(t testing.TB) string {
	t.Helper()
	top, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	return top
}

var guestbook = sync.OnceValues(func() (string, error) {
	cmd := exec.Command("../examples/guestbook/demo.sh", "images")
	out, err := cmd.CombinedOutput()
	return string(out), err
})

// Guestbook makes the guestbook's images, once, and returns the folder where they are.
func Guestbook(t testing.TB) string {
	t.Helper()
	if out, err := guestbook(); err != nil {
		t.Fatalf("images of the guestbook: %v\n%s", err, strings.TrimSpace(out))
	}
	dir := os.Getenv("GUESTBOOK_BUILD")
	if dir == "" {
		dir = filepath.Join(Top(t), "bin", "guestbook")
	}
	return dir
}

// PeerImage is the name of the image that Peer makes.
const PeerImage = "lighter.test/peer:v1"

var peer = sync.OnceValues(func() (string, error) {
	dir, err := filepath.Abs("../bin/peer")
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	program, archive := filepath.Join(dir, "peer"), filepath.Join(dir, "peer.tar")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", program, "./peer")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	files := map[string]image.File{"/peer": {From: program, Mode: 0o755}, "/tmp": {Mode: fs.ModeDir | fs.ModeSticky | 0o777}}
	for _, tool := range []string{"sh", "cat", "ls", "sleep", "tar", "touch", "id"} {
		at, err := exec.LookPath(tool)
		if err != nil {
			return "", err
		}
		files["/bin/"+tool] = image.File{From: at, Mode: 0o755}
		needs, err := exec.Command("ldd", at).Output()
		if err != nil {
			return "", fmt.Errorf("ldd %s: %w", at, err)
		}
		for word := range strings.FieldsSeq(string(needs)) {
			if strings.HasPrefix(word, "/") {
				files[word] = image.File{From: word, Mode: 0o755}
			}
		}
	}
	return archive, image.WriteFile(archive, image.Spec{Names: []string{PeerImage}, Layers: []image.Layer{{Files: files}}, Entrypoint: []string{"/peer"},
		Env: []string{"PATH=/bin"}})
})

// Peer makes the image of the tests' own program, with some of this machine's tools beside it, and returns its archive.
func Peer(t testing.TB) string {
	t.Helper()
	path, err := peer()
	if err != nil {
		t.Fatalf("image of peer: %v", err)
	}
	return path
}
