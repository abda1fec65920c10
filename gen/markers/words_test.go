package markers

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// documented are the types of packages that describe theirs nowhere else; "*" is all of them.
var documented = map[string]string{"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1": "*", "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1": "*",
	"k8s.io/apimachinery/pkg/apis/meta/v1": "GroupResource MicroTime Time WatchEvent", "k8s.io/apimachinery/pkg/api/resource": "Quantity", "k8s.io/apimachinery/pkg/runtime": "RawExtension",
	"k8s.io/apimachinery/pkg/util/intstr": "IntOrString", "k8s.io/apimachinery/pkg/version": "Info",
	"k8s.io/api/admissionregistration/v1alpha1": "MatchCondition"}

// misquoted are fields of which SwaggerDoc says less than their comments, or otherwise.
var misquoted = []string{"k8s.io/api/core/v1.PodSecurityContext.FSGroup", "k8s.io/api/core/v1.PodSpec.SetHostnameAsFQDN", "k8s.io/api/core/v1.TopologySpreadConstraint.MaxSkew",
	"k8s.io/api/core/v1.TopologySpreadConstraint.MinDomains", "k8s.io/api/core/v1.TopologySpreadConstraint.WhenUnsatisfiable",
	"k8s.io/api/admissionregistration/v1.ValidatingAdmissionPolicyBindingSpec.ValidationActions", "k8s.io/api/certificates/v1.CertificateSigningRequestStatus.Certificate"}

// unserved are packages of versions that no server of 1.37 serves.
var unserved = regexp.MustCompile(`k8s.io/api/(extensions|imagepolicy|(apps|autoscaling|batch|policy|networking|flowcontrol|events|discovery|authentication|authorization|storage|rbac|node)/v[0-9]+(alpha|beta)[0-9]+)`)

// The table of words is what the source of the modules says that go.mod names.
func TestWordsCurrent(t *testing.T) {
	var lines []string
	for _, module := range []string{"k8s.io/api", "k8s.io/apimachinery", "k8s.io/apiextensions-apiserver", "k8s.io/kube-aggregator"} {
		out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module).Output()
		if err != nil {
			t.Fatalf("find %s: %v", module, err)
		}
		dir := strings.TrimSpace(string(out))
		packages := map[string][]*ast.File{}
		files, err := filepath.Glob(filepath.Join(dir, "*", "*", "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		if module != "k8s.io/api" {
			files = nil
			for path := range documented {
				if below, ok := strings.CutPrefix(path, module+"/"); ok {
					more, err := filepath.Glob(filepath.Join(dir, below, "*.go"))
					if err != nil {
						t.Fatal(err)
					}
					files = append(files, more...)
				}
			}
		}
		for _, path := range files {
			if strings.HasSuffix(path, "_test.go") || strings.Contains(filepath.Base(path), "zz_") || strings.HasSuffix(path, ".pb.go") {
				continue
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			in, err := filepath.Rel(dir, filepath.Dir(path))
			if err != nil {
				t.Fatal(err)
			}
			in = module + "/" + filepath.ToSlash(in)
			if unserved.MatchString(in) {
				continue
			}
			packages[in] = append(packages[in], file)
		}
		for path, files := range packages {
			lines = append(lines, wordsOf(path, files, packages)...)
		}
	}
	slices.Sort(lines)
	got := strings.Join(slices.Compact(lines), "\n") + "\n"
	if *update {
		if err := os.WriteFile("words.txt", []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got != wordsText {
		t.Errorf("words.txt is not what the modules' source says: go test ./gen/markers -update")
	}
	if w := OfType("k8s.io/api/core/v1", "PullPolicy"); len(w.Enum) != 3 || w.Enum[0].Text != "Always" {
		t.Errorf("PullPolicy: %v", w)
	}
}

// constant is one string of a package.
type constant struct{ name, of, value, doc string }

// wordsOf are a package's; packages are those of its module.
func wordsOf(path string, files []*ast.File, packages map[string][]*ast.File) (lines []string) {
	var constants []constant
	var types []*ast.TypeSpec
	for _, file := range files {
		for _, decl := range file.Decls {
			g, ok := decl.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, spec := range g.Specs {
				switch s := spec.(type) {
				case *ast.TypeSpec:
					if s.Doc == nil {
						s.Doc = g.Doc
					}
					types = append(types, s)
				case *ast.ValueSpec:
					constants = append(constants, constantsOf(g, s)...)
				}
			}
		}
	}
	slices.SortFunc(constants, func(a, b constant) int { return strings.Compare(a.value, b.value) })
	enums := map[string]bool{}
	for _, s := range types {
		enums[s.Name.Name] = has(s.Doc, "+enum")
	}
	for _, s := range types {
		name := path + "." + s.Name.Name
		told := documented[path] == "*" || slices.Contains(strings.Fields(documented[path]), s.Name.Name)
		if told {
			if text := prose(s.Doc); text != "" {
				lines = append(lines, name+" doc "+text)
			}
		}
		if has(s.Doc, "+enum") {
			for _, c := range constants {
				if c.of == s.Name.Name {
					lines = append(lines, name+" enum "+c.value+"\t"+c.doc)
				}
			}
		}
		st, ok := s.Type.(*ast.StructType)
		if of := named(s.Type); of != "" && told { // a type with another version's fields, and none of its methods
			version, name, _ := strings.Cut(of, ".")
			st, ok = structOf(packages[filepath.Dir(path)+"/"+version], name)
		}
		if !ok {
			continue
		}
		decides := ""
		for _, f := range st.Fields.List {
			names := f.Names
			if s, ok := f.Type.(*ast.SelectorExpr); ok && len(names) == 0 {
				names = []*ast.Ident{s.Sel} // embedded
			}
			for _, n := range names {
				if told || slices.Contains(misquoted, name+"."+n.Name) {
					if text := prose(f.Doc); text != "" {
						lines = append(lines, name+"."+n.Name+" doc "+text)
					}
				}
				if enums[typeName(f.Type)] && gap(f.Doc) {
					lines = append(lines, name+"."+n.Name+" gap")
				}
				if word := required(f); word != "" {
					lines = append(lines, name+"."+n.Name+" "+word)
				}
				if a, ok := f.Type.(*ast.ArrayType); ok && typeName(a.Elt) == "byte" && has(f.Doc, "+listType=atomic") {
					lines = append(lines, name+"."+n.Name+" atomic")
				}
				if v := defaultOf(f.Doc, constants); v != "" {
					lines = append(lines, name+"."+n.Name+" default "+v)
				}
				if has(f.Doc, "+unionDiscriminator") {
					decides = n.Name
				}
			}
		}
		if has(s.Doc, "+union") {
			lines = append(lines, strings.TrimSpace(name+" union "+decides))
		}
	}
	return lines
}

// structOf is the struct type of that name.
func structOf(files []*ast.File, name string) (*ast.StructType, bool) {
	for _, file := range files {
		if o := file.Scope.Lookup(name); o != nil {
			if s, ok := o.Decl.(*ast.TypeSpec); ok {
				st, ok := s.Type.(*ast.StructType)
				return st, ok
			}
		}
	}
	return nil, false
}

func constantsOf(g *ast.GenDecl, s *ast.ValueSpec) (out []constant) {
	if g.Tok != token.CONST || len(s.Values) != len(s.Names) {
		return nil
	}
	for n, name := range s.Names {
		kind, from := "", s.Values[n]
		if of, ok := s.Type.(*ast.Ident); ok {
			kind = of.Name
		}
		if call, ok := from.(*ast.CallExpr); ok && len(call.Args) == 1 { // Kind("value")
			if of, ok := call.Fun.(*ast.Ident); ok {
				kind, from = of.Name, call.Args[0]
			}
		}
		value := elsewhere[named(from)]
		if literal, ok := from.(*ast.BasicLit); ok && literal.Kind == token.STRING {
			var err error
			if value, err = strconv.Unquote(literal.Value); err != nil {
				continue
			}
		}
		if kind == "" || value == "" && named(from) != "" {
			continue
		}
		doc := strings.Join(strings.Fields(s.Doc.Text()), " ")
		doc = strings.TrimSpace(strings.TrimPrefix(strings.TrimPrefix(doc, name.Name), ":"))
		out = append(out, constant{name.Name, kind, value, doc})
	}
	return out
}

// elsewhere are the values of another package's constants that constants stand for.
var elsewhere = map[string]string{"v1.IPv4Protocol": "IPv4", "v1.IPv6Protocol": "IPv6"}

// named is how another package's constant is called, v1.IPv4Protocol.
func named(e ast.Expr) string {
	if s, ok := e.(*ast.SelectorExpr); ok {
		if x, ok := s.X.(*ast.Ident); ok {
			return x.Name + "." + s.Sel.Name
		}
	}
	return ""
}

func typeName(e ast.Expr) string {
	if star, ok := e.(*ast.StarExpr); ok {
		e = star.X
	}
	if i, ok := e.(*ast.Ident); ok {
		return i.Name
	}
	return ""
}

// required is what a field's comment says otherwise than its tag does: a field without omitempty is required.
func required(f *ast.Field) string {
	if f.Tag == nil {
		return ""
	}
	omits := strings.Contains(f.Tag.Value, "omitempty") || strings.Contains(f.Tag.Value, "omitzero")
	switch {
	case has(f.Doc, "+optional"):
		if !omits {
			return "optional"
		}
	case has(f.Doc, "+required") && omits:
		return "required"
	}
	return ""
}

// gap tells whether an empty line comes before a comment's tags.
func gap(doc *ast.CommentGroup) bool {
	if doc == nil {
		return false
	}
	before := "x"
	for _, c := range doc.List {
		text := strings.TrimSpace(strings.TrimPrefix(c.Text, "//"))
		if strings.HasPrefix(text, "+") {
			return before == ""
		}
		before = text
	}
	return false
}

func tags(doc *ast.CommentGroup) (out []string) {
	if doc == nil {
		return nil
	}
	for _, c := range doc.List {
		if text := strings.TrimSpace(strings.TrimPrefix(c.Text, "//")); strings.HasPrefix(text, "+") {
			out = append(out, text)
		}
	}
	return out
}

func has(doc *ast.CommentGroup, tag string) bool { return slices.Contains(tags(doc), tag) }

var reference = regexp.MustCompile(`^ref\((.*)\)$`)

// defaultOf is a field's default that is no string of its own, as JSON.
func defaultOf(doc *ast.CommentGroup, constants []constant) string {
	for _, tag := range tags(doc) {
		value, ok := strings.CutPrefix(tag, "+default=")
		if !ok || strings.HasPrefix(value, `"`) {
			continue
		}
		if m := reference.FindStringSubmatch(value); m != nil {
			for _, c := range constants {
				if c.name == m[1] {
					return strconv.Quote(c.value)
				}
			}
			return ""
		}
		return value
	}
	return ""
}

func indented(line string) bool { return strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t") }

// prose is a comment as a description: paragraphs of lines, without tags and notes to its writers; \v ends a line.
func prose(doc *ast.CommentGroup) string {
	if doc == nil {
		return ""
	}
	var out []string
	for line := range strings.SplitSeq(strings.TrimSpace(doc.Text()), "\n") {
		trimmed := strings.TrimSpace(line)
		if strings.HasPrefix(line, "---") {
			break
		}
		if strings.HasPrefix(trimmed, "+") || strings.HasPrefix(trimmed, "TODO") {
			continue
		}
		out = append(out, line)
	}
	var b strings.Builder
	for n, line := range out {
		switch {
		case strings.TrimSpace(line) == "":
			b.WriteString("\v\v")
		case indented(line), n > 0 && indented(out[n-1]):
			if n > 0 && !strings.HasSuffix(b.String(), "\v") {
				b.WriteString("\v")
			}
			b.WriteString(line)
		default:
			if n > 0 && !strings.HasSuffix(b.String(), "\v") {
				b.WriteString(" ")
			}
			b.WriteString(strings.TrimSpace(line))
		}
	}
	return strings.TrimRight(b.String(), " \v")
}
