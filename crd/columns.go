package crd

import (
	"bytes"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/client-go/util/jsonpath"

	"github.com/lighter-k8s/lighter/api"
)

// columns are those of kubectl get: the name, and what the definition lists or the age alone.
// Source: Kubernetes documentation, Additional printer columns.
func columns(list []apiextensionsv1.CustomResourceColumnDefinition) []api.Column[api.Object] {
	if len(list) == 0 {
		return age()
	}
	return shown(list)
}

// age is shared by all who list no columns.
var age = sync.OnceValue(func() []api.Column[api.Object] {
	return shown([]apiextensionsv1.CustomResourceColumnDefinition{{Name: "Age", Type: "date", JSONPath: ".metadata.creationTimestamp",
		Description: metav1.ObjectMeta{}.SwaggerDoc()["creationTimestamp"]}})
})

func shown(list []apiextensionsv1.CustomResourceColumnDefinition) []api.Column[api.Object] {
	out := make([]api.Column[api.Object], 0, len(list)+1)
	out = append(out, api.NameColumn())
	for _, c := range list {
		help := c.Description
		if help == "" {
			help = fmt.Sprintf("Custom resource definition column (in JSONPath format): %s", c.JSONPath)
		}
		out = append(out, api.Column[api.Object]{Name: strings.Clone(c.Name), Type: c.Type, Format: c.Format, Priority: c.Priority, Help: help,
			Show: cell(strings.Clone(c.Type), strings.Clone(c.JSONPath))})
	}
	return out
}

// cell shows what is at a path; nil: nothing.
func cell(kind, path string) func(api.Object) any {
	parsed := sync.Pool{New: func() any { // one of them cannot be used by two at a time
		p := jsonpath.New("column").AllowMissingKeys(true)
		if err := p.Parse("{" + path + "}"); err != nil {
			return err
		}
		return p
	}}
	return func(o api.Object) any {
		p, ok := parsed.Get().(*jsonpath.JSONPath)
		if !ok {
			return nil
		}
		defer parsed.Put(p)
		found, err := p.FindResults(o.(*unstructured.Unstructured).Object)
		if err != nil || len(found) == 0 || len(found[0]) == 0 {
			return nil
		}
		value := found[0][0].Interface()
		if kind != "string" {
			return scalar(kind, value)
		}
		var text bytes.Buffer
		if err := p.PrintResults(&text, []reflect.Value{reflect.ValueOf(value)}); err != nil {
			return nil
		}
		return text.String()
	}
}

// scalar is a cell of a type other than string; nil: the value is of another.
func scalar(kind string, value any) any {
	switch kind {
	case "integer":
		switch n := value.(type) {
		case int64:
			return n
		case float64:
			return int64(n)
		}
	case "number":
		switch n := value.(type) {
		case int64:
			return float64(n)
		case float64:
			return n
		}
	case "boolean":
		if b, ok := value.(bool); ok {
			return b
		}
	case "date":
		text, ok := value.(string)
		if !ok {
			return nil
		}
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			return "<invalid>"
		}
		return duration.HumanDuration(time.Since(at))
	}
	return nil
}

// selectable is the value of a selectable field, as text. Source: Kubernetes documentation, Selectable fields for custom resources.
func selectable(path string) func(api.Object) string {
	keys := keysOf(path)
	return func(o api.Object) string {
		value, _ := at(o.(*unstructured.Unstructured).Object, keys)
		switch v := value.(type) {
		case string:
			return v
		case bool:
			return strconv.FormatBool(v)
		case int64:
			return strconv.FormatInt(v, 10)
		}
		return ""
	}
}

// keysOf are the steps of a JSON path without array notation, ".spec.replicas".
func keysOf(path string) []string {
	return strings.Split(strings.Clone(strings.TrimPrefix(path, ".")), ".")
}

// at is the value below some keys.
func at(obj map[string]any, keys []string) (any, bool) {
	for _, k := range keys[:len(keys)-1] {
		next, ok := obj[k].(map[string]any)
		if !ok {
			return nil, false
		}
		obj = next
	}
	value, ok := obj[keys[len(keys)-1]]
	return value, ok
}
