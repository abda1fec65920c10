package role_test

import (
	"cmp"
	"encoding/json"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/lighter-k8s/lighter/api/builtin"
	"github.com/lighter-k8s/lighter/config"
	"github.com/lighter-k8s/lighter/role"
)

// TestSame writes the objects of testdata/same and holds the answers against those recorded from an upstream server or
// taken from documentation: the stored object, or the Status with its reason, message and causes, and the warnings.
// Each file's object is really made, read back and deleted; all that is tried with it is a dry run.
//
// LIGHTER_SAME_SERVER names a kubeconfig: then that server is asked, not ours. With LIGHTER_SAME_RECORD=1 as well, what it
// answers becomes what the files expect, but for documented cases.
func TestSame(t *testing.T) {
	var server caller
	if os.Getenv("LIGHTER_SAME_SERVER") != "" {
		server = sameServer(t)
	} else {
		server = allVersions(t)
	}
	roomForSame(t, server)
	files, err := filepath.Glob("testdata/same/*/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	t.Run("all", func(t *testing.T) { holdAll(t, server) })
	t.Run("files", func(t *testing.T) {
		for _, name := range files {
			t.Run(strings.TrimSuffix(strings.TrimPrefix(name, "testdata/same/"), ".yaml"), func(t *testing.T) {
				t.Parallel()
				f := readSame(t, name)
				playSame(t, server, &f)
				if recording() {
					f.write(t, name)
				}
			})
		}
	})
}

// allVersions is who asks a server of ours with all versions, those that are not served by default too.
func allVersions(t *testing.T) caller {
	t.Helper()
	p, err := start(func(c *config.Config, _ *role.Server) { c.Server.RuntimeConfig = map[string]string{"api/all": "true"} })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.end(); err != nil {
			t.Error(err)
		}
	})
	return p.as(t, "admin")
}

// roomForSame makes the namespaces in which the files' objects are.
func roomForSame(t *testing.T, server caller) {
	t.Helper()
	for _, ns := range []string{"same", "other"} {
		server.do(t, "POST", "/api/v1/namespaces", text("v1", "Namespace", ns))
		server.do(t, "POST", "/api/v1/namespaces/"+ns+"/serviceaccounts", text("v1", "ServiceAccount", "default"))
	}
}

// TestSameHasAll counts the objects that TestSame tries: ten that are taken and twenty that are not of each resource that can be created in any
// version, at least half of them recorded. A file says why where there are fewer.
func TestSameHasAll(t *testing.T) {
	type count struct {
		valid, invalid, recorded int
		few                      string
	}
	counts := map[string]*count{}
	files, err := filepath.Glob("testdata/same/*/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		f := readSame(t, name)
		n := counts[f.Resource]
		if n == nil {
			n = &count{}
			counts[f.Resource] = n
		}
		if f.Few != "" {
			n.few = f.Few
		}
		for _, c := range f.Cases {
			if c.Status == nil {
				n.valid++
			} else {
				n.invalid++
			}
			if source := cmp.Or(c.Source, f.Source); source == "recorded" {
				n.recorded++
			} else if source != "documented" {
				t.Errorf("%s: %s: the source is %q", name, c.Name, source)
			}
		}
	}
	all, err := builtin.Choose(map[string]string{"api/all": "true"})
	if err != nil {
		t.Fatal(err)
	}
	sum := count{}
	for _, i := range all.Served {
		if !slices.Contains(i.Verbs, "create") {
			continue
		}
		path := strings.TrimPrefix("apis/"+i.Group+"/"+i.Version+"/"+i.Resource, "apis//")
		if i.Group == "" {
			path = "api/" + i.Version + "/" + i.Resource
		}
		n := counts[path]
		if n == nil {
			t.Errorf("%s: no object of it is tried", path)
			continue
		}
		sum.valid, sum.invalid, sum.recorded = sum.valid+n.valid, sum.invalid+n.invalid, sum.recorded+n.recorded
		enough := n.valid >= 10 && n.invalid >= 20
		switch {
		case !enough && n.few == "":
			t.Errorf("%s: %d valid and %d invalid objects are tried, and nobody says why so few", path, n.valid, n.invalid)
		case enough && n.few != "":
			t.Errorf("%s: %d valid and %d invalid objects are enough: take the line away that says why there are few (%s)", path, n.valid, n.invalid, n.few)
		}
		if 2*n.recorded < n.valid+n.invalid {
			t.Errorf("%s: only %d of %d answers are recorded", path, n.recorded, n.valid+n.invalid)
		}
		delete(counts, path)
	}
	for path := range counts {
		t.Errorf("%s is not served", path)
	}
	t.Logf("%d valid, %d invalid, %d of them recorded", sum.valid, sum.invalid, sum.recorded)
}

// sameServer is the server that is asked.
func sameServer(t *testing.T) caller {
	var server caller
	if file := os.Getenv("LIGHTER_SAME_SERVER"); file != "" {
		c, err := clientcmd.BuildConfigFromFlags("", file)
		if err != nil {
			t.Fatal(err)
		}
		server.url = strings.TrimSuffix(c.Host, "/")
		if server.http, err = rest.HTTPClientFor(c); err != nil {
			t.Fatal(err)
		}
	} else {
		server = api(t).as(t, "admin")
	}
	return server
}

// recording tells whether another server's answers become what the files expect.
func recording() bool {
	return os.Getenv("LIGHTER_SAME_RECORD") != "" && os.Getenv("LIGHTER_SAME_SERVER") != ""
}

// playSame plays the cases of one file.
func playSame(t *testing.T, server caller, f *sameFile) {
	record := recording()
	meta, _ := f.Object["metadata"].(map[string]any)
	name, _ := meta["name"].(string)
	all := collection(f.Resource, meta)
	one := all + "/" + name
	if name != "" {
		tidy(t, server, one)
	}
	var always map[string]any // what the answer to the object itself adds to it
	seen := map[string]bool{}
	made := false
	// What is created comes first: an object that is there refuses its twin.
	slices.SortStableFunc(f.Cases, func(a, b sameCase) int { return min(len(a.Op), 1) - min(len(b.Op), 1) })
	tries := 0
	for i := 0; i < len(f.Cases); i++ {
		c := &f.Cases[i]
		if seen[c.Name] && tries == 0 {
			t.Errorf("two cases are called %q", c.Name)
		}
		seen[c.Name] = true
		method, path, sent := "POST", all, f.Object
		if c.Op != "" {
			if !made {
				made = true
				storeSame(t, server, all, one, f.Object)
				defer tidy(t, server, one)
			}
			method, path = "PUT", one
			if c.Sub == "scale" {
				path += "/scale"
			}
			sent = into[map[string]any](t, server.do(t, "GET", path, ""), http.StatusOK)
			if path = one; c.Sub != "" {
				path += "/" + c.Sub
			}
		}
		sent = clone(t, sent)
		for _, p := range slices.Sorted(maps.Keys(c.Set)) {
			sent = put(sent, p, c.Set[p]).(map[string]any)
		}
		var body any = sent
		kind := "application/json"
		switch c.Op {
		case "", "update":
		case "status":
			path += "/status"
		case "patch":
			method, kind = "PATCH", "application/merge-patch+json"
			merge := map[string]any{}
			for p, v := range c.Set {
				merge = put(merge, p, v).(map[string]any)
			}
			body = merge
		case "post":
			method, body = "POST", c.Body
			sent, _ = c.Body.(map[string]any)
		case "send":
			method, body, kind = "PATCH", c.Body, patches[c.As]
		default:
			t.Fatalf("%s: no operation is called %q", c.Name, c.Op)
		}
		path += "?dryRun=All&fieldManager=same"
		if c.Strict {
			path += "&fieldValidation=Strict"
		}
		a := server.do(t, method, path, encode(t, body), "Content-Type: "+kind)
		if held := c.Set["metadata.resourceVersion"]; a.code == http.StatusConflict && method == "PUT" && held == nil && tries < 5 {
			tries, i = tries+1, i-1 // a part of the server wrote the object meanwhile
			continue
		}
		tries = 0
		got := sameCase{Name: c.Name, Source: c.Source, Op: c.Op, Sub: c.Sub, As: c.As, Body: c.Body, Set: c.Set, Strict: c.Strict, Differs: c.Differs}
		for _, w := range a.header.Values("Warning") {
			got.Warnings = append(got.Warnings, settle(strings.TrimPrefix(w, "299 - ")))
		}
		if a.code >= 300 {
			at, _ := sent["metadata"].(map[string]any)
			called, _ := at["name"].(string)
			s := a.status()
			if s.Code == 0 {
				s.Code, s.Message = int32(a.code), string(a.body)
			}
			kind, _ := sent["kind"].(string)
			if s.Details != nil && s.Details.Kind == "" {
				called = "" // reviews' errors say neither
			}
			got.Status = said(s, called, kind)
		} else {
			got.Stored = added(t, a.body, sent)
			if c.Op == "" {
				if len(c.Set) == 0 && i == 0 {
					always = got.Stored
				} else {
					got.Stored = beside(always, got.Stored, sent)
				}
			}
		}
		source := c.Source
		if source == "" {
			source = f.Source
		}
		if record {
			if source == "recorded" {
				*c = got
			}
			continue
		}
		want, have := show(t, *c), show(t, got)
		switch {
		case c.Differs != "" && os.Getenv("LIGHTER_SAME_SERVER") == "":
			if want == have {
				t.Errorf("%s: it is the same now: take the line away that says why it differs (%s)", c.Name, c.Differs)
			}
		case want != have:
			t.Errorf("%s (%s): set %s\n   got %s\n  want %s", c.Name, source, line(c.Set), have, want)
		}
	}
}

// storeSame makes the file's object and reads it back.
func storeSame(t *testing.T, server caller, all, one string, object map[string]any) {
	t.Helper()
	tidy(t, server, one)
	stored := into[map[string]any](t, server.do(t, "POST", all, encode(t, object)), http.StatusCreated)
	if a := server.do(t, "GET", one, ""); a.code != http.StatusOK {
		t.Fatalf("%s: HTTP %d: %s", one, a.code, a.body)
	} else if again := added(t, a.body, stored); len(again) > 0 && stored["status"] == nil {
		t.Errorf("%s was said to be stored otherwise: %s", one, line(again))
	}
}

// patches are the media types of the kinds of patch.
var patches = map[string]string{"json": "application/json-patch+json", "merge": "application/merge-patch+json",
	"strategic": "application/strategic-merge-patch+json", "apply": "application/apply-patch+yaml"}

// show is a case's answer as a line.
func show(t *testing.T, c sameCase) string {
	t.Helper()
	v := map[string]any{}
	if c.Status != nil {
		v["status"] = c.Status
	} else {
		v["stored"] = clone(t, c.Stored)
	}
	if len(c.Warnings) > 0 {
		v["warnings"] = c.Warnings
	}
	return shrink(line(v))
}

// collection is the path of the resource's objects, in the object's namespace if it has one.
func collection(resource string, meta map[string]any) string {
	dir, plural := filepath.Split(resource)
	if ns, _ := meta["namespace"].(string); ns != "" {
		dir += "namespaces/" + ns + "/"
	}
	return "/" + dir + plural
}

// tidy deletes an object, whatever holds it.
func tidy(t *testing.T, server caller, path string) {
	t.Helper()
	if server.do(t, "DELETE", path+"?gracePeriodSeconds=0", "").code == http.StatusNotFound {
		return
	}
	a := server.do(t, "GET", path, "")
	if a.code != http.StatusOK {
		return
	}
	server.do(t, "PATCH", path, `{"metadata":{"finalizers":null}}`, "Content-Type: application/merge-patch+json")
	if o := into[map[string]any](t, a, http.StatusOK); o["kind"] == "Namespace" {
		server.do(t, "PUT", path+"/finalize", encode(t, put(o, "spec.finalizers", []any{})))
	}
}

// added is what the stored object has that was not sent, or null for what it lacks.
func added(t *testing.T, body []byte, sent map[string]any) map[string]any {
	t.Helper()
	var o map[string]any
	if err := json.Unmarshal(body, &o); err != nil {
		t.Fatal(err)
	}
	if o["kind"] == "SelfSubjectRulesReview" { // rules have no order
		sortRules(o["status"])
	}
	have, was, out := map[string]any{}, map[string]any{}, map[string]any{}
	spread("", o, have)
	spread("", clone(t, sent), was)
	for path, v := range have {
		if !reflect.DeepEqual(v, was[path]) && !volatile(path) {
			if s, ok := v.(string); ok {
				v = settle(s)
			}
			if allocated.MatchString(path) {
				v = "<allocated>"
			}
			out[path] = v
		}
	}
	for path := range was {
		if _, ok := have[path]; !ok && !volatile(path) {
			out[path] = nil
		}
	}
	return out
}

// sortRules sorts the lists of lists that rules are.
func sortRules(v any) {
	switch v := v.(type) {
	case map[string]any:
		for _, one := range v {
			sortRules(one)
		}
	case []any:
		for _, one := range v {
			sortRules(one)
		}
		slices.SortFunc(v, func(a, b any) int { return strings.Compare(line(a), line(b)) })
	}
}

// beside leaves out what the answer to the file's object has as well; null says that something of it is missing.
func beside(always, added, sent map[string]any) map[string]any {
	out := maps.Clone(added)
	was := map[string]any{}
	spread("", sent, was)
	for path, v := range always {
		have, ok := added[path]
		switch {
		case ok && reflect.DeepEqual(have, v):
			delete(out, path)
		case !ok && was[path] == nil && v != nil:
			out[path] = nil
		}
	}
	return out
}

// allocated values are given by the server: any is right.
var allocated = regexp.MustCompile(`^spec\.(clusterIPs?(\[\d\])?|healthCheckNodePort|ports\[\d\]\.nodePort)$`)

// volatile fields are other ones each time.
func volatile(path string) bool {
	switch path {
	case "metadata", "metadata.uid", "metadata.creationTimestamp", "metadata.resourceVersion", "status.token", "status.expirationTimestamp":
		return true
	}
	return strings.HasPrefix(path, "metadata.managedFields")
}

var (
	stamp  = regexp.MustCompile(`20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`)
	random = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}`)
	where  = regexp.MustCompile(` in scheme "[^"]*"`) // a place in upstream's source
	// What changed, as a diff of the whole object: with upstream's internal names of fields, and its lines. Held up to there.
	unified = regexp.MustCompile(`\n@@ -[\s\S]*`)
	version = regexp.MustCompile(`(resourceVersion\\*":\\*")\d+`) // of an object that a message shows
	given   = regexp.MustCompile(`(clusterIPs?\\*":\[?\\*")[0-9.]+`)
	finger  = regexp.MustCompile(`X509SHA256=[0-9a-f]{64}`)
	suffix  = regexp.MustCompile(`kube-api-access-[a-z0-9]{5}`)
)

// settle replaces what is another text each time.
func settle(s string) string {
	s = stamp.ReplaceAllStringFunc(s, func(m string) string {
		if at, err := time.Parse(time.RFC3339, m); err == nil && time.Since(at).Abs() < time.Hour {
			return "<now>"
		}
		return m
	})
	s = given.ReplaceAllString(version.ReplaceAllString(s, "$1<rv>"), "$1<allocated>")
	s = where.ReplaceAllString(s, "")
	s = unified.ReplaceAllString(s, " <diff>")
	s = finger.ReplaceAllString(s, "X509SHA256=<hash>")
	return suffix.ReplaceAllString(random.ReplaceAllString(s, "<uid>"), "kube-api-access-<5>")
}

func encode(t *testing.T, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func clone(t *testing.T, v map[string]any) (out map[string]any) {
	t.Helper()
	if err := json.Unmarshal([]byte(encode(t, v)), &out); err != nil {
		t.Fatal(err)
	}
	return out
}
