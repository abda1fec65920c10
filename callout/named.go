package callout

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
)

// Name says whom an object of the cluster wants asked: a URL, or a Service.
type Name struct {
	URL      string // "": the Service
	CABundle []byte // PEM, of whom is trusted; none: the machine's own

	Namespace, Service, Path string
	Port                     int32
}

// NameOf reads the forms that objects have for it: a URL, or a Service, whose port is 443 unless it says one.
func NameOf(at *string, service *admissionv1.ServiceReference, bundle []byte) (Name, error) {
	n := Name{CABundle: bundle, Port: 443}
	switch {
	case at != nil && *at != "":
		n.URL = *at
	case service != nil:
		n.Namespace, n.Service = service.Namespace, service.Name
		if service.Port != nil {
			n.Port = *service.Port
		}
		if service.Path != nil {
			n.Path = "/" + strings.TrimPrefix(*service.Path, "/")
		}
	default:
		return n, errors.New("webhook configuration must have either service or URL")
	}
	return n, nil
}

// Named keeps the ways to servers that objects name, by whom they call and whom they trust. Safe for concurrent use.
type Named struct {
	// Addresses are where a port of a Service is answered, "10.0.0.7:8443", the best first; nil: services are not reached.
	Addresses func(namespace, name string, port int32) ([]string, error)

	mu sync.Mutex
	of map[[sha256.Size]byte]*Way
}

// mostWays bounds how many are kept; whoever is asked again connects again.
const mostWays = 200

// Way is the way to one server.
type Way struct {
	url    string
	client *http.Client
}

// To gives the way to a server.
func (c *Named) To(n Name) (*Way, error) {
	key := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %q %d %s", n.URL, n.Namespace, n.Service, n.Path, n.Port, n.CABundle))
	c.mu.Lock()
	defer c.mu.Unlock()
	if kept := c.of[key]; kept != nil {
		return kept, nil
	}
	made, err := c.newWay(n)
	if err != nil {
		return nil, err
	}
	if len(c.of) >= mostWays || c.of == nil {
		for _, old := range c.of {
			old.client.CloseIdleConnections()
		}
		c.of = map[[sha256.Size]byte]*Way{}
	}
	c.of[key] = made
	return made, nil
}

// newWay trusts what the name says alone, follows no redirect and has no credentials.
func (c *Named) newWay(n Name) (*Way, error) {
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	if len(n.CABundle) > 0 {
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(n.CABundle) {
			return nil, errors.New("unable to load root certificates: unable to parse bytes as PEM block")
		}
	}
	dial := &net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}
	transport := &http.Transport{TLSClientConfig: t, DialContext: dial.DialContext, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 32, IdleConnTimeout: 90 * time.Second,
		TLSHandshakeTimeout: 10 * time.Second, HTTP2: &http.HTTP2Config{SendPingTimeout: 30 * time.Second, PingTimeout: 15 * time.Second}}
	out := &Way{url: n.URL, client: &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
	if n.URL != "" {
		transport.Proxy = http.ProxyFromEnvironment
		return out, nil
	}
	if c.Addresses == nil {
		return nil, errors.New("services are not reached from here")
	}
	t.ServerName = n.Service + "." + n.Namespace + ".svc"
	out.url = "https://" + net.JoinHostPort(t.ServerName, strconv.Itoa(int(n.Port))) + n.Path
	transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		addresses, err := c.Addresses(n.Namespace, n.Service, n.Port)
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

// Post sends a question with parameters, once, and gives the answer and its HTTP code, whatever that is. An answer of more than most bytes is an
// error.
func (w *Way) Post(ctx context.Context, question []byte, parameters url.Values, agent string, most int64) (answer []byte, code int, err error) {
	u, err := url.Parse(w.url)
	if err != nil {
		return nil, 0, err
	}
	if u.Path != "" {
		u.Path = path.Join("/", u.Path) // as kube-apiserver's client has it: test environments give "https://host//path"
	}
	q := u.Query()
	for name, values := range parameters {
		q[name] = values
	}
	u.RawQuery = q.Encode()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(question))
	if err != nil {
		return nil, 0, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json, */*")
	r.Header.Set("User-Agent", agent)
	res, err := w.client.Do(r)
	if err != nil {
		return nil, 0, err
	}
	defer res.Body.Close()
	answer, err = io.ReadAll(io.LimitReader(res.Body, most+1))
	if err == nil && int64(len(answer)) > most {
		err = fmt.Errorf("the answer is larger than %d bytes", most)
	}
	return answer, res.StatusCode, err
}
