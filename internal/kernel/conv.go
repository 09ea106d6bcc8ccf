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

// A convTask is the products of a convolution, one per image and group: the
// forward, or the gradient for x where back.
type convTask[T Float] struct {
	c             *Conv
	x, y, w, bias []T // x is what back writes, from y
	back          bool
	scratch       []T
	need, size    int // scratch of a product, products of a chunk
}

// run computes all products, small ones several at a time.
func (t *convTask[T]) run(p *par.Pool) {
	m, n, k := t.c.gemmSizes()
	var chunks int
	t.need = convNeed[T](t.c)
	if chunks, t.size = batchCut(t.c.parts(), m, n, k); chunks > 0 {
		par.Do(p, t.c.parts(), t.size, t)
		return
	}
	for l := range t.c.parts() {
		t.part(p, l, t.scratch[:t.need])
	}
}

func (t *convTask[T]) Run(lo, hi int) {
	mine := t.scratch[lo/t.size*t.need:][:t.need]
	for l := lo; l < hi; l++ {
		t.part(nil, l, mine)
	}
}

// part is the product of image and group l, with the pool that it may use and
// its own scratch.
func (t *convTask[T]) part(p *par.Pool, l int, scratch []T) {
	c := t.c
	m, n, k := c.gemmSizes()
	ox, ow, oy := c.part(l)
	x, y, w := t.x[ox:], t.y[oy:], t.w[ow:]
	if t.back {
		cols, rest := x[:c.C/c.Groups*c.H*c.W], scratch
		if !c.whole() {
			cols, rest = scratch[:n*k], scratch[n*k:]
		}
		Gemm(p, true, false, k, n, m, 1, w, k, y, n, false, cols, n, rest)
		if !c.whole() {
			par.Do(p, c.C/c.Groups, rowsPerChunk(c.KH*c.KW*n), &tapping[T]{&c.Window, cols, x, true})
		}
		return
	}
	out := y[:m*n]
	if c.depthwise() {
		par.Do(p, c.OH, rowsPerChunk(k*c.OW), &depthwise[T]{c, out, x, w, from(t.bias, l%c.Groups)})
		return
	}
	cols, rest := taps(p, c, x, scratch)
	if t.bias != nil {
		for i, b := range t.bias[l%c.Groups*m:][:m] {
			fill(out[i*n:][:n], b)
		}
	}
	Gemm(p, false, false, m, n, k, 1, w, k, cols, n, t.bias != nil, out, n, rest)
}

// depthwise reports a convolution of each channel by itself, in which lines lie
// beside the lines that they are made of.
func (c *Conv) depthwise() bool { return c.C == c.Groups && c.M == c.Groups && c.StrideW == 1 }

// A depthwise is rows of one channel.
type depthwise[T Float] struct {
	c             *Conv
	y, x, w, bias []T
}

func (t *depthwise[T]) Run(lo, hi int) {
	c, add := t.c, vec[T]().addScaled
	for i := lo; i < hi; i++ {
		y := t.y[i*c.OW:][:c.OW]
		if t.bias != nil {
			fill(y, t.bias[0])
		} else {
			clear(y)
		}
		for a := range c.KH {
			r := i*c.StrideH + a*c.DilationH - c.Top
			if r < 0 || r >= c.H {
				continue
			}
			for b := range c.KW {
				off := b*c.DilationW - c.Left
				if j0, j1 := span(c.OW, c.W, 1, off); j0 < j1 {
					add(y[j0:j1], t.x[r*c.W+j0+off:], t.w[a*c.KW+b])
				}
			}
		}
	}
}

// taps is the operand (depth, OH*OW) of one group of x, and the scratch left.
func taps[T Float](p *par.Pool, c *Conv, x, scratch []T) (cols, rest []T) {
	if c.whole() {
		return x, scratch
	}
	_, n, k := c.gemmSizes()
	cols = scratch[:n*k]
	par.Do(p, c.C/c.Groups, rowsPerChunk(c.KH*c.KW*n), &tapping[T]{&c.Window, cols, x, false})
	return cols, scratch[n*k:]
}

// tapping lays out the taps of planes, or adds them back.
type tapping[T Float] struct {
	w       *Window
	cols, x []T
	back    bool
}

func (t *tapping[T]) Run(lo, hi int) {
	plane, each := t.w.H*t.w.W, t.w.KH*t.w.KW*t.w.OH*t.w.OW
	for ch := lo; ch < hi; ch++ {
		x, cols := t.x[ch*plane:][:plane], t.cols[ch*each:][:each]
		if !t.back {
			im2col(t.w, cols, x)
			continue
		}
		clear(x)
		col2im(t.w, x, cols)
	}
}

// Conv2D is the convolution (cross-correlation), with g the group of m:
//
//	y[n,m,i,j] = bias[m] + sum over c, a, b of
//		w[m,c,a,b] * x[n, g*C/Groups+c, i*StrideH+a*DilationH-Top, j*StrideW+b*DilationW-Left]
//
// x is 0 outside of its planes; bias (M) may be nil.
func Conv2D[T Float](p *par.Pool, c *Conv, y, x, w, bias, scratch []T) {
	t := convTask[T]{c: c, x: x, y: y, w: w, bias: bias, scratch: scratch}
	t.run(p)
}

// Conv2DGradX is the gradient of Conv2D for x, from dy. With the roles of x and
// y swapped it is a transposed convolution.
func Conv2DGradX[T Float](p *par.Pool, c *Conv, dx, dy, w, scratch []T) {
	t := convTask[T]{c: c, x: dx, y: dy, w: w, back: true, scratch: scratch}
	t.run(p)
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
	par.Do(p, c.M, rowsPerChunk(c.N*n), &biasGrad[T]{c.N, c.M, n, dbias, dy})
}

type biasGrad[T Float] struct {
	images, channels, n int
	dbias, dy           []T
}

func (t *biasGrad[T]) Run(lo, hi int) {
	for m := lo; m < hi; m++ {
		var s float64
		for img := range t.images {
			s += sumRow(t.dy[(img*t.channels+m)*t.n:][:t.n])
		}
		t.dbias[m] = T(s)
	}
}
