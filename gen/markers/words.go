package markers

import (
	_ "embed"
	"encoding/json"
	"strings"
	"sync"
)

// Word is what the published documents say of a type or a field beside how it merges.
type Word struct {
	Doc     string          // of what has no SwaggerDoc
	Enum    []Value         // all values that a string type has
	Union   bool            // a struct of which one field is set
	Decides string          // in a union: the Go name of the field that says which
	Default json.RawMessage // of a field, if it is no string
	Atomic  bool            // bytes that are called a list
	Needed  string          // "optional" or "required", where the comment says otherwise than omitempty does
	Gap     bool            // an empty line ends what is said of a field
}

// Value is one of an enumeration's.
type Value struct{ Text, Doc string }

//go:embed words.txt
var wordsText string

var words = sync.OnceValue(func() map[string]Word {
	all := map[string]Word{}
	for line := range strings.Lines(wordsText) {
		name, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		kind, rest, _ := strings.Cut(rest, " ")
		w := all[name]
		switch kind {
		case "doc":
			w.Doc = strings.ReplaceAll(rest, "\v", "\n")
		case "enum":
			value, doc, _ := strings.Cut(rest, "\t")
			w.Enum = append(w.Enum, Value{value, doc})
		case "atomic":
			w.Atomic = true
		case "optional", "required":
			w.Needed = kind
		case "gap":
			w.Gap = true
		case "union":
			w.Union, w.Decides = true, rest
		case "default":
			w.Default = json.RawMessage(rest)
		}
		all[name] = w
	}
	return all
})

// OfType are the words about a type, by its package's path and its name.
func OfType(path, name string) Word { return words()[path+"."+name] }

// OfField are those about a field of a struct type, by its Go name.
func OfField(path, name, field string) Word { return words()[path+"."+name+"."+field] }
