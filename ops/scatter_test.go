package ops_test

import (
	"testing"

	"github.com/bonnx/bonnx/internal/testutil/opcheck"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

func TestGatherAndScatterElements(t *testing.T) {
	axis1, add := []*ir.Attr{num("axis", 1)}, []*ir.Attr{num("axis", 1), str("reduction", "add")}
	x := count(2, 3)
	idx := i64([]int{2, 2}, 2, 0, -1, -1)
	up := f64([]int{2, 2}, 10, 20, 30, 40)
	for _, c := range []moveCase{
		{op: "GatherElements", name: "axis 1", attrs: axis1, in: tensors{x, idx}, want: tensors{f64([]int{2, 2}, 2, 0, 5, 5)}, fed: []int{1}},
		{op: "GatherElements", name: "axis 0, fewer", in: tensors{x, i64([]int{1, 2}, 1, 0)}, want: tensors{f64([]int{1, 2}, 3, 1)}},
		{op: "ScatterElements", name: "add", attrs: add, in: tensors{x, idx, up}, want: tensors{f64([]int{2, 3}, 20, 1, 12, 3, 4, 75)}, fed: []int{1}},
		{op: "ScatterElements", name: "set", attrs: axis1, in: tensors{x, i64([]int{2, 1}, 1, 0), f64([]int{2, 1}, 8, 9)}, want: tensors{f64([]int{2, 3}, 0, 8, 2, 9, 4, 5)}},
		{op: "ScatterElements", name: "max", attrs: []*ir.Attr{str("reduction", "max")}, in: tensors{x, i64([]int{1, 3}, 0, 0, 0), f64([]int{1, 3}, 9, -9, 2)}, want: tensors{f64([]int{2, 3}, 9, 1, 2, 3, 4, 5)}, noGrad: true},
	} {
		c.check(t)
	}
	for _, bad := range []*tensor.Tensor{i64([]int{2, 1}, 3, 0), i64([]int{3, 1}, 0, 0, 0), i64([]int{2}, 0, 0)} {
		if y, err := evalOp("GatherElements", axis1, x, bad); err == nil {
			t.Errorf("index %v: got %v, want an error", bad, y)
		}
	}
	if _, err := parseOp("ScatterND", []*ir.Attr{str("reduction", "or")}, 3); err == nil {
		t.Error("reduction or: no error")
	}
}

func TestGatherAndScatterND(t *testing.T) {
	needOp(t, "ReduceProd")
	x := count(2, 2, 2)
	for _, c := range []moveCase{
		{op: "GatherND", name: "elements", in: tensors{x, i64([]int{2, 3}, 0, 1, 1, -1, 0, 0)}, want: tensors{f64([]int{2}, 3, 4)}, fed: []int{1}},
		{op: "GatherND", name: "rows", in: tensors{x, i64([]int{1, 2, 1}, 1, 1)}, want: tensors{f64([]int{1, 2, 2, 2}, 4, 5, 6, 7, 4, 5, 6, 7)}},
		{op: "GatherND", name: "batch", attrs: []*ir.Attr{num("batch_dims", 1)}, in: tensors{x, i64([]int{2, 1}, 1, 0)}, want: tensors{f64([]int{2, 2}, 2, 3, 4, 5)}},
		{op: "ScatterND", name: "set", in: tensors{count(4), i64([]int{2, 1}, 2, 0), f64([]int{2}, 8, 9)}, want: tensors{f64([]int{4}, 9, 1, 8, 3)}, fed: []int{1}},
		{op: "ScatterND", name: "add rows", attrs: []*ir.Attr{str("reduction", "add")}, in: tensors{count(2, 2), i64([]int{2, 1}, 1, 1), f64([]int{2, 2}, 1, 2, 10, 20)}, want: tensors{f64([]int{2, 2}, 0, 1, 13, 25)}},
	} {
		c.check(t)
	}
	if y, err := evalOp("GatherND", nil, x, i64([]int{1, 1}, 2)); err == nil {
		t.Errorf("an index of 2 in an extent of 2: got %v, want an error", y)
	}
}

func TestTile(t *testing.T) {
	for _, c := range []moveCase{
		{name: "both axes", in: tensors{count(2, 2), tensor.Ints(2, 2)}, fed: []int{1},
			want: tensors{f64([]int{4, 4}, 0, 1, 0, 1, 2, 3, 2, 3, 0, 1, 0, 1, 2, 3, 2, 3)}},
		{name: "nothing", in: tensors{count(2), tensor.Ints(0)}, want: tensors{count(0)}},
		{name: "scalar", in: tensors{count(), tensor.Ints()}, want: tensors{count()}},
	} {
		c.op = "Tile"
		c.check(t)
	}
}

func TestPad(t *testing.T) {
	needOp(t, "ReduceProd")
	mode := func(m string) []*ir.Attr { return []*ir.Attr{str("mode", m)} }
	p := tensor.Ints
	for _, c := range []moveCase{
		{name: "constant", in: tensors{count(2, 2), p(0, 1, 1, 0), f64(nil, 9)}, want: tensors{f64([]int{3, 3}, 9, 0, 1, 9, 2, 3, 9, 9, 9)}, fed: []int{1}},
		{name: "zeros", in: tensors{count(2), p(1, 2)}, want: tensors{f64([]int{5}, 0, 0, 1, 0, 0)}},
		{name: "less", in: tensors{count(4), p(-1, -2)}, want: tensors{f64([]int{1}, 1)}},
		{name: "more and less", in: tensors{count(4), p(-2, 1), f64(nil, 7)}, want: tensors{f64([]int{3}, 2, 3, 7)}},
		{name: "axes", in: tensors{count(2, 2), p(1, 0), nil, p(-1)}, want: tensors{f64([]int{2, 3}, 0, 0, 1, 0, 2, 3)}},
		{name: "reflect", attrs: mode("reflect"), in: tensors{count(3), p(2, 1)}, want: tensors{f64([]int{6}, 2, 1, 0, 1, 2, 1)}},
		{name: "edge", attrs: mode("edge"), in: tensors{count(3), p(1, 2)}, want: tensors{f64([]int{6}, 0, 0, 1, 2, 2, 2)}},
		{name: "wrap", attrs: mode("wrap"), in: tensors{count(3), p(1, 2)}, want: tensors{f64([]int{6}, 2, 0, 1, 2, 0, 1)}},
	} {
		c.op = "Pad"
		c.check(t)
	}
	for _, pads := range []*tensor.Tensor{p(1), p(-3, -2)} {
		if f, err := inferOp("Pad", nil, concrete(4), constant(pads)); err == nil {
			t.Errorf("pads %v of 4: got %v, want an error", tensor.Data[int64](pads), f)
		}
	}
}

func TestTrilu(t *testing.T) {
	lower := []*ir.Attr{num("upper", 0)}
	k := func(k int64) *tensor.Tensor { return tensor.Scalar(k) }
	x := f64([]int{2, 3}, 1, 2, 3, 4, 5, 6)
	for _, c := range []moveCase{
		{name: "upper", in: tensors{x}, want: tensors{f64([]int{2, 3}, 1, 2, 3, 0, 5, 6)}},
		{name: "lower", attrs: lower, in: tensors{x}, want: tensors{f64([]int{2, 3}, 1, 0, 0, 4, 5, 0)}},
		{name: "upper 1", in: tensors{x, k(1)}, want: tensors{f64([]int{2, 3}, 0, 2, 3, 0, 0, 6)}, fed: []int{1}},
		{name: "lower -1", attrs: lower, in: tensors{x, k(-1)}, want: tensors{f64([]int{2, 3}, 0, 0, 0, 4, 0, 0)}},
		{name: "far", in: tensors{x, k(99)}, want: tensors{tensor.New(tensor.Float64, 2, 3)}},
		{name: "batch", attrs: lower, in: tensors{count(2, 2, 2)}, want: tensors{f64([]int{2, 2, 2}, 0, 0, 2, 3, 4, 0, 6, 7)}},
	} {
		c.op = "Trilu"
		c.check(t)
	}
}

func TestTopKAndCumSum(t *testing.T) {
	x := f64([]int{2, 3}, 3, 1, 2, 5, 5, 4)
	axis0 := []*ir.Attr{num("axis", 0), num("largest", 0)}
	s := func(v int64) *tensor.Tensor { return tensor.Scalar(v) }
	flags := func(ex, rev int) []*ir.Attr { return []*ir.Attr{num("exclusive", ex), num("reverse", rev)} }
	for _, c := range []moveCase{
		{op: "TopK", name: "largest", in: tensors{x, tensor.Ints(2)}, outputs: 2, fed: []int{1},
			want: tensors{f64([]int{2, 2}, 3, 2, 5, 5), i64([]int{2, 2}, 0, 2, 0, 1)}, noGrad: true},
		{op: "TopK", name: "smallest", attrs: axis0, in: tensors{x, tensor.Ints(1)}, outputs: 2, want: tensors{f64([]int{1, 3}, 3, 1, 2), i64([]int{1, 3}, 0, 0, 0)}},
		{op: "TopK", name: "values alone", in: tensors{opcheck.Random(3, -1, 1, 2, 5), tensor.Ints(3)}},
		{op: "CumSum", name: "plain", in: tensors{x, s(1)}, want: tensors{f64([]int{2, 3}, 3, 4, 6, 5, 10, 14)}, fed: []int{1}},
		{op: "CumSum", name: "exclusive", attrs: flags(1, 0), in: tensors{x, s(-1)}, want: tensors{f64([]int{2, 3}, 0, 3, 4, 0, 5, 10)}},
		{op: "CumSum", name: "reverse", attrs: flags(0, 1), in: tensors{x, s(1)}, want: tensors{f64([]int{2, 3}, 6, 3, 2, 14, 9, 4)}},
		{op: "CumSum", name: "both", attrs: flags(1, 1), in: tensors{x, s(0)}, want: tensors{f64([]int{2, 3}, 5, 5, 4, 0, 0, 0)}},
		{op: "CumProd", name: "plain", in: tensors{x, s(1)}, want: tensors{f64([]int{2, 3}, 3, 3, 6, 5, 25, 100)}, noGrad: true},
	} {
		c.check(t)
	}
}

func TestRareMoves(t *testing.T) {
	needOp(t, "ReduceProd")
	side := num("blocksize", 2)
	x := count(1, 4, 1, 2)
	for _, c := range []moveCase{
		{op: "DepthToSpace", name: "DCR", attrs: []*ir.Attr{side}, in: tensors{x}, want: tensors{f64([]int{1, 1, 2, 4}, 0, 2, 1, 3, 4, 6, 5, 7)}},
		{op: "DepthToSpace", name: "CRD", attrs: []*ir.Attr{side, str("mode", "CRD")}, in: tensors{opcheck.Random(1, -1, 1, 2, 8, 2, 3)}},
		{op: "SpaceToDepth", name: "back", attrs: []*ir.Attr{side}, in: tensors{f64([]int{1, 1, 2, 4}, 0, 2, 1, 3, 4, 6, 5, 7)}, want: tensors{x}},
		{op: "ReverseSequence", name: "time first", in: tensors{count(3, 2), tensor.Ints(2, 3)}, want: tensors{f64([]int{3, 2}, 2, 5, 0, 3, 4, 1)}},
		{op: "OneHot", name: "last", in: tensors{tensor.Ints(1, -1, 5), s64(3), f64([]int{2}, 0, 1)}, want: tensors{f64([]int{3, 3}, 0, 1, 0, 0, 0, 1, 0, 0, 0)}, noGrad: true},
		{op: "OneHot", name: "first", attrs: []*ir.Attr{num("axis", 0)}, in: tensors{tensor.Ints(1, 0), s64(2), f64([]int{2}, -1, 1)}, want: tensors{f64([]int{2, 2}, -1, 1, 1, -1)}, noGrad: true},
		{op: "EyeLike", name: "above", attrs: []*ir.Attr{num("k", 1)}, in: tensors{count(2, 3)}, want: tensors{f64([]int{2, 3}, 0, 1, 0, 0, 0, 1)}, noGrad: true},
		{op: "NonZero", name: "matrix", in: tensors{i64([]int{2, 2}, 1, 0, 3, 4)}, want: tensors{i64([]int{2, 3}, 0, 1, 1, 0, 0, 1)}, noGrad: true},
		{op: "Compress", name: "axis", attrs: []*ir.Attr{num("axis", 1)}, in: tensors{count(2, 3), bools([]int{2}, false, true)}, want: tensors{f64([]int{2, 1}, 1, 4)}, noGrad: true},
		{op: "Compress", name: "flat", in: tensors{count(2, 2), bools([]int{3}, true, false, true)}, want: tensors{f64([]int{2}, 0, 2)}, noGrad: true},
		{op: "BitCast", name: "float", attrs: to(tensor.Int32), in: tensors{tensor.FromSlice([]float32{1}, 1)}, want: tensors{tensor.FromSlice([]int32{0x3f800000}, 1)}, noGrad: true},
	} {
		c.check(t)
	}
}

func s64(v int64) *tensor.Tensor { return tensor.Scalar(v) }
