package train

import (
	"context"
	"errors"
	"maps"
	"math"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/runtime"
	"github.com/bonnx/bonnx/tensor"
)

func (e *engine) Step(ctx context.Context, batches []Batch, lr float64, step int) (Result, error) {
	if e.whole != nil {
		return e.stepWhole(ctx, batches[0], hyper(lr, step), step)
	}
	return e.stepAccumulated(ctx, batches, hyper(lr, step), step)
}

// hyper are the inputs of an update beside the batch.
func hyper(lr float64, step int) map[string]*tensor.Tensor {
	return map[string]*tensor.Tensor{
		LearningRateInput: tensor.Scalar(float32(lr)),
		StepInput:         tensor.Scalar(int64(step)),
	}
}

func (e *engine) stepWhole(ctx context.Context, b Batch, hyper map[string]*tensor.Tensor, step int) (Result, error) {
	batch, err := e.feeds(ctx, b)
	if err != nil {
		return Result{}, err
	}
	feeds := maps.Clone(batch)
	maps.Copy(feeds, hyper)
	random, err := e.RandomState()
	if err != nil {
		return Result{}, err
	}
	out, err := e.whole.session.Run(ctx, feeds)
	if err != nil { // a step that did not happen draws no random numbers
		if rerr := e.SetRandomState(random); rerr != nil {
			return Result{}, errors.Join(err, rerr)
		}
		defer func() { _ = e.SetRandomState(random) }() // it was just taken
	}
	if guard := (*runtime.GuardError)(nil); errors.As(err, &guard) {
		return Result{}, e.whole.firstNonFinite(ctx, feeds, step)
	}
	if err != nil {
		return Result{}, err
	}
	return Result{LossSum: scalar(out[0]), Count: scalar(out[1]), GradNorm: scalar(out[2])}, nil
}

func (e *engine) stepAccumulated(ctx context.Context, batches []Batch, hyper map[string]*tensor.Tensor, step int) (r Result, err error) {
	random, err := e.RandomState()
	if err != nil {
		return Result{}, err
	}
	defer func() {
		if err == nil {
			return
		}
		// A step that did not happen draws no random numbers.
		if rerr := e.SetRandomState(random); rerr != nil {
			err = errors.Join(err, rerr)
		}
	}()
	return e.accumulate(ctx, batches, hyper, step, random)
}

// accumulate adds the gradients of the batches up and updates with them.
// random is the random stream's state before it.
func (e *engine) accumulate(ctx context.Context, batches []Batch, hyper map[string]*tensor.Tensor, step int, random []byte) (Result, error) {
	if err := e.clearSums(); err != nil {
		return Result{}, err
	}
	var r Result
	for i, b := range batches {
		feeds, err := e.feeds(ctx, b)
		if err != nil {
			return Result{}, err
		}
		out, err := e.grads.session.Run(ctx, feeds)
		if err != nil {
			return Result{}, err
		}
		sum := scalar(out[0])
		r.LossSum, r.Count = r.LossSum+sum, r.Count+scalar(out[1])
		if math.IsNaN(sum) || math.IsInf(sum, 0) {
			return Result{}, e.firstOf(ctx, batches[:i+1], step, random)
		}
	}
	feeds := maps.Clone(hyper)
	feeds[countOutput] = tensor.Scalar(float32(r.Count))
	out, err := e.apply.session.Run(ctx, feeds)
	if guard := (*runtime.GuardError)(nil); errors.As(err, &guard) {
		return Result{}, e.firstOf(ctx, batches, step, random)
	}
	if err != nil {
		return Result{}, err
	}
	r.GradNorm = scalar(out[0])
	return r, nil
}

// clearSums makes the accumulators zero.
func (e *engine) clearSums() error {
	for _, name := range e.sums {
		t, err := e.grads.session.Get(name)
		if err != nil {
			return err
		}
		clear(t.Bytes())
	}
	return nil
}

// firstOf runs the batches of a step that failed once more, until a value is
// not finite.
func (e *engine) firstOf(ctx context.Context, batches []Batch, step int, random []byte) error {
	if err := errors.Join(e.SetRandomState(random), e.clearSums()); err != nil {
		return err
	}
	for _, b := range batches {
		feeds, err := e.feeds(ctx, b)
		if err != nil {
			return err
		}
		if nf := e.grads.firstNonFinite(ctx, feeds, step); nf.Node != "" {
			return nf
		}
	}
	return &NonFiniteError{Step: step}
}

// firstNonFinite runs a step that failed once more, looking at every value.
func (u *unit) firstNonFinite(ctx context.Context, feeds map[string]*tensor.Tensor, step int) *NonFiniteError {
	found := &NonFiniteError{Step: step}
	_, _ = u.session.RunObserved(ctx, feeds, func(n *ir.Node, out []*tensor.Tensor) {
		for i, t := range out {
			if found.Node == "" && t != nil && !mayBeInfinite(n) && !allFinite(t) {
				found.Node, found.Value = n.String(), n.Output(i).Name
			}
		}
	})
	return found
}

// mayBeInfinite spares constants that masks are made of: -inf there is meant.
func mayBeInfinite(n *ir.Node) bool {
	return n.Is("Where") || n.Is("Constant") || n.Is("ConstantOfShape") || n.Is("Expand") || n.Is("Trilu")
}

func allFinite(t *tensor.Tensor) bool {
	switch t.DType() {
	case tensor.Float32:
		for _, x := range tensor.Data[float32](t) {
			if x-x != 0 {
				return false
			}
		}
	case tensor.Float64:
		for _, x := range tensor.Data[float64](t) {
			if x-x != 0 {
				return false
			}
		}
	}
	return true
}
