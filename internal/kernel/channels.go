package kernel

import (
	"math"

	"github.com/bonnx/bonnx/internal/par"
)

// ChannelAffine scales and shifts the channels of x (n,channels,inner), in
// place where y is x; shift may be nil:
//
//	y[i,c,j] = x[i,c,j]*scale[c] + shift[c]
func ChannelAffine[T Float](p *par.Pool, n, channels, inner int, y, x, scale, shift []T) {
	par.Do(p, n*channels, rowsPerChunk(inner), &channelAffine[T]{channels, inner, y, x, scale, shift})
}

type channelAffine[T Float] struct {
	channels, inner    int
	y, x, scale, shift []T
}

func (t *channelAffine[T]) Run(lo, hi int) {
	for l := lo; l < hi; l++ {
		a, b := t.scale[l%t.channels], T(0)
		if t.shift != nil {
			b = t.shift[l%t.channels]
		}
		vec[T]().affine(t.y[l*t.inner:][:t.inner], t.x[l*t.inner:][:t.inner], a, b)
	}
}

// GroupNorm normalises groups of channels of x (n,channels,inner) and then
// scales and shifts the channels:
//
//	y[i,c,j] = (x[i,c,j]-mean)/sqrt(var+eps)*scale[c] + shift[c]
//
// mean and var being those of the channels/groups channels of c's group.
func GroupNorm[T Float](p *par.Pool, n, channels, groups, inner int, y, x, scale, shift []T, eps float64) {
	each := channels / max(groups, 1)
	par.Do(p, n*groups, rowsPerChunk(3*each*inner), &groupNorm[T]{groups, each, inner, y, x, scale, shift, eps})
}

type groupNorm[T Float] struct {
	groups, each, inner int
	y, x, scale, shift  []T
	eps                 float64
}

func (t *groupNorm[T]) Run(lo, hi int) {
	v, n := vec[T](), t.each*t.inner
	for g := lo; g < hi; g++ {
		x, y := t.x[g*n:][:n], t.y[g*n:][:n]
		mean := v.sum(x) / float64(n)
		inv := 1 / math.Sqrt(v.around(x, mean)/float64(n)+t.eps)
		for k := range t.each {
			c, at := g%t.groups*t.each+k, k*t.inner
			v.centred(y[at:][:t.inner], x[at:][:t.inner], mean, inv*float64(t.scale[c]), float64(t.shift[c]))
		}
	}
}

// LRN is local response normalisation over the channels of x (n,channels,inner):
//
//	y[i,c,j] = x[i,c,j] / (bias + alpha/size * sum_k x[i,k,j]**2)**beta
//
// where k goes from c-(size-1)/2, rounded down, to c+(size-1)/2, rounded up, as
// far as there are channels.
func LRN[T Float](p *par.Pool, n, channels, inner int, y, x []T, size int, alpha, beta, bias float64) {
	par.Do(p, n*channels, rowsPerChunk(8*size*inner), &lrn[T]{channels, inner, size, y, x, alpha, beta, bias})
}

type lrn[T Float] struct {
	channels, inner, size int
	y, x                  []T
	alpha, beta, bias     float64
}

func (t *lrn[T]) Run(lo, hi int) {
	before, after := (t.size-1)/2, t.size/2
	for l := lo; l < hi; l++ {
		c := l % t.channels
		first, last := max(c-before, 0), min(c+after, t.channels-1)
		base := (l - c) * t.inner
		for j := range t.inner {
			var s float64
			for k := first; k <= last; k++ {
				v := float64(t.x[base+k*t.inner+j])
				s += v * v
			}
			t.y[l*t.inner+j] = T(float64(t.x[l*t.inner+j]) / math.Pow(t.bias+t.alpha/float64(t.size)*s, t.beta))
		}
	}
}
