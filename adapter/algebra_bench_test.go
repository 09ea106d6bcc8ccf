package adapter_test

import (
	"fmt"
	"testing"

	"github.com/bonnx/bonnx/adapter"
)

// BenchmarkBlend is the mean of some adapters, in nanoseconds per element of
// the result and adapter.
func BenchmarkBlend(b *testing.B) {
	on := sizes{"a": {1024, 1024}}
	for _, n := range []int{1, 2, 8} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var sets []*adapter.Set
			for i := range n {
				sets = append(sets, random(uint64(i), adapter.Bone, 64, 0, on))
			}
			for b.Loop() {
				if _, _, err := adapter.Blend(sets, nil, adapter.BlendOptions{}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/(64*1024)/float64(n), "ns/element")
		})
	}
}
