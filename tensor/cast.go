package tensor

import (
	"fmt"
	"math"
	"runtime"
	"unsafe"

	"github.com/bonnx/bonnx/internal/half"
)

// CastOptions are the attributes of ONNX Cast; the zero value is its default.
type CastOptions struct {
	// NoSaturate lets values too large for a float8 type become its infinity
	// or NaN instead of its largest value.
	NoSaturate bool
	// Round is how a value becomes a float8e8m0.
	Round Rounding
}

// Rounding is how a value becomes the power of two that a float8e8m0 is.
type Rounding = half.Round

// The rounding modes of ONNX Cast: the power above, the power below, the
// nearer one (ties up).
const (
	RoundUp      = half.Up
	RoundDown    = half.Down
	RoundNearest = half.Nearest
)

// Cast converts to element type d as ONNX Cast does by default. A tensor that
// has the type already is returned as it is.
//
// Floats round to nearest even; floats become integers by truncation, and
// integers lose their upper bits, as in C and NumPy; what is outside of int64
// or not a number becomes its smallest value first. Strings are parsed and
// formatted in plain notation. Complex types convert only to each other.
func (t *Tensor) Cast(d DType) (*Tensor, error) { return t.CastWith(d, CastOptions{}) }

// CastWith is Cast with options.
func (t *Tensor) CastWith(d DType, o CastOptions) (*Tensor, error) {
	if d == t.dtype {
		return t, nil
	}
	if !d.Valid() {
		return nil, fmt.Errorf("cast %v to %v", t.dtype, d)
	}
	dst := New(d, t.shape...)
	if err := CastInto(dst, t, o); err != nil {
		return nil, err
	}
	return dst, nil
}

// CastInto casts src into the storage of dst, which has as many elements and
// may not overlap. Nothing is allocated unless one of the two holds strings.
func CastInto(dst, src *Tensor, o CastOptions) error {
	n := src.Size()
	if dst.Size() != n {
		panic(fmt.Sprintf("tensor: cast of %v into %v", src, dst))
	}
	if dst.dtype == src.dtype {
		copy(dst.data, src.data)
		copy(dst.strs, src.strs)
		return nil
	}
	if castDirect(dst, src) {
		return nil
	}
	switch {
	case src.dtype == String:
		return parseStrings(dst, src, o)
	case dst.dtype == String:
		return formatStrings(dst, src)
	case src.dtype.IsComplex() || dst.dtype.IsComplex():
		return castComplex(dst, src)
	}
	castChunks(dst, src, n, o)
	return nil
}

// castDirect does the conversions that models are full of without a detour.
func castDirect(dst, src *Tensor) bool {
	switch [2]DType{src.dtype, dst.dtype} {
	case [2]DType{Float16, Float32}:
		half.DecodeF16(Data[float32](dst), Data[uint16](src))
	case [2]DType{BFloat16, Float32}:
		half.DecodeBF16(Data[float32](dst), Data[uint16](src))
	case [2]DType{Float32, Float16}:
		half.EncodeF16(Data[uint16](dst), Data[float32](src))
	case [2]DType{Float32, BFloat16}:
		half.EncodeBF16(Data[uint16](dst), Data[float32](src))
	case [2]DType{Float32, Float64}:
		convert(Data[float64](dst), Data[float32](src))
	case [2]DType{Float64, Float32}:
		convert(Data[float32](dst), Data[float64](src))
	case [2]DType{Int64, Float32}:
		convert(Data[float32](dst), Data[int64](src))
	case [2]DType{Int64, Int32}:
		convert(Data[int32](dst), Data[int64](src))
	case [2]DType{Int32, Int64}:
		convert(Data[int64](dst), Data[int32](src))
	case [2]DType{Uint8, Float32}:
		convert(Data[float32](dst), Data[uint8](src))
	case [2]DType{Int8, Float32}:
		convert(Data[float32](dst), Data[int8](src))
	case [2]DType{Float32, Int64}:
		truncate(Data[int64](dst), Data[float32](src))
	case [2]DType{Float32, Int32}:
		truncate(Data[int32](dst), Data[float32](src))
	case [2]DType{Float32, Uint8}:
		truncate(Data[uint8](dst), Data[float32](src))
	case [2]DType{Float32, Int8}:
		truncate(Data[int8](dst), Data[float32](src))
	case [2]DType{Bool, Float32}:
		choose(Data[float32](dst), slice[uint8](src, 0, src.Size()))
	case [2]DType{Bool, Int64}:
		choose(Data[int64](dst), slice[uint8](src, 0, src.Size()))
	default:
		return false
	}
	return true
}

type number interface {
	float32 | float64 | int8 | int16 | int32 | int64 | uint8 | uint16 | uint32 | uint64
}

func convert[D, S number](dst []D, src []S) {
	dst = dst[:len(src)]
	for i, v := range src {
		dst[i] = D(v)
	}
}

// truncate cuts floats to integers as narrow does.
func truncate[D number](dst []D, src []float32) {
	dst = dst[:len(src)]
	for i, v := range src {
		x := int64(math.MinInt64)
		if v >= -(1<<63) && v < 1<<63 {
			x = int64(v)
		}
		dst[i] = D(x)
	}
}

// choose is 1 for true and 0 for false.
func choose[D float32 | int64](dst []D, src []uint8) {
	dst = dst[:len(src)]
	for i, on := range src {
		var v D
		if on != 0 {
			v = 1
		}
		dst[i] = v
	}
}

func castComplex(dst, src *Tensor) error {
	switch {
	case src.dtype == Complex64 && dst.dtype == Complex128:
		for i, v := range Data[complex64](src) {
			Data[complex128](dst)[i] = complex128(v)
		}
	case src.dtype == Complex128 && dst.dtype == Complex64:
		for i, v := range Data[complex128](src) {
			Data[complex64](dst)[i] = complex64(v)
		}
	default:
		return fmt.Errorf("no cast from %v to %v", src.dtype, dst.dtype)
	}
	return nil
}

// chunk is how many elements pass through the wide form at a time; a multiple
// of 8, so that packed types start at a byte.
const chunk = 512

// wide holds a chunk in a form that loses nothing: floats as float64, integers
// and bools as int64, uint64 as the same bits with unsigned set.
type wide struct {
	f        [chunk]float64
	i        [chunk]int64
	unsigned bool
	float    bool
}

// castChunks is the general way: every type to wide, wide to every type.
func castChunks(dst, src *Tensor, n int, o CastOptions) {
	var own wide
	w := onStack(&own)
	w.float = src.dtype.IsFloat()
	w.unsigned = src.dtype == Uint64
	for at := 0; at < n; at += chunk {
		k := min(chunk, n-at)
		s, d := &codecs[src.dtype], &codecs[dst.dtype]
		if w.float {
			s.readF(w.f[:k], src, at)
		} else {
			s.readI(w.i[:k], src, at)
		}
		if w.float && dst.dtype.IsFloat() {
			d.writeF(dst, at, w.f[:k], o)
			continue
		}
		if !w.float && dst.dtype.IsFloat() {
			widen(w.f[:k], w.i[:k], w.unsigned, dst.dtype == Float32)
			d.writeF(dst, at, w.f[:k], o)
			continue
		}
		if w.float {
			narrow(w.i[:k], w.f[:k], dst.dtype)
		}
		d.writeI(dst, at, w.i[:k])
	}
	runtime.KeepAlive(&own)
}

// onStack is w, hidden from escape analysis: the codecs are called through a
// table, and keep nothing. Inlined, the result would be kept as the integer that
// it is hidden in, and be wrong once the stack has grown and moved.
//
//go:noinline
func onStack(w *wide) *wide {
	at := uintptr(unsafe.Pointer(w))
	return *(**wide)(unsafe.Pointer(&at))
}

// widen makes integers floats, rounded once for a float32 result.
func widen(dst []float64, src []int64, unsigned, single bool) {
	for i, v := range src {
		switch {
		case unsigned && single:
			dst[i] = float64(float32(uint64(v)))
		case unsigned:
			dst[i] = float64(uint64(v))
		case single:
			dst[i] = float64(float32(v))
		default:
			dst[i] = float64(v)
		}
	}
}

// narrow makes floats integers: truncated, or for bool whether not zero.
func narrow(dst []int64, src []float64, to DType) {
	for i, v := range src {
		switch {
		case to == Bool:
			dst[i] = 0
			if v != 0 {
				dst[i] = 1
			}
		case to == Uint64 && v >= 1<<63 && v < 1<<64:
			dst[i] = int64(uint64(v))
		case v >= -(1<<63) && v < 1<<63:
			dst[i] = int64(v)
		default:
			dst[i] = math.MinInt64
		}
	}
}

// codec moves elements between a tensor and the wide form, from element at.
type codec struct {
	readF  func(dst []float64, t *Tensor, at int)
	writeF func(t *Tensor, at int, src []float64, o CastOptions)
	readI  func(dst []int64, t *Tensor, at int)
	writeI func(t *Tensor, at int, src []int64)
}

// codecs is the table of all types but strings and complex numbers.
var codecs = [...]codec{
	Float32:        floatCodec[float32](),
	Float64:        floatCodec[float64](),
	Float16:        narrowCodec(half.F16ToF32, half.F64ToF16),
	BFloat16:       narrowCodec(half.BF16ToF32, half.F64ToBF16),
	Float8E4M3FN:   miniCodec(half.E4M3FN),
	Float8E4M3FNUZ: miniCodec(half.E4M3FNUZ),
	Float8E5M2:     miniCodec(half.E5M2),
	Float8E5M2FNUZ: miniCodec(half.E5M2FNUZ),
	Float8E8M0:     miniCodec(half.E8M0),
	Float4E2M1:     float4Codec(),
	Int8:           intCodec[int8](),
	Int16:          intCodec[int16](),
	Int32:          intCodec[int32](),
	Int64:          intCodec[int64](),
	Uint8:          intCodec[uint8](),
	Uint16:         intCodec[uint16](),
	Uint32:         intCodec[uint32](),
	Uint64:         intCodec[uint64](),
	Bool:           boolCodec(),
	Int4:           packedCodec(4, true),
	Uint4:          packedCodec(4, false),
	Int2:           packedCodec(2, true),
	Uint2:          packedCodec(2, false),
}

func floatCodec[T Float]() codec {
	return codec{
		readF:  func(dst []float64, t *Tensor, at int) { convert(dst, slice[T](t, at, len(dst))) },
		writeF: func(t *Tensor, at int, src []float64, _ CastOptions) { convert(slice[T](t, at, len(src)), src) },
	}
}

func intCodec[T int8 | int16 | int32 | int64 | uint8 | uint16 | uint32 | uint64]() codec {
	return codec{
		readI:  func(dst []int64, t *Tensor, at int) { convert(dst, slice[T](t, at, len(dst))) },
		writeI: func(t *Tensor, at int, src []int64) { convert(slice[T](t, at, len(src)), src) },
	}
}

func narrowCodec(dec func(uint16) float32, enc func(float64) uint16) codec {
	return codec{
		readF: func(dst []float64, t *Tensor, at int) {
			for i, b := range slice[uint16](t, at, len(dst)) {
				dst[i] = float64(dec(b))
			}
		},
		writeF: func(t *Tensor, at int, src []float64, _ CastOptions) {
			d := slice[uint16](t, at, len(src))
			for i, v := range src {
				d[i] = enc(v)
			}
		},
	}
}

func miniCodec(f half.Format) codec {
	return codec{
		readF: func(dst []float64, t *Tensor, at int) {
			for i, b := range slice[uint8](t, at, len(dst)) {
				dst[i] = float64(half.Decode(f, b))
			}
		},
		writeF: func(t *Tensor, at int, src []float64, o CastOptions) {
			d := slice[uint8](t, at, len(src))
			for i, v := range src {
				d[i] = encodeMini(f, v, o)
			}
		},
	}
}

func encodeMini(f half.Format, v float64, o CastOptions) uint8 {
	if f == half.E8M0 {
		return half.EncodeE8M0(half.OddF32(v), !o.NoSaturate, o.Round)
	}
	return half.Encode(f, half.OddF32(v), !o.NoSaturate)
}

func float4Codec() codec {
	return codec{
		readF: func(dst []float64, t *Tensor, at int) {
			b := t.data[at/2:]
			for i := range dst {
				dst[i] = float64(half.Decode(half.E2M1, half.Get(b, 4, i)))
			}
		},
		writeF: func(t *Tensor, at int, src []float64, o CastOptions) {
			var buf [chunk]uint8
			for i, v := range src {
				buf[i] = encodeMini(half.E2M1, v, o)
			}
			half.Pack(t.data[at/2:], buf[:len(src)], 4)
		},
	}
}

func packedCodec(bits int, signed bool) codec {
	return codec{
		readI: func(dst []int64, t *Tensor, at int) {
			b := t.data[at*bits/8:]
			for i := range dst {
				u := half.Get(b, bits, i)
				dst[i] = int64(u)
				if signed {
					dst[i] = int64(half.SignExtend(u, bits))
				}
			}
		},
		writeI: func(t *Tensor, at int, src []int64) {
			var buf [chunk]uint8
			convert(buf[:], src)
			half.Pack(t.data[at*bits/8:], buf[:len(src)], bits)
		},
	}
}

func boolCodec() codec {
	return codec{
		readI: func(dst []int64, t *Tensor, at int) {
			for i, b := range slice[uint8](t, at, len(dst)) {
				dst[i] = 0
				if b != 0 {
					dst[i] = 1
				}
			}
		},
		writeI: func(t *Tensor, at int, src []int64) {
			d := slice[uint8](t, at, len(src))
			for i, v := range src {
				d[i] = 0
				if v != 0 {
					d[i] = 1
				}
			}
		},
	}
}

// slice is n elements from element at, without Data's check: a codec's T is
// right by the table, and bools read as bytes there.
func slice[T number](t *Tensor, at, n int) []T {
	if n == 0 {
		return nil
	}
	var z T
	size := int(unsafe.Sizeof(z))
	b := t.data[at*size : (at+n)*size]
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(b))), n)
}
