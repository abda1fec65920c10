package role

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// Step is one thing that a start goes through.
type Step struct {
	Name    string  `json:"name"`
	Seconds float64 `json:"seconds"` // since the start began, when it was done
}

// State is what a running Lighter says of itself over its control socket.
type State struct {
	PID       int       `json:"pid"`
	Started   time.Time `json:"started"`
	Version   string    `json:"version"`
	Roles     []string  `json:"roles"` // server, node
	Server    string    `json:"server,omitempty"`
	Steps     []Step    `json:"steps"`
	Ready     bool      `json:"ready"`
	ReadyIn   float64   `json:"readyInSeconds,omitempty"`
	Node      string    `json:"node,omitempty"`
	DataDir   string    `json:"dataDir"`
	Listen    string    `json:"listen,omitempty"`
	Bridge    string    `json:"bridge,omitempty"`
	Cgroup    string    `json:"cgroupParent,omitempty"`
	Container string    `json:"containerRuntime,omitempty"` // its socket
}

// Progress collects the steps of a start. Safe for concurrent use.
type Progress struct {
	mu    sync.Mutex
	state State
}

// NewProgress begins a start.
func NewProgress(s State) *Progress {
	s.PID, s.Started = os.Getpid(), time.Now()
	return &Progress{state: s}
}

// Done notes that a step is done.
func (p *Progress) Done(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state.Steps = append(p.state.Steps, Step{name, time.Since(p.state.Started).Seconds()})
}

// Ready notes that the start is over.
func (p *Progress) Ready() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state.Ready, p.state.ReadyIn = true, time.Since(p.state.Started).Seconds()
}

// State is a copy of what is known.
func (p *Progress) State() State {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.state
	s.Steps = append([]Step(nil), s.Steps...)
	return s
}

// Lock makes this process the only one that runs from a data directory. It is let go when the process ends.
func Lock(dataDir string) (*os.File, error) {
	if err := os.MkdirAll(dataDir, 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dataDir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("another Lighter runs from %s; see 'lighter status --data-dir %s'", dataDir, dataDir)
	}
	return f, nil
}

// socketName is relative, so that it fits a socket address however long the data directory's path is.
const socketName = "control.sock"

// dial reaches a data directory's control socket through a short path.
func dial(ctx context.Context, dataDir string) (net.Conn, error) {
	dir, err := os.Open(dataDir)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	var d net.Dialer
	return d.DialContext(ctx, "unix", fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), socketName))
}

// Control serves the control socket until ctx ends; stop is called when somebody asks for the end.
func Control(ctx context.Context, dataDir string, p *Progress, stop func(), log *slog.Logger) error {
	dir, err := os.Open(dataDir)
	if err != nil {
		return err
	}
	defer dir.Close()
	path := fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), socketName)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return fmt.Errorf("control socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return errors.Join(err, l.Close())
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /state", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(p.State()); err != nil {
			log.Debug("state not sent", "err", err)
		}
	})
	mux.HandleFunc("POST /stop", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusAccepted)
		stop()
	})
	web := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	done := make(chan error, 1)
	go func() { done <- web.Serve(l) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		err := web.Close()
		<-done
		return err
	}
}

// ErrNotRunning: no Lighter answers for the data directory.
var ErrNotRunning = errors.New("not running")

func call(ctx context.Context, dataDir, method, path string) (*http.Response, error) {
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return dial(ctx, dataDir)
	}}}
	r, err := http.NewRequestWithContext(ctx, method, "http://lighter"+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := c.Do(r)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return nil, ErrNotRunning
	}
	return resp, err
}

// Ask returns the state of the Lighter that runs from a data directory. Errors: ErrNotRunning.
func Ask(ctx context.Context, dataDir string) (State, error) {
	var s State
	resp, err := call(ctx, dataDir, http.MethodGet, "/state")
	if err != nil {
		return s, err
	}
	defer resp.Body.Close()
	err = json.NewDecoder(resp.Body).Decode(&s)
	return s, err
}

// AskToStop asks the Lighter that runs from a data directory to end. Pods stay. Errors: ErrNotRunning.
func AskToStop(ctx context.Context, dataDir string) error {
	resp, err := call(ctx, dataDir, http.MethodPost, "/stop")
	if errors.Is(err, io.EOF) {
		return nil // it ended before it could say so
	}
	if err != nil {
		return err
	}
	return resp.Body.Close()
}
