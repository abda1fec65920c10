package cli

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/lighter-k8s/lighter/config"
	"github.com/lighter-k8s/lighter/pki"
	"github.com/lighter-k8s/lighter/role"
	"github.com/lighter-k8s/lighter/runtime"
)

func upCommand() *cobra.Command {
	var s settings
	var foreground bool
	var kubeconfig string
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "up",
		Short: "A cluster on this machine: control plane and node",
		Long: `Start a cluster on this machine, control plane and node in one process, and return when
the API, the node, DNS and the service network are ready. Where one runs already, nothing changes.
The context "lighter" is merged into your kubeconfig. Pods outlive Lighter: a restart or an upgrade
ends none of them; 'lighter down' does.`,
		Example: "  lighter up\n  lighter up --data-dir /srv/lighter --listen 127.0.0.1:7443",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, log, err := s.load(cmd)
			if err != nil {
				return err
			}
			if s.service {
				return installService(cmd.OutOrStdout(), "up", s.given(cmd))
			}
			if os.Geteuid() != 0 {
				return errors.New("up needs root, for containers and the pod network; run it with sudo, or 'lighter server' for a control plane alone")
			}
			if foreground {
				return run(cmd.Context(), c, log, role.Describe(c, Version, "server", "node"), role.Up)
			}
			return up(cmd.Context(), cmd.OutOrStdout(), c, s.given(cmd), kubeconfig, timeout)
		},
	}
	s.common(cmd)
	s.knobs(cmd, serverKnobs, nodeKnobs)
	s.serviceFlag(cmd)
	cmd.Flags().BoolVar(&foreground, "foreground", false, "stay in the foreground until a signal ends Lighter")
	cmd.Flags().StringVar(&kubeconfig, "kubeconfig", "", "file to merge the context \"lighter\" into; \"none\" for no file (default $KUBECONFIG or ~/.kube/config of the user who called)")
	cmd.Flags().DurationVar(&timeout, "timeout", 2*time.Minute, "how long to wait until the cluster is ready")
	return cmd
}

// run is one process of Lighter from lock to end.
func run(ctx context.Context, c *config.Config, log *slog.Logger, d role.State, body func(context.Context, *config.Config, *slog.Logger, *role.Progress, func()) error) error {
	lock, err := role.Lock(c.DataDir)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := role.Remember(c); err != nil {
		return err
	}
	slacken(log)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	p := role.NewProgress(d)
	control := make(chan error, 1)
	go func() { control <- role.Control(ctx, c.DataDir, p, stop, log) }()
	err = body(ctx, c, log, p, func() {
		p.Ready()
		log.Info("ready", "took", time.Duration(p.State().ReadyIn*float64(time.Second)).Round(time.Millisecond))
		notifySystemd()
	})
	ended := ctx.Err() != nil
	stop()
	if ended && errors.Is(err, context.Canceled) {
		err = nil // that is how parts say that they were ended
	}
	return errors.Join(err, <-control)
}

// slacken is for processes that stay.
func slacken(log *slog.Logger) {
	if err := runtime.SlackenMonitor(os.Getpid()); err != nil {
		log.Debug("the monitor of Go's runtime has no slack", "err", err)
	}
}

// notifySystemd tells a service manager that waits for it that Lighter is ready. Source: sd_notify(3).
func notifySystemd() {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return
	}
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer syscall.Close(fd)
	_ = syscall.Sendto(fd, []byte("READY=1"), 0, &syscall.SockaddrUnix{Name: path}) // nobody waits if it fails
}

// up starts Lighter in the background, unless it runs, and shows how it gets ready.
func up(ctx context.Context, out io.Writer, c *config.Config, flags []string, kubeconfig string, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var exited chan error
	logPath := filepath.Join(c.DataDir, "lighter.log")
	state, err := role.Ask(ctx, c.DataDir)
	switch {
	case err == nil && state.Ready:
		fmt.Fprintf(out, "already running since %s (pid %d)\n", state.Started.Format(time.DateTime), state.PID)
	case err == nil:
		fmt.Fprintf(out, "already starting (pid %d)\n", state.PID)
	case errors.Is(err, role.ErrNotRunning), errors.Is(err, os.ErrNotExist):
		if exited, err = background(c.DataDir, logPath, flags); err != nil {
			return err
		}
	default:
		return err
	}
	shown := len(state.Steps)
	for !state.Ready {
		select {
		case err := <-exited:
			return fmt.Errorf("lighter ended before it was ready: %v\n%s\nthe whole log is %s", err, tail(logPath, 5), logPath)
		case <-ctx.Done():
			return fmt.Errorf("not ready within %s; it goes on starting: see 'lighter status' and %s", timeout, logPath)
		case <-time.After(10 * time.Millisecond):
		}
		if state, err = role.Ask(ctx, c.DataDir); err != nil {
			continue // not there yet
		}
		for ; shown < len(state.Steps); shown++ {
			fmt.Fprintf(out, "%6.2f s  %s\n", state.Steps[shown].Seconds, state.Steps[shown].Name)
		}
	}
	if exited != nil {
		fmt.Fprintf(out, "%6.2f s  ready: %s\n", state.ReadyIn, state.Version)
	}
	return mergeKubeconfig(out, c, kubeconfig)
}

// background starts this program anew, in a session of its own.
func background(dataDir, logPath string, flags []string) (chan error, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dataDir, 0o755); err != nil {
		return nil, err
	}
	if info, err := os.Stat(logPath); err == nil && info.Size() > 16<<20 {
		if err := os.Rename(logPath, logPath+".1"); err != nil {
			return nil, err
		}
	}
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(self, append([]string{"up", "--foreground"}, flags...)...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	return exited, nil
}

// tail is the end of a file.
func tail(path string, lines int) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	n := len(data)
	for count := 0; n > 0; n-- {
		if data[n-1] == '\n' {
			if count++; count > lines {
				break
			}
		}
	}
	return string(data[n:])
}

// mergeKubeconfig puts the context "lighter" into the kubeconfig of the user who called, through sudo too.
func mergeKubeconfig(out io.Writer, c *config.Config, path string) error {
	if path == "none" {
		return nil
	}
	if path == "" {
		path = filepath.SplitList(os.Getenv("KUBECONFIG") + string(filepath.ListSeparator))[0]
	}
	if path == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return err
		}
		if name := os.Getenv("SUDO_USER"); name != "" && os.Geteuid() == 0 {
			if u, err := user.Lookup(name); err == nil {
				home = u.HomeDir
			}
		}
		path = filepath.Join(home, ".kube", "config")
	}
	k, err := role.AdminKubeconfig(c)
	if err != nil {
		return err
	}
	if err := pki.MergeKubeconfig(path, k); err != nil {
		return err
	}
	if id, err := strconv.Atoi(os.Getenv("SUDO_UID")); err == nil {
		gid, err := strconv.Atoi(os.Getenv("SUDO_GID"))
		if err == nil {
			_ = os.Chown(path, id, gid) // best effort: root can read it in any case
		}
	}
	fmt.Fprintf(out, "context \"lighter\" is in %s\n", path)
	return pki.WriteFile(filepath.Join(c.DataDir, role.MergedName), []byte(path), 0o600)
}

// unmergeKubeconfig takes the context out again, unless another cluster has its name by now.
func unmergeKubeconfig(c *config.Config) error {
	path, err := os.ReadFile(filepath.Join(c.DataDir, role.MergedName))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	k, err := role.AdminKubeconfig(c)
	if err != nil {
		return err
	}
	data, err := os.ReadFile(string(path))
	if err != nil || !bytes.Contains(data, []byte(base64.StdEncoding.EncodeToString(k.CA))) {
		return nil // it is not there, or not ours
	}
	return pki.RemoveKubeconfig(string(path), k.Name)
}
