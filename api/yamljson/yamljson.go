// Package yamljson turns a request's YAML into JSON within bounds: what comes in is a body of at most some megabytes, what goes out
// is JSON, or the error that the library has for it. Manifests as they are written cost a few times their bytes. All else of YAML
// (anchors, tags, folded text, several lines in one scalar, ...) is the library's, which makes some hundred bytes of each
// value, and of a name for a value whatever that stands for: there, what a document may hold is bounded.
package yamljson

import (
	"bytes"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"
	goyaml "sigs.k8s.io/yaml/goyaml.v2"

	"github.com/lighter-k8s/lighter/api"
)

// maxMarks bounds the characters that can begin a value in what the library reads. Each costs up to 700 bytes, the whole up to 32 MiB.
const maxMarks = 30000

// ErrTooMany says that a document has more in it than is read in YAML.
var ErrTooMany = errors.New("too many values for YAML in this style; send it as JSON")

// Convert gives the JSON of a YAML document, and in twice what says that keys are given more than once, of which the last counts.
func Convert(body []byte) (doc []byte, twice, err error) {
	if doc, ok := plain(body); ok {
		return doc, nil, nil
	}
	return Library(body)
}

// Library is Convert by the library alone: keys come in the order of the alphabet.
func Library(body []byte) (doc []byte, twice, err error) {
	if marks(body) > maxMarks {
		return nil, nil, ErrTooMany
	}
	if bytes.IndexByte(body, '*') >= 0 && bytes.IndexByte(body, '&') >= 0 {
		var v any
		if err := goyaml.Unmarshal(body, &v); err == nil && size(v, most(body)) < 0 {
			return nil, nil, ErrTooMany
		}
	}
	if doc, twice = yaml.YAMLToJSONStrict(body); twice == nil {
		return doc, nil, nil
	}
	if doc, err = yaml.YAMLToJSON(body); err != nil {
		return nil, nil, err
	}
	return doc, twice, nil
}

// Decode is api.DecodeJSON for YAML bodies. Keys given twice are found before YAML becomes JSON, where they would be lost.
func Decode(obj runtime.Object, body []byte) (strict []error, err error) {
	doc, twice, err := Library(body)
	if err != nil {
		return nil, err
	}
	strict, err = api.DecodeJSON(obj, doc)
	if twice != nil {
		strict = append([]error{twice}, strict...)
	}
	return strict, err
}

// marks counts what can begin or end a value: there are at most twice as many values.
func marks(body []byte) (n int) {
	for i, b := range body {
		switch b {
		case ',', '[', '{', ':', '?', '\n':
			n++
		case '-':
			if i+1 == len(body) || body[i+1] == ' ' || body[i+1] == '\n' || body[i+1] == '\t' {
				n++
			}
		}
	}
	return n
}

// most is how much a document with anchors may become, in bytes.
func most(body []byte) int { return 1<<20 + 2*len(body) }

// size takes what v is worth in memory from left; below zero it ends. Values that have several names count as often as they are named.
func size(v any, left int) int {
	if left -= 16; left < 0 {
		return left
	}
	switch v := v.(type) {
	case string:
		left -= len(v)
	case []any:
		for _, item := range v {
			if left = size(item, left); left < 0 {
				break
			}
		}
	case map[any]any:
		for key, value := range v {
			if left = size(value, size(key, left)); left < 0 {
				break
			}
		}
	default:
		left -= len(fmt.Sprint(v))
	}
	return left
}
