package rewrite

import (
	"errors"
	"fmt"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// maxTail is how many nodes a layer's node may come before its result.
const maxTail = 4

// noFloats is why a product of quantized numbers is no target.
func noFloats(what string) error {
	return fmt.Errorf("its %s is never there in floats, which adapters need", what)
}

// quantizer is the node that made the quantized x, nil where none did whose
// scale and zero point are those that the layer reads.
func quantizer(x, scale, zero *ir.Value) *ir.Node {
	n := x.Producer()
	switch {
	case n.Is("DynamicQuantizeLinear") && x.Index() == 0:
		if (scale == nil || scale == n.Output(1)) && zero == n.Output(2) {
			return n
		}
	case n.Is("QuantizeLinear"):
		if (scale == nil || scale == n.Input(1)) && zero == n.Input(2) {
			return n
		}
	}
	return nil
}

// scaleOf is the scale with which the quantizer rounds.
func scaleOf(q *ir.Node) *ir.Value {
	if q.OpType == "DynamicQuantizeLinear" {
		return q.Output(1)
	}
	return q.Input(1)
}

// only is the one node that reads v, nil where there are others.
func only(v *ir.Value, opType string) *ir.Node {
	if v == nil || v.IsOutput() || len(v.Uses()) != 1 || !v.Uses()[0].Node.Is(opType) {
		return nil
	}
	return v.Uses()[0].Node
}

// before has a layer of that weight read x in floats, as it is before it is rounded.
func (l *Linear) before(x, scale, zero, weight *ir.Value) error {
	if !constant(weight) {
		return errComputed
	}
	q := quantizer(x, scale, zero)
	if q == nil {
		return noFloats("input")
	}
	l.tap, l.parts = ir.Use{Node: q}, append(l.parts, q)
	return nil
}

// matMulInteger is what ONNX Runtime's quantize_dynamic makes of MatMul:
//
//	y = Cast(MatMulInteger(q, W, zero of x, zero of W)) * (scale of x * scale of W)
func matMulInteger(l *Linear, in func(int) *ir.Value) (*ir.Value, bool, error) {
	if err := l.before(l.Node.Input(0), nil, l.Node.Input(2), in(1)); err != nil {
		return nil, false, err
	}
	xScale := scaleOf(l.parts[0])
	cast := only(l.Node.Output(0), "Cast")
	if cast == nil {
		return nil, false, noFloats("result")
	}
	mul := only(cast.Output(0), "Mul")
	if mul == nil {
		return nil, false, noFloats("result")
	}
	other := func(n *ir.Node, v *ir.Value) (*ir.Value, int) {
		if n.Input(0) == v {
			return n.Input(1), 1
		}
		return n.Input(0), 0
	}
	scales, _ := other(mul, cast.Output(0))
	both := scales.Producer()
	if !both.Is("Mul") || both.Input(0) != xScale && both.Input(1) != xScale {
		return nil, false, errors.New("what scales its result is not the product of two scales")
	}
	wScale, at := other(both, xScale)
	l.parts = append(l.parts, l.Node, cast, both, mul)
	l.result = mul.Output(0)
	return l.dequantized(in(1), source{both, at, wScale}, source{l.Node, 3, l.Node.Input(3)}, false)
}

// qLinearMatMul is QLinearMatMul between QuantizeLinear and DequantizeLinear.
func qLinearMatMul(l *Linear, in func(int) *ir.Value) (*ir.Value, bool, error) {
	n := l.Node
	if err := l.before(n.Input(0), n.Input(1), n.Input(2), in(3)); err != nil {
		return nil, false, err
	}
	l.parts = append(l.parts, n)
	if err := l.float(n.Input(6), n.Input(7)); err != nil {
		return nil, false, err
	}
	l.slot = 3
	return l.dequantized(in(3), source{n, 4, n.Input(4)}, source{n, 5, n.Input(5)}, false)
}

// qGemm is com.microsoft.QGemm: Gemm of quantized matrices, its result in
// floats where no scale of it is given.
func qGemm(l *Linear, in func(int) *ir.Value) (_ *ir.Value, _ bool, err error) {
	n := l.Node
	if l.scale, err = number(n, "alpha", 1); err != nil {
		return nil, false, err
	}
	if n.Input(6) != nil {
		return nil, false, errors.New("it adds integers; adapters are put on QGemm without C alone")
	}
	if err := l.before(n.Input(0), n.Input(1), n.Input(2), in(3)); err != nil {
		return nil, false, err
	}
	l.transA = flag(n, "transA")
	l.parts = append(l.parts, n)
	if n.Input(7) != nil {
		if err := l.float(n.Input(7), n.Input(8)); err != nil {
			return nil, false, err
		}
	}
	l.slot = 3
	return l.dequantized(in(3), source{n, 4, n.Input(4)}, source{n, 5, n.Input(5)}, flag(n, "transB"))
}

// float has the layer give its result after the DequantizeLinear that follows.
func (l *Linear) float(scale, zero *ir.Value) error {
	d := only(l.result, "DequantizeLinear")
	if d == nil || d.Input(1) != scale || d.Input(2) != zero {
		return noFloats("result")
	}
	l.parts = append(l.parts, d)
	l.result = d.Output(0)
	return nil
}

// matMulIntegerToFloat is com.microsoft.MatMulIntegerToFloat: x is quantized,
// what comes out is not.
func matMulIntegerToFloat(l *Linear, in func(int) *ir.Value) (*ir.Value, bool, error) {
	n := l.Node
	if err := l.before(n.Input(0), n.Input(2), n.Input(4), in(1)); err != nil {
		return nil, false, err
	}
	l.parts = append(l.parts, n)
	return l.dequantized(in(1), source{n, 3, n.Input(3)}, source{n, 5, n.Input(5)}, false)
}

// dynamicQuantizeMatMul is com.microsoft.DynamicQuantizeMatMul, floats on both
// sides.
func dynamicQuantizeMatMul(l *Linear, in func(int) *ir.Value) (*ir.Value, bool, error) {
	n := l.Node
	l.parts = append(l.parts, n)
	return l.dequantized(in(1), source{n, 2, n.Input(2)}, source{n, 3, n.Input(3)}, false)
}

// dequantized gives the layer the weight q of integers, scaled.
func (l *Linear) dequantized(q *ir.Value, scale, zero source, transposed bool) (*ir.Value, bool, error) {
	axis := 1
	if transposed {
		axis = 0
	}
	d := dequantize{scale: scale, zero: zero, axis: axis}
	if err := d.constant(); err != nil {
		return nil, false, err
	}
	var err error
	l.Weight, err = traceWeight(q, d, transposed)
	return nil, false, err
}

// nBits is a weight of com.microsoft.MatMulNBits as a matrix (N,K): numbers of
// some bits in blocks along K, the first in the low ones, each block with a
// scale and perhaps a zero point.
//
//	B (N,blocks,block*bits/8) uint8, scales (N,blocks), zero points packed like
//	B or of the scales' type; without them half the range
type nBits struct {
	scale, zero    source
	n, k           int
	bits, perBlock int
}

func matMulNBits(l *Linear, in func(int) *ir.Value) (*ir.Value, bool, error) {
	n := l.Node
	if n.Input(4) != nil || flag(n, "weight_prepacked") {
		return nil, false, errors.New("its weight is in groups by index, or prepacked")
	}
	w := nBits{scale: source{n, 2, n.Input(2)}, zero: source{n, 3, n.Input(3)}}
	for _, a := range []struct {
		name string
		or   int
		to   *int
	}{{"N", 0, &w.n}, {"K", 0, &w.k}, {"bits", 4, &w.bits}, {"block_size", 0, &w.perBlock}} {
		v, err := integer(n, a.name, a.or)
		if err != nil {
			return nil, false, err
		}
		*a.to = v
	}
	if w.n <= 0 || w.k <= 0 || w.n > 1<<30 || w.k > 1<<30 || w.perBlock <= 0 || w.perBlock > 1<<20 || w.bits != 2 && w.bits != 4 && w.bits != 8 {
		return nil, false, fmt.Errorf("attributes N, K, bits and block_size are %d, %d, %d and %d", w.n, w.k, w.bits, w.perBlock)
	}
	l.parts = append(l.parts, n)
	if w.scale.data() == nil || w.zero.v != nil && w.zero.data() == nil {
		return nil, false, errScale
	}
	var err error
	l.Weight, err = traceWeight(in(1), w, true)
	return nil, true, err
}

func (w nBits) blocks() int { return (w.k + w.perBlock - 1) / w.perBlock }

func (w nBits) out(in info) (info, error) {
	size := w.n * w.blocks() * (w.perBlock * w.bits / 8)
	scales := w.scale.data()
	if in.dtype != tensor.Uint8 || in.shape.Size() != size || scales.Shape().Size() != w.n*w.blocks() {
		return info{}, fmt.Errorf("%v%v with scales %v is no weight (%d,%d) of %d bits in blocks of %d", in.dtype, in.shape, scales.Shape(), w.n, w.k, w.bits, w.perBlock)
	}
	if z := w.zero.data(); z != nil {
		want := w.n * w.blocks()
		if !z.DType().IsFloat() {
			want = w.n * w.zeroBytes()
		}
		if z.Shape().Size() != want || !z.DType().IsFloat() && z.DType() != tensor.Uint8 {
			return info{}, fmt.Errorf("zero points are %v%v", z.DType(), z.Shape())
		}
	}
	return info{scales.DType(), tensor.Shape{w.n, w.k}}, nil
}

// zeroBytes is the length of a row's packed zero points.
func (w nBits) zeroBytes() int { return (w.blocks()*w.bits + 7) / 8 }

// get is number i of packed ones.
func (w nBits) get(b []uint8, i int) float32 {
	per := 8 / w.bits
	return float32(b[i/per] >> (i % per * w.bits) & (1<<w.bits - 1))
}

// zeros are the zero points (N,blocks).
func (w nBits) zeros() ([]float32, error) {
	out := make([]float32, w.n*w.blocks())
	d := w.zero.data()
	if d == nil {
		for i := range out {
			out[i] = float32(int(1) << (w.bits - 1))
		}
		return out, nil
	}
	t, err := d.Tensor()
	if err != nil {
		return nil, err
	}
	if t.DType().IsFloat() {
		return t.Float32s()
	}
	bytes := tensor.Data[uint8](t)
	for i := range out {
		out[i] = w.get(bytes[i/w.blocks()*w.zeroBytes():], i%w.blocks())
	}
	return out, nil
}

func (w nBits) read(t *tensor.Tensor) (*tensor.Tensor, error) {
	scales, err := w.scale.data().Tensor()
	if err != nil {
		return nil, err
	}
	s, err := scales.Float32s()
	if err != nil {
		return nil, err
	}
	zeros, err := w.zeros()
	if err != nil {
		return nil, err
	}
	q := tensor.Data[uint8](t)
	out := tensor.New(tensor.Float32, w.n, w.k)
	x, blob := tensor.Data[float32](out), w.perBlock*w.bits/8
	for i := range x {
		b := i/w.k*w.blocks() + i%w.k/w.perBlock
		x[i] = (w.get(q[b*blob:], i%w.k%w.perBlock) - zeros[b]) * s[b]
	}
	return out.Cast(scales.DType())
}

func (nBits) write(*tensor.Tensor, info) (*tensor.Tensor, error) { return nil, errQuantized }
