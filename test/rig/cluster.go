// Package rig runs real clusters for tests: the real binary, with real containers, each on a
// machine of its own (a network namespace with its own data directory, cgroup and node name), so
// that clusters disturb neither each other nor the host. Every cluster is reset at the end of its
// test, and what it then left behind fails the test.
package rig

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/client/remote"
)

// Cluster is a Lighter that runs on a machine: `up`, or another role with the same data directory.
type Cluster struct {
	*Machine
	Dir    string        // its data directory
	Client client.Client // the administrator's
	Log    string        // file with all that it said

	args  []string
	cmd   *exec.Cmd
	done  chan struct{}
	parts map[string]*exec.Cmd
}

// Binary is the path of lighter.
func Binary() string { return os.Getenv("LIGHTER") }

// New prepares a machine's data directory and starts nothing. args are those of the command line,
// "up" or "agent" first; where they are not given, data directory, node name and log level are added.
func New(m *Machine, args ...string) *Cluster {
	m.T.Helper()
	sweep()
	base, err := os.MkdirTemp("", "lgt")
	if err != nil {
		m.T.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(base, "owner"), fmt.Appendf(nil, "%d %s", os.Getpid(), m.Name), 0o600); err != nil {
		m.T.Fatal(err)
	}
	c := &Cluster{Machine: m, Dir: filepath.Join(base, "d"), Log: filepath.Join(base, "log")}
	c.Args(args...)
	before := m.Network()
	m.T.Cleanup(func() {
		m.T.Helper()
		if m.T.Failed() {
			for _, log := range []string{c.Log, filepath.Join(c.Dir, "lighter.log")} { // the second is of an `up` in the background
				if _, err := os.Stat(log); err == nil {
					m.T.Logf("end of %s's log:\n%s", m.Name, tail(log, 60))
				}
			}
		}
		c.Kill()
		for name := range c.parts {
			c.endPart(name)
		}
		out, err := c.Lighter("reset", slices.Concat([]string{"--yes"}, c.Flags())...)
		if err != nil {
			m.T.Errorf("reset: %v\n%s", err, out)
		}
		c.nothingLeft(before)
		if !m.T.Failed() || os.Getenv("KEEP") == "" {
			_ = os.RemoveAll(base) // no mount is below it: that was an error above
		}
	})
	return c
}

// Args changes the command line of the next Begin; see New.
func (c *Cluster) Args(args ...string) {
	flags := c.Flags()
	if args[0] == "server" {
		flags = flags[:2]
	}
	c.args = slices.Concat(args[:1], flags, args[1:])
	if args[0] == "up" {
		c.args = append(c.args, "--foreground")
	}
}

// Ended waits until the process has ended by itself and returns the end of what it said.
func (c *Cluster) Ended(patience time.Duration) string {
	c.T.Helper()
	select {
	case <-c.done:
	case <-time.After(patience):
		c.T.Errorf("%s did not end within %s", c.Name, patience)
	}
	return tail(c.Log, 5)
}

// Start starts a cluster of one machine on a wire of its own and waits until it is ready.
func Start(t testing.TB, args ...string) *Cluster {
	t.Helper()
	c := New(NewWire(t).Machine(), append([]string{"up"}, args...)...)
	c.Up()
	return c
}

// Flags are those that tell every command which cluster is meant.
func (c *Cluster) Flags() []string { return []string{"--data-dir", c.Dir, "--node-name", c.Name} }

// Up starts the process and waits until it is ready.
func (c *Cluster) Up() State {
	c.T.Helper()
	c.Begin()
	return c.Ready()
}

// Begin starts the process.
func (c *Cluster) Begin() {
	c.T.Helper()
	log, err := os.OpenFile(c.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		c.T.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(Binary(), c.args...)
	cmd.Stdout, cmd.Stderr, cmd.Dir = log, log, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := c.Run(cmd); err != nil {
		c.T.Fatal(err)
	}
	done := make(chan struct{})
	go func() { _ = cmd.Wait(); close(done) }() // how it ended is in its log
	c.cmd, c.done = cmd, done
}

// State is what lighter tells about itself.
type State struct {
	PID       int     `json:"pid"`
	Ready     bool    `json:"ready"`
	ReadyIn   float64 `json:"readyInSeconds"`
	Container string  `json:"containerRuntime"`
}

// State asks over the control socket.
func (c *Cluster) State() (s State, err error) {
	web := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", filepath.Join(c.Dir, "control.sock"))
	}}}
	resp, err := web.Get("http://lighter/state")
	if err != nil {
		return s, err
	}
	defer resp.Body.Close()
	err = json.NewDecoder(resp.Body).Decode(&s)
	return s, err
}

// Ready waits until the process is ready and connects Client.
func (c *Cluster) Ready() (s State) {
	c.T.Helper()
	c.Eventually(time.Minute, "ready", func() (err error) {
		select {
		case <-c.done:
			c.T.Fatalf("lighter ended:\n%s", tail(c.Log, 20))
		default:
		}
		if s, err = c.State(); err == nil && !s.Ready {
			err = errors.New("not ready")
		}
		return err
	})
	if c.args[0] == "up" || c.args[0] == "server" {
		c.Connect(c.Kubeconfig())
	}
	return s
}

// Kubeconfig is the path of the administrator's kubeconfig.
func (c *Cluster) Kubeconfig() string { return filepath.Join(filepath.Dir(c.Dir), "kubeconfig") }

// Connect makes Client act as what the kubeconfig says; the file is written first if it is the administrator's.
func (c *Cluster) Connect(path string) {
	c.T.Helper()
	if path == c.Kubeconfig() {
		text, err := c.Lighter("kubeconfig", "--data-dir", c.Dir)
		if err != nil {
			c.T.Fatalf("kubeconfig: %v\n%s", err, text)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			c.T.Fatal(err)
		}
	}
	cfg, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		c.T.Fatal(err)
	}
	cfg.Dial = c.Dial
	made, err := remote.ForConfig(c.T.Context(), cfg, slog.New(slog.NewTextHandler(c.T.Output(), &slog.HandlerOptions{Level: slog.LevelError})))
	if err != nil {
		c.T.Fatal(err)
	}
	c.Client = made
}

// Part runs one part alone beside the process, anew if it runs; it ends with the cluster.
func (c *Cluster) Part(name string, args ...string) {
	c.T.Helper()
	c.endPart(name)
	log, err := os.OpenFile(c.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		c.T.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(Binary(), slices.Concat([]string{name}, c.Flags()[:2], args)...)
	if name == "kubelet" || name == "proxy" {
		cmd.Args = append(cmd.Args, c.Flags()[2:]...)
	}
	cmd.Stdout, cmd.Stderr = log, log
	if err := c.Run(cmd); err != nil {
		c.T.Fatal(err)
	}
	if c.parts == nil {
		c.parts = map[string]*exec.Cmd{}
	}
	c.parts[name] = cmd
}

func (c *Cluster) endPart(name string) {
	if cmd := c.parts[name]; cmd != nil {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()         // it was killed
		delete(c.parts, name)
	}
}

// Signal sends a signal to lighter and waits for its end.
func (c *Cluster) Signal(s syscall.Signal) {
	if c.cmd == nil {
		return
	}
	_ = c.cmd.Process.Signal(s) // it may have ended
	<-c.done
	c.cmd = nil
}

// Kill ends lighter, and lighter alone, as kill -9 does.
func (c *Cluster) Kill() { c.Signal(syscall.SIGKILL) }

// Lighter runs a command of the binary on the machine; it returns both its outputs.
func (c *Cluster) Lighter(command string, args ...string) (string, error) {
	return c.exec(nil, append([]string{command}, args...)...)
}

func (c *Cluster) exec(in []byte, args ...string) (string, error) {
	var out, errs bytes.Buffer
	cmd := exec.Command(Binary(), args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.Kubeconfig(), "KUBECACHEDIR="+filepath.Join(filepath.Dir(c.Dir), "kubectl"))
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(in), &out, &errs
	err := c.Run(cmd)
	if err == nil {
		err = cmd.Wait()
	}
	if err != nil {
		return out.String() + errs.String(), fmt.Errorf("lighter %s: %w", strings.Join(args, " "), err)
	}
	return out.String(), nil
}

// Kubectl runs the carried kubectl as the administrator and returns what it prints; a failure ends the test.
func (c *Cluster) Kubectl(args ...string) string {
	c.T.Helper()
	out, err := c.TryKubectl(args...)
	if err != nil {
		c.T.Fatalf("%v\n%s", err, out)
	}
	return out
}

// TryKubectl is Kubectl where a failure is looked for.
func (c *Cluster) TryKubectl(args ...string) (string, error) {
	return c.exec(nil, append([]string{"kubectl"}, args...)...)
}

// Command is a kubectl that runs on; start it with Run.
func (c *Cluster) Command(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(c.T.Context(), Binary(), append([]string{"kubectl"}, args...)...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.Kubeconfig(), "KUBECACHEDIR="+filepath.Join(filepath.Dir(c.Dir), "kubectl"))
	return cmd
}

// Apply applies manifests as text.
func (c *Cluster) Apply(manifests string) {
	c.T.Helper()
	if out, err := c.exec([]byte(manifests), "kubectl", "apply", "-f", "-"); err != nil {
		c.T.Fatalf("%v\n%s", err, out)
	}
}

// Load loads image archives into the node.
func (c *Cluster) Load(archives ...string) {
	c.T.Helper()
	if out, err := c.Lighter("image", slices.Concat([]string{"load", "--data-dir", c.Dir}, archives)...); err != nil {
		c.T.Fatalf("%v\n%s", err, out)
	}
}

// Eventually asks until there is no error; the last one ends the test when patience does.
func (m *Machine) Eventually(patience time.Duration, what string, f func() error) {
	m.T.Helper()
	err := f()
	for end := time.Now().Add(patience); err != nil; err = f() {
		if time.Now().After(end) {
			m.T.Fatalf("%s: not within %s: %v", what, patience, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func tail(path string, lines int) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimSpace(string(data)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
