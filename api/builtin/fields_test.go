package builtin

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"

	"github.com/lighter-k8s/lighter/api"
)

// Classes of fields in testdata/fields: what the resource's rules do with a value of a user.
const (
	validated = "validated" // some values are refused, with the field's path or one above or below it among the causes
	system    = "system"    // a value is dropped or overwritten
	free      = "free"      // each value is stored as it was sent
)

// homes are types that several resources have a part of: their fields are classified where they live, once.
var homes = map[reflect.Type]string{
	reflect.TypeFor[corev1.PodSpec](): "pods", reflect.TypeFor[batchv1.JobSpec](): "jobs", reflect.TypeFor[corev1.PersistentVolumeClaimSpec](): "persistentvolumeclaims",
	reflect.TypeFor[metav1.LabelSelector](): "networkpolicies", reflect.TypeFor[corev1.NodeSelector](): "persistentvolumes", reflect.TypeFor[corev1.Affinity](): "pods",
	reflect.TypeFor[resourcev1.ResourceClaimSpec](): "resourceclaims", reflect.TypeFor[admissionv1.MatchResources](): "validatingadmissionpolicies",
	reflect.TypeFor[metav1.ObjectMeta](): "-", // the registry's: it keeps what is not the user's, and checks the rest
}

// TestEveryFieldIsClassified fails for a field of a served type that no line of testdata/fields classifies, for a line
// without a field, and for one whose rules do something else than its line says. LIGHTER_FIELDS=write writes the lines anew,
// to be looked at: a field that is free but should not be is how policies get bypassed.
func TestEveryFieldIsClassified(t *testing.T) {
	found := map[string]map[string]string{} // by group, then line
	for _, i := range slices.Concat(All(), Further()) {
		if i.Stored != i || i.Virtual && i.Group == "" {
			continue
		}
		group := i.Group
		if group == "" {
			group = "core"
		}
		if found[group] == nil {
			found[group] = map[string]string{}
		}
		probeType(t, i, found[group])
	}
	for group, lines := range found {
		file := filepath.Join("testdata", "fields", group+".txt")
		if os.Getenv("LIGHTER_FIELDS") == "write" {
			var b strings.Builder
			for _, name := range slices.Sorted(maps.Keys(lines)) {
				fmt.Fprintf(&b, "%s %s\n", name, lines[name])
			}
			if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		said := map[string]string{}
		for line := range strings.Lines(string(data)) {
			if at := strings.LastIndexByte(strings.TrimSpace(line), ' '); at > 0 {
				said[line[:at]] = strings.TrimSpace(line[at:])
			}
		}
		for name, class := range lines {
			switch {
			case said[name] == "":
				t.Errorf("%s: no line classifies %s (it is %s)", file, name, class)
			case said[name] != class:
				t.Errorf("%s: %s is said to be %s and is %s", file, name, said[name], class)
			}
		}
		for name := range said {
			if lines[name] == "" {
				t.Errorf("%s: there is no field %s", file, name)
			}
		}
	}
}

// furtherBases are good objects of resources that the differential test, which knows what is served by default, has none of.
var furtherBases = map[string]string{
	"leasecandidates":            `{metadata: {name: a, namespace: default}, spec: {leaseName: x, binaryVersion: 1.37.0, emulationVersion: 1.37.0, strategy: OldestEmulationVersion}}`,
	"storageversions":            `{metadata: {name: apps.a}, spec: {}}`,
	"resourcepoolstatusrequests": `{metadata: {name: a}, spec: {driver: gpu.example.com}}`,
}

// probeType classifies the fields of a resource with the object of the differential test, which is a good one.
func probeType(t *testing.T, i *api.Info, out map[string]string) {
	base := map[string]any{"metadata": map[string]any{"name": "a"}}
	if text := furtherBases[i.Resource]; text != "" {
		if err := yaml.Unmarshal([]byte(text), &base); err != nil {
			t.Fatal(err)
		}
	}
	files, _ := filepath.Glob("../../role/testdata/same/*/*.yaml") // the pattern is right
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var f struct {
			Resource string
			Object   map[string]any
		}
		head, _, _ := strings.Cut(string(data), "\ncases:")
		if err := yaml.Unmarshal([]byte(head), &f); err != nil {
			t.Fatal(file, err)
		}
		if strings.HasSuffix(f.Resource, i.GroupVersion().String()+"/"+i.Resource) && !strings.Contains(file, "-parts") {
			base = f.Object
		}
	}
	p := prober{info: i, base: base, none: p0(i, base)}
	walkFields(i.Type, "", nil, i.Resource, func(path string, leaf reflect.Type) {
		out[i.Resource+" "+path] = p.class(path, leaf)
	})
}

// walkFields calls leaf for each field with a plain value; lists are written [] and maps {}.
func walkFields(t reflect.Type, path string, above []reflect.Type, resourceName string, leaf func(path string, t reflect.Type)) {
	switch {
	case t.Kind() == reflect.Pointer:
		walkFields(t.Elem(), path, above, resourceName, leaf)
	case t.Kind() == reflect.Slice && t.Elem().Kind() != reflect.Uint8:
		walkFields(t.Elem(), path+"[]", above, resourceName, leaf)
	case t.Kind() == reflect.Map:
		walkFields(t.Elem(), path+"{}", above, resourceName, leaf)
	case t.Kind() == reflect.Struct && probes[t] == nil:
		if home := homes[t]; home != "" && home != resourceName || slices.Contains(above, t) {
			return
		}
		for n := range t.NumField() {
			f := t.Field(n)
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			switch {
			case f.Type == reflect.TypeFor[metav1.TypeMeta](), name == "-":
			case name == "" && f.Anonymous:
				walkFields(f.Type, path, append(above, t), resourceName, leaf)
			case name != "":
				walkFields(f.Type, strings.TrimPrefix(path+"."+name, "."), append(above, t), resourceName, leaf)
			}
		}
	default:
		leaf(path, t)
	}
}

// probes are values of types, as JSON has them.
var probes = map[reflect.Type][]any{
	reflect.TypeFor[resource.Quantity]():    {"-1", "3", "1500m"},
	reflect.TypeFor[intstr.IntOrString]():   {-1, 70000, "Bad Value!", "5%"},
	reflect.TypeFor[metav1.Time]():          {"2020-01-02T03:04:05Z"},
	reflect.TypeFor[metav1.MicroTime]():     {"2020-01-02T03:04:05.000000Z"},
	reflect.TypeFor[metav1.Duration]():      {"-1s", "5s"},
	reflect.TypeFor[runtime.RawExtension](): {map[string]any{"a": 1}},
	reflect.TypeFor[metav1.FieldsV1]():      {map[string]any{}},
	reflect.TypeFor[[]byte]():               {"YQ=="},
}

func probesOf(t reflect.Type) []any {
	if p := probes[t]; p != nil {
		return p
	}
	switch t.Kind() {
	case reflect.String:
		return []any{"Bad Value!", "a", strings.Repeat("a", 300), "../a", ""}
	case reflect.Bool:
		return []any{true, false}
	case reflect.Int32, reflect.Int64, reflect.Int:
		return []any{-1, 0, 70000, 2147483647}
	case reflect.Float64, reflect.Float32:
		return []any{-1.5, 2.5}
	}
	return []any{"YQ=="}
}

// prober tries values on an object's rules.
type prober struct {
	info *api.Info
	base map[string]any
	none map[string]bool // what is complained about without a probe
}

func p0(i *api.Info, base map[string]any) map[string]bool {
	p := prober{info: i, base: base}
	none := map[string]bool{}
	for _, how := range ways {
		_, errs, _ := p.try(base, how)
		for _, e := range errs {
			none[e.Field] = true
		}
	}
	return none
}

var ways = []string{"create", "update", "status"}

// try gives the object as it would be stored, and what is complained about.
func (p prober) try(doc map[string]any, how string) (api.Object, field.ErrorList, bool) {
	read := func(doc map[string]any) (api.Object, bool) {
		data, err := json.Marshal(doc)
		o := p.info.New()
		return o, err == nil && json.Unmarshal(data, o) == nil
	}
	obj, ok := read(doc)
	old, ok2 := read(p.base)
	if !ok || !ok2 {
		return nil, nil, false
	}
	p.info.Default(obj)
	p.info.Default(old)
	p.info.Prepare(old, nil)
	switch {
	case how == "create":
		p.info.Prepare(obj, nil)
		return obj, p.info.Validate(obj, nil), true
	case how == "update":
		p.info.Prepare(obj, old)
		return obj, p.info.ValidateUpdate("", obj, old), true
	case p.info.HasStatus:
		next := old.DeepCopyObject().(api.Object)
		p.info.CopyStatus(next, obj)
		return next, p.info.ValidateStatus(next, old), true
	}
	return nil, nil, false
}

func (p prober) class(path string, leaf reflect.Type) string {
	kept, tried := false, false
	for _, value := range probesOf(leaf) {
		var doc map[string]any
		data, err := json.Marshal(p.base)
		if err != nil || json.Unmarshal(data, &doc) != nil {
			return "unreadable"
		}
		set(doc, path, value)
		for _, how := range ways {
			if (how == "status") != (strings.HasPrefix(path, "status.") && p.info.HasStatus) {
				continue
			}
			obj, errs, ok := p.try(doc, how)
			if !ok {
				continue
			}
			tried = true
			for _, e := range errs {
				if !p.none[e.Field] && related(plainPath(e.Field), path) {
					return validated
				}
			}
			kept = kept || has(obj, path, value)
		}
	}
	if tried && !kept {
		return system
	}
	return free
}

var indexes = regexp.MustCompile(`\[(\d+)\]`)

// plainPath is a complaint's path without which element of a list or map it is.
func plainPath(s string) string {
	return regexp.MustCompile(`\[[^\]]*\]|\{\}`).ReplaceAllString(indexes.ReplaceAllString(s, ""), "")
}

// related tells whether one path is the other, above or below it, or its end, whatever case upstream writes it in.
func related(a, b string) bool {
	a, b = strings.ToLower(a), strings.ToLower(strings.NewReplacer("[]", "", "{}", "").Replace(b))
	return a == b || strings.HasPrefix(b, a+".") && (strings.Count(a, ".") > 0 || a == "status") || strings.HasPrefix(a, b+".") || strings.HasSuffix(b, "."+a)
}

// set puts a value at a path: in the first element of lists, and at the key "a" of maps.
func set(o map[string]any, path string, value any) {
	var at any = o
	steps := pathSteps(path)
	for n, s := range steps {
		last := n == len(steps)-1
		next := value
		if !last {
			if steps[n+1] == "0" {
				next = []any{nil}
			} else {
				next = map[string]any{}
			}
		}
		switch v := at.(type) {
		case map[string]any:
			if last || v[s] == nil {
				v[s] = next
			} else if list, ok := v[s].([]any); ok && len(list) == 0 {
				v[s] = []any{nil}
			}
			at = v[s]
		case []any:
			if i, err := strconv.Atoi(s); err == nil && i < len(v) && (last || v[i] == nil) {
				v[i] = next
			}
			at = v[0]
		default:
			return
		}
	}
}

func pathSteps(path string) []string {
	return strings.Split(strings.NewReplacer("[]", ".0", "{}", ".a").Replace(path), ".")
}

// has tells whether the object has the value at the path; one that is empty may as well be left out.
func has(obj api.Object, path string, value any) bool {
	data, err := json.Marshal(obj)
	if err != nil {
		return false
	}
	var at any
	if json.Unmarshal(data, &at) != nil {
		return false
	}
	for _, s := range pathSteps(path) {
		switch v := at.(type) {
		case map[string]any:
			at = v[s]
		case []any:
			if at = nil; len(v) > 0 {
				at = v[0]
			}
		default:
			return false
		}
	}
	want, _ := json.Marshal(value) // a plain value has a JSON form
	got, _ := json.Marshal(at)
	return at != nil && string(want) == string(got)
}
