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

// reused is what each step has anew but for its memory.
type reused struct {
	feeds  map[string]*tensor.Tensor // of the unit that updates
	hyper  map[string]*tensor.Tensor
	count  *tensor.Tensor
	random []byte // the random stream's state before the step
}

func newReused() reused {
	return reused{feeds: map[string]*tensor.Tensor{}, hyper: hyper(0, 0), count: tensor.Scalar[float32](0)}
}

func (e *engine) Step(ctx context.Context, batches []Batch, lr float64, step int) (r Result, err error) {
	a := &e.again
	if a.random, err = e.stepUnit().session.AppendRandomState(a.random[:0]); err != nil {
		return Result{}, err
	}
	setHyper(a.hyper, lr, step)
	clear(a.feeds)
	if e.whole != nil {
		r, err = e.stepWhole(ctx, batches[0], step)
	} else {
		r, err = e.accumulate(ctx, batches, step)
	}
	if err != nil { // a step that did not happen draws no random numbers
		if rerr := e.SetRandomState(a.random); rerr != nil {
			err = errors.Join(err, rerr)
		}
		return Result{}, err
	}
	return r, nil
}

// hyper are the inputs of an update beside the batch.
func hyper(lr float64, step int) map[string]*tensor.Tensor {
	return map[string]*tensor.Tensor{
		LearningRateInput: tensor.Scalar(float32(lr)),
		StepInput:         tensor.Scalar(int64(step)),
	}
}

func setHyper(h map[string]*tensor.Tensor, lr float64, step int) {
	tensor.Data[float32](h[LearningRateInput])[0] = float32(lr)
	tensor.Data[int64](h[StepInput])[0] = int64(step)
}

func (e *engine) stepWhole(ctx context.Context, b Batch, step int) (Result, error) {
	batch, err := e.feeds(ctx, b)
	if err != nil {
		return Result{}, err
	}
	feeds := e.again.feeds
	maps.Copy(feeds, batch)
	maps.Copy(feeds, e.again.hyper)
	out, err := e.whole.session.Run(ctx, feeds)
	if guarded(err) {
		if err := e.SetRandomState(e.again.random); err != nil {
			return Result{}, err
		}
		return Result{}, e.whole.firstNonFinite(ctx, feeds, step)
	}
	if err != nil {
		return Result{}, err
	}
	return Result{LossSum: scalar(out[0]), Count: scalar(out[1]), GradNorm: scalar(out[2])}, nil
}

// guarded reports that a run ended at its guard.
func guarded(err error) bool {
	if err == nil {
		return false
	}
	guard := (*runtime.GuardError)(nil)
	return errors.As(err, &guard)
}

// accumulate adds the gradients of the batches up and updates with them.
func (e *engine) accumulate(ctx context.Context, batches []Batch, step int) (Result, error) {
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
			return Result{}, e.firstOf(ctx, batches[:i+1], step)
		}
	}
	tensor.Data[float32](e.again.count)[0] = float32(r.Count)
	feeds := e.again.feeds
	maps.Copy(feeds, e.again.hyper)
	feeds[countOutput] = e.again.count
	out, err := e.apply.session.Run(ctx, feeds)
	if guarded(err) {
		return Result{}, e.firstOf(ctx, batches, step)
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
func (e *engine) firstOf(ctx context.Context, batches []Batch, step int) error {
	if err := errors.Join(e.SetRandomState(e.again.random), e.clearSums()); err != nil {
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
