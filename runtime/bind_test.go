package runtime_test

import (
	"context"
	"strings"
	"testing"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/runtime"
	"github.com/bonnx/bonnx/tensor"
)

// TestBind gives sessions of one program other values without a copy, before
// and after they have run, and none sees another's.
func TestBind(t *testing.T) {
	b := build()
	x, w := b.input("x", tensor.Float32, ir.Symbol("n")), b.weight("w", 2)
	b.out("y", b.Op("Mul", ir.In(x, b.Op("Identity", ir.In(w)))), tensor.Float32)
	p, err := runtime.Compile(b.m, runtime.Options{Mutable: named("w")})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	first, second := session(t, p), session(t, p)
	run := func(s *runtime.Session, n int) *tensor.Tensor {
		t.Helper()
		out, err := s.Run(context.Background(), map[string]*tensor.Tensor{"x": tensor.FromSlice([]float32{1, 3}[:n], n)})
		if err != nil {
			t.Fatal(err)
		}
		return out[0]
	}
	want(t, "the model's value", run(first, 2), 2, 6)
	want(t, "another shape", run(first, 1), 2)
	five := f32(5)
	if err := first.Bind("w", five); err != nil {
		t.Fatal(err)
	}
	want(t, "bound", run(first, 2), 5, 15)
	want(t, "bound, another shape", run(first, 1), 5)
	want(t, "another session", run(second, 2), 2, 6)
	tensor.Data[float32](five)[0] = 7
	want(t, "it is no copy", run(first, 2), 7, 21)
	for _, bad := range []struct {
		name string
		t    *tensor.Tensor
		text string
	}{
		{"w", f32(1, 2), "got"}, {"w", tensor.FromSlice([]float64{1}, 1), "got"}, {"x", f32(1), "not a mutable"},
	} {
		if err := first.Bind(bad.name, bad.t); err == nil || !strings.Contains(err.Error(), bad.text) {
			t.Errorf("binding %v to %q: %v", bad.t, bad.name, err)
		}
	}
}

// TestShare compiles two models with a weight in common on one set of threads.
func TestShare(t *testing.T) {
	weight := ir.Dense(tensor.FromSlice([]float32{1, 2, 3, 4}, 2, 2))
	compile := func(op string, o runtime.Options) *runtime.Program {
		b := build()
		x := b.input("x", tensor.Float32, ir.Symbol("n"), ir.Fixed(2))
		b.out("y", b.Op(op, ir.In(b.Op("MatMul", ir.In(x, b.m.Graph.AddInitializer("w", weight))))), tensor.Float32)
		p, err := runtime.Compile(b.m, o)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	p := compile("Neg", runtime.Options{Threads: 2})
	q := compile("Abs", runtime.Options{Threads: 1, Share: p})
	if q.Threads() != 2 {
		t.Errorf("%d threads, want the other program's 2", q.Threads())
	}
	q.Close() // leaves p's threads alone
	feeds := map[string]*tensor.Tensor{"x": tensor.FromSlice([]float32{1, -1}, 1, 2)}
	for _, c := range []struct {
		p    *runtime.Program
		want []float32
	}{{p, []float32{2, 2}}, {q, []float32{2, 2}}} {
		out, err := session(t, c.p).Run(context.Background(), feeds)
		if err != nil {
			t.Fatal(err)
		}
		want(t, "y", out[0].Reshape(2), c.want...)
	}
	p.Close()
}
