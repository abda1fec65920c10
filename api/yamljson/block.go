package yamljson

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxNested bounds how deep the plain reader goes; what is deeper is left to the library.
const maxNested = 100

// plain turns YAML as people and programs write manifests into JSON, in one pass over its lines: block mappings and sequences, scalars on
// one line, literal blocks, flow collections on one line. ok is false for whatever else there is in YAML, and for all that is
// doubtful or wrong: the library says what that means.
func plain(body []byte) (doc []byte, ok bool) {
	if !utf8.Valid(body) {
		return nil, false
	}
	for _, b := range body {
		if b < ' ' && b != '\n' || b == 0x7f {
			return nil, false // tabs and carriage returns too
		}
	}
	for _, odd := range []string{"\u0085", "\u2028", "\u2029", "\ufeff"} { // other line ends, byte order mark
		if bytes.Contains(body, []byte(odd)) {
			return nil, false
		}
	}
	r := &reader{in: body, out: make([]byte, 0, len(body)+len(body)/4+64)}
	r.next()
	if r.indent == 0 && r.text == "---" {
		r.next()
	}
	if r.indent != 0 || !r.mapping(0, 0) || !r.end {
		return nil, false
	}
	return r.out, true
}

// reader is at one line that is neither empty nor a comment.
type reader struct {
	in  []byte
	out []byte

	at     int    // where the line after this one begins
	indent int    // of this line, or of what is left of it
	text   string // this line from its indentation on, without spaces at its end
	jumped bool   // there were empty lines or comments before it
	end    bool   // there is no line
}

// next goes to the next line that says something.
func (r *reader) next() {
	r.jumped = false
	for r.at < len(r.in) {
		line := r.line()
		text := strings.TrimLeft(line, " ")
		if text == "" || text[0] == '#' {
			r.jumped = true
			continue
		}
		r.indent, r.text = len(line)-len(text), strings.TrimRight(text, " ")
		return
	}
	r.end, r.indent, r.text = true, -1, ""
}

// line takes the next line as it is.
func (r *reader) line() string {
	rest := r.in[r.at:]
	n := bytes.IndexByte(rest, '\n')
	if n < 0 {
		r.at = len(r.in)
		return string(rest)
	}
	r.at += n + 1
	return string(rest[:n])
}

// mapping reads keys at one indentation.
func (r *reader) mapping(indent, nested int) bool {
	if nested > maxNested {
		return false
	}
	var seen keys
	r.out = append(r.out, '{')
	for n := 0; !r.end && r.indent == indent; n++ {
		key, rest, ok := keyOf(r.text)
		if !ok || !seen.add(key) || strings.HasPrefix(r.text, "---") || strings.HasPrefix(r.text, "...") {
			return false
		}
		if n > 0 {
			r.out = append(r.out, ',')
		}
		r.out = append(quote(r.out, key), ':')
		if !r.value(rest, indent, nested, true) {
			return false
		}
	}
	r.out = append(r.out, '}')
	return r.end || r.indent < indent
}

// sequence reads items at one indentation.
func (r *reader) sequence(indent, nested int) bool {
	if nested > maxNested {
		return false
	}
	r.out = append(r.out, '[')
	for n := 0; !r.end && r.indent == indent && isItem(r.text); n++ {
		if n > 0 {
			r.out = append(r.out, ',')
		}
		rest := strings.TrimLeft(r.text[1:], " ")
		if rest != "" && rest[0] == '#' {
			rest = ""
		}
		if _, _, isKey := keyOf(rest); rest != "" && (isKey || isItem(rest)) { // what begins on the item's own line
			r.indent += len(r.text) - len(rest)
			r.text = rest
			if !r.block(nested) {
				return false
			}
			continue
		}
		if !r.value(rest, indent, nested, false) {
			return false
		}
	}
	r.out = append(r.out, ']')
	return r.end || r.indent <= indent
}

func isItem(text string) bool { return text == "-" || strings.HasPrefix(text, "- ") }

// block reads the collection that begins at this line.
func (r *reader) block(nested int) bool {
	indent := r.indent
	if isItem(r.text) {
		return r.sequence(indent, nested+1) && (r.end || r.indent < indent)
	}
	return r.mapping(indent, nested+1)
}

// value reads what follows a key or a dash on its line, or stands below it.
func (r *reader) value(rest string, indent, nested int, ofKey bool) bool {
	if rest == "" || rest[0] == '#' {
		r.next()
		switch {
		case r.end || r.indent < indent || r.indent == indent && !(ofKey && isItem(r.text)):
			r.out = append(r.out, "null"...)
			return true
		case r.indent == indent:
			return r.sequence(indent, nested+1) // keys may go on there
		}
		return r.block(nested)
	}
	if rest[0] == '|' {
		return r.literal(rest, indent)
	}
	begins, wrote := rest, len(r.out)
	rest, ok := r.scalar(rest, nested, false)
	if !ok && (begins[0] == '"' || begins[0] == '\'') {
		return r.wrapped(begins, indent)
	}
	if !ok || rest != "" && (rest[0] != ' ' || strings.TrimLeft(rest, " ")[0] != '#') {
		return false
	}
	r.next()
	if r.end || r.indent <= indent {
		return true
	}
	return rest == "" && r.out[wrote] == '"' && begins[0] != '"' && begins[0] != '\'' && r.folded(indent)
}

// maxWrapped bounds the lines of a quoted scalar that is read here.
const maxWrapped = 100

// wrapped reads a quoted scalar of several lines, which one space each stands between.
func (r *reader) wrapped(text string, indent int) bool {
	for range maxWrapped {
		if strings.HasSuffix(text, "\\") {
			return false
		}
		if r.next(); r.end || r.jumped || r.indent <= indent {
			return false
		}
		text += " " + r.text
		if value, rest, ok := quoted(text); ok {
			if rest != "" {
				return false
			}
			r.out = quote(r.out, value)
			r.next()
			return r.end || r.indent <= indent
		}
	}
	return false
}

// folded reads on in a plain string of several lines, which has been written so far.
func (r *reader) folded(indent int) bool {
	for ; !r.end && r.indent > indent; r.next() {
		t := r.text
		if r.jumped || isItem(t) || strings.Contains(t, ": ") || strings.Contains(t, " #") || strings.HasSuffix(t, ":") {
			return false
		}
		part := quote(nil, t)
		r.out = append(append(r.out[:len(r.out)-1], ' '), part[1:]...)
	}
	return true
}

// literal reads a literal block: lines deeper than indent, as they are.
func (r *reader) literal(head string, indent int) bool {
	if head != "|" && head != "|-" && head != "|+" {
		return false
	}
	var text []byte
	own, blank := -1, 0
	for r.at < len(r.in) {
		before := r.at
		line := r.line()
		content := strings.TrimLeft(line, " ")
		deep := len(line) - len(content)
		if content == "" && (own < 0 || deep <= own) {
			if own < 0 && deep > indent+1 {
				return false // may not be deeper than the first line
			}
			blank++
			continue
		}
		if own < 0 {
			if deep <= indent {
				r.at = before
				break
			}
			own = deep
		} else if deep < own {
			if deep > indent {
				return false
			}
			r.at = before
			break
		}
		for ; blank > 0; blank-- {
			text = append(text, '\n')
		}
		text = append(append(text, line[own:]...), '\n')
	}
	if own < 0 || len(r.in) > 0 && r.in[len(r.in)-1] != '\n' && r.at == len(r.in) {
		return false // nothing in it, or a last line without an end: the library knows
	}
	switch head {
	case "|-":
		text = bytes.TrimSuffix(text, []byte("\n"))
	case "|+":
		for ; blank > 0; blank-- {
			text = append(text, '\n')
		}
	}
	r.out = quote(r.out, string(text))
	r.next()
	return r.end || r.indent <= indent
}

// scalar reads one scalar, or a flow collection, and tells what is left behind it.
func (r *reader) scalar(s string, nested int, flow bool) (rest string, ok bool) {
	switch {
	case s == "" || nested > maxNested:
		return "", false
	case s[0] == '"' || s[0] == '\'':
		text, rest, ok := quoted(s)
		if ok {
			r.out = quote(r.out, text)
		}
		return rest, ok
	case s[0] == '[' || s[0] == '{':
		return r.flow(s, nested+1)
	}
	n := len(s)
	for i := range len(s) {
		if s[i] == '#' && i > 0 && s[i-1] == ' ' || flow && strings.IndexByte(",[]{}?", s[i]) >= 0 {
			n = i
			break
		}
		if s[i] == ':' && (flow || i+1 == len(s) || s[i+1] == ' ') {
			return "", false
		}
	}
	text := strings.TrimRight(s[:n], " ")
	value, ok := resolve(text)
	if !ok {
		return "", false
	}
	if value == "" {
		r.out = quote(r.out, text)
	} else {
		r.out = append(r.out, value...)
	}
	return s[len(text):], true
}

// flow reads a flow collection on one line.
func (r *reader) flow(s string, nested int) (rest string, ok bool) {
	open, shut := s[0], byte(']')
	if open == '{' {
		shut = '}'
	}
	var seen keys
	r.out = append(r.out, open)
	s = strings.TrimLeft(s[1:], " ")
	for n := 0; ; n++ {
		if s == "" || n == 0 && s[0] == shut {
			break
		}
		if n > 0 {
			r.out = append(r.out, ',')
		}
		if open == '{' {
			key, after, ok := keyOf(s)
			if !ok || !seen.add(key) || after == "" {
				return "", false
			}
			r.out = append(quote(r.out, key), ':')
			s = after
		}
		if s, ok = r.scalar(s, nested, true); !ok {
			return "", false
		}
		if s = strings.TrimLeft(s, " "); s == "" || s[0] != ',' {
			break
		}
		s = strings.TrimLeft(s[1:], " ")
	}
	if s == "" || s[0] != shut {
		return "", false
	}
	r.out = append(r.out, shut)
	return s[1:], true
}

// quoted reads a quoted scalar that ends on its line.
func quoted(s string) (text, rest string, ok bool) {
	mark := s[0]
	var b []byte
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == mark && mark == '\'' && i+1 < len(s) && s[i+1] == mark:
			b = append(b, mark)
			i++
		case c == mark:
			return string(b), s[i+1:], true
		case c == '\\' && mark == '"':
			if i++; i == len(s) {
				return "", "", false
			}
			at := strings.IndexByte(`"\nt`, s[i])
			if at < 0 {
				return "", "", false
			}
			b = append(b, "\"\\\n\t"[at])
		default:
			b = append(b, c)
		}
	}
	return "", "", false
}

// keyOf reads a key and what follows its colon.
func keyOf(s string) (key, rest string, ok bool) {
	if s == "" {
		return "", "", false
	}
	if s[0] == '"' || s[0] == '\'' {
		if key, rest, ok = quoted(s); !ok || rest == "" || rest[0] != ':' {
			return "", "", false
		}
		rest = rest[1:]
	} else {
		n := 0
		for n < len(s) && (isLetter(s[n]) || s[n] >= '0' && s[n] <= '9' || strings.IndexByte("._-/", s[n]) >= 0) {
			n++
		}
		if n == 0 || n == len(s) || s[n] != ':' || !isLetter(s[0]) || slices.Contains(words, strings.ToLower(s[:n])) {
			return "", "", false
		}
		key, rest = s[:n], s[n+1:]
	}
	if len(key) > 1000 || rest != "" && rest[0] != ' ' { // longer ones are no keys
		return "", "", false
	}
	return key, strings.TrimLeft(rest, " "), true
}

func isLetter(b byte) bool { return b|0x20 >= 'a' && b|0x20 <= 'z' }

// words are those that mean something else than themselves, somewhere.
var words = []string{"y", "yes", "n", "no", "on", "off", "true", "false", "null", "nan", "inf"}

// resolve tells what a plain scalar is: value is its JSON, empty for a string. Not ok: the library knows.
func resolve(s string) (value string, ok bool) {
	if s == "" {
		return "", false
	}
	switch c := s[0]; {
	case s == "true" || s == "false":
		return s, true
	case s == "null":
		return "null", true
	case isLetter(c):
		return "", !slices.Contains(words, strings.ToLower(s))
	case c == '/' || c == '$' || c == '(' || c == '_' || strings.HasPrefix(s, "--") && s != "---" || strings.HasPrefix(s, "./"):
		return "", true
	case c >= '0' && c <= '9' || c == '-':
		digits := strings.TrimPrefix(s, "-")
		if strings.Trim(digits, "0123456789") == "" {
			if len(digits) == 0 || len(digits) > 18 || digits[0] == '0' && s != "0" {
				return "", false
			}
			return s, true
		}
		if c == '-' {
			return "", isLetter(digits[0]) // an option
		}
		whole, part, _ := strings.Cut(s, ".")
		if strings.Trim(whole, "0123456789") == "" && part != "" && strings.Trim(part, "0123456789") == "" {
			f, err := strconv.ParseFloat(s, 64)
			if err != nil {
				return "", false
			}
			data, err := json.Marshal(f)
			return string(data), err == nil
		}
		if strings.Trim(s, "0123456789.") == "" && strings.Count(s, ".") > 1 && !strings.HasSuffix(s, ".") {
			return "", true // an address, a version
		}
		return "", strings.IndexFunc(s, neverInNumbers) >= 0
	}
	return "", false
}

// neverInNumbers: no number, of whatever base, and no time has it.
func neverInNumbers(c rune) bool { return strings.ContainsRune("ghijklmnpqrsuvwGHIJKLMNPQRSUVW/", c) }

// keys are those of one mapping.
type keys struct {
	few  []string
	many map[string]bool
}

// add reports whether the key is new.
func (k *keys) add(key string) bool {
	if k.many != nil {
		before := len(k.many)
		k.many[key] = true
		return len(k.many) > before
	}
	if slices.Contains(k.few, key) {
		return false
	}
	if k.few = append(k.few, key); len(k.few) > 16 {
		k.many = make(map[string]bool, 32)
		for _, one := range k.few {
			k.many[one] = true
		}
	}
	return true
}

// quote appends a string in JSON.
func quote(b []byte, s string) []byte {
	b = append(b, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c == '\n':
			b = append(b, '\\', 'n')
		case c == '\t':
			b = append(b, '\\', 't')
		default: // there are no other control characters in what is read here
			b = append(b, c)
		}
	}
	return append(b, '"')
}
