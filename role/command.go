package role

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os/user"
	"strconv"
	"syscall"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lighter-k8s/lighter/audit"
	"github.com/lighter-k8s/lighter/authz"
)

// Task answers a command that came through the control socket, and returns how it ended, for the audit trail. An error that is
// http.ErrAbortHandler too breaks the answer off.
type Task func(w http.ResponseWriter, r *http.Request) error

const (
	// commandPath is what the paths of commands begin with in the audit trail, where policies name them as nonResourceURLs.
	commandPath = "/lighter"
	// commandUser is what the names of those begin with who gave a command: users of the machine.
	commandUser = "system:unix:"
	pidKey      = "lighter-k8s.io/pid"
)

// audited has commands written down from now on.
func (p *Progress) audited(t *audit.Trail) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.trail = t
}

// command runs a task, and writes down who gave it and how it ended; false: it ended with an error, or was not begun because that cannot
// be written down.
func (p *Progress) command(w http.ResponseWriter, r *http.Request, t Task) bool {
	p.mu.Lock()
	trail := p.trail
	p.mu.Unlock()
	who, _ := r.Context().Value(callerKey{}).(authenticationv1.UserInfo)
	e := &audit.Event{ID: audit.NewID(), RequestURI: commandPath + r.URL.RequestURI(), UserAgent: r.UserAgent(), Received: time.Now()}
	err := trail.Begin(e, &authz.Attributes{User: who, Verb: verbs[r.Method], Path: commandPath + r.URL.Path})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return false
	}
	stage, code := audit.Panic, http.StatusInternalServerError
	defer func() { _ = e.Reached(stage, code) }() // it is done already
	if err = t(w, r); err == nil {
		stage, code = audit.ResponseComplete, http.StatusOK
		return true
	}
	stage, e.Status = audit.ResponseComplete, &metav1.Status{Status: metav1.StatusFailure, Message: err.Error()}
	if errors.Is(err, http.ErrAbortHandler) {
		panic(http.ErrAbortHandler)
	}
	return false
}

var verbs = map[string]string{http.MethodGet: "get", http.MethodPost: "post"} // as the API has them for what is no resource

type callerKey struct{}

// withCaller notes who is at the other end of a connection, as the kernel says.
func withCaller(ctx context.Context, c net.Conn) context.Context {
	who := authenticationv1.UserInfo{Username: commandUser + "unknown"}
	if raw, err := c.(*net.UnixConn).SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { // without it, unknown
			cred, err := syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
			if err != nil {
				return
			}
			who.UID = strconv.Itoa(int(cred.Uid))
			who.Username, who.Extra = commandUser+who.UID, map[string]authenticationv1.ExtraValue{pidKey: {strconv.Itoa(int(cred.Pid))}}
			if u, err := user.LookupId(who.UID); err == nil {
				who.Username = commandUser + u.Username
			}
		})
	}
	return context.WithValue(ctx, callerKey{}, who)
}
