package ops

import (
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/bonnx/bonnx/internal/par"
	"github.com/bonnx/bonnx/tensor"
)

// Eval runs one operator on tensors at once, without a plan: how constants
// are folded, and how tests look at an operator alone. nil inputs are left
// out; want says how many outputs are needed.
func Eval(op Op, in []*tensor.Tensor, want int) ([]*tensor.Tensor, error) {
	return EvalOn(nil, nil, op, in, want)
}

// EvalOn is Eval with workers and a random stream, either of which may be nil.
func EvalOn(pool *par.Pool, rnd *rand.Rand, op Op, in []*tensor.Tensor, want int) ([]*tensor.Tensor, error) {
	facts := make([]Fact, len(in))
	for i, t := range in {
		if t != nil {
			facts[i] = Constant(t)
		}
	}
	of, err := op.Infer(facts)
	if err != nil {
		return nil, err
	}
	if want > len(of) {
		return nil, fmt.Errorf("%d outputs wanted of %d", want, len(of))
	}
	of = of[:want]
	outs := make([]*tensor.Tensor, want)
	for i, f := range of {
		s, ok := f.Shape()
		if !ok {
			return nil, ErrDataDependent
		}
		if _, err := s.CheckedSize(); err != nil {
			return nil, err
		}
		outs[i] = tensor.New(f.DType, s...)
	}
	var states []func() any
	b := NewBinder(&Cache{}, &states)
	b.Threads = pool.Threads()
	step, err := op.Bind(b, facts, of)
	if err != nil {
		return nil, err
	}
	f := NewFrame(pool, rnd, b.ScratchSize(), states)
	if err := step(f, in, outs); err != nil {
		return nil, err
	}
	return outs, nil
}

// ErrDataDependent says that an output's shape depends on values that the
// operator computes.
var ErrDataDependent = errors.New("shape of an output depends on data")
