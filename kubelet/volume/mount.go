package volume

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Mounts are the volumes that one container sees. expand fills in subPathExpr.
func (v *Volumes) Mounts(pod *corev1.Pod, c *corev1.Container, expand func(string) string) ([]*runtimev1.Mount, error) {
	var out []*runtimev1.Mount
	for n := range c.VolumeMounts {
		vm := &c.VolumeMounts[n]
		i := slices.IndexFunc(pod.Spec.Volumes, func(vol corev1.Volume) bool { return vol.Name == vm.Name })
		if i < 0 {
			return nil, fmt.Errorf("cannot find volume %q to mount into container %q", vm.Name, c.Name)
		}
		from := v.path(pod, &pod.Spec.Volumes[i])
		sub := vm.SubPath
		if vm.SubPathExpr != "" {
			sub = expand(vm.SubPathExpr)
			if strings.Contains(sub, "$(") {
				return nil, fmt.Errorf("invalid subPathExpr %q: a variable is not set", vm.SubPathExpr)
			}
		}
		if sub != "" && filepath.Clean(sub) != "." {
			target := filepath.Join(v.dir, string(pod.UID), "volume-subpaths", vm.Name, c.Name, strconv.Itoa(n))
			if err := bindBeneath(from, sub, target, fsGroup(pod)); err != nil {
				return nil, fmt.Errorf("failed to prepare subPath for volumeMount %q of container %q: %w", vm.Name, c.Name, err)
			}
			from = target
		}
		m := &runtimev1.Mount{ContainerPath: vm.MountPath, HostPath: from, Readonly: vm.ReadOnly || readOnlyKind(&pod.Spec.Volumes[i])}
		if !strings.HasPrefix(m.ContainerPath, "/") {
			m.ContainerPath = "/" + m.ContainerPath
		}
		if r := vm.RecursiveReadOnly; vm.ReadOnly && r != nil && *r != corev1.RecursiveReadOnlyDisabled {
			m.RecursiveReadOnly = true
		}
		if p := vm.MountPropagation; p != nil {
			switch *p {
			case corev1.MountPropagationHostToContainer:
				m.Propagation = runtimev1.MountPropagation_PROPAGATION_HOST_TO_CONTAINER
			case corev1.MountPropagationBidirectional:
				m.Propagation = runtimev1.MountPropagation_PROPAGATION_BIDIRECTIONAL
			}
		}
		out = append(out, m)
	}
	return out, nil
}

// readOnlyKind tells whether containers may never write to the volume: the kubelet owns its content.
func readOnlyKind(vol *corev1.Volume) bool {
	return vol.ConfigMap != nil || vol.Secret != nil || vol.DownwardAPI != nil || vol.Projected != nil
}

// beneath opens path below the open directory; symbolic links may not lead out of it, whoever changes
// them meanwhile. Source: openat2(2), RESOLVE_BENEATH.
func beneath(root int, path string, flags uint64) (int, error) {
	for {
		fd, err := unix.Openat2(root, path, &unix.OpenHow{Flags: flags | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS})
		if err != unix.EAGAIN && err != unix.EINTR {
			return fd, err
		}
	}
}

// bindBeneath mounts root/sub on target and makes what is missing of sub as directories.
func bindBeneath(root, sub, target string, group *int64) error {
	rfd, err := unix.Open(root, unix.O_PATH|unix.O_CLOEXEC|unix.O_DIRECTORY, 0)
	if err != nil {
		return fmt.Errorf("open volume: %w", err)
	}
	defer unix.Close(rfd)
	fd, err := beneath(rfd, sub, unix.O_PATH)
	if err == unix.ENOENT {
		if err = mkdirBeneath(rfd, sub, group); err == nil {
			fd, err = beneath(rfd, sub, unix.O_PATH)
		}
	}
	if err != nil {
		return fmt.Errorf("open subPath %q: %w", sub, err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if err := unmountAll(target); err != nil {
		return err
	}
	if err := os.RemoveAll(target); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		err = os.MkdirAll(target, 0o750)
	} else if err = os.MkdirAll(filepath.Dir(target), 0o750); err == nil {
		err = os.WriteFile(target, nil, 0o600)
	}
	if err != nil {
		return err
	}
	if err := unix.Mount("/proc/self/fd/"+strconv.Itoa(fd), target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("bind subPath %q: %w", sub, err)
	}
	return nil
}

// mkdirBeneath makes the directories of path that are missing, never outside root.
func mkdirBeneath(root int, path string, group *int64) error {
	at := ""
	for _, part := range strings.Split(filepath.Clean(path), "/") {
		if part == ".." || part == "" {
			return unix.EXDEV
		}
		dir := root
		if at != "" {
			var err error
			if dir, err = beneath(root, at, unix.O_PATH|unix.O_DIRECTORY); err != nil {
				return err
			}
		}
		err := unix.Mkdirat(dir, part, 0o750)
		if err == nil {
			var made int
			if made, err = unix.Openat(dir, part, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0); err == nil {
				mode := uint32(0o750)
				var st unix.Stat_t
				if unix.Fstat(dir, &st) == nil {
					mode = st.Mode & 0o7777 // as open as what it is in
				}
				if group != nil {
					err = unix.Fchown(made, -1, int(*group))
				}
				err = errors.Join(err, unix.Fchmod(made, mode))
				unix.Close(made)
			}
		} else if err == unix.EEXIST {
			err = nil
		}
		if at != "" {
			unix.Close(dir)
		}
		if err != nil {
			return err
		}
		at = filepath.Join(at, part)
	}
	return nil
}

// ReadFile reads at most limit bytes of a file in a volume of the pod, without leaving the volume.
func (v *Volumes) ReadFile(pod *corev1.Pod, volume, path string, limit int) ([]byte, error) {
	i := slices.IndexFunc(pod.Spec.Volumes, func(vol corev1.Volume) bool { return vol.Name == volume })
	if i < 0 {
		return nil, fmt.Errorf("cannot find volume %q", volume)
	}
	rfd, err := unix.Open(v.path(pod, &pod.Spec.Volumes[i]), unix.O_PATH|unix.O_CLOEXEC|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(rfd)
	fd, err := beneath(rfd, path, unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(err, fmt.Errorf("%s is not a regular file", path))
	}
	data := make([]byte, limit)
	n, err := f.Read(data)
	if err != nil && err != io.EOF {
		return nil, err
	}
	return data[:n], nil
}

// Teardown takes all volumes of the pod away. Nothing is deleted while anything is still mounted there:
// it might be a directory of the node's.
func (v *Volumes) Teardown(uid string) error {
	v.forget(uid)
	dir := filepath.Join(v.dir, uid)
	if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := unmountAll(dir); err != nil {
		return err
	}
	return errors.Join(os.RemoveAll(filepath.Join(dir, "volumes")), os.RemoveAll(filepath.Join(dir, "volume-subpaths")))
}

// unmountAll unmounts what is mounted on path or below it, the innermost first.
func unmountAll(path string) error {
	for range 2 { // a mount may lie under another
		list, err := mountsBelow(path)
		if err != nil {
			return err
		}
		for _, m := range slices.Backward(list) {
			if err := unix.Unmount(m, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && err != unix.EINVAL && err != unix.ENOENT {
				return fmt.Errorf("unmount %s: %w", m, err)
			}
		}
		if len(list) == 0 {
			return nil
		}
	}
	list, err := mountsBelow(path)
	if err == nil && len(list) > 0 {
		err = fmt.Errorf("unmount %s: still mounted", list[0])
	}
	return err
}

// mountsBelow lists the mount points on path or below it, outer ones first.
func mountsBelow(path string) ([]string, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	real, err := filepath.EvalSymlinks(filepath.Dir(path))
	if err == nil {
		path = filepath.Join(real, filepath.Base(path))
	}
	var out []string
	s := bufio.NewScanner(f)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		w := strings.SplitN(s.Text(), " ", 6)
		if len(w) < 6 {
			continue
		}
		at := unescape(w[4])
		if at == path || strings.HasPrefix(at, path+"/") {
			out = append(out, at)
		}
	}
	return out, s.Err()
}

// unescape undoes the octal escapes of /proc/self/mountinfo.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}
