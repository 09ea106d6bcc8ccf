package ops

import "github.com/bonnx/bonnx/tensor"

// identity is y = x. https://onnx.ai/onnx/operators/onnx__Identity.html
type identity struct{}

func newIdentity(*Args) (Op, error) { return identity{}, nil }

func (identity) Infer(in []Fact) ([]Fact, error) { return []Fact{in[0]}, nil }

func (identity) ViewOf() int { return 0 }

func (identity) Bind(p *Binder, _, _ []Fact) (Step, error) {
	p.InPlace(0, 0)
	return func(_ *Frame, in, out []*tensor.Tensor) error {
		copyTensor(out[0], in[0])
		return nil
	}, nil
}

func (identity) Grad(b *GradBuilder) error {
	b.Set(0, b.Grad(0))
	return nil
}

// copyTensor copies elements where the storage is not the same.
func copyTensor(dst, src *tensor.Tensor) {
	if src.DType() == tensor.String {
		copy(dst.Strings(), src.Strings())
		return
	}
	d, s := dst.Bytes(), src.Bytes()
	if len(d) > 0 && &d[0] != &s[0] {
		copy(d, s)
	}
}
