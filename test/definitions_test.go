package test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/lighter-k8s/lighter/test/rig"
)

// wide is a definition of about 50 KB.
func wide(n int) *apiextensionsv1.CustomResourceDefinition {
	type schema = map[string]apiextensionsv1.JSONSchemaProps
	props := schema{}
	for k := range 180 {
		props[fmt.Sprintf("field%03d", k)] = apiextensionsv1.JSONSchemaProps{Type: "object", Description: strings.Repeat(fmt.Sprint("what this field means ", n*k), 5),
			Properties: schema{"name": {Type: "string", Description: "its name"}, "count": {Type: "integer"}}}
	}
	plural := fmt.Sprintf("things%d", n)
	return &apiextensionsv1.CustomResourceDefinition{TypeMeta: metav1.TypeMeta{APIVersion: "apiextensions.k8s.io/v1", Kind: "CustomResourceDefinition"},
		ObjectMeta: metav1.ObjectMeta{Name: plural + ".wide.example.com"},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{Group: "wide.example.com", Scope: apiextensionsv1.NamespaceScoped,
			Names: apiextensionsv1.CustomResourceDefinitionNames{Plural: plural, Kind: fmt.Sprintf("Thing%d", n)},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{Name: "v1", Served: true, Storage: true,
				Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{Type: "object",
					Properties: schema{"spec": {Type: "object", Properties: props}}}}}}}}
}

// web asks a server as its administrator.
type web struct {
	t   *testing.T
	url string
	*http.Client
}

func webOf(c *rig.Cluster) web {
	c.T.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig())
	if err != nil {
		c.T.Fatal(err)
	}
	config.Dial = c.Dial
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		c.T.Fatal(err)
	}
	return web{c.T.(*testing.T), config.Host, client}
}

func (w web) do(method, path string, body any, accept string) []byte {
	w.t.Helper()
	data, err := json.Marshal(body)
	if err != nil {
		w.t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(w.t.Context(), method, w.url+path, bytes.NewReader(data))
	if err != nil {
		w.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", accept)
	resp, err := w.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode/100 != 2 {
		w.t.Fatalf("%s %s: HTTP %d, %v: %.300s", method, path, resp.StatusCode, err, answer)
	}
	return answer
}

// sampled is after how many bytes the server notes who allocates: little enough for pebble's blocks.
const sampled = 4 << 10

// heap is what a server holds in objects and stacks once all garbage is gone: pebble's part, which its options bound whatever
// is stored (memtables of 4 MiB that fill and empty, a cache of 6), and that of all others.
func (w web) heap() (pebble, others float64) {
	w.t.Helper()
	w.do("GET", "/debug/pprof/heap?gc=1", nil, "*/*") // weak pointers and pools take more than one, and the profile is of the last but one
	w.do("GET", "/debug/pprof/heap?gc=1", nil, "*/*")
	text := bufio.NewScanner(bytes.NewReader(w.do("GET", "/debug/pprof/heap?gc=1&debug=1", nil, "*/*")))
	text.Buffer(nil, 1<<20)
	var noted float64 // of the stack that is being read
	for text.Scan() {
		var objects, size, allocs, allocated, held float64
		line := text.Text()
		if n, _ := fmt.Sscanf(line, "%g: %g [%g: %g] @", &objects, &size, &allocs, &allocated); n == 4 {
			noted = size / (1 - math.Exp(-allocated/allocs/sampled)) // of all those that it stands for
		}
		if strings.HasPrefix(line, "#\t") && strings.Contains(line, "github.com/cockroachdb/pebble") {
			pebble, noted = pebble+noted, 0
		}
		for _, of := range []string{"# HeapAlloc = %g", "# Stack = %g"} {
			if n, _ := fmt.Sscanf(line, of, &held); n == 1 {
				others += held
			}
		}
	}
	return pebble, others - pebble
}

// TestManyIdleDefinitions: in the whole server a definition that nobody uses costs less than 10 KB above its stored
// bytes. It is the growth between two numbers of them, each after a restart, so that neither what the server has without any
// nor what it remembers for a while of their making counts.
func TestManyIdleDefinitions(t *testing.T) {
	const path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
	few, many := 50, rounds(150, 1000)
	c := rig.New(rig.NewWire(t).Machine(), "server", "--backup-every", "0s")
	made := 0
	grow := func(to int) (stored int, pebble, others float64) {
		c.Up()
		w := webOf(c)
		for n := 0; n < 3 && made == 0; n++ { // the objects that were decoded last are held for a while: when memory is measured it is these
			w.do("POST", "/api/v1/namespaces/default/secrets", map[string]any{"metadata": map[string]any{"name": fmt.Sprint("large", n)},
				"type": "large", "stringData": map[string]any{"k": strings.Repeat("v", 500<<10)}}, "application/json")
		}
		for ; made < to; made++ {
			w.do("POST", path, wide(made), "application/json")
		}
		c.Signal(syscall.SIGTERM)
		t.Setenv("GODEBUG", fmt.Sprintf("memprofilerate=%d", sampled))
		c.Up()
		t.Setenv("GODEBUG", "")
		w = webOf(c)
		c.Eventually(time.Minute, "all are served", func() error {
			if n := bytes.Count(w.do("GET", "/apis/wide.example.com/v1", nil, "application/json"), []byte(`"kind":"Thing`)); n != made {
				return fmt.Errorf("%d of %d", n, made)
			}
			return nil
		})
		var all apiextensionsv1.CustomResourceDefinitionList
		if err := json.Unmarshal(w.do("GET", path, nil, "application/json"), &all); err != nil {
			t.Fatal(err)
		}
		for n := range all.Items { // with their status
			stored += all.Items[n].Size()
		}
		var seen []float64
		for len(seen) < 5 || slices.Max(seen)-slices.Min(seen) > 300<<10 { // until all have looked at them
			w.do("GET", "/api/v1/namespaces/default/secrets?fieldSelector=type%3Dlarge", nil, "application/json")
			time.Sleep(300 * time.Millisecond)
			pebble, others = w.heap()
			seen = append(seen[max(0, len(seen)-4):], others)
		}
		c.Signal(syscall.SIGTERM)
		return stored, pebble, slices.Min(seen) // what others did meanwhile is garbage
	}
	had, pebbles, before := grow(few)
	stored, morePebbles, now := grow(many)
	n := float64(many - few)
	each, bytes := (now-before)/n, float64(stored-had)/n
	t.Logf("%d to %d definitions: %.0f bytes each in memory, of which %.0f are stored; pebble held %.1f MiB, then %.1f", few, many, each, bytes, pebbles/(1<<20), morePebbles/(1<<20))
	const scatter = 512 << 10 // of what a server holds from one second to the next
	if each-bytes > 10_000+scatter/n {
		t.Errorf("a definition costs %.0f bytes above the %.0f that are stored", each-bytes, bytes)
	}
	if each < bytes {
		t.Errorf("%.0f bytes each are less than memory keeps of a definition: the measure is wrong", each)
	}
}
