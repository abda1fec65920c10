package runtime

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Options say how a node's containerd runs. DataDir, Programs and Log are required.
type Options struct {
	DataDir  string
	Programs Programs
	Log      *slog.Logger
	// CNIConfDir is read instead of <data-dir>/cni/net.d; plugins are then also looked for in
	// /opt/cni/bin. Empty: Lighter's own, which WriteCNI writes.
	CNIConfDir string
	Debug      bool // containerd logs all it does
}

// Containerd is the node's containerd: one process per data directory, whoever started it.
type Containerd struct {
	Dirs
	log      *slog.Logger
	programs Programs
	settings settings
	ready    chan struct{} // closed once pods can be made
	once     sync.Once
}

// New prepares, and touches nothing.
func New(o Options) (*Containerd, error) {
	dirs, err := NewDirs(o.DataDir)
	if err != nil {
		return nil, err
	}
	s := settings{
		Dirs: dirs, Programs: o.Programs, CNIConf: dirs.CNIConf, CNIBin: []string{o.Programs.CNI},
		LogLevel: "warn", NoAppArmor: !appArmor(), KeepOOMScore: !capSysResource(),
	}
	if o.CNIConfDir != "" {
		s.CNIConf, s.CNIBin = o.CNIConfDir, append(s.CNIBin, "/opt/cni/bin")
	}
	if o.Debug {
		s.LogLevel = "debug"
	}
	if s.SandboxImage, err = sandboxImage(o.Programs.Pause); err != nil {
		return nil, err
	}
	return &Containerd{Dirs: dirs, log: o.Log, programs: o.Programs, settings: s, ready: make(chan struct{})}, nil
}

// Run keeps containerd running until ctx ends, and then leaves it running: its containers are no
// business of whether Lighter runs. A containerd that runs already is adopted; one of another
// version or configuration is replaced, which no container notices. One that dies is started
// again, at once the first time, then after a growing pause of up to 10 s.
func (c *Containerd) Run(ctx context.Context) error {
	const least, most = 100 * time.Millisecond, 10 * time.Second
	pause := time.Duration(0)
	for {
		began := time.Now()
		err := c.runOnce(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if time.Since(began) > time.Minute {
			pause = 0
		}
		c.log.Warn("containerd ended, starting it again", "err", err, "took", time.Since(began), "pause", pause)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
		pause = min(max(2*pause, least), most)
	}
}

// Ready waits until pods can be made: CRI answers and the sandbox image is there.
func (c *Containerd) Ready(ctx context.Context) error {
	select {
	case <-c.ready:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for containerd: %w", ctx.Err())
	}
}

// Stop ends containerd and waits for its end. Containers keep running: see EndPods.
func (c *Containerd) Stop(ctx context.Context) error {
	return end(ctx, c.running(), 10*time.Second)
}

// running finds containerd processes of this data directory by their command line: unlike a file
// with a process id, that cannot be stale or missing.
func (c *Containerd) running() []process {
	return processes(func(p process) bool {
		config := p.arg("--config")
		return strings.HasPrefix(config, filepath.Join(c.Dirs.Run, "containerd-")) && strings.HasSuffix(config, ".toml")
	})
}

// runOnce adopts or starts containerd, and returns when it has ended.
func (c *Containerd) runOnce(ctx context.Context) error {
	config, err := c.prepare()
	if err != nil {
		return err
	}
	var old []process
	var pid process
	program, err := filepath.EvalSymlinks(c.programs.Containerd)
	if err != nil {
		return err
	}
	for _, p := range c.running() {
		if p.arg("--config") == config && p.exe() == program && pid == 0 {
			pid = p
		} else {
			old = append(old, p)
		}
	}
	if err := end(ctx, old, 10*time.Second); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	adopted := pid != 0
	if !adopted {
		if pid, err = c.start(config); err != nil {
			return err
		}
	}
	done, err := pid.watch(ctx)
	if err != nil {
		return fmt.Errorf("watch containerd: %w", err)
	}
	began := time.Now()
	if err := c.answers(ctx, done); err != nil {
		if ctx.Err() == nil {
			// It runs and does not answer: another try with a new one is all that can help.
			err = errors.Join(err, end(ctx, []process{pid}, time.Second))
		}
		return err
	}
	c.once.Do(func() { close(c.ready) })
	c.log.Info("containerd is ready", "pid", int(pid), "adopted", adopted, "took", time.Since(began))
	return c.attend(ctx, done)
}

// attend bounds the log until containerd ends.
func (c *Containerd) attend(ctx context.Context, done <-chan struct{}) error {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return errors.New("the process ended")
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			if err := boundLog(c.Log, maxLog); err != nil {
				c.log.Warn("containerd's log is not bounded", "err", err)
			}
		}
	}
}

// prepare makes the directories and writes the configuration file; config is its path.
func (c *Containerd) prepare() (config string, err error) {
	for _, dir := range []string{c.Root, c.Dirs.Run, c.CNIState, c.Registry, c.settings.CNIConf, filepath.Dir(c.Log)} {
		if err := os.MkdirAll(dir, 0o711); err != nil {
			return "", err
		}
	}
	if err := loopbackUp(); err != nil { // containerd's streaming server listens there
		return "", err
	}
	if err := shareMounts(); err != nil {
		c.log.Warn("mounts made after a container started will not show in it", "err", err)
	}
	config, text, err := c.settings.text()
	if err != nil {
		return "", err
	}
	if have, err := os.ReadFile(config); err == nil && string(have) == string(text) {
		return config, nil
	}
	others, _ := filepath.Glob(filepath.Join(c.Dirs.Run, "containerd-*.toml"))
	for _, path := range others {
		_ = os.Remove(path)
	}
	if err := os.WriteFile(config+".new", text, 0o600); err != nil {
		return "", err
	}
	return config, os.Rename(config+".new", config)
}

// start starts containerd in a session of its own with its output in the log, so that neither a
// signal to Lighter's group nor Lighter's end reaches it.
func (c *Containerd) start(config string) (process, error) {
	if err := c.forgetLastBoot(); err != nil {
		return 0, err
	}
	if err := boundLog(c.Log, maxLog); err != nil {
		return 0, err
	}
	out, err := os.OpenFile(c.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		return 0, err
	}
	defer out.Close()
	cmd := exec.Command(c.programs.Containerd, "--config", config)
	cmd.Stdout, cmd.Stderr, cmd.Dir = out, out, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	// GOGC=50 saves a quarter of its 25 MiB of anonymous memory; its configuration undoes it for shims.
	cmd.Env = append(environ(), "GOGC=50", "PATH="+filepath.Dir(c.programs.Containerd)+":"+os.Getenv("PATH")+":/usr/sbin:/usr/bin:/sbin:/bin")
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("start containerd: %w", err)
	}
	go cmd.Wait() // reaps it; ends with the process, which may be after us
	return process(cmd.Process.Pid), nil
}

// environ is our environment without what would change how containerd runs.
func environ() (env []string) {
	for _, e := range os.Environ() {
		name, _, _ := strings.Cut(e, "=")
		switch {
		case name == "PATH", name == "NOTIFY_SOCKET", name == "LISTEN_FDS", name == "LISTEN_PID",
			strings.HasPrefix(name, "CONTAINERD_"), strings.HasPrefix(name, "OTEL_"), strings.HasPrefix(name, "GO"):
		default:
			env = append(env, e)
		}
	}
	return env
}

// forgetLastBoot removes the state of pods that ended with the machine: nothing is mounted there
// any more and no shim runs, so what it describes is gone.
func (c *Containerd) forgetLastBoot() error {
	mounts, err := mountsBelow(c.State)
	if err != nil || len(mounts) > 0 || len(shims(c.Socket)) > 0 {
		return err
	}
	for _, dir := range []string{c.State, c.ShimSocket} {
		if err := os.RemoveAll(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// answers waits until containerd makes pods, or has ended (done), or two minutes have passed: it
// finds all its shims again first, which takes long when there are many on a slow machine.
func (c *Containerd) answers(ctx context.Context, done <-chan struct{}) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 2*time.Minute, errors.New("containerd does not answer"))
	defer cancel()
	conn, err := Dial(c.Socket)
	if err != nil {
		return err
	}
	defer conn.Close()
	for {
		status, err := cri.NewRuntimeServiceClient(conn).Status(ctx, &cri.StatusRequest{})
		if err == nil && runtimeReady(status) {
			break
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), err)
		case <-done:
			return errors.New("containerd ended while it started, see " + c.Log)
		}
	}
	return c.ensureSandboxImage(ctx, conn)
}

func runtimeReady(s *cri.StatusResponse) bool {
	for _, condition := range s.GetStatus().GetConditions() {
		if condition.Type == cri.RuntimeReady {
			return condition.Status
		}
	}
	return false
}

// Dial returns a connection to a CRI socket (a path, or unix://path), for k8s.io/cri-api's clients.
// It connects on first use, and again whenever containerd was started again.
func Dial(socket string) (*grpc.ClientConn, error) {
	socket = strings.TrimPrefix(socket, "unix://")
	return grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(reconnect), grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(16<<20)))
}
