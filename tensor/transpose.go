package tensor

import (
	"fmt"

	"github.com/bonnx/bonnx/internal/half"
)

// Transpose is a copy with the axes in another order: axis i of the result is
// axis perm[i] of t. Without perm the order is reversed, as in ONNX.
func (t *Tensor) Transpose(perm ...int) (*Tensor, error) {
	if len(perm) == 0 {
		for i := len(t.shape) - 1; i >= 0; i-- {
			perm = append(perm, i)
		}
	}
	if err := checkPerm(perm, len(t.shape)); err != nil {
		return nil, fmt.Errorf("transpose of %v: %w", t, err)
	}
	shape := make(Shape, len(perm))
	for i, p := range perm {
		shape[i] = t.shape[p]
	}
	out := New(t.dtype, shape...)
	dims, strides := walkOrder(shape, t.shape, perm)
	switch {
	case t.dtype == String:
		transpose(out.strs, t.strs, dims, strides)
	case t.dtype.Bits() < 8:
		transposePacked(out, t, dims, strides)
	default:
		transposeBytes(out, t, dims, strides)
	}
	return out, nil
}

func checkPerm(perm []int, rank int) error {
	if len(perm) != rank {
		return fmt.Errorf("permutation %v for rank %d", perm, rank)
	}
	seen := make([]bool, rank)
	for _, p := range perm {
		if p < 0 || p >= rank || seen[p] {
			return fmt.Errorf("%v is no permutation of %d axes", perm, rank)
		}
		seen[p] = true
	}
	return nil
}

// walkOrder is the result's extents with the source's stride for each, axes
// of extent 1 dropped and axes that stay together merged.
func walkOrder(shape, src Shape, perm []int) (dims, strides []int) {
	st := src.Strides()
	for i, p := range perm {
		d, s := shape[i], st[p]
		if d == 1 {
			continue
		}
		if k := len(dims) - 1; k >= 0 && strides[k] == s*d {
			dims[k], strides[k] = dims[k]*d, s
			continue
		}
		dims, strides = append(dims, d), append(strides, s)
	}
	return dims, strides
}

func transposeBytes(out, t *Tensor, dims, strides []int) {
	switch t.dtype.Bits() {
	case 8:
		transpose(out.data, t.data, dims, strides)
	case 16:
		transpose(slice[uint16](out, 0, out.Size()), slice[uint16](t, 0, t.Size()), dims, strides)
	case 32:
		transpose(slice[uint32](out, 0, out.Size()), slice[uint32](t, 0, t.Size()), dims, strides)
	case 64:
		transpose(slice[uint64](out, 0, out.Size()), slice[uint64](t, 0, t.Size()), dims, strides)
	default:
		transpose(Data[complex128](out), Data[complex128](t), dims, strides)
	}
}

func transposePacked(out, t *Tensor, dims, strides []int) {
	n, bits := t.Size(), t.dtype.Bits()
	src, dst := make([]uint8, n), make([]uint8, n)
	half.Unpack(src, t.data, bits)
	transpose(dst, src, dims, strides)
	half.Pack(out.data, dst, bits)
}

// transpose sets dst, in row-major order of dims, to the elements of src at
// the given strides.
func transpose[T any](dst, src []T, dims, strides []int) {
	if len(dst) == 0 {
		return
	}
	switch len(dims) {
	case 0:
		dst[0] = src[0]
	case 1:
		copyStrided(dst, src, strides[0])
	case 2:
		transpose2(dst, src, dims, strides)
	default:
		n := len(dst) / dims[0]
		for i := range dims[0] {
			transpose(dst[i*n:(i+1)*n], src[i*strides[0]:], dims[1:], strides[1:])
		}
	}
}

func copyStrided[T any](dst, src []T, stride int) {
	if stride == 1 {
		copy(dst, src)
		return
	}
	for i := range dst {
		dst[i] = src[i*stride]
	}
}

// transpose2 goes over tiles, so that both sides stay in the cache.
func transpose2[T any](dst, src []T, dims, strides []int) {
	const tile = 32
	rows, cols := dims[0], dims[1]
	if strides[1] == 1 {
		for i := range rows {
			copy(dst[i*cols:(i+1)*cols], src[i*strides[0]:])
		}
		return
	}
	for i0 := 0; i0 < rows; i0 += tile {
		for j0 := 0; j0 < cols; j0 += tile {
			j1 := min(j0+tile, cols)
			for i := i0; i < min(i0+tile, rows); i++ {
				row := dst[i*cols:]
				for j := j0; j < j1; j++ {
					row[j] = src[i*strides[0]+j*strides[1]]
				}
			}
		}
	}
}

// Rows is a view of entries lo to hi (exclusive) of the first axis. It panics
// on bounds outside of the axis and for elements below a byte.
func (t *Tensor) Rows(lo, hi int) *Tensor {
	if len(t.shape) == 0 || lo < 0 || hi < lo || hi > t.shape[0] || t.dtype != String && t.dtype.Bits() < 8 {
		panic(fmt.Sprintf("tensor: rows %d to %d of %v", lo, hi, t))
	}
	shape := t.shape.Clone()
	shape[0] = hi - lo
	n := Shape(shape[1:]).Size()
	if t.dtype == String {
		return &Tensor{dtype: String, shape: shape, strs: t.strs[lo*n : hi*n]}
	}
	size := t.dtype.Size(n)
	return &Tensor{dtype: t.dtype, shape: shape, data: t.data[lo*size : hi*size]}
}
