package tensor_test

import (
	"math"
	"testing"

	"github.com/bonnx/bonnx/tensor"
)

// TestRequantize: numbers on the grid come back as they were, others within half
// a step of a range that fits them.
func TestRequantize(t *testing.T) {
	for _, c := range []struct {
		name        string
		q           *tensor.Tensor
		scale, zero *tensor.Tensor
		block       int
	}{
		{"one scale", tensor.FromSlice([]int8{-127, 5, 64, 127}, 2, 2), tensor.Scalar(float32(0.25)), nil, 0},
		{"columns", tensor.FromSlice([]uint8{0, 255, 17, 128}, 2, 2), tensor.FromSlice([]float32{0.5, 2}, 2), tensor.FromSlice([]uint8{3, 200}, 2), 0},
		{"blocks", tensor.FromSlice([]int8{1, -2, 127, 4, 127, 6}, 2, 3), tensor.FromSlice([]float32{1, 2, 3, 4}, 2, 2), nil, 2},
	} {
		x, err := tensor.Dequantize(c.q, c.scale, c.zero, 1, c.block)
		if err != nil {
			t.Fatal(err)
		}
		q, s, z, err := tensor.Requantize(x, c.q.DType(), c.scale, c.zero, 1, c.block)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if !q.Equal(c.q) || !s.Equal(c.scale) || (z == nil) != (c.zero == nil) || z != nil && !z.Equal(c.zero) {
			t.Errorf("%s: %v %v %v is not what it was", c.name, q, s, z)
		}
		far := x.Clone()
		for i := range tensor.Data[float32](far) {
			tensor.Data[float32](far)[i] *= 3.1
		}
		if q, s, z, err = tensor.Requantize(far, c.q.DType(), c.scale, c.zero, 1, c.block); err != nil {
			t.Fatal(err)
		}
		back, err := tensor.Dequantize(q, s, z, 1, c.block)
		if err != nil {
			t.Fatal(err)
		}
		steps, _ := s.Float64s()
		most := 0.0
		for _, v := range steps {
			most = max(most, math.Abs(v))
		}
		for i, v := range tensor.Data[float32](back) {
			if d := math.Abs(float64(v - tensor.Data[float32](far)[i])); d > 0.51*most {
				t.Errorf("%s: element %d is off by %g, the steps are %v", c.name, i, d, steps)
			}
		}
	}
	if _, _, _, err := tensor.Requantize(tensor.Scalar(float32(1)), tensor.Float32, tensor.Scalar(float32(1)), nil, 0, 0); err == nil {
		t.Error("floats are no grid")
	}
}
