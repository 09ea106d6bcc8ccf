package kernel

import (
	"math"

	"github.com/bonnx/bonnx/internal/par"
)

// Softmax is over the middle axis of x (outer,n,inner):
//
//	top = max_i x[o,i,j]
//	y[o,i,j] = exp(x[o,i,j]-top) / sum_i exp(x[o,i,j]-top)
//
// It may work in place. A row of -Inf alone gives NaN.
func Softmax[T Float](p *par.Pool, outer, n, inner int, y, x []T) {
	if inner == 1 && n > 0 {
		par.Do(p, outer, rowsPerChunk(8*n), &softmaxTask[T]{n, y, x})
		return
	}
	if x, ok := any(x).([]float32); ok && n > 0 {
		blocks := (inner + columns - 1) / columns
		par.Do(p, outer*blocks, rowsPerChunk(8*n*min(inner, columns)), &softmaxColumns{n, inner, blocks, any(y).([]float32), x})
		return
	}
	eachVector(p, outer, n, inner, softmaxes[T]{y, x})
}

// softmaxColumns is blocks of columns, line by line.
type softmaxColumns struct {
	n, inner, blocks int
	y, x             []float32
}

func (t *softmaxColumns) Run(lo, hi int) {
	var tops, inverse [columns]float32
	var sums [columns]float64
	for b := lo; b < hi; b++ {
		o, j := b/t.blocks, b%t.blocks*columns
		wide := min(columns, t.inner-j)
		first := o*t.n*t.inner + j
		end := first + t.n*t.inner
		top, inv, sum := tops[:wide], inverse[:wide], sums[:wide]
		copy(top, t.x[first:])
		for at := first + t.inner; at < end; at += t.inner {
			maxLine32(top, t.x[at:])
		}
		clear(sum)
		for at := first; at < end; at += t.inner {
			y := t.y[at:][:wide]
			expLess32(y, t.x[at:], top)
			sumLine32(sum, y)
		}
		for c, s := range sum {
			inv[c] = float32(1 / s)
		}
		for at := first; at < end; at += t.inner {
			mulLine32(t.y[at:][:wide], inv)
		}
	}
}

type softmaxes[T Float] struct{ y, x []T }

func (t softmaxes[T]) vector(k, n, step int) { softmaxVector(t.y[k:], t.x[k:], n, step) }

type softmaxTask[T Float] struct {
	n    int
	y, x []T
}

func (t *softmaxTask[T]) Run(lo, hi int) { vec[T]().softmax(hi-lo, t.n, t.y[lo*t.n:], t.x[lo*t.n:]) }

// A vectorRule computes a vector of n elements, step apart from offset k on.
type vectorRule interface{ vector(k, n, step int) }

// eachVector has f compute each vector along the middle axis.
func eachVector[F vectorRule](p *par.Pool, outer, n, inner int, f F) {
	if n > 0 {
		par.Do(p, outer*inner, rowsPerChunk(8*n), &vectorTask[F]{n, inner, f})
	}
}

type vectorTask[F vectorRule] struct {
	n, inner int
	f        F
}

func (t *vectorTask[F]) Run(lo, hi int) {
	for r := lo; r < hi; r++ {
		t.f.vector(r/t.inner*t.n*t.inner+r%t.inner, t.n, t.inner)
	}
}

func softmaxVector[T Float](y, x []T, n, step int) {
	top := largest(x, n, step)
	var s float64
	if step == 1 {
		s = expShifted(y[:n], x[:n], top)
		scale := 1 / s
		for i, v := range y[:n] {
			y[i] = T(float64(v) * scale)
		}
		return
	}
	for i := 0; i < n*step; i += step {
		e := expFor[T](float64(x[i]) - top)
		y[i] = T(e)
		s += e
	}
	for i := 0; i < n*step; i += step {
		y[i] = T(float64(y[i]) / s)
	}
}

// expShifted is y = exp(x-top), and returns the sum.
func expShifted[T Float](y, x []T, top float64) float64 {
	var s float64
	if isFloat32[T]() {
		for i, v := range x {
			e := 0.0
			if d := float64(v) - top; !(d < -150) { // NaN passes
				e = expNear(d)
			}
			y[i] = T(e)
			s += e
		}
		return s
	}
	for i, v := range x {
		e := math.Exp(float64(v) - top)
		y[i] = T(e)
		s += e
	}
	return s
}

// largest is the greatest of n > 0 elements, NaN if one is.
func largest[T Float](x []T, n, step int) float64 {
	top := x[0]
	for i := step; i < n*step; i += step {
		if v := x[i]; v > top || v != v {
			top = v
		}
	}
	return float64(top)
}

// LogSoftmax is y[o,i,j] = x[o,i,j] - log(sum_i exp(x[o,i,j])). It may work in
// place.
func LogSoftmax[T Float](p *par.Pool, outer, n, inner int, y, x []T) {
	eachVector(p, outer, n, inner, logSoftmaxes[T]{y, x})
}

type logSoftmaxes[T Float] struct{ y, x []T }

func (t logSoftmaxes[T]) vector(k, n, step int) {
	l := logSumExp(t.x[k:], n, step)
	if step == 1 {
		vec[T]().shifted(t.y[k:k+n], t.x[k:k+n], l)
		return
	}
	for i := k; i < k+n*step; i += step {
		t.y[i] = T(float64(t.x[i]) - l)
	}
}

// SoftmaxGrad is the gradient of Softmax from its result y:
//
//	dx[o,i,j] = y[o,i,j] * (dy[o,i,j] - sum_i dy[o,i,j]*y[o,i,j])
//
// It may work in place on dy.
func SoftmaxGrad[T Float](p *par.Pool, outer, n, inner int, dx, y, dy []T) {
	if inner == 1 && n > 0 {
		par.Do(p, outer, rowsPerChunk(8*n), &softmaxGradTask[T]{n, dx, y, dy})
		return
	}
	eachVector(p, outer, n, inner, softmaxGrads[T]{dx, y, dy})
}

type softmaxGrads[T Float] struct{ dx, y, dy []T }

func (t softmaxGrads[T]) vector(k, n, step int) {
	softmaxGradVector(t.dx[k:], t.y[k:], t.dy[k:], n, step)
}

type softmaxGradTask[T Float] struct {
	n         int
	dx, y, dy []T
}

func (t *softmaxGradTask[T]) Run(lo, hi int) {
	at := lo * t.n
	vec[T]().softmaxGrad(hi-lo, t.n, t.dx[at:], t.y[at:], t.dy[at:])
}

func softmaxGradVector[T Float](dx, y, dy []T, n, step int) {
	var s float64
	for i := 0; i < n*step; i += step {
		s += float64(float64(dy[i]) * float64(y[i]))
	}
	for i := 0; i < n*step; i += step {
		dx[i] = T(float64(y[i]) * (float64(dy[i]) - s))
	}
}

// LogSoftmaxGrad is the gradient of LogSoftmax from its result y:
//
//	dx[o,i,j] = dy[o,i,j] - exp(y[o,i,j]) * sum_i dy[o,i,j]
//
// It may work in place on dy.
func LogSoftmaxGrad[T Float](p *par.Pool, outer, n, inner int, dx, y, dy []T) {
	eachVector(p, outer, n, inner, logSoftmaxGrads[T]{dx, y, dy})
}

type logSoftmaxGrads[T Float] struct{ dx, y, dy []T }

func (t logSoftmaxGrads[T]) vector(k, n, step int) {
	var s float64
	for i := k; i < k+n*step; i += step {
		s += float64(t.dy[i])
	}
	for i := k; i < k+n*step; i += step {
		e := expFor[T](float64(t.y[i]))
		t.dx[i] = T(float64(t.dy[i]) - float64(e*s))
	}
}
