package ops_test

import (
	"math"
	"strings"
	"testing"

	"github.com/bonnx/bonnx/internal/testutil/opcheck"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

// maskTensor is 0 where row i of the scores sees column j, low elsewhere.
func maskTensor(rows, cols int, low float64) *tensor.Tensor {
	t := tensor.New(tensor.Float64, rows, cols)
	for i := range tensor.Data[float64](t) {
		if i%cols > i/cols {
			tensor.Data[float64](t)[i] = low
		}
	}
	return t
}

// attentionCases have q (2,4,3,5), with the axes of rowsFirst swapped.
func attentionCases(op string) []opcheck.Case {
	shape := func(first int64, heads, rows, width int) []int {
		if first == 1 {
			return []int{2, rows, heads, width}
		}
		return []int{2, heads, rows, width}
	}
	var cases []opcheck.Case
	for i, c := range []struct {
		name   string
		first  ir.Ints
		groups int
		bias   *tensor.Tensor
		konst  bool
	}{
		{"plain", ir.Ints{0, 0, 0, 0}, 4, nil, false},
		{"groups", ir.Ints{0, 0, 0, 0}, 2, nil, false},
		{"rows first", ir.Ints{1, 1, 1, 1}, 2, nil, false},
		{"mixed", ir.Ints{0, 1, 0, 1}, 4, opcheck.Random(9, -1, 1, 3, 6), false},
		{"causal", ir.Ints{1, 0, 1, 0}, 1, maskTensor(3, 6, math.Inf(-1)), true},
		{"bias of all", ir.Ints{0, 0, 0, 0}, 4, opcheck.Random(9, -1, 1, 2, 4, 3, 6), false},
		{"bias of columns", ir.Ints{0, 0, 0, 0}, 2, opcheck.Random(9, -1, 1, 2, 1, 1, 6), false},
		{"bias of heads", ir.Ints{0, 1, 0, 0}, 2, opcheck.Random(9, -1, 1, 4, 1, 6), true},
	} {
		k := opcheck.Case{Name: c.name, Domain: ops.Domain, Op: op, Attrs: []*ir.Attr{
			ir.A("scale", ir.Float(0.625)), ir.A("rows_first", c.first)}}
		seed := uint64(10 * i)
		add := func(shape []int) {
			seed++
			k.Inputs = append(k.Inputs, opcheck.Random(seed, -1, 1, shape...))
		}
		if op == "AttentionGrad" {
			k.Outputs = 3
			add(shape(c.first[3], 4, 3, 7))
		}
		add(shape(c.first[0], 4, 3, 5))
		add(shape(c.first[1], c.groups, 6, 5))
		add(shape(c.first[2], c.groups, 6, 7))
		if c.bias != nil {
			if c.konst {
				k.Const = []int{len(k.Inputs)}
			}
			k.Inputs = append(k.Inputs, c.bias)
		}
		cases = append(cases, k)
	}
	return cases
}

func TestFusedAttention(t *testing.T) {
	for _, c := range attentionCases("Attention") {
		opcheck.Gradient(t, c)
		opcheck.Expansion(t, c, 1e-12)
	}
}

func TestFusedAttentionGradExpands(t *testing.T) {
	for _, c := range attentionCases("AttentionGrad") {
		opcheck.Expansion(t, c, 1e-12)
	}
}

// TestFusedAttentionByHand: two equal keys share their row; a masked one has no
// part in it.
func TestFusedAttentionByHand(t *testing.T) {
	q := tensor.FromSlice([]float32{1, 2}, 1, 1, 1, 2)
	k := tensor.FromSlice([]float32{3, 1, 3, 1, 100, 100}, 1, 1, 3, 2)
	v := tensor.FromSlice([]float32{1, 3, 1000}, 1, 1, 3, 1)
	bias := tensor.FromSlice([]float32{0, 0, float32(math.Inf(-1))}, 1, 3)
	c := opcheck.Case{Name: "by hand", Domain: ops.Domain, Op: "Attention", Inputs: []*tensor.Tensor{q, k, v, bias}}
	opcheck.Forward(t, c, 1e-6, tensor.FromSlice([]float32{2}, 1, 1, 1, 1))
}

func TestFusedAttentionErrors(t *testing.T) {
	q, k := opcheck.Random(1, -1, 1, 1, 3, 2, 4), opcheck.Random(2, -1, 1, 1, 2, 2, 4)
	for name, in := range map[string][]*tensor.Tensor{
		"3 heads of q share 2":  {q, k, k},
		"width of q and k":      {q, opcheck.Random(2, -1, 1, 1, 3, 2, 5), q},
		"rows of k and v":       {q, q, opcheck.Random(2, -1, 1, 1, 3, 3, 5)},
		"does not broadcast to": {q, q, q, opcheck.Random(2, -1, 1, 2, 5)},
		"rank does not fit":     {q, opcheck.Random(2, -1, 1, 3, 2, 4), q},
		"heads have no width":   {tensor.New(tensor.Float64, 1, 3, 2, 0), tensor.New(tensor.Float64, 1, 3, 2, 0), q},
		"bias float64[2 5 2":    {q, q, q, opcheck.Random(2, -1, 1, 2, 5, 2, 1, 1)},
	} {
		_, err := opcheck.Eval(opcheck.Case{Domain: ops.Domain, Op: "Attention", Inputs: in})
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("got error %v, want one with %q", err, name)
		}
	}
}
