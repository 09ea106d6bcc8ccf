package runtime_test

import (
	"fmt"
	"testing"

	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/runtime"
	"github.com/bonnx/bonnx/tensor"
)

// body is a sub-graph of b's graph with a builder that shares its names.
func (b *built) body(name string) *built {
	g := ir.NewGraph(name)
	return &built{ir.NewBuilder(g, b.Names()), &ir.Model{Graph: g}}
}

func (b *built) node(op string, in []*ir.Value, outputs int, attrs ...*ir.Attr) []*ir.Value {
	return b.Node("", op, in, outputs, attrs...)
}

// busy appends work that wants memory.
func (b *built) busy(v *ir.Value) *ir.Value {
	for range 4 {
		v = b.Op("Abs", ir.In(b.Op("Tanh", ir.In(b.Op("Transpose", ir.In(v), ir.A("perm", ir.Ints{1, 0}))))))
	}
	return v
}

// growing appends four rows to state (1,2), each the last one times w times what
// the body has itself.
func (b *built) growing(state, w *ir.Value) *ir.Value {
	s := b.body("loop")
	s.input("i", tensor.Int64)
	cond := s.input("cond", tensor.Bool)
	c := s.m.Graph.AddInput("carried", &ir.TensorType{Elem: tensor.Float32})
	last := s.Op("Slice", ir.In(c, s.Ints(-1), s.Ints(9), s.Ints(0)))
	own := s.Op("Constant", nil, ir.A("value", ir.TensorAttr{Data: ir.Dense(testutil.Random(8, 2, 2))}))
	row := s.Op("MatMul", ir.In(s.Op("MatMul", ir.In(last, w)), own))
	s.out("cond_out", s.Op("Identity", ir.In(cond)), tensor.Bool)
	s.out("next", s.Op("Concat", ir.In(c, row), ir.A("axis", ir.Int(0))), tensor.Float32)
	return b.node("Loop", ir.In(b.Const("trips", tensor.Scalar(int64(4))), nil, state), 1, ir.A("body", ir.GraphAttr{Graph: s.m.Graph}))[0]
}

// TestBodyReadsWhatChanges has a body read a weight that is changed between runs.
func TestBodyReadsWhatChanges(t *testing.T) {
	b := build()
	x := b.input("x", tensor.Float32, ir.Fixed(1), ir.Fixed(2))
	w := b.m.Graph.AddInitializer("w", ir.Dense(testutil.Random(9, 2, 2)))
	b.out("y", b.growing(x, w), tensor.Float32)
	s := session(t, compile(t, b.m, runtime.Options{Mutable: named("w")}))
	f := feed{"x": testutil.Random(1, 1, 2)}
	for seed := range uint64(3) {
		now := testutil.Random(20+seed, 2, 2)
		if err := s.Put("w", now); err != nil {
			t.Fatal(err)
		}
		w.Data = ir.Dense(now)
		testutil.Close(t, fmt.Sprint("weight ", seed), run(t, s, f)[0], nodeByNode(t, b.m, f)[0], 1e-6, 1e-6)
	}
}

// TestDynamic runs graphs whose shapes or paths depend on data, and that go on
// with work after it: the plan's memory must still hold what was passed on.
func TestDynamic(t *testing.T) {
	f := tensor.Float32
	n := ir.Symbol("n")
	cases := []struct {
		name  string
		graph func(b *built, x *ir.Value)
	}{
		{"NonZero, Gather", func(b *built, x *ir.Value) {
			y := b.Op("Relu", ir.In(x))
			at := b.Op("NonZero", ir.In(y))
			got := b.Op("GatherND", ir.In(y, b.Op("Transpose", ir.In(at), ir.A("perm", ir.Ints{1, 0}))))
			b.out("later", b.busy(b.Op("Neg", ir.In(x))), f)
			b.out("y", b.Op("Mul", ir.In(got, got)), f)
		}},
		{"Reshape to a computed shape", func(b *built, x *ir.Value) {
			y := b.Op("Neg", ir.In(x))
			count := b.Op("ReduceSum", ir.In(b.Op("Cast", ir.In(b.Op("Equal", ir.In(x, x))), ir.A("to", ir.Int(7)))), ir.A("keepdims", ir.Int(0)))
			flat := b.Op("Reshape", ir.In(y, b.Op("Reshape", ir.In(count, b.Ints(1)))))
			b.out("later", b.busy(b.Op("Relu", ir.In(x))), f)
			b.out("y", b.Op("Add", ir.In(flat, flat)), f)
		}},
		{"If passes a captured value on", func(b *built, x *ir.Value) {
			y := b.Op("Neg", ir.In(x))
			then, other := b.body("then"), b.body("else")
			then.out("then_y", then.Op("Identity", ir.In(y)), f)
			other.out("else_y", other.Op("Abs", ir.In(y)), f)
			low := b.Op("Less", ir.In(b.Op("ReduceMean", ir.In(x), ir.A("keepdims", ir.Int(0))), b.Const("zero", tensor.Scalar(float32(0)))))
			r := b.Op("If", ir.In(low), ir.A("then_branch", ir.GraphAttr{Graph: then.m.Graph}), ir.A("else_branch", ir.GraphAttr{Graph: other.m.Graph}))
			b.out("later", b.busy(b.Op("Tanh", ir.In(x))), f)
			b.out("y", b.Op("Relu", ir.In(b.Op("Reshape", ir.In(r, b.Ints(-1))))), f)
		}},
		{"If captures a shape that the plan folds", func(b *built, x *ir.Value) {
			shape := b.Op("Shape", ir.In(x))
			inner := func(name, op string) *built {
				s := b.body(name)
				s.out(name+"_y", s.Op(op, ir.In(s.Op("Cast", ir.In(shape), ir.A("to", ir.Int(1))))), f)
				return s
			}
			then, other := inner("then", "Neg"), inner("else", "Abs")
			low := b.Op("Less", ir.In(b.Op("ReduceMean", ir.In(x), ir.A("keepdims", ir.Int(0))), b.Const("zero", tensor.Scalar(float32(0)))))
			b.out("y", b.Op("If", ir.In(low), ir.A("then_branch", ir.GraphAttr{Graph: then.m.Graph}), ir.A("else_branch", ir.GraphAttr{Graph: other.m.Graph})), f)
		}},
		{"Loop carries and captures", func(b *built, x *ir.Value) {
			y := b.Op("Neg", ir.In(x))
			s := b.body("loop")
			s.input("i", tensor.Int64)
			cond := s.input("cond", tensor.Bool)
			c := s.m.Graph.AddInput("carried", &ir.TensorType{Elem: f})
			s.out("cond_out", s.Op("Identity", ir.In(cond)), tensor.Bool)
			s.out("next", s.Op("Add", ir.In(c, y)), f)
			s.out("each", s.Op("ReduceSum", ir.In(c), ir.A("keepdims", ir.Int(0))), f)
			trips := b.Const("trips", tensor.Scalar(int64(3)))
			r := b.node("Loop", ir.In(trips, nil, x), 2, ir.A("body", ir.GraphAttr{Graph: s.m.Graph}))
			b.out("later", b.busy(b.Op("Tanh", ir.In(x))), f)
			b.out("y", b.Op("Relu", ir.In(r[0])), f)
			b.out("all", r[1], f)
		}},
		{"Loop whose state grows, by weights", func(b *built, x *ir.Value) {
			mean := b.Op("ReduceMean", ir.In(x))
			start := b.Op("Concat", ir.In(mean, mean), ir.A("axis", ir.Int(1)))
			w := b.m.Graph.AddInitializer("w", ir.Dense(testutil.Random(9, 2, 2)))
			b.out("y", b.growing(start, w), f)
		}},
		{"Loop of no trips", func(b *built, x *ir.Value) {
			y := b.Op("Neg", ir.In(x))
			s := b.body("loop")
			s.input("i", tensor.Int64)
			cond := s.input("cond", tensor.Bool)
			c := s.m.Graph.AddInput("carried", &ir.TensorType{Elem: f})
			s.out("cond_out", s.Op("Identity", ir.In(cond)), tensor.Bool)
			s.out("next", s.Op("Neg", ir.In(c)), f)
			trips := b.Op("Cast", ir.In(b.Op("ReduceMin", ir.In(b.Op("Sign", ir.In(b.Op("Relu", ir.In(x))))), ir.A("keepdims", ir.Int(0)))), ir.A("to", ir.Int(7)))
			r := b.Op("Loop", ir.In(trips, nil, y), ir.A("body", ir.GraphAttr{Graph: s.m.Graph}))
			b.out("later", b.busy(b.Op("Tanh", ir.In(x))), f)
			b.out("y", b.Op("Abs", ir.In(r)), f)
		}},
	}
	for _, c := range cases {
		for _, plain := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/%v", c.name, plain), func(t *testing.T) {
				b := build()
				c.graph(b, b.input("x", f, n, n))
				if err := b.Err(); err != nil {
					t.Fatal(err)
				}
				if err := ir.Verify(b.m); err != nil {
					t.Fatal(err)
				}
				s := session(t, compile(t, b.m, runtime.Options{NoFusion: plain, Threads: 1}))
				for i, n := range []int{3, 9, 1, 3, 5, 9} {
					x := feed{"x": testutil.Random(uint64(i), n, n)}
					w := nodeByNode(t, b.m, x)
					for k, got := range run(t, s, x) {
						testutil.Close(t, fmt.Sprintf("n %d, output %q", n, b.m.Graph.Outputs[k].Name), got, w[k], 1e-6, 1e-6)
					}
				}
			})
		}
	}
}

// TestCapturedDefault lets a branch read an input with a default.
func TestCapturedDefault(t *testing.T) {
	b := build()
	x, w := b.input("x", tensor.Float32, ir.Fixed(1)), b.weight("w", 10)
	w.Type = ir.Tensor(tensor.Float32, ir.Fixed(1))
	b.m.Graph.Inputs = append(b.m.Graph.Inputs, w)
	then, other := b.body("then"), b.body("else")
	then.out("a", then.Op("Neg", ir.In(w)), tensor.Float32)
	other.out("b", other.Op("Identity", ir.In(w)), tensor.Float32)
	low := b.Op("Reshape", ir.In(b.Op("Less", ir.In(x, b.Const("zero", f32(0)))), b.Const("scalar", tensor.New(tensor.Int64, 0))))
	b.out("y", b.Op("If", ir.In(low), ir.A("then_branch", ir.GraphAttr{Graph: then.m.Graph}), ir.A("else_branch", ir.GraphAttr{Graph: other.m.Graph})), tensor.Float32)
	s := session(t, compile(t, b.m, runtime.Options{}))
	for _, c := range []struct{ x, w, y float32 }{{-1, 0, -10}, {1, 0, 10}, {-1, 3, -3}, {1, 4, 4}, {1, 0, 10}} {
		f := feed{"x": f32(c.x)}
		if c.w != 0 {
			f["w"] = f32(c.w)
		}
		want(t, fmt.Sprintf("x %v, w %v", c.x, c.w), run(t, s, f)[0], c.y)
	}
}
