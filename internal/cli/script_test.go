package cli_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/bonnx/bonnx/internal/cli"
	"github.com/bonnx/bonnx/internal/testutil/fixture"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"bonnx": func() { os.Exit(int(cli.Main(os.Args, os.Stdin, os.Stdout, os.Stderr))) },
	})
}

// TestScripts runs testdata/script/*.txtar, one behaviour each, named by the
// command first. Beside testscript's own commands:
//
//	fixture KIND FILE ...      writes models, data or hostile files (package fixture)
//	status N bonnx ARGS...     runs bonnx, which exits with status N
//	refused N bonnx ARGS...    the same, with one line on stderr that begins with "bonnx: "
//	interrupt SIGNAL N TEXT bonnx ARGS...
//	                           runs bonnx, sends INT or TERM once stderr has TEXT; it exits with N
//	oneline                    stderr of the last command is one line that begins with "bonnx: "
//	holds DIR NAME...          the directory holds these files and no other, hidden ones included
//	edit FILE OLD NEW          replaces bytes in a file
//	cut FILE N                 keeps the first N bytes of a file
//	link OLD NEW, fifo FILE    a hard link, a named pipe
//
// and the conditions root (files' permissions do not bind the user) and fifo
// (there are named pipes).
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("..", "..", "testdata", "script"),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       os.Getenv("BONNX_UPDATE") != "",
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"fixture": func(ts *testscript.TestScript, _ bool, args []string) {
				if len(args)%2 != 0 {
					ts.Fatalf("usage: fixture KIND FILE ...")
				}
				for i := 0; i < len(args); i += 2 {
					ts.Check(fixture.Write(args[i], ts.MkAbs(args[i+1])))
				}
			},
			"status":    status,
			"refused":   refused,
			"interrupt": interrupt,
			"oneline":   func(ts *testscript.TestScript, _ bool, _ []string) { oneLineOnStderr(ts) },
			"holds":     holds,
			"edit":      edit,
			"cut":       cut,
			"link": func(ts *testscript.TestScript, _ bool, args []string) {
				ts.Check(os.Link(ts.MkAbs(args[0]), ts.MkAbs(args[1])))
			},
			"fifo": func(ts *testscript.TestScript, _ bool, args []string) {
				ts.Check(makeFIFO(ts.MkAbs(args[0])))
			},
		},
		Condition: func(cond string) (bool, error) {
			switch cond {
			case "root":
				return os.Geteuid() <= 0, nil
			case "fifo":
				return haveFIFO, nil
			}
			return false, nil
		},
	})
}
