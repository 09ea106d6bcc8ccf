package bonnx

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"strings"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// randomInput makes a tensor that suits a graph input.
func randomInput(v *ir.Value, shape []int, symbols map[string]int, seed uint64) (*tensor.Tensor, error) {
	tt := v.TensorType()
	if tt == nil {
		return nil, fmt.Errorf("type %v cannot be made up", v.Type)
	}
	shape, err := concreteShape(tt, shape, symbols)
	if err != nil {
		return nil, err
	}
	if !bounded(shape) {
		return nil, fmt.Errorf("%v is more than the %d elements that are made up; give it with --input", shape, maxMadeUp)
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(v.Name))
	r := rand.New(rand.NewPCG(seed, h.Sum64()))
	t := tensor.New(tt.Elem, shape...)
	switch tt.Elem {
	case tensor.Float32:
		fill(tensor.Data[float32](t), func() float32 { return float32(r.NormFloat64()) })
	case tensor.Float64:
		fill(tensor.Data[float64](t), r.NormFloat64)
	case tensor.Int64:
		n := indexBound(v)
		fill(tensor.Data[int64](t), func() int64 { return r.Int64N(n) })
	case tensor.Int32:
		n := indexBound(v)
		fill(tensor.Data[int32](t), func() int32 { return int32(r.Int64N(n)) })
	case tensor.Bool:
		fill(tensor.Data[bool](t), func() bool { return r.IntN(2) == 1 })
	default:
		return converted(tt.Elem, shape, indexBound(v), r)
	}
	return t, nil
}

// converted makes up what has no Go type of its own, such as float16.
func converted(d tensor.DType, shape []int, bound int64, r *rand.Rand) (*tensor.Tensor, error) {
	x := tensor.New(tensor.Float32, shape...)
	switch {
	case d.IsFloat():
		fill(tensor.Data[float32](x), func() float32 { return float32(r.NormFloat64()) })
	case d.IsInteger():
		fill(tensor.Data[float32](x), func() float32 { return float32(r.Int64N(min(bound, 100))) })
	default:
		return nil, fmt.Errorf("%v cannot be made up; give it with --input", d)
	}
	return x.Cast(d)
}

// maxMadeUp is the most elements of an input that is made up.
const maxMadeUp = 1 << 30

func bounded(shape []int) bool {
	n := 1
	for _, d := range shape {
		if d > 0 && n > maxMadeUp/d {
			return false
		}
		n *= d
	}
	return true
}

func fill[T any](s []T, f func() T) {
	for i := range s {
		s[i] = f()
	}
}

func concreteShape(tt *ir.TensorType, given []int, symbols map[string]int) ([]int, error) {
	if !tt.Ranked {
		if given == nil {
			return nil, fmt.Errorf("its shape is not declared; give one")
		}
		return given, nil
	}
	if given != nil && len(given) != len(tt.Dims) {
		return nil, fmt.Errorf("%v has %d extents, got %d", tt, len(tt.Dims), len(given))
	}
	shape := make([]int, len(tt.Dims))
	for i, d := range tt.Dims {
		switch {
		case given != nil:
			shape[i] = given[i]
		case d.Known && d.Value >= 0:
			shape[i] = int(d.Value)
		default:
			shape[i] = symbolExtent(d.Sym, i, symbols)
		}
		if d.Sym != "" {
			symbols[d.Sym] = shape[i]
		}
	}
	return shape, nil
}

// symbolExtent is what a symbol on an axis stands for, and what it stands for
// from now on: 2 on the first axis, else 8. Exporters write sums, too, such as
// "past_sequence_length + sequence_length".
func symbolExtent(sym string, axis int, symbols map[string]int) int {
	if n := symbols[sym]; n > 0 {
		return n
	}
	n := 8
	if parts := strings.Split(sym, " + "); len(parts) > 1 {
		n = 0
		for _, p := range parts {
			n += symbolExtent(p, axis, symbols)
		}
	} else if axis == 0 {
		n = 2
	}
	if sym != "" {
		symbols[sym] = n
	}
	return n
}

// indexBound is how large the integers of an input may be: the extent of the
// table that they look up, else 2 (masks, segments).
func indexBound(v *ir.Value) int64 {
	seen := map[*ir.Value]bool{}
	bound := int64(0)
	var walk func(v *ir.Value)
	walk = func(v *ir.Value) {
		if seen[v] {
			return
		}
		seen[v] = true
		for _, u := range v.Uses() {
			n := u.Node
			switch {
			case n.Is("Gather") && u.Index == 1:
				if table := n.Input(0); table.Data != nil && len(table.Data.Shape()) > 0 {
					bound = lowest(bound, int64(table.Data.Shape()[0]))
				}
			case n.Is("Cast"), n.Is("Identity"), n.Is("Reshape"), n.Is("Unsqueeze"), n.Is("Squeeze"):
				walk(n.Output(0))
			}
		}
	}
	walk(v)
	if bound < 1 {
		return 2
	}
	return bound
}

func lowest(a, b int64) int64 {
	if a == 0 {
		return b
	}
	return min(a, b)
}
