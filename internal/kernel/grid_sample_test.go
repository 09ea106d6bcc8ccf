package kernel

import (
	"math"
	"math/rand/v2"
	"testing"
)

// TestGridSampleLinear compares with the product of hats, in two axes.
func TestGridSampleLinear(t *testing.T) {
	size, points := []int{4, 5}, 200
	rng := rand.New(rand.NewPCG(7, 8))
	x, grid := make([]float64, 2*20), make([]float64, 2*points)
	for i := range x {
		x[i] = rng.NormFloat64()
	}
	for i := range grid {
		grid[i] = 3*rng.Float64() - 1.5
	}
	y := make([]float64, 2*points)
	GridSample(nil, Sampling{Degree: 1, Corners: true}, size, 2, points, y, x, grid)
	hat := func(d float64) float64 { return max(0, 1-math.Abs(d)) }
	for p := range points {
		col, row := (grid[2*p]+1)*2, (grid[2*p+1]+1)*1.5
		for c := range 2 {
			want := 0.0
			for i := range 4 {
				for j := range 5 {
					want += x[c*20+i*5+j] * hat(row-float64(i)) * hat(col-float64(j))
				}
			}
			if got := y[c*points+p]; math.Abs(got-want) > 1e-12 {
				t.Fatalf("point %d, channel %d: got %g, want %g", p, c, got, want)
			}
		}
	}
}
