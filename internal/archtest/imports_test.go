package archtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// A goPackage is what go list says about a package.
type goPackage struct {
	ImportPath     string
	Dir            string
	GoFiles        []string
	CgoFiles       []string
	IgnoredGoFiles []string // of other systems and build tags
	TestGoFiles    []string
	XTestGoFiles   []string
}

var goList = sync.OnceValues(func() ([]goPackage, error) {
	cmd := exec.Command("go", "list", "-json", "./...")
	cmd.Dir = filepath.Join("..", "..")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, errors.New(stderr.String())
	}
	var list []goPackage
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := dec.Decode(&p); err == io.EOF {
			return list, nil
		} else if err != nil {
			return nil, err
		}
		list = append(list, p)
	}
})

func packages(t *testing.T) []goPackage {
	t.Helper()
	list, err := goList()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	return list
}

// sources are the package's files outside of tests, for every system.
func (p goPackage) sources() []string {
	return p.paths(p.GoFiles, p.CgoFiles, p.IgnoredGoFiles)
}

func (p goPackage) paths(lists ...[]string) []string {
	var out []string
	for _, name := range slices.Concat(lists...) {
		if !slices.Contains(p.IgnoredGoFiles, name) || !strings.HasSuffix(name, "_test.go") {
			out = append(out, filepath.Join(p.Dir, name))
		}
	}
	return out
}

func parse(t *testing.T, file string, mode parser.Mode) (*token.FileSet, *ast.File) {
	t.Helper()
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, file, nil, mode|parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	return fset, f
}

func imports(t *testing.T, file string) []string {
	t.Helper()
	_, f := parse(t, file, parser.ImportsOnly)
	var out []string
	for _, spec := range f.Imports {
		name, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, name)
	}
	return out
}

func TestImportTable(t *testing.T) {
	for _, p := range packages(t) {
		pkg, ok := relative(p.ImportPath)
		if !ok {
			t.Fatalf("go list names %s, which is not of module %s", p.ImportPath, module)
		}
		r, ok := ruleOf(pkg)
		if !ok {
			t.Errorf("package %s has no row in the import table", pkg)
			continue
		}
		for _, file := range p.sources() {
			for _, imp := range imports(t, file) {
				checkImport(t, r, pkg, file, imp)
			}
		}
	}
}

func checkImport(t *testing.T, r rule, pkg, file, imp string) {
	t.Helper()
	if local, ok := relative(imp); ok {
		if !r.allows(local) {
			t.Errorf("%s: package %s may not import %s", filepath.Base(file), pkg, local)
		}
		return
	}
	if isStd(imp) {
		return
	}
	for _, o := range owners {
		if imp == o.prefix || strings.HasPrefix(imp, o.prefix+"/") {
			if !slices.ContainsFunc(o.pkgs, func(p string) bool { return within(p, pkg) }) {
				t.Errorf("%s: package %s imports %s, which belongs to %v", filepath.Base(file), pkg, imp, o.pkgs)
			}
			return
		}
	}
	t.Errorf("%s: package %s imports %s, which no package owns", filepath.Base(file), pkg, imp)
}

// The programs we ship must not carry what only onnx-go programs need.
func TestCommandsLinkNoOnnxGo(t *testing.T) {
	for _, p := range packages(t) {
		if pkg, _ := relative(p.ImportPath); !strings.HasPrefix(pkg, "cmd/") {
			continue
		}
		out, err := exec.Command("go", "list", "-deps", p.ImportPath).Output()
		if err != nil {
			t.Fatalf("go list -deps %s: %v", p.ImportPath, err)
		}
		for dep := range strings.FieldsSeq(string(out)) {
			for _, foreign := range []string{"github.com/owulveryck/", "gorgonia.org/", "github.com/gogo/", "github.com/golang/protobuf"} {
				if strings.HasPrefix(dep, foreign) {
					t.Errorf("%s links %s", p.ImportPath, dep)
				}
			}
		}
	}
}

// The rows say what DESIGN.md says; a few of its sentences as cases.
func TestRuleAllows(t *testing.T) {
	cases := []struct {
		pkg, imp string
		want     bool
	}{
		{"rewrite", "adapter", true},
		{"rewrite", "ops", false},
		{"rewrite", "runtime", false},
		{"runtime", "adapter", false},
		{"runtime", "autodiff", false},
		{"onnx", "onnx/internal/pb", true},
		{"ir", "onnx/internal/pb", false},
		{"tensor", "tensor/npz", false},
		{".", "train", true},
		{".", "internal/cli", false},
		{".", "internal/testutil", false},
		{"internal/cli", ".", true},
		{"internal/cli", "train", false},
		{"cmd/bonnx", "internal/cli", true},
		{"cmd/bonnx", ".", false},
		{"internal/testutil/ort", "tensor/npz", true},
		{"internal/testmodel/gen", "internal/testmodel", true},
		{"ops", "internal/testutil", false},
	}
	for _, c := range cases {
		r, ok := ruleOf(c.pkg)
		if !ok {
			t.Fatalf("no row for %s", c.pkg)
		}
		if got := r.allows(c.imp); got != c.want {
			t.Errorf("%s may import %s: got %v, want %v", c.pkg, c.imp, got, c.want)
		}
	}
}
