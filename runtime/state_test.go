package runtime_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/runtime"
	"github.com/bonnx/bonnx/tensor"
)

// built is a small graph under construction.
type built struct {
	*ir.Builder
	m *ir.Model
}

func build() *built {
	m := newModel()
	return &built{ir.NewBuilder(m.Graph, ir.NewNames(m)), m}
}

func (b *built) input(name string, d tensor.DType, dims ...ir.Dim) *ir.Value {
	return b.m.Graph.AddInput(name, ir.Tensor(d, dims...))
}

func (b *built) weight(name string, v ...float32) *ir.Value {
	return b.m.Graph.AddInitializer(name, ir.Dense(tensor.FromSlice(v, len(v))))
}

// out names values and makes them outputs.
func (b *built) out(name string, v *ir.Value, d tensor.DType) {
	v.Name, v.Type = name, &ir.TensorType{Elem: d}
	b.m.Graph.Outputs = append(b.m.Graph.Outputs, v)
}

func named(names ...string) func(string) bool {
	return func(n string) bool {
		for _, m := range names {
			if n == m {
				return true
			}
		}
		return false
	}
}

func f32(v ...float32) *tensor.Tensor { return tensor.FromSlice(v, len(v)) }

func want(t *testing.T, what string, got *tensor.Tensor, v ...float32) {
	t.Helper()
	if err := testutil.Compare(got, f32(v...), 0, 0); err != nil {
		t.Errorf("%s: %v", what, err)
	}
}

// TestState updates w in one run after the other, in the forms that an update
// can take: in place, by a copy because w is read later on, from a view, from
// a constant, and two states that change places.
func TestState(t *testing.T) {
	n := ir.Fixed(2)
	cases := []struct {
		name  string
		graph func(b *built)
		state map[string]string
		out   [][]float32 // outputs of the second run
		w     []float32   // after it
	}{
		{"in place", func(b *built) {
			b.out("new", b.Op("Add", ir.In(b.weight("w", 1, 2), b.input("x", tensor.Float32, n))), tensor.Float32)
		}, map[string]string{"new": "w"}, [][]float32{{21, 42}}, []float32{21, 42}},
		{"read later", func(b *built) {
			w, x := b.weight("w", 1, 2), b.input("x", tensor.Float32, n)
			b.out("new", b.Op("Add", ir.In(w, x)), tensor.Float32)
			b.out("old", b.Op("Neg", ir.In(w)), tensor.Float32)
		}, map[string]string{"new": "w"}, [][]float32{{21, 42}, {-11, -22}}, []float32{21, 42}},
		{"old one is an output", func(b *built) {
			w, x := b.weight("w", 1, 2), b.input("x", tensor.Float32, n)
			b.out("new", b.Op("Add", ir.In(w, x)), tensor.Float32)
			b.out("old", b.Op("Identity", ir.In(b.Op("Reshape", ir.In(w, b.Ints(-1))))), tensor.Float32)
		}, map[string]string{"new": "w"}, [][]float32{{21, 42}, {11, 22}}, []float32{21, 42}},
		{"of a feed", func(b *built) {
			b.weight("w", 1, 2)
			b.out("new", b.Op("Identity", ir.In(b.input("x", tensor.Float32, n))), tensor.Float32)
		}, map[string]string{"new": "w"}, [][]float32{{10, 20}}, []float32{10, 20}},
		{"of a constant", func(b *built) {
			b.weight("w", 1, 2)
			x := b.input("x", tensor.Float32, n)
			b.out("new", b.Op("Cast", ir.In(b.Op("Concat", ir.In(b.Op("Shape", ir.In(x)), b.Ints(7)), ir.A("axis", ir.Int(0)))),
				ir.A("to", ir.Int(1))), tensor.Float32)
		}, map[string]string{"new": "w"}, [][]float32{{2, 7}}, []float32{2, 7}},
		{"exchanged", func(b *built) {
			b.input("x", tensor.Float32, n)
			b.out("a", b.Op("Identity", ir.In(b.weight("v", 3, 4))), tensor.Float32)
			b.out("b", b.Op("Identity", ir.In(b.weight("w", 1, 2))), tensor.Float32)
		}, map[string]string{"a": "w", "b": "v"}, [][]float32{{1, 2}, {3, 4}}, []float32{1, 2}},
	}
	for _, c := range cases {
		for _, plain := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/%v", c.name, plain), func(t *testing.T) {
				b := build()
				c.graph(b)
				s := session(t, compile(t, b.m, runtime.Options{Mutable: named("w", "v"), State: c.state, NoFusion: plain}))
				f := feed{"x": f32(10, 20)}
				run(t, s, f)
				for i, got := range run(t, s, f) {
					want(t, b.m.Graph.Outputs[i].Name, got, c.out[i]...)
				}
				w, err := s.Get("w")
				if err != nil {
					t.Fatal(err)
				}
				want(t, "w", w, c.w...)
				want(t, "the feed", f["x"], 10, 20)
			})
		}
	}
}

// guarded is w.new = w + x where all of x is positive.
func guarded(length int) *ir.Model {
	b := build()
	n := ir.Fixed(2)
	w, x := b.weight("w", 1, 2), b.input("x", tensor.Float32, n)
	b.out("old", b.Op("Neg", ir.In(w)), tensor.Float32)
	y := x
	for range length {
		y = b.Op("Abs", ir.In(b.Op("Neg", ir.In(y))))
	}
	low := b.Op("ReduceMin", ir.In(x), ir.A("keepdims", ir.Int(0)))
	b.out("ok", b.Op("Greater", ir.In(low, b.Const("zero", tensor.Scalar(float32(0))))), tensor.Bool)
	b.out("new", b.Op("Add", ir.In(w, y)), tensor.Float32)
	return b.m
}

func TestGuard(t *testing.T) {
	o := runtime.Options{Mutable: named("w"), State: map[string]string{"new": "w"}, Guard: "ok", NoFusion: true}
	p := compile(t, guarded(1), o)
	s := session(t, p)
	if _, err := s.Run(context.Background(), feed{"x": f32(1, -1)}); !errors.As(err, new(*runtime.GuardError)) || !strings.Contains(err.Error(), `"ok"`) {
		t.Errorf("got error %v, want a GuardError", err)
	}
	w, err := s.Get("w")
	if err != nil {
		t.Fatal(err)
	}
	want(t, "after a guard that came out false", w, 1, 2)
	run(t, s, feed{"x": f32(1, 1)})
	want(t, "after one that came out true", w, 2, 3)

	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := s.Run(cancelled, feed{"x": f32(1, 1)}); !errors.Is(err, context.Canceled) {
		t.Errorf("got error %v, want context.Canceled", err)
	}
	want(t, "after a cancelled run", w, 2, 3)

	// Cancelled in the middle, before the guard.
	s = session(t, compile(t, guarded(100), o))
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	steps := 0
	_, err = s.RunObserved(ctx, feed{"x": f32(1, 1)}, func(n *ir.Node, _ []*tensor.Tensor) {
		if steps++; steps == 40 {
			cancel()
		}
		if n.Is("Add") {
			t.Error("the update ran")
		}
	})
	if !errors.Is(err, context.Canceled) || steps > 80 {
		t.Errorf("got error %v after %d steps, want context.Canceled", err, steps)
	}
	if w, err = s.Get("w"); err != nil {
		t.Fatal(err)
	}
	want(t, "after a run cancelled in the middle", w, 1, 2)
}

func TestMutableAndShared(t *testing.T) {
	model := func() *ir.Model {
		b := build()
		x := b.input("x", tensor.Float32, ir.Symbol("n"))
		w := b.weight("w", 3)
		b.out("y", b.Op("Add", ir.In(x, b.Op("Mul", ir.In(w, w)))), tensor.Float32)
		return b.m
	}
	p := compile(t, model(), runtime.Options{Mutable: named("w")})
	a, other := session(t, p), session(t, compile(t, model(), runtime.Options{Mutable: named("w")}))
	shared := session(t, p, other, a)
	f := feed{"x": f32(1)}
	want(t, "at first", run(t, a, f)[0], 10)
	if err := a.Put("w", f32(5)); err != nil {
		t.Fatal(err)
	}
	want(t, "after Put", run(t, a, f)[0], 26)
	want(t, "another session", run(t, session(t, p), f)[0], 10)
	if err := other.Put("w", f32(2)); err != nil {
		t.Fatal(err)
	}
	want(t, "one that shares", run(t, shared, f)[0], 5)
	for name, err := range map[string]error{
		"unknown": a.Put("nosuch", f32(1)), "shape": a.Put("w", f32(1, 2)), "type": a.Put("w", tensor.FromSlice([]int32{1}, 1)),
	} {
		if err == nil {
			t.Errorf("Put, %s: no error", name)
		}
	}
	if _, err := runtime.Compile(model(), runtime.Options{State: map[string]string{"y": "w"}}); err == nil || !strings.Contains(err.Error(), `"w" is not a mutable`) {
		t.Errorf("state that is not mutable: got error %v", err)
	}
	for _, o := range []runtime.Options{{Outputs: []string{"zz"}}, {Guard: "zz"}, {State: map[string]string{"zz": "w"}}, {State: map[string]string{"y": "zz"}}} {
		if _, err := runtime.Compile(model(), o); err == nil || !strings.Contains(err.Error(), `"zz"`) {
			t.Errorf("%+v: got error %v, want one that names zz", o, err)
		}
	}
}

// TestFeeds is what comes of what is fed.
func TestFeeds(t *testing.T) {
	b := build()
	batch := ir.Symbol("batch")
	x := b.input("x", tensor.Float32, batch, ir.Fixed(2))
	y := b.input("y", tensor.Float32, batch, ir.Symbol("m"))
	w := b.weight("w", 10)
	w.Type = ir.Tensor(tensor.Float32, ir.Fixed(1))
	b.m.Graph.Inputs = append(b.m.Graph.Inputs, w)
	b.out("sum", b.Op("Add", ir.In(b.Op("Concat", ir.In(x, y), ir.A("axis", ir.Int(1))), w)), tensor.Float32)
	b.out("only x", b.Op("Neg", ir.In(x)), tensor.Float32)
	if err := ir.Verify(b.m); err != nil {
		t.Fatal(err)
	}
	p := compile(t, b.m, runtime.Options{})
	s := session(t, p)
	good := func() feed { return feed{"x": testutil.Random(1, 2, 2), "y": testutil.Random(2, 2, 3)} }
	cases := []struct {
		name   string
		change func(f feed)
		err    []string // "" for none
	}{
		{"good", func(feed) {}, nil},
		{"missing", func(f feed) { delete(f, "y") }, []string{`"y"`, "not given"}},
		{"nil", func(f feed) { f["y"] = nil }, []string{`"y"`, "nil"}},
		{"extra", func(f feed) { f["z"] = f["x"] }, []string{`"z" is not an input`, `"x", "y", "w"`}},
		{"an output", func(f feed) { f["sum"] = f["x"] }, []string{`"sum" is not an input`}},
		{"type, same shape", func(f feed) { f["x"] = tensor.New(tensor.Int32, 2, 2) }, []string{`input "x"`, "float32", "int32"}},
		{"wider type", func(f feed) { f["x"] = tensor.New(tensor.Float64, 2, 2) }, []string{`input "x"`, "float64"}},
		{"rank", func(f feed) { f["x"] = testutil.Random(1, 4) }, []string{`input "x"`, "[4]"}},
		{"extent", func(f feed) { f["x"] = testutil.Random(1, 2, 4) }, []string{`input "x"`, "[2 4]"}},
		{"symbol", func(f feed) { f["y"] = testutil.Random(1, 3, 3) }, []string{`input "y"`, `"batch" is 2`}},
		{"default fed", func(f feed) { f["w"] = f32(1) }, nil},
		{"default of another type", func(f feed) { f["w"] = tensor.FromSlice([]int64{1}, 1) }, []string{`input "w"`, "int64"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			f := good()
			c.change(f)
			out, err := s.Run(context.Background(), f)
			if c.err == nil {
				add := float32(10)
				if f["w"] != nil {
					add = tensor.Data[float32](f["w"])[0]
				}
				if err != nil {
					t.Fatal(err)
				}
				if got, want := tensor.Data[float32](out[0])[0], tensor.Data[float32](f["x"])[0]+add; got != want {
					t.Errorf("got %v, want %v", got, want)
				}
				return
			}
			for _, part := range c.err {
				if err == nil || !strings.Contains(err.Error(), part) {
					t.Errorf("got error %v, want %q in it", err, part)
				}
			}
			run(t, s, good()) // the session still works
		})
	}
	part := compile(t, b.m, runtime.Options{Outputs: []string{"only x"}})
	if ports := part.Outputs(); len(ports) != 1 || ports[0].Name != "only x" {
		t.Errorf("got outputs %v", ports)
	}
	if got := run(t, session(t, part), feed{"x": testutil.Random(1, 2, 2)}); len(got) != 1 {
		t.Errorf("got %d outputs of one", len(got))
	}
	if ports := p.Inputs(); len(ports) != 3 || ports[0].Default || !ports[2].Default {
		t.Errorf("got inputs %v, want a default for the last alone", ports)
	}
}

// TestOutputThatIsAnInput passes a feed, a default and an initializer through.
func TestOutputThatIsAnInput(t *testing.T) {
	b := build()
	x, w := b.input("x", tensor.Float32, ir.Symbol("n")), b.weight("w", 7)
	b.m.Graph.Outputs = ir.In(x, w)
	w.Type = ir.Tensor(tensor.Float32, ir.Fixed(1))
	s := session(t, compile(t, b.m, runtime.Options{}))
	out := run(t, s, feed{"x": f32(1, 2)})
	want(t, "x", out[0], 1, 2)
	want(t, "w", out[1], 7)
	if _, err := s.Run(context.Background(), feed{}); err == nil || !strings.Contains(err.Error(), `"x" was not given`) {
		t.Errorf("got error %v", err)
	}
}

// TestPlanCache returns the plan that there is.
func TestPlanCache(t *testing.T) {
	p := compile(t, randomModel(3, 20), runtime.Options{})
	shape := func(n int) []runtime.Feed {
		return []runtime.Feed{{Name: "x0", DType: tensor.Float32, Shape: tensor.Shape{n, n}}, {Name: "x1", DType: tensor.Float32, Shape: tensor.Shape{n, n}}}
	}
	plan := func(n int) *runtime.Plan {
		pl, err := p.Plan(shape(n))
		if err != nil {
			t.Fatal(err)
		}
		return pl
	}
	first := plan(2)
	if plan(3) == first || plan(2) != first {
		t.Error("plans are not told apart by shape, or built anew")
	}
	wrong := shape(2)
	wrong[0].DType = tensor.Int32
	if _, err := p.Plan(wrong); err == nil {
		t.Error("a plan for another type was taken from the cache")
	}
	s := session(t, p)
	for n := range 150 { // more than are kept
		run(t, s, squares(1, 1+n%75))
	}
	f := squares(9, 4)
	got := run(t, s, f)
	for i, w := range nodeByNode(t, randomModel(3, 20), f) {
		testutil.Close(t, "after many shapes", got[i], w, 1e-5, 1e-5)
	}
}
