package kernel

import (
	"github.com/bonnx/bonnx/internal/cpu"
	"github.com/bonnx/bonnx/internal/half"
	"github.com/bonnx/bonnx/internal/par"
)

// A Format is how the numbers of a Narrow matrix are stored.
type Format uint8

// The formats. Numbers of 4 and 2 bits follow each other from the low bits of
// a byte on.
const (
	NarrowUint2 Format = iota
	NarrowUint4
	NarrowInt4
	NarrowUint8
	NarrowInt8
	NarrowFloat16
	NarrowBFloat16
)

// formatBits is how many bits a number takes.
var formatBits = [...]int{2, 4, 4, 8, 8, 16, 16}

// Bits is how many bits a number takes.
func (f Format) Bits() int { return formatBits[f] }

// Narrow is a matrix of float32 that is stored in fewer bits. With q the number
// that is stored as (i,j), and s = i/Down*ceil(Cols/Across) + j/Across,
//
//	stored element (i,j) = (q - Zeros[s]) * Scales[s]
//
// both steps rounded. Without scales it is q. One zero is for all, none is 0.
type Narrow struct {
	Format Format
	// Rows and Cols are extents as stored; the matrix is (Cols,Rows) where Trans.
	Rows, Cols int
	Trans      bool
	Data       []byte
	Stride     int // bytes from row to row
	// Each scale is for Down rows and Across columns: one, a multiple of four, or
	// all of them.
	Down, Across  int
	Scales, Zeros []float32
}

// Size is the extents of the matrix.
func (w *Narrow) Size() (rows, cols int) {
	if w.Trans {
		return w.Cols, w.Rows
	}
	return w.Rows, w.Cols
}

// Turned is the transpose of w, of the same storage.
func (w *Narrow) Turned() *Narrow {
	t := *w
	t.Trans = !t.Trans
	return &t
}

// The zero and the scale of numbers that have none.
var (
	noZero  = []float32{0}
	noScale = []float32{1}
)

// lines writes parts of rows stored rows, from element (i,j) on, j being a
// multiple of four: where a byte begins.
//
//	for r < rows, c < cols: dst[r*ld+c] = stored(i+r, j+c)
func (w *Narrow) lines(dst []float32, ld, rows, cols, i, j int) {
	switch {
	case w.Scales == nil || w.Across == 1:
		for r := range rows {
			w.unscaled(dst[r*ld:][:cols], i+r, j)
		}
	default:
		w.blocks(dst, ld, rows, cols, i, j)
	}
}

// unscaled is lines for one row without scales, or with a row of them.
func (w *Narrow) unscaled(dst []float32, i, j int) {
	w.widen(dst, i, j, len(dst), noScale, noZero)
	if w.Scales == nil {
		return
	}
	at := i/w.Down*w.Cols + j
	switch {
	case len(w.Zeros) > 1:
		vec32.sub.vv(dst, dst, w.Zeros[at:][:len(dst)])
	case len(w.Zeros) == 1:
		vec32.sub.vs(dst, dst, w.Zeros[0])
	}
	vec32.mul.vv(dst, dst, w.Scales[at:][:len(dst)])
}

// blocks is lines where a scale is for many columns: it takes columns together
// that have one, or that are whole blocks.
func (w *Narrow) blocks(dst []float32, ld, rows, cols, i, j int) {
	per := (w.Cols + w.Across - 1) / w.Across
	for c, n := 0, 0; c < cols; c += n {
		s := (j + c) / w.Across
		n = min(cols-c, (s+1)*w.Across-j-c)
		if whole := (cols - c) / w.Across * w.Across; n == w.Across {
			n = whole
		}
		for r := range rows {
			at, zeros := (i+r)*per+s, noZero
			if w.Down > 1 {
				at = (i+r)/w.Down*per + s
			}
			switch len(w.Zeros) {
			case 0:
			case 1:
				zeros = w.Zeros
			default:
				zeros = w.Zeros[at:]
			}
			w.widen(dst[r*ld+c:][:n], i+r, j+c, w.Across, w.Scales[at:], zeros)
		}
	}
}

// widen writes numbers j to j+len(dst) of stored row i, of which the first block
// have the first of scales, and so on.
func (w *Narrow) widen(dst []float32, i, j, block int, scales, zeros []float32) {
	widenChosen[w.Format](dst, w.Data[i*w.Stride+j*w.Format.Bits()/8:], block, scales, zeros)
}

// A widening writes the numbers that src begins with, number i having scale
// i/block and zero i/block, or the only zero:
//
//	dst[i] = (q[i] - zero) * scale
type widening func(dst []float32, src []byte, block int, scales, zeros []float32)

// widenings has a function for every Format.
type widenings [7]widening

// widenPortable is in plain Go, widenChosen is fixed when the program starts.
var (
	widenPortable = widenings{widenUint2, widenUint4, widenInt4, widenUint8, widenInt8, widenFloat16, widenBFloat16}
	widenChosen   = chooseWidenings(cpu.Detect())
)

func chooseWidenings(f cpu.Features) widenings {
	ws := widenPortable
	for i, w := range platformWidenings(f) {
		if w != nil {
			ws[i] = w
		}
	}
	return ws
}

// inBlocks visits the parts of dst that have a scale in common, from number at
// on.
func inBlocks(dst []float32, block int, scales, zeros []float32, visit func(part []float32, at int, scale, zero float32)) {
	for at, s := 0, 0; at < len(dst); at, s = at+block, s+1 {
		zero := zeros[0]
		if len(zeros) > 1 {
			zero = zeros[s]
		}
		visit(dst[at:min(at+block, len(dst))], at, scales[s], zero)
	}
}

func widenUint2(dst []float32, src []byte, block int, scales, zeros []float32) {
	inBlocks(dst, block, scales, zeros, func(part []float32, at int, scale, zero float32) {
		for i := range part {
			q := src[(at+i)/4] >> ((at + i) % 4 * 2) & 3
			part[i] = (float32(q) - zero) * scale
		}
	})
}

func widenUint4(dst []float32, src []byte, block int, scales, zeros []float32) {
	inBlocks(dst, block, scales, zeros, func(part []float32, at int, scale, zero float32) {
		for i := range part {
			q := src[(at+i)/2] >> ((at + i) % 2 * 4) & 15
			part[i] = (float32(q) - zero) * scale
		}
	})
}

func widenInt4(dst []float32, src []byte, block int, scales, zeros []float32) {
	inBlocks(dst, block, scales, zeros, func(part []float32, at int, scale, zero float32) {
		for i := range part {
			q := int8(src[(at+i)/2]>>((at+i)%2*4)<<4) >> 4
			part[i] = (float32(q) - zero) * scale
		}
	})
}

func widenUint8(dst []float32, src []byte, block int, scales, zeros []float32) {
	inBlocks(dst, block, scales, zeros, func(part []float32, at int, scale, zero float32) {
		for i, q := range src[at:][:len(part)] {
			part[i] = (float32(q) - zero) * scale
		}
	})
}

func widenInt8(dst []float32, src []byte, block int, scales, zeros []float32) {
	inBlocks(dst, block, scales, zeros, func(part []float32, at int, scale, zero float32) {
		for i, q := range src[at:][:len(part)] {
			part[i] = (float32(int8(q)) - zero) * scale
		}
	})
}

func widenFloat16(dst []float32, src []byte, _ int, _, _ []float32) {
	for i := range dst {
		dst[i] = half.F16ToF32(uint16(src[2*i]) | uint16(src[2*i+1])<<8)
	}
}

func widenBFloat16(dst []float32, src []byte, _ int, _, _ []float32) {
	for i := range dst {
		dst[i] = half.BF16ToF32(uint16(src[2*i]) | uint16(src[2*i+1])<<8)
	}
}

// Widen writes the stored elements of w, row by row.
func (w *Narrow) Widen(p *par.Pool, dst []float32) {
	par.Do(p, w.Rows, rowsPerChunk(w.Cols), &widenRows{*w, dst})
}

type widenRows struct {
	w   Narrow
	dst []float32
}

func (t *widenRows) Run(lo, hi int) {
	t.w.lines(t.dst[lo*t.w.Cols:], t.w.Cols, hi-lo, t.w.Cols, lo, 0)
}
