package fuse_test

import (
	"testing"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

func (s *sketch) sub(x, y *ir.Value) *ir.Value { return s.Op("Sub", ir.In(x, y)) }

func (s *sketch) cut(x *ir.Value, from, to int) *ir.Value {
	return s.Op("Slice", ir.In(x, s.Ints(from), s.Ints(to), s.Ints(-1)))
}

func (s *sketch) concat(x ...*ir.Value) *ir.Value {
	return s.Op("Concat", ir.In(x...), ir.A("axis", ir.Int(-1)))
}

func (s *sketch) turnedBy(x0, x1, cos, sin *ir.Value) (y0, y1 *ir.Value) {
	return s.sub(s.mul(x0, cos), s.mul(x1, sin)), s.add(s.mul(sin, x0), s.mul(x1, cos))
}

func (s *sketch) table(name string, shape ...int) *ir.Value {
	return s.Const(name, s.random(shape...))
}

// rotations are ways in which exporters write rotary embeddings of x (2,3,2,4).
var rotations = map[string]func(s *sketch) *ir.Value{
	"halves, sliced": func(s *sketch) *ir.Value {
		x := s.heads("x", 2, 4)
		return s.concat(s.turnedBy(s.cut(x, 0, 2), s.cut(x, 2, 1<<31), s.table("cos", 3, 1, 2), s.table("sin", 3, 1, 2)))
	},
	"halves, split": func(s *sketch) *ir.Value {
		x := s.Node("", "Split", ir.In(s.heads("x", 2, 4)), 2, ir.A("axis", ir.Int(3)), ir.A("num_outputs", ir.Int(2)))
		return s.concat(s.turnedBy(x[0], x[1], s.table("cos", 1, 1, 1, 2), s.table("sin", 1, 1, 1, 2)))
	},
	"wide tables that are trained": func(s *sketch) *ir.Value {
		x := s.heads("x", 2, 4)
		rot := s.concat(s.Op("Neg", ir.In(s.cut(x, 2, 4))), s.cut(x, 0, 2))
		return s.add(s.mul(s.param("pc", 2, 4), x), s.mul(rot, s.param("ps", 2, 4)))
	},
}

func TestRotary(t *testing.T) {
	for name, f := range rotations {
		t.Run(name, func(t *testing.T) {
			s := newSketch()
			s.output(f(s))
			s.check(t, map[string]int{"ai.bonnx:Rotary": 1})
		})
	}
	t.Run("pairs", func(t *testing.T) {
		s := newSketch()
		x := s.heads("x", 2, 4)
		re := s.Op("Reshape", ir.In(x, s.Ints(0, 0, 2, 2, 2)))
		at := func(i int64) *ir.Value {
			return s.Op("Gather", ir.In(re, s.Const("i", tensor.Scalar(i))), ir.A("axis", ir.Int(4)))
		}
		y0, y1 := s.turnedBy(at(0), at(1), s.table("cos", 1, 1, 2), s.table("sin", 1, 1, 2))
		pairs := s.concat(s.Op("Unsqueeze", ir.In(y0, s.Ints(-1))), s.Op("Unsqueeze", ir.In(y1, s.Ints(4))))
		front := s.Op("Slice", ir.In(s.Op("Shape", ir.In(pairs)), s.Ints(0), s.Ints(3)))
		s.output(s.Op("Reshape", ir.In(pairs, s.Op("Concat", ir.In(front, s.Ints(-1)), ir.A("axis", ir.Int(0))))))
		s.check(t, map[string]int{"ai.bonnx:Rotary": 1, ":Reshape": 2})
	})
	t.Run("before attention", func(t *testing.T) {
		s := newSketch()
		turn := func(x *ir.Value) *ir.Value {
			x = s.byHead(x)
			return s.concat(s.turnedBy(s.cut(x, 0, 2), s.cut(x, 2, 4), s.table("cos", 3, 2), s.table("sin", 3, 2)))
		}
		q, k, v := turn(s.heads("q", 2, 4)), turn(s.heads("k", 2, 4)), s.byHead(s.heads("v", 2, 4))
		s.output(s.byHead(s.matmul(s.softmax(s.add(s.matmul(q, s.swap(k, 0, 1, 3, 2)), s.causal(-1e9))), v)))
		s.check(t, map[string]int{"ai.bonnx:Rotary": 2, "ai.bonnx:Attention": 1})
	})
}

func TestRotaryRefused(t *testing.T) {
	for name, c := range map[string]struct {
		reason string
		f      func(s *sketch, x *ir.Value) *ir.Value
	}{
		"a table of each half": {"the tables do not have the extents of the vectors", func(s *sketch, x *ir.Value) *ir.Value {
			return s.concat(s.turnedBy(s.cut(x, 0, 2), s.cut(x, 2, 4), s.table("cos", 3, 1, 1), s.table("sin", 3, 1, 1)))
		}},
		"other cosines for the other half": {"", func(s *sketch, x *ir.Value) *ir.Value {
			c, sn, x0, x1 := s.table("cos", 2), s.table("sin", 2), s.cut(x, 0, 2), s.cut(x, 2, 4)
			return s.concat(s.sub(s.mul(x0, c), s.mul(x1, sn)), s.add(s.mul(x1, s.table("other", 2)), s.mul(x0, sn)))
		}},
		"parts that overlap": {"", func(s *sketch, x *ir.Value) *ir.Value {
			return s.concat(s.turnedBy(s.cut(x, 0, 2), s.cut(x, 1, 3), s.table("cos", 2), s.table("sin", 2)))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSketch()
			s.output(c.f(s, s.heads("x", 2, 4)))
			refusal(t, s.model, "rotary, halves", "Rotary", c.reason)
		})
	}
}
