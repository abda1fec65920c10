package api

import (
	"encoding/json"
	"fmt"
	"unsafe"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// RawMeta is the ObjectMeta message within an object's message; false when it is not there once.
func RawMeta(raw []byte) (meta []byte, ok bool) {
	if isJSON(raw) {
		return nil, false
	}
	for b := raw; len(b) > 0; {
		f, rest, good := nextField(b)
		if !good || f.tag == tagObjectMeta && ok {
			return nil, false
		}
		if f.tag == tagObjectMeta {
			meta, ok = f.value, true
		}
		b = rest
	}
	return meta, ok
}

// MetaOf copies an object's metadata, shallowly.
func MetaOf(o Object) *metav1.ObjectMeta { return metaOf(o, true) }

func metaOf(o Object, fields bool) *metav1.ObjectMeta {
	if a, ok := o.(metav1.ObjectMetaAccessor); ok {
		if m, ok := a.GetObjectMeta().(*metav1.ObjectMeta); ok {
			c := *m
			return &c
		}
	}
	return &metav1.ObjectMeta{Name: o.GetName(), GenerateName: o.GetGenerateName(), Namespace: o.GetNamespace(), UID: o.GetUID(),
		ResourceVersion: o.GetResourceVersion(), Generation: o.GetGeneration(), CreationTimestamp: o.GetCreationTimestamp(),
		DeletionTimestamp: o.GetDeletionTimestamp(), DeletionGracePeriodSeconds: o.GetDeletionGracePeriodSeconds(),
		Labels: o.GetLabels(), Annotations: o.GetAnnotations(), OwnerReferences: o.GetOwnerReferences(), Finalizers: o.GetFinalizers(),
		ManagedFields: owners(o, fields)}
}

// Deleting tells of an object's message whether the object is being deleted.
func Deleting(raw []byte) bool {
	meta, ok := RawMeta(raw)
	for ok && len(meta) > 0 {
		var f wireField
		if f, meta, ok = nextField(meta); ok && f.tag == 9<<3|2 { // deletionTimestamp
			return true
		}
	}
	return false
}

// Label is one label of an object.
type Label struct{ Key, Value string }

// Index reads from an object's message what it is found by: its labels, in the order of the message, and the UID of
// its controlling owner. The labels are appended to room. The strings share raw's bytes, which must never change.
func Index(raw []byte, room []Label) (labels []Label, owner string, err error) {
	if isJSON(raw) {
		return indexJSON(raw, room)
	}
	labels = room
	bad := func() ([]Label, string, error) { return nil, "", fmt.Errorf("malformed metadata") }
	for b := raw; len(b) > 0; { // several ObjectMetas merge
		f, rest, ok := nextField(b)
		if !ok {
			return bad()
		}
		if b = rest; f.tag != tagObjectMeta {
			continue
		}
		for m := f.value; len(m) > 0; {
			g, rest, ok := nextField(m)
			if !ok {
				return bad()
			}
			m = rest
			switch g.tag {
			case 11<<3 | 2: // labels
				l, ok := entry(g.value)
				if !ok {
					return bad()
				}
				labels = append(labels, l)
			case 13<<3 | 2: // ownerReferences
				uid, controls, ok := reference(g.value)
				if !ok {
					return bad()
				}
				if controls {
					owner = uid
				}
			}
		}
	}
	return labels, owner, nil
}

// entry reads one entry of a map of strings.
func entry(b []byte) (l Label, ok bool) {
	for len(b) > 0 {
		f, rest, ok := nextField(b)
		if !ok {
			return l, false
		}
		switch f.tag {
		case 1<<3 | 2:
			l.Key = text(f.value)
		case 2<<3 | 2:
			l.Value = text(f.value)
		}
		b = rest
	}
	return l, true
}

// reference reads an OwnerReference.
func reference(b []byte) (uid string, controls, ok bool) {
	for len(b) > 0 {
		f, rest, ok := nextField(b)
		if !ok {
			return "", false, false
		}
		switch f.tag {
		case 4<<3 | 2:
			uid = text(f.value)
		case 6 << 3:
			controls = b[len(b)-len(rest)-1] != 0 // a bool is one byte; what is longer is true too
		}
		b = rest
	}
	return uid, controls, true
}

// Text is the string at a path of field numbers in a message, "" when it is not there; it shares raw's bytes.
func Text(raw []byte, path ...int) string {
	for n, number := range path {
		var value []byte
		for b := raw; len(b) > 0; {
			f, rest, ok := nextField(b)
			if !ok {
				return ""
			}
			if f.tag == uint64(number)<<3|2 {
				value = f.value
			}
			b = rest
		}
		if n == len(path)-1 {
			return text(value)
		}
		raw = value
	}
	return ""
}

func indexJSON(raw []byte, labels []Label) (_ []Label, owner string, err error) {
	var o struct {
		Metadata struct {
			Labels          map[string]string       `json:"labels"`
			OwnerReferences []metav1.OwnerReference `json:"ownerReferences"`
		} `json:"metadata"`
	}
	if err := json.Unmarshal(raw, &o); err != nil {
		return nil, "", err
	}
	for k, v := range o.Metadata.Labels {
		labels = append(labels, Label{k, v})
	}
	for _, r := range o.Metadata.OwnerReferences {
		if r.Controller != nil && *r.Controller {
			owner = string(r.UID)
		}
	}
	return labels, owner, nil
}

// text is a string that shares b, which never changes.
func text(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	return unsafe.String(&b[0], len(b))
}
