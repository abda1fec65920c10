package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// mostComplaints is how many a client is told of at once.
const mostComplaints = 250

// Enough tells that so many complaints were found that a client hears of no further one, so that nobody need look for more.
func Enough(errs field.ErrorList) bool { return len(errs) > mostComplaints }

// Further stands for complaints that are not told.
func Further(n int) *field.Error {
	return &field.Error{Type: field.ErrorTypeTooMany, Field: "<nil>", BadValue: n, Detail: fmt.Sprintf("at least %d more complaints", n)}
}

// Plainly gives complaints whose values are structures as Kubernetes writes them: by the names of their Go fields, with
// those that are empty. What its messages show are types without JSON names; those of k8s.io/apimachinery have them. Of very
// many it gives the first: a message of all of them would take time by the square of their number.
func Plainly(errs field.ErrorList) field.ErrorList {
	if more := len(errs) - mostComplaints; more > 0 {
		errs = append(errs[:mostComplaints:mostComplaints], Further(more))
	}
	for i, e := range errs {
		v := reflect.ValueOf(e.BadValue)
		for v.Kind() == reflect.Pointer && !v.IsNil() {
			v = v.Elem()
		}
		if !structured(v) {
			continue
		}
		copied := *e
		copied.BadValue = bare{v}
		errs[i] = &copied
	}
	return errs
}

// structured tells whether a value is, or lists, a structure of k8s.io/api.
func structured(v reflect.Value) bool {
	if !v.IsValid() {
		return false
	}
	t := v.Type()
	for t.Kind() == reflect.Slice || t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t.Kind() == reflect.Struct && ofAPI(t)
}

func ofAPI(t reflect.Type) bool { return strings.HasPrefix(t.PkgPath(), "k8s.io/api/") }

type bare struct{ v reflect.Value }

func (b bare) MarshalJSON() ([]byte, error) {
	var out bytes.Buffer
	err := plainly(&out, b.v)
	return out.Bytes(), err
}

// String is what a message without JSON would show.
func (b bare) String() string { data, _ := b.MarshalJSON(); return string(data) }

func plainly(out *bytes.Buffer, v reflect.Value) error {
	switch {
	case v.Kind() == reflect.Pointer && !v.IsNil():
		return plainly(out, v.Elem())
	case v.Kind() == reflect.Slice && !v.IsNil() && v.Type().Elem().Kind() != reflect.Uint8:
		out.WriteByte('[')
		for i := range v.Len() {
			if i > 0 {
				out.WriteByte(',')
			}
			if err := plainly(out, v.Index(i)); err != nil {
				return err
			}
		}
		out.WriteByte(']')
	case v.Kind() == reflect.Struct && ofAPI(v.Type()):
		out.WriteByte('{')
		if err := fieldsPlainly(out, v, out.Len()); err != nil {
			return err
		}
		out.WriteByte('}')
	default:
		data, err := json.Marshal(v.Interface())
		out.Write(data)
		return err
	}
	return nil
}

// fieldsPlainly writes a structure's fields into the braces that were opened before start.
func fieldsPlainly(out *bytes.Buffer, v reflect.Value, start int) error {
	if !ofAPI(v.Type()) {
		data, err := json.Marshal(v.Interface())
		if err == nil && len(data) > len("{}") {
			if out.Len() > start {
				out.WriteByte(',')
			}
			out.Write(data[1 : len(data)-1])
		}
		return err
	}
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if f.Name == "TypeMeta" {
			continue // empty there
		}
		if f.Anonymous { // its fields stand among the others
			if err := fieldsPlainly(out, v.Field(i), start); err != nil {
				return err
			}
			continue
		}
		if out.Len() > start {
			out.WriteByte(',')
		}
		out.WriteString(`"` + f.Name + `":`)
		if err := plainly(out, v.Field(i)); err != nil {
			return err
		}
	}
	return nil
}
