package ops

import (
	"testing"

	"github.com/bonnx/bonnx/tensor"
)

// TestNarrowConstants: a constant of 16 bits is made wide once, and what comes
// out is what comes of a fed one.
func TestNarrowConstants(t *testing.T) {
	const m, k, n = 5, 7, 6
	for _, d := range []tensor.DType{tensor.Float16, tensor.BFloat16} {
		narrow := func(shape ...int) *tensor.Tensor {
			v := tensor.New(tensor.Float32, shape...)
			for i := range tensor.Data[float32](v) {
				tensor.Data[float32](v)[i] = float32(i*i%23)/8 - 1
			}
			v, err := v.Cast(d)
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
		x, w, bias := narrow(m, k), narrow(k, n), narrow(n)
		for _, c := range []struct {
			name   string
			op     Op
			y      *tensor.Tensor // the constant, or fed
			unread bool
		}{{"MatMul", matmul{}, w, true}, {"Add", binary{binaryRowOf(t, "Add")}, bias, false}} {
			a := x
			if c.name == "Add" {
				a = narrow(m, n)
			}
			run := func(y Fact) []byte {
				var states []func() any
				p := NewBinder(&Cache{}, &states)
				out := tensor.New(d, m, n)
				step, err := c.op.Bind(p, []Fact{Concrete(d, a.Shape()...), y}, []Fact{Concrete(d, m, n)})
				if err != nil {
					t.Fatal(err)
				}
				if y.Const != nil && p.unread[1] != c.unread {
					t.Errorf("%s of %v: unread is %v, want %v", c.name, d, p.unread[1], c.unread)
				}
				f := NewFrame(nil, nil, p.ScratchSize(), states)
				in, outs := []*tensor.Tensor{a, c.y}, []*tensor.Tensor{out}
				if err := step(f, in, outs); err != nil {
					t.Fatal(err)
				}
				if n := testing.AllocsPerRun(10, func() { _ = step(f, in, outs) }); n != 0 {
					t.Errorf("%s of %v: %v allocations a step, want 0", c.name, d, n)
				}
				return out.Bytes()
			}
			got, want := run(Constant(c.y)), run(Concrete(d, c.y.Shape()...))
			if string(got) != string(want) {
				t.Errorf("%s of %v: a constant gives %v, fed it gives %v", c.name, d, got, want)
			}
		}
	}
}

func binaryRowOf(t *testing.T, name string) *binaryRow {
	t.Helper()
	for _, e := range binaryTable() {
		if e.Name == name {
			op, err := e.New(nil)
			if err != nil {
				t.Fatal(err)
			}
			return op.(binary).row
		}
	}
	t.Fatalf("no operator %s", name)
	return nil
}
