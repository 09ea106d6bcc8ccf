package onnxgo

import (
	"fmt"
	"slices"

	gorgonia "gorgonia.org/tensor"

	"github.com/bonnx/bonnx/tensor"
)

// conversions has a row for each element type that both sides have.
var conversions = []struct {
	dtype tensor.DType
	// wrap makes a tensor of a slice or a single element, laid out by shape
	// and strides; ok is false where data is of another type.
	wrap func(data any, shape, strides []int) (t *tensor.Tensor, ok bool)
	// elems copies the elements of a tensor of this type.
	elems func(t *tensor.Tensor) any
}{
	{tensor.Float32, wrap[float32], elems[float32]},
	{tensor.Float64, wrap[float64], elems[float64]},
	{tensor.Int64, wrap[int64], elems[int64]},
	{tensor.Int32, wrap[int32], elems[int32]},
	{tensor.Int16, wrap[int16], elems[int16]},
	{tensor.Int8, wrap[int8], elems[int8]},
	{tensor.Uint64, wrap[uint64], elems[uint64]},
	{tensor.Uint32, wrap[uint32], elems[uint32]},
	{tensor.Uint16, wrap[uint16], elems[uint16]},
	{tensor.Uint8, wrap[uint8], elems[uint8]},
	{tensor.Bool, wrap[bool], elems[bool]},
	{tensor.Complex64, wrap[complex64], elems[complex64]},
	{tensor.Complex128, wrap[complex128], elems[complex128]},
	{tensor.String, wrapStrings, func(t *tensor.Tensor) any { return slices.Clone(t.Strings()) }},
	{tensor.Int64, wrapInts, nil}, // Go's int, which files do not have
}

// toTensor is t as bonnx has tensors. It shares t's storage where that is
// dense and row-major.
func toTensor(t gorgonia.Tensor) (*tensor.Tensor, error) {
	d, ok := t.(*gorgonia.Dense)
	if !ok {
		return nil, fmt.Errorf("a tensor of type %T; a *tensor.Dense is needed", t)
	}
	if d.IsMasked() {
		return nil, fmt.Errorf("a masked tensor")
	}
	if !d.IsNativelyAccessible() {
		return nil, fmt.Errorf("a tensor whose storage is not in memory")
	}
	shape := slices.Clone([]int(d.Shape()))
	data := d.Data()
	for _, row := range conversions {
		if out, ok := row.wrap(data, shape, d.Strides()); ok {
			return out, nil
		}
	}
	return nil, fmt.Errorf("elements of type %v", d.Dtype())
}

// fromTensor copies t to a tensor as onnx-go has them.
func fromTensor(t *tensor.Tensor) (gorgonia.Tensor, error) {
	if t.Size() == 0 {
		return nil, fmt.Errorf("result %v has no elements, and gorgonia has no such tensors", t)
	}
	for _, row := range conversions {
		if row.dtype == t.DType() && row.elems != nil {
			shape := slices.Clone([]int(t.Shape()))
			return gorgonia.New(gorgonia.WithShape(shape...), gorgonia.WithBacking(row.elems(t))), nil
		}
	}
	return nil, fmt.Errorf("result %v: gorgonia has no such element type", t)
}

func wrap[T tensor.Elem](data any, shape, strides []int) (*tensor.Tensor, bool) {
	s, ok := arrange[T](data, shape, strides)
	if !ok {
		return nil, false
	}
	return tensor.FromSlice(s, shape...), true
}

func wrapStrings(data any, shape, strides []int) (*tensor.Tensor, bool) {
	s, ok := arrange[string](data, shape, strides)
	if !ok {
		return nil, false
	}
	return tensor.FromStrings(s, shape...), true
}

func wrapInts(data any, shape, strides []int) (*tensor.Tensor, bool) {
	s, ok := arrange[int](data, shape, strides)
	if !ok {
		return nil, false
	}
	wide := make([]int64, len(s))
	for i, x := range s {
		wide[i] = int64(x)
	}
	return tensor.FromSlice(wide, shape...), true
}

func elems[T tensor.Elem](t *tensor.Tensor) any { return slices.Clone(tensor.Data[T](t)) }

// arrange is the elements in row-major order: data itself where it is in that
// order, and else (transposed, a slice of columns, column-major) a copy. A
// tensor of one element has its data bare.
func arrange[T any](data any, shape, strides []int) ([]T, bool) {
	if one, ok := data.(T); ok {
		return []T{one}, true
	}
	src, ok := data.([]T)
	if !ok {
		return nil, false
	}
	size := tensor.Shape(shape).Size()
	if len(strides) != len(shape) || slices.Equal(strides, rowMajor(shape)) {
		return src[:size], true
	}
	dst := make([]T, size)
	index := make([]int, len(shape))
	for i := range dst {
		at := 0
		for d, x := range index {
			at += x * strides[d]
		}
		dst[i] = src[at]
		advance(index, shape)
	}
	return dst, true
}

// advance moves index to the next position in row-major order.
func advance(index, shape []int) {
	for d := len(index) - 1; d >= 0; d-- {
		if index[d]++; index[d] < shape[d] {
			return
		}
		index[d] = 0
	}
}

func rowMajor(shape []int) []int {
	strides := make([]int, len(shape))
	n := 1
	for d := len(shape) - 1; d >= 0; d-- {
		strides[d] = n
		n *= shape[d]
	}
	return strides
}
