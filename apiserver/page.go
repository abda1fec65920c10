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
	if only := alone[path]; only != "" { // Source: what Kubernetes 1.37 does
		switch {
		case !reads(r):
			return methodNotAllowed()
		case !mentions(strings.Join(r.Header.Values("Accept"), ","), []string{only}):
			return unrepresented(only)
		}
	}
	switch {
	case below(path, "/livez"), below(path, "/readyz"), below(path, "/healthz"):
		return s.health(w, r, strings.SplitN(path, "/", 3)[1])
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
			return noPage(w)
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

// below tells whether a path is another one or stands below it.
func below(path, of string) bool { return path == of || strings.HasPrefix(path, of+"/") }

// alone are the pages with one form, which clients have to accept.
var alone = map[string]string{"/version": typeJSON, "/.well-known/openid-configuration": typeJSON, "/openid/v1/jwks": "application/jwk-set+json"}

// reads tells whether a request asks for what is there.
func reads(r *http.Request) bool { return r.Method == http.MethodGet }

func (s *Server) paths() []string {
	paths := []string{"/.well-known/openid-configuration", "/api", "/apis", "/apis/", "/healthz", "/livez", "/metrics", "/metrics/slis", "/openapi/v2", "/openapi/v3", "/openapi/v3/", "/openid/v1/jwks", "/readyz", "/version"}
	for _, name := range []string{"healthz", "livez", "readyz"} {
		for _, c := range s.checks(name) {
			paths = append(paths, "/"+name+"/"+c.Name)
		}
	}
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

// checks are those of a page of health: alive is who answers.
func (s *Server) checks(name string) []Check {
	checks := []Check{{Name: "ping", Test: func(context.Context) error { return nil }}}
	if name == "livez" {
		return checks
	}
	if more := s.ready.Load(); more != nil {
		return append(checks, *more...)
	}
	return append(checks, Check{Name: "startup", Test: func(context.Context) error { return fmt.Errorf("not finished") }})
}

// health answers 200 "ok" when all checks hold, else 500; ?verbose lists them, ?exclude leaves one out,
// and /readyz/<name> asks for one alone. Source: Kubernetes documentation, API health endpoints.
func (s *Server) health(w http.ResponseWriter, r *http.Request, name string) error {
	checks := s.checks(name)
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
		return noPage(w)
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
