package openapi

import (
	"cmp"
	"reflect"
	"slices"
	"strings"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// parameter is one of a URL's path or query.
type parameter struct{ name, in, kind, text string }

func (p parameter) compare(q parameter) int {
	return cmp.Or(cmp.Compare(p.name, q.name), cmp.Compare(p.in, q.in))
}

// query are the parameters of each kind of operation.
type query struct{ get, list, create, update, patch, delete, deleteAll []parameter }

// queries are read off the types that the parameters become.
var queries = sync.OnceValue(func() query {
	q := query{list: options(reflect.TypeFor[metav1.ListOptions]()), create: options(reflect.TypeFor[metav1.CreateOptions]()), update: options(reflect.TypeFor[metav1.UpdateOptions]()),
		patch: options(reflect.TypeFor[metav1.PatchOptions]()), delete: options(reflect.TypeFor[metav1.DeleteOptions]()), get: options(reflect.TypeFor[metav1.GetOptions]())}
	one := slices.DeleteFunc(slices.Clone(q.list), func(p parameter) bool { return p.name == "watch" || p.name == "allowWatchBookmarks" })
	q.deleteAll = slices.Concat(q.delete, one)
	slices.SortFunc(q.deleteAll, parameter.compare)
	return q
})

// options are the query parameters that are read into a struct: its fields that are no structs themselves.
func options(t reflect.Type) (out []parameter) {
	docs := map[string]string{}
	if d, ok := reflect.Zero(t).Interface().(documented); ok {
		docs = d.SwaggerDoc()
	}
	for n := range t.NumField() {
		f := t.Field(n)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		of := f.Type
		for of.Kind() == reflect.Pointer || of.Kind() == reflect.Slice {
			of = of.Elem()
		}
		kind := map[reflect.Kind]string{reflect.String: "string", reflect.Bool: "boolean", reflect.Int64: "integer", reflect.Int32: "integer"}[of.Kind()]
		if name != "" && kind != "" {
			out = append(out, parameter{name, "query", kind, docs[name]})
		}
	}
	slices.SortFunc(out, parameter.compare)
	return out
}

// describe is the parameters as the document of a version says them.
func describe(list []parameter, v3 bool) []doc {
	out := []doc{}
	for _, p := range list {
		d := doc{"name": p.name, "in": p.in, "description": p.text}
		if p.in == "path" {
			d["required"] = true
		}
		if v3 {
			d["schema"] = doc{"type": p.kind, "uniqueItems": true}
		} else {
			d["type"], d["uniqueItems"] = p.kind, true
		}
		out = append(out, d)
	}
	return out
}
