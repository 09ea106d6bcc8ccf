package ops

import (
	"cmp"
	"errors"
	"slices"

	"github.com/bonnx/bonnx/tensor"
)

// A Chain is pointwise operators that feed each other, with results of one
// shape. It runs them all on one tile after the other, so that what lies
// between them is never written to memory. The runtime makes chains of nodes
// when it plans; they are in no graph.
type Chain struct {
	Links []Link
	Leave []int // the numbers of the values that are its outputs
	Tile  int   // how many elements go through at a time; 0 for as many as suits the caches
}

// A Link is one operator of a Chain. Values are numbered: first the inputs of
// the Chain, then the outputs of its links, in order. In has the numbers of the
// operator's inputs, -1 for one that is left out. No output may be left out.
type Link struct {
	Op  Pointwise
	In  []int
	Out int // how many outputs it has
}

// LinkError says in which link of a Chain an error happened.
type LinkError struct {
	Link int
	Err  error
}

func (e *LinkError) Error() string { return e.Err.Error() }

// Unwrap is the error itself.
func (e *LinkError) Unwrap() error { return e.Err }

// Infer asks the links, one after the other.
func (c *Chain) Infer(in []Fact) ([]Fact, error) {
	all, err := c.facts(in)
	if err != nil {
		return nil, err
	}
	out := make([]Fact, len(c.Leave))
	for i, v := range c.Leave {
		out[i] = all[v]
	}
	return out, nil
}

// facts are those of all values.
func (c *Chain) facts(in []Fact) ([]Fact, error) {
	all := slices.Clone(in)
	for i, l := range c.Links {
		out, err := l.Op.Infer(picked(all, l.In))
		if err != nil {
			return nil, &LinkError{i, err}
		}
		if len(out) < l.Out {
			return nil, errors.New("a link has fewer outputs than wanted")
		}
		all = append(all, out[:l.Out]...)
	}
	return all, nil
}

// picked are the elements of all at the places at, zero for -1.
func picked[T any](all []T, at []int) []T {
	out := make([]T, len(at))
	for i, v := range at {
		if v >= 0 {
			out[i] = all[v]
		}
	}
	return out
}

// WorthChaining reports whether tensors of these shapes, broadcast to out, come
// in tiles large enough for a Chain.
func WorthChaining(out tensor.Shape, in []tensor.Shape) bool {
	rows, cols := cutTiles(out, in, tileSize).full()
	return rows*cols >= leastTile
}

// Bind binds the links to tiles. Offers of storage hold for the whole: an
// output may take that of an input of its shape which no later link reads.
func (c *Chain) Bind(p *Binder, in, out []Fact) (Step, error) {
	all, err := c.facts(in)
	if err != nil {
		return nil, err
	}
	shapes := make([]tensor.Shape, len(in))
	for i, f := range in {
		shapes[i] = f.MustShape()
	}
	b := &boundChain{Chain: c, inputs: len(in), tiles: cutTiles(out[0].MustShape(), shapes, cmp.Or(c.Tile, tileSize))}
	b.describe(all)
	if err := b.bindTiles(p.Cache, all); err != nil {
		return nil, err
	}
	b.offer(p, in, out)
	b.lanes = max(1, p.Threads)
	b.memory = p.Scratch(b.lanes * (b.buffers + b.scratch))
	id := p.State(func() any { return b.newState() })
	return func(f *Frame, in, out []*tensor.Tensor) error {
		return b.run(f, f.State(id).(*chainState), in, out)
	}, nil
}

// A boundChain is a Chain for given shapes. It is read only.
type boundChain struct {
	*Chain
	*tiles
	inputs  int
	values  []chainValue
	kinds   [2]tileKind // whole tiles, and the tail
	lanes   int         // how many there are
	memory  Slot        // of all lanes
	buffers int         // bytes of each
	scratch int         // and of its operators' scratch memory
	states  []func() any
}

// chainValue says where a value's tiles lie.
type chainValue struct {
	dtype  tensor.DType
	whole  bool // an input of one element, which every tile takes as it is
	leaves int  // as which output, or -1
	buffer int  // else where in the lane's buffers
}

// tileKind is the links bound to tiles of one size.
type tileKind struct {
	steps  []Step
	shapes []tensor.Shape // of each value
	offers [][]InPlace
}

// describe tells the kinds of values apart.
func (b *boundChain) describe(all []Fact) {
	b.values = make([]chainValue, len(all))
	for i, f := range all {
		b.values[i] = chainValue{dtype: f.DType, leaves: slices.Index(b.Leave, i)}
		b.values[i].whole = i < b.inputs && f.MustShape().Size() == 1 && f.Rank() <= 1
	}
}

// bindTiles binds the links to both sizes of tiles and lays out the buffers.
func (b *boundChain) bindTiles(cache *Cache, all []Fact) error {
	rows, cols := b.full()
	if err := b.bindKind(0, cache, all, rows, cols); err != nil {
		return err
	}
	b.layOut(rows * cols)
	rows, cols, ok := b.tail()
	if !ok {
		return nil
	}
	return b.bindKind(1, cache, all, rows, cols)
}

func (b *boundChain) bindKind(kind int, cache *Cache, all []Fact, rows, cols int) error {
	k := &b.kinds[kind]
	facts := make([]Fact, len(all))
	k.shapes = make([]tensor.Shape, len(all))
	for i, f := range all {
		switch {
		case b.values[i].whole:
			k.shapes[i], facts[i] = f.MustShape(), f
			continue
		case i < b.inputs:
			k.shapes[i] = b.shape(i, rows, cols)
		default:
			k.shapes[i] = tensor.Shape{rows, cols}
		}
		facts[i] = Concrete(f.DType, k.shapes[i]...)
	}
	next := b.inputs
	for i, l := range b.Links {
		p := NewBinder(cache, &b.states)
		s, err := l.Op.Bind(p, picked(facts, l.In), facts[next:next+l.Out])
		if err != nil {
			return &LinkError{i, err}
		}
		next += l.Out
		b.scratch = max(b.scratch, (p.ScratchSize()+63)&^63)
		k.steps, k.offers = append(k.steps, s), append(k.offers, p.InPlaceOffers())
	}
	return nil
}
