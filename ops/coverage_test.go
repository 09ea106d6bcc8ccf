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
// inputsOf and outputsOf are how many of them an operator cannot do without,
// where that is not in the table; needed are the attributes.
var (
	inputsOf = map[string]int{"EmbedLayerNormalization": 7, "GroupQueryAttention": 7, "LayerNormalizationGrad": 5,
		"Loop": 2, "Scan": 1}
	outputsOf = map[string]int{"AdamW": 3, "GatedSiLUGrad": 2}
	needed    = map[string][]*ir.Attr{
		"BitCast":             {intAttr("to", int64(tensor.Float64))},
		"BitShift":            {ir.A("direction", ir.String("LEFT"))},
		"Cast":                {intAttr("to", int64(tensor.Float64))},
		"ClipScale":           {floatAttr("max_norm", 1)},
		"Concat":              {intAttr("axis", 0)},
		"Constant":            {intAttr("value_int", 1)},
		"DepthToSpace":        {intAttr("blocksize", 2)},
		"Einsum":              {ir.A("equation", ir.String("ij->ji"))},
		"GroupNormalization":  {intAttr("num_groups", 1)},
		"GroupQueryAttention": {intAttr("num_heads", 1), intAttr("kv_num_heads", 1)},
		"GRU":                 {intAttr("hidden_size", 1)},
		"LSTM":                {intAttr("hidden_size", 1)},
		"RNN":                 {intAttr("hidden_size", 1)},
		"If":                  {bodyAttr("then_branch", 0, 1), bodyAttr("else_branch", 0, 1)},
		"LinearAttention":     {intAttr("q_num_heads", 1), intAttr("kv_num_heads", 1), ir.A("update_rule", ir.String("linear"))},
		"LRN":                 {intAttr("size", 3)},
		"Loop":                {bodyAttr("body", 2, 2)},
		"MatMulNBits":         {intAttr("K", 16), intAttr("N", 1), intAttr("block_size", 16)},
		"DequantizeNBits":     {intAttr("K", 16), intAttr("N", 1), intAttr("block_size", 16)},
		"MaxPool":             {ir.A("kernel_shape", ir.Ints{2})},
		"MaxUnpool":           {ir.A("kernel_shape", ir.Ints{2})},
		"Momentum":            {ir.A("mode", ir.String("standard"))},
		"MultiHeadAttention":  {intAttr("num_heads", 1)},
		"QAttention":          {intAttr("num_heads", 1)},
		"RandomNormal":        {ir.A("shape", ir.Ints{2})},
		"RandomUniform":       {ir.A("shape", ir.Ints{2})},
		"RegexFullMatch":      {ir.A("pattern", ir.String("a"))},
		"Scan":                {bodyAttr("body", 1, 1), intAttr("num_scan_inputs", 1)},
		"SpaceToDepth":        {intAttr("blocksize", 2)},
		"TfIdfVectorizer": {ir.A("mode", ir.String("TF")), intAttr("min_gram_length", 1), intAttr("max_gram_length", 1),
			intAttr("max_skip_count", 0), ir.A("ngram_counts", ir.Ints{0}), ir.A("ngram_indexes", ir.Ints{0}), ir.A("pool_int64s", ir.Ints{1})},
	}
)

// bodyAttr is a sub-graph of so many inputs and outputs.
func bodyAttr(name string, inputs, outputs int) *ir.Attr {
	g := ir.NewGraph(name)
	for i := range inputs {
		g.AddInput(fmt.Sprint("in", i), nil)
	}
	for i := range outputs {
		g.Outputs = append(g.Outputs, g.NewValue(fmt.Sprint("out", i), nil))
	}
	return ir.A(name, ir.GraphAttr{Graph: g})
}

// constantNearly are operators that share code with differentiable ones but
// have no slope to check: steps (whose estimate fuse tests), whole numbers, and
// a product that is refused.
var constantNearly = []string{".BitShift", "ai.bonnx.FakeQuantize", ".Floor", ".Ceil", ".Round", ".Sign", ".BitwiseAnd", ".BitwiseOr", ".BitwiseXor", ".BitwiseNot", ".CumProd"}

// parseBare parses a node of an operator that has the inputs, outputs and
// attributes without which it cannot be made.
func parseBare(e ops.Entry) (ops.Op, error) {
	g := ir.NewGraph("g")
	n := ir.NewNode(e.Domain, e.Name)
	for i := range max(1, e.MinIn, inputsOf[e.Name]) {
		n.SetInput(i, g.AddInput(fmt.Sprint("x", i), nil))
	}
	for i := range max(1, outputsOf[e.Name]) {
		n.SetOutput(i, g.NewValue(fmt.Sprint("y", i), nil))
	}
	if e.MaxIn == 0 {
		n.TruncateInputs(0)
	}
	if n.Attrs = needed[e.Name]; e.Domain == microsoft && e.Name == "Attention" { // others count heads by their inputs
		n.Attrs = []*ir.Attr{intAttr("num_heads", 1)}
	}
	return ops.Standard().Parse(n, ops.NewestOpset)
}

// unchecked lists operators with a gradient, of their own or of their body,
// that opcheck has not seen.
func unchecked() []string {
	var missing []string
	seen := opcheck.Differentiated()
	ops.Standard().Rows(func(e ops.Entry) {
		op, err := parseBare(e)
		if err != nil {
			missing = append(missing, err.Error())
			return
		}
		_, differentiable := op.(ops.Differentiable)
		if f, ok := op.(interface{ Slope() ops.Slope }); ok {
			differentiable = f.Slope() == ops.ByBody
		}
		name := e.Domain + "." + e.Name
		if differentiable && !seen[name] && !slices.Contains(constantNearly, name) {
			missing = append(missing, name)
		}
	})
	slices.Sort(missing)
	return missing
}

func TestCastLikeGradient(t *testing.T) {
	opcheck.Gradient(t, opcheck.Case{Name: "cast like", Op: "CastLike", Diff: []int{0},
		Inputs: []*tensor.Tensor{opcheck.Random(1, -1, 1, 2, 3), opcheck.Random(2, -1, 1, 1)}})
}
