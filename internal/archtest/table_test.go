// Package archtest holds the project to its own rules: who may import whom,
// which dependency belongs to which package, and what every file owes its
// reader. It has tests only.
package archtest

import (
	"path"
	"slices"
	"strings"
)

const module = "github.com/bonnx/bonnx"

// A rule says which packages of the project a package may import outside of
// its tests. Packages are named relative to the module, the root by ".".
type rule struct {
	pkg   string // "internal/testutil/*" stands for every package below
	may   []string
	every bool // anything but the packages of the command line and of tests
}

// rules is the import table. A package that no row names fails the test: a new
// package is a decision about the architecture and is made here first.
var rules = []rule{
	{pkg: "internal/cpu"},
	{pkg: "internal/par"},
	{pkg: "internal/mmap"},
	{pkg: "internal/half"},
	{pkg: "internal/hugepage"},
	{pkg: "internal/atomicfile"},
	{pkg: "tensor", may: []string{"internal/half"}},
	{pkg: "tensor/npz", may: []string{"tensor", "internal/atomicfile"}},
	{pkg: "internal/kernel", may: []string{"internal/cpu", "internal/par", "internal/half"}},
	{pkg: "ir", may: []string{"tensor"}},
	{pkg: "onnx/internal/*"},
	{pkg: "onnx", may: []string{"ir", "tensor", "internal/mmap", "internal/atomicfile", "onnx/internal/*"}},
	{pkg: "ops", may: []string{"ir", "tensor", "internal/kernel", "internal/par", "internal/hugepage"}},
	{pkg: "adapter", may: []string{"tensor", "internal/kernel"}},
	{pkg: "adapter/peft", may: []string{"adapter", "tensor", "internal/atomicfile"}},
	{pkg: "adapter/ort", may: []string{"adapter", "tensor", "internal/atomicfile"}},
	{pkg: "rewrite", may: []string{"ir", "tensor", "adapter"}},
	{pkg: "extent", may: []string{"ir", "ops", "tensor"}},
	{pkg: "fuse", may: []string{"ir", "ops", "tensor"}},
	{pkg: "autodiff", may: []string{"ir", "ops", "tensor"}},
	{pkg: "runtime", may: []string{"ir", "ops", "fuse", "tensor", "internal/kernel", "internal/par", "internal/hugepage"}},
	{pkg: "runtime/onnxgo", may: []string{"runtime", "ir", "ops", "tensor"}},
	{pkg: "train", may: []string{"runtime", "autodiff", "fuse", "ops", "adapter", "ir", "tensor", "tensor/npz", "internal/atomicfile"}},
	{pkg: ".", every: true},
	{pkg: "examples/*", may: []string{".", "ops", "ir", "tensor"}},
	{pkg: "internal/cli", may: []string{".", "ir", "tensor", "tensor/npz"}},
	{pkg: "cmd/bonnx", may: []string{"internal/cli"}},
	{pkg: "internal/testmodel", every: true},
	{pkg: "internal/testmodel/*", every: true},
	{pkg: "internal/testutil", every: true},
	{pkg: "internal/testutil/*", every: true},
	{pkg: "internal/archtest"},
}

// forTests are the packages that only tests and each other may import.
var forTests = []string{"internal/testmodel", "internal/testmodel/*", "internal/testutil", "internal/testutil/*", "internal/archtest"}

// never are the packages that no library package imports, whatever its row.
var never = []string{"internal/cli", "cmd/bonnx"}

// owners says which packages may import a dependency outside of their tests.
// A dependency that is not here is for tests only.
var owners = []struct {
	prefix string
	pkgs   []string
}{
	{"google.golang.org/protobuf", []string{"onnx", "onnx/internal/*"}},
	{"github.com/owulveryck/onnx-go", []string{"runtime/onnxgo"}},
	{"gorgonia.org/tensor", []string{"runtime/onnxgo"}},
	{"gonum.org/v1/gonum/graph", []string{"runtime/onnxgo"}},
	{"github.com/urfave/cli/v2", []string{"internal/cli"}},
	{"github.com/schollz/progressbar/v3", []string{"internal/cli"}},
	{"gopkg.in/yaml.v3", []string{".", "internal/cli"}},
	{"go.yaml.in/yaml/v3", []string{".", "internal/cli"}},
	{"golang.org/x/term", []string{"internal/cli"}},
	{"golang.org/x/sys", []string{"internal/cpu", "internal/mmap", "internal/atomicfile"}},
}

// ruleOf is the row of a package, an exact name before a pattern.
func ruleOf(pkg string) (rule, bool) {
	for _, r := range rules {
		if r.pkg == pkg {
			return r, true
		}
	}
	for _, r := range rules {
		if within(r.pkg, pkg) {
			return r, true
		}
	}
	return rule{}, false
}

// allows reports whether a package under this rule may import pkg.
func (r rule) allows(pkg string) bool {
	if slices.ContainsFunc(forTests, func(p string) bool { return within(p, pkg) }) {
		return slices.ContainsFunc(forTests, func(p string) bool { return within(p, r.pkg) || p == r.pkg })
	}
	if slices.Contains(never, pkg) {
		return slices.Contains(r.may, pkg)
	}
	return r.every || slices.ContainsFunc(r.may, func(p string) bool { return within(p, pkg) })
}

// within reports whether the pattern (a name, or a name and "/*") names pkg.
func within(pattern, pkg string) bool {
	if base, ok := strings.CutSuffix(pattern, "/*"); ok {
		return strings.HasPrefix(pkg, base+"/")
	}
	return pattern == pkg
}

// relative turns an import path of the project into the table's name for it.
func relative(importPath string) (string, bool) {
	if importPath == module {
		return ".", true
	}
	return strings.CutPrefix(importPath, module+"/")
}

// isStd reports whether an import path is of the standard library, whose first
// element never has a dot.
func isStd(importPath string) bool {
	first, _, _ := strings.Cut(importPath, "/")
	return !strings.Contains(first, ".")
}

// absolute is the inverse of relative.
func absolute(pkg string) string { return path.Join(module, pkg) }
