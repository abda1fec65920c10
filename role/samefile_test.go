package role_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// sameFile is one file of testdata/same: a resource, an object of it, and what an API server answers when that is
// written with some fields set to something else. Strings of many equal letters are written <a*64>.
type sameFile struct {
	Head     string         `json:"-"`        // the comment at the top
	Source   string         `json:"source"`   // recorded from an upstream server, or documented; a case may say otherwise
	Resource string         `json:"resource"` // its path: apis/apps/v1/deployments
	Few      string         `json:"few"`      // why there are fewer than ten valid or twenty invalid objects of it
	Object   map[string]any `json:"object"`
	Cases    []sameCase     `json:"cases"`
}

// sameCase is one request and its answer. Of a stored object it says what differs from what was sent.
type sameCase struct {
	Name     string         `json:"name"`
	Source   string         `json:"source"`
	Op       string         `json:"op"`  // "" is create; update and status write the stored object, patch sends Set as a merge patch; post and send take Body
	Sub      string         `json:"sub"` // the subresource that an update, patch, post or send is for
	Body     any            `json:"body"`
	As       string         `json:"as"`  // what kind of patch a send is: json, merge, strategic, apply
	Set      map[string]any `json:"set"` // by path; null removes
	Strict   bool           `json:"strict"`
	Stored   map[string]any `json:"stored"` // by path; null: it is not there; whatever every answer adds stands in the first case alone
	Status   *sameStatus    `json:"status"`
	Warnings []string       `json:"warnings"`
	Differs  string         `json:"differs"` // why our answer is another one
}

// sameStatus is what a refusal says. A message that follows from the causes is left out.
type sameStatus struct {
	Code    int      `json:"code"`
	Reason  string   `json:"reason"`
	Kind    string   `json:"kind"` // that the details of an Invalid name, if it is not the object's
	Message string   `json:"message"`
	Causes  []string `json:"causes"` // "<reason> <field>: <message>"
}

func readSame(t *testing.T, name string) (f sameFile) {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if !strings.HasPrefix(line, "#") {
			break
		}
		f.Head += line
	}
	data, err = yaml.YAMLToJSONStrict(data)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	d := json.NewDecoder(strings.NewReader(stretch(strings.NewReplacer(`\u003c`, "<", `\u003e`, ">").Replace(string(data)))))
	d.DisallowUnknownFields()
	if err := d.Decode(&f); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return f
}

// write puts the file in the form that people read.
func (f sameFile) write(t *testing.T, name string) {
	t.Helper()
	var b strings.Builder
	b.WriteString(f.Head)
	fmt.Fprintf(&b, "source: %s\nresource: %s\n", f.Source, f.Resource)
	if f.Few != "" {
		fmt.Fprintf(&b, "few: %s\n", line(f.Few))
	}
	b.WriteString("object:\n")
	for _, key := range slices.Sorted(maps.Keys(f.Object)) {
		fmt.Fprintf(&b, "  %s: %s\n", key, line(f.Object[key]))
	}
	b.WriteString("cases:\n")
	for _, c := range f.Cases {
		fmt.Fprintf(&b, "- name: %s\n", line(c.Name))
		field := func(name string, there bool, value any) {
			if there {
				fmt.Fprintf(&b, "  %s: %s\n", name, line(value))
			}
		}
		field("source", c.Source != "", c.Source)
		field("op", c.Op != "", c.Op)
		field("sub", c.Sub != "", c.Sub)
		field("as", c.As != "", c.As)
		field("body", c.Body != nil, c.Body)
		field("set", len(c.Set) > 0, c.Set)
		field("strict", c.Strict, true)
		field("differs", c.Differs != "", c.Differs)
		field("warnings", len(c.Warnings) > 0, c.Warnings)
		field("stored", c.Status == nil, c.Stored)
		if s := c.Status; s != nil {
			fmt.Fprintf(&b, "  status: {code: %d", s.Code)
			if s.Reason != "" {
				fmt.Fprintf(&b, ", reason: %s", s.Reason)
			}
			if s.Kind != "" {
				fmt.Fprintf(&b, ", kind: %s", line(s.Kind))
			}
			if s.Message != "" {
				fmt.Fprintf(&b, ", message: %s", line(s.Message))
			}
			if len(s.Causes) == 1 {
				fmt.Fprintf(&b, ", causes: [%s]", line(s.Causes[0]))
			} else if len(s.Causes) > 1 {
				b.WriteString(", causes: [")
				for i, c := range s.Causes {
					b.WriteString(strings.Repeat(",", min(i, 1)) + "\n    " + line(c))
				}
				b.WriteString("]")
			}
			b.WriteString("}\n")
		}
	}
	if err := os.WriteFile(name, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

var plain = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9./<>*-]*$`)

// line is a value as YAML on one line.
func line(v any) string {
	switch v := v.(type) {
	case map[string]any:
		var parts []string
		for _, key := range slices.Sorted(maps.Keys(v)) {
			parts = append(parts, line(key)+": "+line(v[key]))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case []any:
		var parts []string
		for _, one := range v {
			parts = append(parts, line(one))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case []string:
		var parts []string
		for _, one := range v {
			parts = append(parts, line(one))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case *sameStatus:
		return line(map[string]any{"code": v.Code, "reason": v.Reason, "kind": v.Kind, "message": v.Message, "causes": v.Causes})
	case string:
		v = shrink(v)
		var back any
		if plain.MatchString(v) && yaml.Unmarshal([]byte(v), &back) == nil && back == v {
			return v
		}
		if !strings.ContainsAny(v, "'\n\t\\") && strings.Contains(v, `"`) {
			return "'" + v + "'"
		}
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err)
	}
	return strings.TrimSpace(b.String())
}

var letters, short = regexp.MustCompile(`a{40,}`), regexp.MustCompile(`<a\*(\d+)>`)

func shrink(s string) string {
	return letters.ReplaceAllStringFunc(s, func(m string) string { return fmt.Sprintf("<a*%d>", len(m)) })
}

func stretch(s string) string {
	return short.ReplaceAllStringFunc(s, func(m string) string {
		n, _ := strconv.Atoi(m[3 : len(m)-1])
		return strings.Repeat("a", n)
	})
}

var word = regexp.MustCompile(`^[A-Za-z0-9_$-]+$`)

// spread lists an object's values by their paths.
func spread(path string, v any, out map[string]any) {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			at := `["` + key + `"]`
			if word.MatchString(key) {
				at = strings.TrimPrefix("."+key, strings.Repeat(".", 1-min(len(path), 1)))
			}
			spread(path+at, value, out)
		}
		if len(v) > 0 {
			return
		}
	case []any:
		for i, value := range v {
			spread(fmt.Sprintf("%s[%d]", path, i), value, out)
		}
		if len(v) > 0 {
			return
		}
	case nil:
		return
	}
	out[path] = v
}

var step = regexp.MustCompile(`\["([^"]*)"\]|\[(\d+)\]|\.?([A-Za-z0-9_$-]+)`)

// put gives v with the value at a path set, or removed by nil; what is on the way is made. A list grows at its end.
func put(v any, path string, value any) any {
	m := step.FindStringSubmatch(path)
	if m == nil {
		return value
	}
	rest := path[len(m[0]):]
	if m[2] != "" {
		list, _ := v.([]any)
		i, _ := strconv.Atoi(m[2])
		if i >= len(list) {
			return append(list, put(nil, rest, value))
		}
		if rest == "" && value == nil {
			return slices.Delete(list, i, i+1)
		}
		list[i] = put(list[i], rest, value)
		return list
	}
	o, _ := v.(map[string]any)
	if o == nil {
		o = map[string]any{}
	}
	if key := m[1] + m[3]; rest == "" && value == nil {
		delete(o, key)
	} else {
		o[key] = put(o[key], rest, value)
	}
	return o
}

// said puts a Status into the form of the files; object and sort are the name and kind of what was sent.
func said(s metav1.Status, object, sort string) *sameStatus {
	out := &sameStatus{Code: int(s.Code), Reason: string(s.Reason), Message: settle(s.Message)}
	if s.Details == nil {
		return out
	}
	if s.Reason == metav1.StatusReasonInvalid && s.Details.Kind != sort {
		out.Kind = "none"
		if s.Details.Kind != "" {
			out.Kind = s.Details.Kind
		}
	}
	var texts []string
	for _, c := range s.Details.Causes {
		out.Causes = append(out.Causes, settle(fmt.Sprintf("%s %s: %s", c.Type, c.Field, c.Message)))
		if text := settle(fmt.Sprintf("%s: %s", c.Field, c.Message)); !slices.Contains(texts, text) {
			texts = append(texts, text)
		}
	}
	kind := s.Details.Kind
	if s.Details.Group != "" {
		kind += "." + s.Details.Group
	}
	text := strings.Join(texts, ", ")
	if len(texts) > 1 {
		text = "[" + text + "]"
	}
	if out.Message == settle(fmt.Sprintf("%s %q is invalid: %s", kind, object, text)) {
		out.Message = ""
	}
	return out
}
