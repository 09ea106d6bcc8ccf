package fuse_test

import (
	"maps"
	"testing"

	"github.com/bonnx/bonnx/fuse"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
)

// TestLinearEnding: what follows a product alone is done with it.
func TestLinearEnding(t *testing.T) {
	for name, c := range map[string]struct {
		after func(s *sketch, x, y *ir.Value) *ir.Value
		want  map[string]int
	}{
		"bias":     {func(s *sketch, _, y *ir.Value) *ir.Value { return s.add(s.param("p", 4), y) }, map[string]int{"ai.bonnx:Linear": 1}},
		"residual": {func(s *sketch, x, y *ir.Value) *ir.Value { return s.add(y, x) }, map[string]int{"ai.bonnx:Linear": 1}},
		"bias and more": {func(s *sketch, x, y *ir.Value) *ir.Value {
			return s.Op("Tanh", ir.In(s.add(x, s.add(y, s.param("p", 4)))))
		}, map[string]int{"ai.bonnx:Linear": 1}},
		"activation": {func(s *sketch, _, y *ir.Value) *ir.Value { return s.Op("Sigmoid", ir.In(y)) }, map[string]int{"ai.bonnx:Linear": 1}},
		"silu, with the bias": {func(s *sketch, _, y *ir.Value) *ir.Value {
			z := s.add(y, s.param("p", 4))
			return s.mul(z, s.Op("Sigmoid", ir.In(z)))
		}, map[string]int{"ai.bonnx:Linear": 1}},
		"two activations": {func(s *sketch, _, y *ir.Value) *ir.Value {
			return s.Op("Tanh", ir.In(s.Op("Relu", ir.In(y))))
		}, map[string]int{"ai.bonnx:Linear": 1, ":Tanh": 1}},
		"read twice": {func(s *sketch, x, y *ir.Value) *ir.Value {
			return s.mul(s.add(y, x), y)
		}, map[string]int{":MatMul": 1, ":Add": 1, ":Mul": 1}},
		"two residuals": {func(s *sketch, x, y *ir.Value) *ir.Value {
			return s.add(s.add(y, x), x)
		}, map[string]int{"ai.bonnx:Linear": 1, ":Add": 1}},
		"a bias on another axis": {func(s *sketch, _, y *ir.Value) *ir.Value { return s.add(y, s.param("p", 3, 1)) }, map[string]int{":MatMul": 1, ":Add": 1}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSketch()
			x := s.input("x", 2, 3, 4)
			s.output(c.after(s, x, s.Op("MatMul", ir.In(x, s.param("pw", 4, 4)))))
			if err := s.Err(); err != nil {
				t.Fatal(err)
			}
			want := s.evaluate(t, s.model.Clone(), false)
			for _, pass := range []func(*ir.Model, *ops.Set, fuse.Options) error{fuse.Raise, fuse.Late} {
				if err := pass(s.model, ops.Standard(), fuse.Options{Mutable: mutable}); err != nil {
					t.Fatal(err)
				}
			}
			if err := ir.Verify(s.model); err != nil {
				t.Fatal(err)
			}
			if got := count(s.model); !maps.Equal(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
			if err := fuse.Lower(s.model, ops.Standard()); err != nil {
				t.Fatal(err)
			}
			same(t, name, s.evaluate(t, s.model, false), want)
		})
	}
}

// A Gemm with a vector to add is a Linear, one with a matrix is not.
func TestLinearOfGemm(t *testing.T) {
	for _, c := range []struct {
		bias []int
		want map[string]int
	}{{[]int{4}, map[string]int{"ai.bonnx:Linear": 1}}, {[]int{3, 4}, map[string]int{":Gemm": 1, ":Relu": 1}}} {
		s := newSketch()
		y := s.Op("Gemm", ir.In(s.input("x", 3, 5), s.param("pw", 4, 5), s.param("pc", c.bias...)), ir.A("transB", ir.Int(1)))
		s.output(s.Op("Relu", ir.In(y)))
		want := s.evaluate(t, s.model.Clone(), false)
		if err := fuse.Late(s.model, ops.Standard(), fuse.Options{Mutable: mutable}); err != nil {
			t.Fatal(err)
		}
		if got := count(s.model); !maps.Equal(got, c.want) {
			t.Errorf("bias %v: got %v, want %v", c.bias, got, c.want)
		}
		if err := fuse.Lower(s.model, ops.Standard()); err != nil {
			t.Fatal(err)
		}
		same(t, "Gemm", s.evaluate(t, s.model, false), want)
	}
}
