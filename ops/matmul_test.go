package ops_test

import (
	"fmt"
	"testing"

	"github.com/bonnx/bonnx/internal/testutil/opcheck"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// slowMatMul is NumPy's matmul, element by element.
func slowMatMul(a, b *tensor.Tensor) *tensor.Tensor {
	as, bs := a.Shape().Clone(), b.Shape().Clone()
	row, col := len(as) == 1, len(bs) == 1
	if row {
		as = append(tensor.Shape{1}, as...)
	}
	if col {
		bs = append(bs, 1)
	}
	m, k, n := as[len(as)-2], as[len(as)-1], bs[len(bs)-1]
	batch, err := tensor.Broadcast(as[:len(as)-2], bs[:len(bs)-2])
	if err != nil {
		panic(err)
	}
	out := make([]float64, batch.Size()*m*n)
	offset := func(from tensor.Shape, l int) int {
		off, stride := 0, 1
		for d := len(batch) - 1; d >= 0; d-- {
			i := l % batch[d]
			l /= batch[d]
			if j := d - len(batch) + len(from); j >= 0 {
				if from[j] != 1 {
					off += i * stride
				}
				stride *= from[j]
			}
		}
		return off
	}
	x, y := tensor.Data[float64](a), tensor.Data[float64](b)
	for l := range batch.Size() {
		oa, ob := offset(as[:len(as)-2], l)*m*k, offset(bs[:len(bs)-2], l)*k*n
		for i := range m {
			for j := range n {
				for p := range k {
					out[(l*m+i)*n+j] += x[oa+i*k+p] * y[ob+p*n+j]
				}
			}
		}
	}
	shape := batch.Clone()
	if !row {
		shape = append(shape, m)
	}
	if !col {
		shape = append(shape, n)
	}
	return tensor.FromSlice(out, shape...)
}

func TestMatMul(t *testing.T) {
	for _, s := range [][2][]int{
		{{2, 3}, {3, 4}}, {{3}, {3, 4}}, {{2, 3}, {3}}, {{3}, {3}},
		{{2, 5, 3}, {3, 4}}, {{2, 2, 5, 3}, {3, 4}}, {{2, 5, 3}, {2, 3, 4}}, {{1, 5, 3}, {2, 3, 4}}, {{2, 5, 3}, {1, 3, 4}},
		{{5, 3}, {2, 3, 4}}, {{2, 1, 5, 3}, {3, 3, 4}}, {{3}, {2, 3, 4}}, {{2, 5, 3}, {3}}, {{2, 0}, {0, 3}}, {{0, 2, 3}, {3, 2}},
	} {
		a, b := opcheck.Random(1, -1, 1, s[0]...), opcheck.Random(2, -1, 1, s[1]...)
		want := slowMatMul(a, b)
		c := opcheck.Case{Name: fmt.Sprint(s), Op: "MatMul", Inputs: []*tensor.Tensor{a, b}}
		opcheck.Forward(t, c, 1e-14, want)
		opcheck.Gradient(t, c)
		c.Name, c.Const = c.Name+" constant B", []int{1}
		opcheck.Forward(t, c, 1e-14, want)
		opcheck.Gradient(t, c)
	}
}

func TestMatMulIntegers(t *testing.T) {
	a := tensor.Ints(1, 2, 3, 4, 5, 6, 7, 8).Reshape(2, 2, 2)
	b := tensor.Ints(1, 0, 2, 1).Reshape(2, 2)
	c := opcheck.Case{Name: "int64", Op: "MatMul", Inputs: []*tensor.Tensor{a, b}}
	opcheck.Forward(t, c, 0, tensor.Ints(5, 2, 11, 4, 17, 6, 23, 8).Reshape(2, 2, 2))
	c = opcheck.Case{Name: "int64 batched", Op: "MatMul", Inputs: []*tensor.Tensor{b, a}}
	opcheck.Forward(t, c, 0, tensor.Ints(1, 2, 5, 8, 5, 6, 17, 20).Reshape(2, 2, 2))
}

func TestGemm(t *testing.T) {
	m, n, k := 3, 4, 5
	for trans := range 4 {
		transA, transB := trans&1 != 0, trans&2 != 0
		a, b := opcheck.Random(1, -1, 1, m, k), opcheck.Random(2, -1, 1, k, n)
		want := slowMatMul(a, b)
		var err error
		if transA {
			if a, err = a.Transpose(1, 0); err != nil {
				t.Fatal(err)
			}
		}
		if transB {
			if b, err = b.Transpose(1, 0); err != nil {
				t.Fatal(err)
			}
		}
		attrs := []*ir.Attr{float("alpha", 0.5), float("beta", 2), ir.A("transA", ir.Int(trans&1)), ir.A("transB", ir.Int(trans>>1))}
		for _, cs := range [][]int{nil, {}, {n}, {1, n}, {m, 1}, {m, n}} {
			in, w := []*tensor.Tensor{a, b}, mapped(want, func(v float64) float64 { return v / 2 })
			if cs != nil {
				c := opcheck.Random(3, -1, 1, cs...)
				in = append(in, c)
				w = spread(w, c, func(y, c float64) float64 { return y + 2*c })
			}
			oc := opcheck.Case{Name: fmt.Sprint("gemm ", trans, cs), Op: "Gemm", Attrs: attrs, Inputs: in}
			opcheck.Forward(t, oc, 1e-14, w)
			opcheck.Gradient(t, oc)
			oc.Const = []int{1}
			opcheck.Forward(t, oc, 1e-14, w)
			opcheck.Gradient(t, oc)
		}
	}
}

func TestMatMulInteger(t *testing.T) {
	a := tensor.FromSlice([]uint8{11, 7, 3, 10, 6, 2}, 2, 3)
	b := tensor.FromSlice([]int8{1, 4, -2, 5, 3, 6}, 3, 2)
	rows := tensor.FromSlice([]uint8{12, 10}, 2)
	want := func(v ...int32) *tensor.Tensor { return tensor.FromSlice(v, 2, 2) }
	for _, c := range []struct {
		name string
		in   []*tensor.Tensor
		want *tensor.Tensor
	}{
		{"plain", []*tensor.Tensor{a, b}, want(11-14+9, 44+35+18, 10-12+6, 40+30+12)},
		{"zero of A", []*tensor.Tensor{a, b, tensor.Scalar(uint8(12))}, want(-1+10-27, -4-25-54, -2+12-30, -8-30-60)},
		{"zero per row", []*tensor.Tensor{a, b, rows}, want(-1+10-27, -4-25-54, 0+8-24, 0-20-48)},
		{"zero of B per column", []*tensor.Tensor{a, b, nil, tensor.FromSlice([]int8{1, 4}, 2)}, want(0-21+6, 0+7+6, 0-18+4, 0+6+4)},
	} {
		opcheck.Forward(t, opcheck.Case{Name: c.name, Op: "MatMulInteger", Inputs: c.in}, 0, c.want)
	}
}
