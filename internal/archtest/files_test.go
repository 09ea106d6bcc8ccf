package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
)

const maxLines = 800

// Every hand-written file of the project, tests included, stays short enough
// to be read, registers nothing behind its reader's back, and is finished.
func TestFiles(t *testing.T) {
	// Written in halves, so that this file does not find itself.
	unfinished := []string{"TO" + "DO", "FIX" + "ME", "not " + "implemented", "un" + "implemented", "place" + "holder"}
	for _, p := range packages(t) {
		for _, file := range p.paths(p.GoFiles, p.CgoFiles, p.IgnoredGoFiles, p.TestGoFiles, p.XTestGoFiles) {
			fset, f := parse(t, file, parser.ParseComments)
			if ast.IsGenerated(f) {
				continue
			}
			rel := filepath.Join(strings.TrimPrefix(p.ImportPath, module), filepath.Base(file))
			if n := fset.Position(f.FileEnd).Line; n > maxLines {
				t.Errorf("%s has %d lines, more than %d", rel, n, maxLines)
			}
			for _, d := range f.Decls {
				if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
					t.Errorf("%s has an init function", rel)
				}
			}
			for _, group := range f.Comments {
				for _, word := range unfinished {
					if strings.Contains(group.Text(), word) {
						t.Errorf("%s: a comment says %q", fset.Position(group.Pos()), word)
					}
				}
			}
		}
	}
}

// Every package says its one job in one place, and every exported name has a
// comment.
func TestDocumented(t *testing.T) {
	for _, p := range packages(t) {
		docs := 0
		for _, file := range p.sources() {
			fset, f := parse(t, file, parser.ParseComments)
			if ast.IsGenerated(f) {
				docs++ // says so itself
				continue
			}
			if f.Doc != nil && !strings.HasPrefix(f.Doc.Text(), "Copyright") {
				docs++
				want := "Package " + f.Name.Name + " "
				if f.Name.Name == "main" {
					want = "Command "
				}
				if !strings.HasPrefix(f.Doc.Text(), want) {
					t.Errorf("%s: the package comment does not start with %q", fset.Position(f.Package), want)
				}
			}
			for _, d := range f.Decls {
				checkDocs(t, fset, d)
			}
		}
		if docs == 0 && len(p.GoFiles) > 0 {
			t.Errorf("package %s has no package comment", p.ImportPath)
		}
	}
}

func checkDocs(t *testing.T, fset *token.FileSet, d ast.Decl) {
	t.Helper()
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Name.IsExported() && receiverExported(d) && d.Doc == nil && !wellKnown(d) {
			t.Errorf("%s: %s has no comment", fset.Position(d.Pos()), d.Name.Name)
		}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			for _, name := range undocumented(d, spec) {
				t.Errorf("%s: %s has no comment", fset.Position(spec.Pos()), name)
			}
		}
	}
}

// undocumented are the exported names of one spec that neither it nor its
// group says anything about.
func undocumented(group *ast.GenDecl, spec ast.Spec) []string {
	var idents []*ast.Ident
	var doc, line *ast.CommentGroup
	switch s := spec.(type) {
	case *ast.TypeSpec:
		idents, doc, line = []*ast.Ident{s.Name}, s.Doc, s.Comment
	case *ast.ValueSpec:
		idents, doc, line = s.Names, s.Doc, s.Comment
	}
	var out []string
	for _, id := range idents {
		if id.IsExported() && doc == nil && line == nil && group.Doc == nil {
			out = append(out, id.Name)
		}
	}
	return out
}

// wellKnown reports whether d is a method whose name says all: of package
// errors' conventions, which no comment can add to.
func wellKnown(d *ast.FuncDecl) bool {
	return d.Recv != nil && (d.Name.Name == "Error" || d.Name.Name == "Unwrap")
}

// receiverExported reports whether a function is one that others can name: no
// receiver, or one of exported type.
func receiverExported(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return true
	}
	e := d.Recv.List[0].Type
	for {
		switch x := e.(type) {
		case *ast.StarExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.IndexListExpr:
			e = x.X
		case *ast.Ident:
			return x.IsExported()
		default:
			return false
		}
	}
}
