package ops_test

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/bonnx/bonnx/internal/testutil/opcheck"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

// TestMain holds the whole suite to its promise: every operator that has a
// gradient was compared with finite differences in float64 by some test.
func TestMain(m *testing.M) {
	code := m.Run()
	whole := flag.Lookup("test.run").Value.String() == "" && flag.Lookup("test.skip").Value.String() == "" && !testing.Short()
	if code == 0 && whole {
		if missing := unchecked(); len(missing) > 0 {
			fmt.Printf("FAIL: operators with a gradient that no finite differences checked: %v\n", missing)
			code = 1
		}
	}
	os.Exit(code)
}

// needed are the attributes without which an operator cannot be made.
var needed = map[string][]*ir.Attr{
	"Cast":      {ir.A("to", ir.Int(tensor.Float64))},
	"BitCast":   {ir.A("to", ir.Int(tensor.Float64))},
	"Einsum":    {ir.A("equation", ir.String("ij->ji"))},
	"Concat":    {ir.A("axis", ir.Int(0))},
	"LRN":       {ir.A("size", ir.Int(3))},
	"Constant":  {ir.A("value_int", ir.Int(1))},
	"MaxPool":   {ir.A("kernel_shape", ir.Ints{2})},
	"ClipScale": {ir.A("max_norm", ir.Float(1))},
}

// constantNearly are operators that share code with differentiable ones but
// have no slope to check: steps (whose estimate fuse tests), whole numbers, and
// a product that is refused.
var constantNearly = []string{"ai.bonnx.FakeQuantize", ".Floor", ".Ceil", ".Round", ".Sign", ".BitwiseAnd", ".BitwiseOr", ".BitwiseXor", ".BitwiseNot", ".CumProd"}

// unchecked lists operators with a gradient that opcheck has not seen.
func unchecked() []string {
	var missing []string
	seen := opcheck.Differentiated()
	ops.Standard().Rows(func(e ops.Entry) {
		g := ir.NewGraph("g")
		n := ir.NewNode(e.Domain, e.Name)
		for i := range max(1, e.MinIn) {
			n.SetInput(i, g.AddInput(fmt.Sprint("x", i), nil))
		}
		n.SetOutput(0, g.NewValue("y", nil))
		n.Attrs = needed[e.Name]
		op, err := ops.Standard().Parse(n, ops.CanonicalOpset)
		if err != nil {
			return // needs more than a bare node: its test gives it that
		}
		if _, ok := op.(ops.Differentiable); ok && !seen[e.Domain+"."+e.Name] && !slices.Contains(constantNearly, e.Domain+"."+e.Name) {
			missing = append(missing, e.Domain+"."+e.Name)
		}
	})
	slices.Sort(missing)
	return missing
}

func TestCastLikeGradient(t *testing.T) {
	opcheck.Gradient(t, opcheck.Case{Name: "cast like", Op: "CastLike", Diff: []int{0},
		Inputs: []*tensor.Tensor{opcheck.Random(1, -1, 1, 2, 3), opcheck.Random(2, -1, 1, 1)}})
}
