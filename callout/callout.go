// Package callout asks other servers questions whose answers decide about requests: one JSON object is posted, one comes back. What comes
// in is a kubeconfig, which says whom to ask, whom to trust and what to show (authn and authz ask their webhooks through it), or the name of a server that an
// object of the cluster gives (named.go: webhooks of admission and conversion).
package callout

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Server is one that may be asked. Safe for concurrent use.
type Server struct {
	Pause time.Duration // before the second try; the next ones are longer

	url    string
	client *http.Client
}

// FromKubeconfig makes the way to the server of a kubeconfig's current context. Its URL is posted to as it is. Files that it names are read
// again when they change, as far as client-go does that.
func FromKubeconfig(path string) (*Server, error) {
	c, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig %s: %w", path, err)
	}
	u, err := url.Parse(c.Host)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return nil, fmt.Errorf("kubeconfig %s: server %q is not a URL", path, c.Host)
	}
	c.QPS, c.Burst = -1, 0
	client, err := rest.HTTPClientFor(c)
	if err != nil {
		return nil, fmt.Errorf("kubeconfig %s: %w", path, err)
	}
	return New(c.Host, client), nil
}

// New asks at a URL, with a client's credentials. A redirect is an answer, and a wrong one: questions go where we were told, and nowhere else.
func New(url string, client *http.Client) *Server {
	own := *client
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &Server{pause, url, &own}
}

// Close lets connections go that nobody uses.
func (s *Server) Close() { s.client.CloseIdleConnections() }

const (
	// tries and the time between them are kube-apiserver's for its webhooks: half a second, growing by half, a fifth of it by chance.
	tries  = 5
	pause  = 500 * time.Millisecond
	growth = 1.5
	chance = 0.2

	mostAnswer = 1 << 20
)

// StatusError is an answer with an HTTP code that says no.
type StatusError struct {
	Code int
	Text string // the beginning of the answer
}

func (e *StatusError) Error() string { return fmt.Sprintf("HTTP %d: %s", e.Code, e.Text) }

// Ask posts a question and decodes what comes back into answer. It tries again, until ctx ends, where nobody answered or the server said
// that it could not now.
func (s *Server) Ask(ctx context.Context, question, answer any) error {
	body, err := json.Marshal(question)
	if err != nil {
		return err
	}
	wait := s.Pause
	for n := 1; ; n++ {
		err := s.once(ctx, body, answer)
		if err == nil || n == tries || ctx.Err() != nil || !again(err) {
			return err
		}
		select {
		case <-time.After(wait + time.Duration(chance*rand.Float64()*float64(wait))):
		case <-ctx.Done():
			return fmt.Errorf("%w, after: %w", ctx.Err(), err)
		}
		wait = time.Duration(growth * float64(wait))
	}
}

// errAnswer is the error of an answer that no further question would change.
var errAnswer = errors.New("not an answer")

func again(err error) bool {
	var status *StatusError
	if errors.As(err, &status) {
		return status.Code == http.StatusTooManyRequests || status.Code >= 500
	}
	return !errors.Is(err, errAnswer)
}

func (s *Server) once(ctx context.Context, body []byte, answer any) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json")
	r.Header.Set("User-Agent", "lighter")
	resp, err := s.client.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, mostAnswer+1))
	if err != nil {
		return err
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return &StatusError{resp.StatusCode, string(data[:min(len(data), 256)])}
	}
	if len(data) > mostAnswer {
		return fmt.Errorf("%w: longer than %d bytes", errAnswer, mostAnswer)
	}
	if err := json.Unmarshal(data, answer); err != nil {
		return fmt.Errorf("%w: %w", errAnswer, err)
	}
	return nil
}
