package extent

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
)

func transpose(c *call) (place, error) {
	k, rank, err := c.of(0)
	if err != nil {
		return place{}, err
	}
	a := c.n.Attr("perm")
	if a == nil {
		return place{rows, rank - 1 - k}, nil
	}
	perm, _ := a.Value.(ir.Ints)
	return place{rows, slices.Index(perm, int64(k))}, nil
}

// reshape keeps elements in order, so one sample's stay together where the new
// axis of the samples comes after as many elements as the old one did.
func reshape(c *call) (place, error) {
	k, _, err := c.of(0)
	if err != nil {
		return place{}, err
	}
	dims := c.out().Dims
	at, ok := onlyRows(dims)
	if !ok || at < 0 {
		return place{}, fmt.Errorf("it makes %v of %v: the batch is no axis of that", c.out(), c.fact(0))
	}
	before, ok1 := product(c.fact(0).Dims[:k]...)
	after, ok2 := product(dims[:at]...)
	if !ok1 || !ok2 || !before.equal(after) {
		return place{}, fmt.Errorf("it makes %v of %v: that mixes the samples", c.out(), c.fact(0))
	}
	return place{rows, at}, nil
}

func flatten(c *call) (place, error) {
	k, rank, err := c.of(0)
	if err != nil {
		return place{}, err
	}
	axis, at, from := c.axis("axis", 1, rank), 0, 0
	if k >= axis {
		at, from = 1, axis
	}
	if before, ok := product(c.fact(0).Dims[from:k]...); !ok || !before.equal(number(1)) {
		return place{}, errMixes(k)
	}
	return place{rows, at}, nil
}

func squeeze(c *call) (place, error) {
	k, rank, err := c.of(0)
	if err != nil {
		return place{}, err
	}
	axes, ok := c.intsOf(1)
	if !ok {
		return place{}, errors.New("it drops every axis of one element, the batch with them")
	}
	return c.without(absolute(axes, rank), k, false)
}

func unsqueeze(c *call) (place, error) {
	k, rank, err := c.of(0)
	if err != nil {
		return place{}, err
	}
	axes, ok := c.intsOf(1)
	if !ok {
		return place{}, errors.New("its axes are not constant")
	}
	axes = absolute(axes, rank+len(axes))
	slices.Sort(axes)
	for _, a := range axes {
		if a <= k {
			k++
		}
	}
	return place{rows, k}, nil
}

// expand broadcasts samples, or makes as many of one as there are samples.
func expand(c *call) (place, error) {
	if err := c.onlyInputs(0); err != nil {
		return place{}, err
	}
	if c.place(0).kind == count || c.place(1).kind == rows {
		return place{}, errors.New("its values depend on the number of samples")
	}
	out := c.out()
	if c.place(0).kind != rows {
		return c.filled(c.fact(0))
	}
	return place{rows, c.place(0).axis + out.Rank() - c.fact(0).Rank()}, nil
}

func fill(c *call) (place, error) { return c.filled(ops.Fact{}) }

// filled is where the number of samples made rows that are all alike: x
// broadcast, which must have one element there, or a constant.
func (c *call) filled(x ops.Fact) (place, error) {
	at, ok := onlyRows(c.out().Dims)
	if !ok {
		return place{}, fmt.Errorf("its result %v has the batch in no axis of its own", c.out())
	}
	if at < 0 {
		return place{}, nil
	}
	if j := at - c.out().Rank() + x.Rank(); j >= 0 && j < len(x.Dims) && !(x.Dims[j].Known && x.Dims[j].Value == 1) {
		return place{}, fmt.Errorf("its input %v is not one along the batch", x)
	}
	return place{rows, at}, nil
}

func concat(c *call) (place, error) {
	axis := c.axis("axis", 0, c.out().Rank())
	var p place
	for i := range c.n.Inputs() {
		q := c.place(i)
		switch {
		case q.kind != rows:
			return place{}, fmt.Errorf("its input %d is no sample's own and cannot be repeated for each", i)
		case q.axis == axis:
			return place{}, errMixes(axis)
		case i > 0 && q != p:
			return place{}, errors.New("samples of its inputs are along different axes")
		}
		p = q
	}
	return p, nil
}

// slice may cut any axis but that of the samples, of which it takes all.
func slice(c *call) (place, error) {
	k, rank, err := c.of(0)
	if err != nil {
		return place{}, err
	}
	axes, ok := c.intsOf(3)
	if c.n.Input(3) == nil {
		starts, known := c.fact(1).Extents()
		ok = known
		for i := range starts {
			axes = append(axes, i)
		}
	}
	if !ok {
		return place{}, errors.New("its axes are not constant")
	}
	at := slices.Index(absolute(axes, rank), k)
	if at < 0 {
		return place{rows, k}, nil
	}
	starts, ok1 := c.fact(1).Extents()
	ends, ok2 := c.fact(2).Extents()
	steps, ok3 := c.intsOf(4)
	whole := ok1 && ok2 && starts[at].Known && starts[at].Value == 0 && (c.n.Input(4) == nil || ok3 && steps[at] == 1) &&
		(ends[at].Known && ends[at].Value >= math.MaxInt32 || ops.SameDim(ends[at], c.fact(0).Dims[k]))
	if !whole {
		return place{}, errors.New("it takes some of the samples")
	}
	return place{rows, k}, nil
}

func tile(c *call) (place, error) {
	k, _, err := c.of(0)
	if err != nil {
		return place{}, err
	}
	if n, ok := c.intsOf(1); !ok || n[k] != 1 {
		return place{}, errors.New("it repeats the samples")
	}
	return place{rows, k}, nil
}

func pad(c *call) (place, error) {
	k, rank, err := c.of(0)
	if err != nil {
		return place{}, err
	}
	pads, ok := c.intsOf(1)
	axes, given := c.intsOf(3)
	switch {
	case !ok || c.n.Input(3) != nil && !given:
		return place{}, errors.New("its paddings are not constant")
	case given:
		if k = slices.Index(absolute(axes, rank), k); k < 0 {
			return c.place(0), nil
		}
	}
	if pads[k] != 0 || pads[k+len(pads)/2] != 0 {
		return place{}, errMixes(c.place(0).axis)
	}
	return c.place(0), nil
}

func trilu(c *call) (place, error) {
	k, rank, err := c.of(0)
	if err == nil && k >= rank-2 {
		err = errMixes(k)
	}
	return place{rows, k}, err
}

// gather looks up what is the same for all samples with indices of each, or
// takes the same parts of each sample.
func gather(c *call) (place, error) {
	data, at := c.place(0), c.place(1)
	rank, indices := c.fact(0).Rank(), c.fact(1).Rank()
	axis := c.axis("axis", 0, rank)
	switch {
	case data.kind == rows && at.kind == rows:
		return place{}, errors.New("both table and indices are of the samples")
	case at.kind == rows:
		return place{rows, axis + at.axis}, nil
	case data.axis == axis:
		return place{}, errors.New("it picks samples")
	case data.axis > axis:
		return place{rows, data.axis + indices - 1}, nil
	}
	return data, nil
}

func gatherElements(c *call) (place, error) {
	data, at := c.place(0), c.place(1)
	if data != at {
		return place{}, errors.New("table and indices are not both of the samples")
	}
	if c.axis("axis", 0, c.fact(0).Rank()) == data.axis {
		return place{}, errMixes(data.axis)
	}
	return data, nil
}

// gatherND looks up (B,...) by indices (B,...,n) sample by sample, or a table
// by indices of the samples.
func gatherND(c *call) (place, error) {
	data, at := c.place(0), c.place(1)
	shared, last := int(c.int("batch_dims", 0)), c.fact(1).Rank()-1
	switch {
	case data.kind == rows && data == at && data.axis < shared:
		return data, nil
	case data.kind != rows && at.kind == rows && at.axis < last:
		return at, nil
	}
	return place{}, errMixes(data.axis)
}

func oneHot(c *call) (place, error) {
	k, rank, err := c.of(0)
	if err == nil && c.axis("axis", -1, rank+1) <= k {
		k++
	}
	return place{rows, k}, err
}

// resize changes no extent of the batch: its scale there is 1.
func resize(c *call) (place, error) {
	k, _, err := c.of(0)
	if err != nil {
		return place{}, err
	}
	crops := c.n.Input(1) != nil && c.fact(1).Dim(0) != ir.Fixed(0)
	if c.n.Attr("axes") != nil || k != 0 || crops || !ops.SameDim(c.out().Dim(0), c.fact(0).Dim(0)) {
		return place{}, errMixes(k)
	}
	return place{rows, 0}, nil
}
