package ops_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/internal/testutil/opcheck"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

const microsoft = "com.microsoft"

func i32(v ...int32) *tensor.Tensor { return tensor.FromSlice(v, len(v)) }

func shaped(t *tensor.Tensor, shape ...int) *tensor.Tensor { return t.Reshape(shape...) }

func intAttr(name string, v int64) *ir.Attr { return ir.A(name, ir.Int(v)) }

func floatAttr(name string, v float64) *ir.Attr { return ir.A(name, ir.Float(v)) }

// bytesOf is n bytes that look random.
func bytesOf(n int, shape ...int) *tensor.Tensor {
	b := make([]uint8, n)
	for i := range b {
		b[i] = uint8(i*97 + i*i*31 + 11)
	}
	return tensor.FromSlice(b, shape...)
}

// contribCases are uses of the operators of com.microsoft: ONNX Runtime holds
// their forward, finite differences their gradients. Some have heads of head
// elements.
func contribCases(head int) []opcheck.Case {
	cases := slices.Concat(contribNorms(), contribProducts(), contribAttention(), contribGroupQuery(head))
	for i := range cases {
		if cases[i].Domain == "" && cases[i].Op != "SimplifiedLayerNormalization" {
			cases[i].Domain = microsoft
		}
		cases[i].Name = cases[i].Op + " " + cases[i].Name
	}
	return cases
}

func contribNorms() []opcheck.Case {
	x, skip, h := random(1, 2, 3, 8), random(2, 2, 3, 8), func(seed uint64) *tensor.Tensor { return random(seed, 8) }
	ids, segments := shaped(i32(0, 4, 2, 1, 1, 3), 2, 3), shaped(i32(0, 1, 1, 0, 0, 1), 2, 3)
	words, places, kinds := random(5, 5, 8), random(6, 4, 8), random(7, 2, 8)
	eps := []*ir.Attr{floatAttr("epsilon", 1e-5)}
	return []opcheck.Case{
		{Op: "SkipLayerNormalization", Attrs: eps, Inputs: []*tensor.Tensor{x, skip, h(3), h(4), h(5)}},
		{Op: "SkipLayerNormalization", Name: "one skip", Attrs: eps, Inputs: []*tensor.Tensor{x, random(2, 1, 3, 8), h(3)}},
		{Op: "SkipSimplifiedLayerNormalization", Attrs: eps, Inputs: []*tensor.Tensor{x, skip, h(3), h(5)}},
		{Op: "SkipSimplifiedLayerNormalization", Name: "no bias", Attrs: eps, Inputs: []*tensor.Tensor{x, skip, h(3)}},
		{Op: "SimplifiedLayerNormalization", Attrs: eps, Inputs: []*tensor.Tensor{x, h(3)}},
		{Op: "EmbedLayerNormalization", Name: "segments, mask", Attrs: eps, Outputs: 2, Fed: []int{0, 1, 7}, Inputs: []*tensor.Tensor{
			ids, segments, words, places, kinds, h(3), h(4), shaped(i32(1, 1, 0, 1, 1, 1), 2, 3)}},
		{Op: "EmbedLayerNormalization", Name: "places, sum", Attrs: eps, Outputs: 3, Fed: []int{0, 8}, Inputs: []*tensor.Tensor{
			ids, nil, words, places, nil, h(3), h(4), nil, shaped(i32(3, 0, 1, 2, 2, 1), 2, 3)}},
		{Op: "Gelu", Inputs: []*tensor.Tensor{x}},
		{Op: "BiasGelu", Inputs: []*tensor.Tensor{x, h(3)}},
		{Op: "FastGelu", Inputs: []*tensor.Tensor{x, h(3)}},
		{Op: "FastGelu", Name: "no bias", Inputs: []*tensor.Tensor{x}},
		{Op: "QuickGelu", Inputs: []*tensor.Tensor{x}},
		{Op: "QuickGelu", Name: "silu", Attrs: []*ir.Attr{floatAttr("alpha", 1)}, Inputs: []*tensor.Tensor{x}},
	}
}

func contribProducts() []opcheck.Case {
	on := func(names ...string) []*ir.Attr {
		attrs := []*ir.Attr{floatAttr("alpha", 0.5)}
		for _, n := range names {
			attrs = append(attrs, intAttr(n, 1))
		}
		return attrs
	}
	bits := func(bits, k, n, block int64) []*ir.Attr {
		return []*ir.Attr{intAttr("K", k), intAttr("N", n), intAttr("bits", bits), intAttr("block_size", block)}
	}
	i8 := func(seed, n int, shape ...int) *tensor.Tensor {
		v := make([]int8, n)
		for i := range v {
			v[i] = int8((i*53 + seed*17) % 255)
		}
		return tensor.FromSlice(v, shape...)
	}
	u8 := tensor.Scalar(uint8(120))
	scale := tensor.Scalar(0.02)
	return []opcheck.Case{
		{Op: "FusedMatMul", Attrs: on(), Inputs: []*tensor.Tensor{random(1, 2, 3, 4), random(2, 4, 5)}},
		{Op: "FusedMatMul", Name: "trans", Attrs: on("transA", "transB"), Inputs: []*tensor.Tensor{random(1, 2, 4, 3), random(2, 2, 5, 4)}},
		{Op: "FusedMatMul", Name: "batches", Attrs: on("transBatchA", "transBatchB", "transB"), Inputs: []*tensor.Tensor{random(1, 3, 2, 4), random(2, 5, 2, 4)}},
		{Op: "FusedGemm", Name: "relu", Attrs: append(on("transB"), floatAttr("beta", 2), ir.A("activation", ir.String("Relu"))),
			Inputs: []*tensor.Tensor{random(1, 3, 4), random(2, 5, 4), random(3, 5)}},
		{Op: "FusedGemm", Name: "leaky", Attrs: append(on(), ir.A("activation", ir.String("LeakyRelu")), floatAttr("activation_alpha", 0.3)),
			Inputs: []*tensor.Tensor{random(1, 3, 4), random(2, 4, 5), random(3, 5)}},
		{Op: "MatMulNBits", Name: "4 bits", Attrs: bits(4, 40, 3, 16), Diff: []int{0, 5}, Const: []int{1, 2}, Inputs: []*tensor.Tensor{
			random(1, 2, 2, 40), bytesOf(3*3*8, 3, 3, 8), random(2, 3, 3), nil, nil, random(3, 3)}},
		{Op: "MatMulNBits", Name: "4 bits, zeros", Attrs: bits(4, 32, 3, 16), Diff: []int{0}, Const: []int{1, 2, 3}, Inputs: []*tensor.Tensor{
			random(1, 2, 32), bytesOf(3*2*8, 3, 2, 8), random(2, 3, 2), bytesOf(3, 3, 1)}},
		{Op: "MatMulNBits", Name: "8 bits", Attrs: bits(8, 32, 3, 32), Diff: []int{0}, Const: []int{1, 2}, Inputs: []*tensor.Tensor{
			random(1, 2, 32), bytesOf(3*32, 3, 1, 32), random(2, 3, 1)}},
		{Op: "MatMulNBits", Name: "2 bits", Attrs: bits(2, 32, 3, 16), Diff: []int{0}, Const: []int{1, 2, 3}, Inputs: []*tensor.Tensor{
			random(1, 2, 32), bytesOf(3*2*4, 3, 2, 4), random(2, 3, 2), bytesOf(3, 3, 1)}},
		{Op: "MatMulNBits", Name: "float zeros", Attrs: bits(4, 32, 3, 16), Diff: []int{0}, Const: []int{1, 2, 3}, Inputs: []*tensor.Tensor{
			random(1, 2, 32), bytesOf(3*2*8, 3, 2, 8), random(2, 3, 2), opcheck.Random(4, 3, 9, 3, 2)}},
		{Op: "DynamicQuantizeMatMul", Fed: []int{1}, Diff: []int{}, Inputs: []*tensor.Tensor{
			random(1, 2, 3, 4), i8(1, 20, 4, 5), scale, i8(2, 1), random(3, 5)}},
		{Op: "DynamicQuantizeMatMul", Name: "by column", Fed: []int{1}, Diff: []int{}, Inputs: []*tensor.Tensor{
			random(1, 3, 4), i8(1, 20, 4, 5), random(4, 5), i8(3, 5, 5)}},
		{Op: "MatMulIntegerToFloat", Fed: []int{0, 1}, Diff: []int{}, Inputs: []*tensor.Tensor{
			bytesOf(12, 3, 4), i8(1, 20, 4, 5), scale, random(4, 5), u8, i8(3, 5, 5), random(5, 5)}},
		{Op: "QAttention", Attrs: []*ir.Attr{intAttr("num_heads", 2), intAttr("unidirectional", 1)}, Fed: []int{0, 1}, Diff: []int{}, Inputs: []*tensor.Tensor{
			bytesOf(24, 2, 3, 4), i8(1, 48, 4, 12), random(3, 12), scale, scale, nil, u8, i8(2, 1)}},
	}
}

func contribAttention() []opcheck.Case {
	n2, causal := intAttr("num_heads", 2), intAttr("unidirectional", 1)
	x, w, bias := random(1, 2, 3, 6), random(2, 6, 12), random(3, 12)
	q, k, v := random(1, 2, 3, 4), random(2, 2, 5, 4), random(3, 2, 5, 6)
	at := tensor.FromSlice([]int64{0, 2, 1, 1, 3, 2}, 2, 3)
	tables := func(half int) []*tensor.Tensor { return []*tensor.Tensor{random(5, 4, half), random(6, 4, half)} }
	rotary := func(x *tensor.Tensor, at *tensor.Tensor, half int) []*tensor.Tensor {
		return append([]*tensor.Tensor{x, at}, tables(half)...)
	}
	return []opcheck.Case{
		{Op: "Attention", Attrs: []*ir.Attr{n2}, Inputs: []*tensor.Tensor{x, w, bias}},
		{Op: "Attention", Name: "causal, past", Attrs: []*ir.Attr{n2, causal}, Outputs: 2,
			Inputs: []*tensor.Tensor{x, w, bias, nil, random(4, 2, 2, 2, 4, 2)}},
		{Op: "Attention", Name: "mask (B,T), past", Attrs: []*ir.Attr{n2, causal, floatAttr("mask_filter_value", -1e4)}, Outputs: 2, Fed: []int{3},
			Inputs: []*tensor.Tensor{x, w, bias, shaped(i32(0, 1, 1, 1, 1, 1, 1, 1), 2, 4), random(4, 2, 2, 2, 1, 2)}},
		{Op: "Attention", Name: "mask (B,S,T)", Attrs: []*ir.Attr{n2}, Fed: []int{3},
			Inputs: []*tensor.Tensor{x, w, bias, shaped(i32(1, 0, 0, 1, 1, 0, 1, 1, 1, 1, 1, 1, 0, 1, 1, 0, 1, 1), 2, 3, 3)}},
		{Op: "Attention", Name: "ends", Attrs: []*ir.Attr{n2}, Inputs: []*tensor.Tensor{x, w, bias, i32(3, 2)}},
		{Op: "Attention", Name: "ends, starts", Attrs: []*ir.Attr{n2}, Inputs: []*tensor.Tensor{x, w, bias, i32(3, 3, 0, 1)}},
		{Op: "Attention", Name: "sizes, bias", Attrs: []*ir.Attr{n2, ir.A("qkv_hidden_sizes", ir.Ints{4, 4, 6}), floatAttr("scale", 0.4)},
			Inputs: []*tensor.Tensor{x, random(2, 6, 14), random(3, 14), nil, nil, random(4, 1, 2, 3, 3)}},
		{Op: "MultiHeadAttention", Attrs: []*ir.Attr{n2}, Inputs: []*tensor.Tensor{q, k, v}},
		{Op: "MultiHeadAttention", Name: "bias, mask", Attrs: []*ir.Attr{n2}, Fed: []int{4},
			Inputs: []*tensor.Tensor{q, k, v, random(4, 14), shaped(i32(1, 1, 1, 0, 0, 1, 1, 1, 1, 1), 2, 5), random(7, 1, 2, 3, 5)}},
		{Op: "MultiHeadAttention", Name: "packed", Attrs: []*ir.Attr{n2}, Inputs: []*tensor.Tensor{random(1, 2, 3, 2, 3, 4)}},
		{Op: "MultiHeadAttention", Name: "packed kv", Attrs: []*ir.Attr{n2}, Inputs: []*tensor.Tensor{q, random(2, 2, 5, 2, 2, 2)}},
		{Op: "MultiHeadAttention", Name: "heads apart", Attrs: []*ir.Attr{n2}, Inputs: []*tensor.Tensor{q, random(2, 2, 2, 5, 2), random(3, 2, 2, 5, 2)}},
		{Op: "MultiHeadAttention", Name: "past", Attrs: []*ir.Attr{n2, causal}, Outputs: 3, Inputs: []*tensor.Tensor{
			q, random(2, 2, 3, 4), random(3, 2, 3, 4), nil, nil, nil, random(4, 2, 2, 2, 2), random(5, 2, 2, 2, 2)}},
		{Op: "RotaryEmbedding", Name: "rank 3", Fed: []int{1}, Inputs: rotary(random(1, 2, 3, 8), at, 2)},
		{Op: "RotaryEmbedding", Name: "pairs, offset", Attrs: []*ir.Attr{intAttr("interleaved", 1)}, Fed: []int{1},
			Inputs: rotary(random(1, 2, 3, 8), tensor.Ints(1), 2)},
		{Op: "RotaryEmbedding", Name: "rank 4", Fed: []int{1}, Inputs: rotary(random(1, 2, 2, 3, 4), at, 2)},
		{Op: "RotaryEmbedding", Name: "part", Attrs: []*ir.Attr{n2, intAttr("rotary_embedding_dim", 4)}, Fed: []int{1},
			Inputs: rotary(random(1, 2, 3, 12), at, 2)},
	}
}

// contribGroupQuery has heads of d elements: ONNX Runtime wants 16.
func contribGroupQuery(d int) []opcheck.Case {
	attrs := func(more ...*ir.Attr) []*ir.Attr {
		return append([]*ir.Attr{intAttr("num_heads", 4), intAttr("kv_num_heads", 2)}, more...)
	}
	rotary := intAttr("do_rotary", 1)
	tables := []*tensor.Tensor{random(8, 12, d/2), random(9, 12, d/2)}
	prompt := func(more ...*tensor.Tensor) []*tensor.Tensor {
		return append([]*tensor.Tensor{random(1, 2, 3, 4*d), random(2, 2, 3, 2*d), random(3, 2, 3, 2*d), nil, nil, i32(2, 2), i32(3)}, more...)
	}
	step := func(more ...*tensor.Tensor) []*tensor.Tensor { // the second row of the batch is shorter
		return append([]*tensor.Tensor{random(1, 2, 1, 4*d), random(2, 2, 1, 2*d), random(3, 2, 1, 2*d),
			random(4, 2, 2, 5, d), random(5, 2, 2, 5, d), i32(5, 3), i32(6)}, more...)
	}
	cases := []opcheck.Case{
		{Name: "prompt", Attrs: attrs(), Inputs: prompt()},
		{Name: "prompt, rotary", Attrs: attrs(rotary), Inputs: prompt(tables...)},
		{Name: "pairs", Attrs: attrs(rotary, intAttr("rotary_interleaved", 1)), Inputs: prompt(tables...)},
		{Name: "packed", Attrs: attrs(rotary), Inputs: append([]*tensor.Tensor{random(1, 2, 3, 8*d), nil, nil, nil, nil, i32(2, 2), i32(3)}, tables...)},
		{Name: "softcap, scale, bias", Attrs: attrs(floatAttr("softcap", 0.9), floatAttr("scale", 0.3)), Inputs: prompt(nil, nil, nil, random(7, 1, 1, 3, 3))},
		{Name: "window", Attrs: attrs(intAttr("local_window_size", 2)), Inputs: prompt()},
		{Name: "smooth", Attrs: attrs(intAttr("smooth_softmax", 1)), Inputs: prompt()},
		{Name: "sink", Attrs: attrs(), Inputs: prompt(nil, nil, nil, nil, random(7, 4))},
		{Name: "step", Attrs: attrs(), Inputs: step()},
		{Name: "step, rotary", Attrs: attrs(rotary), Inputs: step(tables...)},
	}
	for i := range cases {
		cases[i].Op, cases[i].Outputs, cases[i].Fed = "GroupQueryAttention", 3, []int{5}
		if strings.Contains(cases[i].Name, "rotary") || len(cases[i].Inputs) == 9 {
			cases[i].Const = []int{7, 8} // whose width must be known
		}
	}
	return cases
}

func TestContribGradients(t *testing.T) {
	// ONNX Runtime has this one in the standard domain only
	opcheck.Gradient(t, opcheck.Case{Domain: microsoft, Op: "SimplifiedLayerNormalization", Inputs: []*tensor.Tensor{random(1, 2, 3, 4), random(2, 4)}})
	for _, c := range contribCases(4) {
		switch {
		case c.Diff != nil && len(c.Diff) == 0: // whole numbers go in
		case strings.Contains(c.Name, "ends"): // which are told from starts by the batch
			opcheck.GradientKnown(t, c)
		default:
			opcheck.Gradient(t, c)
		}
	}
}

// TestMatMulNBitsOfHalves: what is of 16 bits is made wide, and the sum is
// rounded once.
func TestMatMulNBitsOfHalves(t *testing.T) {
	for _, c := range contribProducts() {
		if c.Op != "MatMulNBits" {
			continue
		}
		c.Domain = microsoft
		for _, d := range []tensor.DType{tensor.Float16, tensor.BFloat16} {
			half := inFloats(t, c, d)
			got, err := opcheck.Eval(half)
			if err != nil {
				t.Fatal(err)
			}
			want, err := opcheck.Eval(inFloats(t, half, tensor.Float32))
			if err != nil {
				t.Fatal(err)
			}
			if want[0], err = want[0].Cast(d); err != nil {
				t.Fatal(err)
			}
			if err := testutil.Compare(got[0], want[0], 0, 0); err != nil {
				t.Errorf("%s of %v: %v", c.Name, d, err)
			}
		}
	}
}

// single is the case in float32.
func single(t *testing.T, c opcheck.Case) opcheck.Case {
	t.Helper()
	return inFloats(t, c, tensor.Float32)
}

// inFloats is the case with its floats of dtype d.
func inFloats(t *testing.T, c opcheck.Case, d tensor.DType) opcheck.Case {
	t.Helper()
	c.Inputs = slices.Clone(c.Inputs)
	for i, x := range c.Inputs {
		if x == nil || !x.DType().IsFloat() {
			continue
		}
		var err error
		if c.Inputs[i], err = x.Cast(d); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func TestContribErrors(t *testing.T) {
	for _, c := range []opcheck.Case{
		{Op: "Attention", Name: "no heads", Inputs: []*tensor.Tensor{random(1, 1, 2, 3), random(2, 3, 9), random(3, 9)}},
		{Op: "MatMulNBits", Name: "bits", Attrs: []*ir.Attr{intAttr("K", 8), intAttr("N", 2), intAttr("bits", 3), intAttr("block_size", 16)},
			Inputs: []*tensor.Tensor{random(1, 2, 8), bytesOf(16, 2, 1, 8), random(2, 2, 1)}},
		{Op: "FusedGemm", Name: "activation", Attrs: []*ir.Attr{ir.A("activation", ir.String("Sin"))}, Inputs: []*tensor.Tensor{random(1, 2, 2), random(2, 2, 2)}},
	} {
		c.Domain = microsoft
		if _, err := opcheck.Eval(c); err == nil {
			t.Errorf("%s %s: no error", c.Op, c.Name)
		}
	}
}

// TestPackedHeads compares the packed forms of q, k and v, which ONNX Runtime
// computes on GPUs only, with the plain one.
func TestPackedHeads(t *testing.T) {
	attrs := []*ir.Attr{intAttr("num_heads", 2)}
	eval := func(in ...*tensor.Tensor) *tensor.Tensor {
		t.Helper()
		out, err := opcheck.Eval(opcheck.Case{Domain: microsoft, Op: "MultiHeadAttention", Attrs: attrs, Inputs: in})
		if err != nil {
			t.Fatal(err)
		}
		return out[0]
	}
	// part i of p parts of x (B,S,N,p,D) as (B,S,N*D)
	part := func(x *tensor.Tensor, i int) *tensor.Tensor {
		s := x.Shape()
		y, d := tensor.New(tensor.Float64, s[0], s[1], s[2]*s[4]), s[4]
		for r := range s[0] * s[1] * s[2] {
			copy(tensor.Data[float64](y)[r*d:][:d], tensor.Data[float64](x)[(r*s[3]+i)*d:][:d])
		}
		return y
	}
	all, q, both := random(1, 2, 3, 2, 3, 4), random(2, 2, 3, 8), random(3, 2, 5, 2, 2, 4)
	opcheck.Close(t, "all packed", eval(all), eval(part(all, 0), part(all, 1), part(all, 2)), 1e-14)
	opcheck.Close(t, "k and v packed", eval(q, both), eval(q, part(both, 0), part(both, 1)), 1e-14)
}
