package resource

import (
	"encoding/json"
	"maps"
	"reflect"
	"regexp"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	kjson "sigs.k8s.io/json"

	"github.com/lighter-k8s/lighter/api"
)

// moved is the record of v1beta1, where what v1 has in a request's "exactly" lies in the request itself, and what a device is
// lies in "basic" below its name. All else is called the same. Source: the types' comments of both versions.
func moved[T api.Object](of *api.Info) *api.Info {
	i := api.Version(of, "v1beta1", func(obj T) (api.Object, error) {
		out := of.New()
		err := rebuild(obj, out, lower, lift)
		out.GetObjectKind().SetGroupVersionKind(of.GVK())
		return out, err
	}, func(stored api.Object) (out T, err error) {
		out = reflect.New(reflect.TypeFor[T]().Elem()).Interface().(T)
		err = rebuild(stored, out, raise, sink)
		out.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{Group: group, Version: "v1beta1", Kind: of.Kind})
		return out, err
	})
	all := i.Validate
	i.Validate = func(obj, old api.Object) field.ErrorList {
		errs := all(obj, old)
		for _, e := range errs {
			e.Field = inDevice.ReplaceAllString(inRequest.ReplaceAllString(e.Field, "$1.$2"), "$1.basic.$2")
		}
		return errs
	}
	return i
}

// Fields whose rules are those of the types' markers are called in complaints as v1beta1 has them; of others v1's names are told.
var (
	inRequest = regexp.MustCompile(`^((?:spec\.)+devices\.requests\[\d+\])\.exactly\.(allocationMode|tolerations\[\d+\]\.(?:key|operator|effect))`)
	inDevice  = regexp.MustCompile(`^(spec\.devices\[\d+\])\.(attributes|consumesCounters|taints\[\d+\]\.effect)`)
)

// rebuild makes one object of another, by way of JSON, with each request and each device changed.
func rebuild(from, to any, request, device func(map[string]any)) error {
	data, err := json.Marshal(from)
	if err != nil {
		return err
	}
	var tree map[string]any
	if err := kjson.UnmarshalCaseSensitivePreserveInts(data, &tree); err != nil {
		return err
	}
	spec := within(tree, "spec")
	each(within(spec, "devices")["requests"], request)                 // of a claim
	each(within(within(spec, "spec"), "devices")["requests"], request) // of a template
	each(spec["devices"], device)                                      // of a slice
	if data, err = json.Marshal(tree); err != nil {
		return err
	}
	return kjson.UnmarshalCaseSensitivePreserveInts(data, to)
}

func within(tree map[string]any, name string) map[string]any {
	m, _ := tree[name].(map[string]any)
	return m
}

func each(list any, do func(map[string]any)) {
	items, _ := list.([]any)
	for _, item := range items {
		if m, ok := item.(map[string]any); ok {
			do(m)
		}
	}
}

// down moves all fields but those that stay into one of the name.
func down(m map[string]any, name string, stay ...string) {
	inner := maps.Clone(m)
	for _, key := range stay {
		delete(inner, key)
	}
	for key := range inner {
		delete(m, key)
	}
	m[name] = inner
}

// up moves the fields within one of the name out of it.
func up(m map[string]any, name string) {
	inner := within(m, name)
	delete(m, name)
	maps.Copy(m, inner)
}

// lower is a request of v1beta1 as v1 has it: one that asks for nothing itself has alternatives.
func lower(m map[string]any) {
	if m["deviceClassName"] == "" {
		delete(m, "deviceClassName")
	}
	stay := 0
	for _, key := range []string{"name", "firstAvailable"} {
		if _, ok := m[key]; ok {
			stay++
		}
	}
	if len(m) > stay {
		down(m, "exactly", "name", "firstAvailable")
	}
}

func raise(m map[string]any) { up(m, "exactly") }
func lift(m map[string]any)  { up(m, "basic") }
func sink(m map[string]any)  { down(m, "basic", "name") }
