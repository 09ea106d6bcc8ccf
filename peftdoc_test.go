package bonnx_test

import (
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// exported are the package's exported names: X for what stands in the package,
// X.Y for fields and methods.
func exported(t *testing.T) (top []string, all map[string]bool) {
	t.Helper()
	paths, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	fset := token.NewFileSet()
	var files []*ast.File
	for _, path := range paths {
		f, err := parser.ParseFile(fset, path, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	p, err := doc.NewFromFiles(fset, files, "bonnx")
	if err != nil {
		t.Fatal(err)
	}
	all = map[string]bool{}
	funcs := p.Funcs
	values := append(p.Consts, p.Vars...)
	for _, typ := range p.Types {
		top = append(top, typ.Name)
		funcs, values = append(funcs, typ.Funcs...), append(append(values, typ.Consts...), typ.Vars...)
		for _, m := range typ.Methods {
			all[typ.Name+"."+m.Name] = true
		}
		for _, name := range fields(typ) {
			all[typ.Name+"."+name] = true
		}
	}
	for _, f := range funcs {
		top = append(top, f.Name)
	}
	for _, v := range values {
		top = append(top, v.Names...)
	}
	for _, name := range top {
		all[name] = true
	}
	return top, all
}

// fields are the names of a struct's fields.
func fields(t *doc.Type) []string {
	st, ok := t.Decl.Specs[0].(*ast.TypeSpec).Type.(*ast.StructType)
	if !ok {
		return nil
	}
	var names []string
	for _, f := range st.Fields.List {
		for _, n := range f.Names {
			names = append(names, n.Name)
		}
	}
	return names
}

// TestFewNames: a newcomer can read all that the package has.
func TestFewNames(t *testing.T) {
	top, _ := exported(t)
	if len(top) > 40 {
		slices.Sort(top)
		t.Errorf("%d exported names, 40 at most: %s", len(top), strings.Join(top, " "))
	}
}

var goName = regexp.MustCompile("`([A-Z]\\w*(?:\\.[A-Z]\\w*)?)`")

// TestPEFTTable: every Go name in docs/peft.md exists.
func TestPEFTTable(t *testing.T) {
	b, err := os.ReadFile("docs/peft.md")
	if err != nil {
		t.Fatal(err)
	}
	_, all := exported(t)
	seen := 0
	check := func(line, text string) {
		for _, m := range goName.FindAllStringSubmatch(text, -1) {
			seen++
			if !all[m[1]] {
				t.Errorf("%q does not exist: %s", m[1], line)
			}
		}
	}
	for line := range strings.Lines(string(b)) {
		cells := strings.Split(line, "|")
		if len(cells) == 5 {
			check(line, cells[2])
		}
		if strings.HasPrefix(line, "- ") || strings.HasPrefix(line, "  ") {
			check(line, line)
		}
	}
	if seen < 45 {
		t.Errorf("%d names, want the whole table", seen)
	}
}

// TestReadmeGo: every line of Go in the README stands in an example that runs.
func TestReadmeGo(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	examples, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(readme), "## From Go")
	section, _, _ = strings.Cut(section, "\n## ")
	lines, in := 0, false
	for line := range strings.Lines(section) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "```"):
			in = !in
		case in:
			lines++
			if !strings.Contains(string(examples), line) {
				t.Errorf("no example has %q", line)
			}
		}
	}
	if lines < 6 {
		t.Errorf("%d lines of Go", lines)
	}
}
