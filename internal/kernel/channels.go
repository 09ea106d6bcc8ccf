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
	p.For(n*channels, rowsPerChunk(inner), func(lo, hi int) {
		for l := lo; l < hi; l++ {
			a, b := scale[l%channels], T(0)
			if shift != nil {
				b = shift[l%channels]
			}
			dst, src := y[l*inner:][:inner], x[l*inner:][:inner]
			for j, v := range src {
				dst[j] = T(v*a) + b
			}
		}
	})
}

// LRN is local response normalisation over the channels of x (n,channels,inner):
//
//	y[i,c,j] = x[i,c,j] / (bias + alpha/size * sum_k x[i,k,j]**2)**beta
//
// where k goes from c-(size-1)/2, rounded down, to c+(size-1)/2, rounded up, as
// far as there are channels.
func LRN[T Float](p *par.Pool, n, channels, inner int, y, x []T, size int, alpha, beta, bias float64) {
	before, after := (size-1)/2, size/2
	p.For(n*channels, rowsPerChunk(8*size*inner), func(lo, hi int) {
		for l := lo; l < hi; l++ {
			c := l % channels
			first, last := max(c-before, 0), min(c+after, channels-1)
			base := (l - c) * inner
			for j := range inner {
				var s float64
				for k := first; k <= last; k++ {
					v := float64(x[base+k*inner+j])
					s += v * v
				}
				y[l*inner+j] = T(float64(x[l*inner+j]) / math.Pow(bias+alpha/float64(size)*s, beta))
			}
		}
	})
}
