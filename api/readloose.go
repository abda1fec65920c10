package api

import (
	"encoding/json"
	"strings"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	kjson "sigs.k8s.io/json"
)

// readLoose reads the JSON of an object without a Go type. What managers own may be most of it, and is nearly the same for each item of
// a list: that is read apart from the rest, where an entry of managedFields has no fewer bytes than few.
func readLoose(raw []byte, u *unstructured.Unstructured, few int) error {
	u.Object = map[string]any{}
	if rest, owned, ok := apart(raw, few); ok && kjson.UnmarshalCaseSensitivePreserveInts(rest, &u.Object) == nil && putBack(u.Object, owned) {
		return nil
	}
	u.Object = map[string]any{}
	return kjson.UnmarshalCaseSensitivePreserveInts(raw, &u.Object)
}

// putBack gives each entry of managedFields its fieldsV1.
func putBack(o map[string]any, owned []map[string]any) bool {
	meta, _ := o["metadata"].(map[string]any)
	entries, _ := meta["managedFields"].([]any)
	if len(entries) != len(owned) {
		return false
	}
	for n, e := range entries {
		m, ok := e.(map[string]any)
		if !ok {
			return false
		}
		if owned[n] != nil {
			m["fieldsV1"] = owned[n]
		}
	}
	return true
}

// fewOwned is few, but for tests.
const fewOwned = 16 << 10

// apart takes what is at metadata.managedFields[*].fieldsV1 out of an object's JSON: rest has empty objects there, owned what the entries had; nil:
// it is in rest. Not ok: there is not much of it, or it is not as a server writes it.
func apart(raw []byte, few int) (rest []byte, owned []map[string]any, ok bool) {
	if len(raw) < few {
		return nil, nil, false
	}
	s, done := skipper{text: text(raw)}, 0
	found := s.object(func(key string) bool {
		if key != "metadata" {
			return s.value()
		}
		return s.object(func(key string) bool {
			if key != "managedFields" {
				return s.value()
			}
			if owned != nil { // there a second time
				return false
			}
			return s.list(func() bool {
				owned = append(owned, nil)
				twice := false
				return s.object(func(key string) bool {
					from := s.at
					if !s.value() {
						return false
					}
					if key != "fieldsV1" {
						return true
					}
					if twice {
						return false
					}
					if twice = true; s.at-from < few {
						return true
					}
					r := fieldsReader{text: string(raw[from:s.at])} // which outlives raw
					fields, ok := r.object(0)
					if !ok || r.at != len(r.text) {
						return false
					}
					owned[len(owned)-1] = fields
					if rest == nil {
						rest = make([]byte, 0, len(raw)-len(r.text)+64)
					}
					rest, done = append(append(rest, raw[done:from]...), "{}"...), s.at
					return true
				})
			})
		})
	})
	if !found || rest == nil {
		return nil, nil, false
	}
	return append(rest, raw[done:]...), owned, true
}

// skipper goes through JSON that has no white space between its parts, to find one of them. What it passes by is for others to read: it
// looks for where that ends alone.
type skipper struct {
	text string
	at   int
}

func (s *skipper) next(c byte) bool {
	if s.at < len(s.text) && s.text[s.at] == c {
		s.at++
		return true
	}
	return false
}

// object goes through an object; each is called at each value, which it goes through, with its key, as it is written: escapes are escapes.
func (s *skipper) object(each func(key string) bool) bool {
	if !s.next('{') {
		return false
	}
	if s.next('}') {
		return true
	}
	for {
		from := s.at
		if !s.string() || s.at-from < 2 {
			return false
		}
		key := s.text[from+1 : s.at-1]
		if strings.IndexByte(key, '\\') >= 0 || !s.next(':') || !each(key) {
			return false
		}
		if s.next('}') {
			return true
		}
		if !s.next(',') {
			return false
		}
	}
}

// list goes through a list; each is called at each of its items.
func (s *skipper) list(each func() bool) bool {
	if !s.next('[') {
		return false
	}
	if s.next(']') {
		return true
	}
	for each() {
		if s.next(']') {
			return true
		}
		if !s.next(',') {
			return false
		}
	}
	return false
}

func (s *skipper) string() bool {
	if !s.next('"') {
		return false
	}
	for ; s.at < len(s.text); s.at++ {
		switch s.text[s.at] {
		case '\\':
			s.at++
		case '"':
			s.at++
			return true
		}
	}
	return false
}

// value passes by a value.
func (s *skipper) value() bool {
	for depth := 0; s.at < len(s.text); {
		switch s.text[s.at] {
		case '"':
			if !s.string() {
				return false
			}
		case '{', '[':
			depth++
			s.at++
			continue
		case '}', ']':
			if depth == 0 {
				return false
			}
			depth--
			s.at++
		case ',', ':':
			if depth == 0 {
				return false
			}
			s.at++
			continue
		default: // a number or a word
			for s.at < len(s.text) && strings.IndexByte(`,:{}[]"`, s.text[s.at]) < 0 {
				s.at++
			}
		}
		if depth == 0 {
			return true
		}
	}
	return false
}

// fieldsReader reads FieldsV1 without white space: objects in objects. Those of a list's items are mostly alike, so what is again what
// was read last is that: nobody writes to what is within FieldsV1.
type fieldsReader struct {
	text string
	at   int
	last string // the text of the object that was read last
	made map[string]any
}

// nobody is what the fields that end have below them: one map for all of them, to which nobody writes.
var nobody = map[string]any{}

func (r *fieldsReader) next(c byte) bool {
	if r.at < len(r.text) && r.text[r.at] == c {
		r.at++
		return true
	}
	return false
}

func (r *fieldsReader) object(depth int) (map[string]any, bool) {
	if depth > 200 || !r.next('{') {
		return nil, false
	}
	if r.next('}') {
		return nobody, true
	}
	from := r.at - 1
	if r.last != "" && strings.HasPrefix(r.text[from:], r.last) {
		r.at = from + len(r.last)
		return r.made, true
	}
	out := map[string]any{}
	for {
		key, ok := r.string()
		if !ok || !r.next(':') {
			return nil, false
		}
		below, ok := r.object(depth + 1)
		if !ok {
			return nil, false
		}
		if out[key] = below; r.next('}') {
			r.last, r.made = r.text[from:r.at], out
			return out, true
		}
		if !r.next(',') {
			return nil, false
		}
	}
}

// string reads a string of JSON; keys of lists' items have quotes in them.
func (r *fieldsReader) string() (string, bool) {
	if !r.next('"') {
		return "", false
	}
	for from, plain := r.at, true; r.at < len(r.text); r.at++ {
		switch c := r.text[r.at]; {
		case c == '\\':
			plain = false
			r.at++
		case c < ' ' || c >= utf8.RuneSelf:
			return "", false
		case c == '"':
			r.at++
			if plain {
				return r.text[from : r.at-1], true
			}
			return unescaped(r.text[from-1 : r.at])
		}
	}
	return "", false
}

// unescaped reads a JSON string, in which mostly quotes alone are escaped.
func unescaped(quoted string) (string, bool) {
	var b strings.Builder
	b.Grow(len(quoted))
	for n := 1; n < len(quoted)-1; n++ {
		c := quoted[n]
		if c == '\\' {
			n++
			if c = quoted[n]; c != '"' && c != '\\' {
				var s string
				err := json.Unmarshal([]byte(quoted), &s)
				return s, err == nil
			}
		}
		b.WriteByte(c)
	}
	return b.String(), true
}
