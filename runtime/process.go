package runtime

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// process is a process id, as found in /proc.
type process int

func (p process) file(name string) string { return "/proc/" + strconv.Itoa(int(p)) + "/" + name }

// exe is the path of the running program; of a replaced one without the kernel's remark.
func (p process) exe() string {
	path, _ := os.Readlink(p.file("exe"))
	return strings.TrimSuffix(path, " (deleted)")
}

// args is the command line; nil of a kernel thread, a zombie or a process that is gone.
func (p process) args() []string {
	text, _ := os.ReadFile(p.file("cmdline"))
	if text = bytes.TrimRight(text, "\x00"); len(text) == 0 {
		return nil
	}
	return strings.Split(string(text), "\x00")
}

// arg is the value after a flag of the command line, or "".
func (p process) arg(flag string) string {
	args := p.args()
	for i, a := range args[:max(0, len(args)-1)] {
		if a == flag {
			return args[i+1]
		}
	}
	return ""
}

// processes lists the live processes that pick accepts.
func processes(pick func(process) bool) (found []process) {
	names, _ := filepath.Glob("/proc/[1-9]*")
	for _, name := range names {
		pid, err := strconv.Atoi(filepath.Base(name))
		if err == nil && pid != os.Getpid() && pick(process(pid)) {
			found = append(found, process(pid))
		}
	}
	return found
}

// watch returns a channel that is closed when the process has ended, also when it is no child of
// ours. It holds one file descriptor and one goroutine until then or until ctx ends.
func (p process) watch(ctx context.Context) (<-chan struct{}, error) {
	fd, err := unix.PidfdOpen(int(p), unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil, err
	}
	// The runtime's poller waits for the descriptor, so no thread is blocked.
	file := os.NewFile(uintptr(fd), "pidfd")
	conn, err := file.SyscallConn()
	if err != nil {
		file.Close()
		return nil, err
	}
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() { file.Close() })
	go func() {
		defer close(done)
		defer file.Close()
		defer stop()
		_ = conn.Read(func(fd uintptr) bool {
			polled := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
			n, err := unix.Poll(polled, 0)
			return n > 0 || err != nil && !errors.Is(err, unix.EINTR)
		})
	}()
	return done, nil
}

// end asks the processes to end and kills those that have not after patience. It returns when all are gone.
func end(ctx context.Context, pids []process, patience time.Duration) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type one struct {
		pid  process
		done <-chan struct{}
	}
	var left []one
	for _, pid := range pids {
		if done, err := pid.watch(ctx); err == nil {
			left = append(left, one{pid, done})
			_ = unix.Kill(int(pid), unix.SIGTERM)
		}
	}
	late := time.NewTimer(patience)
	defer late.Stop()
	for _, o := range left {
		select {
		case <-o.done:
		case <-late.C:
			for _, o := range left {
				select {
				case <-o.done:
				default:
					_ = unix.Kill(int(o.pid), unix.SIGKILL)
				}
			}
			select {
			case <-o.done:
			case <-ctx.Done():
				return ctx.Err()
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return ctx.Err()
}
