package role_test

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// The line that no request may cross, whatever is in it.
const (
	lineBytes = 32 << 20 // that may always be allocated
	lineTimes = 24       // or so many times what was sent
	lineCPU   = time.Second
)

// processor is what this process has used.
func processor(t testing.TB) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// measured does a request and gives what all that followed from it meanwhile allocated, the client included. The time of the processor is held
// against the line where PROVE is set: elsewhere others' tests may be in it.
func measured(t *testing.T, sent int, do func() answer) (answer, uint64) {
	t.Helper()
	calm(t)
	began := processor(t)
	a, spent := costing(do)
	took := processor(t) - began
	t.Logf("COST HTTP %d, %d bytes, %.1f MiB (%.0f times), %s: %.150s", a.code, sent, float64(spent)/(1<<20), float64(spent)/float64(sent), took.Round(time.Millisecond), a.body)
	if took > lineCPU && os.Getenv("PROVE") != "" {
		t.Errorf("%s of the processor", took)
	}
	return a, spent
}

// lined does a request and holds what it allocated against the line, or the ceiling where that is higher.
func lined(t *testing.T, sent, ceiling int, do func() answer) answer {
	t.Helper()
	a, spent := measured(t, sent, do)
	if spent > max(lineBytes, uint64(lineTimes*sent), uint64(ceiling)<<20) {
		t.Errorf("%d MiB for %d bytes", spent>>20, sent)
	}
	return a
}

// heldAtOnce does a request and holds against the line what more was alive at any time while it lasted than before: the memory that it needs, however
// much it lets go of on the way. The collector runs all the time meanwhile, so what it has not got to yet counts too.
func heldAtOnce(t *testing.T, sent int, do func() answer) answer {
	t.Helper()
	calm(t)
	defer debug.SetGCPercent(debug.SetGCPercent(5))
	runtime.GC()
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	before := live[0].Value.Uint64()
	most, done, ended := before, make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			metrics.Read(live)
			most = max(most, live[0].Value.Uint64())
			select {
			case <-done:
				return
			case <-time.After(200 * time.Microsecond):
			}
		}
	}()
	a := do()
	close(done)
	<-ended
	t.Logf("HELD HTTP %d, %d bytes, %.1f MiB over %d: %.150s", a.code, sent, float64(most-before)/(1<<20), before>>20, a.body)
	if most-before > max(lineBytes, uint64(lineTimes*sent)) {
		t.Errorf("%d MiB at once for %d bytes", (most-before)>>20, sent)
	}
	return a
}

// calm waits until nothing is done any more of what came before.
func calm(t *testing.T) {
	t.Helper()
	metric := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	read := func() uint64 { metrics.Read(metric); return metric[0].Value.Uint64() }
	for last, until := read(), time.Now().Add(5*time.Second); time.Now().Before(until); {
		time.Sleep(20 * time.Millisecond)
		now := read()
		if now-last < 256<<10 {
			return
		}
		last = now
	}
}

// numbered repeats a text with a number in it, with commas between, up to about so many bytes.
func numbered(format string, bytes int) string {
	var b strings.Builder
	for n := 0; b.Len() < bytes-len(format)-5; n++ {
		if n > 0 {
			b.WriteByte(',')
		}
		if strings.Contains(format, "%") {
			fmt.Fprintf(&b, format, n)
		} else {
			b.WriteString(format)
		}
	}
	return b.String()
}

// TestCostlyObjects: what objects cost that are as large as any in use, and as any that can be, in every way to write them. No request needs more
// at once than the line allows. What it allocates in all, which is more where parts are let go of on the way, is held to the line too, or to the row's ceiling.
func TestCostlyObjects(t *testing.T) {
	p := api(t)
	ns, admin := p.namespace(t), p.as(t, "admin")
	definition := func(name, schema string) string {
		return `{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"` + name + `s.large.example.com"},"spec":{"group":"large.example.com","scope":"Namespaced","names":{"plural":"` + name + `s","singular":"` + name + `","kind":"` + strings.ToUpper(name) +
			`","listKind":"` + strings.ToUpper(name) + `List"},"versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":` + schema + `}}]}}`
	}
	object := func(properties string) string {
		return `{"type":"object","properties":{"spec":{"type":"object","properties":{` + properties + `}}}}`
	}
	const definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
	for _, d := range []struct{ name, schema string }{
		{"free", `{"type":"object","x-kubernetes-preserve-unknown-fields":true}`},
		{"map", object(`"m":{"type":"object","additionalProperties":{"type":"string"}},"l":{"type":"array","items":{"type":"integer"}},"o":{"type":"array","items":{"type":"object","properties":{"a":{"type":"string"},"b":{"type":"integer"}}}},` +
			`"k":{"type":"array","x-kubernetes-list-type":"map","x-kubernetes-list-map-keys":["a"],"items":{"type":"object","required":["a"],"properties":{"a":{"type":"string"},"b":{"type":"integer"}}}}`)},
	} {
		into[metav1.PartialObjectMetadata](t, admin.do(t, "POST", definitions, definition(d.name, d.schema)), 201)
	}
	free, maps := "/apis/large.example.com/v1/namespaces/"+ns+"/frees", "/apis/large.example.com/v1/namespaces/"+ns+"/maps"
	custom := func(kind, content string) string {
		return `{"apiVersion":"large.example.com/v1","kind":"` + kind + `","metadata":{"name":"NAME"},` + content + `}`
	}
	const property = `"f%05d":{"description":"what it is","type":"string"}`
	const routine = `"f%05d":{"description":"It says what it is for, and what happens where it is left out: the default.","type":"string"}`
	made := 0
	applied := map[string]int{"apply, new": 413, "apply in YAML": 413} // as a request has too many fields
	for _, tt := range []struct {
		name, path, body string
		empty            message        // of a type that has a protobuf form
		ceiling          int            // MiB that the costliest way to write it allocates in all, where that is above the line; 0: it is not
		refused          map[string]int // the ways to write it that do not work, with their codes
	}{
		{"definition of 1 MB, 20,000 properties", definitions, definition("NAME", object(numbered(property, 20000*53))), &apiextensionsv1.CustomResourceDefinition{}, 60, nil},
		{"definition of 1.4 MB, described", definitions, definition("NAME", object(numbered(routine, 1400000))), &apiextensionsv1.CustomResourceDefinition{}, 54, nil},
		{"definition of 1.5 MB, dense", definitions, definition("NAME", object(numbered(`"f%05d":{"type":"string"}`, 1400000))), &apiextensionsv1.CustomResourceDefinition{}, 0,
			map[string]int{"create, dry run": 413, "create": 413, "apply, new": 413, "create in YAML": 413, "apply in YAML": 413, "create in protobuf": 413}},
		{"definition of 2.6 MB", definitions, definition("NAME", object(numbered(routine, 2600000))), &apiextensionsv1.CustomResourceDefinition{}, 0,
			map[string]int{"create": 500, "apply, new": 500, "create in YAML": 413, "apply in YAML": 413, "create in protobuf": 500}},
		{"config map of 1 MB, 25,000 keys", "/api/v1/namespaces/" + ns + "/configmaps", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"NAME"},"data":{` + numbered(`"k%05d":"`+strings.Repeat("v", 28)+`"`, 40*25000) + `}}`, &corev1.ConfigMap{}, 0, applied},
		{"config map of 100,000 keys", "/api/v1/namespaces/" + ns + "/configmaps", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"NAME"},"data":{` + numbered(`"k%05d":""`, 11*99000) + `}}`, &corev1.ConfigMap{}, 50,
			map[string]int{"create": 500, "apply, new": 413, "create in YAML": 500, "apply in YAML": 413, "create in protobuf": 500}},
		{"custom resource of 1 MB, 25,000 keys, free", free, custom("FREE", `"spec":{`+numbered(`"k%05d":"`+strings.Repeat("v", 28)+`"`, 40*25000)+`}`), nil, 48, applied},
		{"custom resource of 25,000 keys, free", free, custom("FREE", `"spec":{`+numbered(`"k%05d":"v"`, 13*25000)+`}`), nil, 40, applied},
		{"custom resource of 25,000 keys", maps, custom("MAP", `"spec":{"m":{`+numbered(`"k%05d":"v"`, 13*25000)+`}}`), nil, 42, applied},
		{"custom resource of 99,000 numbers", maps, custom("MAP", `"spec":{"l":[`+numbered(`0`, 2*99000)+`]}`), nil, 79, nil},
		{"custom resource of 20,000 items", maps, custom("MAP", `"spec":{"o":[`+numbered(`{"a":"k%05d","b":7}`, 20*20000)+`]}`), nil, 74, nil},
		{"custom resource of 20,000 named items", maps, custom("MAP", `"spec":{"k":[`+numbered(`{"a":"k%05d","b":7}`, 20*20000)+`]}`), nil, 59,
			map[string]int{"update, dry run": 413, "update, nothing": 413, "update": 413, "apply, new": 413, "apply in YAML": 413}},
		{"custom resource of 99,000 keys, free", free, custom("FREE", `"spec":{`+numbered(`"k%05d":0`, 10*99000)+`}`), nil, 52,
			map[string]int{"create": 500, "apply, new": 413, "create in YAML": 500, "apply in YAML": 413}},
	} {
		if os.Getenv("PROVE") == "" && tt.name != "custom resource of 25,000 keys" && tt.name != "custom resource of 99,000 numbers" {
			continue
		}
		for _, measure := range []string{"in all", "at once"} {
			t.Run(tt.name+"/"+measure, func(t *testing.T) {
				named := func() (name, body string) {
					made++
					name = fmt.Sprintf("n%03d", made)
					body = strings.ReplaceAll(tt.body, "NAME", name)
					if tt.path == definitions {
						name += "s.large.example.com"
					}
					return name, body
				}
				gone := func(name string) { admin.do(t, "DELETE", tt.path+"/"+name, "") }
				// step does and measures a request, which is answered with the code where the row does not say that it is refused; it tells whether it was not.
				step := func(what string, code int, method, path, kind, body string) (done bool) {
					refusal, refused := tt.refused[what]
					t.Run(what, func(t *testing.T) {
						do := func() answer { return admin.do(t, method, path, body, "Content-Type: "+kind) }
						a := answer{}
						if measure == "at once" {
							a = heldAtOnce(t, len(body)+len(path), do)
						} else {
							a = lined(t, len(body)+len(path), tt.ceiling, do)
						}
						if refused {
							code = refusal
						}
						if a.code != code {
							t.Errorf("HTTP %d, want %d: not what was to be measured: %.200s", a.code, code, a.body)
						}
					})
					return !refused
				}
				const inJSON, asPatch, asStrategic, asApply = "application/json", "application/merge-patch+json", "application/strategic-merge-patch+json", "application/apply-patch+yaml"
				otherwise := strings.NewReplacer("k00", "j00", "f00", "g00", `"l":[0,0`, `"l":[1,2`)
				name, body := named()
				step("create, dry run", 201, "POST", tt.path+"?dryRun=All", inJSON, body)
				if step("create", 201, "POST", tt.path, inJSON, body) {
					calm(t) // it may be established, which changes it
					stored, at := string(admin.do(t, "GET", tt.path+"/"+name, "").body), tt.path+"/"+name
					step("update, dry run", 200, "PUT", at+"?dryRun=All", inJSON, stored)
					step("update, nothing", 200, "PUT", at, inJSON, stored)
					step("update", 200, "PUT", at, inJSON, otherwise.Replace(stored))
					step("merge patch of a label", 200, "PATCH", at, asPatch, `{"metadata":{"labels":{"a":"b"}}}`)
					step("JSON patch of a label", 200, "PATCH", at, "application/json-patch+json", `[{"op":"add","path":"/metadata/annotations","value":{"a":"b"}}]`)
					if tt.empty != nil {
						step("strategic merge patch of a label", 200, "PATCH", at, asStrategic, `{"metadata":{"labels":{"a":"c"}}}`)
					}
					step("apply of a label", 200, "PATCH", at+"?fieldManager=z", asApply, labelled(t, []byte(stored)))
					step("read", 200, "GET", at, "", "")
					step("delete", 200, "DELETE", at, "", "")
				}
				name, body = named()
				bare := 201
				if tt.path == definitions { // which need one
					bare = 422
				}
				step("create, without a spec", bare, "POST", tt.path, inJSON, labelled(t, []byte(body)))
				gone(name)
				name, body = named()
				applied := tt.path + "/" + name + "?fieldManager=a"
				if step("apply, new", 201, "PATCH", applied, asApply, body) {
					step("apply, again", 200, "PATCH", applied, asApply, body)
					step("apply, otherwise", 200, "PATCH", applied, asApply, otherwise.Replace(body))
					gone(name)
				}
				inYAML := func() (string, string) {
					name, body := named()
					y, err := yaml.JSONToYAML([]byte(body))
					if err != nil {
						t.Fatal(err)
					}
					return name, string(y)
				}
				name, body = inYAML()
				step("create in YAML", 201, "POST", tt.path, "application/yaml", body)
				gone(name)
				name, body = inYAML()
				step("apply in YAML", 201, "PATCH", tt.path+"/"+name+"?fieldManager=a", asApply, body)
				gone(name)
				if tt.empty != nil {
					name, body = named()
					step("create in protobuf", 201, "POST", tt.path, "application/vnd.kubernetes.protobuf", inProtobuf(t, tt.empty, body))
					gone(name)
				}
			})
		}
	}
}

// labelled is an object of the same kind and name with a label and nothing else.
func labelled(t *testing.T, body []byte) string {
	var o metav1.PartialObjectMetadata
	if err := json.Unmarshal(body, &o); err != nil {
		t.Fatal(err)
	}
	return text(o.APIVersion, o.Kind, o.Name)[:len(text(o.APIVersion, o.Kind, o.Name))-2] + `,"labels":{"z":"d"}}}`
}
