package probe

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

type callOption = grpc.CallOption

// maxBody is how much of an answer is read and told.
const maxBody = 10 << 10

func execute(ctx context.Context, e Exec, id string, command []string, timeout time.Duration) (bool, string) {
	// The runtime keeps the time; ours is a little longer, for a runtime that does not.
	ctx, cancel := context.WithTimeout(ctx, timeout+10*time.Second)
	defer cancel()
	r, err := e.ExecSync(ctx, &runtimev1.ExecSyncRequest{ContainerId: id, Cmd: command, Timeout: int64(timeout / time.Second)})
	if err != nil {
		if status.Code(err) == codes.DeadlineExceeded || strings.Contains(err.Error(), "timed out") || strings.Contains(err.Error(), "timeout") {
			return false, fmt.Sprintf("command timed out: %q timed out after %v", strings.Join(command, " "), timeout)
		}
		return false, err.Error()
	}
	out := append(r.Stdout, r.Stderr...)
	return r.ExitCode == 0, string(out[:min(len(out), maxBody)])
}

// Port is the number of a port that may be given by its name.
func Port(p intstr.IntOrString, c *corev1.Container) (int, error) {
	n := p.IntValue()
	if p.Type == intstr.String {
		for _, named := range c.Ports {
			if named.Name == p.StrVal {
				n = int(named.ContainerPort)
			}
		}
	}
	if n <= 0 || n > 65535 {
		return 0, fmt.Errorf("invalid port number: %s", p.String())
	}
	return n, nil
}

func connect(ctx context.Context, host string, port intstr.IntOrString, c *corev1.Container, ip string) (bool, string) {
	n, err := Port(port, c)
	if err != nil {
		return false, err.Error()
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort(cmp.Or(host, ip), strconv.Itoa(n)))
	if err != nil {
		return false, err.Error()
	}
	conn.Close()
	return true, ""
}

var web = &http.Client{
	Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true, Proxy: nil,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}, // a probe asks how it is, not who it is
	CheckRedirect: func(req *http.Request, via []*http.Request) error {
		if req.URL.Hostname() != via[0].URL.Hostname() || len(via) >= 10 {
			return http.ErrUseLastResponse // elsewhere is not asked: the redirect itself is a good answer
		}
		return nil
	},
}

// Request makes the GET that a probe or hook describes, to the pod's address unless it names a host.
func Request(ctx context.Context, a *corev1.HTTPGetAction, c *corev1.Container, ip, agent string) (*http.Request, error) {
	n, err := Port(a.Port, c)
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(a.Path)
	if err != nil {
		u = &url.URL{Path: a.Path}
	}
	u.Scheme = strings.ToLower(cmp.Or(string(a.Scheme), "http"))
	u.Host = net.JoinHostPort(cmp.Or(a.Host, ip), strconv.Itoa(n))
	if !strings.HasPrefix(u.Path, "/") {
		u.Path = "/" + u.Path
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	for _, h := range a.HTTPHeaders {
		if strings.EqualFold(h.Name, "Host") {
			req.Host = h.Value
		}
		req.Header.Add(h.Name, h.Value)
	}
	if _, ok := req.Header["User-Agent"]; !ok {
		req.Header.Set("User-Agent", agent)
	}
	if _, ok := req.Header["Accept"]; !ok {
		req.Header.Set("Accept", "*/*")
	} else if req.Header.Get("Accept") == "" {
		req.Header.Del("Accept")
	}
	return req, nil
}

func get(ctx context.Context, a *corev1.HTTPGetAction, c *corev1.Container, ip string) (bool, string) {
	req, err := Request(ctx, a, c, ip, "kube-probe/1.37")
	if err != nil {
		return false, err.Error()
	}
	resp, err := web.Do(req)
	if err != nil {
		return false, err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return false, err.Error()
	}
	if resp.StatusCode >= 200 && resp.StatusCode < 400 {
		return true, string(body)
	}
	return false, fmt.Sprintf("HTTP probe failed with statuscode: %d", resp.StatusCode)
}

// Get sends a hook's request; any answer below 400 is a success.
func Get(ctx context.Context, a *corev1.HTTPGetAction, c *corev1.Container, ip string) error {
	if ok, message := get(ctx, a, c, ip); !ok {
		return errors.New(message)
	}
	return nil
}

// Connect is a hook's attempt to connect.
func Connect(ctx context.Context, a *corev1.TCPSocketAction, c *corev1.Container, ip string) error {
	if ok, message := connect(ctx, a.Host, a.Port, c, ip); !ok {
		return errors.New(message)
	}
	return nil
}

func health(ctx context.Context, a *corev1.GRPCAction, ip string, timeout time.Duration) (bool, string) {
	addr := net.JoinHostPort(ip, strconv.Itoa(int(a.Port)))
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithUserAgent("kube-probe/1.37"))
	if err != nil {
		return false, err.Error()
	}
	defer conn.Close()
	service := ""
	if a.Service != nil {
		service = *a.Service
	}
	r, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: service}, grpc.WaitForReady(true))
	if err != nil {
		switch status.Code(err) {
		case codes.Unimplemented:
			return false, fmt.Sprintf("error: this server does not implement the grpc health protocol (grpc.health.v1.Health): %s", status.Convert(err).Message())
		case codes.DeadlineExceeded:
			return false, fmt.Sprintf("timeout: failed to connect service %q within %v: context deadline exceeded", addr, timeout)
		}
		return false, fmt.Sprintf("error: health rpc probe failed: %v", err)
	}
	if r.Status != grpc_health_v1.HealthCheckResponse_SERVING {
		return false, fmt.Sprintf("service unhealthy (responded with %q)", r.Status.String())
	}
	return true, "service healthy"
}
