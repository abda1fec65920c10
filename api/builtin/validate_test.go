package builtin

import (
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/api/yamljson"
)

// rule is one story: what a user sends, over what is stored, and the complaints, a line each.
type rule struct {
	old, doc string
	status   bool // sent to the status subresource
	want     string
}

func testRules(t *testing.T, rules map[string]rule) {
	for name, r := range rules {
		t.Run(name, func(t *testing.T) {
			i, obj := read(t, r.doc)
			var old api.Object
			if r.old != "" {
				_, old = read(t, r.old)
				i.Default(old)
			}
			i.Default(obj)
			validate := i.Validate
			if r.status {
				next := old.DeepCopyObject().(api.Object)
				i.CopyStatus(next, obj)
				obj, validate = next, i.ValidateStatus
			} else {
				i.Prepare(obj, old)
			}
			before := obj.DeepCopyObject()
			var got []string
			if old == nil && i.ValidateName != nil {
				for _, msg := range i.ValidateName(obj.GetName(), false) {
					got = append(got, "metadata.name: "+msg)
				}
			}
			for _, err := range validate(obj, old) {
				got = append(got, err.Error())
			}
			if d := gocmp.Diff(strings.TrimSpace(r.want), strings.Join(got, "\n")); d != "" {
				t.Errorf("complaints (-want +got):\n%s", d)
			}
			if d := gocmp.Diff(before, obj); d != "" {
				t.Errorf("validation wrote to the object:\n%s", d)
			}
		})
	}
}

func read(t *testing.T, doc string) (*api.Info, api.Object) {
	t.Helper()
	doc = strings.ReplaceAll(doc, "\t", "  ")
	var kind metav1.TypeMeta
	if err := yaml.Unmarshal([]byte(doc), &kind); err != nil {
		t.Fatal(err)
	}
	for _, i := range All() {
		if i.GroupVersion().String() == kind.APIVersion && i.Kind == kind.Kind {
			obj := i.New()
			if strict, err := yamljson.Decode(obj, []byte(doc)); err != nil || len(strict) > 0 {
				t.Fatal(err, strict)
			}
			return i, obj
		}
	}
	t.Fatalf("no record of %v", kind)
	return nil, nil
}
