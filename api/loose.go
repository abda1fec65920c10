package api

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Objects without a Go type are maps, lists and scalars of JSON. What is done to all of their values is done here by a walk: the
// libraries' ways lead through reflection, and for managedFields through JSON and back.

// appendLoose appends a value as encoding/json does.
func appendLoose(dst []byte, v any) ([]byte, error) {
	switch v := v.(type) {
	case nil:
		return append(dst, "null"...), nil
	case string:
		return AppendString(dst, v), nil
	case bool:
		return strconv.AppendBool(dst, v), nil
	case int64:
		return strconv.AppendInt(dst, v, 10), nil
	case map[string]any:
		if v == nil {
			return append(dst, "null"...), nil
		}
		return appendLooseMap(dst, v, "")
	case []any:
		if v == nil {
			return append(dst, "null"...), nil
		}
		dst = append(dst, '[')
		for n, item := range v {
			if n > 0 {
				dst = append(dst, ',')
			}
			var err error
			if dst, err = appendLoose(dst, item); err != nil {
				return dst, err
			}
		}
		return append(dst, ']'), nil
	}
	data, err := json.Marshal(v) // a float, or what has no business there
	return append(dst, data...), err
}

// sorting holds the keys of maps while they are sorted: those of a map within another behind the other's.
var sorting = sync.Pool{New: func() any { return new([]string) }}

// appendLooseMap appends a map behind what is to stand first in it, which it has not again.
func appendLooseMap(dst []byte, m map[string]any, first string) ([]byte, error) {
	pooled := sorting.Get().(*[]string)
	keys := slices.AppendSeq(slices.Grow((*pooled)[:0], len(m)), maps.Keys(m))
	slices.Sort(keys)
	defer func() {
		clear(keys)
		if *pooled = keys[:0]; cap(keys) <= 4096 {
			sorting.Put(pooled)
		}
	}()
	dst = append(dst, '{')
	dst = append(dst, first...)
	start := len(dst)
	for _, key := range keys {
		if first != "" && (key == "kind" || key == "apiVersion") {
			continue
		}
		if len(dst) > start {
			dst = append(dst, ',')
		}
		dst = append(AppendString(dst, key), ':')
		var err error
		if dst, err = appendLoose(dst, m[key]); err != nil {
			return dst, err
		}
	}
	return append(dst, '}'), nil
}

// looseJSON is an object behind the prefix that says what it is.
func looseJSON(prefix string, o map[string]any) ([]byte, error) {
	if len(o) <= 2 { // perhaps nothing else is there
		o = maps.Clone(o)
		delete(o, "kind")
		delete(o, "apiVersion")
		if len(o) == 0 {
			o = map[string]any{"metadata": map[string]any{}}
		}
	}
	return appendLooseMap(make([]byte, 0, len(prefix)+looseSize(o)), o, prefix[1:])
}

// looseSize is about how many bytes a value takes as JSON, more rather than less where it has nothing to be escaped.
func looseSize(v any) (n int) {
	switch v := v.(type) {
	case string:
		return len(v) + 2
	case map[string]any:
		for key, of := range v {
			n += len(key) + 4 + looseSize(of)
		}
		return n + 2
	case []any:
		for _, of := range v {
			n += 1 + looseSize(of)
		}
		return n + 2
	case int64:
		return len(strconv.AppendInt(make([]byte, 0, 20), v, 10))
	}
	return 5
}

// Owners are an object's managedFields.
func Owners(o Object) []metav1.ManagedFieldsEntry { return owners(o, true) }

// owners are without their fields, which are most of them, where nobody asks for these.
func owners(o Object, fields bool) []metav1.ManagedFieldsEntry {
	u, ok := o.(*unstructured.Unstructured)
	if !ok {
		return o.GetManagedFields()
	}
	meta, _ := u.Object["metadata"].(map[string]any)
	list, ok := meta["managedFields"].([]any)
	if !ok || len(list) == 0 {
		return o.GetManagedFields()
	}
	out := make([]metav1.ManagedFieldsEntry, len(list))
	for n, of := range list {
		m, ok := of.(map[string]any)
		if !ok {
			return o.GetManagedFields()
		}
		for key, v := range m {
			said, is := v.(string)
			e := &out[n]
			switch key {
			case "manager":
				e.Manager = said
			case "operation":
				e.Operation = metav1.ManagedFieldsOperationType(said)
			case "apiVersion":
				e.APIVersion = said
			case "fieldsType":
				e.FieldsType = said
			case "subresource":
				e.Subresource = said
			case "time":
				at, err := time.Parse(time.RFC3339, said)
				if is = is && err == nil; is {
					e.Time = &metav1.Time{Time: at.Local()}
				}
			case "fieldsV1":
				var of map[string]any
				if of, is = v.(map[string]any); is && fields {
					raw, err := appendLooseMap(make([]byte, 0, looseSize(of)), of, "")
					e.FieldsV1, is = metav1.NewFieldsV1(text(raw)), err == nil
				}
			}
			if !is { // the library says what becomes of that
				return o.GetManagedFields()
			}
		}
	}
	return out
}

// SharedOwners tells whether two objects without a Go type have one list of owners in memory.
func SharedOwners(a, b Object) bool {
	of := func(o Object) []any {
		u, ok := o.(*unstructured.Unstructured)
		if !ok {
			return nil
		}
		meta, _ := u.Object["metadata"].(map[string]any)
		list, _ := meta["managedFields"].([]any)
		return list
	}
	p, q := of(a), of(b)
	return len(p) > 0 && len(p) == len(q) && &p[0] == &q[0]
}

// SetOwners sets an object's managedFields.
func SetOwners(o Object, entries []metav1.ManagedFieldsEntry) {
	u, ok := o.(*unstructured.Unstructured)
	meta, isMap := map[string]any(nil), false
	if ok {
		meta, isMap = u.Object["metadata"].(map[string]any)
	}
	if !isMap || entries == nil {
		o.SetManagedFields(entries)
		return
	}
	list := make([]any, len(entries))
	for n, e := range entries {
		m := make(map[string]any, 8)
		put := func(key, text string) {
			if text != "" {
				m[key] = text
			}
		}
		put("manager", e.Manager)
		put("operation", string(e.Operation))
		put("apiVersion", e.APIVersion)
		put("fieldsType", e.FieldsType)
		put("subresource", e.Subresource)
		if e.Time != nil {
			if m["time"] = nil; !e.Time.IsZero() {
				m["time"] = e.Time.UTC().Format(time.RFC3339)
			}
		}
		if e.FieldsV1 != nil {
			t := fieldsReader{text: e.FieldsV1.GetRawString()}
			fields, ok := t.object(0)
			if !ok || t.at != len(t.text) {
				o.SetManagedFields(entries)
				return
			}
			m["fieldsV1"] = fields
		}
		list[n] = m
	}
	meta["managedFields"] = list
}
