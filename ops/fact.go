package ops

import (
	"slices"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// Fact is what is known of a value before it is computed. The zero Fact
// stands for an input that is left out, and for a value of which nothing is
// known.
type Fact struct {
	DType  tensor.DType
	Ranked bool     // Dims counts
	Dims   []ir.Dim // extents, each known, symbolic or unknown
	// Const is the value where it is constant. It is lazy: see Value.
	Const ir.Data
	// Elems are the elements of a small integer tensor of rank 0 or 1 that is
	// made of extents (what Shape gives), where at least their number is known.
	Elems []ir.Dim
}

// Of is a fact of a dtype and extents.
func Of(d tensor.DType, dims ...ir.Dim) Fact { return Fact{DType: d, Ranked: true, Dims: dims} }

// Concrete is a fact of a dtype and a shape.
func Concrete(d tensor.DType, shape ...int) Fact {
	dims := make([]ir.Dim, len(shape))
	for i, n := range shape {
		dims[i] = known(n)
	}
	return Of(d, dims...)
}

// Constant is the fact of a known value.
func Constant(t *tensor.Tensor) Fact { return ConstantData(ir.Dense(t)) }

// ConstantData is the fact of a lazy constant.
func ConstantData(d ir.Data) Fact {
	f := Concrete(d.DType(), d.Shape()...)
	f.Const = d
	return f
}

// FromType is what a declared type says.
func FromType(t ir.Type) Fact {
	tt, ok := t.(*ir.TensorType)
	if !ok {
		return Fact{}
	}
	f := Fact{DType: tt.Elem, Ranked: tt.Ranked, Dims: slices.Clone(tt.Dims)}
	for i, d := range f.Dims {
		if d.Known && d.Value < 0 { // some exporters write -1 for "any"
			f.Dims[i] = unknown
		}
	}
	return f
}

// Type is the fact as a declared type.
func (f Fact) Type() ir.Type {
	return &ir.TensorType{Elem: f.DType, Ranked: f.Ranked, Dims: slices.Clone(f.Dims)}
}

// Absent reports whether the fact is of an input that is left out.
func (f Fact) Absent() bool { return f.DType == tensor.Undefined }

// Rank is the number of dimensions, -1 where unknown.
func (f Fact) Rank() int {
	if !f.Ranked {
		return -1
	}
	return len(f.Dims)
}

// Dim is extent i, negative counting from the end; unknown where unranked or
// out of range.
func (f Fact) Dim(i int) ir.Dim {
	if i < 0 {
		i += len(f.Dims)
	}
	if i < 0 || i >= len(f.Dims) {
		return unknown
	}
	return f.Dims[i]
}

// Shape is the shape where every extent is known.
func (f Fact) Shape() (tensor.Shape, bool) {
	if !f.Ranked {
		return nil, false
	}
	s := make(tensor.Shape, len(f.Dims))
	for i, d := range f.Dims {
		if !d.Known || d.Value < 0 {
			return nil, false
		}
		s[i] = int(d.Value)
	}
	return s, true
}

// MustShape is Shape for facts that a plan made concrete.
func (f Fact) MustShape() tensor.Shape {
	s, ok := f.Shape()
	if !ok {
		panic("ops: shape of " + f.String() + " is not concrete")
	}
	return s
}

// Value is the constant, nil where there is none or it cannot be read (what
// loads the model reports that).
func (f Fact) Value() *tensor.Tensor {
	if f.Const == nil {
		return nil
	}
	t, err := f.Const.Tensor()
	if err != nil {
		return nil
	}
	return t
}

// Extents are the elements of an integer tensor of rank 0 or 1, as far as they
// are known.
func (f Fact) Extents() ([]ir.Dim, bool) {
	if f.Elems != nil {
		return f.Elems, true
	}
	ints, ok := f.Ints()
	if ok {
		dims := make([]ir.Dim, len(ints))
		for i, n := range ints {
			dims[i] = known(n)
		}
		return dims, true
	}
	if f.Rank() == 1 && f.Dims[0].Known && f.Dims[0].Value >= 0 && f.Dims[0].Value <= maxElems {
		return make([]ir.Dim, f.Dims[0].Value), true
	}
	return nil, false
}

// maxElems bounds how many elements Elems follows: shapes, not data.
const maxElems = 64

// Ints are the elements of a constant of an integer type, or of Elems where
// all are known.
func (f Fact) Ints() ([]int, bool) {
	if f.Const == nil {
		if f.Elems == nil {
			return nil, false
		}
		out := make([]int, len(f.Elems))
		for i, d := range f.Elems {
			if !d.Known {
				return nil, false
			}
			out[i] = int(d.Value)
		}
		return out, true
	}
	t := f.Value()
	if t == nil {
		return nil, false
	}
	switch t.DType() {
	case tensor.Int64:
		return toInts(tensor.Data[int64](t)), true
	case tensor.Int32:
		return toInts(tensor.Data[int32](t)), true
	}
	return nil, false
}

func toInts[T int32 | int64](s []T) []int {
	out := make([]int, len(s))
	for i, x := range s {
		out[i] = int(x)
	}
	return out
}

// String is like float32[batch 64], with "const" before a constant.
func (f Fact) String() string {
	s := f.DType.String()
	if f.Ranked {
		s += dimsString(f.Dims)
	} else {
		s += "[...]"
	}
	if f.Const != nil {
		s = "const " + s
	}
	return s
}

// WithoutValue is a fact of the same type and shape as f, its value unknown.
func (f Fact) WithoutValue() Fact { return Fact{DType: f.DType, Ranked: f.Ranked, Dims: f.Dims} }
