package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kjson "sigs.k8s.io/json"
)

// The one codec for stored values and protobuf bodies. A stored value is
//
//	"k8s\x00" + runtime.Unknown{TypeMeta{apiVersion, kind}, raw, "", ""}
//
// as Kubernetes keeps it in etcd, raw being the object's own protobuf message
// without resourceVersion; or plain JSON for objects that have no protobuf form.
// The envelope is written and read here by hand: it is on every write and read.

// magic begins every protobuf body and stored value of Kubernetes.
const magic = "k8s\x00"

// Tags of runtime.Unknown and runtime.TypeMeta: field number << 3 | 2 (bytes).
const (
	tagTypeMeta   = 1<<3 | 2
	tagRaw        = 2<<3 | 2
	tagAPIVersion = 1<<3 | 2
	tagKind       = 2<<3 | 2
)

// tail is Unknown's contentEncoding and contentType, both empty; Kubernetes writes them out.
const tail = "\x1a\x00\x22\x00"

// message is what all types of k8s.io/api implement.
type message interface {
	Size() int
	MarshalToSizedBuffer([]byte) (int, error)
	Unmarshal([]byte) error
}

// EncodeStored gives obj, an object of i, as it is stored, without its
// resourceVersion. It only reads obj.
func EncodeStored(i *Info, obj Object) ([]byte, error) {
	if i.ToStored != nil {
		var err error
		if obj, err = i.ToStored(obj); err != nil {
			return nil, err
		}
		i = i.Stored
	}
	m, ok := obj.(message)
	if !ok {
		return storedJSON(i, obj)
	}
	apiVersion := i.StoredVersion()
	if i.message != nil {
		raw, err := i.message(obj)
		if err != nil {
			return nil, fmt.Errorf("encode %s %s: %w", i.Kind, obj.GetName(), err)
		}
		return Wrap(apiVersion, i.Kind, raw), nil
	}
	size := m.Size()
	buf := make([]byte, headSize(apiVersion, i.Kind, size)+size+len(tail))
	raw := buf[:len(buf)-len(tail)]
	n, err := m.MarshalToSizedBuffer(raw)
	if err != nil {
		return nil, fmt.Errorf("encode %s %s: %w", i.Kind, obj.GetName(), err)
	}
	raw = raw[len(raw)-n:]
	if obj.GetResourceVersion() != "" || n != size {
		return Wrap(apiVersion, i.Kind, setVersion(raw, []byte{})), nil
	}
	appendHead(buf[:0], apiVersion, i.Kind, n)
	copy(buf[len(buf)-len(tail):], tail)
	return buf, nil
}

// Message is obj, an object of i, as its own protobuf message, with its resourceVersion; nil: it has none. It only reads obj.
func Message(i *Info, obj Object) ([]byte, error) {
	m, ok := obj.(message)
	switch {
	case !ok:
		return nil, nil
	case i.message != nil:
		raw, err := i.message(obj)
		if version := obj.GetResourceVersion(); version != "" && err == nil {
			raw = setVersion(raw, []byte(version))
		}
		return raw, err
	}
	raw := make([]byte, m.Size())
	n, err := m.MarshalToSizedBuffer(raw)
	return raw[len(raw)-n:], err
}

// storedJSON is the stored form of objects without protobuf: custom resources, which say themselves of what version they are.
func storedJSON(i *Info, obj Object) ([]byte, error) {
	if u, ok := obj.(*unstructured.Unstructured); ok && u.GetAPIVersion() != "" {
		data, err := appendLooseMap(make([]byte, 0, looseSize(u.Object)+1), u.Object, "") // and a line's end
		if err != nil {
			return nil, fmt.Errorf("encode %s %s: %w", i.Kind, obj.GetName(), err)
		}
		if obj.GetResourceVersion() != "" {
			data = setVersionJSON(data, "")
		}
		return append(data, '\n'), nil
	}
	data, err := EncodeJSON(i, obj)
	if err != nil {
		return nil, err
	}
	if obj.GetResourceVersion() != "" {
		data = setVersionJSON(data, "")
	}
	return append(data, '\n'), nil
}

// DecodeStored reads a stored value of i, in either form, into a new object of i.
func DecodeStored(i *Info, value []byte) (Object, error) {
	raw, apiVersion, kind, err := RawStored(value)
	if err != nil {
		return nil, err
	}
	if s := i.Stored; s.Custom == nil && apiVersion != s.StoredVersion() && apiVersion != s.GroupVersion().String() || kind != s.Kind {
		return nil, fmt.Errorf("stored value is a %s %s, not a %s %s", apiVersion, kind, s.GroupVersion(), s.Kind)
	}
	obj, err := DecodeRaw(i.Stored, raw)
	if err != nil || i.Load == nil {
		return obj, err
	}
	return i.Load(obj)
}

// Complete gives the message of an object that was read from the store with what its defaults fill in. What cannot be
// decoded stays as it is.
func Complete(i *Info, raw []byte) []byte {
	if !i.Incomplete {
		return raw
	}
	obj, err := DecodeRaw(i, raw)
	if err != nil {
		return raw
	}
	i.Default(obj)
	m, ok := obj.(message)
	if !ok {
		return raw
	}
	out := make([]byte, m.Size())
	if n, err := m.MarshalToSizedBuffer(out); err != nil || n != len(out) {
		return raw
	}
	return out
}

// DecodeRaw reads an object of i from its own message, without envelope: protobuf or JSON.
func DecodeRaw(i *Info, raw []byte) (obj Object, err error) {
	obj = i.New()
	if u, ok := obj.(*unstructured.Unstructured); ok {
		if err := readLoose(raw, u, fewOwned); err != nil {
			return nil, fmt.Errorf("decode %s: %w", i.Kind, err)
		}
		if u.GetAPIVersion() == "" {
			u.SetGroupVersionKind(i.GVK())
		}
		return u, nil
	}
	if isJSON(raw) {
		if err := kjson.UnmarshalCaseSensitivePreserveInts(raw, obj); err != nil {
			return nil, fmt.Errorf("decode %s: %w", i.Kind, err)
		}
	} else {
		if obj, err = parsed(i, raw); err != nil {
			return nil, fmt.Errorf("decode %s: %w", i.Kind, err)
		}
		if i.Decoded != nil {
			i.Decoded(obj)
		}
	}
	obj.GetObjectKind().SetGroupVersionKind(i.GVK())
	return obj, nil
}

// parsed reads an object of i from its protobuf message.
func parsed(i *Info, raw []byte) (Object, error) {
	obj := i.New()
	if i.parse != nil {
		if i.parse(obj, raw) {
			return obj, nil
		}
		obj = i.New()
	}
	m, ok := obj.(message)
	if !ok {
		return nil, errors.New("it has no protobuf form")
	}
	return obj, m.Unmarshal(raw)
}

// isJSON tells the two forms apart: no object's message begins with a brace, the
// start of a group of number 15.
func isJSON(raw []byte) bool { return len(raw) > 0 && raw[0] == '{' }

// RawStored gives the inner message of a stored value, or of a protobuf body, sharing
// its bytes. Of a JSON value the message is the value, without white space around it.
func RawStored(value []byte) (raw []byte, apiVersion, kind string, err error) {
	if !bytes.HasPrefix(value, []byte(magic)) {
		raw = bytes.TrimSpace(value)
		if !isJSON(raw) {
			return nil, "", "", errors.New("value is neither protobuf nor JSON")
		}
		var t struct{ APIVersion, Kind string }
		if err := json.Unmarshal(raw, &t); err != nil {
			return nil, "", "", err
		}
		return raw, t.APIVersion, t.Kind, nil
	}
	for b := value[len(magic):]; len(b) > 0; {
		f, rest, ok := nextField(b)
		if !ok {
			return nil, "", "", errEnvelope
		}
		switch f.tag {
		case tagTypeMeta:
			for t := f.value; len(t) > 0; {
				g, rest, ok := nextField(t)
				if !ok {
					return nil, "", "", errEnvelope
				}
				switch g.tag {
				case tagAPIVersion:
					apiVersion = string(g.value)
				case tagKind:
					kind = string(g.value)
				}
				t = rest
			}
		case tagRaw:
			raw = f.value
		}
		b = rest
	}
	return raw, apiVersion, kind, nil
}

var errEnvelope = errors.New("malformed protobuf envelope")

// Wrap puts a message into its envelope, as a protobuf response or a stored value is.
func Wrap(apiVersion, kind string, raw []byte) []byte {
	return AppendWrapped(make([]byte, 0, headSize(apiVersion, kind, len(raw))+len(raw)+len(tail)), apiVersion, kind, raw)
}

// AppendWrapped is Wrap behind what is in dst.
func AppendWrapped(dst []byte, apiVersion, kind string, raw []byte) []byte {
	dst = append(appendHead(dst, apiVersion, kind, len(raw)), raw...)
	return append(dst, tail...)
}

// appendHead appends what stands before size bytes of message.
func appendHead(b []byte, apiVersion, kind string, size int) []byte {
	b = append(b, magic...)
	b = append(b, tagTypeMeta)
	b = appendVarint(b, typeMetaSize(apiVersion, kind))
	b = append(b, tagAPIVersion)
	b = appendVarint(b, len(apiVersion))
	b = append(b, apiVersion...)
	b = append(b, tagKind)
	b = appendVarint(b, len(kind))
	b = append(b, kind...)
	b = append(b, tagRaw)
	return appendVarint(b, size)
}

func typeMetaSize(apiVersion, kind string) int {
	return 1 + varintSize(len(apiVersion)) + len(apiVersion) + 1 + varintSize(len(kind)) + len(kind)
}

func headSize(apiVersion, kind string, size int) int {
	t := typeMetaSize(apiVersion, kind)
	return len(magic) + 1 + varintSize(t) + t + 1 + varintSize(size)
}

// DecodeProtobuf reads a request's body: an object of i, or of whatever kind of ours
// the body says it is, which gvk tells; the caller refuses kinds it does not want.
// What the envelope leaves out is taken from i. Errors: ErrHeavy, others.
func DecodeProtobuf(i *Info, body []byte) (obj Object, gvk *schema.GroupVersionKind, err error) {
	switch {
	case len(body) == 0:
		return nil, nil, errors.New("empty data")
	case !bytes.HasPrefix(body, []byte(magic)):
		return nil, nil, fmt.Errorf("provided data does not appear to be a protobuf message, expected prefix %v", []byte(magic))
	case len(body) == len(magic):
		return nil, nil, errors.New("empty body")
	}
	raw, apiVersion, kind, ok := envelope(body[len(magic):])
	if !ok {
		var unknown runtime.Unknown
		if err := unknown.Unmarshal(body[len(magic):]); err != nil {
			return nil, nil, err
		}
		raw, apiVersion, kind = unknown.Raw, unknown.APIVersion, unknown.Kind
	}
	actual := schema.FromAPIVersionAndKind(apiVersion, kind)
	if actual.Kind == "" {
		actual.Kind = i.Kind
	}
	if actual.Version == "" {
		actual.Group, actual.Version = i.Group, i.Version
	}
	if actual == i.GVK() {
		obj = i.New()
	} else {
		other, err := Scheme().New(actual)
		if err != nil {
			return nil, &actual, err
		}
		if obj, ok = other.(Object); !ok {
			return nil, &actual, fmt.Errorf("%s is not an object", actual.Kind)
		}
	}
	m, ok := obj.(message)
	if !ok {
		return nil, &actual, fmt.Errorf("object %T does not implement the protobuf marshalling interface and cannot be encoded to a protobuf message", obj)
	}
	if len(raw) > 8<<10 && heavy(i, reflect.TypeOf(obj).Elem(), raw) {
		return nil, &actual, ErrHeavy
	}
	if err := m.Unmarshal(raw); err != nil {
		return nil, &actual, err
	}
	obj.GetObjectKind().SetGroupVersionKind(actual)
	return obj, &actual, nil
}

// envelope reads a runtime.Unknown without copying it; false: it is not as clients write it, and left to its own decoder.
func envelope(b []byte) (raw []byte, apiVersion, kind string, ok bool) {
	var seen [5]bool
	for len(b) > 0 {
		f, rest, ok := nextField(b)
		number := f.tag >> 3
		if !ok || f.tag&7 != 2 || number < 1 || number > 4 || seen[number] {
			return nil, "", "", false
		}
		seen[number] = true
		switch f.tag {
		case tagTypeMeta:
			for t := f.value; len(t) > 0; {
				g, rest, ok := nextField(t)
				switch {
				case ok && g.tag == tagAPIVersion:
					apiVersion = string(g.value)
				case ok && g.tag == tagKind:
					kind = string(g.value)
				default:
					return nil, "", "", false
				}
				t = rest
			}
		case tagRaw:
			raw = f.value
		}
		b = rest
	}
	return raw, apiVersion, kind, true
}

// JSONPrefix is how EncodeJSON's results for i begin: what the object is, which the
// items of a list do not repeat.
func JSONPrefix(i *Info) string {
	return `{"kind":"` + i.Kind + `","apiVersion":"` + i.GroupVersion().String() + `",`
}

// EncodeJSON gives obj, an object of i, as compact JSON that begins with
// JSONPrefix, whether or not obj says what it is. It only reads obj.
func EncodeJSON(i *Info, obj Object) ([]byte, error) {
	prefix := JSONPrefix(i)
	if u, ok := obj.(*unstructured.Unstructured); ok {
		data, err := looseJSON(prefix, u.Object)
		if err != nil {
			return nil, fmt.Errorf("encode %s %s: %w", i.Kind, obj.GetName(), err)
		}
		return data, nil
	}
	w := prefixed{prefix: prefix}
	if err := json.NewEncoder(&w).Encode(obj); err != nil {
		return nil, fmt.Errorf("encode %s %s: %w", i.Kind, obj.GetName(), err)
	}
	if t := obj.GetObjectKind().GroupVersionKind(); !w.had && !t.Empty() {
		return nil, fmt.Errorf("encode %s %s: the object says it is a %s", i.Kind, obj.GetName(), t)
	}
	return w.data[:len(w.data)-1], nil // without a line's end
}

// prefixed is an object in JSON that begins with the prefix, copied once: json.Encoder writes all at once.
type prefixed struct {
	prefix string
	had    bool // before
	data   []byte
}

func (w *prefixed) Write(p []byte) (int, error) {
	n := len(p)
	if w.had = bytes.HasPrefix(p, []byte(w.prefix)); !w.had {
		w.data = append(make([]byte, 0, len(w.prefix)+n), w.prefix...)
		p = p[1:]
	}
	w.data = append(w.data, p...)
	return n, nil
}
