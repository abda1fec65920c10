package managed

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"
	"unsafe"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// set is a set of fields as FieldsV1 nests them. nil is empty. Sets are never changed once made, and share parts.
type set struct{ elems []elem } // in the order of their path elements

// elem is one path element: "f:name", `k:{"name":"web"}`, `v:"value"`.
type elem struct {
	key    string
	member bool  // the path itself is in the set
	at     int32 // where it stood among those that are being sorted
	sub    *set  // what is below it
}

func (s *set) empty() bool { return s == nil || len(s.elems) == 0 }

// compareKeys is the order of path elements: fields, keys, values, each by what they hold.
func compareKeys(a, b string) int {
	if a[0] != b[0] {
		return strings.IndexByte("fkvi", a[0]) - strings.IndexByte("fkvi", b[0])
	}
	if a == b {
		return 0
	}
	if a[0] != 'f' {
		if c, ok := compareAlike(a, b); ok {
			return c
		}
		p, errP := fieldpath.DeserializePathElement(a)
		q, errQ := fieldpath.DeserializePathElement(b)
		if errP == nil && errQ == nil {
			if c := p.Compare(q); c != 0 {
				return c
			}
		}
	}
	return strings.Compare(a[2:], b[2:])
}

// compareAlike compares path elements that begin to differ within a string or a number, as those of one list do;
// false: one has to read them.
func compareAlike(a, b string) (c int, ok bool) {
	n, quoted := 0, false
	for ; n < len(a) && n < len(b) && a[n] == b[n]; n++ {
		switch a[n] {
		case '"':
			quoted = !quoted
		case '\\':
			return 0, false
		}
	}
	switch {
	case !quoted:
		return compareValues(a, b, n)
	case n == len(a) || n == len(b) || a[n] == '\\' || b[n] == '\\':
		return 0, false
	case a[n] == '"': // a ends
		return -1, true
	case b[n] == '"':
		return 1, true
	}
	return cmp.Compare(a[n], b[n]), true
}

// compareValues is for path elements that differ from n on, where no text is.
func compareValues(a, b string, n int) (c int, ok bool) {
	if n == len(a) && n == len(b) || n == 0 {
		return 0, false
	}
	x, y := byte(0), byte(0)
	if n < len(a) {
		x = a[n]
	}
	if n < len(b) {
		y = b[n]
	}
	if p, q := rank(x), rank(y); a[n-1] == ':' && p != q && p*q > 0 {
		return cmp.Compare(p, q), true
	}
	if p := number(a, n); p != "" {
		if q := number(b, n); q != "" && p != q {
			return compareNumbers(p, q), true
		}
	}
	if (x == '}' && y == ',' || x == ',' && y == '}') && a[0] == 'k' && n > 3 && strings.IndexByte(a[3:n], '{') < 0 { // one has more fields
		return cmp.Compare(y, x), true
	}
	return 0, false
}

// rank is where among others a value of JSON stands that begins so; 0: none does.
func rank(first byte) int {
	switch {
	case first == '-' || isDigit(first):
		return 1
	case first == '"':
		return 2
	case first == 't' || first == 'f':
		return 3
	}
	return 0
}

// number is the integer around or before n in a path element; "": there is none that a float holds.
func number(s string, n int) string {
	from, to := n, n
	for from > 0 && isDigit(s[from-1]) {
		from--
	}
	for to < len(s) && (isDigit(s[to]) || to == from && s[to] == '-') {
		to++
	}
	if from > 0 && s[from-1] == '-' {
		from--
	}
	if from == 0 || s[from-1] != ':' || to < len(s) && s[to] != ',' && s[to] != '}' || to-from > 15 {
		return ""
	}
	return s[from:to]
}

// compareNumbers compares integers as JSON writes them.
func compareNumbers(p, q string) int {
	switch {
	case p[0] == '-' && q[0] == '-':
		p, q = q, p
	case p[0] == '-':
		return -1
	case q[0] == '-':
		return 1
	}
	if c := cmp.Compare(len(p), len(q)); c != 0 {
		return c
	}
	return strings.Compare(p, q)
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// union holds what is in either.
func (s *set) union(o *set) *set {
	switch {
	case s.empty():
		return o
	case o.empty():
		return s
	}
	room, more := max(len(s.elems), len(o.elems)), min(len(s.elems), len(o.elems))
	out := &set{make([]elem, 0, room+min(more, few))}
	for a, b := s.elems, o.elems; len(a) > 0 || len(b) > 0; {
		switch {
		case len(a) == 0:
			out.elems, b = append(out.elems, b...), nil
		case len(b) == 0:
			out.elems, a = append(out.elems, a...), nil
		default:
			switch c := compareKeys(a[0].key, b[0].key); {
			case c < 0:
				out.elems, a = append(out.elems, a[0]), a[1:]
			case c > 0:
				out.elems, b = append(out.elems, b[0]), b[1:]
			default:
				out.elems = append(out.elems, elem{key: a[0].key, member: a[0].member || b[0].member, sub: a[0].sub.union(b[0].sub)})
				a, b = a[1:], b[1:]
			}
		}
	}
	return out
}

// subtract is s without the paths of o, and whether that is less than s.
func (s *set) subtract(o *set) (*set, bool) {
	if s.empty() || o.empty() {
		return s, false
	}
	var out *set // nil while it is a beginning of s
	b := o.elems
	for n, e := range s.elems {
		for len(b) > 0 && compareKeys(b[0].key, e.key) < 0 {
			b = b[1:]
		}
		left, less := e, false
		if len(b) > 0 && b[0].key == e.key {
			left.member = e.member && !b[0].member
			left.sub, less = e.sub.subtract(b[0].sub)
			less = less || left.member != e.member
		}
		if less && out == nil {
			out = &set{append(make([]elem, 0, len(s.elems)-1), s.elems[:n]...)}
		}
		if out != nil && (left.member || !left.sub.empty()) {
			out.elems = append(out.elems, left)
		}
	}
	if out == nil {
		return s, false
	}
	return out, true
}

// apartFrom tells, without parsing it, that FieldsV1 has no path of s: it does not have a key that such a path needs.
// It looks through it for so many keys at most, as what takes longer than to parse it.
func (s *set) apartFrom(raw []byte, looks *int) bool {
	if s.empty() {
		return true
	}
	var quoted []byte
	for _, e := range s.elems {
		if *looks--; *looks < 0 {
			return false
		}
		quoted = appendQuoted(quoted[:0], e.key)
		if bytes.Contains(raw, quoted) && (e.member || !e.sub.apartFrom(raw, looks)) {
			return false
		}
	}
	return true
}

// without is s without an element and all below it.
func (s *set) without(key string) *set {
	if s.empty() || !slices.ContainsFunc(s.elems, func(e elem) bool { return e.key == key }) {
		return s
	}
	return &set{slices.DeleteFunc(slices.Clone(s.elems), func(e elem) bool { return e.key == key })}
}

// unowned are fields that no manager has: what the system sets, and what an object is.
var unowned = &set{[]elem{{key: "f:apiVersion", member: true}, {key: "f:kind", member: true}, {key: "f:metadata", member: true, sub: &set{[]elem{
	{key: "f:clusterName", member: true}, {key: "f:creationTimestamp", member: true}, {key: "f:generation", member: true},
	{key: "f:managedFields", member: true}, {key: "f:name", member: true}, {key: "f:namespace", member: true},
	{key: "f:resourceVersion", member: true}, {key: "f:selfLink", member: true}, {key: "f:uid", member: true}}}}}}

func (s *set) stripped() *set {
	out, _ := s.subtract(unowned)
	return out
}

// encode gives the set as FieldsV1.
func (s *set) encode() *metav1.FieldsV1 { return s.encodeAs(nil) }

// encodeAs is encode where that is not what was said, byte by byte.
func (s *set) encodeAs(said *metav1.FieldsV1) *metav1.FieldsV1 {
	buf := scratch.Get().(*[]byte)
	defer scratch.Put(buf)
	*buf = s.append(slices.Grow((*buf)[:0], s.room()), false)
	if said != nil && bytes.Equal(*buf, said.GetRawBytes()) {
		return said
	}
	return metav1.NewFieldsV1(unsafe.String(unsafe.SliceData(*buf), len(*buf))) // which copies it, in either of its builds
}

var scratch = sync.Pool{New: func() any { return new([]byte) }}

// room is how many bytes a set takes that has nothing to escape.
func (s *set) room() int {
	if s.empty() {
		return 2
	}
	n := 10
	for _, e := range s.elems {
		n += len(e.key) + 4 + e.sub.room()
	}
	return n
}

func (s *set) append(b []byte, member bool) []byte {
	b = append(b, '{')
	if s.empty() {
		return append(b, '}')
	}
	if member {
		b = append(b, `".":{},`...)
	}
	for n, e := range s.elems {
		if n > 0 {
			b = append(b, ',')
		}
		b = append(appendQuoted(b, e.key), ':')
		b = e.sub.append(b, e.member)
	}
	return append(b, '}')
}

// appendQuoted appends s as a JSON string, in the form that structured-merge-diff gives it.
func appendQuoted(b []byte, s string) []byte {
	b = append(b, '"')
	from := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		b = append(append(b, s[from:i]...), '\\')
		from = i + 1
		switch c {
		case '"', '\\':
			b = append(b, c)
		case '\n':
			b = append(b, 'n')
		case '\r':
			b = append(b, 'r')
		case '\t':
			b = append(b, 't')
		default:
			b = fmt.Appendf(b, "u%04x", c)
		}
	}
	return append(append(b, s[from:]...), '"')
}
