package runtime

import (
	"bufio"
	"errors"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// mount is a line of /proc/self/mountinfo.
type mount struct {
	at     string // with the kernel's octal escapes undone
	shared bool
}

func mounts() (all []mount, err error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if m, ok := parseMount(lines.Text()); ok {
			all = append(all, m)
		}
	}
	return all, lines.Err()
}

// parseMount reads one line. Source: proc_pid_mountinfo(5).
func parseMount(line string) (mount, bool) {
	fields := strings.Fields(line)
	if len(fields) < 7 {
		return mount{}, false
	}
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	m := mount{at: unescape.Replace(fields[4])}
	for _, option := range fields[6:] {
		if option == "-" {
			break
		}
		m.shared = m.shared || strings.HasPrefix(option, "shared:")
	}
	return m, true
}

// mountsBelow lists mount points at dir and below, the newest first.
func mountsBelow(dir string) (found []string, err error) {
	all, err := mounts()
	for _, m := range all {
		if m.at == dir || strings.HasPrefix(m.at, dir+"/") {
			found = append(found, m.at)
		}
	}
	slices.Reverse(found)
	return found, err
}

// unmountBelow unmounts all at dir and below, also what is in use.
func unmountBelow(dir string) error {
	for range 10 { // mounts may be stacked, and propagation takes some along
		found, err := mountsBelow(dir)
		if err != nil || len(found) == 0 {
			return err
		}
		var errs []error
		for _, at := range found {
			err := unix.Unmount(at, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
			if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
				errs = append(errs, &os.PathError{Op: "unmount", Path: at, Err: err})
			}
		}
		if err := errors.Join(errs...); err != nil {
			return err
		}
	}
	return errors.New("mounts below " + dir + " keep coming back")
}

// shareMounts makes "/" and all below it shared, as systemd does, unless "/" is: without it a
// volume with mountPropagation HostToContainer or Bidirectional is refused.
func shareMounts() error {
	all, err := mounts()
	if err != nil {
		return err
	}
	for _, m := range all {
		if m.at == "/" && m.shared {
			return nil
		}
	}
	return os.NewSyscallError("mount --make-rshared /", unix.Mount("", "/", "", unix.MS_SHARED|unix.MS_REC, ""))
}
