package ops

import (
	"errors"
	"fmt"

	"github.com/bonnx/bonnx/internal/kernel"
	"github.com/bonnx/bonnx/tensor"
)

// sizes are those of the kernel.
func (o fusedAttention) sizes(q, k, v Fact) (kernel.Attention, error) {
	var n [3][4]int
	for i, f := range []Fact{q, k, v} {
		f.MustShape()
		for j, d := range o.headsFirst(i, f) {
			n[i][j] = int(d.Value)
		}
	}
	a := kernel.Attention{Batch: n[0][0], Heads: n[0][1], Groups: n[1][1], Rows: n[0][2], Cols: n[1][2],
		Depth: n[0][3], Width: n[2][3], Scale: o.scale}
	if a.Depth == 0 || a.Width == 0 {
		return a, errors.New("heads have no width")
	}
	a.Q, a.K, a.V = o.lie(attendQ, n[0]), o.lie(attendK, n[1]), o.lie(attendV, n[2])
	a.Y = o.lie(attendY, [4]int{a.Batch, a.Heads, a.Rows, a.Width})
	return a, nil
}

// lie is where the rows of operand i are, n its batch, heads, rows and width.
func (o fusedAttention) lie(i int, n [4]int) kernel.Heads {
	l := kernel.Heads{Batch: n[1] * n[2] * n[3], Head: n[2] * n[3], Row: n[3]}
	if o.rowsFirst[i] {
		l.Head, l.Row = n[3], n[1]*n[3]
	}
	return l
}

// An attendBias is how a step reads its bias.
type attendBias[T tensor.Float] struct {
	absent     bool
	rows, cols int
	constant   []kernel.Span // of a bias that does not change
	spans      StateID       // else where they are found
}

// bindBias checks the extents of a bias against the scores, and notes in a
// where its rows lie.
func bindBias[T tensor.Float](p *Binder, f Fact, a *kernel.Attention) (b attendBias[T], err error) {
	if b.absent = f.Absent(); b.absent {
		return b, nil
	}
	s, full := f.MustShape(), tensor.Shape{1, 1, 1, 1}
	copy(full[4-len(s):], s)
	for i, n := range []int{a.Batch, a.Heads, a.Rows} {
		if full[i] != 1 && full[i] != n {
			return b, biasError(f, a)
		}
	}
	if full[3] != a.Cols {
		return b, biasError(f, a)
	}
	step := 1
	for i, to := range []*int{&a.Bias.Row, &a.Bias.Head, &a.Bias.Batch} {
		if n := full[2-i]; n > 1 {
			*to = step
			step *= n
		}
	}
	b.rows, b.cols = step, a.Cols
	if f.Const == nil {
		b.spans = p.State(func() any { return make([]kernel.Span, b.rows) })
		return b, nil
	}
	v, err := p.Packed(f.Const, "spans", func(t *tensor.Tensor) any {
		spans := make([]kernel.Span, b.rows)
		kernel.AttentionSpans(nil, b.cols, tensor.Data[T](t), spans)
		return spans
	})
	if err == nil {
		b.constant = v.([]kernel.Span)
	}
	return b, err
}

func biasError(f Fact, a *kernel.Attention) error {
	return fmt.Errorf("the bias %v does not broadcast to scores (%d,%d,%d,%d)", f, a.Batch, a.Heads, a.Rows, a.Cols)
}

// of is the bias and its spans in a run.
func (b attendBias[T]) of(f *Frame, in []*tensor.Tensor, i int) ([]T, []kernel.Span) {
	if b.absent {
		return nil, nil
	}
	bias := tensor.Data[T](in[i])
	if b.constant != nil {
		return bias, b.constant
	}
	spans := f.State(b.spans).([]kernel.Span)
	kernel.AttentionSpans(f.Pool, b.cols, bias, spans)
	return bias, spans
}

func (o fusedAttention) Bind(p *Binder, in, _ []Fact) (Step, error) {
	return floatStep(in[0].DType,
		func() (Step, error) { return bindAttention[float32](p, o, in) },
		func() (Step, error) { return bindAttention[float64](p, o, in) })
}

func bindAttention[T tensor.Float](p *Binder, o fusedAttention, in []Fact) (Step, error) {
	a, err := o.sizes(in[0], in[1], in[2])
	if err != nil {
		return nil, err
	}
	bias, err := bindBias[T](p, at(in, 3), &a)
	if err != nil {
		return nil, err
	}
	slot := scratchOf[T](p, kernel.AttendScratch[T](a))
	return func(f *Frame, in, out []*tensor.Tensor) error {
		add, spans := bias.of(f, in, 3)
		kernel.Attend(f.Pool, a, tensor.Data[T](out[0]), tensor.Data[T](in[0]), tensor.Data[T](in[1]), tensor.Data[T](in[2]),
			add, spans, ScratchOf[T](f, slot))
		return nil
	}, nil
}

func (o fusedAttentionGrad) Bind(p *Binder, in, _ []Fact) (Step, error) {
	return floatStep(in[0].DType,
		func() (Step, error) { return bindAttentionGrad[float32](p, o.of, in) },
		func() (Step, error) { return bindAttentionGrad[float64](p, o.of, in) })
}

func bindAttentionGrad[T tensor.Float](p *Binder, o fusedAttention, in []Fact) (Step, error) {
	a, err := o.sizes(in[1], in[2], in[3])
	if err != nil {
		return nil, err
	}
	bias, err := bindBias[T](p, at(in, 4), &a)
	if err != nil {
		return nil, err
	}
	slot := scratchOf[T](p, kernel.AttendGradScratch[T](a))
	return func(f *Frame, in, out []*tensor.Tensor) error {
		var d [3][]T
		for i, t := range out {
			if t != nil {
				d[i] = tensor.Data[T](t)
			}
		}
		add, spans := bias.of(f, in, 4)
		kernel.AttendGrad(f.Pool, a, d[0], d[1], d[2], tensor.Data[T](in[0]), tensor.Data[T](in[1]), tensor.Data[T](in[2]),
			tensor.Data[T](in[3]), add, spans, ScratchOf[T](f, slot))
		return nil
	}, nil
}
