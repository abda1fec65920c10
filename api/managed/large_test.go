package managed

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/structured-merge-diff/v6/typed"

	"github.com/lighter-k8s/lighter/api"
)

// TestLargeAsLibrary: objects at random, applied to by several and updated by others, become what the library makes of them, conflicts and
// what is not of the type included.
func TestLargeAsLibrary(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("LIGHTER_SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
	}
	t.Logf("LIGHTER_SEED=%d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	i := &api.Info{GroupVersionResource: schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "severals"}, Kind: "Several", StoreKey: "x",
		New: func() api.Object {
			return &unstructured.Unstructured{Object: map[string]any{"apiVersion": "example.com/v1", "kind": "Several"}}
		},
		Typed: func() (typed.ParseableType, error) { return several, nil }}
	i.Stored = i
	show := func(v any) string { b, _ := json.Marshal(v); return string(b) }
	lines := func(err error) string {
		l := strings.FieldsFunc(strings.ReplaceAll(err.Error(), ": conflicts", "\nconflicts"), func(c rune) bool { return c == '\n' })
		slices.Sort(l)
		return strings.Join(l, "\n")
	}
	merged, conflicts, elsewhere, refused := 0, 0, 0, 0
	rounds := 200
	if os.Getenv("PROVE") != "" {
		rounds = 10000
	}
	for range rounds {
		var old *unstructured.Unstructured
		configs := map[string]map[string]any{}
		odd := []int{0, 0, 100, 25}[r.IntN(4)]
		for step := range 6 {
			manager := fmt.Sprint("m", r.IntN(3))
			if old != nil && r.IntN(4) == 0 { // somebody writes
				content, ok := changed(r, odd, old.Object, 5, "root").(map[string]any)
				if !ok {
					continue
				}
				for _, key := range []string{"apiVersion", "kind", "metadata"} {
					content[key] = old.DeepCopy().Object[key]
				}
				next := &unstructured.Unstructured{Object: content}
				Update(i, old, next, Write{Manager: manager, Now: time.Unix(int64(1e9+step), 0)})
				old = next
				continue
			}
			content := configs[manager]
			if content == nil || r.IntN(4) == 0 {
				content, _ = grown(r, odd, 5, "root").(map[string]any)
			} else {
				content = changed(r, odd, content, 5, "root").(map[string]any)
			}
			if content == nil {
				continue
			}
			configs[manager] = content
			config := (&unstructured.Unstructured{Object: content}).DeepCopy()
			config.SetAPIVersion("example.com/v1")
			config.SetKind("Several")
			config.SetName("a")
			a := Apply{Manager: manager, Force: r.IntN(2) == 0, Now: time.Unix(int64(1e9+step), 0), Versions: []*api.Info{i}}
			k := kinds{i, a.Versions, map[*api.Info]typed.ParseableType{}}
			if step%2 == 0 { // of which what is merged shares memory
				single := *i
				single.Custom = &api.Custom{Single: true}
				k.info = &single
			}
			var before, live api.Object = nil, i.New()
			if old != nil {
				before, live = old, old
			}
			untouched := show(live) + show(config)
			want, failed := a.Merge(i, before, config)
			got, done, err := a.large(k, before, live, config.DeepCopy())
			if show(live)+show(config) != untouched {
				t.Fatalf("LIGHTER_SEED=%d: what was given was written to", seed)
			}
			what := fmt.Sprintf("LIGHTER_SEED=%d: %s by %s, force %v:\n%s\nonto\n%s", seed, i.Kind, manager, a.Force, show(config), show(live))
			switch {
			case !done:
				elsewhere++
			case (err == nil) != (failed == nil):
				t.Fatalf("%s\ngot %v\nwant %v", what, err, failed)
			case err != nil && lines(err) != lines(failed):
				t.Fatalf("%s\ngot %v\nwant %v", what, err, failed)
			case err != nil && strings.Contains(err.Error(), "Apply failed"):
				conflicts++
			case err != nil:
				refused++
			case show(got) != show(want):
				t.Fatalf("%s\ngot\n%s\nwant\n%s", what, show(got), show(want))
			default:
				merged++
			}
			if failed == nil {
				old = want.(*unstructured.Unstructured)
				old.SetUID("u")
			}
		}
	}
	t.Logf("%d merged, %d in conflict, %d refused, %d left to others", merged, conflicts, refused, elsewhere)
	if merged < 200 || conflicts < 10 || refused < 20 || elsewhere > merged/2 {
		t.Error("too few of a kind")
	}
}

// TestLargePod: the same of a kind with a Go type, whose objects are read as JSON.
func TestLargePod(t *testing.T) {
	i, old, config := applied(t)
	image := config.DeepCopy()
	containers, _, _ := unstructured.NestedSlice(image.Object, "spec", "containers")
	containers[0].(map[string]any)["image"] = "another"
	if err := unstructured.SetNestedSlice(image.Object, containers, "spec", "containers"); err != nil {
		t.Fatal(err)
	}
	label := config.DeepCopy()
	label.SetLabels(map[string]string{"another": "label"})
	zero := config.DeepCopy()
	unstructured.RemoveNestedField(zero.Object, "spec", "containers")
	if err := unstructured.SetNestedField(zero.Object, "", "spec", "hostname"); err != nil {
		t.Fatal(err)
	}
	kindless := old.DeepCopyObject().(api.Object)
	kindless.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	part := label.DeepCopy() // of what is there
	part.SetLabels(nil)
	unstructured.RemoveNestedField(part.Object, "spec")
	part.Object["spec"] = map[string]any{}
	less := config.DeepCopy()
	unstructured.RemoveNestedField(less.Object, "spec", "containers")
	for name, tt := range map[string]struct {
		old    api.Object
		by     string
		config *unstructured.Unstructured
		force  bool
	}{
		"a new one":               {nil, "kubectl", config, false},
		"again":                   {old, "kubectl", config, false},
		"another image":           {old, "kubectl", image, false},
		"another label":           {old, "kubectl", label, false},
		"no containers":           {old, "kubectl", less, false},
		"the same by another":     {old, "other", config, false},
		"nothing new by another":  {kindless, "other", config, false},
		"nothing":                 {kindless, "other", part, false},
		"what is empty":           {old, "other", zero, false},
		"in conflict":             {old, "other", image, false},
		"in conflict, with force": {old, "other", image, true},
	} {
		t.Run(name, func(t *testing.T) {
			a := Apply{Manager: tt.by, Force: tt.force, Now: time.Unix(2e9, 0)}
			live := tt.old
			if live == nil {
				live = i.New()
			}
			want, failed := a.Merge(i, tt.old, tt.config)
			got, done, err := a.large(kinds{i, nil, map[*api.Info]typed.ParseableType{}}, tt.old, live, tt.config.DeepCopy())
			if !done || fmt.Sprint(err) != fmt.Sprint(failed) {
				t.Fatalf("%v, got %v, want %v", done, err, failed)
			}
			if err != nil {
				return
			}
			g, _ := json.Marshal(got)
			w, _ := json.Marshal(want)
			if string(g) != string(w) {
				t.Errorf("got\n%s\nwant\n%s", g, w)
			}
		})
	}
}
