package ops

import (
	"errors"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// Helpers of operators that compute shapes: what extents a small tensor holds,
// and which extents come out.

// elemsOf is Extents, for booleans too (0 and 1). All-unknown elements are
// still a number of elements.
func elemsOf(f Fact) ([]ir.Dim, bool) {
	if f.Rank() > 1 {
		return nil, false
	}
	if f.DType != tensor.Bool {
		return f.Extents()
	}
	if t := f.Value(); t != nil {
		if t.Size() > maxElems {
			return nil, false
		}
		dims := make([]ir.Dim, t.Size())
		for i, v := range tensor.Data[bool](t) {
			dims[i] = known(0)
			if v {
				dims[i] = known(1)
			}
		}
		return dims, true
	}
	if f.Elems != nil {
		return f.Elems, true
	}
	return withoutConst(f).Extents()
}

// withoutConst is f as it would be known were its value not constant.
func withoutConst(f Fact) Fact {
	f.Const = nil
	return f
}

// withElems adds what is known of the elements to the fact of a tensor of rank
// 0 or 1: a constant where all are known.
func withElems(f Fact, elems []ir.Dim) Fact {
	shape, ok := f.Shape()
	if !ok || len(shape) > 1 || shape.Size() != len(elems) || len(elems) > maxElems {
		return f
	}
	all, some := true, false
	for _, d := range elems {
		all = all && d.Known
		some = some || d.Known || d.Sym != ""
	}
	switch {
	case all && (f.DType.IsInteger() || f.DType == tensor.Bool):
		ints := make([]int, len(elems))
		for i, d := range elems {
			ints[i] = int(d.Value)
		}
		if t, err := tensor.Ints(ints...).Cast(f.DType); err == nil {
			return Constant(t.Reshape(shape...))
		}
	case some && (f.DType == tensor.Int64 || f.DType == tensor.Int32 || f.DType == tensor.Bool):
		f.Elems = slices.Clone(elems)
	}
	return f
}

// keepElems is withElems with the elements of an input of as many elements.
func keepElems(out, in Fact) Fact {
	if e, ok := elemsOf(in); ok {
		return withElems(out, e)
	}
	return out
}

// unranked is a fact of a dtype alone.
func unranked(d tensor.DType) Fact { return Fact{DType: d} }

// ofRank is a fact of a dtype and unknown extents.
func ofRank(d tensor.DType, rank int) Fact { return Of(d, make([]ir.Dim, rank)...) }

// axisOf makes an axis of a ranked fact absolute.
func axisOf(f Fact, axis int) (int, error) { return axisIn(axis, len(f.Dims)) }

func axisIn(axis, rank int) (int, error) {
	if axis < -rank || axis >= rank {
		return 0, fmt.Errorf("axis %d is outside of rank %d", axis, rank)
	}
	if axis < 0 {
		axis += rank
	}
	return axis, nil
}

// axesIn makes axes absolute; each may be given once.
func axesIn(axes []int, rank int) ([]int, error) {
	out := make([]int, len(axes))
	for i, a := range axes {
		a, err := axisIn(a, rank)
		if err != nil {
			return nil, err
		}
		if slices.Contains(out[:i], a) {
			return nil, fmt.Errorf("axis %d is given twice", a)
		}
		out[i] = a
	}
	return out, nil
}

// constInts are the values of an integer input that must be constant by now.
func constInts(f Fact, what string) ([]int, error) {
	if v, ok := f.Ints(); ok {
		return v, nil
	}
	if f.Const != nil {
		if _, err := f.Const.Tensor(); err != nil {
			return nil, fmt.Errorf("%s: %w", what, err)
		}
	}
	return nil, fmt.Errorf("%s is %v, which is no known integer", what, f)
}

// quotient is the extent that makes the extents den as many elements as num.
// ok is false where that certainly cannot be.
func quotient(num, den []ir.Dim) (q ir.Dim, ok bool) {
	num, den = slices.Clone(num), slices.Clone(den)
	num = slices.DeleteFunc(num, func(d ir.Dim) bool {
		i := slices.IndexFunc(den, func(e ir.Dim) bool { return SameDim(d, e) })
		if i >= 0 {
			den = slices.Delete(den, i, i+1)
		}
		return i >= 0
	})
	kn, sn := splitKnown(num)
	kd, sd := splitKnown(den)
	pn, pd := product(sn), product(sd)
	if len(sn) > 0 && len(sd) > 0 && SameDim(pn, pd) {
		pn, pd, sn, sd = known(1), known(1), nil, nil
	}
	switch {
	case len(sn) == 0 && len(sd) == 0:
		if kd == 0 || kn%kd != 0 {
			return unknown, false
		}
		return ir.Fixed(kn / kd), true
	case kd != 0 && kn%kd == 0:
		return dimOp('/', dimOp('*', ir.Fixed(kn/kd), pn), pd), true
	}
	return dimOp('/', dimOp('*', ir.Fixed(kn), pn), dimOp('*', ir.Fixed(kd), pd)), true
}

// splitKnown is the product of the known extents, and the others in order of
// their symbols.
func splitKnown(dims []ir.Dim) (int64, []ir.Dim) {
	k := int64(1)
	var rest []ir.Dim
	for _, d := range dims {
		if d.Known {
			k *= d.Value
			continue
		}
		rest = append(rest, d)
	}
	sort.Slice(rest, func(i, j int) bool { return rest[i].Sym < rest[j].Sym })
	return k, rest
}

// minDim is the smaller of two extents.
func minDim(a, b ir.Dim) ir.Dim {
	switch {
	case a.Known && b.Known:
		return ir.Fixed(min(a.Value, b.Value))
	case SameDim(a, b):
		return a
	case !a.Known && a.Sym == "" || !b.Known && b.Sym == "":
		return unknown
	}
	x, y := dimText(a), dimText(b)
	if y < x {
		x, y = y, x
	}
	if s := "min(" + x + "," + y + ")"; len(s) <= 200 {
		return ir.Symbol(s)
	}
	return unknown
}

// simplify takes back what the operator inv (the inverse of op) made: a is
// (x inv b) for some x.
func simplify(inv byte, a, b ir.Dim) (ir.Dim, bool) {
	t := dimText(b)
	inner, ok := strings.CutPrefix(a.Sym, "(")
	if inner, ok2 := strings.CutSuffix(inner, ")"); ok && ok2 {
		for _, cut := range []func() (string, bool){
			func() (string, bool) { return strings.CutPrefix(inner, t+string(inv)) },
			func() (string, bool) { return strings.CutSuffix(inner, string(inv)+t) },
		} {
			if rest, ok := cut(); ok {
				x := ir.Symbol(rest)
				if n, err := strconv.ParseInt(rest, 10, 64); err == nil {
					x = ir.Fixed(n)
				}
				if SameDim(dimOp(inv, x, b), a) {
					return x, true
				}
			}
		}
	}
	return unknown, false
}

var errLate = errors.New("a value that the plan needs is of the wrong type or shape")

var errDataShape = errors.New("shape does not agree with what was planned")

// late is the step of an operator whose kernels need values that are not
// constant when it is planned: it binds anew at each run.
func late(op Op) Step {
	return func(f *Frame, in, out []*tensor.Tensor) error {
		if f.late { // values are there, and of no use to the operator
			return errLate
		}
		facts := make([]Fact, len(in))
		for i, t := range in {
			if t != nil {
				facts[i] = Constant(t)
			}
		}
		of, err := op.Infer(facts)
		if err != nil {
			return err
		}
		of = of[:len(out)]
		for i, t := range out {
			if s, ok := of[i].Shape(); t != nil && (!ok || !s.Equal(t.Shape())) {
				return errDataShape
			}
		}
		var states []func() any
		b := NewBinder(&Cache{}, &states)
		step, err := op.Bind(b, facts, of)
		if err != nil {
			return err
		}
		inner := NewFrame(f.Pool, f.Rand, b.ScratchSize(), states)
		inner.late = true
		return step(inner, in, out)
	}
}

// isConst reports whether all of the inputs listed that are given are
// constant.
func isConst(in []Fact, list ...int) bool {
	for _, i := range list {
		if i < len(in) && !in[i].Absent() && in[i].Const == nil {
			return false
		}
	}
	return true
}

// at is input i, the zero Fact beyond the end.
func at(in []Fact, i int) Fact {
	if i < len(in) {
		return in[i]
	}
	return Fact{}
}

// arg is input i, nil beyond the end.
func arg(in []*tensor.Tensor, i int) *tensor.Tensor {
	if i < len(in) {
		return in[i]
	}
	return nil
}
