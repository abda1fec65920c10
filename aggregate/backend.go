package aggregate

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"time"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"github.com/lighter-k8s/lighter/pki"
)

// Headers that say who asks; only those who show a certificate of the front proxy's authority are believed.
const (
	userHeader, uidHeader, groupHeader, extraPrefix = "X-Remote-User", "X-Remote-Uid", "X-Remote-Group", "X-Remote-Extra-"
)

// Backend is another server that serves one version of a group.
type Backend struct {
	name      string
	uid       types.UID
	spec      apiregistrationv1.APIServiceSpec
	host      string // "name.namespace.svc:443"
	transport interface {
		http.RoundTripper
		CloseIdleConnections()
	}
	broken error // why there is no transport

	mu      sync.Mutex
	asking  bool
	asked   time.Time
	err     error // why it is not available
	known   apidiscoveryv2.APIVersionDiscovery
	openapi string

	v2 struct { // its OpenAPI v2 document, as it was sent last
		sync.Mutex
		document []byte
		tag      string
	}
}

// found is what a backend says of itself.
type found struct {
	discovery apidiscoveryv2.APIVersionDiscovery
	openapi   string
}

var errNotFound = errors.New("not found")

// errUnknown is a backend's error before it was asked.
var errUnknown = errors.New("not asked yet")

// backend makes the backend of an object. What was found out before, by the backend in whose place it comes or by the server that
// wrote the object's condition, holds until it is asked itself.
func (s *Services) backend(o *apiregistrationv1.APIService, before *Backend) *Backend {
	ref := *o.Spec.Service
	port := int32(443)
	if ref.Port != nil {
		port = *ref.Port
	}
	name := ref.Name + "." + ref.Namespace + ".svc"
	b := &Backend{name: o.Name, uid: o.UID, spec: o.Spec, host: net.JoinHostPort(name, strconv.Itoa(int(port))), err: errUnknown,
		known: apidiscoveryv2.APIVersionDiscovery{Version: o.Spec.Version, Freshness: apidiscoveryv2.DiscoveryFreshnessStale}}
	for _, c := range o.Status.Conditions {
		if c.Type == apiregistrationv1.Available && c.Status == apiregistrationv1.ConditionTrue {
			b.err = nil
		}
	}
	if before != nil && before.uid == o.UID {
		before.mu.Lock()
		b.err, b.known, b.openapi = before.err, before.known, before.openapi
		before.mu.Unlock()
	}
	trust := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: name, InsecureSkipVerify: o.Spec.InsecureSkipTLSVerify}
	if len(o.Spec.CABundle) > 0 {
		if trust.RootCAs = x509.NewCertPool(); !trust.RootCAs.AppendCertsFromPEM(o.Spec.CABundle) {
			b.broken = &Reason{"FailedDiscoveryCheck", "the caBundle holds no certificate"}
		}
	}
	dial := &net.Dialer{Timeout: 5 * time.Second}
	// HTTP/1.1: connections that are upgraded must be of it, and watches do not share one.
	fresh := func() *http.Transport {
		return &http.Transport{TLSClientConfig: trust, TLSHandshakeTimeout: 5 * time.Second, IdleConnTimeout: 30 * time.Second, MaxIdleConnsPerHost: 16,
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				address, err := s.Address(ctx, ref.Namespace, ref.Name, port)
				if err != nil {
					return nil, err
				}
				return dial.DialContext(ctx, network, address)
			}}
	}
	b.transport = fresh()
	if s.Certificate != nil {
		trust.GetClientCertificate = s.Certificate.GetClientCertificate
		b.transport = pki.NewTransport(s.Certificate, fresh)
	}
	return b
}

func (b *Backend) close() { b.transport.CloseIdleConnections() }

// due tells whether it is time to ask, and that somebody does then.
func (b *Backend) due(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	wait := checkEvery
	if b.err != nil {
		wait = retryEvery
	}
	if b.asking || now.Sub(b.asked) < wait && !b.asked.IsZero() {
		return false
	}
	b.asking = true
	return true
}

// doubt lets the backend be asked again at once.
func (b *Backend) doubt() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked = time.Time{}
}

// put keeps what was found out, and tells whether it is something else than before. What was known stays known, as stale.
func (b *Backend) put(now time.Time, f *found, err error) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	known, openapi := b.known, b.openapi
	b.asking, b.asked, b.err = false, now, err
	if f != nil {
		b.known, b.openapi = f.discovery, f.openapi
		b.known.Freshness = apidiscoveryv2.DiscoveryFreshnessCurrent
	} else {
		b.known.Freshness = apidiscoveryv2.DiscoveryFreshnessStale
	}
	return openapi != b.openapi || !reflect.DeepEqual(known, b.known)
}

func (b *Backend) version() Version {
	b.mu.Lock()
	defer b.mu.Unlock()
	v := Version{GroupPriority: b.spec.GroupPriorityMinimum, Priority: b.spec.VersionPriority, Discovery: b.known, OpenAPI: b.openapi}
	v.Group, v.GroupVersion.Version = b.spec.Group, b.spec.Version
	return v
}

// reason puts an error into the words of a condition.
func (b *Backend) reason(err error) *Reason {
	var known *Reason
	if errors.As(err, &known) {
		return known
	}
	return &Reason{"FailedDiscoveryCheck", fmt.Sprintf("failing or missing response from %s: %v", b.url(b.root()), err)}
}

func (b *Backend) root() string { return "/apis/" + b.spec.Group + "/" + b.spec.Version }

func (b *Backend) url(path string) string { return "https://" + b.host + path }

const aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"

// ask asks the backend what it serves.
func (b *Backend) ask(ctx context.Context) (*found, error) {
	if b.broken != nil {
		return nil, b.broken
	}
	var list metav1.APIResourceList
	if _, err := b.get(ctx, b.root(), "application/json", &list); err != nil {
		return nil, err
	}
	f := &found{discovery: versionOf(b.spec.Version, list.APIResources)}
	var all apidiscoveryv2.APIGroupDiscoveryList
	if media, err := b.get(ctx, "/apis", aggregated+",application/json;q=0.5", &all); err == nil && media == "APIGroupDiscoveryList" {
		for _, g := range all.Items {
			for _, v := range g.Versions {
				if g.Name == b.spec.Group && v.Version == b.spec.Version {
					f.discovery = v
				}
			}
		}
	}
	var docs struct {
		Paths map[string]struct {
			ServerRelativeURL string `json:"serverRelativeURL"`
		} `json:"paths"`
	}
	switch _, err := b.get(ctx, "/openapi/v3", "application/json", &docs); {
	case err == nil:
		f.openapi = docs.Paths[strings.TrimPrefix(b.root(), "/")].ServerRelativeURL
	case !errors.Is(err, errNotFound):
		f.openapi = b.OpenAPI() // a document is not gone because nobody says where it is
	}
	return f, nil
}

// get reads a JSON document; as is the "as" of its media type.
func (b *Backend) get(ctx context.Context, path, accept string, into any) (as string, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, b.url(path), nil)
	if err != nil {
		return "", err
	}
	r.Header.Set("Accept", accept)
	identify(r.Header, authenticationv1.UserInfo{Username: "system:kube-aggregator", Groups: []string{"system:masters"}})
	res, err := b.transport.RoundTrip(r)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	switch res.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound:
		return "", fmt.Errorf("bad status from %s: %d: %w", r.URL, res.StatusCode, errNotFound)
	default:
		return "", fmt.Errorf("bad status from %s: %d", r.URL, res.StatusCode)
	}
	data, err := io.ReadAll(io.LimitReader(res.Body, 16<<20))
	if err != nil {
		return "", err
	}
	_, params, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	return params["as"], json.Unmarshal(data, into)
}

// versionOf is what aggregated discovery would say of resources that the older form lists.
func versionOf(version string, resources []metav1.APIResource) apidiscoveryv2.APIVersionDiscovery {
	out := apidiscoveryv2.APIVersionDiscovery{Version: version}
	kind := func(r metav1.APIResource) *metav1.GroupVersionKind {
		return &metav1.GroupVersionKind{Group: r.Group, Version: r.Version, Kind: r.Kind}
	}
	at := map[string]int{}
	for _, r := range resources {
		if strings.Contains(r.Name, "/") {
			continue
		}
		scope := apidiscoveryv2.ScopeCluster
		if r.Namespaced {
			scope = apidiscoveryv2.ScopeNamespace
		}
		at[r.Name] = len(out.Resources)
		out.Resources = append(out.Resources, apidiscoveryv2.APIResourceDiscovery{Resource: r.Name, ResponseKind: kind(r), Scope: scope,
			SingularResource: r.SingularName, Verbs: r.Verbs, ShortNames: r.ShortNames, Categories: r.Categories})
	}
	for _, r := range resources {
		parent, sub, ok := strings.Cut(r.Name, "/")
		n, there := at[parent]
		if ok && there {
			out.Resources[n].Subresources = append(out.Resources[n].Subresources, apidiscoveryv2.APISubresourceDiscovery{Subresource: sub, ResponseKind: kind(r), Verbs: r.Verbs})
		}
	}
	return out
}

// Available tells whether the backend answered when it was last asked.
func (b *Backend) Available() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err == nil
}

// OpenAPI is where the backend's OpenAPI v3 document is, on the backend.
func (b *Backend) OpenAPI() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.openapi
}

// identify says who asks, and nobody else.
func identify(h http.Header, user authenticationv1.UserInfo) {
	for name := range h {
		if lower := strings.ToLower(name); strings.HasPrefix(lower, "x-remote-") {
			delete(h, name)
		}
	}
	h.Set(userHeader, user.Username)
	if user.UID != "" {
		h.Set(uidHeader, user.UID)
	}
	h[groupHeader] = user.Groups
	for key, values := range user.Extra {
		h[http.CanonicalHeaderKey(extraPrefix+url.PathEscape(key))] = values
	}
}

// Forward passes a request on, as the user, upgraded connections included. failed answers when the backend cannot be reached.
func (b *Backend) Forward(w http.ResponseWriter, r *http.Request, path string, user authenticationv1.UserInfo, failed func(error)) {
	if !b.Available() {
		http.Error(w, "service unavailable", http.StatusServiceUnavailable)
		return
	}
	to := &url.URL{Scheme: "https", Host: b.host, Path: path, RawQuery: r.URL.RawQuery}
	if p, query, ok := strings.Cut(path, "?"); ok {
		to.Path, to.RawQuery = p, query
	}
	p := &httputil.ReverseProxy{Transport: b.transport, FlushInterval: -1, // watches show up at once
		Rewrite: func(q *httputil.ProxyRequest) {
			q.Out.URL, q.Out.Host = to, b.host
			q.Out.Header.Del("Authorization")
			for name := range q.Out.Header {
				if strings.HasPrefix(strings.ToLower(name), "impersonate-") {
					delete(q.Out.Header, name)
				}
			}
			identify(q.Out.Header, user)
			q.SetXForwarded()
		},
		ErrorHandler: func(_ http.ResponseWriter, _ *http.Request, err error) {
			if !errors.Is(err, context.Canceled) {
				b.doubt()
				failed(err)
			}
		}}
	p.ServeHTTP(w, r)
}
