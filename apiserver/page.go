package apiserver

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/pprof"
	"runtime"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/version"

	"github.com/lighter-k8s/lighter/flow"
)

// Check is one condition of readiness; nil says that it holds.
type Check struct {
	Name string
	Test func(ctx context.Context) error
}

// SetReady makes /readyz and /healthz answer by these checks; before, the server is not ready.
func (s *Server) SetReady(checks []Check) { s.ready.Store(&checks) }

// page serves what is no resource: health, version, discovery, metrics.
func (s *Server) page(w http.ResponseWriter, r *http.Request, t *route) error {
	path := strings.TrimSuffix(t.path, "/")
	switch {
	case path == "/livez" || strings.HasPrefix(path, "/livez/"):
		return s.health(w, r, "livez", []Check{{Name: "ping", Test: func(context.Context) error { return nil }}})
	case path == "/readyz" || strings.HasPrefix(path, "/readyz/"), path == "/healthz" || strings.HasPrefix(path, "/healthz/"):
		checks := []Check{{Name: "ping", Test: func(context.Context) error { return nil }}}
		if more := s.ready.Load(); more != nil {
			checks = append(checks, *more...)
		} else {
			checks = append(checks, Check{Name: "startup", Test: func(context.Context) error { return fmt.Errorf("not finished") }})
		}
		return s.health(w, r, strings.SplitN(path, "/", 3)[1], checks)
	case path == "/version":
		return sendJSON(w, r, VersionInfo(s.Version))
	case path == "/metrics":
		handler(s.metrics.registry).ServeHTTP(w, r)
		return nil
	case path == "/metrics/slis":
		handler(s.metrics.slis).ServeHTTP(w, r)
		return nil
	case strings.HasPrefix(path, "/debug/pprof"):
		profile(w, r, strings.TrimPrefix(strings.TrimPrefix(path, "/debug/pprof"), "/"))
		return nil
	case strings.HasPrefix(path, flow.DebugPath) && s.Flow != nil:
		if !s.Flow.Dump(w, r) {
			return notFoundPath()
		}
		return nil
	case strings.HasPrefix(path, "/openapi/") && s.OpenAPI != nil:
		s.settle(r.Context())
		s.OpenAPI.ServeHTTP(w, r)
		return nil
	case (path == "/.well-known/openid-configuration" || path == "/openid/v1/jwks") && s.OpenID != nil:
		s.OpenID.ServeHTTP(w, r)
		return nil
	case s.Pages[path] != nil:
		s.Pages[path].ServeHTTP(w, r)
		return nil
	case path == "":
		return sendJSON(w, r, map[string]any{"paths": s.paths()})
	}
	return s.discover(w, r, path)
}

func (s *Server) paths() []string {
	paths := []string{"/api", "/apis", "/healthz", "/livez", "/metrics", "/metrics/slis", "/openapi/v2", "/openapi/v3", "/readyz", "/version"}
	for _, g := range s.catalog.Load().groups {
		root := "/apis/" + g.Name
		if g.Name == "" {
			root = "/api"
		} else {
			paths = append(paths, root)
		}
		for _, v := range g.Versions {
			paths = append(paths, root+"/"+v)
		}
	}
	slices.Sort(paths)
	return slices.Compact(paths)
}

// health answers 200 "ok" when all checks hold, else 500; ?verbose lists them, ?exclude leaves one out,
// and /readyz/<name> asks for one alone. Source: Kubernetes documentation, API health endpoints.
func (s *Server) health(w http.ResponseWriter, r *http.Request, name string, checks []Check) error {
	only := strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, "/"+name), "/")
	exclude := r.URL.Query()["exclude"]
	var text strings.Builder
	failed, found := false, only == ""
	for _, c := range checks {
		if only != "" && c.Name != only {
			continue
		}
		found = true
		if slices.Contains(exclude, c.Name) {
			fmt.Fprintf(&text, "[+]%s excluded: ok\n", c.Name)
			continue
		}
		err := c.Test(r.Context())
		s.metrics.checked(name, c.Name, err)
		if err != nil {
			failed = true
			fmt.Fprintf(&text, "[-]%s failed: reason withheld\n", c.Name)
			s.Log.Debug("health check failed", "object", name+"/"+c.Name, "err", err)
			continue
		}
		fmt.Fprintf(&text, "[+]%s ok\n", c.Name)
	}
	_, verbose := r.URL.Query()["verbose"]
	w.Header().Set("X-Content-Type-Options", "nosniff")
	switch {
	case !found:
		return notFoundPath()
	case failed:
		send(w, r, http.StatusInternalServerError, "text/plain; charset=utf-8", []byte(text.String()+name+" check failed\n"))
	case verbose:
		send(w, r, http.StatusOK, "text/plain; charset=utf-8", []byte(text.String()+name+" check passed\n"))
	default:
		send(w, r, http.StatusOK, "text/plain; charset=utf-8", []byte("ok"))
	}
	return nil
}

// VersionInfo is what /version says.
func VersionInfo(v string) version.Info {
	major, rest, _ := strings.Cut(strings.TrimPrefix(v, "v"), ".")
	minor, _, _ := strings.Cut(rest, ".")
	return version.Info{Major: major, Minor: minor, EmulationMajor: major, EmulationMinor: minor, GitVersion: v, GitTreeState: "clean",
		GoVersion: runtime.Version(), Compiler: runtime.Compiler, Platform: runtime.GOOS + "/" + runtime.GOARCH}
}

// profile answers what go tool pprof asks for.
func profile(w http.ResponseWriter, r *http.Request, name string) {
	switch name {
	case "cmdline":
		pprof.Cmdline(w, r)
	case "profile":
		pprof.Profile(w, r)
	case "symbol":
		pprof.Symbol(w, r)
	case "trace":
		pprof.Trace(w, r)
	default:
		pprof.Index(w, r)
	}
}

func sendJSON(w http.ResponseWriter, r *http.Request, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	send(w, r, http.StatusOK, typeJSON, data)
	return nil
}
