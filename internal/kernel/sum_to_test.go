package kernel

import (
	"testing"

	"github.com/bonnx/bonnx/internal/par"
)

func TestSumTo(t *testing.T) {
	withPools(t, func(t *testing.T, p *par.Pool) {
		r := newRand()
		for _, c := range []struct{ large, small []int }{
			{[]int{3, 4}, []int{3, 4}},
			{[]int{3, 4}, []int{4}},
			{[]int{3, 4}, []int{3, 1}},
			{[]int{3, 4}, []int{}},
			{[]int{3, 4}, []int{1, 1}},
			{[]int{}, []int{}},
			{[]int{1, 5}, []int{1}},
			{[]int{2, 3, 4, 5}, []int{3, 1, 5}},
			{[]int{2, 3, 4, 5}, []int{2, 1, 4, 1}},
			{[]int{2, 3, 4, 5}, []int{1, 3, 1, 5}},
			{[]int{7, 300}, []int{300}},
			{[]int{0, 4}, []int{4}},
			{[]int{0, 4}, []int{1}},
			{[]int{3, 0}, []int{3, 1}},
			{[]int{3, 0}, []int{1, 0}},
		} {
			testSumTo(t, p, randSlice[float64](r, product(c.large)), c.large, c.small)
		}
	})
}

func product(s []int) int {
	n := 1
	for _, d := range s {
		n *= d
	}
	return n
}

func testSumTo(t *testing.T, p *par.Pool, x []float64, large, small []int) {
	want := make([]float64, product(small))
	for i := range x {
		rest, at, stride := i, 0, 1
		for a := len(large) - 1; a >= 0; a-- {
			k := rest % large[a]
			rest /= large[a]
			if j := a - (len(large) - len(small)); j >= 0 {
				if small[j] == large[a] {
					at += k * stride
				}
				stride *= small[j]
			}
		}
		want[at] += x[i]
	}
	got, check := guarded[float64](t, len(want))
	SumTo(p, NewStretch(large, small), got, x)
	check()
	for i := range want {
		if !close64(got[i], want[i], 1e-12, 10) {
			t.Fatalf("%v to %v: element %d: got %g, want %g", large, small, i, got[i], want[i])
		}
	}
}
