package ops_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/onnx"
	"github.com/bonnx/bonnx/ops"
)

// domains are the parts of docs/operators.md.
var domains = []struct{ domain, title, text string }{
	{"", "Standard operators", "Opsets are those of the standard domain that a model may import."},
	{"com.microsoft", "com.microsoft", "The operators that ONNX Runtime's optimizer and its model builders write."},
	{"ai.onnx.preview", "ai.onnx.preview", "What may become standard."},
	{"ai.onnx.preview.training", "ai.onnx.preview.training", "Optimizers that a training graph may hold."},
	{ops.Domain, ops.Domain, "What fusions, gradients and optimizers use inside. No file holds them: exported graphs have their bodies."},
}

const docsHead = `# Operators

Written from the table of operators by ` + "`go test ./ops -run TestOperatorDocs -update`" + `; the test holds this page to the code.

**Forward**: *kernel* computes it in one step, *body* is a graph of other operators that takes its place when a model is
loaded, *list* is followed then, so that only the values in a list are left (data must not decide which these are),
*dynamic* finds its shapes, or runs its sub-graphs, as it goes.

**Gradient**: *yes* has one of its own; *body* has that of its body; *straight-through* also passes roundings of activations
by, inside their range; *taken branch* and *unrolled* (a known number of iterations) go through sub-graphs. Without an entry
the results are whole numbers or booleans, steps, or nothing that models are trained through. Every gradient is compared with
finite differences.

Forms of older opsets are read too: axes as attributes, Softmax over flattened axes and the like.
`

// TestOperatorDocs holds docs/operators.md to the table; -update writes it.
func TestOperatorDocs(t *testing.T) {
	var b bytes.Buffer
	b.WriteString(docsHead)
	for _, d := range domains {
		rows := rowsOf(d.domain)
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n", d.title, d.text)
		if d.domain == "" {
			b.WriteString("| operator | forward | gradient | opsets |\n|---|---|---|---|\n")
		} else {
			b.WriteString("| operator | forward | gradient |\n|---|---|---|\n")
		}
		for _, e := range rows {
			fmt.Fprintf(&b, "| %s | %s | %s |", e.Name, forwardOf(t, e), gradientOf(t, e))
			if d.domain == "" {
				fmt.Fprintf(&b, " %d to %d |", e.Since(), ops.NewestOpset)
			}
			b.WriteByte('\n')
		}
	}
	path := filepath.Join(testutil.ModuleRoot(t), "docs", "operators.md")
	if flag.Lookup("update").Value.String() == "true" {
		if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, b.Bytes()) {
		t.Error("docs/operators.md is not what the table of operators says; run go test ./ops -run TestOperatorDocs -update")
	}
}

// rowsOf are the rows of a domain by name. Every domain must have a part.
func rowsOf(domain string) []ops.Entry {
	var rows []ops.Entry
	ops.Standard().Rows(func(e ops.Entry) {
		if e.Domain == domain {
			rows = append(rows, e)
		}
	})
	slices.SortFunc(rows, func(a, b ops.Entry) int { return strings.Compare(a.Name, b.Name) })
	return rows
}

func TestDocumentedDomains(t *testing.T) {
	ops.Standard().Rows(func(e ops.Entry) {
		for _, d := range domains {
			if d.domain == e.Domain {
				return
			}
		}
		t.Errorf("%s of domain %q is in no part of docs/operators.md", e.Name, e.Domain)
	})
}

// bare parses a node of an operator that has the least that it needs.
func bare(t *testing.T, e ops.Entry) ops.Op {
	t.Helper()
	op, err := parseBare(e)
	if err != nil {
		t.Fatal(err)
	}
	return op
}

func forwardOf(t *testing.T, e ops.Entry) string {
	op := bare(t, e)
	if f, ok := op.(interface{ Slope() ops.Slope }); ok && f.Slope() == ops.Listed {
		return "list"
	}
	_, composite := op.(ops.Composite)
	_, dynamic := op.(ops.Dynamic)
	switch {
	case composite && e.Domain != ops.Domain:
		return "body"
	case dynamic:
		return "dynamic"
	}
	return "kernel"
}

func gradientOf(t *testing.T, e ops.Entry) string {
	op := bare(t, e)
	if f, ok := op.(interface{ Slope() ops.Slope }); ok {
		return map[ops.Slope]string{ops.ByBody: "body", ops.Straight: "straight-through", ops.Flat: "", ops.Listed: "of its values"}[f.Slope()]
	}
	_, yes := op.(ops.Differentiable)
	_, unrolls := op.(ops.Unroller)
	switch {
	case e.Domain+"."+e.Name == ops.Domain+".FakeQuantize":
		return "straight-through"
	case e.Domain == "" && e.Name == "If":
		return "taken branch"
	case unrolls:
		return "unrolled"
	case yes && !slices.Contains(constantNearly, e.Domain+"."+e.Name):
		return "yes"
	}
	return ""
}

// TestSince holds the opsets with which operators came against the official
// tests, none of which uses an operator before.
func TestSince(t *testing.T) {
	root := testutil.Shared(t, "onnx-node-tests/node")
	dirs, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range dirs {
		m, err := onnx.Load(filepath.Join(root, d.Name(), "model.onnx"))
		if err != nil {
			t.Fatal(err)
		}
		for n := range m.Graph.Nodes() {
			if row, ok := ops.Standard().Lookup(n.Domain, n.OpType); ok && ir.CanonicalDomain(n.Domain) == "" && row.Since() > m.Opset("") {
				t.Errorf("%s uses %s at opset %d; it is said to come with %d", d.Name(), n.OpType, m.Opset(""), row.Since())
			}
		}
		onnx.Close(m)
	}
}
