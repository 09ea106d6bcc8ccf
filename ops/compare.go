package ops

import (
	"fmt"

	"github.com/bonnx/bonnx/internal/kernel"
	"github.com/bonnx/bonnx/internal/par"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// compare is an elementwise comparison with broadcasting, its result bool:
// Equal, Greater, GreaterOrEqual, Less, LessOrEqual.
// https://onnx.ai/onnx/operators/onnx__Equal.html and beside
type compare struct{ kind comparison }

// comparison is a place in the table of kernels.
type comparison int

const (
	isEqual comparison = iota
	isGreater
	isGreaterEqual
	isLess
	isLessEqual
	comparisons // how many there are
)

// A comparer runs a comparison on tensors of one dtype.
type comparer func(p *par.Pool, b *kernel.Broadcast, dst []bool, x, y *tensor.Tensor)

func comparerOf[T tensor.Elem](k func(p *par.Pool, b *kernel.Broadcast, dst []bool, x, y []T)) comparer {
	return func(p *par.Pool, b *kernel.Broadcast, dst []bool, x, y *tensor.Tensor) {
		k(p, b, dst, tensor.Data[T](x), tensor.Data[T](y))
	}
}

func comparersOf[T kernel.Numeric]() [comparisons]comparer {
	return [comparisons]comparer{
		isEqual:        comparerOf(kernel.Equal[T]),
		isGreater:      comparerOf(kernel.Greater[T]),
		isGreaterEqual: comparerOf(kernel.GreaterEqual[T]),
		isLess:         comparerOf(kernel.Less[T]),
		isLessEqual:    comparerOf(kernel.LessEqual[T]),
	}
}

// comparers is the table of kernels.
var comparers = map[tensor.DType][comparisons]comparer{
	tensor.Float32: comparersOf[float32](),
	tensor.Float64: comparersOf[float64](),
	tensor.Int8:    comparersOf[int8](),
	tensor.Int16:   comparersOf[int16](),
	tensor.Int32:   comparersOf[int32](),
	tensor.Int64:   comparersOf[int64](),
	tensor.Uint8:   comparersOf[uint8](),
	tensor.Uint16:  comparersOf[uint16](),
	tensor.Uint32:  comparersOf[uint32](),
	tensor.Uint64:  comparersOf[uint64](),
	tensor.Bool:    {isEqual: comparerOf(kernel.Equal[bool])},
	tensor.String: {isEqual: func(p *par.Pool, b *kernel.Broadcast, dst []bool, x, y *tensor.Tensor) {
		kernel.Equal(p, b, dst, x.Strings(), y.Strings())
	}},
}

func newCompare(k comparison) func(*Args) (Op, error) {
	return func(*Args) (Op, error) { return compare{k}, nil }
}

func (o compare) Infer(in []Fact) ([]Fact, error) {
	if _, err := commonDType(in); err != nil {
		return nil, err
	}
	f, err := broadcastFact(tensor.Bool, in)
	if err == nil && f.Ranked && len(f.Dims) <= 1 {
		f = o.elems(f, in)
	}
	return []Fact{f}, err
}

// elems compares extents: a symbol is never negative, and equals itself.
func (o compare) elems(f Fact, in []Fact) Fact {
	s, ok := f.Shape()
	if !ok || !in[0].DType.IsInteger() || s.Size() > maxElems {
		return f
	}
	n := s.Size()
	a, ok := elemsOf(in[0])
	b, ok2 := elemsOf(in[1])
	if !ok || !ok2 || len(a) != n && len(a) != 1 || len(b) != n && len(b) != 1 {
		return f
	}
	out := make([]ir.Dim, n)
	for i := range out {
		x, y := a[i%len(a)], b[i%len(b)]
		switch {
		case x.Known && y.Known:
			out[i] = truth(holds[o.kind](x.Value, y.Value))
		case SameDim(x, y):
			out[i] = truth(holds[o.kind](0, 0))
		case x.Known && x.Value < 0 && y.Sym != "":
			out[i] = truth(holds[o.kind](-1, 0))
		case y.Known && y.Value < 0 && x.Sym != "":
			out[i] = truth(holds[o.kind](0, -1))
		}
	}
	return withElems(f, out)
}

// holds are the comparisons of integers.
var holds = [comparisons]func(x, y int64) bool{
	isEqual:        func(x, y int64) bool { return x == y },
	isGreater:      func(x, y int64) bool { return x > y },
	isGreaterEqual: func(x, y int64) bool { return x >= y },
	isLess:         func(x, y int64) bool { return x < y },
	isLessEqual:    func(x, y int64) bool { return x <= y },
}

func truth(b bool) ir.Dim {
	if b {
		return known(1)
	}
	return known(0)
}

func (o compare) Bind(p *Binder, in, out []Fact) (Step, error) {
	if isNarrow(in[0].DType) {
		return viaFloat32(p, o, in, out)
	}
	run := comparers[in[0].DType][o.kind]
	if run == nil {
		return nil, fmt.Errorf("no comparison of %v", in[0].DType)
	}
	bc, err := planBroadcast(out[0].MustShape(), in[0].MustShape(), in[1].MustShape())
	if err != nil {
		return nil, err
	}
	return func(f *Frame, in, out []*tensor.Tensor) error {
		run(f.Pool, bc, tensor.Data[bool](out[0]), in[0], in[1])
		return nil
	}, nil
}
