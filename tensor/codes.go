package tensor

import (
	"fmt"

	"github.com/bonnx/bonnx/internal/half"
)

// codeType is the unsigned integer that holds the bits of one element of d.
func codeType(d DType) DType {
	switch d.Bits() {
	case 0, 128:
		return Undefined
	case 16:
		return Uint16
	case 32:
		return Uint32
	case 64:
		return Uint64
	}
	return Uint8
}

// Codes is the bits of every element as an unsigned integer of the same
// width, of 8 bits for packed types. It shares storage unless t is packed.
// Strings and complex128 have none.
func (t *Tensor) Codes() (*Tensor, error) {
	c, bits := codeType(t.dtype), t.dtype.Bits()
	if c == Undefined {
		return nil, fmt.Errorf("elements of %v have no codes", t)
	}
	if bits >= 8 {
		return &Tensor{dtype: c, shape: t.shape.Clone(), data: t.data}, nil
	}
	out := New(Uint8, t.shape...)
	half.Unpack(out.data, t.data, bits)
	return out, nil
}

// FromCodes is the inverse of Codes: the elements of type d that have the
// bits in codes.
func FromCodes(d DType, codes *Tensor) (*Tensor, error) {
	if !d.Valid() || codeType(d) != codes.dtype {
		return nil, fmt.Errorf("%v does not hold the bits of %v", codes, d)
	}
	if d.Bits() >= 8 {
		return &Tensor{dtype: d, shape: codes.shape.Clone(), data: codes.data}, nil
	}
	out := New(d, codes.shape...)
	half.Pack(out.data, codes.data, d.Bits())
	return out, nil
}
