package runtime

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/lighter-k8s/lighter/runtime/payload"
)

// Programs are the absolute paths of what a node runs.
type Programs struct {
	Containerd string
	Shim       string // containerd-shim-runc-v2
	Runc       string
	CNI        string // the folder with the plugins bridge and host-local
	Pause      string // the one program of the sandbox image, static
}

// Unpack makes the node's programs usable and says where they are. What the binary carries is
// written once to <dir>/<content hash>/, which appears whole or not at all; a folder of another
// version is removed once no process runs from it. A binary that carries nothing finds the
// programs on PATH and in the usual CNI folders.
func Unpack(dir string) (Programs, error) {
	at, err := unpackGroup(dir, "node")
	if errors.Is(err, payload.ErrNone) {
		return installed()
	}
	if err != nil {
		return Programs{}, err
	}
	in := func(name string) string { return filepath.Join(at, name) }
	return Programs{
		Containerd: in("containerd"), Shim: in("containerd-shim-runc-v2"), Runc: in("runc"),
		CNI: at, Pause: in("pause"),
	}, nil
}

// Kubectl is the path of the carried kubectl, unpacked alone and once to <dir>/<content hash>/;
// of the one on PATH when none is carried.
func Kubectl(dir string) (string, error) {
	at, err := unpackGroup(dir, "kubectl")
	if errors.Is(err, payload.ErrNone) {
		return exec.LookPath("kubectl")
	}
	return filepath.Join(at, "kubectl"), err
}

// installed finds what a node needs among what the machine has.
func installed() (p Programs, err error) {
	var errs []error
	look := func(name string) string {
		path, err := exec.LookPath(name)
		if err != nil {
			errs = append(errs, err)
		}
		return path
	}
	p.Containerd, p.Shim, p.Runc = look("containerd"), look("containerd-shim-runc-v2"), look("runc")
	p.Pause, _ = exec.LookPath("pause") // only to make the sandbox image, which may be there already
	for _, dir := range []string{"/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni"} {
		if _, err := os.Stat(filepath.Join(dir, "bridge")); err == nil && p.CNI == "" {
			p.CNI = dir
		}
	}
	if p.CNI == "" {
		errs = append(errs, errors.New("no CNI plugin named bridge in /opt/cni/bin, /usr/lib/cni or /usr/libexec/cni"))
	}
	if err := errors.Join(errs...); err != nil {
		return p, fmt.Errorf("this lighter carries no programs and the machine lacks some: %w", err)
	}
	return p, nil
}

// unpackGroup writes the files of a group to <dir>/<hash>/ unless they are there, and returns that.
func unpackGroup(dir, group string) (string, error) {
	files, hash, err := payload.Group(group)
	if err != nil {
		return "", err
	}
	dir, err = filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	at := filepath.Join(dir, hash)
	if whole(at, files) {
		return at, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	temp, err := os.MkdirTemp(dir, ".new-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(temp)
	if err := errors.Join(writeAll(temp, files), os.Chmod(temp, 0o755)); err != nil {
		return "", err
	}
	if err := os.Rename(temp, at); err != nil {
		// It is there: another process was faster, or a power cut left a torn one.
		if whole(at, files) {
			return at, nil
		}
		if err := os.RemoveAll(at); err != nil {
			return "", err
		}
		if err := os.Rename(temp, at); err != nil {
			return "", err
		}
	}
	return at, removeOld(dir)
}

// whole reports whether every file is there in its full size: the content was checked when it
// was written, and after a power cut a torn file is a short one.
func whole(at string, files []payload.File) bool {
	for _, f := range files {
		info, err := os.Stat(filepath.Join(at, f.Name))
		if err != nil || info.Size() != f.Size || info.Mode().Perm() != 0o755 {
			return false
		}
	}
	return true
}

func writeAll(dir string, files []payload.File) error {
	errs := make([]error, len(files))
	var group sync.WaitGroup
	for i, f := range files {
		group.Go(func() {
			out, err := os.OpenFile(filepath.Join(dir, f.Name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
			if err != nil {
				errs[i] = err
				return
			}
			errs[i] = errors.Join(f.Copy(out), out.Chmod(0o755), out.Close())
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

// removeOld removes what other versions unpacked, if no process runs from it.
func removeOld(dir string) error {
	keep := map[string]bool{}
	for _, f := range payload.Files() {
		_, hash, err := payload.Group(f.Group)
		if err != nil {
			return err
		}
		keep[hash] = true
	}
	used := func(at string) bool {
		return len(processes(func(p process) bool { return strings.HasPrefix(p.exe(), at+"/") })) > 0
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		at := filepath.Join(dir, e.Name())
		torn := strings.HasPrefix(e.Name(), ".new-") // by a process that was killed, unless it still writes
		if info, err := e.Info(); torn && (err != nil || time.Since(info.ModTime()) < time.Hour) {
			continue
		}
		if !e.IsDir() || !torn && (len(e.Name()) != 16 || keep[e.Name()] || used(at)) {
			continue
		}
		if err := os.RemoveAll(at); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
