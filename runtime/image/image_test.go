package image_test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lighter-k8s/lighter/runtime/image"
)

// untar reads an archive: names in order, one line each, and contents by name.
func untar(t *testing.T, r io.Reader) (lines []string, content map[string][]byte) {
	t.Helper()
	content = map[string][]byte{}
	for in := tar.NewReader(r); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return lines, content
		}
		if err != nil {
			t.Fatal(err)
		}
		if content[h.Name], err = io.ReadAll(in); err != nil {
			t.Fatal(err)
		}
		line := fmt.Sprintf("%s %04o %d:%d", h.Name, h.Mode, h.Uid, h.Gid)
		switch h.Typeflag {
		case tar.TypeReg:
			line += " = " + string(content[h.Name])
		case tar.TypeSymlink:
			line += " -> " + h.Linkname
		case tar.TypeLink:
			line += " same as " + h.Linkname
		}
		lines = append(lines, line)
	}
}

func TestLayer(t *testing.T) {
	root := t.TempDir()
	write := func(name, text string, mode fs.FileMode) {
		path := filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), mode), os.Chmod(path, mode)); err != nil {
			t.Fatal(err)
		}
	}
	write("bin/tool", "tool", 0o755|fs.ModeSetuid)
	write("etc/conf", "old", 0o600)
	if err := errors.Join(os.Link(filepath.Join(root, "bin/tool"), filepath.Join(root, "bin/zool")),
		os.Symlink("bin/tool", filepath.Join(root, "run"))); err != nil {
		t.Fatal(err)
	}
	uid := fmt.Sprintf("%d:%d", os.Getuid(), os.Getgid())
	tests := map[string]struct {
		layer image.Layer
		want  string
	}{
		"a program, with the folders that lead to it": {
			image.Program("/usr/bin/conf", filepath.Join(root, "etc/conf")),
			"usr/ 0755 0:0, usr/bin/ 0755 0:0, usr/bin/conf 0755 0:0 = old",
		},
		"a whole directory, as it is": {
			image.Layer{Root: root},
			"bin/ 0755 U, bin/tool 4755 U = tool, bin/zool 4755 U same as bin/tool, etc/ 0755 U, etc/conf 0600 U = old, run 0777 U -> bin/tool",
		},
		"files replace those of the directory and keep its folders": {
			image.Layer{Root: filepath.Join(root, "etc"), Files: map[string]image.File{
				"/conf": {Data: []byte("new"), UID: 7, GID: 8}, "/d/link": {Link: "../conf"},
			}},
			"conf 0644 7:8 = new, d/ 0755 0:0, d/link 0777 0:0 -> ../conf",
		},
		"a folder of one's own comes before what is in it, with its mode": {
			image.Layer{Files: map[string]image.File{"tmp/x": {Data: nil}, "tmp": {Mode: fs.ModeDir | fs.ModeSticky | 0o777}}},
			"tmp/ 1777 0:0, tmp/x 0644 0:0 = ",
		},
		"no path leads out of the image": {
			image.Layer{Files: map[string]image.File{"../../a/../b": {Data: []byte("x")}}},
			"b 0644 0:0 = x",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, archive := untar(t, bytes.NewReader(write1(t, image.Spec{Names: []string{"x:1"}, Layers: []image.Layer{tt.layer}})))
			var manifest []struct{ Layers []string }
			if err := json.Unmarshal(archive["manifest.json"], &manifest); err != nil {
				t.Fatal(err)
			}
			lines, _ := untar(t, bytes.NewReader(archive[manifest[0].Layers[0]]))
			want := strings.ReplaceAll(tt.want, " U", " "+uid)
			if got := strings.Join(lines, ", "); got != want {
				t.Errorf("layer has\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func write1(t *testing.T, s image.Spec) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := image.Write(&b, s); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestArchive(t *testing.T) {
	s := image.Spec{
		Names: []string{"a:1", "example.com/b:2"}, Architecture: "arm64",
		Layers: []image.Layer{
			{Files: map[string]image.File{"1": {Data: []byte("one")}}},
			{Files: map[string]image.File{"2": {Data: []byte("two")}}},
		},
		Entrypoint: []string{"/e"}, Cmd: []string{"c"}, Env: []string{"A=b"}, User: "1:2", WorkingDir: "/w",
		ExposedPorts: []string{"80/tcp"}, StopSignal: "SIGINT", Labels: map[string]string{"l": "m"},
	}
	first := write1(t, s)
	if !bytes.Equal(first, write1(t, s)) {
		t.Error("the same image twice differs")
	}
	_, archive := untar(t, bytes.NewReader(first))
	var manifest []struct {
		Config           string
		RepoTags, Layers []string
	}
	if err := json.Unmarshal(archive["manifest.json"], &manifest); err != nil || len(manifest) != 1 || len(manifest[0].Layers) != 2 {
		t.Fatalf("manifest: %+v, %v", manifest, err)
	}
	sum := func(b []byte) string { h := sha256.Sum256(b); return hex.EncodeToString(h[:]) }
	one, two := sum(archive[manifest[0].Layers[0]]), sum(archive[manifest[0].Layers[1]])
	want := `{"created":"1970-01-01T00:00:00Z","architecture":"arm64","os":"linux","config":{"User":"1:2",` +
		`"ExposedPorts":{"80/tcp":{}},"Env":["A=b"],"Entrypoint":["/e"],"Cmd":["c"],"WorkingDir":"/w","Labels":{"l":"m"},` +
		`"StopSignal":"SIGINT"},"rootfs":{"type":"layers","diff_ids":["sha256:` + one + `","sha256:` + two + `"]}}`
	if got := string(archive[manifest[0].Config]); got != want {
		t.Errorf("config is\n%s\nwant\n%s", got, want)
	}
	if manifest[0].Config != sum([]byte(want))+".json" || strings.Join(manifest[0].RepoTags, " ") != "a:1 example.com/b:2" {
		t.Errorf("manifest: %+v", manifest)
	}
}

func TestErrors(t *testing.T) {
	tests := map[string]image.Spec{
		"no name":          {Layers: []image.Layer{{}}},
		"no layer":         {Names: []string{"a"}},
		"no such file":     {Names: []string{"a"}, Layers: []image.Layer{image.Program("/a", "/does/not/exist")}},
		"a folder as file": {Names: []string{"a"}, Layers: []image.Layer{image.Program("/a", t.TempDir())}},
		"no such root":     {Names: []string{"a"}, Layers: []image.Layer{{Root: "/does/not/exist"}}},
	}
	for name, s := range tests {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "image.tar")
			if err := image.WriteFile(path, s); err == nil {
				t.Error("no error")
			}
			if left, _ := filepath.Glob(path + "*"); left != nil {
				t.Errorf("left behind: %q", left)
			}
		})
	}
}
