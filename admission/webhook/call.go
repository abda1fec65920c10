package webhook

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// mostAnswer bounds what a webhook may answer: a patch is no larger than several objects.
const mostAnswer = 16 << 20

// callers keep the connections to webhooks, by whom they call and whom they trust.
type callers struct {
	mu sync.Mutex
	of map[[32]byte]*caller
}

// mostCallers bounds how many are kept; whoever is asked again connects again.
const mostCallers = 200

// caller is the way to one webhook.
type caller struct {
	url    string
	client *http.Client
}

// caller gives the way to a webhook.
func (w *Webhooks) caller(c *admissionv1.WebhookClientConfig) (*caller, error) {
	sum := sha256.New()
	switch {
	case c.URL != nil:
		fmt.Fprintf(sum, "u %q", *c.URL)
	case c.Service != nil:
		fmt.Fprintf(sum, "s %q %q %d %q", c.Service.Namespace, c.Service.Name, port(c.Service), pathOf(c.Service))
	default:
		return nil, errors.New("webhook configuration must have either service or URL")
	}
	sum.Write(c.CABundle)
	key := [32]byte(sum.Sum(nil))
	w.callers.mu.Lock()
	defer w.callers.mu.Unlock()
	if kept := w.callers.of[key]; kept != nil {
		return kept, nil
	}
	made, err := w.newCaller(c)
	if err != nil {
		return nil, err
	}
	if len(w.callers.of) >= mostCallers || w.callers.of == nil {
		for _, old := range w.callers.of {
			old.client.CloseIdleConnections()
		}
		w.callers.of = map[[32]byte]*caller{}
	}
	w.callers.of[key] = made
	return made, nil
}

func port(s *admissionv1.ServiceReference) int32 {
	if s.Port == nil {
		return 443
	}
	return *s.Port
}

func pathOf(s *admissionv1.ServiceReference) string {
	if s.Path == nil {
		return ""
	}
	return "/" + strings.TrimPrefix(*s.Path, "/")
}

// newCaller trusts what the configuration says alone, follows no redirect and has no credentials.
func (w *Webhooks) newCaller(c *admissionv1.WebhookClientConfig) (*caller, error) {
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	if len(c.CABundle) > 0 {
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(c.CABundle) {
			return nil, errors.New("unable to load root certificates: unable to parse bytes as PEM block")
		}
	}
	dial := &net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}
	transport := &http.Transport{TLSClientConfig: t, DialContext: dial.DialContext, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 32, IdleConnTimeout: 90 * time.Second,
		TLSHandshakeTimeout: 10 * time.Second, HTTP2: &http.HTTP2Config{SendPingTimeout: 30 * time.Second, PingTimeout: 15 * time.Second}}
	out := &caller{client: &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
	if c.URL != nil {
		transport.Proxy = http.ProxyFromEnvironment
		out.url = *c.URL
		return out, nil
	}
	s := *c.Service
	t.ServerName = s.Name + "." + s.Namespace + ".svc"
	out.url = "https://" + net.JoinHostPort(t.ServerName, strconv.Itoa(int(port(&s)))) + pathOf(&s)
	transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		addresses, err := w.Addresses(s.Namespace, s.Name, port(&s))
		if err != nil {
			return nil, err
		}
		return first(ctx, dial, network, addresses)
	}
	return out, nil
}

// first connects to the first address where somebody answers; a webhook's Pod may be gone that its Service still shows.
func first(ctx context.Context, dial *net.Dialer, network string, addresses []string) (conn net.Conn, err error) {
	for _, a := range addresses {
		if conn, err = dial.DialContext(ctx, network, a); err == nil || ctx.Err() != nil {
			return conn, err
		}
	}
	return nil, err
}

// ask sends a review and gives what came back.
func (c *caller) ask(ctx context.Context, timeout time.Duration, body []byte) ([]byte, error) {
	u, err := url.Parse(c.url)
	if err != nil {
		return nil, err
	}
	if u.Path != "" {
		u.Path = path.Join("/", u.Path) // as kube-apiserver's client has it: test environments give "https://host//path"
	}
	q := u.Query()
	q.Set("timeout", timeout.String())
	u.RawQuery = q.Encode()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json, */*")
	r.Header.Set("User-Agent", "kube-apiserver-admission")
	res, err := c.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	data, err := io.ReadAll(io.LimitReader(res.Body, mostAnswer+1))
	switch {
	case err != nil:
		return nil, err
	case len(data) > mostAnswer:
		return nil, fmt.Errorf("the answer is larger than %d bytes", mostAnswer)
	case res.StatusCode < 200 || res.StatusCode > 206:
		text := strings.TrimSpace(string(data[:min(len(data), 2048)]))
		return nil, apierrors.NewGenericServerResponse(res.StatusCode, http.MethodPost, schema.GroupResource{}, "", text, 0, true)
	}
	return data, nil
}
