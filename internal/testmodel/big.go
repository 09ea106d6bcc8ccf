package testmodel

import (
	"math/rand/v2"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// bigParam is from how many elements on a parameter's values are made when
// they are read, and again each time. A model of true size then costs what its
// graph does, and saving it holds one parameter at a time.
const bigParam = 1 << 18

// made is a constant that is computed whenever it is read.
type made struct {
	dtype tensor.DType
	shape tensor.Shape
	make  func() (*tensor.Tensor, error)
}

// DType implements ir.Data.
func (d made) DType() tensor.DType { return d.dtype }

// Shape implements ir.Data.
func (d made) Shape() tensor.Shape { return d.shape }

// Tensor implements ir.Data.
func (d made) Tensor() (*tensor.Tensor, error) { return d.make() }

// bigNormal is normal values that seed determines.
func bigNormal(seed uint64, mean, std float64, shape tensor.Shape) ir.Data {
	return made{tensor.Float32, shape, func() (*tensor.Tensor, error) {
		return normal(rand.New(rand.NewPCG(seed, 0x626967)), mean, std, shape), nil
	}}
}

func normal(rng *rand.Rand, mean, std float64, shape tensor.Shape) *tensor.Tensor {
	t := tensor.New(tensor.Float32, shape...)
	d := tensor.Data[float32](t)
	for i := range d {
		d[i] = float32(mean + rng.NormFloat64()*std)
	}
	return t
}
