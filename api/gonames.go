package api

import (
	"encoding/json"
	"reflect"
	"strings"
)

// GoNames is a value as JSON with the names that fields have in Go: so upstream shows a part of an object in a message.
func GoNames(v any) any {
	var b strings.Builder
	writeGoNames(&b, reflect.ValueOf(v))
	return json.RawMessage(b.String())
}

func writeGoNames(b *strings.Builder, v reflect.Value) {
	list := func(open, end string, n int, one func(i int)) {
		b.WriteString(open)
		for i := range n {
			if i > 0 {
				b.WriteByte(',')
			}
			one(i)
		}
		b.WriteString(end)
	}
	switch {
	case !v.IsValid(), (v.Kind() == reflect.Pointer || v.Kind() == reflect.Slice || v.Kind() == reflect.Map) && v.IsNil():
		b.WriteString("null")
	case v.Kind() == reflect.Pointer:
		writeGoNames(b, v.Elem())
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() != reflect.Uint8:
		list("[", "]", v.Len(), func(i int) { writeGoNames(b, v.Index(i)) })
	case v.Kind() == reflect.Struct && strings.HasPrefix(v.Type().PkgPath(), "k8s.io/api/"):
		list("{", "}", v.NumField(), func(i int) {
			b.WriteString(`"` + v.Type().Field(i).Name + `":`)
			writeGoNames(b, v.Field(i))
		})
	default:
		data, err := json.Marshal(v.Interface())
		if err != nil { // a value of an API type has a JSON form
			data = []byte("null")
		}
		b.Write(data)
	}
}
