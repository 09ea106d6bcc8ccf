package ops

import (
	"errors"
	"fmt"

	"github.com/bonnx/bonnx/internal/kernel"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// likelihood is the loss of classification, from log-probabilities
// (NegativeLogLikelihoodLoss) or from scores (SoftmaxCrossEntropyLoss):
//
//	x (N,C,D...), labels (N,D...) of integers, weights (C) optional
//	-> loss (N,D...), or their weighted mean or sum () [, log-probabilities (N,C,D...)]
//
// A label of ignore_index counts for nothing.
// https://onnx.ai/onnx/operators/onnx__SoftmaxCrossEntropyLoss.html
type likelihood struct {
	scores    bool
	reduction string
	skip      bool
	ignore    int64
}

func newLikelihood(scores bool) func(*Args) (Op, error) {
	return func(a *Args) (Op, error) {
		o := likelihood{scores: scores, reduction: a.String("reduction", "mean"), skip: a.Has("ignore_index"), ignore: int64(a.Int("ignore_index", 0))}
		if o.reduction != "none" && o.reduction != "sum" && o.reduction != "mean" {
			return nil, fmt.Errorf("reduction is %q", o.reduction)
		}
		return o, nil
	}
}

func (o likelihood) Infer(in []Fact) ([]Fact, error) {
	x, labels, weights := in[0], in[1], at(in, 2)
	if labels.DType != tensor.Int32 && labels.DType != tensor.Int64 {
		return nil, fmt.Errorf("labels are %v", labels)
	}
	if _, err := commonDType([]Fact{x, weights}); err != nil {
		return nil, err
	}
	if x.Ranked && (x.Rank() < 2 || labels.Ranked && labels.Rank() != x.Rank()-1) {
		return nil, fmt.Errorf("labels %v for %v", labels, x)
	}
	dims := labels.Dims
	if x.Ranked {
		dims = append([]ir.Dim{x.Dims[0]}, x.Dims[2:]...)
		for i := range labels.Dims {
			if _, err := agree("labels", dims[i], labels.Dims[i]); err != nil {
				return nil, err
			}
		}
	}
	if weights.Ranked && (weights.Rank() != 1 || weights.Dims[0].Known && x.Dim(1).Known && weights.Dims[0].Value != x.Dim(1).Value) {
		return nil, fmt.Errorf("weights %v for %v", weights, x)
	}
	loss := Of(x.DType)
	if o.reduction == "none" {
		loss = Fact{DType: x.DType, Ranked: x.Ranked || labels.Ranked, Dims: dims}
	}
	if o.scores {
		return []Fact{loss, x.WithoutValue()}, nil
	}
	return []Fact{loss}, nil
}

func (o likelihood) Bind(p *Binder, in, out []Fact) (Step, error) {
	if isNarrow(in[0].DType) {
		return viaFloat32(p, o, in, out)
	}
	return floatStep(in[0].DType,
		func() (Step, error) { return bindLikelihood[float32](p, o, in), nil },
		func() (Step, error) { return bindLikelihood[float64](p, o, in), nil })
}

func bindLikelihood[T kernel.Float](p *Binder, o likelihood, in []Fact) Step {
	s := in[0].MustShape()
	outer, n, inner := s[0], s[1], s[2:].Size()
	places := outer * inner
	logs, losses, used, labels := Slot{}, scratchOf[T](p, places+1), scratchOf[T](p, places), p.Scratch(8*places)
	if o.scores {
		logs = scratchOf[T](p, s.Size())
	}
	id := p.State(func() any { return tensor.Header(tensor.Int64) })
	return func(f *Frame, in, out []*tensor.Tensor) error {
		label := placed(f, f.State(id).(*tensor.Tensor), labels, in[1])
		if err := tensor.CastInto(label, in[1], tensor.CastOptions{}); err != nil {
			return err
		}
		logp := tensor.Data[T](in[0])
		if o.scores {
			if logp = dataOf[T](out, 1); logp == nil {
				logp = ScratchOf[T](f, logs)
			}
			kernel.LogSoftmax(f.Pool, outer, n, inner, logp, tensor.Data[T](in[0]))
		}
		loss, w := ScratchOf[T](f, losses), ScratchOf[T](f, used)[:places]
		bad := kernel.NegativeLogLikelihood(f.Pool, outer, n, inner, loss, w, logp, dataOf[T](in, 2), tensor.Data[int64](label), o.skip, o.ignore)
		if bad >= 0 {
			return fmt.Errorf("label %d at place %d is not in [0,%d)", tensor.Data[int64](label)[bad], bad, n)
		}
		reduceLikelihood(f, o.reduction, tensor.Data[T](out[0]), loss[:places], w, loss[places:])
		return nil
	}
}

// reduceLikelihood puts losses together; the mean is over weights, whose sum
// total is for.
func reduceLikelihood[T kernel.Float](f *Frame, reduction string, y, loss, used, total []T) {
	if reduction == "none" {
		copy(y, loss)
		return
	}
	kernel.ReduceSum(f.Pool, 1, len(loss), 1, y, loss)
	if reduction == "mean" {
		kernel.ReduceSum(f.Pool, 1, len(used), 1, total, used)
		y[0] /= total[0]
	}
}

// Grad: with w the weight of a place (0 where ignored), c = dy*w, over the sum
// of all w for a mean, and one-hot labels: dlogp = -c*onehot; scores go
// through the gradient of LogSoftmax.
func (o likelihood) Grad(b *GradBuilder) error {
	if b.Needs(2) {
		return errors.New("weights of classes have no gradient")
	}
	var dlogp *ir.Value
	if b.Grad(0) != nil {
		var err error
		if dlogp, err = o.gradLogs(b); err != nil {
			return err
		}
	}
	if !o.scores {
		b.Set(0, dlogp)
		return nil
	}
	if g := b.Grad(1); g != nil && dlogp != nil {
		dlogp = b.Add(dlogp, g)
	} else if g != nil {
		dlogp = g
	}
	b.Set(0, b.Composite("LogSoftmaxGrad", ir.In(b.Keep(1), dlogp), 1, ir.A("axis", ir.Int(1)))[0])
	return nil
}

func (o likelihood) gradLogs(b *GradBuilder) (*ir.Value, error) {
	x, labels, weights := b.In(0), b.In(1), b.In(2)
	rank := max(b.Fact(x).Rank(), b.Fact(labels).Rank()+1)
	if rank < 2 {
		return nil, fmt.Errorf("the gradient needs the rank of %v", b.Fact(x))
	}
	labels = b.Cast(labels, tensor.Int64)
	one, zero := b.c(1), b.c(0)
	w := one
	if o.skip {
		ignored := b.f("Equal", labels, b.Const("ignore", tensor.Scalar(o.ignore)))
		labels = b.f("Where", ignored, b.Const("c", tensor.Scalar(int64(0))), labels)
		if weights != nil {
			w = b.f("Gather", weights, labels)
		}
		w = b.f("Where", ignored, zero, w)
	} else if weights != nil {
		w = b.f("Gather", weights, labels)
	} else {
		w = b.f("Expand", one, b.Shape(labels))
	}
	c := b.Mul(b.Grad(0), w)
	if o.reduction == "mean" {
		c = b.Div(c, b.Op("ReduceSum", ir.In(w), ir.A("keepdims", ir.Int(0))))
	}
	column := []int{-1}
	for range rank - 2 {
		column = append(column, 1)
	}
	classes := b.ReshapeTo(b.Count(b.Extent(x, 1)), column...)
	hot := b.f("Equal", b.Unsqueeze(labels, 1), classes)
	return b.f("Where", hot, b.Neg(b.Unsqueeze(c, 1)), zero), nil
}
