package ops

import (
	"fmt"
	"testing"

	"github.com/bonnx/bonnx/tensor"
)

// BenchmarkBone compares the two ways to compute a layer with a block, and the
// layer without one: what boneRepack and boneTile are set by.
func BenchmarkBone(b *testing.B) {
	for _, s := range []boneSizes{
		{rows: 32, in: 512, out: 512, r: 64}, {rows: 64, in: 64, out: 64, r: 16},
		{rows: 256, in: 64, out: 172, r: 16}, {rows: 256, in: 512, out: 512, r: 64},
		{rows: 1024, in: 512, out: 512, r: 16}, {rows: 1024, in: 512, out: 512, r: 64},
	} {
		x, w := tensor.New(tensor.Float32, s.rows, s.in), tensor.New(tensor.Float32, s.in, s.out)
		args := []*tensor.Tensor{x, w, tensor.New(tensor.Float32, s.r, s.out)}
		facts := []Fact{Concrete(tensor.Float32, s.rows, s.in), Constant(w), Concrete(tensor.Float32, s.r, s.out)}
		y := Concrete(tensor.Float32, s.rows, s.out)
		tiled := s
		tiled.tiled = true
		for _, way := range []struct {
			name string
			bind func(p *Binder) (Step, error)
		}{
			{"base", func(p *Binder) (Step, error) { return fusedMatMul{alpha: 1}.Bind(p, facts[:2], []Fact{y}) }},
			{"second product", func(p *Binder) (Step, error) { return bindBone(p, s, facts, false, unfinished[float32]) }},
			{"tiled", func(p *Binder) (Step, error) { return bindBone(p, tiled, facts, false, unfinished[float32]) }},
		} {
			b.Run(fmt.Sprintf("%dx%dx%d r %d/%s", s.rows, s.in, s.out, s.r, way.name), func(b *testing.B) {
				var states []func() any
				p := NewBinder(&Cache{}, &states)
				step, err := way.bind(p)
				if err != nil {
					b.Fatal(err)
				}
				f, out := NewFrame(nil, nil, p.ScratchSize(), nil), []*tensor.Tensor{tensor.New(tensor.Float32, s.rows, s.out)}
				for b.Loop() {
					if err := step(f, args, out); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(2*float64(s.rows*s.in*s.out)*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
			})
		}
	}
}
