package kernel

import "github.com/bonnx/bonnx/internal/par"

// A WindowND is a Window over any number (at most 8) of dimensions: how a
// kernel of extents Kernel passes over In to give Out. The kernels that take
// it are plain loops, for what has more than two dimensions.
type WindowND struct {
	In, Kernel, Out  []int
	Stride, Dilation []int
	Before, After    []int
}

// maxSpatial is how many dimensions a WindowND may have.
const maxSpatial = 8

func volume(d []int) int {
	n := 1
	for _, v := range d {
		n *= v
	}
	return n
}

// taps calls f for each tap (counted through the kernel) of place o (counted
// through the output): with its position in the input, -1 in the padding that
// counts as such, -2 beyond it.
func (w *WindowND) taps(o int, f func(tap, at int)) {
	var base [maxSpatial]int
	for d := len(w.Out) - 1; d >= 0; d-- {
		base[d] = o%w.Out[d]*w.Stride[d] - w.Before[d]
		o /= w.Out[d]
	}
	for tap := range volume(w.Kernel) {
		rest, at, stride := tap, 0, 1
		for d := len(w.Out) - 1; d >= 0; d-- {
			i := base[d] + rest%w.Kernel[d]*w.Dilation[d]
			rest /= w.Kernel[d]
			switch {
			case i >= w.In[d]+w.After[d]:
				at = -2
			case at >= 0 && (i < 0 || i >= w.In[d]):
				at = -1
			case at >= 0:
				at += i * stride
				stride *= w.In[d]
			}
		}
		f(tap, at)
	}
}

// ConvND is the convolution of Conv2D in any number of dimensions, for x
// (n,c,In...), weights (m,c/groups,Kernel...), bias (m) or nil, to y
// (n,m,Out...):
//
//	y[i,j,o] = bias[j] + sum over channels ch of j's group and taps t of
//		weights[j,ch,t] * x[i,ch,where t of o lies]
func ConvND[T Float](p *par.Pool, w *WindowND, n, c, m, groups int, y, x, weights, bias []T) {
	t := convND[T]{w, n, c, m, groups, x, y, weights, bias}
	par.Do(p, n*m, rowsPerChunk(volume(w.Out)*volume(w.Kernel)*(c/groups)), &t)
}

// convND is ConvND; its gradients are tasks of the same values.
type convND[T Float] struct {
	w                   *WindowND
	n, c, m, groups     int
	x, y, weights, bias []T
}

func (t *convND[T]) Run(lo, hi int) {
	in, out, ker, cg := volume(t.w.In), volume(t.w.Out), volume(t.w.Kernel), t.c/t.groups
	for l := lo; l < hi; l++ {
		i, j := l/t.m, l%t.m
		xs := t.x[(i*t.c+j/(t.m/t.groups)*cg)*in:]
		ws := t.weights[j*cg*ker:]
		for o := range out {
			var s float64
			if t.bias != nil {
				s = float64(t.bias[j])
			}
			t.w.taps(o, func(tap, at int) {
				for ch := 0; at >= 0 && ch < cg; ch++ {
					s += float64(ws[ch*ker+tap]) * float64(xs[ch*in+at])
				}
			})
			t.y[l*out+o] = T(s)
		}
	}
}

// ConvNDGradX is the gradient of ConvND for x, from dy; with the roles of x and
// y swapped it is a transposed convolution.
func ConvNDGradX[T Float](p *par.Pool, w *WindowND, n, c, m, groups int, dx, dy, weights []T) {
	t := convNDGradX[T]{w, n, c, m, groups, dx, dy, weights, nil}
	par.Do(p, n*c, rowsPerChunk(volume(w.Out)*volume(w.Kernel)*(m/groups)), &t)
}

type convNDGradX[T Float] convND[T]

func (t *convNDGradX[T]) Run(lo, hi int) {
	in, out, ker, cg, mg := volume(t.w.In), volume(t.w.Out), volume(t.w.Kernel), t.c/t.groups, t.m/t.groups
	for l := lo; l < hi; l++ {
		i, ch := l/t.c, l%t.c
		plane := t.x[l*in:][:in]
		clear(plane)
		for j := ch / cg * mg; j < (ch/cg+1)*mg; j++ {
			ys := t.y[(i*t.m+j)*out:][:out]
			ws := t.weights[(j*cg+ch%cg)*ker:][:ker]
			for o, g := range ys {
				t.w.taps(o, func(tap, at int) {
					if at >= 0 {
						plane[at] += T(g * ws[tap])
					}
				})
			}
		}
	}
}

// ConvNDGradW is the gradient of ConvND for the weights, from x and dy.
func ConvNDGradW[T Float](p *par.Pool, w *WindowND, n, c, m, groups int, dweights, x, dy []T) {
	t := convNDGradW[T]{w, n, c, m, groups, x, dy, dweights, nil}
	par.Do(p, m*(c/groups), rowsPerChunk(n*volume(w.Out)*volume(w.Kernel)), &t)
}

type convNDGradW[T Float] convND[T]

func (t *convNDGradW[T]) Run(lo, hi int) {
	in, out, ker, cg, mg := volume(t.w.In), volume(t.w.Out), volume(t.w.Kernel), t.c/t.groups, t.m/t.groups
	for l := lo; l < hi; l++ {
		j, ch := l/cg, l/cg/mg*cg+l%cg
		dst := t.weights[l*ker:][:ker]
		clear(dst)
		for i := range t.n {
			plane, ys := t.x[(i*t.c+ch)*in:][:in], t.y[(i*t.m+j)*out:][:out]
			for o, g := range ys {
				t.w.taps(o, func(tap, at int) {
					if at >= 0 {
						dst[tap] += T(g * plane[at])
					}
				})
			}
		}
	}
}

// MaxPoolND is MaxPool in any number of dimensions.
func MaxPoolND[T Numeric](p *par.Pool, planes int, w *WindowND, y []T, index []int64, x []T, low T) {
	par.Do(p, planes, rowsPerChunk(volume(w.Out)*volume(w.Kernel)), &maxPoolND[T]{w, y, index, x, low})
}

type maxPoolND[T Numeric] struct {
	w     *WindowND
	y     []T
	index []int64
	x     []T
	low   T
}

func (t *maxPoolND[T]) Run(lo, hi int) {
	in, out := volume(t.w.In), volume(t.w.Out)
	for c := lo; c < hi; c++ {
		plane := t.x[c*in:][:in]
		for o := range out {
			best, where := t.low, -1
			t.w.taps(o, func(_, at int) {
				if at >= 0 && (where < 0 || plane[at] > best || plane[at] != plane[at] && best == best) {
					best, where = plane[at], at
				}
			})
			t.y[c*out+o] = best
			if t.index != nil {
				t.index[c*out+o] = int64(where)
				if where >= 0 {
					t.index[c*out+o] += int64(c * in)
				}
			}
		}
	}
}

// AveragePoolND is AveragePool in any number of dimensions.
func AveragePoolND[T Float](p *par.Pool, planes int, w *WindowND, y, x []T, includePad bool) {
	par.Do(p, planes, rowsPerChunk(volume(w.Out)*volume(w.Kernel)), &averageND[T]{w, y, x, includePad})
}

type averageND[T Float] struct {
	w          *WindowND
	y, x       []T
	includePad bool
}

func (t *averageND[T]) Run(lo, hi int) {
	in, out := volume(t.w.In), volume(t.w.Out)
	for c := lo; c < hi; c++ {
		plane := t.x[c*in:][:in]
		for o := range out {
			var s float64
			count := t.w.count(o, t.includePad, func(at int) { s += float64(plane[at]) })
			t.y[c*out+o] = T(s / float64(count))
		}
	}
}

// AveragePoolNDGrad is the gradient of AveragePoolND, from dy to dx.
func AveragePoolNDGrad[T Float](p *par.Pool, planes int, w *WindowND, dx, dy []T, includePad bool) {
	par.Do(p, planes, rowsPerChunk(volume(w.Out)*volume(w.Kernel)), &averageNDGrad[T]{w, dx, dy, includePad})
}

type averageNDGrad[T Float] struct {
	w          *WindowND
	dx, dy     []T
	includePad bool
}

func (t *averageNDGrad[T]) Run(lo, hi int) {
	in, out := volume(t.w.In), volume(t.w.Out)
	for c := lo; c < hi; c++ {
		plane := t.dx[c*in:][:in]
		clear(plane)
		for o := range out {
			g := T(float64(t.dy[c*out+o]) / float64(t.w.count(o, t.includePad, func(int) {})))
			t.w.count(o, t.includePad, func(at int) { plane[at] += g })
		}
	}
}

// count calls f for the elements under place o and returns the divisor of
// their mean, at least 1.
func (w *WindowND) count(o int, includePad bool, f func(at int)) int {
	n := 0
	w.taps(o, func(_, at int) {
		if at >= 0 {
			f(at)
		}
		if at >= 0 || includePad && at == -1 {
			n++
		}
	})
	return max(n, 1)
}
