package api

import (
	"encoding/binary"
	"errors"
	"reflect"
	"strconv"
	"strings"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A message of protobuf or JSON can say in two bytes what takes a kilobyte as a Go struct. Who sends that is refused before
// any of it is made.

// ErrHeavy: what an object would take in memory has no proportion to its bytes.
var ErrHeavy = errors.New("the values of the object would take too much memory")

// mostWeight is what the structs of an object of so many bytes may take; each in a list counts complaint more, which is what is said
// of it when all in it is wrong.
func mostWeight(bytes int) int { return 12<<20 + 8*bytes }

const complaint = 1 << 10

// perValue is what each value of JSON in a message weighs, such as those of a definition's defaults: a hundred thousand in the largest.
const perValue = 360

// mostDepth is how many messages may be in one another, as many as objects of JSON: what works on them takes time by its square.
const mostDepth = 10_000

// shape is how much the messages in a Go struct weigh, by field number.
type shape struct{ pieces []piece }

type piece struct {
	weight int    // of each occurrence
	of     *shape // nil: it has no parts of its own
	json   bool   // it holds JSON that is read into values
}

var shapes = struct {
	sync.Mutex
	of map[reflect.Type]*shape
}{of: map[reflect.Type]*shape{}}

// shapeOf is a struct's by the tags that its generated code has. shapes is held.
func shapeOf(t reflect.Type) *shape {
	if s, ok := shapes.of[t]; ok {
		return s
	}
	s := &shape{}
	shapes.of[t] = s // a schema has schemas
	for n := range t.NumField() {
		kind, rest, _ := strings.Cut(t.Field(n).Tag.Get("protobuf"), ",")
		number, _, _ := strings.Cut(rest, ",")
		at, err := strconv.Atoi(number)
		if err != nil || kind != "bytes" {
			continue // numbers weigh what they take
		}
		if more := at + 1 - len(s.pieces); more > 0 {
			s.pieces = append(s.pieces, make([]piece, more)...)
		}
		s.pieces[at] = pieceOf(t.Field(n).Type)
		s.pieces[at].json = t.Field(n).Name == "Raw" && t != reflect.TypeFor[metav1.FieldsV1]() // which stays as it is
	}
	return s
}

func pieceOf(t reflect.Type) (p piece) {
	switch t.Kind() {
	case reflect.Map: // an entry is a message of a key and a value
		return piece{weight: 2 * int(t.Key().Size()+t.Elem().Size()), of: &shape{[]piece{2: pieceOf(t.Elem())}}}
	case reflect.Slice:
		p = pieceOf(t.Elem())
		p.weight += 2 * int(t.Elem().Size()) // it grows by doubling
		if p.of != nil {
			p.weight += complaint
		}
		return p
	case reflect.Pointer:
		p = pieceOf(t.Elem())
		p.weight += int(t.Elem().Size())
		return p
	case reflect.Struct:
		return piece{of: shapeOf(t)}
	}
	return piece{}
}

// weigh takes from left what the messages in raw weigh; below zero it ends. What is malformed is for the decoder to say.
func (s *shape) weigh(raw []byte, left, depth int) int {
	if depth > mostDepth {
		return -1
	}
	for len(raw) > 0 && left >= 0 {
		tag, n := binary.Uvarint(raw)
		if n <= 0 {
			return left
		}
		raw = raw[n:]
		switch tag & 7 {
		case 0:
			_, n = binary.Uvarint(raw)
		case 1:
			n = 8
		case 5:
			n = 4
		case 2:
			size, m := binary.Uvarint(raw)
			if m <= 0 || size > uint64(len(raw)-m) {
				return left
			}
			n = m + int(size)
			if number := tag >> 3; number < uint64(len(s.pieces)) {
				p := &s.pieces[number]
				left -= p.weight
				switch {
				case p.json:
					left -= perValue * values(raw[m:n])
				case p.of != nil:
					left = p.of.weigh(raw[m:n], left, depth+1)
				}
			}
		}
		if n <= 0 || n > len(raw) {
			return left
		}
		raw = raw[n:]
	}
	return left
}

// values is about how many values a JSON document has.
func values(doc []byte) (n int) {
	text := false
	for i := 0; i < len(doc); i++ {
		switch c := doc[i]; {
		case text && c == '\\':
			i++
		case c == '"':
			text = !text
		case !text && (c == ',' || c == '[' || c == '{'):
			n++
		}
	}
	return n
}

// Turned tells whether objects of i have Go types, and another one where they are stored: each step of a write turns them into that one.
func (i *Info) Turned() bool { return i.Type != nil && i.Stored != nil && i.Stored != i }

// heavy tells of a message of the Go type (a struct) whether it is ErrHeavy as an object of i.
func heavy(i *Info, t reflect.Type, raw []byte) bool {
	shapes.Lock()
	s := shapeOf(t)
	shapes.Unlock()
	most := mostWeight(len(raw))
	if i.Turned() {
		most /= 5
	}
	return s.weigh(raw, most, 0) < 0
}

// HeavyJSON tells whether so many JSON objects, in a document of so many bytes, can be ErrHeavy as an object of i: each might
// be the largest struct that i's objects have lists of. Schemas are exempt: real ones of half a megabyte are that dense, and
// administrators alone may write them.
func HeavyJSON(i *Info, objects, bytes int) bool {
	if objects < 4096 || i.Type == nil || i.StoreKey == DefinitionsKey {
		return false
	}
	shapes.Lock()
	most := largest(shapeOf(i.Type), map[*shape]bool{})
	shapes.Unlock()
	return objects*most > mostWeight(bytes)
}

// largest is the heaviest piece at or below a shape.
func largest(s *shape, seen map[*shape]bool) (most int) {
	if seen[s] {
		return 0
	}
	seen[s] = true
	for _, p := range s.pieces {
		most = max(most, p.weight)
		if p.of != nil {
			most = max(most, largest(p.of, seen))
		}
	}
	return most
}
