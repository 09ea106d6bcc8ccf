package kernel

import "github.com/bonnx/bonnx/internal/cpu"

// panelWidth is the width of the panels that are made of a Narrow without
// strips between.
const panelWidth = 32

// A panelWidening makes panels of a format. What it does not take, and all on
// other processors, goes by strips.
type panelWidening struct {
	unit   int  // how many numbers of a row across takes at once, in blocks too
	scaled bool // numbers have zeros and scales
	sign   int  // the bit of the sign of integers, 0 where they have none

	// across makes 16 columns of a panel of as many stored rows, along lines of a
	// panel of stored rows, and columns lines that have a scale for each column.
	// Rows lie stride bytes apart from src on:
	//
	//	for p < k, c < 16: dst[p*panelWidth+c] = (q[c][p] - zeros[p/block*stepZero+c]) * scales[p/block*stepScale+c]
	//	for p < k, c < panelWidth: dst[p*panelWidth+c] = (q[p][c] - zeros[p*stepZero]) * scales[p*stepScale]
	//	for p < k, c < panelWidth: dst[p*panelWidth+c] = (q[p][c] - zeros[c]) * scales[c]
	across, along, columns panelFunc
}

type panelFunc func(k, block int, dst *float32, src *byte, stride int, scales, zeros *float32, stepScale, stepZero, sign int)

// panelWidenings has an entry for every Format, empty where there is none.
type panelWidenings [7]panelWidening

// panelsChosen is fixed when the program starts.
var panelsChosen = platformPanels(cpu.Detect())

// byStrips tells whether b is a Narrow that mostly is packed by strips, in panels
// of width nr.
func (b *narrowB) byStrips(nr int) bool {
	return b.w != nil && (panelsChosen[b.w.Format].unit == 0 || nr != panelWidth)
}

// packPanel fills the panel of n columns of op(B) from j on directly; false where
// it has to go by strips. tables holds stripSize elements.
func (b *narrowB) packPanel(row *gemmRow[float32], panel, tables []float32, p0, kc, j, n int) bool {
	f := &panelsChosen[b.w.Format]
	if f.unit == 0 || row.nr != panelWidth || n%16 != 0 || f.scaled && b.w.Scales == nil {
		return false
	}
	add, lda, repeat := b.added(j, n)
	if b.d != nil && add == nil {
		return false
	}
	switch {
	case b.along && n == panelWidth && f.scaled && b.w.Across == 1:
		b.panelColumns(f, panel, tables, p0, kc, j)
	case b.along && !b.panelAlong(f, panel, p0, kc, j, n), !b.along && !b.panelAcross(f, row, panel, tables, p0, kc, j, n):
		return false
	}
	for p := 0; add != nil && p < kc; {
		at := (p0 + p) % repeat
		lines := min(repeat-at, kc-p)
		row.lines(lines, n, panelWidth, panel[p*panelWidth:], panelWidth, add[at*lda:], lda, panel[p*panelWidth:])
		p += lines
	}
	return true
}

// added is what is added to n columns of op(B) from j on, with lda from line to
// line: line p has line p%repeat. It is nil where no lines are.
func (b *narrowB) added(j, n int) (add []float32, lda, repeat int) {
	switch {
	case b.d == nil:
	case b.along != b.w.Trans: // op(B) is the matrix itself
		return b.d[j:], b.ldd, b.r
	case b.turned != nil && j%b.r+n <= b.r:
		return b.turned[j%b.r:], b.r, b.w.Rows
	}
	return nil, 0, 1
}

// panelAlong is packPanel where stored rows are lines.
func (b *narrowB) panelAlong(f *panelWidening, panel []float32, p0, kc, j, n int) bool {
	w := b.w
	if n != panelWidth {
		return false
	}
	scales, zeros, step, stepZero := noScale, noZero, 0, 0
	if f.scaled {
		per := (w.Cols + w.Across - 1) / w.Across
		if w.Down == 1 {
			step = per
		} else if len(w.Scales) > 1 {
			return false
		}
		if j%w.Across+n > w.Across {
			return false
		}
		at := p0*step + j/w.Across
		scales = w.Scales[at:]
		if len(w.Zeros) > 1 {
			zeros, stepZero = w.Zeros[at:], step
		} else if len(w.Zeros) == 1 {
			zeros = w.Zeros
		}
	}
	src := w.Data[p0*w.Stride+j*w.Format.Bits()/8:]
	_, _ = src[(kc-1)*w.Stride+(n*w.Format.Bits()-1)/8], panel[kc*panelWidth-1]
	_, _ = scales[(kc-1)*step], zeros[(kc-1)*stepZero]
	f.along(kc, 0, &panel[0], &src[0], w.Stride, &scales[0], &zeros[0], step, stepZero, f.sign)
	return true
}

// panelColumns is packPanel where stored rows are lines, some of which have a row
// of scales.
func (b *narrowB) panelColumns(f *panelWidening, panel, zeros []float32, p0, kc, j int) {
	w, bits := b.w, b.w.Format.Bits()
	if len(w.Zeros) < 2 {
		fill(zeros[:panelWidth], only(w.Zeros))
	}
	for p, lines := 0, 0; p < kc; p += lines {
		lines = min(kc-p, w.Down-(p0+p)%w.Down)
		at := (p0+p)/w.Down*w.Cols + j
		if len(w.Zeros) > 1 {
			zeros = w.Zeros[at:]
		}
		src, scales := w.Data[(p0+p)*w.Stride+j*bits/8:], w.Scales[at:]
		_, _ = src[(lines-1)*w.Stride+panelWidth*bits/8-1], panel[(p+lines)*panelWidth-1]
		_, _ = scales[panelWidth-1], zeros[panelWidth-1]
		f.columns(lines, 0, &panel[p*panelWidth], &src[0], w.Stride, &scales[0], &zeros[0], 0, 0, f.sign)
	}
}

// panelAcross is packPanel where stored rows are columns. tables takes their
// scales and zeros as columns.
func (b *narrowB) panelAcross(f *panelWidening, row *gemmRow[float32], panel, tables []float32, p0, kc, j, n int) bool {
	w := b.w
	if kc%f.unit != 0 {
		return false
	}
	scales, zeros, block, step, stepZero := noScale, noZero, kc, 0, 0
	if f.scaled {
		if p0%w.Across+kc > w.Across { // some blocks
			block = w.Across
		}
		if w.Down != 1 && len(w.Scales) > 1 || block%f.unit != 0 || block < kc && p0%block != 0 {
			return false
		}
		count := (kc + block - 1) / block
		scales, zeros = tables[:stripSize/2], tables[stripSize/2:]
		step = w.columns(row, scales, w.Scales, j, n, p0/w.Across, count)
		stepZero = w.columns(row, zeros, w.Zeros, j, n, p0/w.Across, count)
	}
	bits := w.Format.Bits()
	for c := 0; c < n; c += 16 {
		src := w.Data[(j+c)*w.Stride+p0*bits/8:]
		_, _ = src[15*w.Stride+kc*bits/8-1], panel[(kc-1)*panelWidth+c+15]
		from, zero := 0, 0
		if step > 0 {
			from = c
		}
		if stepZero > 0 {
			zero = c
		}
		f.across(kc, block, &panel[c], &src[0], w.Stride, &scales[from], &zeros[zero], step, stepZero, f.sign)
	}
	return true
}

// columns turns the scales or zeros of count blocks from block on of n stored rows
// from i on, panelWidth from block to block. Where one is for all it stands
// for all rows, and 0 is returned.
func (w *Narrow) columns(row *gemmRow[float32], dst, values []float32, i, n, block, count int) int {
	if len(values) > 1 {
		per := (w.Cols + w.Across - 1) / w.Across
		row.turn(count, n, values[i*per+block:], per, nil, 0, dst, panelWidth)
		return panelWidth
	}
	fill(dst[:16], only(values))
	return 0
}

// only is the one value that there is, 0 where there is none.
func only(values []float32) float32 {
	if len(values) == 0 {
		return 0
	}
	return values[0]
}
