package tensor

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Shape is the extents of a tensor, outermost first. A scalar has none.
type Shape []int

// Size is the number of elements; 1 for a scalar.
func (s Shape) Size() int {
	n := 1
	for _, d := range s {
		n *= d
	}
	return n
}

// Equal reports whether both shapes have the same extents.
func (s Shape) Equal(o Shape) bool { return slices.Equal(s, o) }

// Clone is a copy that shares nothing.
func (s Shape) Clone() Shape { return append(Shape{}, s...) }

// String writes the shape as [2 3 4].
func (s Shape) String() string {
	var b strings.Builder
	b.WriteByte('[')
	for i, d := range s {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(strconv.Itoa(d))
	}
	b.WriteByte(']')
	return b.String()
}

// Strides are the row-major strides of the shape, in elements.
func (s Shape) Strides() []int {
	st := make([]int, len(s))
	n := 1
	for i := len(s) - 1; i >= 0; i-- {
		st[i] = n
		n *= s[i]
	}
	return st
}

// Axis makes a possibly negative axis absolute for rank len(s).
func (s Shape) Axis(a int) (int, error) {
	if a < -len(s) || a >= len(s) {
		return 0, fmt.Errorf("axis %d is outside of rank %d", a, len(s))
	}
	if a < 0 {
		a += len(s)
	}
	return a, nil
}

// maxSize bounds the elements of a tensor: what no machine has memory for is
// refused before Go's allocator, which would end the program, is asked for it.
const maxSize = min(math.MaxInt/16, 1<<42)

// errTooLarge is what a shape gets that has more than maxSize elements.
var errTooLarge = errors.New("shape is too large")

// CheckedSize is Size for shapes that come from a file: negative extents and
// products beyond what any machine can hold are errors.
func (s Shape) CheckedSize() (int, error) {
	n, zero := 1, false
	for _, d := range s {
		if d < 0 {
			return 0, fmt.Errorf("shape %v has a negative extent", s)
		}
		if d == 0 {
			zero = true
			continue
		}
		if n > maxSize/d {
			return 0, fmt.Errorf("%w: %v", errTooLarge, s)
		}
		n *= d
	}
	if zero {
		return 0, nil
	}
	return n, nil
}

// Broadcast is the shape that a and b have together by NumPy's rule.
func Broadcast(a, b Shape) (Shape, error) {
	n := max(len(a), len(b))
	out := make(Shape, n)
	for i := range n {
		x, y := 1, 1
		if j := i - n + len(a); j >= 0 {
			x = a[j]
		}
		if j := i - n + len(b); j >= 0 {
			y = b[j]
		}
		switch {
		case x == y || y == 1:
			out[i] = x
		case x == 1:
			out[i] = y
		default:
			return nil, fmt.Errorf("shapes %v and %v do not broadcast", a, b)
		}
	}
	return out, nil
}
