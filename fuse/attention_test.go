package fuse_test

import (
	"math"
	"testing"

	"github.com/bonnx/bonnx/fuse"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

// heads is a graph input (B,T,h,d) whose batch and rows are symbolic, of 2
// and 3.
func (s *sketch) heads(name string, h, d int) *ir.Value {
	s.feeds[name] = s.random(2, 3, h, d)
	return s.Graph.AddInput(name, ir.Tensor(tensor.Float64, ir.Symbol("batch"), ir.Symbol("rows"), ir.Fixed(int64(h)), ir.Fixed(int64(d))))
}

func (s *sketch) swap(x *ir.Value, perm ...int64) *ir.Value {
	return s.Op("Transpose", ir.In(x), ir.A("perm", ir.Ints(perm)))
}

func (s *sketch) byHead(x *ir.Value) *ir.Value { return s.swap(x, 0, 2, 1, 3) }
func (s *sketch) matmul(x, y *ir.Value) *ir.Value {
	return s.Op("MatMul", ir.In(x, y))
}
func (s *sketch) softmax(x *ir.Value) *ir.Value {
	return s.Op("Softmax", ir.In(x), ir.A("axis", ir.Int(-1)))
}

// causal is 0 up to the diagonal and x above, for 3 rows.
func (s *sketch) causal(x float64) *ir.Value {
	return s.Const("mask", tensor.FromSlice([]float64{0, x, x, 0, 0, x, 0, 0, 0}, 3, 3))
}

// repeated is x (B,T,h,d) with each head n times, as exporters write it.
func (s *sketch) repeated(x *ir.Value, h, n, d, axis int) *ir.Value {
	many := []int{2, 3, h, n, d}
	flat := []int{2, 3, h * n, d}
	if axis == 2 {
		many, flat = []int{2, h, n, 3, d}, []int{2, h * n, 3, d}
	}
	y := s.Op("Expand", ir.In(s.Op("Unsqueeze", ir.In(x, s.Ints(axis))), s.Ints(many...)))
	return s.Op("Reshape", ir.In(y, s.Ints(flat...)))
}

// fixedHeads is heads of known extents throughout.
func (s *sketch) fixedHeads(name string, h, d int) *ir.Value {
	s.feeds[name] = s.random(2, 3, h, d)
	return s.Graph.AddInput(name, ir.Tensor(tensor.Float64, ir.Fixed(2), ir.Fixed(3), ir.Fixed(int64(h)), ir.Fixed(int64(d))))
}

// attended are ways in which exporters write attention.
var attended = map[string]func(s *sketch) *ir.Value{
	"scores divided, mask added": func(s *sketch) *ir.Value {
		q, k, v := s.byHead(s.heads("q", 4, 2)), s.byHead(s.heads("k", 4, 2)), s.byHead(s.heads("v", 4, 5))
		scores := s.div(s.matmul(q, s.swap(k, 0, 1, 3, 2)), s.num(2))
		return s.byHead(s.matmul(s.softmax(s.add(scores, s.causal(-1e9))), v))
	},
	"k turned at once, mask put": func(s *sketch) *ir.Value {
		q, k, v := s.byHead(s.heads("q", 2, 4)), s.swap(s.heads("k", 2, 4), 0, 2, 3, 1), s.byHead(s.heads("v", 2, 4))
		seen := s.Const("seen", tensor.FromSlice([]bool{true, false, false, true, true, false, true, true, true}, 1, 1, 3, 3))
		scores := s.Op("Where", ir.In(seen, s.mul(s.matmul(q, k), s.num(0.5)), s.num(-3.4028234663852886e38)))
		return s.byHead(s.matmul(s.softmax(scores), v))
	},
	"q and k scaled, two masks, the result by heads": func(s *sketch) *ir.Value {
		q, k := s.mul(s.byHead(s.heads("q", 2, 4)), s.num(0.5)), s.mul(s.byHead(s.heads("k", 2, 4)), s.num(0.25))
		hidden := s.Const("hidden", tensor.FromSlice([]bool{false, true, false}, 3))
		scores := s.add(s.causal(math.Inf(-1)), s.matmul(q, s.swap(k, 0, 1, 3, 2)))
		scores = s.Op("Where", ir.In(hidden, s.num(math.Inf(-1)), scores))
		return s.matmul(s.softmax(scores), s.byHead(s.heads("v", 2, 4)))
	},
	"no mask, a bias that is an input": func(s *sketch) *ir.Value {
		q, k, v := s.heads("q", 3, 4), s.heads("k", 3, 4), s.heads("v", 3, 4)
		s.feeds["bias"] = s.random(2, 1, 1, 3)
		bias := s.Graph.AddInput("bias", ir.Tensor(tensor.Float64, ir.Symbol("batch"), ir.Fixed(1), ir.Fixed(1), ir.Symbol("rows")))
		scores := s.add(s.mul(s.num(0.5), s.matmul(s.byHead(q), s.swap(s.byHead(k), 0, 1, 3, 2))), bias)
		return s.byHead(s.matmul(s.softmax(scores), s.byHead(v)))
	},
	"heads repeated by rows": func(s *sketch) *ir.Value {
		q, k, v := s.fixedHeads("q", 4, 2), s.repeated(s.fixedHeads("k", 2, 2), 2, 2, 2, 3), s.repeated(s.fixedHeads("v", 2, 6), 2, 2, 6, 3)
		return s.byHead(s.matmul(s.softmax(s.matmul(s.byHead(q), s.swap(s.byHead(k), 0, 1, 3, 2))), s.byHead(v)))
	},
	"heads repeated by heads": func(s *sketch) *ir.Value {
		k, v := s.repeated(s.byHead(s.fixedHeads("k", 2, 2)), 2, 3, 2, 2), s.repeated(s.byHead(s.fixedHeads("v", 2, 6)), 2, 3, 6, 2)
		q := s.byHead(s.fixedHeads("q", 6, 2))
		return s.byHead(s.matmul(s.softmax(s.add(s.matmul(q, s.swap(k, 0, 1, 3, 2)), s.causal(-1e9))), v))
	},
}

func TestAttention(t *testing.T) {
	for name, f := range attended {
		t.Run(name, func(t *testing.T) {
			s := newSketch()
			s.output(f(s))
			m := s.model.Clone()
			if err := fuse.Raise(m, ops.Standard(), fuse.Options{Mutable: mutable}); err != nil {
				t.Fatal(err)
			}
			want := map[string]int{"ai.bonnx:Attention": 1}
			for op, n := range count(m) { // what makes a bias of masks
				if op == ":Where" || op == ":Add" {
					want[op] = n
				}
			}
			s.check(t, want)
		})
	}
}

func TestAttentionRefused(t *testing.T) {
	score := func(s *sketch) (scores, v *ir.Value) {
		q, k := s.byHead(s.heads("q", 2, 4)), s.byHead(s.heads("k", 2, 4))
		return s.matmul(q, s.swap(k, 0, 1, 3, 2)), s.byHead(s.heads("v", 2, 4))
	}
	for name, c := range map[string]struct {
		reason string
		f      func(s *sketch)
	}{
		"probabilities are an output": {"", func(s *sketch) {
			x, v := score(s)
			p := s.softmax(x)
			s.output(p)
			s.output(s.matmul(p, v))
		}},
		"scores are an output": {"a value inside is read elsewhere", func(s *sketch) {
			x, v := score(s)
			s.output(s.matmul(s.softmax(x), v))
			s.output(x)
		}},
		"a mask that is not low": {"the scores are no product of rows", func(s *sketch) {
			x, v := score(s)
			seen := s.Const("seen", tensor.FromSlice([]bool{true, false, true}, 3))
			s.output(s.matmul(s.softmax(s.Op("Where", ir.In(seen, x, s.num(-100)))), v))
		}},
		"a bias of one column": {"the bias does not have the extents of the scores", func(s *sketch) {
			x, v := score(s)
			s.output(s.matmul(s.softmax(s.add(x, s.param("p", 3, 1))), v))
		}},
		"one kind of head repeated": {"the heads of k and v are not repeated alike", func(s *sketch) {
			q, k, v := s.fixedHeads("q", 4, 2), s.repeated(s.fixedHeads("k", 2, 2), 2, 2, 2, 3), s.fixedHeads("v", 4, 2)
			s.output(s.matmul(s.softmax(s.matmul(s.byHead(q), s.swap(s.byHead(k), 0, 1, 3, 2))), s.byHead(v)))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSketch()
			c.f(s)
			refusal(t, s.model, "attention", "Attention", c.reason)
		})
	}
}

// refusal raises a model in which a pass must not find an operator, and wants
// its reason.
func refusal(t *testing.T, m *ir.Model, pass, op, reason string) {
	t.Helper()
	var got string
	o := fuse.Options{Mutable: mutable, Report: func(p string, _ *ir.Node, why string) {
		if p == pass {
			got = why
		}
	}}
	if err := fuse.Raise(m, ops.Standard(), o); err != nil {
		t.Fatal(err)
	}
	if n := count(m)["ai.bonnx:"+op]; n != 0 || got != reason {
		t.Errorf("got %d %s, reason %q, want none, reason %q", n, op, got, reason)
	}
}
