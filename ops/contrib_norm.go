package ops

import (
	"fmt"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// microsoft is the domain of the operators that ONNX Runtime adds. They are
// described in docs/ContribOperators.md of microsoft/onnxruntime.
const microsoft = "com.microsoft"

// simplifiedLayerNorm is RMS normalisation over the dimensions from axis on, in
// double of the precision of 16-bit floats:
//
//	x (...), scale -> y (...) = x / sqrt(mean(x^2)+epsilon) * scale [, 1/sqrt(...)]
//
// ONNX Runtime's optimizer writes it in the standard domain.
type simplifiedLayerNorm struct {
	function
	axis int
	eps  float64
}

func newSimplifiedLayerNorm(a *Args) (Op, error) {
	a.Skip("stash_type") // 16-bit floats are always summed in float32
	return simplifiedLayerNorm{axis: a.Int("axis", -1), eps: decimal(a.Float("epsilon", 1e-5))}, nil
}

// Expand builds the body.
func (o simplifiedLayerNorm) Expand(b *Builder, n *ir.Node) ([]*ir.Value, error) {
	axes, err := b.axesFrom(o.axis, n.Input(0))
	if err != nil {
		return nil, err
	}
	y, inv := b.rmsNorm(n.Input(0), n.Input(1), axes, o.eps)
	return ir.In(y, inv), nil
}

// rmsNorm is x / sqrt(mean(x^2)+eps) * scale, and the factor of x.
func (b *Builder) rmsNorm(x, scale *ir.Value, axes []int, eps float64) (y, inv *ir.Value) {
	d := b.Fact(x).DType
	wide := b.widened(x)
	square := b.meanOver(b.Mul(wide, wide), axes)
	inv = b.Op("Reciprocal", ir.In(b.Op("Sqrt", ir.In(b.Add(square, b.Scalar(wide, eps))))))
	return b.Mul(b.Cast(b.Mul(wide, inv), d), scale), inv
}

// widened is x, of 16-bit floats as float32.
func (b *Builder) widened(x *ir.Value) *ir.Value {
	if isNarrow(b.Fact(x).DType) {
		return b.Cast(x, tensor.Float32)
	}
	return x
}

// skipNorm adds a residual and a bias, and normalises the sum:
//
//	SkipLayerNormalization:           x (B,S,H), skip, gamma (H) [, beta (H), bias (H)]
//	SkipSimplifiedLayerNormalization: x (B,S,H), skip, gamma (H) [, bias (H)]
//	-> y (B,S,H) [, mean, 1/deviation, x+skip+bias]
type skipNorm struct {
	function
	simplified bool
	eps        float64
}

func newSkipNorm(simplified bool) func(a *Args) (Op, error) {
	return func(a *Args) (Op, error) {
		return skipNorm{simplified: simplified, eps: decimal(a.Float("epsilon", 1e-12))}, nil
	}
}

// Expand builds the body.
func (o skipNorm) Expand(b *Builder, n *ir.Node) ([]*ir.Value, error) {
	sum, beta, bias := b.Add(n.Input(0), n.Input(1)), n.Input(3), n.Input(4)
	if o.simplified {
		beta, bias = nil, n.Input(3)
	}
	if bias != nil {
		sum = b.Add(sum, bias)
	}
	if o.simplified {
		y, inv := b.rmsNorm(sum, n.Input(2), []int{-1}, o.eps)
		return ir.In(y, nil, inv, sum), nil
	}
	out := b.layerNorm(sum, n.Input(2), beta, o.eps, n.Output(1) != nil || n.Output(2) != nil)
	return append(out, sum), nil
}

// layerNorm normalises the last axis: y, and where saved its mean and the
// factor.
func (b *Builder) layerNorm(x, gamma, beta *ir.Value, eps float64, saved bool) []*ir.Value {
	in := ir.In(x, gamma)
	if beta != nil {
		in = append(in, beta)
	}
	outs := 1
	if saved {
		outs = 3
	}
	out := b.Node("", "LayerNormalization", in, outs, ir.A("axis", ir.Int(-1)), ir.A("epsilon", ir.Float(eps)))
	return append(append([]*ir.Value{}, out...), make([]*ir.Value, 3-outs)...)
}

// embedLayerNorm sums embeddings of words, positions and segments, and
// normalises the sum:
//
//	ids (B,S), segments (B,S), words (V,H), positions (P,H), segment table (T,H),
//	gamma (H), beta (H) [, mask (B,S), position ids (B,S) or (1,S)]
//	-> y (B,S,H), mask index (B) [, sum (B,S,H)]
//
// The mask index is the number of ones of each row of the mask, 0 without one.
type embedLayerNorm struct {
	function
	eps float64
}

func newEmbedLayerNorm(a *Args) (Op, error) {
	a.Skip("mask_index_type")
	for _, i := range []int{2, 3, 5, 6} {
		if a.Node.Input(i) == nil {
			return nil, fmt.Errorf("input %d is left out", i)
		}
	}
	return embedLayerNorm{eps: decimal(a.Float("epsilon", 1e-12))}, nil
}

// Expand builds the body.
func (o embedLayerNorm) Expand(b *Builder, n *ir.Node) ([]*ir.Value, error) {
	ids := n.Input(0)
	sum := b.Op("Gather", ir.In(n.Input(2), ids))
	places := n.Input(8)
	if places == nil {
		places = b.Count(b.Extent(ids, 1))
	}
	sum = b.Add(sum, b.Op("Gather", ir.In(n.Input(3), places)))
	if segments, table := n.Input(1), n.Input(4); segments != nil && table != nil {
		sum = b.Add(sum, b.Op("Gather", ir.In(table, segments)))
	}
	var index *ir.Value
	if mask := n.Input(7); mask != nil {
		index = b.ReduceSum(mask, false, 1)
	} else {
		zero := ir.TensorAttr{Data: ir.Dense(tensor.FromSlice([]int32{0}, 1))}
		index = b.Op("ConstantOfShape", ir.In(b.Extent(ids, 0)), ir.A("value", zero))
	}
	y := b.layerNorm(sum, n.Input(5), n.Input(6), o.eps, false)[0]
	return ir.In(y, index, sum), nil
}
