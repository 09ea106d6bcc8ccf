package kernel

// Pooling is separable: rows under the window are folded to one line first, and
// then columns of the line. Lines lie on the stack.

// longestLine is how long a padded line may be.
const longestLine = 1 << 10

// lineFits reports whether the padded lines of a window can be folded so.
func (w *Window) lineFits() bool { return w.lineEnd() <= longestLine }

// lineEnd is where the last place of the window ends in a padded line, or the
// line itself.
func (w *Window) lineEnd() int {
	return max(w.Left+w.W, (w.OW-1)*w.StrideW+(w.KW-1)*w.DilationW+1)
}

// rowsUnder are the rows of the plane under row i of places: those from first
// to before last, step apart.
func (w *Window) rowsUnder(i int) (first, last, step int) {
	first, step = i*w.StrideH-w.Top, w.DilationH
	last = min(first+(w.KH-1)*step+1, w.H)
	if first < 0 {
		first += (-first + step - 1) / step * step
	}
	return first, last, step
}

// maxLines is MaxPool of planes from lo to before hi.
func maxLines(w *Window, y, x []float32, low float32, lo, hi int) {
	var fixed [longestLine]float32
	line := fixed[:w.lineEnd()]
	inner := line[w.Left:][:w.W]
	for c := lo; c < hi; c++ {
		plane := x[c*w.H*w.W:][:w.H*w.W]
		for i := range w.OH {
			fill(line[:w.Left], low)
			fill(line[w.Left+w.W:], low)
			first, last, step := w.rowsUnder(i)
			if first < last {
				copy(inner, plane[first*w.W:])
			} else {
				fill(inner, low)
			}
			for r := first + step; r < last; r += step {
				maxLine32(inner, plane[r*w.W:])
			}
			maxColumns(w, y[(c*w.OH+i)*w.OW:][:w.OW], line)
		}
	}
}

// maxColumns is y[j] = max over the taps b of line[j*StrideW+b*DilationW].
func maxColumns(w *Window, y, line []float32) {
	if w.StrideW == 1 {
		copy(y, line)
		for b := 1; b < w.KW; b++ {
			maxLine32(y, line[b*w.DilationW:])
		}
		return
	}
	if w.DilationW == 1 { // windows that begin anywhere, of which some are wanted
		slidingMax(line, w.KW)
		for j := range y {
			y[j] = line[j*w.StrideW]
		}
		return
	}
	for j := range y {
		best := line[j*w.StrideW]
		for b := 1; b < w.KW; b++ {
			best = max(best, line[j*w.StrideW+b*w.DilationW])
		}
		y[j] = best
	}
}

// slidingMax makes line[i] the greatest of line[i:i+k], as far as there are as
// many: windows of one, two, four and so on, of which two make up k. What an
// element takes lies after it and is not written yet.
func slidingMax(line []float32, k int) {
	n := len(line) - k + 1
	for wide := 1; wide < k; {
		by := min(wide, k-wide)
		line = line[:n+k-wide]
		maxLine32(line[:len(line)-by], line[by:])
		wide += by
	}
}

// averageLines is AveragePool of planes from lo to before hi.
func averageLines[T Float](w *Window, y, x []T, includePad bool, lo, hi int) {
	var fixed [longestLine]float64
	line := fixed[:w.lineEnd()]
	for c := lo; c < hi; c++ {
		plane := x[c*w.H*w.W:][:w.H*w.W]
		for i := range w.OH {
			clear(line)
			first, last, step := w.rowsUnder(i)
			for r := first; r < last; r += step {
				addLine(line[w.Left:][:w.W], plane[r*w.W:][:w.W])
			}
			high := countUnder(i, w.StrideH, w.KH, w.DilationH, w.Top, w.H, w.Bottom, includePad)
			averageColumns(w, y[(c*w.OH+i)*w.OW:][:w.OW], line, high, includePad)
		}
	}
}

func averageColumns[T Float](w *Window, y []T, line []float64, high int, includePad bool) {
	inside := w.KW // of a place that lies within the plane
	for j := range y {
		at := line[j*w.StrideW:]
		s := at[0]
		for b := 1; b < w.KW; b++ {
			s += at[b*w.DilationW]
		}
		wide := inside
		if from := j*w.StrideW - w.Left; from < 0 || from+(w.KW-1)*w.DilationW >= w.W {
			wide = countUnder(j, w.StrideW, w.KW, w.DilationW, w.Left, w.W, w.Right, includePad)
		}
		y[j] = T(s / float64(max(high*wide, 1)))
	}
}

// countUnder is how many taps count of a window's place along an axis of n
// elements: those inside, and where includePad those in the padding.
func countUnder(place, stride, taps, dilation, before, n, after int, includePad bool) int {
	if includePad {
		n += after
	}
	count := 0
	for a := range taps {
		at := place*stride + a*dilation - before
		if at < n && (at >= 0 || includePad) {
			count++
		}
	}
	return count
}
