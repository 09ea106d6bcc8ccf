package archtest

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the depguard rules of .golangci.yml from the import table")

const (
	lintBegin = "    # The import table of internal/archtest, written by `go test ./internal/archtest -update`.\n"
	lintEnd   = "    # End of the import table.\n"
)

// depguard gives the same verdict as TestImportTable, in the editor.
func TestLintMirrorsImportTable(t *testing.T) {
	file := filepath.Join("..", "..", ".golangci.yml")
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok1 := strings.Cut(string(b), lintBegin)
	_, tail, ok2 := strings.Cut(rest, lintEnd)
	if !ok1 || !ok2 {
		t.Fatalf("%s does not mark where the import table goes", file)
	}
	want := head + lintBegin + depguard() + lintEnd + tail
	if want == string(b) {
		return
	}
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Errorf("%s differs from the import table; run go test ./internal/archtest -update", file)
}

// depguard renders the table as depguard rules: strict lists, "$" ends a name
// that is not a prefix.
func depguard() string {
	var b strings.Builder
	b.WriteString("    depguard:\n      rules:\n")
	for _, r := range rules {
		if r.every || strings.HasSuffix(r.pkg, "/*") || r.pkg == "internal/archtest" {
			continue
		}
		fmt.Fprintf(&b, "        %s:\n          list-mode: strict\n", strings.ReplaceAll(r.pkg, "/", "-"))
		fmt.Fprintf(&b, "          files: [\"${base-path}/%s/*.go\", \"!$test\"]\n          allow:\n            - $gostd\n", r.pkg)
		for _, p := range r.may {
			if base, ok := strings.CutSuffix(p, "/*"); ok {
				fmt.Fprintf(&b, "            - %s/\n", absolute(base))
			} else {
				fmt.Fprintf(&b, "            - %s$\n", absolute(p))
			}
		}
		for _, o := range owners {
			for _, p := range o.pkgs {
				if p == r.pkg {
					fmt.Fprintf(&b, "            - %s\n", o.prefix)
				}
			}
		}
	}
	return b.String()
}
