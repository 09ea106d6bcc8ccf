package archtest

import (
	"go/ast"
	"go/parser"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	promise  = regexp.MustCompile(`(?m)^(\d+)\. `)
	testName = regexp.MustCompile("`((?:Test|Fuzz)[A-Za-z0-9_]+)(?:/([a-z-]+))?`")
)

// testFunctions are the names of all tests and fuzz tests of the module.
func testFunctions(t *testing.T) map[string]bool {
	names := map[string]bool{}
	for _, p := range packages(t) {
		for _, list := range [][]string{p.TestGoFiles, p.XTestGoFiles} {
			for _, file := range list {
				_, f := parse(t, filepath.Join(p.Dir, file), parser.SkipObjectResolution)
				for _, d := range f.Decls {
					if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil {
						names[fn.Name.Name] = true
					}
				}
			}
		}
	}
	return names
}

// Every promise of SECURITY.md names at least one test, and the tests are there.
func TestSecurityNamesItsTests(t *testing.T) {
	text := read(t, "SECURITY.md")
	known := testFunctions(t)
	starts := promise.FindAllStringSubmatchIndex(text, -1)
	if len(starts) < 20 {
		t.Fatalf("found %d promises, want 20 or more", len(starts))
	}
	for i, at := range starts {
		end := len(text)
		if i+1 < len(starts) {
			end = starts[i+1][0]
		}
		number := text[at[2]:at[3]]
		names := testName.FindAllStringSubmatch(text[at[0]:end], -1)
		if len(names) == 0 {
			t.Errorf("promise %s names no test", number)
		}
		for _, n := range names {
			if !known[n[1]] {
				t.Errorf("promise %s names %s, which is not there", number, n[1])
			}
			if n[2] == "" {
				continue
			}
			if _, err := os.Stat(filepath.Join("..", "..", "testdata", "script", n[2]+".txtar")); err != nil {
				t.Errorf("promise %s names a script that is not there: %v", number, err)
			}
		}
	}
}

// What the program is made of here starts no other program, loads no code and
// opens no connection.
func TestNothingIsExecuted(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", module+"/cmd/bonnx").Output()
	if err != nil {
		t.Fatalf("go list -deps: %v", err)
	}
	linked := map[string]bool{}
	for dep := range strings.FieldsSeq(string(out)) {
		linked[dep] = true
	}
	checked := 0
	for _, p := range packages(t) {
		if !linked[p.ImportPath] {
			continue
		}
		for _, file := range p.sources() {
			checked++
			for _, imp := range imports(t, file) {
				if imp == "os/exec" || imp == "plugin" || imp == "net" || strings.HasPrefix(imp, "net/") || strings.HasSuffix(imp, "/template") {
					t.Errorf("%s imports %s", file, imp)
				}
			}
		}
	}
	if checked < 100 {
		t.Errorf("looked at %d files, which cannot be all", checked)
	}
}
