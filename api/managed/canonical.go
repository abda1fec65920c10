package managed

import (
	"bytes"
	"slices"
	"strings"
	"unicode/utf8"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// mostOdd is how many bytes of an object's FieldsV1 the library puts into its form: more, and nobody can read them.
const mostOdd = 256 << 10

// canonical reads what somebody wrote by hand: one entry a manager, in the one form that sets have.
func canonical(entries []metav1.ManagedFieldsEntry) (out []metav1.ManagedFieldsEntry, fields []*set, ok bool) {
	entries = slices.Clone(entries)
	last, read, odd := make(map[identity]int, len(entries)), make([]*set, len(entries)), 0
	for n, e := range entries {
		if !valid(e) {
			return nil, nil, false
		}
		raw := []byte("{}")
		if e.FieldsV1 != nil {
			raw = e.FieldsV1.GetRawBytes()
		}
		if s, err := readPlain(raw); err == nil {
			entries[n].FieldsV1, read[n] = s.encodeAs(e.FieldsV1), s
		} else if odd += len(raw); odd > mostOdd {
			return nil, nil, false
		} else if entries[n].FieldsV1, ok = byLibraryForm(raw); !ok {
			return nil, nil, false
		}
		last[identify(e)] = n
	}
	for n, e := range entries {
		if last[identify(e)] == n {
			out, fields = append(out, e), append(fields, read[n])
		}
	}
	return out, fields, true
}

// identity is what tells managers apart.
type identity struct {
	manager, subresource, version string
	operation                     metav1.ManagedFieldsOperationType
}

func identify(e metav1.ManagedFieldsEntry) identity {
	if e.Operation == metav1.ManagedFieldsOperationApply { // appliers are one over all versions
		e.APIVersion = ""
	}
	return identity{e.Manager, e.Subresource, e.APIVersion, e.Operation}
}

// byLibraryForm is the library's form of a set, which it takes forty times its bytes to find.
func byLibraryForm(raw []byte) (*metav1.FieldsV1, bool) {
	var s fieldpath.Set
	if err := s.FromJSON(bytes.NewReader(raw)); err != nil {
		return nil, false
	}
	data, err := s.ToJSON()
	return metav1.NewFieldsV1(string(data)), err == nil
}

// plainElement tells whether a path element is in its one form, as far as that is easy to tell.
func plainElement(key string) bool {
	switch key[0] {
	case 'f':
		return true
	case 'v':
		rest, ok := plainValue(key[2:])
		return ok && rest == ""
	case 'k':
		rest, ok := strings.CutPrefix(key[2:], "{")
		for before := ""; ok; {
			name := rest
			if rest, ok = plainText(rest); !ok {
				return false
			}
			if name = name[:len(name)-len(rest)]; name <= before || !strings.HasPrefix(rest, ":") {
				return false
			}
			before = name
			if rest, ok = plainValue(rest[1:]); !ok || rest == "}" {
				return ok
			}
			rest, ok = strings.CutPrefix(rest, ",")
		}
	}
	return false
}

// plainValue cuts a JSON string of plain letters off, or an integer that a float holds, or a boolean.
func plainValue(s string) (rest string, ok bool) {
	if rest, ok = strings.CutPrefix(s, "true"); ok {
		return rest, true
	}
	if rest, ok = strings.CutPrefix(s, "false"); ok {
		return rest, true
	}
	digits := strings.TrimPrefix(s, "-")
	n := 0
	for n < len(digits) && isDigit(digits[n]) {
		n++
	}
	if n > 0 {
		return digits[n:], n <= 14 && (digits[0] != '0' || n == 1 && s[0] == '0')
	}
	return plainText(s)
}

// plainText cuts a JSON string off that has nothing to escape.
func plainText(s string) (rest string, ok bool) {
	if !strings.HasPrefix(s, `"`) {
		return s, false
	}
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return s[i+1:], true
		case c >= utf8.RuneSelf:
			r, size := utf8.DecodeRuneInString(s[i:])
			if size == 1 || r == '\u2028' || r == '\u2029' {
				return s, false
			}
			i += size - 1
		case c < ' ' || c > '~' || c == '\\' || c == '<' || c == '>' || c == '&':
			return s, false
		}
	}
	return s, false
}
