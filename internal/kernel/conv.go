package kernel

import "github.com/bonnx/bonnx/internal/par"

// A Conv is the sizes of a convolution of x (N,C,H,W) with weights
// w (M,C/Groups,KH,KW) to y (N,M,OH,OW). Groups divides C and M.
type Conv struct {
	Window
	N, C, M, Groups int
}

// depth is how many taps one output is the sum of.
func (c *Conv) depth() int { return c.C / c.Groups * c.KH * c.KW }

// parts is the number of products: one per image and group.
func (c *Conv) parts() int { return c.N * c.Groups }

// gemmSizes of y = w*cols for one image and group.
func (c *Conv) gemmSizes() (m, n, k int) { return c.M / c.Groups, c.OH * c.OW, c.depth() }

// part is where image and group number l begin in x, w and y.
func (c *Conv) part(l int) (x, w, y int) {
	m, n, k := c.gemmSizes()
	img, g := l/c.Groups, l%c.Groups
	plane := c.H * c.W
	return (img*c.C + g*c.C/c.Groups) * plane, g * m * k, (img*c.M + g*m) * n
}

// ConvScratch is how many elements of scratch the convolutions need.
func ConvScratch[T Float](c *Conv) int {
	m, n, k := c.gemmSizes()
	chunks, _ := batchCut(c.parts(), m, n, k)
	return max(chunks, 1) * convNeed[T](c)
}

// convNeed is the scratch of one product: the taps, and the largest of the
// products of the forward and of both gradients.
func convNeed[T Float](c *Conv) int {
	m, n, k := c.gemmSizes()
	cols := n * k
	if c.whole() {
		cols = 0
	}
	return cols + max(GemmScratch[T](m, n, k), GemmScratch[T](k, n, m), GemmScratch[T](m, k, n))
}

// convEach runs f for each image and group l, for small products several at a
// time: f gets the pool it may use and its own scratch.
func convEach[T Float](p *par.Pool, c *Conv, scratch []T, f func(p *par.Pool, l int, scratch []T)) {
	m, n, k := c.gemmSizes()
	need := convNeed[T](c)
	chunks, size := batchCut(c.parts(), m, n, k)
	if chunks == 0 {
		for l := range c.parts() {
			f(p, l, scratch[:need])
		}
		return
	}
	p.For(c.parts(), size, func(lo, hi int) {
		mine := scratch[lo/size*need:][:need]
		for l := lo; l < hi; l++ {
			f(nil, l, mine)
		}
	})
}

// taps is the operand (depth, OH*OW) of one group of x, and the scratch left.
func taps[T Float](p *par.Pool, c *Conv, x, scratch []T) (cols, rest []T) {
	if c.whole() {
		return x, scratch
	}
	_, n, k := c.gemmSizes()
	cols = scratch[:n*k]
	each := c.KH * c.KW * n
	p.For(c.C/c.Groups, rowsPerChunk(each), func(lo, hi int) {
		for ch := lo; ch < hi; ch++ {
			im2col(&c.Window, cols[ch*each:][:each], x[ch*c.H*c.W:][:c.H*c.W])
		}
	})
	return cols, scratch[n*k:]
}

// Conv2D is the convolution (cross-correlation), with g the group of m:
//
//	y[n,m,i,j] = bias[m] + sum over c, a, b of
//		w[m,c,a,b] * x[n, g*C/Groups+c, i*StrideH+a*DilationH-Top, j*StrideW+b*DilationW-Left]
//
// x is 0 outside of its planes; bias (M) may be nil.
func Conv2D[T Float](p *par.Pool, c *Conv, y, x, w, bias, scratch []T) {
	m, n, k := c.gemmSizes()
	convEach(p, c, scratch, func(p *par.Pool, l int, scratch []T) {
		ox, ow, oy := c.part(l)
		cols, rest := taps(p, c, x[ox:], scratch)
		out := y[oy:][:m*n]
		if bias != nil {
			for i, b := range bias[l%c.Groups*m:][:m] {
				fill(out[i*n:][:n], b)
			}
		}
		Gemm(p, false, false, m, n, k, 1, w[ow:], k, cols, n, bias != nil, out, n, rest)
	})
}

// Conv2DGradX is the gradient of Conv2D for x, from dy. With the roles of x and
// y swapped it is a transposed convolution.
func Conv2DGradX[T Float](p *par.Pool, c *Conv, dx, dy, w, scratch []T) {
	m, n, k := c.gemmSizes()
	plane := c.H * c.W
	convEach(p, c, scratch, func(p *par.Pool, l int, scratch []T) {
		ox, ow, oy := c.part(l)
		dst := dx[ox:][:c.C/c.Groups*plane]
		if c.whole() {
			Gemm(p, true, false, k, n, m, 1, w[ow:], k, dy[oy:], n, false, dst, n, scratch)
			return
		}
		cols, rest := scratch[:n*k], scratch[n*k:]
		Gemm(p, true, false, k, n, m, 1, w[ow:], k, dy[oy:], n, false, cols, n, rest)
		each := c.KH * c.KW * n
		p.For(c.C/c.Groups, rowsPerChunk(each), func(lo, hi int) {
			for ch := lo; ch < hi; ch++ {
				img := dst[ch*plane:][:plane]
				clear(img)
				col2im(&c.Window, img, cols[ch*each:][:each])
			}
		})
	})
}

// Conv2DGradW is the gradient of Conv2D for w, from x and dy. Images are added
// one after the other.
func Conv2DGradW[T Float](p *par.Pool, c *Conv, dw, x, dy, scratch []T) {
	m, n, k := c.gemmSizes()
	clear(dw[:c.M*k])
	for l := range c.parts() {
		ox, ow, oy := c.part(l)
		cols, rest := taps(p, c, x[ox:], scratch)
		Gemm(p, false, true, m, k, n, 1, dy[oy:], n, cols, n, true, dw[ow:], k, rest)
	}
}

// Conv2DGradBias is the gradient of Conv2D for the bias: dbias[m] = sum over
// n, i, j of dy[n,m,i,j].
func Conv2DGradBias[T Float](p *par.Pool, c *Conv, dbias, dy []T) {
	n := c.OH * c.OW
	p.For(c.M, rowsPerChunk(c.N*n), func(lo, hi int) {
		for m := lo; m < hi; m++ {
			var s float64
			for img := range c.N {
				s += sumRow(dy[(img*c.M+m)*n:][:n])
			}
			dbias[m] = T(s)
		}
	})
}
