package role_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lighter-k8s/lighter/api/builtin"
)

// TestCostlyMany makes every list and every map in the objects of testdata/same as long as a body may be, with elements that are all the same, that
// differ in what names them, and that differ in all of their texts and numbers, and writes that as a new object, over the stored one and into its status.
// It does the same with the lists and maps that its type has and no object of testdata/same, in two ways, as a new object or status.
// None crosses the line: what compares each element with each other does. PROVE tries all; else it is a few of them, from LIGHTER_SEED.
func TestCostlyMany(t *testing.T) {
	seed, _ := strconv.ParseUint(os.Getenv("LIGHTER_SEED"), 10, 64)
	one := rand.New(rand.NewPCG(seed, 0)).IntN
	server := allVersions(t)
	roomForSame(t, server)
	server.patience = time.Minute // the collector may run all the time
	files, err := filepath.Glob("testdata/same/*/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	covered := map[string]bool{}
	for _, file := range files {
		f := readSame(t, file)
		for at := range places(t, f) {
			covered[f.Resource+" "+at] = true
		}
	}
	tried := 0
	for _, file := range files {
		t.Run(strings.TrimSuffix(strings.TrimPrefix(file, "testdata/same/"), ".yaml"), func(t *testing.T) {
			f := readSame(t, file)
			meta, _ := f.Object["metadata"].(map[string]any)
			name, _ := meta["name"].(string)
			all := collection(f.Resource, meta)
			write := func(what, method, path, body string) {
				t.Run(what, func(t *testing.T) {
					tried++
					costs(t, len(body), func() answer { return server.do(t, method, path+"?dryRun=All", body) })
				})
			}
			var later []func()
			found := places(t, f)
			further := placesOfType(t, f, covered)
			maps.Copy(found, further)
			for _, at := range slices.Sorted(maps.Keys(found)) {
				for _, differ := range []string{"same", "named", "other"} {
					if differ == "named" && further[at] != nil {
						continue
					}
					if os.Getenv("PROVE") == "" && one(150) != 0 {
						continue
					}
					what := at + " " + differ
					if further[at] != nil {
						what = "further " + what
					}
					if !strings.HasPrefix(at, "status") {
						write(what+" create", "POST", all, multiplied(t, found[at], at, differ))
					}
					switch {
					case name == "" || further[at] != nil && !strings.HasPrefix(at, "status"):
					case strings.HasPrefix(at, "status"):
						later = append(later, func() { write(what+" status", "PUT", all+"/"+name+"/status", multiplied(t, found[at], at, differ)) })
					default:
						later = append(later, func() { write(what+" update", "PUT", all+"/"+name, multiplied(t, found[at], at, differ)) })
					}
				}
			}
			if len(later) == 0 {
				return
			}
			tidy(t, server, all+"/"+name)
			server.do(t, "POST", all, encode(t, f.Object))
			defer tidy(t, server, all+"/"+name)
			for _, do := range later {
				do()
			}
		})
	}
	t.Logf("%d tried", tried)
}

// costs does a request and holds what it needs at once against the line.
func costs(t *testing.T, sent int, do func() answer) answer {
	t.Helper()
	a, spent := measured(t, sent, do)
	if spent > max(lineBytes, uint64(lineTimes*sent)) {
		heldAtOnce(t, sent, do)
	}
	return a
}

// TestCostlyManagers: what it costs to write an object of which another manager has very many fields.
func TestCostlyManagers(t *testing.T) {
	p := api(t)
	admin := p.as(t, "admin")
	admin.patience = time.Minute // the collector may run all the time
	core := "/api/v1/namespaces/" + p.namespace(t)
	data := func(list ...string) string {
		return `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c"},"data":{` + strings.Join(list, ",") + `}}`
	}
	pod := func(list string) string {
		return `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"},"spec":{"containers":[{"name":"c","image":"i","env":[` + list + `]}]}}`
	}
	const js, merge, strategic, apply = "application/json", "application/merge-patch+json", "application/strategic-merge-patch+json", "application/apply-patch+yaml"
	written, applied := numbered(`"k%05d":"v"`, 13*20000), numbered(`"k%05d":"v"`, 13*13900)
	variables := numbered(`{"name":"k%05d","value":"v"}`, 30*4500)
	other := func(list string) string { return strings.ReplaceAll(list, `:"v"`, `:"w"`) }
	for _, tt := range []struct {
		name, path   string
		kind, stored string // how, and as what, manager a writes it
		method       string
		as           string // kind of what manager b writes
		body, query  string
		code         int
	}{
		{"others beside them", core + "/configmaps", js, data(written), "PUT", js, data(written, numbered(`"l%05d":"v"`, 13*75000)), "", 200},
		{"others in their place", core + "/configmaps", js, data(written), "PUT", js, data(numbered(`"l%05d":"v"`, 13*95000)), "", 200},
		{"each otherwise", core + "/configmaps", js, data(written), "PUT", js, data(other(written)), "", 200},
		{"each otherwise, merge patch", core + "/configmaps", js, data(written), "PATCH", merge, data(other(written)), "", 200},
		{"each otherwise, strategic merge patch", core + "/configmaps", js, data(written), "PATCH", strategic, data(other(written)), "", 200},
		{"none, merge patch", core + "/configmaps", js, data(written), "PATCH", merge, `{"data":null}`, "", 200},
		{"conflicts with a writer", core + "/configmaps", js, data(written), "PATCH", apply, data(other(applied)), "", 409},
		{"conflicts", core + "/configmaps", apply, data(applied), "PATCH", apply, data(other(applied)), "", 409},
		{"forced", core + "/configmaps", apply, data(applied), "PATCH", apply, data(other(applied)), "&force=true", 200},
		{"shared", core + "/configmaps", apply, data(applied), "PATCH", apply, data(applied), "", 200},
		{"given up", core + "/configmaps", apply, data(applied), "PATCH", apply, data(), "&fieldManager=a", 200},
		{"items otherwise", core + "/pods", js, pod(variables), "PUT", js, pod(other(variables)), "", 422},
		{"conflicts of items", core + "/pods", apply, pod(variables), "PATCH", apply, pod(other(variables)), "", 409},
		{"items forced", core + "/pods", apply, pod(variables), "PATCH", apply, pod(other(variables)), "&force=true", 422},
	} {
		t.Run(tt.name, func(t *testing.T) {
			one := tt.path + "/c"
			if strings.HasSuffix(tt.path, "/pods") {
				one = tt.path + "/p"
			}
			tidy(t, admin, one)
			defer tidy(t, admin, one)
			method, at := "POST", tt.path
			if tt.kind == apply {
				method, at = "PATCH", one
			}
			if a := admin.do(t, method, at+"?fieldManager=a", tt.stored, "Content-Type: "+tt.kind); a.code != 201 {
				t.Fatalf("HTTP %d %.300s", a.code, a.body)
			}
			query := "?dryRun=All" + tt.query
			if !strings.Contains(query, "fieldManager") {
				query += "&fieldManager=b"
			}
			if a := costs(t, len(tt.body), func() answer { return admin.do(t, tt.method, one+query, tt.body, "Content-Type: "+tt.as) }); a.code != tt.code {
				t.Errorf("HTTP %d, want %d: %.300s", a.code, tt.code, a.body)
			}
		})
	}
}

// TestCostlyItems: what it costs to compare the items of a long list with each other, or with all values that a definition allows.
func TestCostlyItems(t *testing.T) {
	p := api(t)
	admin := p.as(t, "admin")
	admin.patience = time.Minute // the collector may run all the time
	list := func(more, item string) string { return `{"type":"array",` + more + `"items":` + item + `}` }
	const set, text, number = `"x-kubernetes-list-type":"set",`, `{"type":"string"}`, `{"type":"integer"}`
	pair := func(more string) string {
		return `{"type":"object",` + more + `"required":["a","b"],"properties":{"a":` + text + `,"b":` + number + `}}`
	}
	properties := `"texts":` + list(set, text) + `,"numbers":` + list(set, number) + `,"pairs":` + list(set, pair(`"x-kubernetes-map-type":"atomic",`)) +
		`,"keyed":` + list(`"x-kubernetes-list-type":"map","x-kubernetes-list-map-keys":["a","b"],`, pair("")) +
		`,"enum":` + list("", `{"type":"string","enum":[`+numbered(`"e%05d"`, 9*20000)+`]}`) +
		`,"some":` + list("", `{"type":"string","anyOf":[`+numbered(`{"pattern":"^e%05d$"}`, 22*20)+`]}`) +
		`,"either":` + list("", `{"type":"string","anyOf":[`+numbered(`{"pattern":"^e%05d$"}`, 22*2000)+`]}`) +
		`,"none":` + list("", `{"type":"string","not":{"anyOf":[`+numbered(`{"enum":["f%05d"]}`, 19*2000)+`]}}`) +
		`,"one":` + list("", `{"type":"string","oneOf":[{"pattern":"^e"},{"enum":["f"]}]}`) +
		`,"ruled":{"type":"array","maxItems":20000,"items":{"type":"string","maxLength":20,"x-kubernetes-validations":[{"rule":"self.contains('e') && self.size() > 2 && self != 'x'"}]}}` +
		`,"whole":{"type":"array","maxItems":700,"items":{"type":"string","maxLength":20},"x-kubernetes-validations":[` + numbered(`{"rule":"self.all(a, self.exists_one(b, a == b)) || %d == 1"}`, 70*12) + `]}` +
		`,"steps":` + list("", `{"type":"integer","multipleOf":3}`) +
		`,"default":` + list("", `{"type":"object","properties":{"a":{"type":"string","default":"`+strings.Repeat("a", 10000)+`"}}}`) +
		`,"defaults":` + list("", `{"type":"object","default":{},"properties":{"a":{"type":"object","default":{`+numbered(`"k%05d":"v"`, 13*1000)+`},"additionalProperties":{"type":"string"}}}}`)
	definition := `{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"lists.items.example.com"},"spec":{"group":"items.example.com","scope":"Namespaced",` +
		`"names":{"plural":"lists","singular":"list","kind":"Many","listKind":"ManyList"},"versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object","properties":{"spec":{"type":"object","properties":{` + properties + `}}}}}}]}}`
	into[metav1.PartialObjectMetadata](t, admin.do(t, "POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition), 201)
	defer tidy(t, admin, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/lists.items.example.com")
	path := "/apis/items.example.com/v1/namespaces/" + p.namespace(t) + "/lists"
	within(t, 10*time.Second, "the type is served", func() error {
		if a := admin.do(t, "GET", path, ""); a.code != 200 {
			return fmt.Errorf("HTTP %d", a.code)
		}
		return nil
	})
	for _, tt := range []struct {
		name, items string
		code        int
	}{
		{"texts", numbered(`"k%05d"`, 9*95000), 201},
		{"texts", numbered(`"k"`, 4*95000), 422},
		{"numbers", numbered(`%d`, 6*90000), 201},
		{"pairs", numbered(`{"a":"k%05d","b":7}`, 20*24000), 201},
		{"keyed", numbered(`{"a":"k%05d","b":7}`, 20*24000), 201},
		{"keyed", numbered(`{"a":"k","b":7}`, 16*24000), 422},
		{"enum", numbered(`"e19998"`, 9*90000), 201},
		{"enum", numbered(`"f%05d"`, 9*90000), 422},
		{"some", numbered(`"e00017"`, 9*90000), 201},
		{"either", numbered(`"e01997"`, 9*90000), 422}, // as that many steps are not taken
		{"none", numbered(`"e01997"`, 9*90000), 422},   // as well
		{"one", numbered(`"e%05d"`, 9*90000), 201},
		{"one", numbered(`"g%05d"`, 9*90000), 422},
		{"ruled", numbered(`"e%05d"`, 9*19990), 201},
		{"ruled", numbered(`"f%05d"`, 9*19990), 422},
		{"whole", numbered(`"f%05d"`, 9*690), 422},
		{"steps", numbered(`3`, 2*90000), 201},
		{"default", numbered(`{}`, 3*40000), 422}, // as they would be 400 MB
		{"defaults", numbered(`{}`, 3*40000), 422},
	} {
		t.Run(tt.name, func(t *testing.T) {
			body := `{"apiVersion":"items.example.com/v1","kind":"Many","metadata":{"name":"m"},"spec":{"` + tt.name + `":[` + tt.items + `]}}`
			if a := costs(t, len(body), func() answer { return admin.do(t, "POST", path+"?dryRun=All", body) }); a.code != tt.code {
				t.Errorf("HTTP %d, want %d: %.300s", a.code, tt.code, a.body)
			}
		})
	}
}

// places are the paths of all lists and maps in the objects that a file has as valid ones, each with an object in which it is.
func places(t *testing.T, f sameFile) map[string]map[string]any {
	out := map[string]map[string]any{}
	for _, c := range f.Cases {
		if c.Status != nil || c.Op != "" && c.Op != "update" && c.Op != "status" {
			continue
		}
		object := clone(t, f.Object)
		for _, p := range slices.Sorted(maps.Keys(c.Set)) {
			object = put(object, p, c.Set[p]).(map[string]any)
		}
		var walk func(path string, v any)
		walk = func(path string, v any) {
			switch v := v.(type) {
			case map[string]any:
				simple := len(v) > 0 && path != ""
				for key, v := range v {
					at := path + `["` + key + `"]`
					if word.MatchString(key) {
						at = strings.TrimPrefix(path+"."+key, ".")
					}
					walk(at, v)
					switch v.(type) {
					case map[string]any, []any:
						simple = false
					}
				}
				if simple && out[path] == nil { // it may be one, and costs as an object of unknown fields if it is not
					out[path] = object
				}
			case []any:
				if len(v) > 0 {
					if out[path] == nil {
						out[path] = object
					}
					walk(path+"[0]", v[0])
				}
			}
		}
		walk("", object)
	}
	return out
}

// placesOfType are the lists and maps of a file's type that are not covered, each with an object that has one element there. What is
// below the template of a pod is tried of deployments alone.
func placesOfType(t *testing.T, f sameFile, covered map[string]bool) map[string]map[string]any {
	out := map[string]map[string]any{}
	var walk func(path string, typ reflect.Type, seen []reflect.Type)
	walk = func(path string, typ reflect.Type, seen []reflect.Type) {
		for typ.Kind() == reflect.Pointer {
			typ = typ.Elem()
		}
		listed := typ.Kind() == reflect.Slice && typ.Elem().Kind() != reflect.Uint8
		if (listed || typ.Kind() == reflect.Map) && !covered[f.Resource+" "+path] {
			covered[f.Resource+" "+path] = true
			out[path] = put(clone(t, f.Object), path, sample(typ)).(map[string]any)
		}
		switch {
		case listed:
			walk(path+"[0]", typ.Elem(), seen)
		case typ.Kind() == reflect.Struct && simple(typ) == nil && !slices.Contains(seen, typ):
			for name, field := range members(typ) {
				at := strings.TrimPrefix(path+"."+name, ".")
				if at != "metadata.managedFields" && (!strings.HasSuffix(at, "emplate.spec") || !strings.Contains(field.Name(), "PodSpec") || strings.HasSuffix(f.Resource, "/deployments")) {
					walk(at, field, append(seen[:len(seen):len(seen)], typ))
				}
			}
		}
	}
	for _, i := range slices.Concat(builtin.All(), builtin.Further()) {
		at := "apis/" + i.Group + "/"
		if i.Group == "" {
			at = "api/"
		}
		if at+i.Version+"/"+i.Resource == f.Resource {
			walk("", reflect.TypeOf(i.New()), nil)
		}
	}
	return out
}

// members are the types of a structure's fields by their names in JSON.
func members(typ reflect.Type) map[string]reflect.Type {
	out := map[string]reflect.Type{}
	for n := range typ.NumField() {
		f := typ.Field(n)
		switch name, options, _ := strings.Cut(f.Tag.Get("json"), ","); {
		case name != "" && name != "-":
			out[name] = f.Type
		case strings.Contains(options, "inline"):
			maps.Copy(out, members(f.Type))
		}
	}
	return out
}

// simple is a value of a structure that JSON has as something else; nil: it is none of these.
func simple(typ reflect.Type) any {
	return map[string]any{"Quantity": "1", "Time": "2026-01-02T03:04:05Z", "MicroTime": "2026-01-02T03:04:05.000000Z", "Duration": "1s", "IntOrString": 1.0,
		"RawExtension": map[string]any{}, "JSON": map[string]any{}, "FieldsV1": map[string]any{}}[typ.Name()]
}

// sample is a value of a type; within structures only what is neither structure nor list.
func sample(typ reflect.Type) any {
	switch typ.Kind() {
	case reflect.Pointer:
		return sample(typ.Elem())
	case reflect.String:
		return "a"
	case reflect.Bool:
		return true
	case reflect.Int, reflect.Int32, reflect.Int64, reflect.Float64:
		return 1.0
	case reflect.Slice:
		if typ.Elem().Kind() == reflect.Uint8 {
			return "YQ=="
		}
		return []any{sample(typ.Elem())}
	case reflect.Map:
		return map[string]any{"a": sample(typ.Elem())}
	case reflect.Struct:
		if v := simple(typ); v != nil {
			return v
		}
		out := map[string]any{}
		for name, field := range members(typ) {
			for field.Kind() == reflect.Pointer {
				field = field.Elem()
			}
			if plain := field.Kind() != reflect.Slice && field.Kind() != reflect.Map && field.Kind() != reflect.Struct; plain || field.Kind() == reflect.Struct && simple(field) != nil {
				out[name] = sample(field)
			}
		}
		return out
	}
	return nil
}

// multiplied is an object as JSON with what is at a path repeated until the body is as large as any may be.
func multiplied(t *testing.T, object map[string]any, path, differ string) string {
	const most, values = 3<<20 - 20<<10, 95_000
	raw := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	object = clone(t, object)
	at := pick(object, path)
	var b strings.Builder
	left := values
	add := func(part string, n int) bool {
		if left -= n; left < 0 || b.Len()+len(part) > most {
			return false
		}
		if b.Len() > 1 {
			b.WriteByte(',')
		}
		b.WriteString(part)
		return true
	}
	switch v := at.(type) {
	case []any:
		b.WriteByte('[')
		size := strings.Count(raw(v[0]), ":") + strings.Count(raw(v[0]), ",") + 1
		for n := 0; add(raw(numberedAs(v[0], n, differ, "")), size); n++ {
		}
		b.WriteByte(']')
	case map[string]any:
		b.WriteByte('{')
		key := slices.Sorted(maps.Keys(v))[0]
		for n := 0; add(raw(fmt.Sprint(key, n))+":"+raw(numberedAs(v[key], n, differ, "")), 1); n++ {
		}
		b.WriteByte('}')
	default:
		t.Fatalf("%s is a %T", path, at)
	}
	const mark = "@multiplied@"
	return strings.Replace(raw(put(object, path, mark)), `"`+mark+`"`, b.String(), 1)
}

// pick is what is at a path of put's form.
func pick(v any, path string) any {
	for path != "" {
		m := step.FindStringSubmatch(path)
		path = path[len(m[0]):]
		if m[2] != "" {
			n, _ := strconv.Atoi(m[2])
			v = v.([]any)[n]
		} else {
			v = v.(map[string]any)[m[1]+m[3]]
		}
	}
	return v
}

// numberedAs is a value of an element with a number in what tells it from others, or in all of it.
func numberedAs(v any, n int, differ, key string) any {
	if differ == "same" {
		return v
	}
	naming := differ == "other" || key == "" || slices.Contains([]string{"name", "key", "uid", "type", "port", "containerPort", "ip", "path", "topologyKey", "deviceName", "driver", "pool", "device", "mountPath"}, key)
	switch v := v.(type) {
	case string:
		if naming {
			return v + strconv.Itoa(n)
		}
	case float64:
		if naming {
			return float64(n + 1)
		}
	case map[string]any:
		out := map[string]any{}
		for key, v := range v {
			out[key] = numberedAs(v, n, differ, key)
		}
		return out
	case []any:
		if differ == "other" {
			out := make([]any, len(v))
			for i := range v {
				out[i] = numberedAs(v[i], n, differ, "")
			}
			return out
		}
	}
	return v
}
