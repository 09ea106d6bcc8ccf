package tensor

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// parseStrings reads every string as a number and casts it to dst's type.
func parseStrings(dst, src *Tensor, o CastOptions) error {
	if dst.dtype.IsComplex() {
		return fmt.Errorf("no cast from %v to %v", src.dtype, dst.dtype)
	}
	ints := dst.dtype.IsInteger()
	f, n := make([]float64, len(src.strs)), make([]int64, len(src.strs))
	for i, s := range src.strs {
		s = strings.TrimSpace(s)
		if v, err := strconv.ParseInt(s, 10, 64); ints && err == nil {
			n[i] = v
			continue
		}
		if v, err := strconv.ParseUint(s, 10, 64); dst.dtype == Uint64 && err == nil {
			n[i] = int64(v)
			continue
		}
		v, err := strconv.ParseFloat(s, 64)
		if err != nil && !math.IsInf(v, 0) {
			return fmt.Errorf("cast of string %q to %v: not a number", clip(s), dst.dtype)
		}
		f[i] = v
		if ints {
			narrow(n[i:i+1], f[i:i+1], dst.dtype)
		}
	}
	if ints {
		return CastInto(dst, FromSlice(n, len(n)), o)
	}
	return CastInto(dst, FromSlice(f, len(f)), o)
}

func clip(s string) string {
	if len(s) > 40 {
		return s[:40] + "..."
	}
	return s
}

// formatStrings writes numbers in plain notation, floats with the fewest
// digits that read back as the same value of their type. Bools are 1 and 0.
func formatStrings(dst, src *Tensor) error {
	switch {
	case src.dtype.IsComplex():
		return fmt.Errorf("no cast from %v to %v", src.dtype, dst.dtype)
	case src.dtype.IsFloat():
		bits := 32
		if src.dtype == Float64 {
			bits = 64
		}
		v, err := src.Float64s()
		if err != nil {
			return err
		}
		for i, x := range v {
			dst.strs[i] = formatFloat(x, bits)
		}
	case src.dtype == Uint64:
		for i, x := range Data[uint64](src) {
			dst.strs[i] = strconv.FormatUint(x, 10)
		}
	default:
		v, err := src.Int64s()
		if err != nil {
			return err
		}
		for i, x := range v {
			dst.strs[i] = strconv.FormatInt(x, 10)
		}
	}
	return nil
}

func formatFloat(x float64, bits int) string {
	switch {
	case math.IsInf(x, 1):
		return "INF"
	case math.IsInf(x, -1):
		return "-INF"
	case x != x:
		return "NaN"
	}
	if a := math.Abs(x); a != 0 && (a < 1e-4 || a >= 1e16) {
		return strconv.FormatFloat(x, 'e', -1, bits)
	}
	return strconv.FormatFloat(x, 'f', -1, bits)
}

// Float64s are the elements as float64, of any numeric type or bool. Integers
// beyond 2^53 are rounded. Strings and complex numbers are errors.
func (t *Tensor) Float64s() ([]float64, error) {
	if t.dtype == String || t.dtype.IsComplex() {
		return nil, fmt.Errorf("%v holds no real numbers", t)
	}
	out := make([]float64, t.Size())
	return out, CastInto(FromSlice(out, len(out)), t, CastOptions{})
}

// Float32s are the elements as float32, rounded where need be; the storage
// itself where t is float32. Strings and complex numbers are errors.
func (t *Tensor) Float32s() ([]float32, error) {
	if t.dtype == Float32 {
		return Data[float32](t), nil
	}
	if t.dtype == String || t.dtype.IsComplex() {
		return nil, fmt.Errorf("%v holds no real numbers", t)
	}
	out := make([]float32, t.Size())
	return out, CastInto(FromSlice(out, len(out)), t, CastOptions{})
}

// Int64s are the elements of an integer or bool tensor. Other types, and
// uint64 values beyond int64, are errors.
func (t *Tensor) Int64s() ([]int64, error) {
	if !t.dtype.IsInteger() && t.dtype != Bool {
		return nil, fmt.Errorf("%v holds no integers", t)
	}
	out := make([]int64, t.Size())
	if err := CastInto(FromSlice(out, len(out)), t, CastOptions{}); err != nil {
		return nil, err
	}
	if t.dtype == Uint64 {
		for _, v := range out {
			if v < 0 {
				return nil, fmt.Errorf("%v: value %d does not fit int64", t, uint64(v))
			}
		}
	}
	return out, nil
}

// IntSlice is Int64s as ints: axes, shapes, indices.
func (t *Tensor) IntSlice() ([]int, error) {
	v, err := t.Int64s()
	if err != nil {
		return nil, err
	}
	out := make([]int, len(v))
	for i, x := range v {
		out[i] = int(x)
	}
	return out, nil
}
