package fuse_test

import (
	"maps"
	"testing"

	"github.com/bonnx/bonnx/fuse"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
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
		"bias behind a residual": {func(s *sketch, x, y *ir.Value) *ir.Value {
			return s.Op("Relu", ir.In(s.add(s.add(y, x), s.param("p", 4))))
		}, map[string]int{"ai.bonnx:Linear": 1, ":Add": 1, ":Relu": 1}},
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

// boneEndings are what may follow a layer with a block (..,4) -> (..,4), what
// becomes of it forward, and what is left in a step, where nothing is drawn in
// that the backward pass reads, and an Add is the loss's.
var boneEndings = []struct {
	name    string
	after   func(s *sketch, x, y *ir.Value) *ir.Value
	forward map[string]int
	step    map[string]int
}{
	{"bias", func(s *sketch, _, y *ir.Value) *ir.Value { return s.add(s.param("p2", 4), y) },
		map[string]int{"ai.bonnx:Bone": 1}, map[string]int{":Add": 1}},
	{"residual", func(s *sketch, x, y *ir.Value) *ir.Value { return s.add(y, x) },
		map[string]int{"ai.bonnx:Bone": 1}, map[string]int{":Add": 1}},
	{"bias and residual, an activation that is known by its result", func(s *sketch, x, y *ir.Value) *ir.Value {
		return s.Op("Tanh", ir.In(s.add(s.add(y, s.param("p2", 4)), x)))
	}, map[string]int{"ai.bonnx:Bone": 1}, map[string]int{":Add": 1, ":Tanh": 0}},
	{"bias, an activation whose input is read again", func(s *sketch, _, y *ir.Value) *ir.Value {
		z := s.add(y, s.param("p2", 4))
		return s.mul(z, s.Op("Sigmoid", ir.In(z)))
	}, map[string]int{"ai.bonnx:Bone": 1}, map[string]int{":Add": 1, "ai.bonnx:SiLU": 1}},
	{"read twice", func(s *sketch, x, y *ir.Value) *ir.Value { return s.mul(s.add(y, x), y) },
		map[string]int{"ai.bonnx:Bone": 1, ":Add": 1, ":Mul": 1}, map[string]int{":Add": 3}}, // one of gradients
	{"two residuals", func(s *sketch, x, y *ir.Value) *ir.Value { return s.add(s.add(y, x), x) },
		map[string]int{"ai.bonnx:Bone": 1, ":Add": 1}, map[string]int{":Add": 3}},
}

// TestBoneEnding: a layer with a block that changes ends as a Linear does, also
// beside the sums that its gradient needs, and what goes back through it is
// added to what else the gradient of its input is.
func TestBoneEnding(t *testing.T) {
	for _, c := range boneEndings {
		for _, l := range []layer{{in: 4, out: 4, r: 2, x: []int{2, 3, 4}}, {in: 4, out: 4, r: 3, x: []int{3, 4}}} {
			t.Run(c.name+" "+l.String(), func(t *testing.T) {
				s := newSketch()
				x := s.input("x", l.x...)
				_, y := l.activation(s, x)
				s.output(c.after(s, x, y))
				if err := s.Err(); err != nil {
					t.Fatal(err)
				}
				want := s.evaluate(t, s.model.Clone(), false)
				if err := fuse.Raise(s.model, ops.Standard(), fuse.Options{Mutable: mutable}); err != nil {
					t.Fatal(err)
				}
				step := s.model.Clone()
				if err := fuse.Late(s.model, ops.Standard(), fuse.Options{Mutable: mutable}); err != nil {
					t.Fatal(err)
				}
				if got := count(s.model); !maps.Equal(got, c.forward) {
					t.Errorf("forward: got %v, want %v", got, c.forward)
				}
				forward := s.results(t, s.model, []string{"y0"})
				same(t, "forward", forward, map[string]*tensor.Tensor{"y0": want["y0"]})
				same(t, "step", s.evaluateLate(t, step), want)
				wantOps(t, step, map[string]int{"ai.bonnx:Bone": 1, "ai.bonnx:BoneGradX": 1})
				wantOps(t, step, c.step)
				if err := fuse.Lower(s.model, ops.Standard()); err != nil {
					t.Fatal(err)
				}
				same(t, "lowered", s.evaluate(t, s.model, false), want)
			})
		}
	}
}

// The sums of a layer that are read between it and what follows, by that or on
// the way to it, keep the layer where it is.
func TestBoneEndingOfReadSums(t *testing.T) {
	for name, more := range map[string]func(s *sketch, sums *ir.Value) *ir.Value{
		"themselves": func(_ *sketch, sums *ir.Value) *ir.Value { return sums },
		"a function": func(s *sketch, sums *ir.Value) *ir.Value { return s.Op("Sin", ir.In(sums)) },
	} {
		s := newSketch()
		s.model.SetOpset(ops.Domain, 1)
		layer := s.Node(ops.Domain, "Bone", ir.In(s.input("x", 3, 4), s.param("pw", 4, 4), s.param("p", 4, 4)), 2)
		s.output(s.add(layer[0], more(s, layer[1])))
		want := s.results(t, s.model.Clone(), []string{"y0"})
		if err := fuse.Late(s.model, ops.Standard(), fuse.Options{Mutable: mutable}); err != nil {
			t.Fatal(err)
		}
		if err := ir.Verify(s.model); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		wantOps(t, s.model, map[string]int{"ai.bonnx:Bone": 1, ":Add": 1})
		same(t, name, s.results(t, s.model, []string{"y0"}), want)
	}
}

// TestAdaptersEnd: Bat's product ends in what follows, too; a layer's in what
// LoRA adds to it.
func TestAdaptersEnd(t *testing.T) {
	for name, c := range map[string]struct {
		layer func(s *sketch, x, w *ir.Value) *ir.Value
		want  map[string]int
	}{
		"bat": {func(s *sketch, x, w *ir.Value) *ir.Value {
			s.model.SetOpset(ops.Domain, 1)
			w = s.Node(ops.Domain, "BatWeight", ir.In(w, s.param("p", 2, 2, 2)), 1)[0]
			return s.Op("MatMul", ir.In(x, w))
		}, map[string]int{"ai.bonnx:BatWeight": 1, "ai.bonnx:Linear": 1}},
		"lora": {func(s *sketch, x, w *ir.Value) *ir.Value {
			low := s.Op("MatMul", ir.In(x, s.param("p", 4, 2)))
			return s.add(s.Op("MatMul", ir.In(x, w)), s.Op("MatMul", ir.In(low, s.param("p3", 2, 4))))
		}, map[string]int{":MatMul": 2, "ai.bonnx:Linear": 1, ":Add": 1, ":Relu": 1}},
	} {
		s := newSketch()
		x := s.input("x", 2, 3, 4)
		y := c.layer(s, x, s.Graph.AddInitializer("w", ir.Dense(s.random(4, 4))))
		s.output(s.Op("Relu", ir.In(s.add(y, s.param("p2", 4)))))
		want, step := s.evaluate(t, s.model.Clone(), false), s.model.Clone()
		if err := fuse.Late(s.model, ops.Standard(), fuse.Options{Mutable: mutable}); err != nil {
			t.Fatal(err)
		}
		if got := count(s.model); !maps.Equal(got, c.want) {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
		same(t, name, s.evaluateLate(t, step), want)
	}
}
