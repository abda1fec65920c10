package runtime

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"syscall"
	"time"

	"github.com/lighter-k8s/lighter/runtime/payload"
)

// EtcdProgram is the path of the carried etcd, unpacked alone and once to <dir>/<content hash>/;
// of the one on PATH when none is carried.
func EtcdProgram(dir string) (string, error) {
	at, err := unpackGroup(dir, "etcd")
	if errors.Is(err, payload.ErrNone) {
		path, err := exec.LookPath("etcd")
		if err != nil {
			return "", fmt.Errorf("this lighter carries no etcd and none is on PATH: %w", err)
		}
		return path, nil
	}
	return filepath.Join(at, "etcd"), err
}

// Etcd is one etcd process per data directory. Unlike containerd it does not outlive Lighter: the
// store of a server that is not there serves nobody, and two processes must never meet in one directory.
type Etcd struct {
	Program string
	DataDir string   // what --data-dir is
	Args    []string // further flags
	Log     string   // file for what it says, bounded
	Logger  *slog.Logger
	// Ended, if not nil, is asked after each end whether there is sense in starting it again; an error says why not.
	Ended func(ctx context.Context) error
	// Again, if not nil, has etcd ended in order and started again, at once, for each value.
	Again <-chan struct{}
}

// errAgain: etcd was ended to be started again.
var errAgain = errors.New("it is to start again")

// Run keeps etcd running until ctx ends, and ends it then. One that dies is started again, at once the first time,
// then after a growing pause of up to 5 s. It returns early only with the error of Ended, or when etcd cannot be started.
func (e *Etcd) Run(ctx context.Context) error {
	const least, most = 100 * time.Millisecond, 5 * time.Second
	pause := time.Duration(0)
	for {
		began := time.Now()
		err := e.once(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, errAgain) {
			continue
		}
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) {
			return err
		}
		if e.Ended != nil {
			if err := e.Ended(ctx); err != nil {
				return err
			}
		}
		if time.Since(began) > time.Minute {
			pause = 0
		}
		e.Logger.Warn("etcd ended, starting it again", "err", err, "took", time.Since(began), "pause", pause, "object", e.Log)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
		pause = min(max(2*pause, least), most)
	}
}

// processes finds the etcd processes of the data directory by their command line.
func (e *Etcd) processes() []process {
	return processes(func(p process) bool {
		return filepath.Base(p.exe()) == "etcd" && p.arg("--data-dir") == e.DataDir
	})
}

// EndOrphans ends etcd processes that a Lighter which was killed has left behind.
func (e *Etcd) EndOrphans(ctx context.Context) error { return end(ctx, e.processes(), 5*time.Second) }

// stop ends etcd in order: it hands its leadership on.
func stop(cmd *exec.Cmd, ended <-chan error) error {
	_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	late := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	return <-ended
}

// once starts etcd and returns when it has ended, or has been ended with ctx.
func (e *Etcd) once(ctx context.Context) error {
	if err := e.EndOrphans(ctx); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(e.Log), 0o711); err != nil {
		return err
	}
	if err := boundLog(e.Log, maxLog); err != nil {
		return err
	}
	out, err := os.OpenFile(e.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	cmd := exec.Command(e.Program, append([]string{"--data-dir", e.DataDir}, e.Args...)...)
	cmd.Stdout, cmd.Stderr, cmd.Dir = out, out, "/"
	cmd.Env = append(environ(), "PATH="+os.Getenv("PATH"))
	// A session of its own: a signal to Lighter's group is not for it. When Lighter is killed, the kernel asks it to end.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGTERM}
	started, ended := make(chan error, 1), make(chan error, 1)
	go func() {
		goruntime.LockOSThread() // the kernel means the thread that started it, which so stays as long
		defer goruntime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			ended <- cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("start etcd: %w", err)
	}
	settled, tick := time.After(time.Second), time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-settled:
			if err := SlackenMonitor(cmd.Process.Pid); err != nil {
				e.Logger.Debug("the monitor of etcd's runtime has no slack", "err", err)
			}
		case err := <-ended:
			if err == nil {
				err = errors.New("it ended by itself")
			}
			return err
		case <-tick.C:
			if err := boundLog(e.Log, maxLog); err != nil {
				e.Logger.Warn("etcd's log is not bounded", "err", err)
			}
		case <-e.Again:
			return errors.Join(stop(cmd, ended), errAgain)
		case <-ctx.Done():
			return stop(cmd, ended)
		}
	}
}
