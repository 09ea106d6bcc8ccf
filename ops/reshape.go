package ops

import (
	"errors"
	"fmt"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// reshape gives the elements of x the shape in its second input, an int64
// vector. One entry may be -1: what makes the sizes agree. An entry 0 stands
// for x's extent at that place, unless allowzero is set.
// https://onnx.ai/onnx/operators/onnx__Reshape.html (allowzero since 14)
type reshape struct{ allowZero bool }

func newReshape(a *Args) (Op, error) { return reshape{a.Bool("allowzero", false)}, nil }

func (o reshape) Infer(in []Fact) ([]Fact, error) {
	x := in[0]
	if !isIndex(in[1].DType) {
		return nil, fmt.Errorf("shape is %v", in[1])
	}
	want, ok := in[1].Extents()
	if !ok {
		return []Fact{unranked(x.DType)}, nil
	}
	dims, err := o.dims(x, want)
	if err != nil {
		return nil, fmt.Errorf("%v to shape %s: %w", x, dimsString(want), err)
	}
	f := Of(x.DType, dims...)
	if len(dims) <= 1 {
		f = keepElems(f, x)
	}
	return []Fact{f}, nil
}

var errReshape = errors.New("sizes differ")

func (o reshape) dims(x Fact, want []ir.Dim) ([]ir.Dim, error) {
	dims := make([]ir.Dim, len(want))
	infer, open, zeros := -1, 0, false
	for i, w := range want {
		switch {
		case w.Known && w.Value == 0 && !o.allowZero:
			if x.Ranked && i >= len(x.Dims) {
				return nil, fmt.Errorf("entry %d is 0, beyond the input's rank", i)
			}
			dims[i] = x.Dim(i)
			if !dims[i].Known && dims[i].Sym == "" {
				open++
			}
			continue
		case w.Known && w.Value == -1:
			if infer >= 0 {
				return nil, errors.New("more than one -1")
			}
			infer = i
			continue
		case w.Known && w.Value < 0:
			return nil, fmt.Errorf("entry %d is %d", i, w.Value)
		}
		zeros = zeros || w.Known && w.Value == 0
		dims[i] = w
		if !w.Known && w.Sym == "" {
			open++
			if infer < 0 && !in0(want, i) {
				infer = i
				open--
			}
		}
	}
	if zeros && infer >= 0 && want[infer].Known {
		return nil, errors.New("0 beside -1 with allowzero")
	}
	return dims, o.fill(x, dims, infer, open)
}

// in0 reports whether an entry after i is -1, or may be.
func in0(want []ir.Dim, i int) bool {
	for _, w := range want[i+1:] {
		if w.Known && w.Value == -1 || !w.Known && w.Sym == "" {
			return true
		}
	}
	return false
}

// fill sets the extent that follows from the others, and checks sizes where
// all are known.
func (o reshape) fill(x Fact, dims []ir.Dim, infer, open int) error {
	if !x.Ranked || open > 0 {
		return nil
	}
	if infer < 0 {
		q, ok := quotient(x.Dims, dims)
		if ok && (!q.Known || q.Value == 1) || product(x.Dims) == known(0) && product(dims) == known(0) {
			return nil
		}
		return errReshape
	}
	rest := append(append([]ir.Dim{}, dims[:infer]...), dims[infer+1:]...)
	q, ok := quotient(x.Dims, rest)
	if !ok {
		return errReshape
	}
	dims[infer] = q
	return nil
}

func (reshape) ViewOf() int { return 0 }

func (reshape) Bind(p *Binder, _, _ []Fact) (Step, error) { return bindCopy(p) }

// bindCopy is the step of operators whose output has the elements of input 0
// in the same order.
func bindCopy(p *Binder) (Step, error) {
	p.InPlace(0, 0)
	return func(_ *Frame, in, out []*tensor.Tensor) error {
		copyTensor(out[0], in[0])
		return nil
	}, nil
}

func (reshape) Grad(b *GradBuilder) error { return gradReshape(b) }

// gradReshape is the gradient of all operators that only reshape.
func gradReshape(b *GradBuilder) error {
	b.Set(0, b.ReshapeLike(b.Grad(0), b.In(0)))
	return nil
}

// flatten makes a matrix: the product of the extents before axis, and of the
// others. https://onnx.ai/onnx/operators/onnx__Flatten.html
type flatten struct{ axis int }

func newFlatten(a *Args) (Op, error) { return flatten{a.Int("axis", 1)}, nil }

func (o flatten) Infer(in []Fact) ([]Fact, error) {
	x := in[0]
	if !x.Ranked {
		return []Fact{ofRank(x.DType, 2)}, nil
	}
	axis, r := o.axis, len(x.Dims)
	if axis < -r || axis > r {
		return nil, fmt.Errorf("axis %d is outside of rank %d", axis, r)
	}
	if axis < 0 {
		axis += r
	}
	return []Fact{Of(x.DType, product(x.Dims[:axis]), product(x.Dims[axis:]))}, nil
}

func (flatten) ViewOf() int { return 0 }

func (flatten) Bind(p *Binder, _, _ []Fact) (Step, error) { return bindCopy(p) }

func (flatten) Grad(b *GradBuilder) error { return gradReshape(b) }
