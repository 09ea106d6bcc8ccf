package ops

import (
	"fmt"

	"github.com/bonnx/bonnx/internal/kernel"
	"github.com/bonnx/bonnx/tensor"
)

// gemm is Y = alpha*op(A)*op(B) + beta*C for matrices; C (optional) is
// broadcast to Y (M,N). https://onnx.ai/onnx/operators/onnx__Gemm.html
type gemm struct {
	matProduct
	beta float64
}

func newGemm(a *Args) (Op, error) {
	return gemm{
		matProduct: matProduct{transA: a.Bool("transA", false), transB: a.Bool("transB", false), alpha: a.Float("alpha", 1)},
		beta:       a.Float("beta", 1),
	}, nil
}

// hasC reports whether there is something to add.
func (o gemm) hasC(in []Fact) bool { return len(in) > 2 && !in[2].Absent() && o.beta != 0 }

func (o gemm) Infer(in []Fact) ([]Fact, error) {
	if _, err := commonDType(in); err != nil {
		return nil, err
	}
	m, ka, kb, n := unknown, unknown, unknown, unknown
	for i, f := range in[:2] {
		if !f.Ranked {
			continue
		}
		if f.Rank() != 2 {
			return nil, fmt.Errorf("operand %d is %v; it must be a matrix", i, f)
		}
		if i == 0 {
			m, ka = lastTwo(f, o.transA)
		} else {
			kb, n = lastTwo(f, o.transB)
		}
	}
	if ka.Known && kb.Known && ka.Value != kb.Value {
		return nil, fmt.Errorf("shapes %v do not multiply: %v is not %v", shapesOf(in[:2]), ka, kb)
	}
	out := Of(in[0].DType, m, n)
	if o.hasC(in) && in[2].Ranked {
		dims, ok := BroadcastDims(out.Dims, in[2].Dims)
		if !ok || len(dims) != 2 || m.Known && dims[0].Known && dims[0].Value != m.Value || n.Known && dims[1].Known && dims[1].Value != n.Value {
			return nil, fmt.Errorf("bias C of shape %v does not broadcast to %v", dimsString(in[2].Dims), dimsString(out.Dims))
		}
	}
	return []Fact{out}, nil
}

func (o gemm) Bind(p *Binder, in, out []Fact) (Step, error) {
	if isNarrow(in[0].DType) {
		return viaFloat32(p, o, in, out)
	}
	if in[0].DType.IsInteger() {
		return o.bindInteger(p, in, out)
	}
	g, err := o.plan(in[0], in[1])
	if err != nil {
		return nil, err
	}
	if !o.hasC(in) {
		return bindPlan(p, o, g, in, out)
	}
	g.accumulate = true
	mul, err := bindPlan(p, o, g, in, out)
	if err != nil {
		return nil, err
	}
	add, err := o.bindC(p, in, out)
	if err != nil {
		return nil, err
	}
	return func(f *Frame, in, out []*tensor.Tensor) error {
		if err := add(f, in, out); err != nil {
			return err
		}
		return mul(f, in, out)
	}, nil
}

// bindC puts beta*C into the output.
func (o gemm) bindC(p *Binder, in, out []Fact) (Step, error) {
	bc, err := planBroadcast(out[0].MustShape(), in[2].MustShape())
	if err != nil {
		return nil, err
	}
	inPlaceIfSame(p, in, out[0], 2)
	spread := spreadStep[float32](bc, 2)
	if in[0].DType == tensor.Float64 {
		spread = spreadStep[float64](bc, 2)
	}
	if o.beta == 1 {
		return spread, nil
	}
	scale := scaleStep(in[0].DType, o.beta)
	return func(f *Frame, in, out []*tensor.Tensor) error {
		if err := spread(f, in, out); err != nil {
			return err
		}
		return scale(f, in, out)
	}, nil
}

// spreadStep copies in[i], broadcast, to out[0].
func spreadStep[T kernel.Numeric](bc *kernel.Broadcast, i int) Step {
	return func(f *Frame, in, out []*tensor.Tensor) error {
		kernel.Expand(f.Pool, bc, tensor.Data[T](out[0]), tensor.Data[T](in[i]))
		return nil
	}
}

// bindInteger computes in float64, which is exact below 2^53.
func (o gemm) bindInteger(p *Binder, in, out []Fact) (Step, error) {
	return viaWide(p, o, tensor.Float64, tensor.DType.IsInteger, in, out)
}

// Grad: with G = alpha*dY, dA = G op(B)' or its transpose, dB likewise, and
// dC = beta*dY summed to C's shape.
func (o gemm) Grad(b *GradBuilder) error {
	x, w, dy := b.In(0), b.In(1), b.Grad(0)
	g := dy
	if o.alpha != 1 && (b.Needs(0) || b.Needs(1)) {
		g = b.Mul(dy, b.c(o.alpha))
	}
	if b.Needs(0) {
		if o.transA {
			b.Set(0, b.FusedMatMul(w, g, o.transB, true))
		} else {
			b.Set(0, b.FusedMatMul(g, w, false, !o.transB))
		}
	}
	if b.Needs(1) {
		if o.transB {
			b.Set(1, b.FusedMatMul(g, x, true, o.transA))
		} else {
			b.Set(1, b.FusedMatMul(x, g, !o.transA, false))
		}
	}
	if b.Needs(2) {
		c := dy
		if o.beta != 1 {
			c = b.Mul(dy, b.c(o.beta))
		}
		b.SetSum(2, c)
	}
	return nil
}
