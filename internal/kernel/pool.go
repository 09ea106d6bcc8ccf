package kernel

import "github.com/bonnx/bonnx/internal/par"

// MaxPool is the greatest element under each place of the window, for planes
// x (planes,H,W) to y (planes,OH,OW). index (planes,OH,OW) gets where it was
// found in x as a whole, the first of equals; it may be nil. A NaN counts as
// greatest. A place without elements gives low and index -1.
func MaxPool[T Numeric](p *par.Pool, planes int, w *Window, y []T, index []int64, x []T, low T) {
	par.Do(p, planes, rowsPerChunk(w.OH*w.OW*w.KH*w.KW), &maxPooling[T]{w, y, index, x, low})
}

type maxPooling[T Numeric] struct {
	w     *Window
	y     []T
	index []int64
	x     []T
	low   T
}

func (t *maxPooling[T]) Run(lo, hi int) {
	if x, ok := any(t.x).([]float32); ok && t.index == nil && t.w.lineFits() {
		maxLines(t.w, any(t.y).([]float32), x, float32(t.low), lo, hi)
		return
	}
	w, n := t.w, t.w.OH*t.w.OW
	for c := lo; c < hi; c++ {
		base := c * w.H * w.W
		plane := t.x[base:][:w.H*w.W]
		for o := range n {
			best, at := maxUnder(w, plane, o/w.OW, o%w.OW, t.low)
			t.y[c*n+o] = best
			if t.index != nil {
				t.index[c*n+o] = int64(at)
				if at >= 0 {
					t.index[c*n+o] += int64(base)
				}
			}
		}
	}
}

func maxUnder[T Numeric](w *Window, x []T, i, j int, low T) (best T, at int) {
	best, at = low, -1
	for a := range w.KH {
		r := i*w.StrideH + a*w.DilationH - w.Top
		if r < 0 || r >= w.H {
			continue
		}
		for b := range w.KW {
			c := j*w.StrideW + b*w.DilationW - w.Left
			if c < 0 || c >= w.W {
				continue
			}
			if v := x[r*w.W+c]; at < 0 || v > best || v != v && best == best {
				best, at = v, r*w.W+c
			}
		}
	}
	return best, at
}

// MaxPoolGrad is the gradient of MaxPool from the index it gave: dx (planes,H,W)
// is 0 but for dx[index[o]] += dy[o].
func MaxPoolGrad[T Float](p *par.Pool, planes int, w *Window, dx, dy []T, index []int64) {
	n, plane := w.OH*w.OW, w.H*w.W
	par.Do(p, planes, rowsPerChunk(n+plane), &maxPoolGrad[T]{n, plane, dx, dy, index})
}

type maxPoolGrad[T Float] struct {
	n, plane int
	dx, dy   []T
	index    []int64
}

func (t *maxPoolGrad[T]) Run(lo, hi int) {
	clear(t.dx[lo*t.plane : hi*t.plane])
	for o := lo * t.n; o < hi*t.n; o++ {
		if at := t.index[o]; at >= 0 {
			t.dx[at] += t.dy[o]
		}
	}
}

// AveragePool is the mean under each place of the window, for planes
// x (planes,H,W) to y (planes,OH,OW). The sum is divided by the number of
// elements, or, where includePad, of elements and padding. A place without
// elements gives 0.
func AveragePool[T Float](p *par.Pool, planes int, w *Window, y, x []T, includePad bool) {
	par.Do(p, planes, rowsPerChunk(w.OH*w.OW*w.KH*w.KW), &averaging[T]{w, y, x, includePad})
}

type averaging[T Float] struct {
	w          *Window
	y, x       []T
	includePad bool
}

func (t *averaging[T]) Run(lo, hi int) {
	if t.w.lineFits() {
		averageLines(t.w, t.y, t.x, t.includePad, lo, hi)
		return
	}
	w, n := t.w, t.w.OH*t.w.OW
	for c := lo; c < hi; c++ {
		plane := t.x[c*w.H*w.W:][:w.H*w.W]
		for o := range n {
			var s float64
			count := w.under(o/w.OW, o%w.OW, t.includePad, func(k int) { s += float64(plane[k]) })
			t.y[c*n+o] = T(s / float64(count))
		}
	}
}

// AveragePoolGrad is the gradient of AveragePool, from dy to dx.
func AveragePoolGrad[T Float](p *par.Pool, planes int, w *Window, dx, dy []T, includePad bool) {
	par.Do(p, planes, rowsPerChunk(w.OH*w.OW*w.KH*w.KW), &averagingGrad[T]{w, dx, dy, includePad})
}

type averagingGrad[T Float] struct {
	w          *Window
	dx, dy     []T
	includePad bool
}

func (t *averagingGrad[T]) Run(lo, hi int) {
	w, n := t.w, t.w.OH*t.w.OW
	for c := lo; c < hi; c++ {
		plane := t.dx[c*w.H*w.W:][:w.H*w.W]
		clear(plane)
		for o := range n {
			count := w.under(o/w.OW, o%w.OW, t.includePad, func(int) {})
			g := T(float64(t.dy[c*n+o]) / float64(count))
			w.under(o/w.OW, o%w.OW, t.includePad, func(k int) { plane[k] += g })
		}
	}
}

// under calls f with the elements under place (i,j) and returns the divisor of
// their mean, at least 1.
func (w *Window) under(i, j int, includePad bool, f func(k int)) int {
	count := 0
	for a := range w.KH {
		r := i*w.StrideH + a*w.DilationH - w.Top
		for b := range w.KW {
			c := j*w.StrideW + b*w.DilationW - w.Left
			inside := r >= 0 && r < w.H && c >= 0 && c < w.W
			if inside {
				f(r*w.W + c)
			}
			if inside || includePad && r < w.H+w.Bottom && c < w.W+w.Right {
				count++
			}
		}
	}
	return max(count, 1)
}
