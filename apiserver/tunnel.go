package apiserver

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"k8s.io/streaming/pkg/httpstream/wsstream"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/registry"
	"github.com/lighter-k8s/lighter/watch"
)

// Tunnel reaches nodes and pods on behalf of clients: logs, exec, attach, port-forward and the proxies.
// It follows no redirect and does not pass on the caller's credentials.
type Tunnel struct {
	Kubelet http.RoundTripper // with the API server's client certificate; verifies the kubelet's
	Pods    http.RoundTripper // to pods and services, without credentials
}

// kubeletPaths are the pod subresources that a kubelet serves, and the first part of its path.
var kubeletPaths = map[string]string{"log": "containerLogs", "exec": "exec", "attach": "attach", "portforward": "portForward"}

// tunnel serves the subresources that lead to a node or pod; handled is false for all others.
func (s *Server) tunnel(w http.ResponseWriter, r *http.Request, t *route, q registry.Request) (handled bool, err error) {
	user := q.User
	kubelet := t.info.Resource == "pods" && kubeletPaths[t.subresource] != ""
	proxy := t.subresource == "proxy" && (t.info.Resource == "pods" || t.info.Resource == "services" || t.info.Resource == "nodes")
	switch {
	case t.info.Group != "" || !kubelet && !proxy:
		return false, nil
	case s.Kubelet == nil:
		return true, apierrors.NewServiceUnavailable("this server has no way to nodes")
	case kubelet && t.subresource != "log" && t.verb == "get":
		// An upgrade is a GET, but what it does needs the right to create. Source: KEP-2862, exec authorization.
		a := t.attributes()
		a.User, a.Verb = user, "create"
		if err := s.allow(r.Context(), a); err != nil {
			return true, err
		}
	case !offers(t) && !(proxy && r.Method == http.MethodOptions): // which no verb names
		return true, methodNotAllowed()
	}
	if with := connection(t); with != nil {
		if err := s.Registry.Connect(r.Context(), q, with); err != nil {
			return true, err
		}
	}
	if kubelet {
		return true, s.toKubelet(w, r, t)
	}
	return true, s.proxy(w, r, t)
}

// toKubelet hands the request on to the kubelet of the pod's node.
func (s *Server) toKubelet(w http.ResponseWriter, r *http.Request, t *route) error {
	pod, err := get[*corev1.Pod](r.Context(), s, "pods", t.namespace, t.name)
	if err != nil {
		return err
	}
	query := url.Values{}
	for k, v := range t.query {
		query[k] = v
	}
	path := "/" + kubeletPaths[t.subresource] + "/" + pod.Namespace + "/" + pod.Name
	if t.subresource != "portforward" {
		name, err := container(pod, query.Get("container"))
		if err != nil {
			return err
		}
		path += "/" + name
		query.Del("container")
	}
	if pod.Spec.NodeName == "" {
		if t.subresource == "log" {
			send(w, r, http.StatusOK, "text/plain", nil) // nothing was ever written
			return nil
		}
		return apierrors.NewBadRequest(fmt.Sprintf("pod %s does not have a host assigned", pod.Name))
	}
	for from, to := range map[string]string{"stdin": "input", "stdout": "output", "stderr": "error"} {
		if b, _ := strconv.ParseBool(query.Get(from)); b && t.subresource != "log" {
			query.Set(to, "1")
		}
		if t.subresource != "log" {
			query.Del(from)
		}
	}
	if b, _ := strconv.ParseBool(query.Get("tty")); b {
		query.Set("tty", "1")
	}
	host, err := s.nodeHost(r.Context(), pod.Spec.NodeName)
	if err != nil {
		return err
	}
	to := &url.URL{Scheme: "https", Host: host, Path: path, RawQuery: query.Encode()}
	if t.subresource == "log" && wsstream.IsWebSocketRequest(r) {
		return s.logToSocket(w, r, to, pod.Name)
	}
	var change func(*http.Response) error
	if t.subresource == "log" {
		change = func(resp *http.Response) error {
			if resp.StatusCode < 200 || resp.StatusCode > 206 {
				return logError(resp, pod.Name)
			}
			return nil
		}
	}
	s.forward(w, r, to, s.Kubelet.Kubelet, change)
	return nil
}

// logError is the Status for what a kubelet says in plain text about a log that it does not give.
func logError(resp *http.Response, pod string) error {
	raw, _ := io.ReadAll(io.LimitReader(resp.Body, 2048))
	text := strings.TrimSpace(string(raw))
	switch resp.StatusCode {
	case http.StatusInternalServerError:
		return apierrors.NewInternalError(errors.New(text))
	case http.StatusBadRequest:
		return apierrors.NewBadRequest(text)
	}
	return apierrors.NewGenericServerResponse(resp.StatusCode, "", corev1.Resource("pods/log"), pod, text, 0, false)
}

// logToSocket sends a log as the messages of a WebSocket.
func (s *Server) logToSocket(w http.ResponseWriter, r *http.Request, from *url.URL, pod string) error {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	ask, err := http.NewRequestWithContext(ctx, http.MethodGet, from.String(), nil)
	if err != nil {
		return err
	}
	resp, err := s.Kubelet.Kubelet.RoundTrip(ask)
	if err != nil {
		return apierrors.NewServiceUnavailable(fmt.Sprintf("error trying to reach service: %v", err))
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return logError(resp, pod)
	}
	if o, ok := w.(*statusWriter); ok {
		o.code, w = http.StatusSwitchingProtocols, o.ResponseWriter // the library wants the connection itself
		o.started()
	}
	// The library drops what a reader gives together with its end; a buffered one gives them one after the other.
	return wsstream.NewReader(bufio.NewReader(resp.Body), true, wsstream.NewDefaultReaderProtocols()).Copy(w, r)
}

// container picks the container that a request means. Source: kubectl logs and exec documentation.
func container(pod *corev1.Pod, name string) (string, error) {
	var all, initial, ephemeral []string
	for _, c := range pod.Spec.Containers {
		all = append(all, c.Name)
	}
	for _, c := range pod.Spec.InitContainers {
		initial = append(initial, c.Name)
	}
	for _, c := range pod.Spec.EphemeralContainers {
		ephemeral = append(ephemeral, c.Name)
	}
	if name == "" {
		if len(all) == 1 && len(initial) == 0 {
			return all[0], nil
		}
		text := fmt.Sprintf("a container name must be specified for pod %s, choose one of: [%s]", pod.Name, strings.Join(all, " "))
		if len(initial) > 0 {
			text += fmt.Sprintf(" or one of the init containers: [%s]", strings.Join(initial, " "))
		}
		return "", apierrors.NewBadRequest(text)
	}
	if !slices.Contains(slices.Concat(all, initial, ephemeral), name) {
		return "", apierrors.NewBadRequest(fmt.Sprintf("container %s is not valid for pod %s", name, pod.Name))
	}
	return name, nil
}

// nodeHost is the address and port of a node's kubelet.
func (s *Server) nodeHost(ctx context.Context, name string) (string, error) {
	node, err := get[*corev1.Node](ctx, s, "minions", "", name)
	if err != nil {
		return "", err
	}
	port := int(node.Status.DaemonEndpoints.KubeletEndpoint.Port)
	if port == 0 {
		port = 10250
	}
	for _, kind := range []corev1.NodeAddressType{corev1.NodeInternalIP, corev1.NodeExternalIP, corev1.NodeHostName} {
		for _, a := range node.Status.Addresses {
			if a.Type == kind {
				return net.JoinHostPort(a.Address, strconv.Itoa(port)), nil
			}
		}
	}
	return "", apierrors.NewServiceUnavailable(fmt.Sprintf("no preferred addresses found; known addresses: %v", node.Status.Addresses))
}

// get reads one object of a stored resource as its type.
func get[T api.Object](ctx context.Context, s *Server, storeKey, namespace, name string) (T, error) {
	var none T
	i := s.Registry.State.Info(storeKey)
	if err := s.Registry.State.Now(ctx); err != nil {
		return none, apierrors.NewInternalError(err)
	}
	item := s.Registry.State.Get(i, namespace, name)
	if item == nil {
		return none, apierrors.NewNotFound(i.GroupResource(), name)
	}
	o, err := item.Object()
	if err != nil {
		return none, apierrors.NewInternalError(err)
	}
	return o.(T), nil
}

// proxy serves the proxy subresource of pods, services and nodes: names are [scheme:]name[:port].
func (s *Server) proxy(w http.ResponseWriter, r *http.Request, t *route) error {
	scheme, name, port := "http", t.name, ""
	switch parts := strings.Split(t.name, ":"); len(parts) {
	case 1:
	case 2:
		name, port = parts[0], parts[1]
	case 3:
		scheme, name, port = parts[0], parts[1], parts[2]
	default:
		return apierrors.NewBadRequest(fmt.Sprintf("invalid proxy name %q", t.name))
	}
	if scheme == "" {
		scheme = "http"
	}
	transport := s.Kubelet.Pods
	var host string
	switch t.info.Resource {
	case "nodes":
		h, err := s.nodeHost(r.Context(), name)
		if err != nil {
			return err
		}
		scheme, host, transport = "https", h, s.Kubelet.Kubelet
	case "pods":
		pod, err := get[*corev1.Pod](r.Context(), s, "pods", t.namespace, name)
		if err != nil {
			return err
		}
		if port == "" {
			for _, c := range pod.Spec.Containers {
				if len(c.Ports) > 0 {
					port = strconv.Itoa(int(c.Ports[0].ContainerPort))
					break
				}
			}
		}
		if err := reachable(pod.Status.PodIP); err != nil {
			return err
		}
		host = joinHost(pod.Status.PodIP, port)
	case "services":
		h, err := s.endpoint(r.Context(), t.namespace, name, port)
		if err != nil {
			return err
		}
		host = h
	}
	prefix := strings.TrimSuffix(r.URL.Path, "/"+t.rest)
	if reads := r.Method == http.MethodGet || r.Method == http.MethodHead; reads && r.URL.Path == prefix && t.rest == "" && r.Header.Get("Upgrade") == "" {
		to := url.URL{Path: prefix + "/", RawQuery: r.URL.RawQuery} // so that the page's relative links lead through the proxy
		http.Redirect(w, r, to.String(), http.StatusMovedPermanently)
		return nil
	}
	s.forward(w, r, &url.URL{Scheme: scheme, Host: host, Path: "/" + t.rest, RawQuery: r.URL.RawQuery}, transport, links{prefix, host}.rewrite)
	return nil
}

func joinHost(ip, port string) string {
	if port == "" {
		return ip
	}
	return net.JoinHostPort(ip, port)
}

// reachable refuses addresses that no pod can have, so that a pod's status cannot lead the server to itself.
func reachable(ip string) error {
	addr := net.ParseIP(ip)
	if addr == nil || addr.IsLoopback() || addr.IsLinkLocalUnicast() || addr.IsUnspecified() || addr.IsMulticast() {
		return apierrors.NewBadRequest("address not allowed")
	}
	return nil
}

// endpoint picks a ready endpoint of a Service's port (a name, a number, or "" for the only one).
func (s *Server) endpoint(ctx context.Context, namespace, name, port string) (string, error) {
	svc, err := get[*corev1.Service](ctx, s, "services/specs", namespace, name)
	if err != nil {
		return "", err
	}
	want, found := "", false
	for _, p := range svc.Spec.Ports {
		if port == "" && len(svc.Spec.Ports) == 1 || p.Name == port || strconv.Itoa(int(p.Port)) == port {
			want, found = p.Name, true
			break
		}
	}
	if !found {
		return "", apierrors.NewServiceUnavailable(fmt.Sprintf("no service port %q found for service %q", port, name))
	}
	info := s.Registry.State.Info("endpointslices")
	items, _ := s.Registry.State.List(info, watch.Filter{Namespace: namespace})
	var hosts []string
	for _, item := range items {
		o, err := item.Object()
		if err != nil {
			return "", apierrors.NewInternalError(err)
		}
		slice := o.(*discoveryv1.EndpointSlice)
		if slice.Labels[discoveryv1.LabelServiceName] != name {
			continue
		}
		for _, p := range slice.Ports {
			if p.Port == nil || p.Name == nil || *p.Name != want {
				continue
			}
			for _, e := range slice.Endpoints {
				if (e.Conditions.Ready == nil || *e.Conditions.Ready) && len(e.Addresses) > 0 && reachable(e.Addresses[0]) == nil {
					hosts = append(hosts, net.JoinHostPort(e.Addresses[0], strconv.Itoa(int(*p.Port))))
				}
			}
		}
	}
	if len(hosts) == 0 {
		return "", apierrors.NewServiceUnavailable(fmt.Sprintf("no endpoints available for service %q", name))
	}
	return hosts[rand.IntN(len(hosts))], nil
}

// forward passes request and answer through, upgraded connections included.
func (s *Server) forward(w http.ResponseWriter, r *http.Request, to *url.URL, transport http.RoundTripper, change func(*http.Response) error) {
	p := &httputil.ReverseProxy{
		Rewrite: func(q *httputil.ProxyRequest) {
			q.Out.URL = to
			q.Out.Host = to.Host
			for _, h := range []string{"Authorization", "Impersonate-User", "Impersonate-Group", "Impersonate-Uid", "Cookie"} {
				q.Out.Header.Del(h)
			}
			q.SetXForwarded()
		},
		Transport:      transport,
		ModifyResponse: change,
		FlushInterval:  -1, // logs that are followed show up at once
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if errors.Is(err, context.Canceled) {
				return
			}
			if known := apierrors.APIStatus(nil); errors.As(err, &known) { // from change
				s.fail(w, r, err)
				return
			}
			s.fail(w, r, apierrors.NewServiceUnavailable(fmt.Sprintf("error trying to reach service: %v", err)))
		},
	}
	p.ServeHTTP(w, r)
}
