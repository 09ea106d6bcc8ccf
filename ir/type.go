package ir

import (
	"strconv"
	"strings"

	"github.com/bonnx/bonnx/tensor"
)

// Type is the declared type of a value: one of TensorType, SparseTensorType,
// SequenceType, OptionalType, MapType, OpaqueType. A type is immutable:
// change a value's type by giving it another.
type Type interface {
	String() string
	isType()
}

// Dim is one extent of a declared shape: a number, a symbol, or neither
// (unknown).
type Dim struct {
	Value int64  // the extent, where Known
	Known bool   // Value counts
	Sym   string // the symbol, "" where Known or unknown
}

// Known and symbolic extents.
func Fixed(n int64) Dim { return Dim{Value: n, Known: true} }

// Symbol is a symbolic extent.
func Symbol(s string) Dim { return Dim{Sym: s} }

// String is the number, the symbol, or "?".
func (d Dim) String() string {
	switch {
	case d.Known:
		return strconv.FormatInt(d.Value, 10)
	case d.Sym != "":
		return d.Sym
	}
	return "?"
}

// TensorType is an element type and, where Ranked, a shape.
type TensorType struct {
	Elem   tensor.DType
	Ranked bool
	Dims   []Dim
}

// SparseTensorType is like TensorType for sparse_tensor_type.
type SparseTensorType struct {
	Elem   tensor.DType
	Ranked bool
	Dims   []Dim
}

// SequenceType is a sequence of values of one type.
type SequenceType struct{ Elem Type }

// OptionalType is a value of a type or nothing.
type OptionalType struct{ Elem Type }

// MapType maps keys of an element type to values.
type MapType struct {
	Key  tensor.DType
	Elem Type
}

// OpaqueType is a type that only its domain knows.
type OpaqueType struct{ Domain, Name string }

func (*TensorType) isType()       {}
func (*SparseTensorType) isType() {}
func (*SequenceType) isType()     {}
func (*OptionalType) isType()     {}
func (*MapType) isType()          {}
func (*OpaqueType) isType()       {}

func dimsString(ranked bool, dims []Dim) string {
	if !ranked {
		return "[...]"
	}
	s := make([]string, len(dims))
	for i, d := range dims {
		s[i] = d.String()
	}
	return "[" + strings.Join(s, " ") + "]"
}

// String is like float32[batch 64].
func (t *TensorType) String() string { return t.Elem.String() + dimsString(t.Ranked, t.Dims) }

// String is like sparse(float32[64]).
func (t *SparseTensorType) String() string {
	return "sparse(" + t.Elem.String() + dimsString(t.Ranked, t.Dims) + ")"
}

// String is like seq(float32[...]).
func (t *SequenceType) String() string { return "seq(" + typeString(t.Elem) + ")" }

// String is like optional(float32[...]).
func (t *OptionalType) String() string { return "optional(" + typeString(t.Elem) + ")" }

// String is like map(int64,float32[...]).
func (t *MapType) String() string { return "map(" + t.Key.String() + "," + typeString(t.Elem) + ")" }

// String is the qualified name.
func (t *OpaqueType) String() string { return t.Domain + "." + t.Name }

func typeString(t Type) string {
	if t == nil {
		return "?"
	}
	return t.String()
}

// Tensor makes a ranked tensor type.
func Tensor(elem tensor.DType, dims ...Dim) *TensorType {
	return &TensorType{Elem: elem, Ranked: true, Dims: dims}
}

// TensorOf is the type of a concrete tensor.
func TensorOf(elem tensor.DType, shape tensor.Shape) *TensorType {
	dims := make([]Dim, len(shape))
	for i, n := range shape {
		dims[i] = Fixed(int64(n))
	}
	return Tensor(elem, dims...)
}
