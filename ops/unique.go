package ops

import (
	"cmp"
	"slices"

	"github.com/bonnx/bonnx/tensor"
)

// unique lists the different entries along an axis, or without one the
// different elements, sorted or in order of appearance, with the place of each
// one's first appearance, the place in the list of every entry, and how often
// each appears. Shapes depend on data.
// https://onnx.ai/onnx/operators/onnx__Unique.html
type unique struct {
	axis         int
	flat, sorted bool
}

func newUnique(a *Args) (Op, error) {
	return unique{a.Int("axis", 0), !a.Has("axis"), a.Bool("sorted", true)}, nil
}

func (o unique) Infer(in []Fact) ([]Fact, error) {
	x := in[0]
	list := Of(tensor.Int64, unknown)
	out := []Fact{Of(x.DType, unknown), list, list, list}
	if o.flat {
		return out, nil
	}
	if !x.Ranked {
		out[0] = unranked(x.DType)
		return out, nil
	}
	axis, err := axisOf(x, o.axis)
	if err != nil {
		return nil, err
	}
	dims := slices.Clone(x.Dims)
	dims[axis] = unknown
	out[0], out[2] = Of(x.DType, dims...), Of(tensor.Int64, x.Dims[axis])
	return out, nil
}

func (unique) Bind(*Binder, []Fact, []Fact) (Step, error) { return bindDynamic() }

func (o unique) RunDynamic(_ Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	x := in[0]
	outer, n, inner := 1, x.Size(), 1
	shape := tensor.Shape{n}
	axis := 0
	if !o.flat {
		var err error
		if axis, err = axisIn(o.axis, x.Rank()); err != nil {
			return nil, err
		}
		shape = x.Shape().Clone()
		outer, n, inner = shape[:axis].Size(), shape[axis], shape[axis+1:].Size()
	}
	compare, err := orderOf(x)
	if err != nil {
		return nil, err
	}
	entries := func(i, j int) int {
		for o := range outer {
			for k := range inner {
				if c := compare((o*n+i)*inner+k, (o*n+j)*inner+k); c != 0 {
					return c
				}
			}
		}
		return 0
	}
	first, inverse, counts := distinct(n, entries, o.sorted)
	shape[axis] = len(first)
	y := tensor.New(x.DType(), shape...)
	moverFor(x.DType()).gather(nil, outer, n, inner, y, x, first)
	return []*tensor.Tensor{y, tensor.FromSlice(first, len(first)), tensor.FromSlice(inverse, n), tensor.FromSlice(counts, len(counts))}, nil
}

// orderOf orders the elements of a tensor by their places.
func orderOf(t *tensor.Tensor) (func(i, j int) int, error) {
	switch d := t.DType(); {
	case d == tensor.String:
		s := t.Strings()
		return func(i, j int) int { return cmp.Compare(s[i], s[j]) }, nil
	case d.IsInteger() && d != tensor.Uint64 || d == tensor.Bool:
		v, err := t.Int64s()
		return func(i, j int) int { return cmp.Compare(v[i], v[j]) }, err
	case d == tensor.Uint64:
		v := tensor.Data[uint64](t)
		return func(i, j int) int { return cmp.Compare(v[i], v[j]) }, nil
	}
	v, err := t.Float64s()
	return func(i, j int) int { return cmp.Compare(v[i], v[j]) }, err
}

// distinct finds which of n entries differ: where each first appears, which of
// them every entry is, and how many are of each.
func distinct(n int, compare func(i, j int) int, sorted bool) (first, inverse, counts []int64) {
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, compare)
	inverse = make([]int64, n)
	first, counts = []int64{}, []int64{}
	for k, i := range order {
		if k == 0 || compare(order[k-1], i) != 0 {
			first, counts = append(first, int64(i)), append(counts, 0)
		}
		at := len(first) - 1
		inverse[i] = int64(at)
		counts[at]++
	}
	if sorted {
		return first, inverse, counts
	}
	order = order[:len(first)]
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(first[a], first[b]) })
	rank := make([]int64, len(order))
	f, c := make([]int64, len(order)), make([]int64, len(order))
	for at, old := range order {
		rank[old], f[at], c[at] = int64(at), first[old], counts[old]
	}
	for i, old := range inverse {
		inverse[i] = rank[old]
	}
	return f, inverse, c
}
