package apiserver

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/api/core"
)

// FuzzURL: a request's line is parsed once, to a place that the authorizer is asked about; selectors and continue tokens in it are read or refused.
func FuzzURL(f *testing.F) {
	for _, line := range []string{"GET /api/v1/namespaces/a/pods/b/log?container=c", "GET /api/v1/pods?labelSelector=a%20in%20(b,c),!d&fieldSelector=metadata.name=x&limit=1",
		"GET /api/v1/watch/namespaces/a/pods", "PATCH /apis/example.com/v1/things/%2e%2e%2fx", "GET /api/v1/namespaces/a/services/b:c/proxy/d//e/?x=%zz", "GET /api/v1/namespaces//pods//", "GET /%00/apis//",
		"GET /api/v1/pods?continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MSwic3RhcnQiOiJhL2IifQ&limit=1", "GET /api/v1/pods?timeoutSeconds=x&watch=1&resourceVersionMatch=Exact&sendInitialEvents=true"} {
		f.Add(line)
	}
	s := &Server{resources: map[schema.GroupVersionResource]*api.Info{core.Pod.GroupVersionResource: core.Pod}}
	s.catalog.Store(&catalog{})
	f.Fuzz(func(t *testing.T, line string) {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(line + " HTTP/1.1\r\nHost: x\r\n\r\n")))
		if err != nil {
			return
		}
		route := s.parse(r)
		a := route.attributes()
		if route.info != nil && (!a.ResourceRequest || a.Resource != "pods" || a.Name != route.name || a.Namespace != route.namespace || a.Verb != route.verb) {
			t.Errorf("%q: asked about %+v, done %+v", line, a, route)
		}
		if route.info == nil {
			return
		}
		o, filter, err := listOptions(route)
		if err == nil && filter.Namespace != route.namespace {
			t.Errorf("%q lists %q", line, filter.Namespace)
		}
		_, _ = parseContinue(o.Continue)
	})
}

// FuzzContinue: a continue token is refused or says where a list goes on; what we make we can read.
func FuzzContinue(f *testing.F) {
	for _, c := range []continuation{{Version: "meta.k8s.io/v1", Revision: 7, After: "a/b"}, {Version: "lighter.v1", After: "x"}} {
		f.Add(c.token())
	}
	f.Add("e30")
	f.Add("bnVsbA")
	f.Fuzz(func(t *testing.T, token string) {
		c, err := parseContinue(token)
		if err != nil {
			return
		}
		again, err := parseContinue(c.token())
		if err != nil || again != c {
			t.Errorf("%q is %+v, which is %+v: %v", token, c, again, err)
		}
	})
}

// FuzzPatches: patches of all three kinds of a pod give JSON or are refused.
func FuzzPatches(f *testing.F) {
	doc := `{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a","labels":{"a":"b"},"finalizers":["a/b","c/d"]},"spec":{"containers":[{"name":"c","image":"i","ports":[{"containerPort":80,"protocol":"TCP"}]},{"name":"d"}],"tolerations":[{"key":"x"}]}}`
	for _, patch := range []string{`[{"op":"add","path":"/spec/containers/0/env","value":[]},{"op":"move","from":"/metadata/labels/a","path":"/metadata/labels/~1b"},{"op":"test","path":"/x"}]`,
		`[{"op":"copy","from":"/spec","path":"/spec/containers/-"},{"op":"remove","path":"/spec/containers/9999999999"},{"op":"replace","path":"","value":null}]`,
		`{"spec":{"containers":[{"name":"c","$patch":"delete"},{"$patch":"replace"}],"$setElementOrder/containers":[{"name":"d"},{"name":"c"}]}}`,
		`{"metadata":{"labels":null,"$deleteFromPrimitiveList/finalizers":["a/b"],"$retainKeys":["name"]},"spec":{"tolerations":[null]}}`, `{"$patch":"replace"}`, `[]`, `null`, `{"spec":1}`} {
		f.Add(patch, doc)
	}
	f.Fuzz(func(t *testing.T, patch, doc string) {
		if !json.Valid([]byte(doc)) || len(doc) == 0 || doc[0] != '{' {
			return // what patches are applied to is an object of ours
		}
		for _, kind := range []types.PatchType{types.JSONPatchType, types.MergePatchType, types.StrategicMergePatchType} {
			p, err := patching(core.Pod, kind, []byte(patch))
			if err != nil {
				continue
			}
			if out, err := p.apply([]byte(doc)); err == nil && !json.Valid(out) {
				t.Errorf("%s of %q to %q gives %q", kind, patch, doc, out)
			}
		}
	})
}

// FuzzCount: the values of a document are counted, those that managers own or not, and nothing else is left out.
func FuzzCount(f *testing.F) {
	for _, fields := range []string{`{"f:a":{}}`, `{"f:}\"":{"\\":{}}}`, `{}`} {
		f.Add(fields)
	}
	f.Fuzz(func(t *testing.T, fields string) {
		count([]byte(fields), true) // whatever it is
		if !json.Valid([]byte(fields)) || len(fields) == 0 || fields[0] != '{' {
			return
		}
		doc := fmt.Sprintf(`{"metadata":{"managedFields":[{"fieldsV1":%s}]},"spec":{"fieldsV1":%[1]s}}`, fields)
		within, _, _ := count([]byte(fields), false)
		all, _, _ := count([]byte(doc), false)
		some, _, _ := count([]byte(doc), true)
		if all-some != within {
			t.Errorf("%s: of %d values %d do not count, %d are owned", doc, all, all-some, within)
		}
	})
}
