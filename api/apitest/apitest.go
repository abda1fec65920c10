// Package apitest puts records to the test in words: manifests go in as YAML; what
// defaulting adds, what validation says and what a table shows come out as text.
// Only tests import it.
package apitest

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/lighter-k8s/lighter/api"
)

// Read makes an object of the resource from YAML; unknown fields end the test.
func Read(t testing.TB, i *api.Info, text string) api.Object {
	t.Helper()
	o := i.New()
	if err := yaml.UnmarshalStrict([]byte(strings.ReplaceAll(text, "\t", "  ")), o); err != nil {
		t.Fatalf("read %s: %v\n%s", i.Kind, err, text)
	}
	return o
}

// Defaulted reads an object and defaults it.
func Defaulted(t testing.TB, i *api.Info, text string) api.Object {
	t.Helper()
	o := Read(t, i, text)
	i.Default(o)
	return o
}

// Added tells what defaulting adds to or changes in a manifest, a line for each
// value: "spec.restartPolicy=Always". It fails if defaulting twice does more.
func Added(t testing.TB, i *api.Info, text string) string {
	t.Helper()
	before := lines(t, Read(t, i, text))
	o := Defaulted(t, i, text)
	after := lines(t, o)
	i.Default(o)
	if again := lines(t, o); !slices.Equal(again, after) {
		t.Errorf("defaulting %s twice changes it:\n%s\nthen\n%s", i.Kind, strings.Join(after, "\n"), strings.Join(again, "\n"))
	}
	return strings.Join(slices.DeleteFunc(after, func(l string) bool { return slices.Contains(before, l) }), "\n")
}

// Check creates (old is "") or updates an object as the registry does and gives the
// complaints, a line each.
func Check(t testing.TB, i *api.Info, text, old string) string {
	t.Helper()
	var was api.Object
	if old != "" {
		was = Defaulted(t, i, old)
		i.Prepare(was, nil)
	}
	o := Defaulted(t, i, text)
	i.Prepare(o, was)
	var list []string
	for _, err := range i.Validate(o, was) {
		list = append(list, err.Error())
	}
	return strings.Join(list, "\n")
}

// Row shows an object as a line of its table, cells parted by " | ", wide ones in
// brackets; Header the names of the columns.
func Row(i *api.Info, o api.Object) string {
	return row(i, func(c api.Column[api.Object]) string { return fmt.Sprint(c.Show(o)) })
}

// Header is the head of the table.
func Header(i *api.Info) string {
	return row(i, func(c api.Column[api.Object]) string { return c.Name })
}

func row(i *api.Info, cell func(api.Column[api.Object]) string) string {
	var words []string
	for _, c := range i.Table() {
		word := cell(c)
		if c.Priority > 0 {
			word = "[" + word + "]"
		}
		words = append(words, word)
	}
	return strings.Join(words, " | ")
}

func lines(t testing.TB, o api.Object) []string {
	t.Helper()
	data, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	var tree any
	if err := json.Unmarshal(data, &tree); err != nil {
		t.Fatal(err)
	}
	var list []string
	flatten("", tree, &list)
	slices.Sort(list)
	return list
}

func flatten(path string, v any, list *[]string) {
	switch v := v.(type) {
	case map[string]any:
		if len(v) == 0 && path != "" {
			*list = append(*list, path+"={}")
		}
		for key, value := range v {
			flatten(strings.TrimPrefix(path+"."+key, "."), value, list)
		}
	case []any:
		for i, value := range v {
			flatten(fmt.Sprintf("%s[%d]", path, i), value, list)
		}
	case nil:
	default:
		*list = append(*list, fmt.Sprintf("%s=%v", path, v))
	}
}
