package kernel

// A Window is how a kernel passes over planes (H,W) to give planes (OH,OW), in
// convolutions and pooling. One-dimensional windows have H, KH, OH, StrideH and
// DilationH of 1. Outside of the plane lie zeros (nothing, for pooling).
type Window struct {
	H, W                     int
	KH, KW                   int
	StrideH, StrideW         int
	DilationH, DilationW     int
	Top, Left, Bottom, Right int // padding
	OH, OW                   int
}

// OutExtent is the extent of the output along an axis of extent in: the number
// of places of the window, rounded down, or up where ceil (but no place begins
// in the padding after the end).
func OutExtent(in, kernel, stride, dilation, before, after int, ceil bool) int {
	span := in + before + after - dilation*(kernel-1) - 1
	if span < 0 {
		return 0
	}
	if !ceil {
		return span/stride + 1
	}
	n := (span+stride-1)/stride + 1
	if (n-1)*stride >= in+before {
		n--
	}
	return n
}

// span is the range of outputs [lo,hi) whose tap at offset off (tap*dilation -
// padding before) lies within [0,n).
func span(out, n, stride, off int) (lo, hi int) {
	if off < 0 {
		lo = (-off + stride - 1) / stride
	}
	if n-off > 0 {
		hi = min(out, (n-off-1)/stride+1)
	}
	return min(lo, out), max(hi, min(lo, out))
}

// whole reports a window that leaves planes as they are: 1x1, stride 1.
func (w *Window) whole() bool {
	return w.KH == 1 && w.KW == 1 && w.StrideH == 1 && w.StrideW == 1 &&
		w.Top == 0 && w.Left == 0 && w.Bottom == 0 && w.Right == 0
}

// im2col lays out the taps of one plane x: row (a,b) of cols (KH*KW, OH*OW) is
//
//	cols[a*KW+b, i*OW+j] = x[i*StrideH+a*DilationH-Top, j*StrideW+b*DilationW-Left], 0 outside
func im2col[T Float](w *Window, cols, x []T) {
	for a := range w.KH {
		offI := a*w.DilationH - w.Top
		i0, i1 := span(w.OH, w.H, w.StrideH, offI)
		for b := range w.KW {
			offJ := b*w.DilationW - w.Left
			j0, j1 := span(w.OW, w.W, w.StrideW, offJ)
			row := cols[(a*w.KW+b)*w.OH*w.OW:][:w.OH*w.OW]
			clear(row[:i0*w.OW])
			for i := i0; i < i1; i++ {
				tapRow(row[i*w.OW:][:w.OW], x[(i*w.StrideH+offI)*w.W:][:w.W], j0, j1, w.StrideW, offJ)
			}
			clear(row[i1*w.OW:])
		}
	}
}

// tapRow is d[j] = x[j*stride+off] for j in [j0,j1), 0 elsewhere.
func tapRow[T Float](d, x []T, j0, j1, stride, off int) {
	clear(d[:j0])
	clear(d[j1:])
	if stride == 1 {
		if j1 > j0 {
			copy(d[j0:j1], x[j0+off:])
		}
		return
	}
	for j := j0; j < j1; j++ {
		d[j] = x[j*stride+off]
	}
}

// col2im adds the taps in cols back to the plane x: the transpose of im2col.
func col2im[T Float](w *Window, x, cols []T) {
	for a := range w.KH {
		offI := a*w.DilationH - w.Top
		i0, i1 := span(w.OH, w.H, w.StrideH, offI)
		for b := range w.KW {
			offJ := b*w.DilationW - w.Left
			j0, j1 := span(w.OW, w.W, w.StrideW, offJ)
			row := cols[(a*w.KW+b)*w.OH*w.OW:]
			for i := i0; i < i1; i++ {
				to := x[(i*w.StrideH+offI)*w.W:][:w.W]
				from := row[i*w.OW:][:w.OW]
				for j := j0; j < j1; j++ {
					to[j*w.StrideW+offJ] += from[j]
				}
			}
		}
	}
}
