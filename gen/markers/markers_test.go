package markers

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write markers.txt anew")

// The table is what the source of the modules says that go.mod names.
func TestCurrent(t *testing.T) {
	var lines []string
	for module, below := range map[string]string{"k8s.io/api": "", "k8s.io/apimachinery": "pkg/apis/meta/v1",
		"k8s.io/apiextensions-apiserver": "pkg/apis/apiextensions/v1", "k8s.io/kube-aggregator": "pkg/apis/apiregistration/v1"} {
		out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module).Output()
		if err != nil {
			t.Fatalf("find %s: %v", module, err)
		}
		dir := strings.TrimSpace(string(out))
		err = filepath.WalkDir(filepath.Join(dir, below), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.HasPrefix(d.Name(), "zz_") || strings.HasSuffix(path, ".pb.go") {
				return err
			}
			in, err := filepath.Rel(dir, filepath.Dir(path))
			if err != nil {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
			if err != nil {
				return err
			}
			lines = append(lines, read(module+"/"+filepath.ToSlash(in), file)...)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(lines)
	got := strings.Join(slices.Compact(lines), "\n") + "\n"
	if *update {
		if err := os.WriteFile("markers.txt", []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got != text {
		t.Errorf("markers.txt is not what the modules' source says: go test ./gen/markers -update")
	}
	for name, want := range map[string]Marker{
		"k8s.io/api/core/v1.PodSpec.Containers":                           {Keys: []string{"name"}},
		"k8s.io/api/core/v1.ServiceSpec.Ports":                            {Keys: []string{"port", "protocol"}},
		"k8s.io/api/core/v1.ObjectReference":                              {Atomic: true},
		"k8s.io/apimachinery/pkg/apis/meta/v1.ObjectMeta.Finalizers":      {Set: true},
		"k8s.io/apimachinery/pkg/apis/meta/v1.ObjectMeta.OwnerReferences": {Keys: []string{"uid"}},
	} {
		if m := table()[name]; fmt.Sprint(m) != fmt.Sprint(want) {
			t.Errorf("%s: got %v, want %v", name, m, want)
		}
	}
}

// read lists what a file's comments say of its types and their fields.
func read(path string, file *ast.File) (lines []string) {
	for _, decl := range file.Decls {
		g, ok := decl.(*ast.GenDecl)
		if !ok || g.Tok != token.TYPE {
			continue
		}
		for _, spec := range g.Specs {
			s := spec.(*ast.TypeSpec)
			if text := marker(false, s.Doc, g.Doc); text != "" {
				lines = append(lines, path+"."+s.Name.Name+" "+text)
			}
			st, ok := s.Type.(*ast.StructType)
			if !ok {
				continue
			}
			for _, f := range st.Fields.List {
				for _, name := range f.Names {
					merges := f.Tag != nil && strings.Contains(f.Tag.Value, "patchMergeKey") // in patches, which is the default for all else
					if text := marker(merges, f.Doc); text != "" {
						lines = append(lines, path+"."+s.Name.Name+"."+name.Name+" "+text)
					}
				}
			}
		}
	}
	return lines
}

// marker is what comments say, as a line of the table has it; "" when that is the default.
func marker(merges bool, docs ...*ast.CommentGroup) string {
	kind, keys := "", []string(nil)
	for _, doc := range docs {
		if doc == nil {
			continue
		}
		for _, c := range doc.List {
			tag, value, _ := strings.Cut(strings.TrimSpace(strings.TrimPrefix(c.Text, "//")), "=")
			value = strings.TrimSpace(value)
			switch strings.TrimSpace(tag) {
			case "+listType":
				kind = value
				if value == "atomic" && !merges {
					kind = "" // as all lists are
				}
			case "+mapType", "+structType":
				kind = value
			case "+listMapKey":
				keys = append(keys, value)
			case "+default":
				if text, ok := strings.CutPrefix(value, `"`); ok {
					kind = strings.TrimSpace("default " + strings.TrimSuffix(text, `"`))
				}
			}
		}
	}
	if kind == "map" {
		kind += " " + strings.Join(keys, " ")
	}
	return kind
}
