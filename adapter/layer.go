package adapter

import (
	"errors"
	"fmt"
	"math"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/bonnx/bonnx/tensor"
)

// Layer is one adapter on one weight.
type Layer struct {
	Method Method
	// Blocks as Method.Blocks lists them; of any float type.
	Blocks []*tensor.Tensor
	// Alpha scales lora's update by Alpha/r; 0 stands for r. The other
	// methods know no scale.
	Alpha float64
	// Name is the adapter's, for messages; "" stands for "default".
	Name string
}

// Stack is several layers on one weight, applied in order: each sees the
// weight that the one before it made. The order matters to bat alone.
type Stack []Layer

// Merge is the weight with the layer folded in; see Stack.Merge.
func (l Layer) Merge(w *tensor.Tensor) (*tensor.Tensor, error) { return Stack{l}.Merge(w) }

// Unmerge is the weight with the layer taken out; see Stack.Unmerge.
func (l Layer) Unmerge(w *tensor.Tensor) (*tensor.Tensor, error) { return Stack{l}.Unmerge(w) }

// Delta is what Merge adds to w, as float32 (float64 for a float64 w).
func (l Layer) Delta(w *tensor.Tensor) (*tensor.Tensor, error) {
	works, err := Stack{l}.works(w)
	if err != nil {
		return nil, err
	}
	d := tensor.Float32
	if w.DType() == tensor.Float64 {
		d = tensor.Float64
	}
	m := methods[l.Method].maths
	return mapRows(w, d, works, func(rows []float64, k0 int) {
		if l.Method.Additive() {
			clear(rows)
			m.merge(works[0], rows, k0)
			return
		}
		old := append([]float64{}, rows...)
		m.merge(works[0], rows, k0)
		for i, v := range old {
			rows[i] -= v
		}
	})
}

// Forward is y = x W' + bias in float64, rounded to the type of x. x has any
// leading dimensions, including none; bias may be nil.
func (l Layer) Forward(x, w, bias *tensor.Tensor) (*tensor.Tensor, error) {
	return Stack{l}.Forward(x, w, bias)
}

// Merge is the weight (in, out) with all layers folded in, of the type of w,
// which is left alone. Sums are in float64 and rounded once. A result that is
// not finite is an error: the adapter is broken.
func (s Stack) Merge(w *tensor.Tensor) (*tensor.Tensor, error) {
	works, err := s.works(w)
	if err != nil {
		return nil, err
	}
	out, err := mapRows(w, w.DType(), works, func(rows []float64, k0 int) { s.merge(works, rows, k0) })
	if err != nil {
		return nil, err
	}
	if ok, err := finite(out); err != nil || !ok {
		return nil, errors.Join(err, fmt.Errorf("NaNs detected in the merged weights. The adapter %s seems to be broken; the base weight is left as it was", s.names()))
	}
	return out, nil
}

// Unmerge takes all layers out of a merged weight, the last first. The base
// weight comes back within rounding, not bit for bit; where a bat block makes
// it impossible that is an error.
func (s Stack) Unmerge(w *tensor.Tensor) (*tensor.Tensor, error) {
	works, err := s.works(w)
	if err != nil {
		return nil, err
	}
	for i, l := range s {
		if err := methods[l.Method].maths.prepare(works[i]); err != nil {
			return nil, err
		}
	}
	return mapRows(w, w.DType(), works, func(rows []float64, k0 int) {
		for i := len(s) - 1; i >= 0; i-- {
			methods[s[i].Method].maths.unmerge(works[i], rows, k0)
		}
	})
}

// Forward is Layer.Forward with all layers.
func (s Stack) Forward(x, w, bias *tensor.Tensor) (*tensor.Tensor, error) {
	f, err := s.flat(x, w)
	if err != nil {
		return nil, err
	}
	b := make([]float64, f.out)
	if bias != nil {
		if bias.Size() != f.out {
			return nil, fmt.Errorf("bias %v for %d outputs", bias, f.out)
		}
		if b, err = bias.Float64s(); err != nil {
			return nil, err
		}
	}
	s.merge(f.works, f.w, 0)
	y := make([]float64, f.n*f.out)
	for i := range f.n {
		row := y[i*f.out : (i+1)*f.out]
		copy(row, b)
		for k, v := range f.x[i*f.in : (i+1)*f.in] {
			for j, wv := range f.w[k*f.out : (k+1)*f.out] {
				row[j] += v * wv
			}
		}
	}
	return tensor.FromSlice(y, append(x.Shape()[:x.Rank()-1].Clone(), f.out)...).Cast(x.DType())
}

// Grads are the gradients of a loss by the input and by every block of every
// layer of a stack, in the type of the upstream gradient.
type Grads struct {
	X      *tensor.Tensor
	Blocks [][]*tensor.Tensor
}

// Grad is the gradients at x, given the gradient dy of the loss by y. Sums are
// in float64.
func (s Stack) Grad(x, w, dy *tensor.Tensor) (*Grads, error) {
	f, err := s.flat(x, w)
	if err != nil {
		return nil, err
	}
	g, err := dy.Float64s()
	if err != nil {
		return nil, err
	}
	if len(g) != f.n*f.out {
		return nil, fmt.Errorf("gradient %v for input %v and weight %v", dy, x, w)
	}
	before := make([][]float64, len(s)) // the weight that each layer sees
	for i, l := range s {
		before[i] = append([]float64{}, f.w...)
		methods[l.Method].maths.merge(f.works[i], f.w, 0)
	}
	dx, dw := make([]float64, len(f.x)), make([]float64, len(f.w))
	for i := range f.n {
		for k := range f.in {
			for j, v := range g[i*f.out : (i+1)*f.out] {
				dx[i*f.in+k] += v * f.w[k*f.out+j]
				dw[k*f.out+j] += v * f.x[i*f.in+k]
			}
		}
	}
	out := &Grads{Blocks: make([][]*tensor.Tensor, len(s))}
	if out.X, err = tensor.FromSlice(dx, x.Shape()...).Cast(dy.DType()); err != nil {
		return nil, err
	}
	for i := len(s) - 1; i >= 0; i-- {
		if out.Blocks[i], err = blockGrads(s[i], f.works[i], before[i], dw, dy.DType()); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func blockGrads(l Layer, w *work, rows, drows []float64, d tensor.DType) ([]*tensor.Tensor, error) {
	grads := make([][]float64, len(l.Blocks))
	for i, b := range l.Blocks {
		grads[i] = make([]float64, b.Size())
	}
	methods[l.Method].maths.grad(w, rows, drows, 0, grads)
	out := make([]*tensor.Tensor, len(grads))
	for i, g := range grads {
		var err error
		if out[i], err = tensor.FromSlice(g, l.Blocks[i].Shape()...).Cast(d); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (s Stack) names() string {
	if len(s) != 1 || s[0].Name == "" {
		return "default"
	}
	return s[0].Name
}

func (s Stack) merge(works []*work, rows []float64, k0 int) {
	for i, l := range s {
		methods[l.Method].maths.merge(works[i], rows, k0)
	}
}

// works checks the blocks against w and widens them to float64.
func (s Stack) works(w *tensor.Tensor) ([]*work, error) {
	if w.Rank() != 2 || !w.DType().IsFloat() || w.DType().Bits() < 8 {
		return nil, fmt.Errorf("an adapter needs a float weight of rank 2; got %v", w)
	}
	out := make([]*work, len(s))
	for i, l := range s {
		shapes := make([][]int, len(l.Blocks))
		for k, b := range l.Blocks {
			shapes[k] = b.Shape()
		}
		d, err := l.Method.DimsOf(w.Shape()[0], w.Shape()[1], shapes...)
		if err != nil {
			return nil, err
		}
		out[i] = &work{Dims: d, scale: 1, blocks: make([][]float64, len(l.Blocks))}
		if l.Method == LoRA && l.Alpha != 0 {
			out[i].scale = l.Alpha / float64(d.Rank)
		}
		for k, b := range l.Blocks {
			if !b.DType().IsFloat() {
				return nil, fmt.Errorf("%v block is %v", l.Method, b)
			}
			if out[i].blocks[k], err = b.Float64s(); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

// flat is a forward pass's numbers with the leading dimensions of x as one.
type flat struct {
	works      []*work
	x, w       []float64
	n, in, out int
}

func (s Stack) flat(x, w *tensor.Tensor) (*flat, error) {
	works, err := s.works(w)
	if err != nil {
		return nil, err
	}
	f := &flat{works: works, in: w.Shape()[0], out: w.Shape()[1]}
	if x.Rank() == 0 || x.Shape()[x.Rank()-1] != f.in || f.in == 0 {
		return nil, fmt.Errorf("input %v does not fit weight %v", x, w)
	}
	f.n = x.Size() / f.in
	if f.x, err = x.Float64s(); err != nil {
		return nil, err
	}
	f.w, err = w.Float64s()
	return f, err
}

// mapRows is w with f applied to chunks of its rows in float64, as a new
// tensor of type d. Chunks end at multiples of every rank that needs it, so
// the result does not depend on how many run at once.
func mapRows(w *tensor.Tensor, d tensor.DType, works []*work, f func(rows []float64, k0 int)) (*tensor.Tensor, error) {
	in, out := w.Shape()[0], w.Shape()[1]
	res := tensor.New(d, in, out)
	step := 1
	for _, wk := range works {
		step = step / gcd(step, wk.Rank) * wk.Rank
	}
	step *= max(1, (1<<16)/max(1, step*out))
	chunks := (in + step - 1) / step
	var next atomic.Int64
	var wg sync.WaitGroup
	errs := make([]error, min(chunks, runtime.GOMAXPROCS(0)))
	for g := range errs {
		wg.Go(func() {
			buf := make([]float64, min(step, in)*out)
			for k := int(next.Add(1)-1) * step; k < in && errs[g] == nil; k = int(next.Add(1)-1) * step {
				hi := min(k+step, in)
				rows := tensor.FromSlice(buf[:(hi-k)*out], hi-k, out)
				if errs[g] = tensor.CastInto(rows, w.Rows(k, hi), tensor.CastOptions{}); errs[g] != nil {
					return
				}
				f(tensor.Data[float64](rows), k)
				errs[g] = tensor.CastInto(res.Rows(k, hi), rows, tensor.CastOptions{})
			}
		})
	}
	wg.Wait()
	return res, errors.Join(errs...)
}

// finite reports whether no element is infinite or NaN.
func finite(t *tensor.Tensor) (bool, error) {
	if t.DType() == tensor.Float32 {
		for _, v := range tensor.Data[float32](t) {
			if math.Float32bits(v)&0x7f800000 == 0x7f800000 {
				return false, nil
			}
		}
		return true, nil
	}
	for k := range t.Shape()[0] {
		v, err := t.Rows(k, k+1).Float64s()
		if err != nil {
			return false, err
		}
		for _, x := range v {
			if math.IsInf(x, 0) || x != x {
				return false, nil
			}
		}
	}
	return true, nil
}
