package runtime_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/runtime"
	"github.com/bonnx/bonnx/tensor"
)

// chained are the operators of each step that runs more than one node, and how
// many steps there are.
func chained(t *testing.T, s *runtime.Session, f feed) (chains [][]string, steps int) {
	t.Helper()
	_, err := s.RunProfiled(context.Background(), f, func(nodes ...*ir.Node) {
		steps++
		var names []string
		for _, n := range nodes {
			names = append(names, n.OpType)
		}
		if len(names) > 1 {
			chains = append(chains, names)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return chains, steps
}

// mean is the mean of x over an axis, which stays.
func (b *built) mean(x *ir.Value, axis int) *ir.Value {
	return b.Op("ReduceMean", ir.In(x, b.Ints(axis)))
}

// TestChains says which nodes run together, holds their results to those of
// the nodes alone, and their memory too.
func TestChains(t *testing.T) {
	square := ir.Symbol("n")
	for _, c := range []struct {
		name  string
		build func(b *built, x, z *ir.Value) []*ir.Value
		want  [][]string
	}{
		{"all in one", func(b *built, x, z *ir.Value) []*ir.Value {
			return ir.In(b.Op("Mul", ir.In(b.Op("Tanh", ir.In(b.Op("Add", ir.In(x, z)))), x)))
		}, [][]string{{"Add", "Tanh", "Mul"}}},
		{"a row, a column and a number", func(b *built, x, z *ir.Value) []*ir.Value {
			row, column := b.mean(x, 0), b.mean(z, 1)
			return ir.In(b.Op("Sub", ir.In(b.Op("Mul", ir.In(b.Op("Div", ir.In(x, column)), row)), b.Const("three", tensor.Scalar(float32(3))))))
		}, [][]string{{"Div", "Mul", "Sub"}}},
		{"what others read is written", func(b *built, x, z *ir.Value) []*ir.Value {
			y := b.Op("Exp", ir.In(x))
			w := b.Op("Sigmoid", ir.In(b.Op("Mul", ir.In(y, z))))
			return ir.In(b.Op("MatMul", ir.In(w, y)), w)
		}, [][]string{{"Exp", "Mul", "Sigmoid"}}},
		{"a reader in between keeps them apart", func(b *built, x, z *ir.Value) []*ir.Value {
			y := b.Op("Exp", ir.In(x))
			return ir.In(b.Op("Mul", ir.In(b.Op("MatMul", ir.In(y, z)), y)))
		}, nil},
		{"past a product, where that costs no memory", func(b *built, x, z *ir.Value) []*ir.Value {
			y := b.Op("Sin", ir.In(b.Op("MatMul", ir.In(x, z))))
			return ir.In(b.Op("Mul", ir.In(b.Op("MatMul", ir.In(z, x)), y)))
		}, [][]string{{"Sin", "Mul"}}},
		{"not where it would", func(b *built, x, z *ir.Value) []*ir.Value {
			y := b.Op("Div", ir.In(b.Op("MatMul", ir.In(x, z)), b.Op("MatMul", ir.In(z, z))))
			return ir.In(b.Op("Mul", ir.In(b.Op("MatMul", ir.In(z, x)), y)))
		}, nil},
		{"truth values", func(b *built, x, z *ir.Value) []*ir.Value {
			less := b.Op("Less", ir.In(x, z))
			return ir.In(b.Op("Where", ir.In(b.Op("Not", ir.In(less)), x, b.Op("Neg", ir.In(z)))))
		}, [][]string{{"Less", "Not", "Neg", "Where"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := build()
			x, z := b.input("x0", tensor.Float32, square, square), b.input("x1", tensor.Float32, square, square)
			for i, y := range c.build(b, x, z) {
				b.out([]string{"a", "b"}[i], y, tensor.Float32)
			}
			f := squares(3, 150)
			fused := session(t, compile(t, b.m, runtime.Options{Threads: 2}))
			chains, _ := chained(t, fused, f)
			if !slices.EqualFunc(chains, c.want, slices.Equal) {
				t.Errorf("chains %v, want %v", chains, c.want)
			}
			want := observed(t, fused, f)
			apart := fused.ArenaBytes()
			for i, y := range run(t, fused, f) {
				if !y.Equal(want[i]) {
					t.Errorf("output %d: %v", i, testutil.Compare(y, want[i], 0, 0))
				}
			}
			if fused.ArenaBytes() > apart {
				t.Errorf("%d bytes in chains, %d apart", fused.ArenaBytes(), apart)
			}
		})
	}
}

// TestChainFails names the node in a chain that an error comes of.
func TestChainFails(t *testing.T) {
	b := build()
	x := b.input("x0", tensor.Float32, ir.Symbol("n"), ir.Symbol("n"))
	low := b.input("low", tensor.Float32, ir.Symbol("k"))
	clip := b.Op("Clip", ir.In(b.Op("Neg", ir.In(x)), low))
	clip.Producer().Name = "the/Clip"
	b.out("y", b.Op("Exp", ir.In(clip)), tensor.Float32)
	s := session(t, compile(t, b.m, runtime.Options{}))
	for _, k := range []int{2, 150} {
		_, err := s.Run(context.Background(), feed{"x0": squares(1, 150)["x0"], "low": testutil.Random(1, k)})
		if err == nil || !strings.Contains(err.Error(), "the/Clip") || !strings.Contains(err.Error(), fmt.Sprintf("bound 0 has %d elements", k)) {
			t.Errorf("%d bounds: error is %v", k, err)
		}
	}
}

// BenchmarkChain runs x*clip(x+3, 0, 6)/6 on the activations of a feed-forward,
// in one step and node by node.
func BenchmarkChain(b *testing.B) {
	m := build()
	x := m.input("x", tensor.Float32, ir.Symbol("t"), ir.Symbol("d"))
	number := func(v float32) *ir.Value { return m.Const("c", tensor.Scalar(v)) }
	clip := m.Op("Clip", ir.In(m.Op("Add", ir.In(x, number(3))), number(0), number(6)))
	m.out("y", m.Op("Div", ir.In(m.Op("Mul", ir.In(x, clip)), number(6))), tensor.Float32)
	f := feed{"x": testutil.Random(1, 1024, 1376)}
	for name, apart := range map[string]bool{"together": false, "apart": true} {
		b.Run(name, func(b *testing.B) {
			s := session(b, compile(b, m.m, runtime.Options{Threads: 1, NoFusion: apart}))
			run(b, s, f)
			b.SetBytes(int64(len(f["x"].Bytes())))
			b.ReportAllocs()
			for b.Loop() {
				run(b, s, f)
			}
		})
	}
}
