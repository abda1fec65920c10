package registry

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// TestNewInvalid: what it says is what the library says.
func TestNewInvalid(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	kind := schema.GroupKind{Group: "apps", Kind: "Deployment"}
	for range 500 {
		var errs field.ErrorList
		for range r.IntN(6) {
			at := field.NewPath("spec").Index(r.IntN(3))
			switch r.IntN(6) {
			case 0:
				errs = append(errs, field.Required(at, ""))
			case 1:
				errs = append(errs, field.Invalid(at, []string{"a", fmt.Sprint(r.IntN(2))}, "no"))
			case 2:
				errs = append(errs, field.Forbidden(nil, "not so"))
			case 3:
				errs = append(errs, field.Duplicate(at, "x").MarkFromImperative())
			case 4:
				errs = append(errs, field.NotSupported(at, "z", []string{"b", "a"}))
			case 5:
				errs = append(errs, field.TooMany(at, 3, 2))
			}
		}
		got, want := newInvalid(kind, "n", errs).ErrStatus, apierrors.NewInvalid(kind, "n", errs).ErrStatus
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("got  %+v\nwant %+v", got, want)
		}
	}
}
