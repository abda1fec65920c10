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

func (b bare) MarshalJSON() ([]byte, error) { return plainly(b.v) }

// String is what a message without JSON would show.
func (b bare) String() string { data, _ := plainly(b.v); return string(data) }

func plainly(v reflect.Value) ([]byte, error) {
	var out bytes.Buffer
	add := func(first bool, name string, v reflect.Value) error {
		if !first {
			out.WriteByte(',')
		}
		if name != "" {
			out.WriteString(`"` + name + `":`)
		}
		data, err := plainly(v)
		out.Write(data)
		return err
	}
	switch {
	case v.Kind() == reflect.Pointer && !v.IsNil():
		return plainly(v.Elem())
	case v.Kind() == reflect.Slice && !v.IsNil() && v.Type().Elem().Kind() != reflect.Uint8:
		out.WriteByte('[')
		for i := range v.Len() {
			if err := add(i == 0, "", v.Index(i)); err != nil {
				return nil, err
			}
		}
		out.WriteByte(']')
		return out.Bytes(), nil
	case v.Kind() == reflect.Struct && ofAPI(v.Type()):
		out.WriteByte('{')
		first := true
		for i := range v.NumField() {
			f := v.Type().Field(i)
			if f.Name == "TypeMeta" {
				continue // empty there
			}
			if f.Anonymous { // its fields stand among the others
				data, err := plainly(v.Field(i))
				if err != nil {
					return nil, err
				}
				if data = data[1 : len(data)-1]; len(data) > 0 {
					if !first {
						out.WriteByte(',')
					}
					out.Write(data)
					first = false
				}
				continue
			}
			if err := add(first, f.Name, v.Field(i)); err != nil {
				return nil, err
			}
			first = false
		}
		out.WriteByte('}')
		return out.Bytes(), nil
	}
	return json.Marshal(v.Interface())
}
