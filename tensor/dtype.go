package tensor

import (
	"fmt"
	"unsafe"
)

// DType is an element type. The numbers are those of ONNX's
// TensorProto.DataType, so a DType can be written to a file as it is.
type DType uint8

// The element types of ONNX up to IR version 13.
const (
	Undefined      DType = 0
	Float32        DType = 1
	Uint8          DType = 2
	Int8           DType = 3
	Uint16         DType = 4
	Int16          DType = 5
	Int32          DType = 6
	Int64          DType = 7
	String         DType = 8
	Bool           DType = 9
	Float16        DType = 10
	Float64        DType = 11
	Uint32         DType = 12
	Uint64         DType = 13
	Complex64      DType = 14
	Complex128     DType = 15
	BFloat16       DType = 16
	Float8E4M3FN   DType = 17
	Float8E4M3FNUZ DType = 18
	Float8E5M2     DType = 19
	Float8E5M2FNUZ DType = 20
	Uint4          DType = 21
	Int4           DType = 22
	Float4E2M1     DType = 23
	Float8E8M0     DType = 24
	Uint2          DType = 25
	Int2           DType = 26
)

type kind uint8

const (
	kindNone kind = iota
	kindFloat
	kindSigned
	kindUnsigned
	kindBool
	kindString
	kindComplex
)

// dtypes is the one table of what is known about each element type.
var dtypes = [...]struct {
	name string
	bits int // in memory and in raw_data; 0 for strings
	kind kind
}{
	Undefined:      {"undefined", 0, kindNone},
	Float32:        {"float32", 32, kindFloat},
	Uint8:          {"uint8", 8, kindUnsigned},
	Int8:           {"int8", 8, kindSigned},
	Uint16:         {"uint16", 16, kindUnsigned},
	Int16:          {"int16", 16, kindSigned},
	Int32:          {"int32", 32, kindSigned},
	Int64:          {"int64", 64, kindSigned},
	String:         {"string", 0, kindString},
	Bool:           {"bool", 8, kindBool},
	Float16:        {"float16", 16, kindFloat},
	Float64:        {"float64", 64, kindFloat},
	Uint32:         {"uint32", 32, kindUnsigned},
	Uint64:         {"uint64", 64, kindUnsigned},
	Complex64:      {"complex64", 64, kindComplex},
	Complex128:     {"complex128", 128, kindComplex},
	BFloat16:       {"bfloat16", 16, kindFloat},
	Float8E4M3FN:   {"float8e4m3fn", 8, kindFloat},
	Float8E4M3FNUZ: {"float8e4m3fnuz", 8, kindFloat},
	Float8E5M2:     {"float8e5m2", 8, kindFloat},
	Float8E5M2FNUZ: {"float8e5m2fnuz", 8, kindFloat},
	Uint4:          {"uint4", 4, kindUnsigned},
	Int4:           {"int4", 4, kindSigned},
	Float4E2M1:     {"float4e2m1", 4, kindFloat},
	Float8E8M0:     {"float8e8m0", 8, kindFloat},
	Uint2:          {"uint2", 2, kindUnsigned},
	Int2:           {"int2", 2, kindSigned},
}

// Valid reports whether d is an element type that a tensor can have.
func (d DType) Valid() bool { return d != Undefined && int(d) < len(dtypes) }

// String is the type's ONNX name in lower case, such as "float32".
func (d DType) String() string {
	if int(d) >= len(dtypes) {
		return fmt.Sprintf("dtype(%d)", uint8(d))
	}
	return dtypes[d].name
}

// Bits is the size of an element in bits; 0 for strings and invalid types.
func (d DType) Bits() int {
	if int(d) >= len(dtypes) {
		return 0
	}
	return dtypes[d].bits
}

// Size is the number of bytes that n elements of d take, elements below a
// byte packed, the last byte padded. It is 0 for strings.
func (d DType) Size(n int) int {
	bits := d.Bits()
	if bits >= 8 {
		return n * (bits / 8)
	}
	if bits == 0 {
		return 0
	}
	per := 8 / bits
	return (n + per - 1) / per
}

// IsFloat reports whether d is a floating-point type of any width.
func (d DType) IsFloat() bool { return d.is(kindFloat) }

// IsInteger reports whether d is a signed or unsigned integer type.
func (d DType) IsInteger() bool { return d.is(kindSigned) || d.is(kindUnsigned) }

// IsSigned reports whether d is a signed integer type.
func (d DType) IsSigned() bool { return d.is(kindSigned) }

// IsComplex reports whether d is complex64 or complex128.
func (d DType) IsComplex() bool { return d.is(kindComplex) }

func (d DType) is(k kind) bool { return int(d) < len(dtypes) && dtypes[d].kind == k }

// Elem lists the Go types whose slices can be the storage of a tensor.
// float16 and bfloat16 are stored as uint16 bit patterns, types of 8 bits and
// less as uint8 (below 8 bits packed, first element in the low bits).
type Elem interface {
	float32 | float64 | int8 | int16 | int32 | int64 | uint8 | uint16 | uint32 | uint64 | bool | complex64 | complex128
}

// Float lists the types that kernels and gradients are generic over.
type Float interface{ float32 | float64 }

// DTypeOf is the DType whose natural Go type is T.
func DTypeOf[T Elem]() DType {
	var z T
	switch any(z).(type) {
	case float32:
		return Float32
	case float64:
		return Float64
	case int8:
		return Int8
	case int16:
		return Int16
	case int32:
		return Int32
	case int64:
		return Int64
	case uint8:
		return Uint8
	case uint16:
		return Uint16
	case uint32:
		return Uint32
	case uint64:
		return Uint64
	case bool:
		return Bool
	case complex64:
		return Complex64
	default:
		return Complex128
	}
}

// storedAs reports whether elements of d may be seen as a slice of T: the
// natural type, or for narrow floats and packed types the unsigned integer
// that holds the bits.
func storedAs[T Elem](d DType) bool {
	if d == DTypeOf[T]() {
		return true
	}
	var z T
	switch any(z).(type) {
	case uint16:
		return d == Float16 || d == BFloat16
	case uint8:
		return d.Bits() <= 8 && d.Bits() > 0 && d != Int8 && d != Bool
	}
	return false
}

func bytesOf[T Elem](s []T) []byte {
	var z T
	if len(s) == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(s))), len(s)*int(unsafe.Sizeof(z)))
}
