package ops

import (
	"errors"
	"fmt"

	"github.com/bonnx/bonnx/internal/kernel"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// crossEntropy is ai.bonnx.CrossEntropy, the softmax cross-entropy of rows of
// logits with class labels, summed over the rows that count (those whose label
// is not ignore_index), with label smoothing e as in PyTorch:
//
//	logits (..., C), labels (...) int64 -> loss (), count () [, lse (...)]
//	lse[i] = log(sum_j exp(logits[i,j]))
//	loss = sum_i (1-e)*(lse[i] - logits[i,labels[i]]) + e*(lse[i] - mean_j logits[i,j])
//	count = how many rows count, of the logits' type
//
// lse is there for the gradient. The mean is loss/count.
type crossEntropy struct{ labelLoss }

// crossEntropyGrad is ai.bonnx.CrossEntropyGrad, the gradient of loss:
//
//	logits (..., C), labels (...), lse (...), dloss () -> dlogits (..., C)
//	dlogits[i,j] = dloss * (exp(logits[i,j]-lse[i]) - e/C - (1-e)*(j == labels[i])); 0 where i does not count
type crossEntropyGrad struct{ labelLoss }

// labelLoss are the attributes of both.
type labelLoss struct {
	ignore    int64
	smoothing float64
}

func newLabelLoss(a *Args) (labelLoss, error) {
	o := labelLoss{int64(a.Int("ignore_index", -100)), decimal(a.Float("label_smoothing", 0))}
	if o.smoothing < 0 || o.smoothing > 1 {
		return o, fmt.Errorf("label_smoothing is %g, want 0 to 1", o.smoothing)
	}
	return o, nil
}

func newCrossEntropy(a *Args) (Op, error) {
	o, err := newLabelLoss(a)
	return crossEntropy{o}, err
}

func newCrossEntropyGrad(a *Args) (Op, error) {
	o, err := newLabelLoss(a)
	return crossEntropyGrad{o}, err
}

func (o labelLoss) attrs() []*ir.Attr {
	return []*ir.Attr{ir.A("ignore_index", ir.Int(o.ignore)), ir.A("label_smoothing", ir.Float(o.smoothing))}
}

// check is what both ask of logits and labels; it returns the rows' extents.
func (labelLoss) check(logits, labels Fact) (rows Fact, err error) {
	if err := needFloat("logits", logits); err != nil {
		return rows, err
	}
	if labels.DType != tensor.Int64 {
		return rows, fmt.Errorf("labels are %v, want int64", labels)
	}
	rows = Fact{DType: logits.DType, Ranked: labels.Ranked, Dims: labels.Dims}
	if !logits.Ranked {
		return rows, nil
	}
	if logits.Rank() < 1 || labels.Ranked && labels.Rank() != logits.Rank()-1 {
		return rows, fmt.Errorf("labels %v for logits %v: want the same extents but the last", labels, logits)
	}
	dims := make([]ir.Dim, logits.Rank()-1)
	for i := range dims {
		if dims[i], err = agree("labels and logits", logits.Dims[i], labels.Dim(i)); err != nil {
			return rows, fmt.Errorf("labels %v for logits %v: %w", labels, logits, err)
		}
	}
	return Of(logits.DType, dims...), nil
}

func (o crossEntropy) Infer(in []Fact) ([]Fact, error) {
	rows, err := o.check(in[0], in[1])
	if err != nil {
		return nil, err
	}
	return []Fact{Of(rows.DType), Of(rows.DType), rows}, nil
}

func (o crossEntropy) Bind(p *Binder, in, _ []Fact) (Step, error) {
	return floatStep(in[0].DType,
		func() (Step, error) { return crossEntropyStep[float32](p, o, in[0].MustShape()), nil },
		func() (Step, error) { return crossEntropyStep[float64](p, o, in[0].MustShape()), nil })
}

func crossEntropyStep[T tensor.Float](p *Binder, o crossEntropy, shape tensor.Shape) Step {
	rows, classes := shape[:len(shape)-1].Size(), shape[len(shape)-1]
	losses, sums := scratchOf[T](p, rows), scratchOf[T](p, rows)
	return func(f *Frame, in, out []*tensor.Tensor) error {
		lse := ScratchOf[T](f, sums)
		if len(out) > 2 && out[2] != nil {
			lse = tensor.Data[T](out[2])
		}
		labels, loss := tensor.Data[int64](in[1]), ScratchOf[T](f, losses)
		bad := kernel.CrossEntropy(f.Pool, rows, classes, loss, lse, tensor.Data[T](in[0]), labels, o.ignore, o.smoothing)
		if bad >= 0 {
			return fmt.Errorf("label %d of row %d is outside of [0,%d)", labels[bad], bad, classes)
		}
		kernel.ReduceSum(f.Pool, 1, rows, 1, tensor.Data[T](out[0]), loss)
		if len(out) > 1 && out[1] != nil {
			tensor.Data[T](out[1])[0] = T(kernel.CountLabels(labels, o.ignore))
		}
		return nil
	}
}

// Grad keeps lse from the forward pass. The count depends on no logit.
func (o crossEntropy) Grad(b *GradBuilder) error {
	if b.Grad(2) != nil {
		return errors.New("the log-sum-exp of CrossEntropy has no gradient of its own")
	}
	if !b.Needs(0) || b.Grad(0) == nil {
		return nil
	}
	b.Set(0, b.Composite("CrossEntropyGrad", ir.In(b.In(0), b.In(1), b.Keep(2), b.Grad(0)), 1, o.attrs()...)[0])
	return nil
}

// Expand picks the labels' elements by GatherElements; rows that do not count
// pick element 0 and are then left out.
func (o crossEntropy) Expand(b *Builder, n *ir.Node) ([]*ir.Value, error) {
	logits, labels := n.Input(0), n.Input(1)
	counts, safe := o.safeLabels(b, labels)
	last := ir.A("axis", ir.Int(-1))
	var logp, lse *ir.Value
	if n.Output(2) == nil {
		logp = b.Op("LogSoftmax", ir.In(logits), last)
	} else {
		lse = b.logSumExp(logits)
		logp = b.Sub(logits, lse)
		lse = b.Op("Squeeze", ir.In(lse, b.Ints(-1)))
	}
	picked := b.Op("GatherElements", ir.In(logp, safe), last)
	loss := b.Neg(b.Op("Squeeze", ir.In(picked, b.Ints(-1))))
	if o.smoothing != 0 {
		flat := b.Op("ReduceMean", ir.In(logp, b.Ints(-1)), ir.A("keepdims", ir.Int(0)))
		loss = b.Sub(b.Mul(loss, b.Scalar(logits, 1-o.smoothing)), b.Mul(flat, b.Scalar(logits, o.smoothing)))
	}
	loss = b.Op("Where", ir.In(counts, loss, b.Scalar(logits, 0)))
	whole := ir.A("keepdims", ir.Int(0))
	count := b.Cast(counts, b.Fact(logits).DType)
	return ir.In(b.Op("ReduceSum", ir.In(loss), whole), b.Op("ReduceSum", ir.In(count), whole), lse), nil
}

// safeLabels are which rows count, and labels with a last axis added and 0 in
// place of ignore_index.
func (o labelLoss) safeLabels(b *Builder, labels *ir.Value) (counts, safe *ir.Value) {
	ignore := b.Const("c", tensor.Scalar(o.ignore))
	counts = b.Op("Not", ir.In(b.Op("Equal", ir.In(labels, ignore))))
	safe = b.Op("Where", ir.In(counts, labels, b.Const("c", tensor.Scalar(int64(0)))))
	return counts, b.Unsqueeze(safe, -1)
}

// logSumExp is over the last axis, which it keeps.
func (b *Builder) logSumExp(x *ir.Value) *ir.Value {
	top := b.Op("ReduceMax", ir.In(x, b.Ints(-1)))
	sum := b.ReduceSum(b.Op("Exp", ir.In(b.Sub(x, top))), true, -1)
	return b.Add(b.Op("Log", ir.In(sum)), top)
}

func (o crossEntropyGrad) Infer(in []Fact) ([]Fact, error) {
	if _, err := o.check(in[0], in[1]); err != nil {
		return nil, err
	}
	if err := sameFloats([]string{"logits", "lse", "dloss"}, []Fact{in[0], in[2], in[3]}); err != nil {
		return nil, err
	}
	return []Fact{in[0].WithoutValue()}, nil
}

func (o crossEntropyGrad) Bind(p *Binder, in, _ []Fact) (Step, error) {
	rows := in[0].MustShape()[:in[0].Rank()-1].Size()
	if n, d := in[2].MustShape().Size(), in[3].MustShape().Size(); n != rows || d != 1 && d != rows {
		return nil, fmt.Errorf("%d rows with lse %v and dloss %v", rows, in[2], in[3])
	}
	p.InPlace(0, 0)
	return floatStep(in[0].DType,
		func() (Step, error) { return crossEntropyGradStep[float32](o, in[0].MustShape()), nil },
		func() (Step, error) { return crossEntropyGradStep[float64](o, in[0].MustShape()), nil })
}

func crossEntropyGradStep[T tensor.Float](o crossEntropyGrad, shape tensor.Shape) Step {
	rows, classes := shape[:len(shape)-1].Size(), shape[len(shape)-1]
	return func(f *Frame, in, out []*tensor.Tensor) error {
		kernel.CrossEntropyGrad(f.Pool, rows, classes, tensor.Data[T](out[0]), tensor.Data[T](in[0]),
			tensor.Data[T](in[2]), tensor.Data[T](in[3]), tensor.Data[int64](in[1]), o.ignore, o.smoothing)
		return nil
	}
}

// Expand compares a row of class numbers with the labels.
func (o crossEntropyGrad) Expand(b *Builder, n *ir.Node) ([]*ir.Value, error) {
	logits, labels, lse, dloss := n.Input(0), n.Input(1), n.Input(2), n.Input(3)
	d := b.Fact(logits).DType
	counts, safe := o.safeLabels(b, labels)
	p := b.Op("Exp", ir.In(b.Sub(logits, b.Unsqueeze(lse, -1))))
	classes := b.Extent(logits, -1)
	hit := b.Cast(b.Op("Equal", ir.In(safe, b.Count(classes))), d)
	if o.smoothing != 0 {
		p = b.Sub(p, b.Div(b.Scalar(logits, o.smoothing), b.Cast(classes, d)))
		hit = b.Mul(hit, b.Scalar(logits, 1-o.smoothing))
	}
	g := b.Mul(b.Sub(p, hit), dloss)
	return ir.In(b.Op("Where", ir.In(b.Unsqueeze(counts, -1), g, b.Scalar(logits, 0)))), nil
}
