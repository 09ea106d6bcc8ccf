package kernel

import (
	"math"

	"github.com/bonnx/bonnx/internal/par"
)

// Binary is the elementwise function f under broadcasting, b's inputs being x
// and y:
//
//	for i < len(dst): dst[i] = f(x[.], y[.])
//
// All elementwise functions of two inputs may work in place on an input that
// is not repeated.
func Binary[T, R any](p *par.Pool, b *Broadcast, dst []R, x, y []T, f func(x, y T) R) {
	eachLine(p, b, pairs[T, R]{b.inner(0), b.inner(1), dst, x, y, f})
}

type pairs[T, R any] struct {
	sx, sy int
	dst    []R
	x, y   []T
	f      func(x, y T) R
}

func (t *pairs[T, R]) lines(o int, at [maxIn]int, rows, n int, step [maxIn]int) {
	for range rows {
		u, v := at[0], at[1]
		d := t.dst[o:][:n]
		for i := range d {
			d[i] = t.f(t.x[u], t.y[v])
			u, v = u+t.sx, v+t.sy
		}
		o, at[0], at[1] = o+n, at[0]+step[0], at[1]+step[1]
	}
}

// A fast is the loops of a cheap function over lines: two vectors, a vector
// and a scalar, a scalar and a vector.
type fast[T any] struct {
	vv func(d, x, y []T)
	vs func(d, x []T, y T)
	sv func(d []T, x T, y []T)

	// rows is vv for rows of n elements that follow each other in d and lie
	// step elements apart in x and y; nil: vv row by row.
	rows func(rows, n int, d, x, y []T, stepX, stepY int)
}

func binary[T any](p *par.Pool, b *Broadcast, dst, x, y []T, loop fast[T]) {
	eachLine(p, b, fastLines[T]{b.inner(0), b.inner(1), dst, x, y, loop})
}

type fastLines[T any] struct {
	sx, sy    int
	dst, x, y []T
	loop      fast[T]
}

func (t *fastLines[T]) lines(o int, at [maxIn]int, rows, n int, step [maxIn]int) {
	u, v := at[0], at[1]
	if t.sx != 0 && t.sy != 0 && t.loop.rows != nil {
		t.loop.rows(rows, n, t.dst[o:], t.x[u:], t.y[v:], step[0], step[1])
		return
	}
	for range rows {
		d := t.dst[o:][:n]
		switch {
		case t.sx != 0 && t.sy != 0:
			t.loop.vv(d, t.x[u:][:n], t.y[v:][:n])
		case t.sx != 0:
			t.loop.vs(d, t.x[u:][:n], t.y[v])
		case t.sy != 0:
			t.loop.sv(d, t.x[u], t.y[v:][:n])
		default:
			t.loop.vv(d[:1], t.x[u:][:1], t.y[v:][:1])
			fill(d[1:], d[0])
		}
		o, u, v = o+n, u+step[0], v+step[1]
	}
}

func addLoops[T Numeric]() fast[T] { return fast[T]{vv: addVV[T], vs: addVS[T], sv: addSV[T]} }

func subLoops[T Numeric]() fast[T] { return fast[T]{vv: subVV[T], vs: subVS[T], sv: subSV[T]} }

func mulLoops[T Numeric]() fast[T] { return fast[T]{vv: mulVV[T], vs: mulVS[T], sv: mulSV[T]} }

func divLoops[T Numeric]() fast[T] { return fast[T]{vv: divVV[T], vs: divVS[T], sv: divSV[T]} }

// The loops of the integers that models count with, made once: in a generic
// function they are allocated.
var (
	counting32 = [...]fast[int32]{adding: addLoops[int32](), subtracting: subLoops[int32](), multiplying: mulLoops[int32]()}
	counting64 = [...]fast[int64]{adding: addLoops[int64](), subtracting: subLoops[int64](), multiplying: mulLoops[int64]()}
)

const (
	adding = iota
	subtracting
	multiplying
)

// floatLoops are the loops of a float type in the vector table, of whose rows
// of picks them; nil for other types.
func floatLoops[T Numeric](of32 func(*vecRow[float32]) *fast[float32], of64 func(*vecRow[float64]) *fast[float64]) *fast[T] {
	if f, ok := any(of32(vec32)).(*fast[T]); ok {
		return f
	}
	f, _ := any(of64(vec64)).(*fast[T])
	return f
}

// fastest are the loops of op for T, nil where there are none.
func fastest[T Numeric](of32 func(*vecRow[float32]) *fast[float32], of64 func(*vecRow[float64]) *fast[float64], op int) *fast[T] {
	if f := floatLoops[T](of32, of64); f != nil {
		return f
	}
	if f, ok := any(&counting64[op]).(*fast[T]); ok {
		return f
	}
	f, _ := any(&counting32[op]).(*fast[T])
	return f
}

// arithmetic has the fastest loops work, or f where there are none.
func arithmetic[T Numeric, F rule2[T, T]](p *par.Pool, b *Broadcast, dst, x, y []T, loops *fast[T], f F) {
	if loops == nil {
		binaryRule(p, b, dst, x, y, f)
		return
	}
	binary(p, b, dst, x, y, *loops)
}

func addOf[T Float](v *vecRow[T]) *fast[T] { return &v.add }
func subOf[T Float](v *vecRow[T]) *fast[T] { return &v.sub }
func mulOf[T Float](v *vecRow[T]) *fast[T] { return &v.mul }
func divOf[T Float](v *vecRow[T]) *fast[T] { return &v.div }

// Add is dst = x + y. Integers wrap.
func Add[T Numeric](p *par.Pool, b *Broadcast, dst, x, y []T) {
	arithmetic(p, b, dst, x, y, fastest[T](addOf[float32], addOf[float64], adding), plus[T]{})
}

// Sub is dst = x - y.
func Sub[T Numeric](p *par.Pool, b *Broadcast, dst, x, y []T) {
	arithmetic(p, b, dst, x, y, fastest[T](subOf[float32], subOf[float64], subtracting), minus[T]{})
}

// Mul is dst = x * y.
func Mul[T Numeric](p *par.Pool, b *Broadcast, dst, x, y []T) {
	arithmetic(p, b, dst, x, y, fastest[T](mulOf[float32], mulOf[float64], multiplying), times[T]{})
}

type (
	plus[T Numeric]  struct{}
	minus[T Numeric] struct{}
	times[T Numeric] struct{}
)

func (plus[T]) of(x, y T) T  { return x + y }
func (minus[T]) of(x, y T) T { return x - y }
func (times[T]) of(x, y T) T { return x * y }

// Div is dst = x / y. Integers are cut towards zero; an integer divided by
// zero gives zero.
func Div[T Numeric](p *par.Pool, b *Broadcast, dst, x, y []T) {
	if isInteger[T]() {
		binaryRule(p, b, dst, x, y, divInteger[T]{})
		return
	}
	binary(p, b, dst, x, y, *floatLoops[T](divOf[float32], divOf[float64]))
}

type divInteger[T Numeric] struct{}

func (divInteger[T]) of(x, y T) T {
	if y == 0 {
		return 0
	}
	return x / y
}

func addVV[T Numeric](d, x, y []T) {
	x, y = x[:len(d)], y[:len(d)]
	for i := range d {
		d[i] = x[i] + y[i]
	}
}

func addVS[T Numeric](d, x []T, y T) {
	x = x[:len(d)]
	for i := range d {
		d[i] = x[i] + y
	}
}

func addSV[T Numeric](d []T, x T, y []T) { addVS(d, y, x) }

func subVV[T Numeric](d, x, y []T) {
	x, y = x[:len(d)], y[:len(d)]
	for i := range d {
		d[i] = x[i] - y[i]
	}
}

func subVS[T Numeric](d, x []T, y T) {
	x = x[:len(d)]
	for i := range d {
		d[i] = x[i] - y
	}
}

func subSV[T Numeric](d []T, x T, y []T) {
	y = y[:len(d)]
	for i := range d {
		d[i] = x - y[i]
	}
}

func mulVV[T Numeric](d, x, y []T) {
	x, y = x[:len(d)], y[:len(d)]
	for i := range d {
		d[i] = x[i] * y[i]
	}
}

func mulVS[T Numeric](d, x []T, y T) {
	x = x[:len(d)]
	for i := range d {
		d[i] = x[i] * y
	}
}

func mulSV[T Numeric](d []T, x T, y []T) { mulVS(d, y, x) }

func divVV[T Numeric](d, x, y []T) {
	x, y = x[:len(d)], y[:len(d)]
	for i := range d {
		d[i] = x[i] / y[i]
	}
}

func divVS[T Numeric](d, x []T, y T) {
	x = x[:len(d)]
	for i := range d {
		d[i] = x[i] / y
	}
}

func divSV[T Numeric](d []T, x T, y []T) {
	y = y[:len(d)]
	for i := range d {
		d[i] = x / y[i]
	}
}

// Min is the smaller of x and y, NaN where either is.
func Min[T Numeric](p *par.Pool, b *Broadcast, dst, x, y []T) {
	arithmetic(p, b, dst, x, y, floatLoops[T](minOf[float32], minOf[float64]), least[T]{})
}

// Max is the larger of x and y, NaN where either is.
func Max[T Numeric](p *par.Pool, b *Broadcast, dst, x, y []T) {
	arithmetic(p, b, dst, x, y, floatLoops[T](maxOf[float32], maxOf[float64]), greatest[T]{})
}

func minOf[T Float](v *vecRow[T]) *fast[T] { return &v.min }
func maxOf[T Float](v *vecRow[T]) *fast[T] { return &v.max }

type (
	least[T Numeric]    struct{}
	greatest[T Numeric] struct{}
)

func (least[T]) of(x, y T) T    { return min(x, y) }
func (greatest[T]) of(x, y T) T { return max(x, y) }

// PReLU is x, below zero x times y.
func PReLU[T Numeric](p *par.Pool, b *Broadcast, dst, x, y []T) {
	arithmetic(p, b, dst, x, y, floatLoops[T](preluOf[float32], preluOf[float64]), sloping[T]{})
}

func preluOf[T Float](v *vecRow[T]) *fast[T] { return &v.prelu }

type sloping[T Numeric] struct{}

func (sloping[T]) of(x, y T) T {
	if x < 0 {
		return x * y
	}
	return x
}

func preluLoops[T Float]() fast[T] {
	return fast[T]{
		vv: func(d, x, y []T) {
			for i := range d {
				d[i] = sloping[T]{}.of(x[i], y[i])
			}
		},
		vs: leakyLoop[T],
		sv: func(d []T, x T, y []T) {
			for i := range d {
				d[i] = sloping[T]{}.of(x, y[i])
			}
		},
	}
}

func minLoops[T Numeric]() fast[T] {
	return fast[T]{vv: minVV[T], vs: minVS[T], sv: func(d []T, x T, y []T) { minVS(d, y, x) }}
}

func maxLoops[T Numeric]() fast[T] {
	return fast[T]{vv: maxVV[T], vs: maxVS[T], sv: func(d []T, x T, y []T) { maxVS(d, y, x) }}
}

func minVV[T Numeric](d, x, y []T) {
	x, y = x[:len(d)], y[:len(d)]
	for i := range d {
		d[i] = min(x[i], y[i])
	}
}

func minVS[T Numeric](d, x []T, y T) {
	x = x[:len(d)]
	for i := range d {
		d[i] = min(x[i], y)
	}
}

func maxVV[T Numeric](d, x, y []T) {
	x, y = x[:len(d)], y[:len(d)]
	for i := range d {
		d[i] = max(x[i], y[i])
	}
}

func maxVS[T Numeric](d, x []T, y T) {
	x = x[:len(d)]
	for i := range d {
		d[i] = max(x[i], y)
	}
}

// Pow is x to the power of y. An integer to a negative power is the real power
// cut towards zero: 1 for base 1, +-1 for -1, else 0.
func Pow[T Numeric](p *par.Pool, b *Broadcast, dst, x, y []T) {
	if isInteger[T]() {
		binaryRule(p, b, dst, x, y, powInteger[T]{})
		return
	}
	if len(y) == 1 { // the exponents that models are made of
		switch float64(y[0]) {
		case 2:
			par.Do(p, len(dst), grain, &applied2[T]{floatLoops[T](mulOf[float32], mulOf[float64]).vv, dst, x, x})
			return
		case 0.5:
			runLoop(p, loopOf[T](vec32.powHalf, vec64.powHalf), dst, x)
			return
		case 3:
			runLoop(p, loopOf[T](vec32.cube, vec64.cube), dst, x)
			return
		}
		if x, ok := any(x).([]float32); ok {
			par.Do(p, len(dst), grain/4, &powering{any(dst).([]float32), x, float64(y[0])})
			return
		}
	}
	binaryRule(p, b, dst, x, y, power[T]{})
}

// powering is x**c, slow where some x are not positive and finite.
type powering struct {
	d, x []float32
	c    float64
}

func (t *powering) Run(lo, hi int) {
	for ; lo < hi; lo += blockOfSome {
		end := min(lo+blockOfSome, hi)
		d, x := t.d[lo:end], t.x[lo:end]
		if vec32.bottom(x) < 0 && vec32.top(x) <= math.MaxFloat32 && vec32.sum(x) > 0 { // a sum with a NaN is none
			vec32.power(d, x, t.c)
		} else {
			powerLoop(d, x, t.c)
		}
	}
}

type power[T Numeric] struct{}

func (power[T]) of(x, y T) T { return T(math.Pow(float64(x), float64(y))) }

func cube[T Float](x T) T { return T(float64(x) * float64(x) * float64(x)) }

// powHalf differs from the square root at -0 and -Inf.
func powHalf[T Float](x T) T {
	if math.IsInf(float64(x), -1) {
		return -x
	}
	return T(math.Sqrt(float64(x))) + 0
}

type powInteger[T Numeric] struct{}

func (powInteger[T]) of(x, y T) T {
	if y < 0 {
		switch {
		case x == 1, x+1 == 0 && !odd(y):
			return 1
		case x+1 == 0:
			return x
		}
		return 0
	}
	r := T(1)
	for y != 0 {
		if odd(y) {
			r *= x
		}
		x *= x
		y /= 2
	}
	return r
}

func odd[T Numeric](y T) bool { return y-y/2*2 != 0 }

// Mod is the remainder with the sign of y (Python's %). Integers: 0 where y is
// 0; floats: NaN.
func Mod[T Numeric](p *par.Pool, b *Broadcast, dst, x, y []T) {
	binaryRule(p, b, dst, x, y, modulo[T]{})
}

type modulo[T Numeric] struct{}

func (modulo[T]) of(x, y T) T {
	r := remainder[T]{}.of(x, y)
	if r != 0 && (r < 0) != (y < 0) {
		r += y
	}
	return r
}

// FMod is the remainder with the sign of x (C's fmod).
func FMod[T Numeric](p *par.Pool, b *Broadcast, dst, x, y []T) {
	binaryRule(p, b, dst, x, y, remainder[T]{})
}

type remainder[T Numeric] struct{}

func (remainder[T]) of(x, y T) T {
	if !isInteger[T]() {
		return T(math.Mod(float64(x), float64(y)))
	}
	if y == 0 {
		return 0
	}
	return x - x/y*y
}

// BitAnd is x & y.
func BitAnd[T Integer](p *par.Pool, b *Broadcast, dst, x, y []T) {
	binaryRule(p, b, dst, x, y, bitAnd[T]{})
}

type bitAnd[T Integer] struct{}

func (bitAnd[T]) of(x, y T) T { return x & y }

// BitOr is x | y.
func BitOr[T Integer](p *par.Pool, b *Broadcast, dst, x, y []T) {
	binaryRule(p, b, dst, x, y, bitOr[T]{})
}

type bitOr[T Integer] struct{}

func (bitOr[T]) of(x, y T) T { return x | y }

// BitXor is x ^ y.
func BitXor[T Integer](p *par.Pool, b *Broadcast, dst, x, y []T) {
	binaryRule(p, b, dst, x, y, bitXor[T]{})
}

type bitXor[T Integer] struct{}

func (bitXor[T]) of(x, y T) T { return x ^ y }
