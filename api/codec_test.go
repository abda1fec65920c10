package api_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/api/yamljson"
)

var (
	podInfo = api.Define(api.Resource[*corev1.Pod]{Version: "v1", Plural: "pods", Scope: api.Namespaced})
	crInfo  = api.Define(api.Resource[*unstructured.Unstructured]{Group: "example.com", Version: "v1", Kind: "Widget",
		Plural: "widgets", List: "WidgetList", Scope: api.Namespaced})
)

func pod() *corev1.Pod {
	return &corev1.Pod{
		TypeMeta: metav1.TypeMeta{Kind: "Pod", APIVersion: "v1"},
		ObjectMeta: metav1.ObjectMeta{Name: "web-0", Namespace: "shop", UID: "1f0c", Generation: 3,
			Labels: map[string]string{"app": "web", "tier": "front"}},
		Spec: corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{Name: "c", Image: "nginx", Args: []string{strings.Repeat("x", 300)}}}},
	}
}

// What Kubernetes' own serializer writes, with resourceVersion cleared, is what we store.
func TestEncodeStoredIsKubernetesOwnForm(t *testing.T) {
	s := protobuf.NewSerializer(api.Scheme(), api.Scheme())
	for name, version := range map[string]string{"without a version": "", "with one to drop": "12345"} {
		t.Run(name, func(t *testing.T) {
			p := pod()
			var want bytes.Buffer
			if err := s.Encode(p, &want); err != nil {
				t.Fatal(err)
			}
			p.ResourceVersion = version
			got, err := api.EncodeStored(podInfo, p)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want.Bytes()) {
				t.Errorf("got\n%q\nwant\n%q", got, want.Bytes())
			}
			if p.ResourceVersion != version {
				t.Error("the object was written to")
			}
			back, err := api.DecodeStored(podInfo, got)
			if err != nil {
				t.Fatal(err)
			}
			p.ResourceVersion = ""
			if d := gocmp.Diff(p, back); d != "" {
				t.Errorf("decoded (-want +got):\n%s", d)
			}
		})
	}
}

func TestCustomResourcesAreStoredAsJSON(t *testing.T) {
	u := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "example.com/v1", "kind": "Widget",
		"metadata": map[string]any{"name": "a", "resourceVersion": "7"},
		"spec":     map[string]any{"size": int64(1) << 60},
	}}
	value, err := api.EncodeStored(crInfo, u)
	if err != nil {
		t.Fatal(err)
	}
	if u.GetResourceVersion() != "7" {
		t.Error("the object was written to")
	}
	raw, apiVersion, kind, err := api.RawStored(value)
	if err != nil || apiVersion != "example.com/v1" || kind != "Widget" {
		t.Fatalf("raw: %s %s %v", apiVersion, kind, err)
	}
	back, err := api.DecodeRaw(crInfo, api.WithVersion(raw, 8))
	if err != nil {
		t.Fatal(err)
	}
	u.SetResourceVersion("8")
	if d := gocmp.Diff(u, back); d != "" {
		t.Errorf("decoded (-want +got):\n%s", d)
	}
}

func TestDecodeStoredRefuses(t *testing.T) {
	stored, err := api.EncodeStored(podInfo, pod())
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		value, want string
	}{
		"another kind":          {string(api.Wrap("v1", "Secret", nil)), "stored value is a v1 Secret, not a v1 Pod"},
		"another version":       {string(api.Wrap("v1beta1", "Pod", nil)), "stored value is a v1beta1 Pod, not a v1 Pod"},
		"nothing":               {"", "value is neither protobuf nor JSON"},
		"a value cut short":     {string(stored[:40]), "malformed protobuf envelope"},
		"encrypted by upstream": {"k8s:enc:aescbc:v1:key1:...", "value is neither protobuf nor JSON"},
		"broken JSON":           {`{"kind":`, "unexpected end of JSON input"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := api.DecodeStored(podInfo, []byte(tt.value)); err == nil || err.Error() != tt.want {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

func TestWithVersion(t *testing.T) {
	for name, change := range map[string]func(*corev1.Pod){
		"where there is none":   func(*corev1.Pod) {},
		"over a shorter one":    func(p *corev1.Pod) { p.ResourceVersion = "9" },
		"over a longer one":     func(p *corev1.Pod) { p.ResourceVersion = "99999999999999" },
		"in a large metadata":   func(p *corev1.Pod) { p.Annotations = map[string]string{"a": strings.Repeat("y", 20000)} },
		"in an empty metadata":  func(p *corev1.Pod) { p.ObjectMeta = metav1.ObjectMeta{} },
		"at a length's border":  func(p *corev1.Pod) { p.ObjectMeta = metav1.ObjectMeta{Name: strings.Repeat("n", 118)} },
		"with generation after": func(p *corev1.Pod) { p.Generation = 1 << 40 },
	} {
		t.Run(name, func(t *testing.T) {
			p := pod()
			change(p)
			raw, err := p.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			before := bytes.Clone(raw)
			got := api.WithVersion(raw, 1234567)
			p.ResourceVersion = "1234567"
			want, err := p.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("got\n%q\nwant\n%q", got, want)
			}
			if !bytes.Equal(raw, before) {
				t.Error("the message was written to")
			}
		})
	}
}

// A list made of bytes is the list that Kubernetes' serializer makes of objects.
func TestProtobufListIsKubernetesOwnForm(t *testing.T) {
	for name, sizes := range map[string][]int{"empty": nil, "small items": {1, 200, 3}, "large ones between": {5, 20000, 7, 70000, 1}, "many": make([]int, 3000)} {
		t.Run(name, func(t *testing.T) {
			list := &corev1.PodList{TypeMeta: metav1.TypeMeta{Kind: "PodList", APIVersion: "v1"}, ListMeta: metav1.ListMeta{ResourceVersion: "44", Continue: "x"}}
			var raws [][]byte
			for _, n := range sizes {
				p := pod()
				p.TypeMeta = metav1.TypeMeta{}
				p.Annotations = map[string]string{"a": strings.Repeat("y", n)}
				raw, _ := p.Marshal()
				list.Items, raws = append(list.Items, *p), append(raws, raw)
			}
			var want, got bytes.Buffer
			if err := protobuf.NewSerializer(api.Scheme(), api.Scheme()).Encode(list, &want); err != nil {
				t.Fatal(err)
			}
			meta, _ := list.ListMeta.Marshal()
			l := api.NewProtobufList("v1", "PodList", meta, slices.Values(raws))
			n, err := l.WriteTo(&got)
			if err != nil || int(n) != l.Size() || got.Len() != l.Size() {
				t.Fatalf("wrote %d of %d: %v", n, l.Size(), err)
			}
			if !bytes.Equal(got.Bytes(), want.Bytes()) {
				t.Error("the bytes differ")
			}
		})
	}
}

func TestDecodeProtobuf(t *testing.T) {
	raw, _ := pod().Marshal()
	for name, tt := range map[string]struct {
		body      []byte
		gvk, want string
	}{
		"a pod":                        {api.Wrap("v1", "Pod", raw), "/v1, Kind=Pod", ""},
		"one that leaves out its type": {api.Wrap("", "", raw), "/v1, Kind=Pod", ""},
		"another kind is told":         {api.Wrap("v1", "Secret", nil), "/v1, Kind=Secret", ""},
		"a kind that is not ours":      {api.Wrap("x.io/v1", "Foo", nil), "x.io/v1, Kind=Foo", `no kind "Foo" is registered for version "x.io/v1" in scheme`},
		"nothing":                      {nil, "", "empty data"},
		"only the magic":               {[]byte("k8s\x00"), "", "empty body"},
		"JSON":                         {[]byte(`{}`), "", "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]"},
		"a message cut short":          {api.Wrap("v1", "Pod", raw[:len(raw)-1]), "/v1, Kind=Pod", "unexpected EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			_, gvk, err := api.DecodeProtobuf(podInfo, tt.body)
			if got := ""; gvk != nil {
				if got = gvk.String(); got != tt.gvk {
					t.Errorf("kind %q, want %q", got, tt.gvk)
				}
			}
			if (err == nil) != (tt.want == "") || err != nil && !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

func TestDecodeJSONIsStrict(t *testing.T) {
	for name, tt := range map[string]struct {
		yaml       bool
		body, want string
	}{
		"all known":                {false, `{"kind":"Pod","metadata":{"name":"a"}}`, ""},
		"an unknown field":         {false, `{"spec":{"foo":1}}`, `unknown field "spec.foo"`},
		"in a list":                {false, `{"spec":{"containers":[{},{"imag":"x"}]}}`, `unknown field "spec.containers[1].imag"`},
		"case matters":             {false, `{"Metadata":{"name":"a"}}`, `unknown field "Metadata"`},
		"a field given twice":      {false, `{"metadata":{"name":"a","name":"b"}}`, `duplicate field "metadata.name"`},
		"both":                     {false, `{"kind":"Pod","kind":"Pod","x":1}`, `duplicate field "kind"; unknown field "x"`},
		"a wrong type":             {false, `{"spec":{"containers":3}}`, "error: json: cannot unmarshal number into Go struct field PodSpec.spec.containers of type []v1.Container"},
		"YAML, unknown":            {true, "spec:\n  foo: 1\n", `unknown field "spec.foo"`},
		"YAML, a key given twice":  {true, "metadata:\n  name: a\n  name: b\n", "yaml: unmarshal errors:\n  line 3: key \"name\" already set in map"},
		"YAML that cannot be read": {true, "a: b: c", "error: yaml: mapping values are not allowed in this context"},
	} {
		t.Run(name, func(t *testing.T) {
			read := api.DecodeJSON
			if tt.yaml {
				read = yamljson.Decode
			}
			strict, err := read(&corev1.Pod{}, []byte(tt.body))
			var got []string
			for _, e := range strict {
				got = append(got, e.Error())
			}
			if err != nil {
				got = append(got, "error: "+err.Error())
			}
			if s := strings.Join(got, "; "); s != tt.want {
				t.Errorf("got  %s\nwant %s", s, tt.want)
			}
		})
	}
}

func TestDecodeJSONOfCustomResources(t *testing.T) {
	var u unstructured.Unstructured
	strict, err := api.DecodeJSON(&u, []byte(`{"kind":"Widget","spec":{"a":1,"a":2}}`))
	if err != nil || len(strict) != 1 || strict[0].Error() != `duplicate field "spec.a"` {
		t.Errorf("strict %v, err %v", strict, err)
	}
	if u.GetKind() != "Widget" {
		t.Errorf("got %v", u.Object)
	}
}

func TestEncodeJSONSaysWhatItIs(t *testing.T) {
	p := pod()
	p.TypeMeta = metav1.TypeMeta{}
	got, err := api.EncodeJSON(podInfo, p)
	if err != nil || !strings.HasPrefix(string(got), api.JSONPrefix(podInfo)+`"metadata":{"name":"web-0"`) {
		t.Errorf("got %s, %v", got, err)
	}
	p.Kind, p.APIVersion = "Secret", "v1"
	if _, err := api.EncodeJSON(podInfo, p); err == nil {
		t.Error("another kind was encoded")
	}
}

// testdata is the folder of k8s.io/api with one JSON and one protobuf document of each kind.
func testdata(t testing.TB) string {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "k8s.io/api").Output()
	dir := filepath.Join(strings.TrimSpace(string(out)), "testdata", "HEAD")
	if err == nil {
		_, err = os.Stat(dir)
	}
	if err != nil {
		t.Skipf("the source of k8s.io/api with its test data is not at hand: %v", err)
	}
	return dir
}

// Each kind of the scheme: its protobuf document decodes to what its JSON one does, and both come back the same.
func TestEveryKindOfKubernetes(t *testing.T) {
	dir := testdata(t)
	done := 0
	for gvk := range api.Scheme().AllKnownTypes() {
		group := gvk.Group
		if group == "" {
			group = "core"
		}
		name := filepath.Join(dir, group+"."+gvk.Version+"."+gvk.Kind)
		js, err := os.ReadFile(name + ".json")
		if err != nil {
			continue // lists and options have no document
		}
		pb, err := os.ReadFile(name + ".pb")
		if err != nil {
			t.Fatal(err)
		}
		o, err := api.Scheme().New(gvk)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := o.(api.Object); !ok {
			continue
		}
		done++
		i := &api.Info{Kind: gvk.Kind, New: func() api.Object { o, _ := api.Scheme().New(gvk); return o.(api.Object) }}
		i.Group, i.Version, i.Stored = gvk.Group, gvk.Version, i
		t.Run(gvk.String(), func(t *testing.T) { roundTrip(t, i, js, pb) })
	}
	if done < 60 {
		t.Errorf("only %d kinds had documents", done)
	}
}

func roundTrip(t *testing.T, i *api.Info, js, pb []byte) {
	var compact bytes.Buffer // as the raw JSON inside some objects is in the other document
	if err := json.Compact(&compact, js); err != nil {
		t.Fatal(err)
	}
	fromJSON := i.New()
	if strict, err := api.DecodeJSON(fromJSON, compact.Bytes()); err != nil || len(strict) > 0 {
		t.Fatalf("JSON: %v %v", strict, err)
	}
	fromPB, err := api.DecodeStored(i, pb)
	if err != nil {
		t.Fatal(err)
	}
	if !apiequality.Semantic.DeepEqual(fromJSON, fromPB) {
		t.Errorf("JSON and protobuf differ:\n%s", gocmp.Diff(fromJSON, fromPB))
	}
	encode := func() []byte {
		var b bytes.Buffer
		if err := protobuf.NewSerializer(api.Scheme(), api.Scheme()).Encode(fromPB, &b); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	if !bytes.Equal(encode(), pb) {
		t.Error("the document does not come back the same")
	}
	stored, err := api.EncodeStored(i, fromPB)
	if err != nil {
		t.Fatal(err)
	}
	raw, apiVersion, kind, err := api.RawStored(stored)
	if err != nil {
		t.Fatal(err)
	}
	fromPB.SetResourceVersion("")
	if !bytes.Equal(stored, encode()) {
		t.Error("the stored form is not Kubernetes' own")
	}
	fromPB.SetResourceVersion("77")
	if !bytes.Equal(api.Wrap(apiVersion, kind, api.WithVersion(raw, 77)), encode()) {
		t.Error("the message with a version set is not what encoding gives")
	}
	data, err := api.EncodeJSON(i, fromPB)
	if err != nil {
		t.Fatal(err)
	}
	back := i.New()
	if strict, err := api.DecodeJSON(back, data); err != nil || len(strict) > 0 || !apiequality.Semantic.DeepEqual(back, fromPB) {
		t.Errorf("JSON does not come back the same: %v %v", strict, err)
	}
}
