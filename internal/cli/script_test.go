package cli_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
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

// TestScripts runs testdata/script/*.txtar, one behaviour each. Beside
// testscript's own commands:
//
//	fixture KIND FILE     writes a model, data or hostile file (package fixture)
//	status N              the last bonnx exited with status N
//	oneline               stderr of the last command is one line that begins with "bonnx: "
//	edit FILE OLD NEW     replaces bytes in a file
//	cut FILE N            keeps the first N bytes of a file
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("..", "..", "testdata", "script"),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       os.Getenv("BONNX_UPDATE") != "",
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"fixture": func(ts *testscript.TestScript, _ bool, args []string) {
				if len(args) != 2 {
					ts.Fatalf("usage: fixture KIND FILE")
				}
				ts.Check(fixture.Write(args[0], ts.MkAbs(args[1])))
			},
			"status":  status,
			"oneline": oneline,
			"edit": func(ts *testscript.TestScript, _ bool, args []string) {
				path := ts.MkAbs(args[0])
				b, err := os.ReadFile(path)
				ts.Check(err)
				if !bytes.Contains(b, []byte(args[1])) {
					ts.Fatalf("%s does not contain %q", args[0], args[1])
				}
				ts.Check(os.WriteFile(path, bytes.Replace(b, []byte(args[1]), []byte(args[2]), 1), 0o600))
			},
			"cut": func(ts *testscript.TestScript, _ bool, args []string) {
				n, err := strconv.Atoi(args[1])
				ts.Check(err)
				ts.Check(os.Truncate(ts.MkAbs(args[0]), int64(n)))
			},
		},
	})
}

// status runs bonnx with the rest of its arguments and wants an exit status:
// status N bonnx ARGS...
func status(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	if err != nil {
		if _, scanErr := fmt.Sscanf(err.Error(), "exit status %d", &got); scanErr != nil {
			ts.Fatalf("%v", err)
		}
	}
	if got != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
}

func oneline(ts *testscript.TestScript, _ bool, _ []string) {
	text := ts.ReadFile("stderr")
	if !strings.HasPrefix(text, "bonnx: ") || strings.Count(text, "\n") != 1 {
		ts.Fatalf("stderr is not one line of an error:\n%s", text)
	}
}
