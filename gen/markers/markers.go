// Package markers tells how the lists, maps and structs of Kubernetes' types merge: what the comments of their
// source say (+listType, +listMapKey, +mapType, +structType, +default) and Go's types do not. The table is made from the
// source of the k8s.io/api, apimachinery and apiextensions-apiserver modules by its test: `go test ./gen/markers -update`.
package markers

import (
	_ "embed"
	"strings"
	"sync"
)

// Marker is how one field or type merges.
type Marker struct {
	Atomic   bool     // a list, map or struct that is owned as a whole
	Granular bool     // a field whose type would be atomic, but here is not
	Set      bool     // a list of values, each once
	Keys     []string // of a list of structs told apart by these fields' JSON names
	Default  *string  // of a string
}

//go:embed markers.txt
var text string

var table = sync.OnceValue(func() map[string]Marker {
	all := map[string]Marker{}
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		var m Marker
		switch words[1] {
		case "atomic":
			m.Atomic = true
		case "granular":
			m.Granular = true
		case "set":
			m.Set = true
		case "map":
			m.Keys = words[2:]
		case "default":
			value := strings.Join(words[2:], " ")
			m.Default = &value
		}
		all[words[0]] = m
	}
	return all
})

// Type is the marker of a struct type, by its package's path and its name.
func Type(path, name string) Marker { return table()[path+"."+name] }

// Field is the marker of a field of a struct type, by its Go name. A list without a marker is atomic.
func Field(path, name, field string) Marker { return table()[path+"."+name+"."+field] }
