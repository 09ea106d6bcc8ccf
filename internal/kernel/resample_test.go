package kernel

import "testing"

func TestResample(t *testing.T) {
	// rows: nothing; x1; x0/2 + x2; x2 twice
	r := &Resampling{In: 3, Out: 4, Start: []int{0, 0, 1, 3, 5}, At: []int{1, 0, 2, 2, 2}, Weight: []float64{1, 0.5, 1, 2, 0.25}}
	dense := [4][3]float64{{}, {0, 1, 0}, {0.5, 0, 1}, {0, 0, 2.25}}
	for _, inner := range []int{1, 2, 5} {
		x := make([]float64, 2*3*inner)
		for i := range x {
			x[i] = float64(i*i%13) - 4
		}
		y := make([]float64, 2*4*inner)
		Resample(nil, r, 2, inner, y, x)
		back := make([]float64, len(x))
		Resample(nil, r.Transposed(), 2, inner, back, y)
		for i := range 2 {
			for j := range inner {
				var want [4]float64
				for o := range dense {
					for k, w := range dense[o] {
						want[o] += w * x[(i*3+k)*inner+j]
					}
					if got := y[(i*4+o)*inner+j]; got != want[o] {
						t.Errorf("inner %d, (%d,%d,%d): got %g, want %g", inner, i, o, j, got, want[o])
					}
				}
				for k := range 3 {
					sum := 0.0
					for o := range dense {
						sum += dense[o][k] * want[o]
					}
					if got := back[(i*3+k)*inner+j]; got != sum {
						t.Errorf("inner %d, transposed (%d,%d,%d): got %g, want %g", inner, i, k, j, got, sum)
					}
				}
			}
		}
	}
}
