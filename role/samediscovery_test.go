package role_test

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// differing are the lines of testdata/same/discovery.txt, columns.txt and roles.txt in which we are not as the upstream server, and why.
var differing = map[string]string{
	"storagemigration.k8s.io/v1/storageversionmigrations 00": "a name has the format of a name: upstream forgot it here",

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

// TestSameOpenAPI holds the OpenAPI v3 documents against what was recorded from an upstream server: a hash for each schema and path, with
// descriptions and all. Of a difference it tells where it is; the other server, if it is asked as TestSame says, tells what.
func TestSameOpenAPI(t *testing.T) {
	server := sameServer(t)
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
				hash := fmt.Sprintf("%x", sha256.Sum256([]byte(encode(t, value))))[:8]
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
	holdLines(t, "testdata/same/openapi.txt", got)
}

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
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for line := range strings.Lines(string(data)) {
		name, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		want[name] = rest
	}
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
