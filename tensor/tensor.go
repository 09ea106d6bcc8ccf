// Package tensor holds dense values: an element type, a shape and the
// elements in row-major order, with the few operations that graph surgery
// needs on them (transpose, reshape, cast, dequantize). It computes nothing
// else; kernels do.
package tensor

import (
	"fmt"
	"unsafe"
)

// Tensor is a dense value. Its elements are contiguous, row-major and little
// endian. Several tensors may share storage (Reshape, Row); a tensor is safe
// for concurrent reading.
type Tensor struct {
	dtype DType
	shape Shape
	data  []byte
	strs  []string
}

// New is a tensor of zeros (of empty strings). It panics where the shape has
// a negative extent.
func New(d DType, shape ...int) *Tensor {
	s := Shape(shape).Clone()
	n, err := s.CheckedSize()
	if err != nil || !d.Valid() {
		panic(fmt.Sprintf("tensor: New(%v, %v)", d, s))
	}
	t := &Tensor{dtype: d, shape: s}
	if d == String {
		t.strs = make([]string, n)
		return t
	}
	t.data = alignedBytes(d.Size(n))
	return t
}

// alignedBytes allocates n bytes that start at a multiple of 64 where they
// are enough to matter, else of 8, so that every element type may be viewed.
func alignedBytes(n int) []byte {
	if n == 0 {
		return nil
	}
	if n < 256 {
		return bytesOf(make([]uint64, (n+7)/8))[:n:n]
	}
	raw := bytesOf(make([]uint64, (n+7)/8+8))
	off := int(-uintptr(unsafe.Pointer(unsafe.SliceData(raw))) & 63)
	return raw[off : off+n : off+n]
}

// FromSlice wraps s without copying. len(s) must be the shape's size.
func FromSlice[T Elem](s []T, shape ...int) *Tensor {
	if len(s) != Shape(shape).Size() {
		panic(fmt.Sprintf("tensor: %d elements for shape %v", len(s), Shape(shape)))
	}
	return &Tensor{dtype: DTypeOf[T](), shape: Shape(shape).Clone(), data: bytesOf(s)}
}

// FromStrings wraps s without copying.
func FromStrings(s []string, shape ...int) *Tensor {
	if len(s) != Shape(shape).Size() {
		panic(fmt.Sprintf("tensor: %d strings for shape %v", len(s), Shape(shape)))
	}
	return &Tensor{dtype: String, shape: Shape(shape).Clone(), strs: s}
}

// FromBytes gives the bytes b the type d and the shape. b is shared where its
// address suits the element type, else copied. The length must fit exactly.
func FromBytes(d DType, shape Shape, b []byte) (*Tensor, error) {
	if !d.Valid() || d == String {
		return nil, fmt.Errorf("no raw bytes for element type %v", d)
	}
	n, err := shape.CheckedSize()
	if err != nil {
		return nil, err
	}
	if want := d.Size(n); len(b) != want {
		return nil, fmt.Errorf("%v%v needs %d bytes, got %d", d, shape, want, len(b))
	}
	if align := uintptr(max(1, min(8, d.Bits()/8))); len(b) > 0 && uintptr(unsafe.Pointer(unsafe.SliceData(b)))%align != 0 {
		c := alignedBytes(len(b))
		copy(c, b)
		b = c
	}
	return &Tensor{dtype: d, shape: shape.Clone(), data: b}, nil
}

// Scalar is a tensor of rank 0.
func Scalar[T Elem](v T) *Tensor { return FromSlice([]T{v}) }

// Ints is an int64 vector, ONNX's usual form of axes and shapes.
func Ints(v ...int) *Tensor {
	s := make([]int64, len(v))
	for i, x := range v {
		s[i] = int64(x)
	}
	return FromSlice(s, len(s))
}

// DType is the element type.
func (t *Tensor) DType() DType { return t.dtype }

// Shape is the tensor's shape; the caller must not change it.
func (t *Tensor) Shape() Shape { return t.shape }

// Rank is the number of dimensions.
func (t *Tensor) Rank() int { return len(t.shape) }

// Size is the number of elements.
func (t *Tensor) Size() int { return t.shape.Size() }

// Bytes is the storage itself, nil for strings.
func (t *Tensor) Bytes() []byte { return t.data }

// Strings is the storage of a string tensor, nil for the others.
func (t *Tensor) Strings() []string { return t.strs }

// Data is the storage seen as a slice of T. It panics where T is not how the
// element type is stored (see Elem): the caller must have looked at DType.
func Data[T Elem](t *Tensor) []T {
	if !storedAs[T](t.dtype) {
		panic(fmt.Sprintf("tensor: Data[%v] of a %v tensor", DTypeOf[T](), t.dtype))
	}
	if len(t.data) == 0 {
		return nil
	}
	var z T
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(t.data))), len(t.data)/int(unsafe.Sizeof(z)))
}

// Reset points t at other storage of the same element type: a runtime moves
// a tensor over its arena this way without allocating. The length of b must
// be the byte size of shape, which is kept, not copied.
func (t *Tensor) Reset(shape Shape, b []byte) {
	t.shape, t.data = shape, b
}

// Header is a tensor of the type d without elements (shape [0]), for Reset.
func Header(d DType) *Tensor { return &Tensor{dtype: d, shape: Shape{0}} }

// Clone is a deep copy.
func (t *Tensor) Clone() *Tensor {
	c := &Tensor{dtype: t.dtype, shape: t.shape.Clone()}
	if t.strs != nil {
		c.strs = append([]string{}, t.strs...)
		return c
	}
	c.data = alignedBytes(len(t.data))
	copy(c.data, t.data)
	return c
}

// Reshape is a view with another shape of the same size.
func (t *Tensor) Reshape(shape ...int) *Tensor {
	s := Shape(shape)
	if s.Size() != t.Size() {
		panic(fmt.Sprintf("tensor: reshape %v to %v", t.shape, s))
	}
	return &Tensor{dtype: t.dtype, shape: s.Clone(), data: t.data, strs: t.strs}
}

// Equal reports whether both have the same type, shape and bits.
func (t *Tensor) Equal(o *Tensor) bool {
	if t.dtype != o.dtype || !t.shape.Equal(o.shape) || len(t.strs) != len(o.strs) {
		return false
	}
	for i, s := range t.strs {
		if s != o.strs[i] {
			return false
		}
	}
	return string(t.data) == string(o.data)
}

// String names type and shape, never the elements.
func (t *Tensor) String() string { return t.dtype.String() + t.shape.String() }
