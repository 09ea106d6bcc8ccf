package ops

import (
	"slices"

	"github.com/bonnx/bonnx/internal/kernel"
	"github.com/bonnx/bonnx/tensor"
)

// An einsumPlan is an einsum of concrete shapes, its dimensions named.
type einsumPlan struct {
	terms  [][]int
	out    []int
	shapes []tensor.Shape
	result tensor.Shape
}

// extent is the extent of a name: the largest, those of 1 being broadcast.
func (e *einsumPlan) extent(name int) int {
	n := 1
	for i, t := range e.terms {
		for j, m := range t {
			if m == name && e.shapes[i][j] != 1 {
				n = e.shapes[i][j]
			}
		}
	}
	return n
}

// plain reports operands whose dimensions are all different and not broadcast.
func (e *einsumPlan) plain() bool {
	for i, t := range e.terms {
		for j, name := range t {
			if slices.Contains(t[:j], name) || e.shapes[i][j] != e.extent(name) {
				return false
			}
		}
	}
	return true
}

// permutation is where the names of to lie in from; ok is false where the two
// do not have the same names.
func permutation(from, to []int) (perm []int, ok bool) {
	for _, name := range to {
		i := slices.Index(from, name)
		if i < 0 {
			return nil, false
		}
		perm = append(perm, i)
	}
	return perm, len(from) == len(to)
}

// bindEinsum chooses: a transposition, a batched matrix product between
// transpositions, or plain loops.
func bindEinsum[T kernel.Float](p *Binder, e *einsumPlan) (Step, error) {
	if e.plain() && len(e.result) <= 16 {
		if perm, ok := permutation(e.terms[0], e.out); ok && len(e.terms) == 1 {
			t := kernel.NewTransposition(e.shapes[0], perm)
			return func(f *Frame, in, out []*tensor.Tensor) error {
				kernel.Transpose(f.Pool, t, tensor.Data[T](out[0]), tensor.Data[T](in[0]))
				return nil
			}, nil
		}
		if len(e.terms) == 2 {
			if s := bindEinsumProduct[T](p, e); s != nil {
				return s, nil
			}
		}
	}
	return bindContraction[T](p, e), nil
}

// groups sorts the names of two operands by where they occur; ok is false
// where one is summed over that only one operand has.
func (e *einsumPlan) groups() (batch, m, n, k []int, ok bool) {
	a, b := e.terms[0], e.terms[1]
	for _, name := range a {
		inB, inOut := slices.Contains(b, name), slices.Contains(e.out, name)
		switch {
		case inB && inOut:
			batch = append(batch, name)
		case inB:
			k = append(k, name)
		case inOut:
			m = append(m, name)
		default:
			return nil, nil, nil, nil, false
		}
	}
	for _, name := range b {
		switch {
		case slices.Contains(a, name):
		case slices.Contains(e.out, name):
			n = append(n, name)
		default:
			return nil, nil, nil, nil, false
		}
	}
	return batch, m, n, k, true
}

func (e *einsumPlan) size(names []int) int {
	n := 1
	for _, name := range names {
		n *= e.extent(name)
	}
	return n
}

// bindEinsumProduct brings the operands to (batch, m, k) and (batch, k, n),
// multiplies, and brings the result to its order; nil where the equation is
// not of that kind.
func bindEinsumProduct[T kernel.Float](p *Binder, e *einsumPlan) Step {
	batch, m, n, k, ok := e.groups()
	if !ok {
		return nil
	}
	shapeOf := func(names []int) tensor.Shape {
		s := make(tensor.Shape, len(names))
		for i, name := range names {
			s[i] = e.extent(name)
		}
		return s
	}
	nb, nm, nn, nk := e.size(batch), e.size(m), e.size(n), e.size(k)
	permA, _ := permutation(e.terms[0], slices.Concat(batch, m, k))
	permB, _ := permutation(e.terms[1], slices.Concat(batch, k, n))
	order := slices.Concat(batch, m, n)
	permC, _ := permutation(order, e.out)
	ta, tb := kernel.NewTransposition(e.shapes[0], permA), kernel.NewTransposition(e.shapes[1], permB)
	tc := kernel.NewTransposition(shapeOf(order), permC)
	sa, sb, sc := scratchOf[T](p, nb*nm*nk), scratchOf[T](p, nb*nk*nn), scratchOf[T](p, nb*nm*nn)
	at := kernel.Batch{OffA: kernel.Strided(nb, nm*nk), OffB: kernel.Strided(nb, nk*nn), OffC: kernel.Strided(nb, nm*nn)}
	work := scratchOf[T](p, kernel.GemmBatchScratch[T](nb, nm, nn, nk))
	return func(f *Frame, in, out []*tensor.Tensor) error {
		a, b, c := ScratchOf[T](f, sa), ScratchOf[T](f, sb), ScratchOf[T](f, sc)
		kernel.Transpose(f.Pool, ta, a, tensor.Data[T](in[0]))
		kernel.Transpose(f.Pool, tb, b, tensor.Data[T](in[1]))
		kernel.GemmBatch(f.Pool, at, false, false, nm, nn, nk, 1, a, nk, b, nn, false, c, nn, ScratchOf[T](f, work))
		kernel.Transpose(f.Pool, tc, tensor.Data[T](out[0]), c)
		return nil
	}
}

// bindContraction is the general case.
func bindContraction[T kernel.Float](p *Binder, e *einsumPlan) Step {
	c := &kernel.Contraction{Out: e.result}
	all := slices.Clone(e.out)
	for _, t := range e.terms {
		for _, name := range t {
			if !slices.Contains(all, name) {
				all = append(all, name)
				c.Sum = append(c.Sum, e.extent(name))
			}
		}
	}
	for i, t := range e.terms {
		strides, own := make([]int, len(all)), e.shapes[i].Strides()
		for j, name := range t {
			if e.shapes[i][j] != 1 {
				strides[slices.Index(all, name)] += own[j]
			}
		}
		c.Strides = append(c.Strides, strides)
	}
	id := p.State(func() any { return make([][]T, len(e.terms)) })
	return func(f *Frame, in, out []*tensor.Tensor) error {
		x := f.State(id).([][]T)
		for i, t := range in {
			x[i] = tensor.Data[T](t)
		}
		kernel.Contract(f.Pool, c, tensor.Data[T](out[0]), x)
		return nil
	}
}
