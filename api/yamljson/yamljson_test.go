package yamljson

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// same holds the plain reader's answer, if it has one, against the library's.
func same(t *testing.T, body []byte) (read bool) {
	t.Helper()
	got, ok := plain(body)
	if !ok {
		return false
	}
	want, err := yaml.YAMLToJSONStrict(body)
	if err != nil {
		t.Fatalf("%q: read as %s, the library says: %v", body, got, err)
	}
	if a, b := values(t, got), values(t, want); !reflect.DeepEqual(a, b) {
		t.Fatalf("%q: read as %s, by the library as %s", body, got, want)
	}
	return true
}

func values(t *testing.T, doc []byte) (v any) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(doc))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%s: %v", doc, err)
	}
	return v
}

const manifest = `---
# what people write
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web   # a name
  labels: {app: web, "tier": 'front'}
  annotations:
    example.com/text: |
      first: line
        deeper

      # no comment
    example.com/kept: |+
      a

    example.com/cut: |-
      b
spec:
  replicas: 3
  paused: false
  template:
    spec:
      containers:
      - name: c
        image: registry.example.com/web:1.2.3
        args: ["--flag=x", '-v', "a\nb"]
        command:
        - sh
        - -c
        - "echo \"hi\""
        resources:
          limits: {cpu: 100m, memory: 1Gi}
        env:
        -   name: A
            value: "1"
        - name: B
          value:
        ports: []
      -
        name: d
        securityContext: {}
      hostAliases:
      - ip: 10.0.0.1
      - - x
        - z
  ratio: 1.50
  url: http://example.com/#a
  empty:
long: what is written
  on several lines - and
  goes on
longer: 'it''s: quoted
  so'
last: {a: [b, {c: -1}]}
`

// TestPlain: manifests as they are written need no library.
func TestPlain(t *testing.T) {
	body := manifest
	if !same(t, []byte(body)) {
		t.Error("a manifest was left to the library")
	}
	for _, line := range strings.Split(body, "\n") { // any line gone, or shifted
		same(t, []byte(strings.Replace(body, line+"\n", "", 1)))
		same(t, []byte(strings.Replace(body, line+"\n", " "+line+"\n", 1)))
	}
}

// odd is what the plain reader must not get wrong.
var odd = []string{"a: b\n  c\n\n  d\n", "a: b\n  - c\n", "a: b\n  # c\n  d\n", "a: b\n  c #d\n", "a: b\n  c: d\n", "a: b\n  'c'\n", "a: 'b'\n  c\n", "a: b #c\n  d\n", "a: 1\n  2\n", "a: 'b\n  c\n", "a: 'b\n\n  c'\n", "a: 'b\n # c'\n", "a: 'b\nc'\n", "a: 'b  \n   c'\n", "a: \"b\\\n  c\"\n", "a: \"b\\\\\n  c\"\n", "- 'a\n  b'\n", "a:\n- 'b\n  c'\n- d\n  e\n", "a:\n- 'b\n  c': d\n", "a: b\n  \"c\"\n  |\n", "a: b\n  ---\n", "a: 'b\n  ---'\n",
	"a: b: c\n", "a: 'x' y\n", "a: \"x\" # y\n", "a: 0x1F\n", "a: 1_000\n", "a: 10:30\n", "a: 2026-01-02\n", "a: 1e3\n", "a: 1e3g\n", "a: 007\n", "a: -0\n", "a: .5\n", "a: 1.\n", "a: 1.0\n", "a: 1.2.3\n",
	"a: 0.1\n", "a: 123456789012345678\n", "a: Yes\n", "a: ~\n", "a: y\n", "on: a\n", "1: a\n", "true: a\n", "<<: {a: b}\n", "a: <<\n", "a: =\n", "a: &x b\nc: *x\n", "a: !!str 1\n", "? a\n: b\n", "a: >\n  b\n  c\n", "a: b\n c\n", "a: \"b\n  c\"\n",
	"a: |2\n   b\n", "a: |\n    b\n  c\n", "a: |\n\n\n  b\n", "a: |\n     \n  b\n", "a: |\nb: c\n", "a: |\n  b", "a: |\n  b\n   \n", "a: |+\n  b\n\n\n", "a: |-\n  b\n\n\n", "a: |\n  b\n# c\nd: e\n", "a: |\n  b\n # c\nd: e\n", "- a\n", "a\n", "", "---\n", "---\na: b\n---\nc: d\n",
	"a: b\n...\n", "a: [b, c\n  ]\n", "a: [b,c]\n", "a: [b,]\n", "a: [,]\n", "a: {b}\n", "a: {b: }\n", "a: {b: c, b: d}\n", "a: [b c, d]\n", "a: [b:c]\n", "a: {b: c:d}\n", "a: [a#b, c #d]\n", "a: b#c\n", "a: b #c\n", "a: #c\n", "a:\n- b\n- c\nd: e\n", "a:\n  - b\n - c\n",
	"a:\n  b: c\n d: e\n", "a: -\n", "a: --\n", "a: ---\n", "a: --- b\n", "--- a: b\n", "a:\n  - - b\n    - c\n  - d\n", "a:\n- b: c\n  d: e\n-  f: g\n   h: i\n", "a:\n- b:\n  - c\n  d: e\n", "a:\n- b:\n- c\n", "a:\n-\n- \n", "a:\n-\n  b: c\n", "a:\n  -\n  b: c\n", "a:\n- # x\n- y\n", "a: b\na: c\n", "\"a\": b\n'a': c\n",
	"\"a\\u0041\": b\n", "a: 'it''s'\n", "a: \"x\\\"y\"\n", "a: \"\"\n", "a: ''\n", "a: [\"\", '']\n", "a: é\n", "a: \u0085\n", "a:  b  \n", "a : b\n", "a:b\n", "a: @b\n", "a: `b\n", "a: %b\n", "%YAML 1.1\n---\na: b\n", "a: [b]c\n", "a: {b: c}d\n", "a: {b: 'c'd}\n", "a: {b: [c]d}\n", "a: /b: c\n", "a: (b\n", "a: 1g\n", "a: 1/2\n",
	"a: [1/2, 1g, 10.0.0.1, --x]\n", "a: 0b1\n", "a: 0o7\n", "a: 1.5e3\n", "a: 99999999999999999999\n", "a: 1.2.\n", "a: [?]\n", "a: [? b]\n", "a: [a?b]\n", "a: a?b\n", "a: {\"b\":c}\n", "a: {\"b\": c}\n", "a: [\"b\":c]\n", "a: [\"b\": c]\n", "a:\n  b\n", "a:\n\n\n  b: c\n", "  a: b\n", " a: b\nc: d\n", "---\n  a: b\n", "--- # x\na: b\n", "# x\n---\na: b\n", "a: b\n---\n", "a: b # c: d\n", "a: 'b' # c\n", "a: 'b'# c\n", "a: [b]# c\n", "a: |# c\n  b\n", "a: | # c\n  b\n",
	"a: |\n  b\n c: d\n", "a:\n- |\n  b\n- c\n", "a:\n- |\n b\n", "a:\n  - |\n   b\n", "a:\n- a: |\n   b\n", "a:\n- a: |\n  b\n", "a:\n- 'b': c\n", "a:\n- b : c\n", "a:\n- \"b\"\n", "a:\n- b:c\n", "a: nUll\n", "a: NaN\n", "a: Inf\n", "a: -.inf\n", "a: .inf\n", "a: ./b\n", "a: .\n", "a: ..\n", "a: _1\n", "a: $1\n", "a: *\n", "a: -b\n", "a: - b\n", "a: ? b\n", "a: , b\n", "a: ]\n", "a: }\n",
}

func TestOdd(t *testing.T) {
	for _, doc := range odd {
		same(t, []byte(doc))
	}
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	t.Log("seed", seed)
	pieces := append([]string{"- ", "-", "  ", " ", "\n", "\n  ", "\n- ", ": ", ":", "a", "b: ", "c:\n", "|", "|-", "|+", "'", "\"", "[", "]", "{", "}", ",", "#", " #", "1", "true", "---", "...", "?", "x y", "''", "\\", "\n\n"}, odd...)
	read := 0
	for range 30000 {
		var b strings.Builder
		b.WriteString("a:")
		for range 1 + random.IntN(9) {
			piece := pieces[random.IntN(33)]
			if random.IntN(8) == 0 {
				piece = pieces[random.IntN(len(pieces))]
			}
			b.WriteString(piece)
		}
		b.WriteByte('\n')
		if same(t, []byte(b.String())) {
			read++
		}
	}
	if read < 100 {
		t.Errorf("%d of the random documents were read", read)
	}
}

func FuzzPlain(f *testing.F) {
	for _, doc := range append(odd, manifest) {
		f.Add([]byte(doc))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if len(body) < 10000 {
			same(t, body)
		}
	})
}

// TestBounds: no body costs more than 32 MiB or 24 times its bytes.
func TestBounds(t *testing.T) {
	const most = 3 << 20
	fill := func(head, line string) string { return head + strings.Repeat(line, (most-len(head))/len(line)) + "\n" }
	many := func(line string) string {
		var b strings.Builder
		for n := 0; b.Len() < most-60; n++ {
			fmt.Fprintf(&b, line, n)
		}
		return b.String()
	}
	flow := func(item string) string { // as many as the library is given
		n := min(maxMarks/marks([]byte(item)), most/len(item)) - 2
		return "a: &x [" + strings.Repeat(item, n) + "]\n"
	}
	bodies := map[string]string{
		"the library: items":   flow("b,"),
		"the library: lists":   flow("[],"),
		"the library: maps":    flow("{},"),
		"the library: entries": flow("{a: b},"),
		"the library: pairs":   flow("a: b,"),
		"the library: words":   flow("[a b c d e f g h i j k l m n o p q r s t u v w x y z],"),
		"the library: lines":   "a: &x\n" + strings.Repeat("- b\n", maxMarks/2-10),
		"the library: keys": "a: &x\n" + func() (s string) {
			for n := range maxMarks/2 - 10 {
				s += fmt.Sprintf(" k%d: b\n", n)
			}
			return s
		}(),
		"the library: twice":   "a: &x\n" + strings.Repeat(" k: b\n", maxMarks/2-10),
		"the library: nested":  "a: &x " + strings.Repeat("[", 9000) + strings.Repeat("]", 9000) + "\n",
		"the library: names":   "a: &x b\nc: [" + strings.Repeat("*x,", maxMarks-10) + "]\n",
		"the library: escapes": "a: &x \"" + strings.Repeat("\\x01", most/4-10) + "\"\n",
		"the library: folded":  "a: &x >\n" + strings.Repeat("  "+strings.Repeat("b ", 60)+"\n", 20000),
		"items":                fill("a:\n", "- b\n"),
		"empty items":          fill("a:\n", "-\n"),
		"small keys":           many("k%d: v\n"),
		"keys in keys":         many("k%d:\n  a: b\n"),
		"empty keys":           many("k%d:\n"),
		"flow":                 "a: [" + strings.Repeat("1,", most/2-10) + "1]\n",
		"open flow":            "a: " + strings.Repeat("[", most-10),
		"flow lists":           "a: [" + strings.Repeat("[],", most/3-10) + "[]]\n",
		"flow maps":            "a: [" + strings.Repeat("{},", most/3-10) + "{}]\n",
		"flow entries":         "a: [" + strings.Repeat("{a: b},", most/7-10) + "{}]\n",
		"dashes":               strings.Repeat("- ", most/2-10) + "a\n",
		"deep":                 "a:\n" + strings.Repeat(" ", 1000) + "b:\n",
		"stairs": func() (s string) {
			for n := range 2400 {
				s += strings.Repeat(" ", n) + "a:\n"
			}
			return s
		}(),
		"question marks":   fill("", "? a\n"),
		"a literal":        fill("a: |\n", "  text, and: more\n"),
		"a long line":      "a: " + strings.Repeat("b", most-10) + "\n",
		"quotes":           "a: \"" + strings.Repeat("\\n", most/2-10) + "\"\n",
		"folded":           fill("a: >\n", "  text and more text\n"),
		"several lines":    fill("a: b\n", "  text and more text\n"),
		"laughs":           "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e,*e,*e,*e]\n",
		"a long name":      "a: &a " + strings.Repeat("b", most/2) + "\nc: [" + strings.Repeat("*a,", 10000) + "*a]\n",
		"merges":           "a: &a {" + strings.Repeat("x, ", 10) + "y}\n" + fill("", "b:\n  <<: *a\n"),
		"the same keys":    fill("", "a: b\n"),
		"anchors":          many("k%d: &a b\n"),
		"tags":             fill("a:\n", "- !!str 1\n"),
		"comments":         fill("a: b\n", "# c\n"),
		"empty lines":      fill("a: b\n", "\n"),
		"documents":        fill("a: b\n", "---\n"),
		"carriage returns": fill("a:\r\n", "- b\r\n"),
		"tabs":             fill("a:\n", "- b\t\n"),
		"floats":           fill("a:\n", "- 1.5\n"),
		"not UTF-8":        fill("a: b\xff\n", "b: c\n"),
	}
	for name, body := range bodies {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			doc, _, err := Convert([]byte(body))
			runtime.ReadMemStats(&after)
			bytes := after.TotalAlloc - before.TotalAlloc
			t.Logf("%d bytes: %d MiB, JSON %d, err %.80v", len(body), bytes>>20, len(doc), err)
			if bytes > max(32<<20, uint64(24*len(body))) {
				t.Errorf("%d MiB for a body of %d bytes", bytes>>20, len(body))
			}
		})
	}
}
