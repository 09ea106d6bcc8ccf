package fuse_test

import (
	"math"
	"testing"

	"github.com/bonnx/bonnx/fuse"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

type ways map[string]func(s *sketch, x *ir.Value) *ir.Value

// each checks every way to write a function of x (2,3,4), alone.
func (w ways) each(t *testing.T, want map[string]int) {
	for name, f := range w {
		t.Run(name, func(t *testing.T) {
			s := newSketch()
			s.output(f(s, s.input("x", 2, 3, 4)))
			s.check(t, want)
		})
	}
}

func (s *sketch) root(sq *ir.Value) *ir.Value {
	return s.Op("Sqrt", ir.In(s.add(s.mean(sq), s.num(1e-5))))
}

func (s *sketch) pow2(x *ir.Value) *ir.Value { return s.Op("Pow", ir.In(x, s.num(2))) }

func TestRMSNorm(t *testing.T) {
	ways{
		"torch": func(s *sketch, x *ir.Value) *ir.Value {
			return s.mul(s.mul(x, s.div(s.num(1), s.root(s.pow2(x)))), s.param("p", 4))
		},
		"scale first": func(s *sketch, x *ir.Value) *ir.Value {
			return s.mul(s.param("p", 4), s.mul(s.Op("Reciprocal", ir.In(s.root(s.mul(x, x)))), x))
		},
		"division": func(s *sketch, x *ir.Value) *ir.Value {
			return s.mul(s.div(x, s.root(s.pow2(x))), s.param("p", 4))
		},
		"power": func(s *sketch, x *ir.Value) *ir.Value {
			y := s.add(s.num(1e-5), s.mean(s.pow2(x)))
			return s.mul(s.param("p", 4), s.mul(x, s.Op("Pow", ir.In(y, s.num(-0.5)))))
		},
		"casts": func(s *sketch, x *ir.Value) *ir.Value {
			same := func(v *ir.Value) *ir.Value {
				return s.Op("Cast", ir.In(v), ir.A("to", ir.Int(tensor.Float64)))
			}
			x = same(x)
			return s.mul(s.param("p", 4), same(s.mul(x, s.div(s.num(1), s.root(s.pow2(x))))))
		},
	}.each(t, map[string]int{"ai.bonnx:RMSNorm": 1})
}

func TestLayerNorm(t *testing.T) {
	centred := func(s *sketch, x *ir.Value) *ir.Value { return s.Op("Sub", ir.In(x, s.mean(x))) }
	ways{
		"torch": func(s *sketch, x *ir.Value) *ir.Value {
			c := centred(s, x)
			return s.add(s.mul(s.div(c, s.root(s.pow2(c))), s.param("p", 4)), s.param("pb", 4))
		},
		"twice centred": func(s *sketch, x *ir.Value) *ir.Value {
			mean := s.mean(x)
			a, b := s.Op("Sub", ir.In(x, mean)), s.Op("Sub", ir.In(x, mean))
			return s.add(s.param("pb", 4), s.mul(s.param("p", 4), s.div(a, s.root(s.pow2(b)))))
		},
		"no bias": func(s *sketch, x *ir.Value) *ir.Value {
			c := centred(s, x)
			return s.mul(s.mul(c, s.Op("Reciprocal", ir.In(s.root(s.mul(c, c))))), s.param("p", 4))
		},
	}.each(t, map[string]int{":LayerNormalization": 1})
}

func TestGelu(t *testing.T) {
	erf := func(s *sketch, x *ir.Value) *ir.Value {
		return s.add(s.Op("Erf", ir.In(s.div(x, s.num(math.Sqrt2)))), s.num(1))
	}
	tanh := func(s *sketch, x, cube *ir.Value) *ir.Value {
		inner := s.mul(s.num(math.Sqrt(2/math.Pi)), s.add(x, s.mul(cube, s.num(0.044715))))
		return s.add(s.num(1), s.Op("Tanh", ir.In(inner)))
	}
	ways{
		"torch":       func(s *sketch, x *ir.Value) *ir.Value { return s.mul(s.mul(x, erf(s, x)), s.num(0.5)) },
		"half first":  func(s *sketch, x *ir.Value) *ir.Value { return s.mul(s.mul(s.num(0.5), x), erf(s, x)) },
		"half inside": func(s *sketch, x *ir.Value) *ir.Value { return s.mul(x, s.mul(erf(s, x), s.num(0.5))) },
		"by product": func(s *sketch, x *ir.Value) *ir.Value {
			e := s.Op("Erf", ir.In(s.mul(s.num(1/math.Sqrt2), x)))
			return s.mul(s.mul(x, s.add(s.num(1), e)), s.num(0.5))
		},
		"tanh": func(s *sketch, x *ir.Value) *ir.Value {
			return s.mul(s.mul(x, s.num(0.5)), tanh(s, x, s.Op("Pow", ir.In(x, s.num(3)))))
		},
		"tanh by products": func(s *sketch, x *ir.Value) *ir.Value {
			return s.mul(s.num(0.5), s.mul(x, tanh(s, x, s.mul(s.mul(x, x), x))))
		},
	}.each(t, map[string]int{"ai.bonnx:Gelu": 1})
}

func TestGeluOfProduct(t *testing.T) {
	s := newSketch()
	x := s.mul(s.input("x", 2, 4), s.param("p", 4))
	s.output(s.mul(s.mul(x, s.add(s.Op("Erf", ir.In(s.div(x, s.num(math.Sqrt2)))), s.num(1))), s.num(0.5)))
	s.check(t, map[string]int{"ai.bonnx:Gelu": 1, ":Mul": 1})
}

func TestSiLU(t *testing.T) {
	ways{
		"torch":         func(s *sketch, x *ir.Value) *ir.Value { return s.mul(x, s.Op("Sigmoid", ir.In(x))) },
		"sigmoid first": func(s *sketch, x *ir.Value) *ir.Value { return s.mul(s.Op("Sigmoid", ir.In(x)), x) },
	}.each(t, map[string]int{"ai.bonnx:SiLU": 1})
}

func TestGatedSiLU(t *testing.T) {
	ways{
		"gate first": func(s *sketch, x *ir.Value) *ir.Value {
			gate, up := s.mul(x, s.param("p", 4)), s.mul(x, s.param("q", 4))
			return s.mul(s.mul(gate, s.Op("Sigmoid", ir.In(gate))), up)
		},
		"values first": func(s *sketch, x *ir.Value) *ir.Value {
			gate, up := s.mul(x, s.param("p", 4)), s.mul(x, s.param("q", 4))
			return s.mul(up, s.mul(gate, s.Op("Sigmoid", ir.In(gate))))
		},
	}.each(t, map[string]int{"ai.bonnx:GatedSiLU": 1, ":Mul": 2})
	s := newSketch()
	x := s.input("x", 2, 4)
	s.output(s.mul(s.mul(x, s.Op("Sigmoid", ir.In(x))), s.param("p", 4))) // broadcast
	s.check(t, map[string]int{"ai.bonnx:SiLU": 1, ":Mul": 1})
}

// A value inside that is read elsewhere, or is an output, keeps the nodes.
func TestInnerValuesStay(t *testing.T) {
	s := newSketch()
	x := s.input("x", 2, 4)
	sig := s.Op("Sigmoid", ir.In(x))
	s.output(s.mul(x, sig))
	s.output(sig)
	s.check(t, map[string]int{":Mul": 1, ":Sigmoid": 1})

	s = newSketch()
	x = s.input("x", 2, 4)
	root := s.root(s.pow2(x))
	s.output(s.add(s.mul(s.div(x, root), s.param("p", 4)), root))
	s.check(t, map[string]int{":Mul": 1, ":Div": 1, ":Sqrt": 1, ":Add": 2, ":ReduceMean": 1, ":Pow": 1})
}

// A scale that is not as long as the last axis is no norm's.
func TestScaleOfOne(t *testing.T) {
	s := newSketch()
	x := s.input("x", 2, 4)
	s.output(s.mul(s.div(x, s.root(s.pow2(x))), s.param("p", 1)))
	s.check(t, map[string]int{":Mul": 1, ":Div": 1, ":Sqrt": 1, ":Add": 1, ":ReduceMean": 1, ":Pow": 1})
}

func TestDedupe(t *testing.T) {
	s := newSketch()
	x := s.input("x", 2, 4)
	a, b := s.add(x, s.num(2)), s.add(x, s.num(2))
	s.output(s.mul(a, s.Op("Exp", ir.In(b))))
	s.check(t, map[string]int{":Add": 1, ":Exp": 1, ":Mul": 1})

	s = newSketch() // equal parameters stay apart
	x = s.input("x", 2, 4)
	p := s.param("p", 4)
	q := s.Graph.AddInitializer("p2", p.Data)
	s.output(s.mul(s.add(x, p), s.Op("Exp", ir.In(s.add(x, q)))))
	s.check(t, map[string]int{":Add": 2, ":Exp": 1, ":Mul": 1})
}

func TestTagsStayApart(t *testing.T) {
	s := newSketch()
	x := s.input("x", 2, 4)
	a := s.Op("Exp", ir.In(x))
	s.Tag = "recomputed"
	b := s.Op("Exp", ir.In(x))
	s.Tag = ""
	s.output(s.mul(a, b))
	s.check(t, map[string]int{":Exp": 2, ":Mul": 1})
}

func (s *sketch) turn(v *ir.Value, perm ...int64) *ir.Value {
	if perm == nil {
		return v
	}
	return s.Op("Transpose", ir.In(v), ir.A("perm", ir.Ints(perm)))
}

func TestTransposedProduct(t *testing.T) {
	fused := map[string]int{"ai.bonnx:FusedMatMul": 1}
	for _, c := range []struct {
		name   string
		a, b   []int
		pa, pb []int64
		want   map[string]int
	}{
		{"b", []int{2, 3, 4}, []int{2, 5, 4}, nil, []int64{0, 2, 1}, fused},
		{"a", []int{2, 4, 3}, []int{2, 4, 5}, []int64{0, 2, 1}, nil, fused},
		{"both", []int{2, 4, 3}, []int{5, 4}, []int64{0, 2, 1}, []int64{1, 0}, fused},
		{"none", []int{2, 3, 4}, []int{4, 5}, nil, nil, map[string]int{":MatMul": 1}},
		{"heads", []int{2, 3, 2, 4}, []int{2, 3, 2, 4}, []int64{0, 2, 1, 3}, []int64{0, 2, 3, 1},
			map[string]int{"ai.bonnx:FusedMatMul": 1, ":Transpose": 2}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSketch()
			a, b := s.input("a", c.a...), s.input("b", c.b...)
			s.output(s.Op("MatMul", ir.In(s.turn(a, c.pa...), s.turn(b, c.pb...))))
			s.check(t, c.want)
		})
	}
}

// Gradients hold transpositions of their own, which Late takes in.
func TestLate(t *testing.T) {
	s := newSketch()
	a, b := s.input("a", 2, 3, 4), s.input("b", 2, 5, 4)
	s.Composite(t, "FusedMatMul", s.turn(a, 0, 2, 1), b, ir.A("transA", ir.Int(1)), ir.A("transB", ir.Int(1)))
	plain := s.evaluate(t, s.model.Clone(), false)
	m := s.model.Clone()
	if err := fuse.Late(m, ops.Standard(), fuse.Options{}); err != nil {
		t.Fatal(err)
	}
	if got := count(m); got["ai.bonnx:FusedMatMul"] != 1 || got[":Transpose"] != 0 {
		t.Errorf("got %v", got)
	}
	same(t, "late", s.evaluate(t, m, false), plain)
}

// Composite outputs a composite of two values.
func (s *sketch) Composite(t *testing.T, op string, a, b *ir.Value, attrs ...*ir.Attr) {
	t.Helper()
	s.model.SetOpset(ops.Domain, 1)
	s.output(s.Node(ops.Domain, op, ir.In(a, b), 1, attrs...)[0])
}

func TestScaledProduct(t *testing.T) {
	product := func(s *sketch, x *ir.Value) *ir.Value { return s.Op("MatMul", ir.In(x, s.input("z", 2, 4, 5))) }
	ways{
		"times":     func(s *sketch, x *ir.Value) *ir.Value { return s.mul(s.num(0.5), product(s, x)) },
		"over":      func(s *sketch, x *ir.Value) *ir.Value { return s.div(product(s, x), s.num(4)) },
		"and again": func(s *sketch, x *ir.Value) *ir.Value { return s.mul(s.div(product(s, x), s.num(4)), s.num(0.5)) },
	}.each(t, map[string]int{"ai.bonnx:FusedMatMul": 1})
	ways{
		"no float32": func(s *sketch, x *ir.Value) *ir.Value { return s.mul(s.num(0.1), product(s, x)) },
	}.each(t, map[string]int{":MatMul": 1, ":Mul": 1})
	ways{
		"the other way": func(s *sketch, x *ir.Value) *ir.Value { return s.div(s.num(4), product(s, x)) },
	}.each(t, map[string]int{":MatMul": 1, ":Div": 1})
}

// Graph outputs keep their names and their order through Raise and Lower.
func TestOutputsKeepNames(t *testing.T) {
	s := newSketch()
	x := s.input("x", 2, 4)
	s.output(s.mul(x, s.Op("Sigmoid", ir.In(x))))
	m := s.model
	if err := fuse.Raise(m, ops.Standard(), fuse.Options{}); err != nil {
		t.Fatal(err)
	}
	if err := fuse.Lower(m, ops.Standard()); err != nil {
		t.Fatal(err)
	}
	if len(m.Graph.Outputs) != 1 || m.Graph.Outputs[0].Name != "y0" || m.Graph.Outputs[0].Producer() == nil {
		t.Errorf("got outputs %v", m.Graph.Outputs)
	}
	if err := ir.Verify(m); err != nil {
		t.Error(err)
	}
}

func TestCrossEntropy(t *testing.T) {
	loss := func(s *sketch, x *ir.Value, op string, attrs ...*ir.Attr) *ir.Value {
		rows := s.Op("Reshape", ir.In(x, s.Ints(-1, 4)))
		if op == "NegativeLogLikelihoodLoss" {
			rows = s.Op("LogSoftmax", ir.In(rows), ir.A("axis", ir.Int(1)))
		}
		return s.Op(op, ir.In(rows, s.Ints(0, 3, 1, -1, 2, 2)), append(attrs, ir.A("ignore_index", ir.Int(-1)))...)
	}
	ways{
		"scores": func(s *sketch, x *ir.Value) *ir.Value { return loss(s, x, "SoftmaxCrossEntropyLoss") },
		"logs":   func(s *sketch, x *ir.Value) *ir.Value { return loss(s, x, "NegativeLogLikelihoodLoss") },
	}.each(t, map[string]int{"ai.bonnx:CrossEntropy": 1, ":Div": 1, ":Reshape": 1})
	sum := ir.A("reduction", ir.String("sum"))
	ways{
		"sum": func(s *sketch, x *ir.Value) *ir.Value { return loss(s, x, "SoftmaxCrossEntropyLoss", sum) },
	}.each(t, map[string]int{"ai.bonnx:CrossEntropy": 1, ":Identity": 1, ":Reshape": 1})
	none := ir.A("reduction", ir.String("none"))
	ways{
		"none": func(s *sketch, x *ir.Value) *ir.Value { return loss(s, x, "SoftmaxCrossEntropyLoss", none) },
	}.each(t, map[string]int{":SoftmaxCrossEntropyLoss": 1, ":Reshape": 1})
}
