package managed

import (
	"cmp"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
	"unsafe"
)

var errFields = errors.New("malformed FieldsV1")

// parse reads FieldsV1 in the form that encode gives. The set shares the bytes, which nobody changes.
func parse(raw []byte) (*set, error) { return read(raw, false) }

// readPlain is parse of path elements that are in their one form alone, of which two are compared without being read.
func readPlain(raw []byte) (*set, error) { return read(raw, true) }

func read(raw []byte, plain bool) (*set, error) {
	p := parser{text: unsafe.String(unsafe.SliceData(raw), len(raw)), plain: plain}
	p.measure()
	s, _, ok := p.set(0)
	p.space()
	if !ok || p.at != len(p.text) {
		return nil, errFields
	}
	return s, nil
}

// parser holds the elements of all sets in one piece of memory: before low are those of sets that did not end yet, from high on those of
// sets that did.
type parser struct {
	text      string
	at        int
	room      []elem
	low, high int
	sets      []set
	plain     bool
}

// measure makes room for all elements and sets.
func (p *parser) measure() {
	elems, sets, quoted, opened := 0, 0, false, false
	for n := 0; n < len(p.text); n++ {
		switch c := p.text[n]; {
		case quoted && c == '\\':
			n++
		case c == '"':
			if quoted = !quoted; opened {
				sets, opened = sets+1, false
			}
		case !quoted && c == '{':
			elems, opened = elems+1, true
		case !quoted && c == '}':
			opened = false
		}
	}
	p.room, p.high, p.sets = make([]elem, elems), elems, make([]set, 0, sets)
}

func (p *parser) space() {
	for p.at < len(p.text) && strings.IndexByte(" \t\r\n", p.text[p.at]) >= 0 {
		p.at++
	}
}

func (p *parser) next(c byte) bool {
	p.space()
	if p.at < len(p.text) && p.text[p.at] == c {
		p.at++
		return true
	}
	return false
}

// set reads an object; member tells that it has ".".
func (p *parser) set(depth int) (s *set, member, ok bool) {
	if depth > 200 || !p.next('{') {
		return nil, false, false
	}
	if p.next('}') {
		return nil, false, true
	}
	first, sorted := p.low, true
	for {
		key, ok := p.string()
		if !ok || !p.next(':') {
			return nil, false, false
		}
		sub, inner, ok := p.set(depth + 1)
		if !ok {
			return nil, false, false
		}
		if key == "." {
			member = true
		} else if len(key) < 2 || key[1] != ':' || strings.IndexByte("fkvi", key[0]) < 0 || p.plain && !plainElement(key) {
			return nil, false, false
		} else {
			if p.low > first && compareKeys(p.room[p.low-1].key, key) >= 0 {
				sorted = false
			}
			p.room[p.low] = elem{key: key, member: inner || sub.empty(), at: int32(p.low), sub: sub}
			p.low++
		}
		if p.next('}') {
			break
		}
		if !p.next(',') {
			return nil, false, false
		}
	}
	end := p.high
	p.high -= p.low - first
	copy(p.room[p.high:end], p.room[first:p.low])
	p.low = first
	elems := p.room[p.high:end:end]
	if !sorted {
		slices.SortFunc(elems, func(a, b elem) int {
			if c := compareKeys(a.key, b.key); c != 0 {
				return c
			}
			return cmp.Compare(a.at, b.at)
		})
		elems = merged(elems)
	}
	p.sets = append(p.sets, set{elems})
	return &p.sets[len(p.sets)-1], member, true
}

// merged has those elements once that are there several times: what is below the last of them counts.
func merged(elems []elem) []elem {
	out := elems[:0]
	for _, e := range elems {
		if n := len(out) - 1; n < 0 || out[n].key != e.key {
			out = append(out, e)
		} else if out[n].member = out[n].member || e.member; !e.sub.empty() {
			out[n].sub = e.sub
		}
	}
	return slices.Clip(out)
}

// string reads a JSON string.
func (p *parser) string() (string, bool) {
	if !p.next('"') {
		return "", false
	}
	from, escaped := p.at, false
	for p.at < len(p.text) {
		switch p.text[p.at] {
		case '"':
			p.at++
			if !escaped {
				return p.text[from : p.at-1], true
			}
			return unquote(p.text[from-1 : p.at])
		case '\\':
			escaped = true
			p.at++
		}
		p.at++
	}
	return "", false
}

// unquote reads a JSON string with escapes, of which those of quotes are by far the most common.
func unquote(quoted string) (string, bool) {
	inner := quoted[1 : len(quoted)-1]
	b := make([]byte, 0, len(inner)-1)
	for i := 0; i < len(inner); i++ {
		c := inner[i]
		if c == '\\' {
			if i++; inner[i] == 'u' && i+4 < len(inner) {
				if r, err := strconv.ParseUint(inner[i+1:i+5], 16, 16); err == nil && !utf16.IsSurrogate(rune(r)) {
					b, i = utf8.AppendRune(b, rune(r)), i+4
					continue
				}
			}
			if inner[i] != '"' && inner[i] != '\\' {
				var s string
				err := json.Unmarshal([]byte(quoted), &s)
				return s, err == nil
			}
			c = inner[i]
		}
		b = append(b, c)
	}
	return unsafe.String(unsafe.SliceData(b), len(b)), true
}
