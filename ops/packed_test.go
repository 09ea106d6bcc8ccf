package ops

import (
	"slices"
	"testing"

	"github.com/bonnx/bonnx/tensor"
)

// TestPackedOnce: what the forward pass packs of a frozen weight serves the
// backward pass too, bit for bit, where there are many rows.
func TestPackedOnce(t *testing.T) {
	const in, out = 600, 70 // more than a block deep
	w := tensor.New(tensor.Float32, in, out)
	for i := range tensor.Data[float32](w) {
		tensor.Data[float32](w)[i] = float32(i%17) - 8
	}
	for _, c := range []struct{ rows, packed int }{{repackRows - 1, 2}, {repackRows, 1}} {
		dy := tensor.New(tensor.Float32, c.rows, out)
		for i := range tensor.Data[float32](dy) {
			tensor.Data[float32](dy)[i] = float32(i%13) / 4
		}
		backward := func(cache *Cache) []float32 {
			var states []func() any
			p := NewBinder(cache, &states)
			dx := tensor.New(tensor.Float32, c.rows, in)
			step, err := fusedMatMul{alpha: 1, transB: true}.Bind(p, []Fact{Concrete(tensor.Float32, c.rows, out), Constant(w)},
				[]Fact{Concrete(tensor.Float32, c.rows, in)})
			if err != nil {
				t.Fatal(err)
			}
			if err := step(NewFrame(nil, nil, p.ScratchSize(), nil), []*tensor.Tensor{dy, w}, []*tensor.Tensor{dx}); err != nil {
				t.Fatal(err)
			}
			return tensor.Data[float32](dx)
		}
		cache := &Cache{}
		var states []func() any
		facts := []Fact{Concrete(tensor.Float32, c.rows, in), Constant(w)}
		if _, err := (matmul{}).Bind(NewBinder(cache, &states), facts, []Fact{Concrete(tensor.Float32, c.rows, out)}); err != nil {
			t.Fatal(err)
		}
		if got, want := backward(cache), backward(&Cache{}); !slices.Equal(got, want) {
			t.Errorf("%d rows: the gradient differs from one by a weight packed for it", c.rows)
		}
		if len(cache.m) != c.packed {
			t.Errorf("%d rows: packed %d times, want %d", c.rows, len(cache.m), c.packed)
		}
	}
}
