package managed

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	kjson "sigs.k8s.io/json"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/api/apiextensions"
)

// TestAside: definitions at random, applied to by several and updated by others, become the same whether their versions are set aside or not.
func TestAside(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("LIGHTER_SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
	}
	t.Logf("LIGHTER_SEED=%d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	i := apiextensions.CustomResourceDefinition
	plain := *i
	plain.Aside = nil
	version := func(of string) string {
		return `{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object","properties":{"a":` + of + `}}}}`
	}
	specs := []string{`{}`, `{"group":"a"}`, `{"group":"b","scope":"Cluster"}`, `{"versions":[]}`, `{"versions":null}`, `{"versions":{}}`, `{"versions":[null]}`, `{"versions":[` + version(`{}`) + `,` + version(`{"type":"string"}`) + `]}`}
	for _, of := range []string{`{"type":"string"}`, `{"type":"string"}`, `{"type":"string","description":""}`, `{"default":"<a>"}`, `{"default":"\u003ca>"}`, `{"default":{"b":1,"a":2}}`, `{"default":{"a":2.0,"b":1}}`, `{"maximum":5}`, `{"maximum":5.0}`, `{"maxLength":5.0}`,
		`{"unknown":1}`, `{"type":1}`, `{"x-kubernetes-validations":[{"rule":"a"},{"rule":"a"}]}`, `{"x-kubernetes-validations":[{"rule":"a"},{"rule":"b"}]}`, `{"items":{"type":"string"}}`, `{"items":{"unknown":1}}`, `{"enum":["a",null]}`, `{"nullable":false}`, `{"properties":{}}`, `null`} {
		specs = append(specs, `{"versions":[`+version(of)+`]}`, `{"group":"c","versions":[`+version(of)+`]}`)
	}
	show := func(v any) string { b, _ := json.Marshal(v); return string(b) }
	// respelled is JSON in one spelling: the library writes values anew that were in the object, and that nobody speaks of; we leave them.
	respelled := func(text string) string {
		var v any
		if err := kjson.UnmarshalCaseSensitivePreserveInts([]byte(text), &v); err != nil {
			t.Fatal(err)
		}
		return show(v)
	}
	// stored is what is read of what came of a write.
	stored := func(obj api.Object) api.Object {
		obj = obj.DeepCopyObject().(api.Object)
		obj.SetUID("u")
		value, err := api.EncodeStored(i, obj)
		if err != nil {
			t.Fatal(err)
		}
		if obj, err = api.DecodeStored(i, value); err != nil {
			t.Fatal(err)
		}
		return obj
	}
	merged, conflicts, refused, aside := 0, 0, 0, 0
	for range 150 {
		var old api.Object
		last := map[string]string{}
		for step := range 8 {
			manager, now := fmt.Sprint("m", r.IntN(3)), time.Unix(int64(1e9+step), 0)
			spec := specs[r.IntN(len(specs))]
			if s := last[manager]; s != "" && r.IntN(2) == 0 {
				spec = s
			} else if s := last["m0"]; s != "" && r.IntN(2) == 0 {
				spec = s
			}
			last[manager] = spec
			text := `{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"n","labels":{"l":"` + fmt.Sprint(r.IntN(2)) + `"}},"spec":` + spec + `}`
			if old != nil && r.IntN(4) == 0 { // somebody writes
				next := &apiextensionsv1.CustomResourceDefinition{}
				if _, err := api.DecodeJSON(next, []byte(text)); err != nil {
					continue
				}
				Update(i, old, next, Write{Manager: manager, Now: now})
				old = stored(next)
				continue
			}
			read := func() *unstructured.Unstructured {
				u := &unstructured.Unstructured{}
				if err := kjson.UnmarshalCaseSensitivePreserveInts([]byte(text), &u.Object); err != nil {
					t.Fatal(err)
				}
				return u
			}
			a := Apply{Manager: manager, Force: r.IntN(2) == 0, Now: now}
			before := show(old)
			want, failed := a.Merge(&plain, old, read())
			config, err := read(), error(nil)
			if a.Aside, err = SetAside(i, config); err != nil {
				t.Fatal(err)
			}
			if a.Aside != nil {
				aside++
			}
			for range 2 { // as where it is tried again
				got, err := a.Merge(i, old, config)
				g, w := show(got), show(want)
				if listOf(i, config) == nil {
					g, w = respelled(g), respelled(w)
				}
				if what := "LIGHTER_SEED=" + fmt.Sprint(seed) + ":\n" + text + "\nby " + manager + " onto\n" + before; fmt.Sprint(err) != fmt.Sprint(failed) || g != w {
					t.Fatalf("%s\ngot\n%s, %v\nwant\n%s, %v", what, g, err, w, failed)
				}
			}
			if show(old) != before {
				t.Fatalf("LIGHTER_SEED=%d: what was there was written to", seed)
			}
			if failed != nil {
				if refused++; strings.Contains(failed.Error(), "Apply failed") {
					conflicts++
				}
				continue
			}
			merged++
			old = stored(want)
		}
	}
	t.Logf("%d merged, %d with versions set aside, %d refused, %d of those in conflict", merged, aside, refused, conflicts)
	if merged < 200 || aside < 200 || refused < 100 || conflicts < 50 {
		t.Error("too few of a kind")
	}
}
