package main

import (
	"bufio"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/lighter-k8s/lighter"

// room is one top-level folder, or a folder below one with rules of its own, and whom it may import.
// "api" means that package alone, "api/..." what lies below it too. Everything may import its own room
// below it (but a parent never its children, unless parts says so), and what shared lists.
type room struct {
	dir   string
	may   string // of ours, separated by spaces
	tests string // further ones, for test files only
	why   string // the reason that a failure prints
}

// shared may be imported by all: they know nothing of ours themselves.
const shared = "api api/... store pki cel gen/..."

// rooms is the picture of docs/architecture.md. The longest dir that fits a package holds.
var rooms = []room{
	{".", "cli", "", "main starts cli and nothing else"},
	{"cli", "config role runtime client client/remote", "", "a command reads configuration and hands it to role; token and kubectl act as a client or run what is carried"},
	{"role", "...", "...", "role is the only wiring: it may import everything below it"},

	{"apiserver", "authn authz registry watch flow audit aggregate", "", "HTTP in, HTTP out: who asks, may they, then registry; watch streams and lists come from watch"},
	{"apiserver/openapi", "", "", "documents are made from api's records alone"},
	{"apiserver/h2", "", "", "HTTP/2 below net/http's interfaces: it knows no request of ours"},
	{"authn", "client callout", "client/clienttest", "who is asking is read from the cluster through views of client, and asked of others through callout"},
	{"authz", "client callout", "client client/clienttest", "may they is read from the cluster through views of client, and asked of others through callout"},
	{"callout", "", "", "a question to another server: what it means is known to who asks"},
	{"admission", "authz client", "client/clienttest", "what the cluster allows is read through views of client; some plugins ask authz"},
	{"admission/matching", "admission client", "client/clienttest", "which requests webhooks and policies mean"},
	{"admission/expression", "admission admission/matching authz", "", "CEL as admission uses it"},
	{"admission/webhook", "admission admission/matching admission/expression authz callout client", "client/clienttest", "what users' webhooks say"},
	{"admission/policy", "admission admission/matching admission/expression authz client api/managed", "client/clienttest", "what users' policies say"},
	{"registry", "admission watch crd", "", "the life of one object, without HTTP"},
	{"crd", "watch client controller callout", "...", "records made from definitions in the cluster; their status is kept with the controllers' queue"},
	{"aggregate", "authn authz client", "", "groups of other servers, found through client"},
	{"watch", "store", "store/memory", "newest objects and recent events of the store"},
	{"backup", "store store/encrypt", "store/memory", "snapshots of the store"},

	{"client", "", "", "the one door to the cluster: its contract knows nobody"},
	{"client/direct", "client audit authz registry watch", "...", "the door inside the server's process"},
	{"client/remote", "client", "client/clienttest ...", "the door through HTTP"},
	{"client/election", "client", "client/clienttest", "who leads is a Lease, read and written through client"},
	{"client/clienttest", "client", "", "views for tests of whoever uses client"},

	{"scheduler", "client", "client/clienttest config role", "meets others through objects in the cluster only"},
	{"controller", "client controller/pods controller/revisions controller/services", "client/clienttest controller/...",
		"controllers meet each other through objects in the cluster only; pods, revisions and services are what several of them decide alike"},
	{"controller/garbage", "client controller", "...", "its tests run on the real registry: owners are its index"},
	{"controller/replicationcontroller", "client controller controller/pods controller/replicaset", "client/clienttest controller/controllertest", "a replication controller is a replica set under its older name: one decision for both"},
	{"controller/controllertest", "client controller client/clienttest", "config role controller/...", "runs all controllers on a real control plane"},
	{"cloud", "client controller", "client/clienttest cloud/cloudtest", "runs with the controllers' runner; meets others through objects in the cluster only"},
	{"kubelet", "client kubelet/...", "client/clienttest runtime runtime/image", "meets others through objects in the cluster only; its tests start the real container runtime"},
	{"network", "client", "client/clienttest", "meets others through objects in the cluster only"},
	{"proxy", "client", "client/clienttest", "meets others through objects in the cluster only"},
	{"dns", "client", "client/clienttest", "meets others through objects in the cluster only"},
	{"console", "client", "client/clienttest", "meets others through objects in the cluster only"},

	{"runtime", "runtime/image runtime/payload", "", "carries programs; knows nothing of clusters"},
	{"config", "", "", "one struct, read by cli and role alone"},
	{"api", "", "", "what each resource is: no state, no server"},
	{"store", "", "store/storetest", "keys, bytes and revisions: no objects"},
	{"store/encrypt", "store", "store/...", "lies above an engine: values change on their way"},
	{"store/forms", "store", "store/...", "lies above an engine: values change on their way"},
	{"store/measured", "store", "store/...", "lies above an engine: counts what it is asked"},
	{"store/etcd", "store store/wire", "store/...", "the engine on the network"},
	{"store/wire", "", "store/storetest", "bytes there and back: it knows no store"},
	{"store/storetest", "store/memory", "store/...", "the contract's tests; memory is the model that engines are compared with"},
	{"pki", "", "", "certificates: nothing of ours"},
	{"pki/succession", "pki store", "store/memory", "servers meet over their authorities in the store"},
	{"cel", "", "", "expressions: nothing of ours"},
	{"flow", "authz client", "client/clienttest", "priority and fairness, set up by objects of the cluster"},
	{"audit", "authz", "", "the audit trail"},
	{"gen", "", "", "generated code, and how to make it again"},
	{"sim", "...", "...", "a whole cluster in one test"},
	{"test", "...", "...", "drives the real binary"},
	{"examples", "runtime/image", "", "what users could have written; images are made with the same code that loads them"},
	{"docs", "", "", "no code"},
	{"tools", "", "", "a module of its own: the programs that are carried"},
}

// parts are the parents that import their children: these are not a contract's implementations but pieces of one part.
var parts = []string{".", "kubelet", "kubelet/server", "runtime"}

// never are import paths that no file of ours has, with all below them: the request path is what we are here to do better.
var never = []string{"k8s.io/kubernetes", "k8s.io/apiserver/pkg/server", "k8s.io/apiserver/pkg/registry", "k8s.io/apiserver/pkg/storage",
	"k8s.io/apiserver/pkg/endpoints/handlers", "k8s.io/kube-aggregator/pkg/apiserver", "k8s.io/kube-aggregator/pkg/controllers", "k8s.io/kube-aggregator/pkg/registry", "github.com/k3s-io", "github.com/rancher/k3s", "github.com/k0sproject"}

// outside says what some rooms import of others' code at most; the standard library is free unless a "-" takes a package away.
var outside = []struct{ dir, may, why string }{
	{"api", "k8s.io/api k8s.io/apimachinery k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1 k8s.io/kube-aggregator/pkg/apis/apiregistration/v1 k8s.io/utils sigs.k8s.io/json sigs.k8s.io/yaml github.com/robfig/cron/v3 sigs.k8s.io/structured-merge-diff/v6 -os -net/http -os/exec -syscall",
		"records are made of the published types and rules; the decoders are apimachinery's own, a CronJob's schedule is parsed and fields' owners are written down as upstream does"},
	{"api/apiextensions", "k8s.io/api k8s.io/apimachinery k8s.io/apiextensions-apiserver/pkg/apis k8s.io/apiextensions-apiserver/pkg/apiserver/validation k8s.io/kube-openapi/pkg/validation/spec sigs.k8s.io/json sigs.k8s.io/structured-merge-diff/v6/value -os -net/http -os/exec -syscall",
		"a definition's rules are the published ones, to the letter; its values are read and compared as an apply does"},
	{"api/quota", "k8s.io/api k8s.io/apimachinery k8s.io/component-helpers/resource", "what containers ask for is added up as the scheduler and the kubelet do"},
	{"store", "-os -os/exec -net -net/http -syscall", "simulated: disk and network reach it only through values it is given"},
	{"store/measured", "github.com/prometheus/client_golang -os -os/exec -net -net/http -syscall", "counts for /metrics; otherwise see store"},
	{"store/memory", "github.com/tidwall/btree -os -os/exec -net -net/http -syscall", "simulated: see store"},
	{"store/embedded", "*", "the engine on disk"},
	{"store/etcd", "*", "the engine on the network"},
	{"store/wire", "*", "etcd's connections"},
	{"store/encrypt", "*", "keys come from outside, some through a plugin's socket"},
	{"store/storetest", "*", "tests"},
	{"registry", "* -os -os/exec -net -net/http -syscall -crypto/rand", "simulated: see store"},
	{"watch", "* -os -os/exec -net -net/http -syscall -crypto/rand", "simulated: see store"},
	{"scheduler", "* -os -os/exec -net -net/http -syscall -crypto/rand", "simulated: see store"},
	{"controller", "* -os -os/exec -net -net/http -syscall -crypto/rand", "simulated: see store"},
	{"controller/certificates", "* -os -os/exec -net/http -syscall -crypto/rand", "certificates hold addresses as net.IP; otherwise see controller"},
	{"controller/controllertest", "*", "tests"},
}

// vague are names that say nothing about what is inside.
var vague = []string{"util", "utils", "common", "helper", "helpers", "base", "types", "misc", "pkg", "internal"}

// file is what the tests below look at.
type file struct {
	path, dir string
	test      bool
	name      string // of the package
	imports   map[string]string
	inits     bool
}

// ignored are the folders that .gitignore leaves out of the repository.
func ignored(t *testing.T) map[string]bool {
	out := map[string]bool{}
	f, err := os.Open(".gitignore")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if dir, ok := strings.CutSuffix(s.Text(), "/"); ok {
			out[strings.Trim(dir, "/")] = true
		}
	}
	return out
}

// walk visits each file of the repository.
func walk(t *testing.T, visit func(name string)) {
	t.Helper()
	skip := ignored(t)
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && name != "." && (skip[name] || skip[d.Name()] || d.Name() == ".git"):
			return filepath.SkipDir
		case !d.IsDir() && d.Type().IsRegular():
			visit(filepath.ToSlash(name))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// sources parses every Go file of this module, and of tools.
func sources(t *testing.T) []file {
	t.Helper()
	var out []file
	set := token.NewFileSet()
	walk(t, func(name string) {
		if !strings.HasSuffix(name, ".go") {
			return
		}
		parsed, err := parser.ParseFile(set, name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			return
		}
		f := file{path: name, dir: path.Dir(name), test: strings.HasSuffix(name, "_test.go"), name: parsed.Name.Name, imports: map[string]string{}}
		for _, i := range parsed.Imports {
			p, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			alias := ""
			if i.Name != nil {
				alias = i.Name.Name
			}
			f.imports[p] = alias
		}
		for _, d := range parsed.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				f.inits = true
			}
		}
		out = append(out, f)
	})
	if len(out) < 100 {
		t.Fatalf("only %d Go files found: is this the root of the repository?", len(out))
	}
	return out
}

func within(dir, parent string) bool {
	return dir == parent || strings.HasPrefix(dir, parent+"/") || parent == "."
}

// roomOf is the row that holds for a package.
func roomOf(dir string) (best room, ok bool) {
	for _, r := range rooms {
		if r.dir == "." && dir != "." {
			continue
		}
		if within(dir, r.dir) && len(r.dir) >= len(best.dir) {
			best, ok = r, true
		}
	}
	return best, ok
}

// allows tells whether a list such as "api store/..." holds a package.
func allows(list, dir string) bool {
	for _, one := range strings.Fields(list) {
		parent, below := strings.CutSuffix(one, "...")
		parent = strings.TrimSuffix(parent, "/")
		if one == dir || below && (parent == "" || strings.HasPrefix(dir, parent+"/")) {
			return true
		}
	}
	return false
}

// complain says why one file may not import one package of ours, or "".
func complain(f file, to string) string {
	r, ok := roomOf(f.dir)
	switch {
	case !ok:
		return "is in no known room"
	case to == ".":
		return "nothing imports main"
	case within(to, "cli") && !within(f.dir, "cli") && f.dir != ".":
		return "nothing imports upward: cli is imported by main alone"
	case within(to, "role") && !within(f.dir, "role") && !within(f.dir, "cli") && !(f.test && allows(r.tests, to)):
		return "nothing imports upward: role is imported by cli alone"
	case within(to, "config") && !slices.Contains([]string{"cli", "role", "config"}, r.dir) && !(f.test && allows(r.tests, to)):
		return "config is read by cli and role alone; a part gets the values that it needs as arguments"
	case to != f.dir && within(to, f.dir) && !f.test && !slices.Contains(parts, f.dir) && f.dir != "role":
		return "a parent holds the contract and never imports its children"
	case within(to, f.dir), within(f.dir, to) && to != ".":
		return ""
	case allows(shared, to), allows(r.may, to), f.test && allows(r.tests, to):
		return ""
	}
	return fmt.Sprintf("%s may import %q: %s", r.dir, strings.TrimSpace(shared+" "+r.may), r.why)
}

func TestWhoMayImportWhom(t *testing.T) {
	for _, f := range sources(t) {
		if within(f.dir, "tools") || strings.Contains(f.dir, "testdata") {
			continue
		}
		for p := range f.imports {
			to, ours := strings.CutPrefix(p+"/", module+"/")
			if !ours {
				continue
			}
			if to = strings.Trim(to, "/"); to == "" {
				to = "."
			}
			if why := complain(f, to); why != "" {
				t.Errorf("%s imports %s: %s", f.path, to, why)
			}
		}
	}
}

// TestTheRulesBite asks the table about imports that must not be, so that it cannot turn into one that allows all.
func TestTheRulesBite(t *testing.T) {
	for _, tt := range []struct {
		from, to string
		test, ok bool
	}{
		{from: ".", to: "role"},
		{from: ".", to: "cli", ok: true},
		{from: "cli", to: "apiserver"},
		{from: "role", to: "cli"},
		{from: "role", to: "apiserver", ok: true},
		{from: "apiserver", to: "role"},
		{from: "apiserver", to: "store", ok: true},
		{from: "apiserver", to: "store/embedded"},
		{from: "apiserver", to: "apiserver/openapi"},
		{from: "apiserver", to: "client"},
		{from: "registry", to: "apiserver"},
		{from: "registry", to: "authz"},
		{from: "watch", to: "registry"},
		{from: "store", to: "store/memory"},
		{from: "store", to: "api", ok: true}, // nothing does; store has no need of it
		{from: "store/embedded", to: "store", ok: true},
		{from: "store/embedded", to: "store/memory"},
		{from: "scheduler", to: "controller"},
		{from: "scheduler", to: "registry"},
		{from: "scheduler", to: "client", ok: true},
		{from: "scheduler", to: "client/direct"},
		{from: "scheduler", to: "config"},
		{from: "controller", to: "controller/job"},
		{from: "controller/job", to: "controller", ok: true},
		{from: "controller/job", to: "controller/pods", ok: true},
		{from: "controller/job", to: "controller/deployment"},
		{from: "controller/job", to: "client/clienttest"},
		{from: "controller/job", to: "client/clienttest", test: true, ok: true},
		{from: "kubelet", to: "runtime"},
		{from: "kubelet", to: "kubelet/cri", ok: true},
		{from: "kubelet/server", to: "kubelet/inotify", ok: true},
		{from: "client", to: "client/direct"},
		{from: "api", to: "api/core"},
		{from: "api/apps", to: "api/core", ok: true},
		{from: "pki", to: "client"},
		{from: "somewhere", to: "api"},
	} {
		why := complain(file{dir: tt.from, test: tt.test}, tt.to)
		if (why == "") != tt.ok {
			t.Errorf("%s imports %s (test file: %v): got %q, want allowed: %v", tt.from, tt.to, tt.test, why, tt.ok)
		}
	}
}

func TestOthersCode(t *testing.T) {
	for _, f := range sources(t) {
		for p, alias := range f.imports {
			for _, bad := range never {
				if within(p, bad) {
					t.Errorf("%s imports %s: the product never does", f.path, p)
				}
			}
			if alias == "_" && p != "embed" && f.dir != "." && !f.test && !within(f.dir, "tools") {
				t.Errorf("%s imports %s for its side effects: what runs is listed in plain sight", f.path, p)
			}
			if why := complainOutside(f, p); why != "" {
				t.Errorf("%s imports %s: %s", f.path, p, why)
			}
		}
		if f.inits && f.dir != "." && !strings.Contains(f.dir, "testdata") {
			t.Errorf("%s has an init function: every start of the program pays for it, and nobody sees that it is there", f.path)
		}
	}
}

// complainOutside says why a file may not import a package of somebody else, or "".
func complainOutside(f file, p string) string {
	if f.test || within(p, module) || strings.Contains(f.dir, "testdata") {
		return ""
	}
	var may, why, best string
	for _, o := range outside {
		if within(f.dir, o.dir) && len(o.dir) >= len(best) {
			best, may, why = o.dir, o.may, o.why
		}
	}
	if best == "" {
		return ""
	}
	free := !strings.Contains(strings.Split(p, "/")[0], ".") // the standard library
	for _, one := range strings.Fields(may) {
		switch {
		case one == "-"+p:
			return best + ": " + why
		case one == "*" || within(p, one):
			free = true
		}
	}
	if !free {
		return best + ": " + why
	}
	return ""
}

func TestNames(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range sources(t) {
		top, _, _ := strings.Cut(f.dir, "/")
		if _, ok := roomOf(f.dir); !ok && !seen[top] {
			seen[top] = true
			t.Errorf("%s is no known room: the top level is the architecture; a new one gets its row here and in docs/architecture.md", top)
		}
		for _, name := range append(strings.Split(f.dir, "/"), strings.TrimSuffix(f.name, "_test")) {
			if slices.Contains(vague, name) {
				t.Errorf("%s: %q says nothing about what is inside", f.path, name)
			}
		}
	}
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	skip := ignored(t)
	for _, e := range entries {
		if _, ok := roomOf(e.Name()); e.IsDir() && !ok && !skip[e.Name()] && !strings.HasPrefix(e.Name(), ".") {
			t.Errorf("%s/ is no known room: the top level is the architecture; a new one gets its row here and in docs/architecture.md", e.Name())
		}
	}
}

// TestSpeaksOfItselfAlone finds paths of somebody's machine.
func TestSpeaksOfItselfAlone(t *testing.T) {
	private := regexp.MustCompile(`/(work|home/[a-z]+|Users/[A-Za-z]+)/|/root/(go|src)/`)
	walk(t, func(name string) {
		if name == "layout_test.go" || name == ".git" || strings.HasSuffix(name, ".sum") {
			return
		}
		data, err := os.ReadFile(name)
		if err != nil {
			t.Error(err)
			return
		}
		if len(data) > 1<<20 || slices.Contains(data[:min(len(data), 4096)], 0) {
			return // not text
		}
		for n, line := range strings.Split(string(data), "\n") {
			if found := private.FindString(line); found != "" {
				t.Errorf("%s:%d: %q is a path of somebody's machine", name, n+1, found)
			}
		}
	})
}

// TestSimulatedRooms builds, for a machine that has no disk, network or processes of its own, the rooms that a
// simulation runs from a seed: what does not build there reaches for the world.
func TestSimulatedRooms(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles")
	}
	for _, dir := range []string{"store", "store/memory", "watch", "registry", "scheduler", "controller"} {
		t.Run(dir, func(t *testing.T) {
			if _, err := os.Stat(dir); os.IsNotExist(err) {
				t.Skip("not there yet")
			}
			build := exec.Command("go", "build", "./"+dir)
			build.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0")
			if out, err := build.CombinedOutput(); err != nil {
				t.Errorf("GOOS=wasip1 go build ./%s: %v\n%s", dir, err, out)
			}
		})
	}
}
