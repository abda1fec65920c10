package registry

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

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

// TestNewInvalidOfMuch: a complaint that shows a large value says what is wrong with it, and others are told beside it as far as there is room.
func TestNewInvalidOfMuch(t *testing.T) {
	kind := schema.GroupKind{Kind: "ConfigMap"}
	large := strings.Repeat("\u00e4", 1<<20)
	at := field.NewPath("data")
	errs := field.ErrorList{field.Required(at.Key("a"), ""), field.Invalid(at.Key("b"), large, "field is immutable"), field.Required(at.Key("c"), "")}
	got := newInvalid(kind, "n", errs).ErrStatus
	if len(got.Message) > 2*mostText || !utf8.ValidString(got.Message) || len(got.Details.Causes) != 3 {
		t.Fatalf("%d bytes, %d causes", len(got.Message), len(got.Details.Causes))
	}
	if m := got.Details.Causes[1].Message; !strings.HasPrefix(m, "Invalid value: \"\u00e4") || !strings.HasSuffix(m, "\u00e4\": field is immutable") {
		t.Errorf("%.40s ... %s", m, m[len(m)-40:])
	}
	if !strings.HasSuffix(got.Message, "at least 1 more complaints]") {
		t.Error(got.Message[len(got.Message)-80:])
	}
}
