package adapter

import "fmt"

// work is one layer's numbers, ready to be applied to rows of a weight.
type work struct {
	Dims
	blocks [][]float64
	scale  float64
	inv    [][]float64 // bat's unmerge: (I + B_i)^-1
}

// maths is what a method does to a weight, by rows: rows holds rows k0
// onwards of W, row-major. Chunks of rows begin and end at multiples of the
// rank (the last may be shorter). All sums are in float64.
type maths struct {
	// merge turns rows of W into rows of W'.
	merge func(w *work, rows []float64, k0 int)
	// prepare readies w for unmerge, which turns rows of W' into rows of W.
	prepare func(w *work) error
	unmerge func(w *work, rows []float64, k0 int)
	// grad takes rows of W and of the gradient of W'. It adds to the
	// gradients of the blocks and turns drows into the gradient of W.
	grad func(w *work, rows, drows []float64, k0 int, grads [][]float64)
}

// boneMaths is W'[k,j] = W[k,j] + D[k mod r, j mod c], where c, the block's
// width, is out for bone and miss and mini_r for miss-mini. With S the fold of
// x, S[l] = sum of x[k] over k mod r = l, that is y = x W + S D; hence dD = S^T dy,
// which is the fold of x^T dy by rows (and for miss-mini by columns).
var boneMaths = maths{
	merge:   func(w *work, rows []float64, k0 int) { boneAdd(w, rows, k0, 1) },
	prepare: func(*work) error { return nil },
	unmerge: func(w *work, rows []float64, k0 int) { boneAdd(w, rows, k0, -1) },
	grad: func(w *work, _, drows []float64, k0 int, grads [][]float64) {
		width := len(grads[0]) / w.Rank
		for i := 0; i*w.Out < len(drows); i++ {
			row := drows[i*w.Out : (i+1)*w.Out]
			l := (k0 + i) % w.Rank
			g := grads[0][l*width : (l+1)*width]
			for j := 0; j < len(row); j += width {
				for c := range g {
					g[c] += row[j+c]
				}
			}
		}
	},
}

func boneAdd(w *work, rows []float64, k0 int, sign float64) {
	width := len(w.blocks[0]) / w.Rank
	for i := 0; i*w.Out < len(rows); i++ {
		row := rows[i*w.Out : (i+1)*w.Out]
		l := (k0 + i) % w.Rank
		d := w.blocks[0][l*width : (l+1)*width]
		for j := 0; j < len(row); j += width {
			for c, v := range d {
				row[j+c] += sign * v
			}
		}
	}
}

// loraMaths is W'[k,j] = W[k,j] + s sum_l A[l,k] B[j,l], s = alpha/r.
var loraMaths = maths{
	merge:   func(w *work, rows []float64, k0 int) { loraAdd(w, rows, k0, w.scale) },
	prepare: func(*work) error { return nil },
	unmerge: func(w *work, rows []float64, k0 int) { loraAdd(w, rows, k0, -w.scale) },
	grad: func(w *work, _, drows []float64, k0 int, grads [][]float64) {
		a, b := w.blocks[0], w.blocks[1]
		for i := 0; i*w.Out < len(drows); i++ {
			k := k0 + i
			for j, dv := range drows[i*w.Out : (i+1)*w.Out] {
				dv *= w.scale
				for l := range w.Rank {
					grads[0][l*w.In+k] += dv * b[j*w.Rank+l]
					grads[1][j*w.Rank+l] += dv * a[l*w.In+k]
				}
			}
		}
	},
}

func loraAdd(w *work, rows []float64, k0 int, scale float64) {
	a, b := w.blocks[0], w.blocks[1]
	col := make([]float64, w.Rank)
	for i := 0; i*w.Out < len(rows); i++ {
		for l := range col {
			col[l] = scale * a[l*w.In+k0+i]
		}
		row := rows[i*w.Out : (i+1)*w.Out]
		for j := range row {
			sum := 0.0
			for l, v := range col {
				sum += v * b[j*w.Rank+l]
			}
			row[j] += sum
		}
	}
}

// batMaths is, for the tile at input block j and output block i,
//
//	W'_ji = W_ji + B_i^T (W_ji + I)
//	dB_i  = sum_j (W_ji + I) (dW'_ji)^T
//	dW_ji = (I + B_i) dW'_ji
//	W_ji  = (I + B_i)^-T (W'_ji - B_i^T)
var batMaths = maths{
	merge: func(w *work, rows []float64, _ int) {
		batTiles(w, rows, func(i int, tile, old []float64) {
			batApply(w, i, tile, old)
		})
	},
	prepare: func(w *work) error {
		r := w.Rank
		w.inv = make([][]float64, w.Out/r)
		for i := range w.inv {
			m := make([]float64, r*r)
			copy(m, w.blocks[0][i*r*r:])
			for p := range r {
				m[p*r+p]++
			}
			inv, ok := invert(m, r)
			if !ok {
				return fmt.Errorf("bat block %d cannot be taken out again: I + B is singular; keep a copy of the weight instead", i)
			}
			w.inv[i] = inv
		}
		return nil
	},
	unmerge: func(w *work, rows []float64, _ int) {
		r := w.Rank
		batTiles(w, rows, func(i int, tile, old []float64) {
			b := w.blocks[0][i*r*r:]
			for s := range r {
				for q := range r {
					old[s*r+q] -= b[q*r+s]
				}
			}
			mulTransposed(tile, w.inv[i], old, r)
		})
	},
	grad: batGrad,
}

// batTiles calls f for every r by r tile of rows, in place: old is a copy of
// the tile for f to use, tile what f leaves there.
func batTiles(w *work, rows []float64, f func(i int, tile, old []float64)) {
	r, m := w.Rank, w.Out
	tile, old := make([]float64, r*r), make([]float64, r*r)
	for base := 0; base < len(rows); base += r * m {
		for i := range m / r {
			for s := range r {
				copy(old[s*r:(s+1)*r], rows[base+s*m+i*r:])
			}
			copy(tile, old)
			f(i, tile, old)
			for s := range r {
				copy(rows[base+s*m+i*r:], tile[s*r:(s+1)*r])
			}
		}
	}
}

// batApply adds B_i^T (old + I) to tile.
func batApply(w *work, i int, tile, old []float64) {
	r := w.Rank
	b := w.blocks[0][i*r*r:]
	for s := range r {
		src := old[s*r : (s+1)*r]
		for p := range r {
			f := b[s*r+p]
			dst := tile[p*r : (p+1)*r]
			for q, v := range src {
				dst[q] += f * v
			}
			dst[s] += f // B^T I: row p, column s is B[s,p]
		}
	}
}

func batGrad(w *work, rows, drows []float64, _ int, grads [][]float64) {
	r, m := w.Rank, w.Out
	for base := 0; base < len(rows); base += r * m {
		for i := range m / r {
			g := grads[0][i*r*r : (i+1)*r*r]
			for s := range r {
				row := rows[base+s*m+i*r:][:r]
				for p := range r {
					d := drows[base+p*m+i*r:][:r]
					sum := d[s] // I
					for q, v := range d {
						sum += row[q] * v
					}
					g[s*r+p] += sum
				}
			}
		}
	}
	batTiles(w, drows, func(i int, tile, old []float64) {
		b := w.blocks[0][i*r*r:]
		for s := range r {
			dst := tile[s*r : (s+1)*r]
			for p := range r {
				f := b[s*r+p]
				for q, v := range old[p*r : (p+1)*r] {
					dst[q] += f * v
				}
			}
		}
	})
}

// mulTransposed sets dst to a^T b, all r by r.
func mulTransposed(dst, a, b []float64, r int) {
	clear(dst)
	for s := range r {
		for p := range r {
			f := a[s*r+p]
			for q := range r {
				dst[p*r+q] += f * b[s*r+q]
			}
		}
	}
}

// invert is the inverse of the n by n matrix m, which it destroys, by Gauss
// and Jordan with row pivots; ok is false where it is singular to working
// precision.
func invert(m []float64, n int) (inv []float64, ok bool) {
	inv = make([]float64, n*n)
	for i := range n {
		inv[i*n+i] = 1
	}
	scale := 0.0
	for _, v := range m {
		scale = max(scale, v, -v)
	}
	for c := range n {
		p := c
		for i := c + 1; i < n; i++ {
			if abs(m[i*n+c]) > abs(m[p*n+c]) {
				p = i
			}
		}
		if !(abs(m[p*n+c]) > 1e-12*scale) {
			return nil, false
		}
		for j := range n {
			m[c*n+j], m[p*n+j] = m[p*n+j], m[c*n+j]
			inv[c*n+j], inv[p*n+j] = inv[p*n+j], inv[c*n+j]
		}
		f := 1 / m[c*n+c]
		for j := range n {
			m[c*n+j] *= f
			inv[c*n+j] *= f
		}
		for i := range n {
			if f := m[i*n+c]; i != c && f != 0 {
				for j := range n {
					m[i*n+j] -= f * m[c*n+j]
					inv[i*n+j] -= f * inv[c*n+j]
				}
			}
		}
	}
	return inv, true
}

func abs(x float64) float64 {
	if x < 0 {
		return -x
	}
	return x
}
