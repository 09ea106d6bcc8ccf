package ops

import (
	"fmt"
	"testing"

	"github.com/bonnx/bonnx/tensor"
)

// TestBoneGradXInPlace: what is added may be where the result goes, in each way
// of computing it; that costs no memory and no pass.
func TestBoneGradXInPlace(t *testing.T) {
	const in, out, r = 32, 24, 8
	for _, rows := range []int{1, 200} {
		for _, constant := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d rows, constant %v", rows, constant), func(t *testing.T) {
				w := someFloats(t, tensor.Float32, in, out)
				var facts []Fact
				var args []*tensor.Tensor
				for _, f := range []Fact{someFloats(t, tensor.Float32, rows, out), w, someFloats(t, tensor.Float32, r, out), someFloats(t, tensor.Float32, rows, in)} {
					facts, args = append(facts, f.WithoutValue()), append(args, f.Value())
				}
				if constant {
					facts[1] = w
				}
				var states []func() any
				p := NewBinder(&Cache{}, &states)
				step, err := boneGradX{}.Bind(p, facts, []Fact{facts[3]})
				if err != nil {
					t.Fatal(err)
				}
				if got := p.InPlaceOffers(); len(got) != 1 || got[0] != (InPlace{0, moreGrad}) {
					t.Fatalf("offers %v", got)
				}
				f, apart := NewFrame(nil, nil, p.ScratchSize(), states), tensor.New(tensor.Float32, rows, in)
				for _, y := range []*tensor.Tensor{apart, args[3]} { // the second reads it last
					if err := step(f, args, []*tensor.Tensor{y}); err != nil {
						t.Fatal(err)
					}
				}
				if !apart.Equal(args[3]) {
					t.Error("in place the result is another")
				}
			})
		}
	}
}
