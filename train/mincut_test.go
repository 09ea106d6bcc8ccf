package train

import (
	"math/rand/v2"
	"testing"
)

// TestCut: of random networks the cut is as cheap as the cheapest of all.
func TestCut(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		nodes := 2 + r.IntN(7)
		f := newNetwork()
		for range nodes - 2 {
			f.node()
		}
		type edge struct {
			from, to int
			cost     int64
		}
		var edges []edge
		for range r.IntN(3 * nodes) {
			e := edge{r.IntN(nodes), r.IntN(nodes), r.Int64N(20)}
			if e.from == e.to {
				continue
			}
			edges = append(edges, e)
			f.edge(e.from, e.to, e.cost)
		}
		cost := func(inside func(n int) bool) (sum int64) {
			for _, e := range edges {
				if inside(e.from) && !inside(e.to) {
					sum += e.cost
				}
			}
			return sum
		}
		side := f.cut()
		got, want := cost(func(n int) bool { return side[n] }), unlimited
		for mask := range 1 << nodes {
			if mask&1 == 1 && mask>>1&1 == 0 { // the source in, the sink out
				want = min(want, cost(func(n int) bool { return mask>>n&1 == 1 }))
			}
		}
		if got != want || !side[source] || side[sink] {
			t.Fatalf("the cut of %v costs %d, want %d", edges, got, want)
		}
	}
}
