package runtime_test

import (
	"context"
	goruntime "runtime"
	"strings"
	"testing"

	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/runtime"
	"github.com/bonnx/bonnx/tensor"
)

// dequantized is a weight of n x n that six nodes make of bytes, as the factor
// of an input; shown makes the weight an output too.
func dequantized(n int, shown bool) *ir.Model {
	b := build()
	q := tensor.New(tensor.Uint8, n*n/2)
	for i := range tensor.Data[uint8](q) {
		tensor.Data[uint8](q)[i] = uint8(i * 7)
	}
	bytes := b.m.Graph.AddInitializer("q", ir.Dense(q))
	u8 := func(v uint8) *ir.Value { return b.Const("bits", tensor.Scalar(v)) }
	low := b.Op("BitwiseAnd", ir.In(bytes, u8(15)))
	high := b.Op("BitShift", ir.In(bytes, u8(4)), ir.A("direction", ir.String("RIGHT")))
	both := b.Op("Cast", ir.In(b.Op("Concat", ir.In(low, high), ir.A("axis", ir.Int(0)))), ir.A("to", ir.Int(1)))
	w := b.Op("Mul", ir.In(b.Op("Sub", ir.In(both, b.Const("zero", tensor.Scalar[float32](8)))), b.Const("scale", tensor.Scalar[float32](0.25))))
	w = b.Op("Reshape", ir.In(w, b.Const("shape", tensor.Ints(n, n))))
	x := b.input("x", tensor.Float32, ir.Symbol("rows"), ir.Fixed(int64(n)))
	y := b.Op("MatMul", ir.In(x, w))
	b.out("y", y, tensor.Float32)
	b.out("sum", b.Op("Add", ir.In(y, b.Op("ReduceMax", ir.In(w)))), tensor.Float32)
	if shown {
		b.out("w", b.Op("Transpose", ir.In(w), ir.A("perm", ir.Ints{1, 0})), tensor.Float32)
	}
	return b.m
}

// A large constant that folding makes is what running node by node gives, where
// it is packed, reduced while planning, and handed out.
func TestFoldedLarge(t *testing.T) {
	m := dequantized(512, true)
	f := feed{"x": testutil.Random(1, 3, 512)}
	want := nodeByNode(t, m, f)
	s := session(t, compile(t, m, runtime.Options{Threads: 1}))
	for range 2 {
		for i, got := range run(t, s, f) {
			if err := testutil.Compare(got, want[i], 1e-4, 1e-5); err != nil {
				t.Errorf("%s: %v", m.Graph.Outputs[i].Name, err)
			}
		}
		goruntime.GC() // what nobody holds goes between the runs
	}
}

// Of a weight that is dequantized and then packed, the packed form alone stays.
func TestFoldedIsNotKept(t *testing.T) {
	const n = 2048
	m := dequantized(n, false)
	before := heap()
	s := session(t, compile(t, m, runtime.Options{Threads: 1}))
	run(t, s, feed{"x": testutil.Random(1, 1, n)})
	if kept, packed := heap()-before, 4*n*n; kept > packed*3/2 {
		t.Errorf("%d bytes are held after the first run; the packed weight has %d", kept, packed)
	}
	run(t, s, feed{"x": testutil.Random(1, 1, n)})
}

func heap() int {
	goruntime.GC()
	goruntime.GC()
	var m goruntime.MemStats
	goruntime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// What fails when a large constant is made is an error that names the node.
func TestFoldedFails(t *testing.T) {
	b := build()
	rows := tensor.New(tensor.Int64, 1024)
	tensor.Data[int64](rows)[7] = 99
	table := b.m.Graph.AddInitializer("table", ir.Dense(testutil.Random(1, 4, 256)))
	w := b.Op("Gather", ir.In(table, b.m.Graph.AddInitializer("rows", ir.Dense(rows))))
	b.out("y", b.Op("Add", ir.In(b.input("x", tensor.Float32, ir.Fixed(256)), w)), tensor.Float32)
	p, err := runtime.Compile(b.m, runtime.Options{Threads: 1})
	if err == nil {
		defer p.Close()
		_, err = session(t, p).Run(context.Background(), feed{"x": testutil.Random(1, 256)})
	}
	if err == nil || !strings.Contains(err.Error(), "Gather") {
		t.Errorf("got %v, want an error that names the Gather", err)
	}
}
