package apiserver

import (
	"bytes"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lighter-k8s/lighter/api"
)

// What clients send costs no more than a second and 24 times its bytes, or 32 MiB. Most of these bounds upstream has not, and takes
// the time and the memory; none is near what objects are like.
const (
	maxValues   = 100000    // in the body of an object or an apply: each costs some hundred bytes until it is stored
	maxTurned   = 20000     // in the body of an object in another version than it is stored in: each step of a write turns it into that one
	maxPatched  = 50000     // in another patch's, which are read into maps twice
	maxShifted  = 2 << 20   // elements of lists that a JSON patch moves by one place
	maxCompared = 1 << 20   // pairs of elements of lists that a strategic merge patch looks at
	maxURL      = 128 << 10 // bytes
	maxSelector = 32 << 10  // bytes
)

func tooMuch(format string, args ...any) error {
	return apierrors.NewRequestEntityTooLargeError(fmt.Sprintf(format, args...))
}

// census counts what is in a JSON document without reading it: its values (about), its objects, and the longest list.
func census(doc []byte) (values, objects, longest int) { return count(doc, false) }

// count is census. Of a document that becomes a Go type what is in its managedFields need not count: it stays the bytes that it is.
// What is called so elsewhere, such as in a definition's defaults, counts.
func count(doc []byte, typed bool) (values, objects, longest int) {
	var lists []int // the lengths of those that are open; -1: an object
	text := false
	within := 0 // how far down metadata.managedFields the place is: so much of the path is as deep as it should be
	for i := 0; i < len(doc); i++ {
		c := doc[i]
		switch {
		case typed && !text && c == '"' && len(lists) == depths[within] && bytes.HasPrefix(doc[i:], owned[within]):
			i += len(owned[within]) - 1
			if within < len(owned)-1 { // what it opens is within
				within++
				i--
				continue
			}
			for depth := 1; depth > 0 && i+1 < len(doc); {
				switch i++; {
				case text && doc[i] == '\\':
					i++
				case doc[i] == '"':
					text = !text
				case text:
				case doc[i] == '{':
					depth++
				case doc[i] == '}':
					depth--
				}
			}
		case text && c == '\\':
			i++
		case c == '"':
			text = !text
		case text:
		case c == '[':
			values++
			lists = append(lists, 1)
		case c == '{':
			values, objects = values+1, objects+1
			lists = append(lists, -1)
		case c == ',':
			values++
			if n := len(lists); n > 0 && lists[n-1] > 0 {
				lists[n-1]++
			}
		case c == ']' || c == '}':
			if n := len(lists); n > 0 {
				longest = max(longest, lists[n-1])
				lists = lists[:n-1]
			}
			if within > 0 && len(lists) == depths[within-1] {
				within--
			}
		}
	}
	return values, objects, longest
}

// owned is the path to what the managers of an object own, and depths how much is open where each of it stands.
var (
	owned  = [][]byte{[]byte(`"metadata":{`), []byte(`"managedFields":[`), []byte(`"fieldsV1":{`)}
	depths = []int{1, 2, 4}
)

// crowded is the 413 of JSON that would take too much memory as an object of i.
func crowded(i *api.Info, doc []byte) error {
	if len(doc) <= 8<<10 {
		return nil
	}
	most := maxValues
	if i.Turned() {
		most = maxTurned
	}
	values, objects, _ := count(doc, i.Type != nil)
	if values > most {
		return tooMuch("the allowed maximum of values is %d, got %d", most, values)
	}
	if api.HeavyJSON(i, objects, len(doc)) {
		return tooMuch("%v", api.ErrHeavy)
	}
	return nil
}

// crowdedPatch is the 413 of a patch with too many values.
func crowdedPatch(patch []byte) error {
	if len(patch) <= maxPatched {
		return nil
	}
	if values, _, _ := census(patch); values > maxPatched {
		return tooMuch("the allowed maximum of values in a patch is %d, got %d", maxPatched, values)
	}
	return nil
}

// shifting is the 413 of a JSON patch that moves too much: what comes into the middle of a list, or goes from there, moves the rest.
func shifting(p jsonpatch.Patch, doc []byte) error {
	into := map[string]int{} // by the list's path
	longest, anywhere, moved := 0, 0, false
	for _, op := range p {
		path, err := op.Path()
		if err != nil {
			continue // which ends it
		}
		if value := op["value"]; value != nil {
			_, _, most := census(*value)
			longest = max(longest, most)
		}
		kind := op.Kind()
		from, _ := op.From()
		moved = moved || kind == "move" || kind == "copy"
		for _, at := range []string{path, from} {
			list, last, _ := cutLast(at)
			if _, err := strconv.Atoi(last); err == nil && (kind == "add" || kind == "remove" || kind == "move" || kind == "copy") {
				into[list]++
				anywhere++
			}
		}
	}
	if anywhere < 100 {
		return nil
	}
	_, _, most := census(doc)
	longest = max(longest, most)
	shifted := 0
	for _, n := range into {
		if moved { // lists, too
			n = anywhere
		}
		shifted += n * (longest + n/2)
	}
	if shifted > maxShifted {
		return tooMuch("the operations of the patch would move too many elements of lists: up to %d, at most %d", shifted, maxShifted)
	}
	return nil
}

func cutLast(path string) (before, last string, ok bool) {
	n := strings.LastIndexByte(path, '/')
	if n < 0 {
		return "", path, false
	}
	return path[:n], path[n+1:], true
}

// comparing is the 413 of a strategic merge patch of too long lists: each element of one is looked for among those of the other.
func comparing(patch, doc []byte) error {
	_, _, more := census(patch)
	if more < 100 {
		return nil
	}
	_, _, there := census(doc)
	if n := more * (more + there); n > maxCompared {
		return tooMuch("the patch would compare too many elements of lists: up to %d, at most %d", n, maxCompared)
	}
	return nil
}

// longURL is what is wrong with a URL that nobody has to read; nil: nothing.
func longURL(r *http.Request) error {
	if n := len(r.RequestURI); n > maxURL {
		return &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: http.StatusRequestURITooLong, Reason: metav1.StatusReasonBadRequest,
			Message: fmt.Sprintf("the allowed maximum of bytes in a URL is %d, got %d", maxURL, n)}}
	}
	return nil
}

// longSelector refuses one that takes a thousand times its bytes to parse.
func longSelector(selector string) error {
	if len(selector) > maxSelector {
		return apierrors.NewBadRequest(fmt.Sprintf("the allowed maximum of bytes in a selector is %d, got %d", maxSelector, len(selector)))
	}
	return nil
}
