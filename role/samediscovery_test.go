package role_test

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// differing are the lines of testdata/same/discovery.txt, columns.txt, rows.txt and roles.txt in which we are not as the upstream server, and why.
var differing = map[string]string{
	"storagemigration.k8s.io/v1/storageversionmigrations 00": "a name has the format of a name: upstream forgot it here",

	"apis/storage.k8s.io/v1/storageclasses/t-sc": "ours says that it is the default one in a list and alone, upstream in a list",

	"clusterroles/system:controller:certificate-controller rule 06": "ours approves what nodes serve with, if it is a node's own; upstream leaves that to people",
	"clusterroles/system:controller:cloud-node-controller":          cloudNode,
	"clusterroles/system:controller:cloud-node-controller rule 00":  cloudNode,
	"clusterroles/system:controller:cloud-node-controller rule 01":  cloudNode,
	"clusterrolebindings/system:controller:cloud-node-controller":   cloudNode,
}

const cloudNode = "ours runs beside the other controllers; upstream's has what rights a cloud's installer gives it"

// TestSameDiscovery holds what is served by default, and the columns of each resource's table, against what was recorded
// from an upstream server: a line for each resource, subresource and column. See TestSame for asking and recording another.
func TestSameDiscovery(t *testing.T) {
	server := sameServer(t)
	served, columns := map[string]string{}, map[string]string{}
	for _, root := range []string{"/api", "/apis"} {
		list := into[apidiscoveryv2.APIGroupDiscoveryList](t, server.do(t, "GET", root, "", "Accept: application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"), http.StatusOK)
		for _, g := range list.Items {
			if strings.HasSuffix(g.Name, "example.com") { // another test's
				continue
			}
			for _, v := range g.Versions {
				at := strings.TrimPrefix(g.Name+"/"+v.Version, "/")
				for _, r := range v.Resources {
					served[at+"/"+r.Resource] = fmt.Sprint(r.Scope, " ", kindOf(r.ResponseKind), " ", r.SingularResource, " verbs ", r.Verbs, " short ", r.ShortNames, " categories ", r.Categories)
					for _, s := range r.Subresources {
						served[at+"/"+r.Resource+"/"+s.Subresource] = fmt.Sprint(kindOf(s.ResponseKind), " verbs ", s.Verbs)
					}
					if !slices.Contains(r.Verbs, "list") {
						continue
					}
					table := into[metav1.Table](t, server.do(t, "GET", root+"/"+at+"/"+r.Resource+"?limit=1", "", "Accept: application/json;as=Table;v=v1;g=meta.k8s.io"), http.StatusOK)
					for n, c := range table.ColumnDefinitions {
						columns[fmt.Sprintf("%s/%s %02d", at, r.Resource, n)] = fmt.Sprintf("%s %s %q priority %d: %q", c.Name, c.Type, c.Format, c.Priority, c.Description)
					}
				}
			}
		}
	}
	holdLines(t, "testdata/same/discovery.txt", served)
	holdLines(t, "testdata/same/columns.txt", columns)
}

// TestSameOpenAPI holds the OpenAPI documents against what was recorded from an upstream server: a hash for each schema and path of v3, and for
// those of each package and group version of v2, with descriptions and all. Of a difference it tells where it is; the other server, if it
// is asked as TestSame says, tells what.
func TestSameOpenAPI(t *testing.T) {
	holdLines(t, "testdata/same/openapi.txt", openAPI(t, sameServer(t)))
}

// TestSameAnswers holds every answer of discovery by default, to the byte, against what was recorded from an upstream server.
func TestSameAnswers(t *testing.T) {
	holdLines(t, "testdata/same/answers.txt", answers(t, sameServer(t)))
}

// holdAll is what TestSameOpenAPI and TestSameAnswers do, for a server of all versions: the lines that differ from those.
func holdAll(t *testing.T, server caller) {
	for file, lines := range map[string]map[string]string{"openapi": openAPI(t, server), "answers": answers(t, server)} {
		for name, line := range readLines(t, "testdata/same/"+file+".txt") {
			if lines[name] == line {
				delete(lines, name)
			}
		}
		holdLines(t, "testdata/same/"+file+"-all.txt", lines)
	}
}

// hashed is a value in a word.
func hashed(data []byte) string { return fmt.Sprintf("%x", sha256.Sum256(data))[:8] }

// openAPI are the lines of a server's OpenAPI documents.
func openAPI(t *testing.T, server caller) map[string]string {
	index := into[struct {
		Paths map[string]struct{ ServerRelativeURL string }
	}](t, server.do(t, "GET", "/openapi/v3", ""), http.StatusOK)
	got := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(index.Paths)) {
		if strings.Contains(name, "example.com") { // another test's
			continue
		}
		d := into[struct {
			Paths      map[string]any
			Components struct{ Schemas map[string]any }
		}](t, server.do(t, "GET", index.Paths[name].ServerRelativeURL, ""), http.StatusOK)
		add := func(kind string, all map[string]any) {
			for key, value := range all {
				hash := hashed([]byte(encode(t, value)))
				line := kind + " " + key
				if before, ok := got[line]; ok && before != hash { // it differs by who refers to it
					line += " in " + name
				}
				got[line] = hash
			}
		}
		add("path", d.Paths)
		add("schema", d.Components.Schemas)
	}
	whole := into[map[string]any](t, server.do(t, "GET", "/openapi/v2", ""), http.StatusOK)
	parts := map[string]map[string]any{}
	for _, of := range []string{"paths", "definitions", "parameters"} {
		all, _ := whole[of].(map[string]any)
		for key, value := range all {
			at := "v2 " + of
			switch of {
			case "paths":
				at += " " + strings.Join(strings.SplitN(strings.Trim(key, "/"), "/", 4)[:min(3, strings.Count(strings.Trim(key, "/"), "/")+1)], "/")
			case "definitions":
				at += " " + key[:strings.LastIndexByte(key, '.')]
			}
			if strings.Contains(key, "example") { // another test's
				continue
			}
			if parts[at] == nil {
				parts[at] = map[string]any{}
			}
			parts[at][key] = value
		}
	}
	for at, part := range parts {
		got[at] = hashed([]byte(encode(t, part)))
	}
	return got
}

// answers are the lines of what a server's discovery answers: status, media type and a hash.
func answers(t *testing.T, server caller) map[string]string {
	got := map[string]string{}
	ask := func(url string) {
		for _, accept := range []string{"application/json", "application/yaml", "application/vnd.kubernetes.protobuf", "text/html"} {
			if url == "/api" && strings.HasSuffix(accept, "protobuf") { // lengths of addresses are in it
				continue
			}
			a := server.do(t, "GET", url, "", "Accept: "+accept)
			body := address.ReplaceAllString(string(a.body), "")
			got["GET "+url+" "+accept] = fmt.Sprint(a.code, " ", a.header.Get("Content-Type"), " ", hashed([]byte(body)))
		}
		a := server.do(t, "POST", url, "{}", "Content-Type: application/json")
		got["POST "+url] = fmt.Sprint(a.code, " ", a.header.Get("Content-Type"), " ", hashed(address.ReplaceAll(a.body, nil)))
	}
	groups := into[metav1.APIGroupList](t, server.do(t, "GET", "/apis", ""), http.StatusOK).Groups
	groups = slices.DeleteFunc(groups, func(g metav1.APIGroup) bool { return strings.HasSuffix(g.Name, "example.com") }) // another test's
	if len(groups) < 20 {
		t.Fatal(groups)
	}
	for _, url := range []string{"/api", "/api/v1", "/api/v2", "/apis/none", "/apis/none/v1", "/apis/apps/v9", "/apis/apps/v1/none", "/none", "/logs", "/logs/", "/healthz/none", "/openid/v1"} {
		ask(url)
	}
	for _, g := range groups {
		ask("/apis/" + g.Name)
		for _, v := range g.Versions {
			ask("/apis/" + v.GroupVersion)
		}
	}
	for _, media := range []string{"application/json", "application/vnd.kubernetes.protobuf"} {
		media += ";g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
		a := server.do(t, "GET", "/api", "", "Accept: "+media)
		got["GET /api "+media] = fmt.Sprint(a.code, " ", a.header.Get("Content-Type"), " ", hashed(a.body))
	}
	return got
}

// address is where a server can be reached.
var address = regexp.MustCompile(`serverAddress"?: ?"?[a-z0-9.:]+`)

// kindOf is a kind with its group and version, which are left out where they are those that it stands in.
func kindOf(k *metav1.GroupVersionKind) string {
	if k == nil {
		return "-"
	}
	return strings.TrimPrefix(k.Group+"/"+k.Version+"/"+k.Kind, "//")
}

// holdLines compares lines by their names, or writes them down.
func holdLines(t *testing.T, file string, got map[string]string) {
	t.Helper()
	if recording() {
		var b strings.Builder
		for _, name := range slices.Sorted(maps.Keys(got)) {
			fmt.Fprintf(&b, "%s: %s\n", name, got[name])
		}
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want := readLines(t, file)
	for _, name := range slices.Sorted(maps.Keys(want)) {
		switch why := differing[name]; {
		case why != "" && got[name] == want[name]:
			t.Errorf("%s %s is the same now: take it out of the list of those that differ (%s)", filepath.Base(file), name, why)
		case why == "" && got[name] != want[name]:
			t.Errorf("%s %s\n   got %s\n  want %s", filepath.Base(file), name, got[name], want[name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[name]; !ok && differing[name] == "" {
			t.Errorf("%s: %s is not there upstream: %s", filepath.Base(file), name, got[name])
		}
	}
}

// readLines reads what holdLines wrote.
func readLines(t *testing.T, file string) map[string]string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for line := range strings.Lines(string(data)) {
		name, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		out[name] = rest
	}
	return out
}
