package runtime

import (
	"math/rand/v2"
	"testing"
)

func TestPackKeepsLiveBuffersApart(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var bufs []*buffer
		peak := make([]int, 60)
		for range 1 + r.IntN(60) {
			first := r.IntN(50)
			b := &buffer{size: r.IntN(1000), first: first, last: first + r.IntN(10)}
			bufs = append(bufs, b)
			for i := b.first; i <= b.last; i++ {
				peak[i] += (b.size + 63) &^ 63
			}
		}
		total := pack(bufs)
		most := 0
		for _, p := range peak {
			most = max(most, p)
		}
		if total < most || total > 2*most {
			t.Fatalf("arena of %d bytes for a peak of %d", total, most)
		}
		for i, a := range bufs {
			if a.offset%64 != 0 || a.offset+a.size > total {
				t.Fatalf("buffer %+v lies outside of %d bytes or unaligned", a, total)
			}
			for _, b := range bufs[:i] {
				alive := a.first <= b.last && b.first <= a.last
				overlap := a.size > 0 && b.size > 0 && a.offset < b.offset+b.size && b.offset < a.offset+a.size
				if alive && overlap {
					t.Fatalf("%+v and %+v overlap", a, b)
				}
			}
		}
	}
}
