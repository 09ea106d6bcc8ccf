package ops_test

import (
	"math"
	"testing"

	"github.com/bonnx/bonnx/internal/testutil/opcheck"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// mapped is f of every element.
func mapped(x *tensor.Tensor, f func(float64) float64) *tensor.Tensor {
	y := tensor.New(tensor.Float64, x.Shape()...)
	for i, v := range tensor.Data[float64](x) {
		tensor.Data[float64](y)[i] = f(v)
	}
	return y
}

func float(name string, x float64) *ir.Attr { return ir.A(name, ir.Float(x)) }

func TestUnary(t *testing.T) {
	sigmoid := func(x float64) float64 { return 1 / (1 + math.Exp(-x)) }
	softplus := func(x float64) float64 { return math.Log(1 + math.Exp(x)) }
	below := func(f func(float64) float64) func(float64) float64 {
		return func(x float64) float64 {
			if x < 0 {
				return f(x)
			}
			return x
		}
	}
	cases := []struct {
		op     string
		lo, hi float64
		f      func(float64) float64
		attrs  []*ir.Attr
		flat   bool // the derivative is 0 everywhere: no gradient is handed over
	}{
		{op: "Abs", lo: -2, hi: 2, f: math.Abs},
		{op: "Neg", lo: -2, hi: 2, f: func(x float64) float64 { return -x }},
		{op: "Sign", lo: -2, hi: 2, f: func(x float64) float64 { return math.Copysign(1, x) }, flat: true},
		{op: "Floor", lo: -5, hi: 5, f: math.Floor, flat: true},
		{op: "Ceil", lo: -5, hi: 5, f: math.Ceil, flat: true},
		{op: "Round", lo: -5, hi: 5, f: math.RoundToEven, flat: true},
		{op: "Exp", lo: -3, hi: 3, f: math.Exp},
		{op: "Log", lo: 0.1, hi: 3, f: math.Log},
		{op: "Sqrt", lo: 0.1, hi: 3, f: math.Sqrt},
		{op: "Reciprocal", lo: 0.3, hi: 3, f: func(x float64) float64 { return 1 / x }},
		{op: "Erf", lo: -2, hi: 2, f: math.Erf},
		{op: "Tanh", lo: -3, hi: 3, f: math.Tanh},
		{op: "Sigmoid", lo: -4, hi: 4, f: sigmoid},
		{op: "Relu", lo: -2, hi: 2, f: below(func(float64) float64 { return 0 })},
		{op: "Softplus", lo: -4, hi: 4, f: softplus},
		{op: "Softsign", lo: -4, hi: 4, f: func(x float64) float64 { return x / (1 + math.Abs(x)) }},
		{op: "Sin", lo: -4, hi: 4, f: math.Sin}, {op: "Cos", lo: -4, hi: 4, f: math.Cos},
		{op: "Tan", lo: -1, hi: 1, f: math.Tan}, {op: "Asin", lo: -0.9, hi: 0.9, f: math.Asin},
		{op: "Acos", lo: -0.9, hi: 0.9, f: math.Acos}, {op: "Atan", lo: -3, hi: 3, f: math.Atan},
		{op: "Sinh", lo: -2, hi: 2, f: math.Sinh}, {op: "Cosh", lo: -2, hi: 2, f: math.Cosh},
		{op: "Asinh", lo: -2, hi: 2, f: math.Asinh}, {op: "Acosh", lo: 1.2, hi: 4, f: math.Acosh},
		{op: "Atanh", lo: -0.9, hi: 0.9, f: math.Atanh},
		{op: "Mish", lo: -3, hi: 3, f: func(x float64) float64 { return x * math.Tanh(softplus(x)) }},
		{op: "HardSwish", lo: -5, hi: 5, f: func(x float64) float64 { return x * max(0, min(1, x/6+0.5)) }},
		{op: "LeakyRelu", lo: -2, hi: 2, f: below(func(x float64) float64 { return 0.25 * x }), attrs: []*ir.Attr{float("alpha", 0.25)}},
		{op: "ThresholdedRelu", lo: -2, hi: 2, f: func(x float64) float64 {
			if x > 0.5 {
				return x
			}
			return 0
		}, attrs: []*ir.Attr{float("alpha", 0.5)}},
		{op: "Elu", lo: -2, hi: 2, f: below(func(x float64) float64 { return 1.5 * (math.Exp(x) - 1) }), attrs: []*ir.Attr{float("alpha", 1.5)}},
		{op: "Celu", lo: -2, hi: 2, f: below(func(x float64) float64 { return 2 * (math.Exp(x/2) - 1) }), attrs: []*ir.Attr{float("alpha", 2)}},
		{op: "Selu", lo: -2, hi: 2, f: func(x float64) float64 { return 3 * below(func(x float64) float64 { return 2 * (math.Exp(x) - 1) })(x) },
			attrs: []*ir.Attr{float("alpha", 2), float("gamma", 3)}},
		{op: "HardSigmoid", lo: -4, hi: 4, f: func(x float64) float64 { return max(0, min(1, 0.25*x+0.5)) }, attrs: []*ir.Attr{float("alpha", 0.25)}},
		{op: "Swish", lo: -4, hi: 4, f: func(x float64) float64 { return x * sigmoid(x) }},
		{op: "Swish", lo: -4, hi: 4, f: func(x float64) float64 { return x * sigmoid(1.5*x) }, attrs: []*ir.Attr{float("alpha", 1.5)}},
		{op: "Gelu", lo: -3, hi: 3, f: func(x float64) float64 { return x * 0.5 * (1 + math.Erf(x/math.Sqrt2)) }},
		{op: "Gelu", lo: -3, hi: 3, f: func(x float64) float64 {
			return 0.5 * x * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(x+0.044715*x*x*x)))
		}, attrs: []*ir.Attr{ir.A("approximate", ir.String("tanh"))}},
		{op: "Shrink", lo: -2, hi: 2, f: func(x float64) float64 {
			if math.Abs(x) <= 0.5 {
				return 0
			}
			return x - math.Copysign(0.25, x)
		}, attrs: []*ir.Attr{float("lambd", 0.5), float("bias", 0.25)}},
	}
	for _, c := range cases {
		x := opcheck.Random(7, c.lo, c.hi, 3, 5)
		oc := opcheck.Case{Name: c.op, Op: c.op, Attrs: c.attrs, Inputs: []*tensor.Tensor{x}}
		opcheck.Forward(t, oc, 1e-14, mapped(x, c.f))
		if !c.flat {
			opcheck.Gradient(t, oc)
		}
		narrow32, err := x.Cast(tensor.Float32)
		if err != nil {
			t.Fatal(err)
		}
		want, _ := mapped(x, c.f).Cast(tensor.Float32)
		oc.Inputs = []*tensor.Tensor{narrow32}
		opcheck.Forward(t, oc, 2e-6, want)
	}
}

// spread is f of two tensors of 3 axes under broadcasting, axis by axis.
func spread(x, y *tensor.Tensor, f func(a, b float64) float64) *tensor.Tensor {
	shape, err := tensor.Broadcast(x.Shape(), y.Shape())
	if err != nil {
		panic(err)
	}
	out := tensor.New(tensor.Float64, shape...)
	at := func(t *tensor.Tensor, flat int) float64 {
		off := 0
		strides := t.Shape().Strides()
		for d := len(shape) - 1; d >= 0; d-- {
			i := flat % shape[d]
			flat /= shape[d]
			if j := d - len(shape) + t.Rank(); j >= 0 && t.Shape()[j] > 1 {
				off += i * strides[j]
			}
		}
		return tensor.Data[float64](t)[off]
	}
	for i := range tensor.Data[float64](out) {
		tensor.Data[float64](out)[i] = f(at(x, i), at(y, i))
	}
	return out
}

func TestBinary(t *testing.T) {
	fmod := func(a, b float64) float64 { return math.Mod(a, b) }
	mod := func(a, b float64) float64 { return a - b*math.Floor(a/b) }
	prelu := func(a, b float64) float64 {
		if a < 0 {
			return a * b
		}
		return a
	}
	cases := []struct {
		op     string
		lo, hi float64
		f      func(a, b float64) float64
		attrs  []*ir.Attr
	}{
		{"Add", -2, 2, func(a, b float64) float64 { return a + b }, nil},
		{"Sub", -2, 2, func(a, b float64) float64 { return a - b }, nil},
		{"Mul", -2, 2, func(a, b float64) float64 { return a * b }, nil},
		{"Div", 0.5, 2, func(a, b float64) float64 { return a / b }, nil},
		{"Pow", 0.5, 2, math.Pow, nil},
		{"Mod", 1, 4, mod, nil},
		{"Mod", 1, 4, fmod, []*ir.Attr{ir.A("fmod", ir.Int(1))}},
		{"PRelu", -2, 2, prelu, nil},
		{"Min", -2, 2, math.Min, nil}, {"Max", -2, 2, math.Max, nil},
		{"Sum", -2, 2, func(a, b float64) float64 { return a + b }, nil},
		{"Mean", -2, 2, func(a, b float64) float64 { return (a + b) / 2 }, nil},
	}
	shapes := [][2][]int{{{2, 3}, {2, 3}}, {{2, 3, 4}, {4}}, {{2, 3, 4}, {3, 1}}, {{4, 1, 3}, {1, 2, 1}}, {{3}, {2, 1}}, {{}, {2, 2}}, {{2, 0, 3}, {1, 3}}}
	for _, c := range cases {
		for i, s := range shapes {
			if c.op == "PRelu" && i > 2 {
				continue // its second input is broadcast to the first only
			}
			x, y := opcheck.Random(uint64(i), c.lo, c.hi, s[0]...), opcheck.Random(uint64(i+50), c.lo, c.hi, s[1]...)
			oc := opcheck.Case{Name: c.op, Op: c.op, Attrs: c.attrs, Inputs: []*tensor.Tensor{x, y}}
			opcheck.Forward(t, oc, 1e-14, spread(x, y, c.f))
			opcheck.Gradient(t, oc)
		}
	}
}

func TestPowConstantExponent(t *testing.T) {
	x := opcheck.Random(1, 0.5, 2, 2, 3)
	for _, e := range []float64{2, 0.5, 3, -1, 1} {
		c := opcheck.Case{Name: "Pow", Op: "Pow", Inputs: []*tensor.Tensor{x, tensor.Scalar(e)}, Const: []int{1}}
		opcheck.Forward(t, c, 1e-14, mapped(x, func(v float64) float64 { return math.Pow(v, e) }))
		opcheck.Gradient(t, c)
	}
	mixed := opcheck.Case{Name: "mixed", Op: "Pow", Inputs: []*tensor.Tensor{x, tensor.Scalar(int64(3))}}
	opcheck.Forward(t, mixed, 1e-14, mapped(x, func(v float64) float64 { return v * v * v }))
	opcheck.Gradient(t, mixed)
	ints := opcheck.Case{Name: "ints", Op: "Pow", Inputs: []*tensor.Tensor{
		tensor.FromSlice([]int64{1, 2, 3}, 3), tensor.FromSlice([]float32{4, 5, 0.5}, 3)}}
	opcheck.Forward(t, ints, 0, tensor.Ints(1, 32, 1))
}

func TestVariadicOfThree(t *testing.T) {
	a, b, c := opcheck.Random(1, -1, 1, 2, 3), opcheck.Random(2, -1, 1, 3), opcheck.Random(3, -1, 1, 2, 1)
	fold := func(f func(a, b float64) float64) *tensor.Tensor { return spread(spread(a, b, f), c, f) }
	add := func(a, b float64) float64 { return a + b }
	want := map[string]*tensor.Tensor{
		"Sum": fold(add), "Min": fold(math.Min), "Max": fold(math.Max),
		"Mean": mapped(fold(add), func(x float64) float64 { return x / 3 }),
	}
	for op, w := range want {
		oc := opcheck.Case{Name: op, Op: op, Inputs: []*tensor.Tensor{a, b, c}}
		opcheck.Forward(t, oc, 1e-14, w)
		opcheck.Gradient(t, oc)
		oc.Inputs = oc.Inputs[:1]
		opcheck.Forward(t, oc, 0, a)
		opcheck.Gradient(t, oc)
	}
}

func TestClip(t *testing.T) {
	x := opcheck.Random(1, -2, 2, 4, 5)
	low, high := tensor.Scalar(-0.5), tensor.Scalar(0.75)
	inf := math.Inf(1)
	cases := []struct {
		name      string
		low, high *tensor.Tensor
		lo, hi    float64
	}{
		{"both", low, high, -0.5, 0.75}, {"low", low, nil, -0.5, inf},
		{"high", nil, high, -inf, 0.75}, {"none", nil, nil, -inf, inf}, {"crossed", high, low, 0.75, -0.5},
	}
	for _, c := range cases {
		oc := opcheck.Case{Name: c.name, Op: "Clip", Inputs: []*tensor.Tensor{x, c.low, c.high}}
		opcheck.Forward(t, oc, 0, mapped(x, func(v float64) float64 { return min(max(v, c.lo), c.hi) }))
		opcheck.Gradient(t, oc)
	}
	ints := opcheck.Case{Name: "ints", Op: "Clip", Inputs: []*tensor.Tensor{tensor.Ints(-3, 0, 9), nil, tensor.Scalar(int64(4))}}
	opcheck.Forward(t, ints, 0, tensor.Ints(-3, 0, 4))
}

func TestBits(t *testing.T) {
	u8 := func(v ...uint8) *tensor.Tensor { return tensor.FromSlice(v, len(v)) }
	shift := func(d string) []*ir.Attr { return []*ir.Attr{ir.A("direction", ir.String(d))} }
	cases := []struct {
		op    string
		attrs []*ir.Attr
		in    []*tensor.Tensor
		want  *tensor.Tensor
	}{
		{"BitShift", shift("LEFT"), []*tensor.Tensor{u8(16, 4, 1), u8(1, 2, 8)}, u8(32, 16, 0)},
		{"BitShift", shift("RIGHT"), []*tensor.Tensor{u8(16, 4, 1), u8(1, 2, 3)}, u8(8, 1, 0)},
		{"BitwiseAnd", nil, []*tensor.Tensor{u8(12, 10), u8(6)}, u8(4, 2)},
		{"BitwiseOr", nil, []*tensor.Tensor{u8(12, 10), u8(6)}, u8(14, 14)},
		{"BitwiseXor", nil, []*tensor.Tensor{u8(12, 10), u8(6)}, u8(10, 12)},
		{"BitwiseNot", nil, []*tensor.Tensor{u8(0, 255, 1)}, u8(255, 0, 254)},
		{"Mod", nil, []*tensor.Tensor{tensor.Ints(-4, 7, 5), tensor.Ints(2, -3, 8)}, tensor.Ints(0, -2, 5)},
		{"Mod", []*ir.Attr{ir.A("fmod", ir.Int(1))}, []*tensor.Tensor{tensor.Ints(-4, 7, 5), tensor.Ints(3, -3, 8)}, tensor.Ints(-1, 1, 5)},
		{"Div", nil, []*tensor.Tensor{tensor.Ints(-7, 7), tensor.Ints(2)}, tensor.Ints(-3, 3)},
		{"Max", nil, []*tensor.Tensor{u8(1, 9), u8(5)}, u8(5, 9)},
		{"Relu", nil, []*tensor.Tensor{tensor.Ints(-4, 7)}, tensor.Ints(0, 7)},
	}
	for _, c := range cases {
		opcheck.Forward(t, opcheck.Case{Name: c.op, Op: c.op, Attrs: c.attrs, Inputs: c.in}, 0, c.want)
	}
}

// TestNarrowFloats runs 16-bit floats through the float32 kernels.
func TestNarrowFloats(t *testing.T) {
	for _, d := range []tensor.DType{tensor.Float16, tensor.BFloat16} {
		cast := func(v ...float32) *tensor.Tensor {
			x, err := tensor.FromSlice(v, len(v)).Cast(d)
			if err != nil {
				t.Fatal(err)
			}
			return x
		}
		for _, c := range []struct {
			op   string
			in   []*tensor.Tensor
			want *tensor.Tensor
		}{
			{"Add", []*tensor.Tensor{cast(1, 2, 3), cast(0.5)}, cast(1.5, 2.5, 3.5)},
			{"Relu", []*tensor.Tensor{cast(-1, 2)}, cast(0, 2)},
			{"Max", []*tensor.Tensor{cast(-1, 2), cast(0), cast(1, 3)}, cast(1, 3)},
			{"Clip", []*tensor.Tensor{cast(-1, 2), nil, cast(1).Reshape()}, cast(-1, 1)},
			{"Pow", []*tensor.Tensor{cast(3, 2), cast(2)}, cast(9, 4)},
			{"MatMul", []*tensor.Tensor{cast(1, 2, 3, 4).Reshape(2, 2), cast(1, -1)}, cast(-1, -1)},
		} {
			oc := opcheck.Case{Name: c.op, Op: c.op, Inputs: c.in, Const: []int{len(c.in) - 1}}
			opcheck.Forward(t, oc, 0, c.want)
		}
	}
}

func TestElementwiseErrors(t *testing.T) {
	wantError(t, "Add", nil, "do not broadcast", opcheck.Random(1, 0, 1, 2), opcheck.Random(1, 0, 1, 3))
	wantError(t, "Add", nil, "float64 and int64", opcheck.Random(1, 0, 1, 2), tensor.Ints(1, 2))
	wantError(t, "Exp", nil, "no kernel for int64", tensor.Ints(1, 2))
	wantError(t, "Gelu", []*ir.Attr{ir.A("approximate", ir.String("x"))}, `approximate is "x"`, opcheck.Random(1, 0, 1, 2))
	wantError(t, "MatMul", nil, "do not multiply", opcheck.Random(1, 0, 1, 2, 3), opcheck.Random(1, 0, 1, 2))
	wantError(t, "MatMul", nil, "scalar", opcheck.Random(1, 0, 1), opcheck.Random(1, 0, 1, 2))
	wantError(t, "Gemm", nil, "must be a matrix", opcheck.Random(1, 0, 1, 2), opcheck.Random(1, 0, 1, 2, 2))
	wantError(t, "Gemm", nil, "does not broadcast", opcheck.Random(1, 0, 1, 2, 2), opcheck.Random(1, 0, 1, 2, 2), opcheck.Random(1, 0, 1, 3))
}
