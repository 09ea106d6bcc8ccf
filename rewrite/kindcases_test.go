package rewrite_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/bonnx/bonnx/adapter"
	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/rewrite"
	"github.com/bonnx/bonnx/tensor"
)

const microsoft = "com.microsoft"

// A kindCase is a linear layer that is no plain MatMul or Gemm.
type kindCase struct {
	name string
	kind string
	// build adds the layer of weight w (in, out) to x and returns its result, and
	// the weight as it is after rounding.
	build func(b *gb, x *ir.Value, w *tensor.Tensor) (*ir.Value, *tensor.Tensor)
	// fed lays rows (rows, in) out as the layer reads them; back the layer's
	// result as rows again.
	fed, back func(x *tensor.Tensor) *tensor.Tensor
	only      rewrite.Form // the form that an adapter of any form has there
	rounds    bool         // x is quantized on the way
	noRun     bool         // bonnx has no such operator
	ints      bool         // the weight is quantized, though the product is not
	alpha     float64      // of the product, where not 1
}

func (k kindCase) quantized() bool { return k.ints || k.only == rewrite.Activation }

func same(x *tensor.Tensor) *tensor.Tensor { return x }

// channels turns rows (2*3*2, in) into images (2, in, 3, 2), and back.
func channels(x *tensor.Tensor) *tensor.Tensor {
	return swapped(x.Reshape(2, 6, x.Shape()[1]), 2, 3, 2)
}
func pixels(y *tensor.Tensor) *tensor.Tensor {
	c := y.Shape()[1]
	return swapped(y.Reshape(2, c, 6)).Reshape(12, c)
}

// swapped exchanges the last two of three axes; dims split the last one.
func swapped(x *tensor.Tensor, dims ...int) *tensor.Tensor {
	y, err := x.Transpose(0, 2, 1)
	if err != nil {
		panic(err)
	}
	if len(dims) > 0 {
		y = y.Reshape(dims[0], y.Shape()[1], dims[1], dims[2])
	}
	return y
}

// stacked turns rows (12, in) into two matrices (2, in, 6), and back.
func stacked(x *tensor.Tensor) *tensor.Tensor   { return swapped(x.Reshape(2, 6, x.Shape()[1])) }
func unstacked(y *tensor.Tensor) *tensor.Tensor { return swapped(y).Reshape(12, y.Shape()[1]) }

// folded is two batches of six rows.
func folded(x *tensor.Tensor) *tensor.Tensor   { return x.Reshape(2, 6, x.Shape()[1]) }
func unfolded(y *tensor.Tensor) *tensor.Tensor { return y.Reshape(12, y.Shape()[2]) }

// contrib adds a node of com.microsoft.
func (b *gb) contrib(name, op, out string, in []*ir.Value, attrs ...*ir.Attr) *ir.Value {
	b.m.SetOpset(microsoft, 1)
	v := b.op(name, op, out, in, attrs...)
	v.Producer().Domain = microsoft
	return v
}

// ints8 rounds w to int8 with a scale for each column, or one for all, and
// returns the integers, the scales and the rounded weight.
func ints8(w *tensor.Tensor, columns bool) (q, scale, rounded *tensor.Tensor) {
	in, out := w.Shape()[0], w.Shape()[1]
	x := tensor.Data[float32](w)
	scales := make([]float32, out)
	for i, v := range x {
		scales[i%out] = max(scales[i%out], float32(math.Abs(float64(v)))/127)
	}
	if !columns {
		all := float32(0)
		for _, s := range scales {
			all = max(all, s)
		}
		for i := range scales {
			scales[i] = all
		}
	}
	q, rounded = tensor.New(tensor.Int8, in, out), tensor.New(tensor.Float32, in, out)
	for i, v := range x {
		n := math.RoundToEven(float64(v / scales[i%out]))
		tensor.Data[int8](q)[i] = int8(n)
		tensor.Data[float32](rounded)[i] = float32(n) * scales[i%out]
	}
	if !columns {
		return q, tensor.Scalar(scales[0]), rounded
	}
	return q, tensor.FromSlice(scales, out), rounded
}

func dynamicInputs(b *gb, x *ir.Value) []*ir.Value {
	n := ir.NewNode("", "DynamicQuantizeLinear", x)
	n.Name = "x_QuantizeLinear"
	for i, name := range []string{"x_quantized", "x_scale", "x_zero_point"} {
		n.SetOutput(i, b.g.NewValue(name, nil))
	}
	b.g.Append(n)
	return n.Outputs()
}

func zeroPoint(b *gb) *ir.Value { return b.init("w_zero", tensor.Scalar[int8](0)) }

// nBitWeight is w in blocks along its input side, as MatMulNBits has it.
func nBitWeight(w *tensor.Tensor, bits, block int, zeros bool) (q, scales, zero, rounded *tensor.Tensor) {
	in, out := w.Shape()[0], w.Shape()[1]
	blocks, blob, top := (in+block-1)/block, block*bits/8, float64(int(1)<<bits-1)
	zeroBytes := (blocks*bits + 7) / 8
	q, scales = tensor.New(tensor.Uint8, out, blocks, blob), tensor.New(tensor.Float32, out*blocks)
	zero, rounded = tensor.New(tensor.Uint8, out, zeroBytes), tensor.New(tensor.Float32, in, out)
	x, y := tensor.Data[float32](w), tensor.Data[float32](rounded)
	pack := func(b []uint8, i int, v float64) { b[i*bits/8] |= uint8(v) << (i * bits % 8) }
	for o := range out {
		for b := range blocks {
			var lo, hi float64
			for k := b * block; k < min(in, (b+1)*block); k++ {
				lo, hi = min(lo, float64(x[k*out+o])), max(hi, float64(x[k*out+o]))
			}
			mid := float64(int(1) << (bits - 1))
			s := max(hi, -lo) / (mid - 1)
			if zeros {
				s = (hi - lo) / top
				mid = math.RoundToEven(-lo / s)
				pack(tensor.Data[uint8](zero)[o*zeroBytes:], b, mid)
			}
			s = float64(float32(s))
			tensor.Data[float32](scales)[o*blocks+b] = float32(s)
			for k := b * block; k < min(in, (b+1)*block); k++ {
				n := min(max(math.RoundToEven(float64(x[k*out+o])/s)+mid, 0), top)
				pack(tensor.Data[uint8](q)[(o*blocks+b)*blob:], k-b*block, n)
				y[k*out+o] = float32(n-mid) * float32(s)
			}
		}
	}
	return q, scales, zero, rounded
}

func nBits(bits, block int, zeros bool) func(b *gb, x *ir.Value, w *tensor.Tensor) (*ir.Value, *tensor.Tensor) {
	return func(b *gb, x *ir.Value, w *tensor.Tensor) (*ir.Value, *tensor.Tensor) {
		q, scales, zero, rounded := nBitWeight(w, bits, block, zeros)
		in := ir.In(x, b.init("w_Q4", q), b.init("w_scales", scales))
		if zeros {
			in = append(in, b.init("w_zeros", zero))
		}
		attrs := []*ir.Attr{ir.A("K", ir.Int(w.Shape()[0])), ir.A("N", ir.Int(w.Shape()[1])), ir.A("bits", ir.Int(bits)), ir.A("block_size", ir.Int(block))}
		return b.contrib("/net/lin/MatMul_Q4", "MatMulNBits", "h", in, attrs...), rounded
	}
}

func conv(dims []int, attrs ...*ir.Attr) func(b *gb, x *ir.Value, w *tensor.Tensor) (*ir.Value, *tensor.Tensor) {
	return func(b *gb, x *ir.Value, w *tensor.Tensor) (*ir.Value, *tensor.Tensor) {
		shape := append([]int{w.Shape()[1], w.Shape()[0]}, dims...)
		return b.op("/net/lin/Conv", "Conv", "h", ir.In(x, b.init("net.lin.weight", turned(w).Reshape(shape...))), attrs...), w
	}
}

var kindCases = []kindCase{
	{name: "weight on the left", kind: "MatMul", fed: stacked, back: unstacked,
		build: func(b *gb, x *ir.Value, w *tensor.Tensor) (*ir.Value, *tensor.Tensor) {
			return b.op("/net/lin/MatMul", "MatMul", "h", ir.In(b.init("w", turned(w)), x)), w
		}},
	{name: "1x1 convolution", kind: "Conv", fed: channels, back: pixels, build: conv([]int{1, 1})},
	{name: "1x1 convolution with attributes", kind: "Conv", fed: channels, back: pixels,
		build: conv([]int{1, 1}, ir.A("pads", ir.Ints{0, 0, 0, 0}), ir.A("strides", ir.Ints{1, 1}), ir.A("kernel_shape", ir.Ints{1, 1}), ir.A("group", ir.Int(1)))},
	{name: "convolution of one axis", kind: "Conv", fed: stacked, back: unstacked, build: conv([]int{1})},
	{name: "fused product", kind: "FusedMatMul", fed: folded, back: unfolded,
		build: func(b *gb, x *ir.Value, w *tensor.Tensor) (*ir.Value, *tensor.Tensor) {
			y := b.contrib("/net/lin/MatMul", "FusedMatMul", "h", ir.In(x, b.init("w", turned(w))), ir.A("transB", ir.Int(1)), ir.A("alpha", ir.Float(0.5)))
			return y, w
		}, alpha: 0.5},
	{name: "fused product of transposed x", kind: "FusedMatMul", fed: stacked,
		back: func(y *tensor.Tensor) *tensor.Tensor { return y.Reshape(12, y.Shape()[2]) },
		build: func(b *gb, x *ir.Value, w *tensor.Tensor) (*ir.Value, *tensor.Tensor) {
			return b.contrib("/net/lin/MatMul", "FusedMatMul", "h", ir.In(x, b.init("w", w)), ir.A("transA", ir.Int(1))), w
		}},
	{name: "fused gemm", kind: "FusedGemm", fed: same, back: same, only: rewrite.Weighted,
		build: func(b *gb, x *ir.Value, w *tensor.Tensor) (*ir.Value, *tensor.Tensor) {
			y := b.contrib("/net/lin/Gemm", "FusedGemm", "h", ir.In(x, b.init("w", turned(w))), ir.A("transB", ir.Int(1)), ir.A("activation", ir.String("LeakyRelu")), ir.A("activation_alpha", ir.Float(1)))
			return y, w
		}},
	{name: "int8, dynamic", kind: "MatMulInteger", fed: folded, back: unfolded, only: rewrite.Activation, rounds: true,
		build: func(b *gb, x *ir.Value, w *tensor.Tensor) (*ir.Value, *tensor.Tensor) {
			q, scale, rounded := ints8(w, true)
			in := dynamicInputs(b, x)
			p := b.op("/net/lin/MatMul_quant", "MatMulInteger", "p", ir.In(in[0], b.init("w_quantized", q), in[2], zeroPoint(b)))
			f := b.op("p_cast", "Cast", "pf", ir.In(p), ir.A("to", ir.Int(tensor.Float32)))
			s := b.op("/net/lin/MatMul_quant_scales_mul", "Mul", "s", ir.In(in[1], b.init("w_scale", scale)))
			return b.op("/net/lin/MatMul_quant_output_scale_mul", "Mul", "h", ir.In(f, s)), rounded
		}},
	{name: "int8, dynamic, fused", kind: "MatMulIntegerToFloat", fed: folded, back: unfolded, only: rewrite.Activation, rounds: true,
		build: func(b *gb, x *ir.Value, w *tensor.Tensor) (*ir.Value, *tensor.Tensor) {
			q, scale, rounded := ints8(w, true)
			in := dynamicInputs(b, x)
			bias := b.init("net.lin.bias", tensor.New(tensor.Float32, w.Shape()[1]))
			zeros := b.init("w_zero", tensor.New(tensor.Int8, w.Shape()[1]))
			return b.contrib("/net/lin/MatMul", "MatMulIntegerToFloat", "h", ir.In(in[0], b.init("w_quantized", q), in[1], b.init("w_scale", scale), in[2], zeros, bias)), rounded
		}},
	{name: "int8, quantized within", kind: "DynamicQuantizeMatMul", fed: folded, back: unfolded, only: rewrite.Activation, rounds: true,
		build: func(b *gb, x *ir.Value, w *tensor.Tensor) (*ir.Value, *tensor.Tensor) {
			q, scale, rounded := ints8(w, false)
			return b.contrib("/net/lin/MatMul", "DynamicQuantizeMatMul", "h", ir.In(x, b.init("w_quantized", q), b.init("w_scale", scale), zeroPoint(b))), rounded
		}},
	{name: "int8, static", kind: "QLinearMatMul", fed: folded, back: unfolded, only: rewrite.Activation, rounds: true,
		build: func(b *gb, x *ir.Value, w *tensor.Tensor) (*ir.Value, *tensor.Tensor) {
			q, scale, rounded := ints8(w, false)
			xs, xz := b.init("x_scale", tensor.Scalar[float32](0.04)), b.init("x_zero", tensor.Scalar[uint8](128))
			ys, yz := b.init("y_scale", tensor.Scalar[float32](0.2)), b.init("y_zero", tensor.Scalar[uint8](120))
			xq := b.op("x_q", "QuantizeLinear", "xq", ir.In(x, xs, xz))
			p := b.op("/net/lin/MatMul_quant", "QLinearMatMul", "p", ir.In(xq, xs, xz, b.init("w_quantized", q), b.init("w_scale", scale), zeroPoint(b), ys, yz))
			return b.op("y_dq", "DequantizeLinear", "h", ir.In(p, ys, yz)), rounded
		}},
	{name: "int8 Gemm", kind: "QGemm", fed: same, back: same, only: rewrite.Activation, rounds: true, noRun: true,
		build: func(b *gb, x *ir.Value, w *tensor.Tensor) (*ir.Value, *tensor.Tensor) {
			q, scale, rounded := ints8(w, false)
			xs, xz := b.init("x_scale", tensor.Scalar[float32](0.04)), b.init("x_zero", tensor.Scalar[uint8](128))
			xq := b.op("x_q", "QuantizeLinear", "xq", ir.In(x, xs, xz))
			y := b.contrib("/net/lin/Gemm_quant", "QGemm", "h", ir.In(xq, xs, xz, b.init("w_quantized", turned(q)), b.init("w_scale", scale), zeroPoint(b)),
				ir.A("transB", ir.Int(1)), ir.A("alpha", ir.Float(1)))
			return y, rounded
		}},
	{name: "int8 weights", kind: "MatMul", fed: folded, back: unfolded, ints: true,
		build: func(b *gb, x *ir.Value, w *tensor.Tensor) (*ir.Value, *tensor.Tensor) {
			q, scale, rounded := ints8(w, true)
			zeros := b.init("w_zero", tensor.New(tensor.Int8, w.Shape()[1]))
			d := b.op("dq", "DequantizeLinear", "wf", ir.In(b.init("w_quantized", turned(q)), b.init("w_scale", scale), zeros), ir.A("axis", ir.Int(0)))
			return b.op("/net/lin/MatMul", "MatMul", "h", ir.In(x, b.op("t", "Transpose", "wt", ir.In(d), ir.A("perm", ir.Ints{1, 0})))), rounded
		}},
	{name: "int8 convolution", kind: "Conv", fed: channels, back: pixels, ints: true,
		build: func(b *gb, x *ir.Value, w *tensor.Tensor) (*ir.Value, *tensor.Tensor) {
			q, scale, rounded := ints8(w, true)
			q = turned(q).Reshape(w.Shape()[1], w.Shape()[0], 1, 1)
			d := b.op("dq", "DequantizeLinear", "wf", ir.In(b.init("w_quantized", q), b.init("w_scale", scale)), ir.A("axis", ir.Int(0)))
			return b.op("/net/lin/Conv", "Conv", "h", ir.In(x, d)), rounded
		}},
	{name: "4 bits", kind: "MatMulNBits", fed: folded, back: unfolded, only: rewrite.Activation, build: nBits(4, 16, false)},
	{name: "4 bits with zero points", kind: "MatMulNBits", fed: folded, back: unfolded, only: rewrite.Activation, build: nBits(4, 16, true)},
	{name: "8 bits with zero points", kind: "MatMulNBits", fed: folded, back: unfolded, only: rewrite.Activation, build: nBits(8, 16, true)},
	{name: "2 bits with zero points", kind: "MatMulNBits", fed: folded, back: unfolded, only: rewrite.Activation, build: nBits(2, 16, true)},
}

func scaled(w *tensor.Tensor, by float32) *tensor.Tensor {
	c := w.Clone()
	for i := range tensor.Data[float32](c) {
		tensor.Data[float32](c)[i] *= by
	}
	return c
}

const (
	kindIn  = 40 // two and a half blocks of 16
	kindOut = 12
)

// model is x -> layer -> Neg -> y; it returns the weight that the layer has.
func (k kindCase) model() (*ir.Model, *tensor.Tensor) {
	b := newModel(17, 8)
	shape := k.fed(tensor.New(tensor.Float32, 12, kindIn)).Shape()
	dims := make([]ir.Dim, len(shape))
	for i, n := range shape {
		dims[i] = ir.Fixed(int64(n))
	}
	h, w := k.build(b, b.input("x", tensor.Float32, dims...), testutil.Random(1, kindIn, kindOut))
	for i := range dims {
		dims[i] = ir.Symbol(fmt.Sprintf("y%d", i))
	}
	b.output(b.op("neg", "Neg", "y", ir.In(h)), tensor.Float32, dims...)
	return b.m, w
}

func (k kindCase) methods() []adapter.Method {
	if k.only == rewrite.Activation {
		return []adapter.Method{adapter.Bone, adapter.MiSS, adapter.MiSSMini, adapter.LoRA}
	}
	return adapter.Methods()
}

// each calls f for every method, some ranks, and every form.
func (k kindCase) each(f func(name string, cfg adapter.Config, form rewrite.Form)) {
	for _, m := range k.methods() {
		for _, r := range []int{4, 5} {
			if m.Check(adapter.Dims{In: kindIn, Out: kindOut, Rank: r, MiniRank: config(m, r).MiniRank}) != nil {
				continue
			}
			for _, form := range []rewrite.Form{rewrite.Auto, rewrite.Weighted} {
				cfg := config(m, r)
				cfg.Targets = adapter.Modules{List: []string{"lin"}}
				f(fmt.Sprintf("%s, %v %d, %v", k.name, m, r, form), cfg, form)
			}
		}
	}
}

// wanted is what the adapted layer gives: the base's rows, and what package
// adapter adds to x W.
func (k kindCase) wanted(t *testing.T, set *adapter.Set, x, w, base *tensor.Tensor) *tensor.Tensor {
	t.Helper()
	var with, without []float64
	for i, l := range []adapter.Layer{set.Layer(set.Entries[0]), {}} {
		y, err := product(l, x, w, i == 0)
		if err != nil {
			t.Fatal(err)
		}
		v, err := y.Float64s()
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			with = v
		} else {
			without = v
		}
	}
	b, err := base.Float64s()
	if err != nil {
		t.Fatal(err)
	}
	out := make([]float32, len(with))
	for i := range out {
		d := with[i] - without[i]
		if k.alpha != 0 {
			d *= k.alpha
		}
		out[i] = float32(b[i] - d) // Neg
	}
	return tensor.FromSlice(out, base.Shape()...)
}

func product(l adapter.Layer, x, w *tensor.Tensor, adapted bool) (*tensor.Tensor, error) {
	if adapted {
		return l.Forward(x, w, nil)
	}
	return adapter.Stack{}.Forward(x, w, nil)
}
