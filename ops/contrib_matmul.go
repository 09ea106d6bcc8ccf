package ops

import (
	"fmt"

	"github.com/bonnx/bonnx/ir"
)

// batchedMatMul is com.microsoft.FusedMatMul, alpha*op(A)*op(B) with batches.
// transA transposes the last two dimensions; transBatchA first moves the first
// dimension behind the batch: (M,batch...,K) is read as (batch...,M,K).
type batchedMatMul struct {
	function
	alpha                    float64
	transA, transB           bool
	batchMovedA, batchMovedB bool
}

func newMicrosoftFusedMatMul(a *Args) (Op, error) {
	return batchedMatMul{alpha: decimal(a.Float("alpha", 1)), transA: a.Bool("transA", false), transB: a.Bool("transB", false),
		batchMovedA: a.Bool("transBatchA", false), batchMovedB: a.Bool("transBatchB", false)}, nil
}

// Expand builds the body.
func (o batchedMatMul) Expand(b *Builder, n *ir.Node) ([]*ir.Value, error) {
	x, err := operand(b, n.Input(0), o.transA, o.batchMovedA)
	if err != nil {
		return nil, err
	}
	w, err := operand(b, n.Input(1), o.transB, o.batchMovedB)
	if err != nil {
		return nil, err
	}
	y := b.MatMul(x, w)
	if o.alpha != 1 {
		y = b.Mul(y, b.Scalar(y, o.alpha))
	}
	return ir.In(y), nil
}

func operand(b *Builder, x *ir.Value, trans, batchMoved bool) (*ir.Value, error) {
	rank := b.Fact(x).Rank()
	if batchMoved {
		if rank < 3 {
			return nil, fmt.Errorf("moved batches of %v", b.Fact(x))
		}
		perm := make([]int, rank)
		for i := range perm {
			perm[i] = i + 1
		}
		perm[rank-2], perm[rank-1] = 0, rank-1
		x = b.Transpose(x, perm...)
	}
	if trans && rank != 1 {
		x = b.SwapLast(x)
	}
	return x, nil
}

// fusedGemm is com.microsoft.FusedGemm: an activation of Gemm.
type fusedGemm struct {
	function
	gemm       []*ir.Attr
	activation string
	attrs      []*ir.Attr // of the activation
}

// gemmActivations are the activations that FusedGemm may have, with the names
// of the attributes that activation_alpha, _beta and _gamma stand for.
var gemmActivations = map[string][]string{
	"": nil, "Relu": nil, "Sigmoid": nil, "Tanh": nil, "Softplus": nil, "Softsign": nil,
	"LeakyRelu": {"alpha"}, "Elu": {"alpha"}, "ThresholdedRelu": {"alpha"},
	"HardSigmoid": {"alpha", "beta"}, "Selu": {"alpha", "", "gamma"},
}

func newFusedGemm(a *Args) (Op, error) {
	o := fusedGemm{activation: a.String("activation", "")}
	names, ok := gemmActivations[o.activation]
	if !ok {
		return nil, fmt.Errorf("activation %q", o.activation)
	}
	for i, from := range []string{"activation_alpha", "activation_beta", "activation_gamma"} {
		if a.Has(from) && i < len(names) && names[i] != "" {
			o.attrs = append(o.attrs, ir.A(names[i], ir.Float(a.Float(from, 0))))
		}
	}
	for _, name := range []string{"alpha", "beta", "transA", "transB"} {
		if a.Has(name) {
			o.gemm = append(o.gemm, ir.A(name, a.Node.Attr(name).Value))
		}
	}
	return o, nil
}

// Expand builds the body.
func (o fusedGemm) Expand(b *Builder, n *ir.Node) ([]*ir.Value, error) {
	y := b.Op("Gemm", n.Inputs(), o.gemm...)
	if o.activation != "" {
		y = b.Op(o.activation, ir.In(y), o.attrs...)
	}
	return ir.In(y), nil
}
