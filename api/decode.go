package api

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	kjson "sigs.k8s.io/json"
)

// DecodeJSON reads a request's JSON body into obj. Names of fields must have the
// right case. strict lists what strict field validation refuses and a lenient one
// warns of: fields unknown to obj (`unknown field "spec.foo"`) and fields
// given twice (`duplicate field "metadata.name"`); err is what nobody can read.
func DecodeJSON(obj runtime.Object, body []byte) (strict []error, err error) {
	if u, ok := obj.(*unstructured.Unstructured); ok {
		m := map[string]any{}
		strict, err = kjson.UnmarshalStrict(body, &m)
		if u.Object = m; m == nil { // "null"
			u.Object = map[string]any{}
		}
		return strict, err
	}
	return kjson.UnmarshalStrict(body, obj)
}
