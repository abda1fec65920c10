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
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/lighter-k8s/lighter/audit"
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
	Snapshot  *Snapshot `json:"snapshot,omitempty"`         // the last backup by schedule
	Container string    `json:"containerRuntime,omitempty"` // its socket
	Wrong     []string  `json:"wrong,omitempty"`            // what an administrator should look at
}

// Progress collects the steps of a start. Safe for concurrent use.
type Progress struct {
	mu    sync.Mutex
	state State
	tasks map[string]Task
	trail *audit.Trail // of commands; nil: nothing is written down
	wrong func() []string
}

// Saved notes how a backup by schedule went.
func (p *Progress) Saved(s Snapshot) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state.Snapshot = &s
}

// Watch has the state say what is wrong by then.
func (p *Progress) Watch(wrong func() []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wrong = wrong
}

// Serve answers requests for a path of the control socket, from now on.
func (p *Progress) Serve(path string, t Task) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.tasks == nil {
		p.tasks = map[string]Task{}
	}
	p.tasks[path] = t
}

// task runs what Serve set.
func (p *Progress) task(w http.ResponseWriter, r *http.Request) error {
	p.mu.Lock()
	t := p.tasks[r.URL.Path]
	p.mu.Unlock()
	if t == nil {
		http.Error(w, errNoTask.Error(), http.StatusNotFound)
		return errNoTask
	}
	return t(w, r)
}

var errNoTask = errors.New("this Lighter does not do that, or not yet; see 'lighter status'")

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
	if p.wrong != nil {
		s.Wrong = p.wrong()
	}
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
	mux.HandleFunc("POST /stop", func(w http.ResponseWriter, r *http.Request) {
		if p.command(w, r, func(w http.ResponseWriter, _ *http.Request) error {
			w.WriteHeader(http.StatusAccepted)
			return nil
		}) {
			stop()
		}
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { p.command(w, r, p.task) })
	web := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, ConnContext: withCaller}
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

// reply answers with JSON, or an error's text.
func reply(w http.ResponseWriter, v any, err error) error {
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the client is gone if it fails
	return nil
}

// told is one line of an answer that goes on while the work does.
type told struct {
	Text  string `json:"text,omitempty"`
	Error string `json:"error,omitempty"`
	Done  bool   `json:"done,omitempty"`
}

// tell runs work and sends what it says as it says it, and how it ended.
func tell(w http.ResponseWriter, work func(say func(format string, args ...any)) error) error {
	out := json.NewEncoder(w)
	send := func(t told) {
		_ = out.Encode(t)
		_ = http.NewResponseController(w).Flush() // as above
	}
	end := told{Done: true}
	err := work(func(format string, args ...any) { send(told{Text: fmt.Sprintf(format, args...)}) })
	if err != nil {
		end.Error = err.Error()
	}
	send(end)
	return err
}

// AskTo has the Lighter that runs from a data directory do something, and says what it says. Errors: ErrNotRunning.
func AskTo(ctx context.Context, dataDir, path string, say func(string)) error {
	resp, err := call(ctx, dataDir, http.MethodPost, path)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := refused(resp); err != nil {
		return err
	}
	for in := json.NewDecoder(resp.Body); ; {
		var t told
		if err := in.Decode(&t); err != nil {
			return fmt.Errorf("it ended before it was done: %w; repeat the command to go on", err)
		}
		switch {
		case t.Error != "":
			return errors.New(t.Error)
		case t.Done:
			return nil
		}
		say(t.Text)
	}
}

// refused is the error of an answer that is none.
func refused(resp *http.Response) error {
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10)) // what is there of it
	return errors.New(strings.TrimSpace(string(text)))
}

// AskEncryption returns what the server that runs from a data directory encrypts. Errors: ErrNotRunning.
func AskEncryption(ctx context.Context, dataDir string) (s EncryptionStatus, err error) {
	err = ask(ctx, dataDir, "/encryption", &s)
	return s, err
}

func ask(ctx context.Context, dataDir, path string, into any) error {
	resp, err := call(ctx, dataDir, http.MethodGet, path)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := refused(resp); err != nil {
		return err
	}
	return json.NewDecoder(resp.Body).Decode(into)
}

// ErrNotRunning: no Lighter answers for the data directory.
var ErrNotRunning = errors.New("not running")

func call(ctx context.Context, dataDir, method, path string) (*http.Response, error) {
	return callWith(ctx, dataDir, method, path, nil)
}

func callWith(ctx context.Context, dataDir, method, path string, body io.Reader) (*http.Response, error) {
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return dial(ctx, dataDir)
	}}}
	r, err := http.NewRequestWithContext(ctx, method, "http://lighter"+path, body)
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
	err := ask(ctx, dataDir, "/state", &s)
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
