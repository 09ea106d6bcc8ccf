package ops

import (
	"fmt"
	"math"

	"github.com/bonnx/bonnx/tensor"
)

// melWeightMatrix maps frequencies to bins that are triangles on the mel scale:
// of a Fourier transform of length L at a sample rate, from a lower to an upper
// frequency.
//
//	bins, L, rate, lower, upper () -> y (L/2+1,bins)
//
// https://onnx.ai/onnx/operators/onnx__MelWeightMatrix.html (since 17)
type melWeightMatrix struct{ to tensor.DType }

func newMelWeightMatrix(a *Args) (Op, error) {
	o := melWeightMatrix{tensor.DType(a.Int("output_datatype", int(tensor.Float32)))}
	if !o.to.IsFloat() && !o.to.IsInteger() {
		return nil, fmt.Errorf("output_datatype is %v", o.to)
	}
	return o, nil
}

func (o melWeightMatrix) Infer(in []Fact) ([]Fact, error) {
	f := ofRank(o.to, 2)
	bins, ok := in[0].Ints()
	length, ok2 := in[1].Ints()
	if ok && ok2 && len(bins) == 1 && len(length) == 1 {
		if bins[0] < 0 || length[0] < 0 {
			return nil, fmt.Errorf("%d bins of a transform of length %d", bins[0], length[0])
		}
		f = Concrete(o.to, length[0]/2+1, bins[0])
	}
	return []Fact{f}, nil
}

func (o melWeightMatrix) Bind(p *Binder, in, out []Fact) (Step, error) {
	if !isConst(in, 0, 1) {
		return late(o), nil
	}
	w, y := newFloats(p, in...), newFloats(p, out[0])
	shape := out[0].MustShape()
	return func(f *Frame, in, out []*tensor.Tensor) error {
		args, err := w.read(f, in)
		if err != nil {
			return err
		}
		for i, a := range args {
			if len(a) != 1 {
				return fmt.Errorf("input %d is %v, want one number", i, in[i])
			}
		}
		fillMel(y.place(f, out)[0], shape[0], shape[1], float64(args[1][0]), float64(args[2][0]), float64(args[3][0]), float64(args[4][0]))
		return y.write(f, out, tensor.CastOptions{})
	}, nil
}

// fillMel fills m (rows,bins).
func fillMel(m []float32, rows, bins int, length, rate, lower, upper float64) {
	mel := func(hertz float64) float64 { return 2595 * math.Log10(1+hertz/700) }
	low, step := mel(lower), (mel(upper)-mel(lower))/float64(bins+2)
	edge := make([]int, bins+2)
	for i := range edge {
		hertz := 700 * (math.Pow(10, (low+step*float64(i))/2595) - 1)
		edge[i] = int(math.Floor((length + 1) * hertz / rate))
	}
	clear(m)
	set := func(row, bin int, v float64) {
		if row >= 0 && row < rows {
			m[row*bins+bin] = float32(v)
		}
	}
	for i := range bins {
		a, c, e := edge[i], edge[i+1], edge[i+2]
		if c == a {
			set(c, i, 1)
		} else {
			for j := max(a, 0); j <= c && j < rows; j++ {
				set(j, i, float64(j-a)/float64(c-a))
			}
		}
		for j := max(c, 0); e > c && j < e && j < rows; j++ {
			set(j, i, float64(e-j)/float64(e-c))
		}
	}
}
