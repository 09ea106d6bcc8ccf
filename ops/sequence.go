package ops

import (
	"errors"
	"fmt"
	"slices"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// Sequences and optional values are no tensors. Exporters write them for lists
// whose length a model knows: chunks of a tensor taken apart, parts to be
// joined. Canonical follows which values are in a list, so that only tensors
// are left; a list whose length data decides is an error that says so.

var errSequence = errors.New("which values are in the sequence depends on data, or comes from around the graph; only lists that the graph itself makes are supported")

// sequence is an operator on lists that Canonical could not follow.
type sequence struct{ function }

func newSequence(a *Args) (Op, error) {
	a.Skip("axis", "keepdims", "new_axis", "dtype", "type")
	return sequence{}, nil
}

// Expand says why.
func (sequence) Expand(*Builder, *ir.Node) ([]*ir.Value, error) { return nil, errSequence }

// Slope is Listed.
func (sequence) Slope() Slope { return Listed }

// sequenceTable lists the operators on sequences and optional values.
func sequenceTable() []Entry {
	row := func(name string, minIn, maxIn int) Entry {
		return Entry{Name: name, MinIn: minIn, MaxIn: maxIn, MaxOut: 1, Strict: Exact, New: newSequence}
	}
	return []Entry{
		row("SequenceConstruct", 1, -1), row("SequenceEmpty", 0, 0), row("SequenceInsert", 2, 3), row("SequenceErase", 1, 2),
		row("SplitToSequence", 1, 2), row("SequenceAt", 2, 2), row("SequenceLength", 1, 1), row("ConcatFromSequence", 1, 1),
		row("Optional", 0, 1), row("OptionalGetElement", 1, 1), row("OptionalHasElement", 0, 1),
	}
}

// A listing says what becomes of a node on lists: the list that its output is,
// or the value.
type listing func(s *site, n *ir.Node) (list []*ir.Value, v *ir.Value, err error)

// listings are the operators on lists, an optional value being a list of one
// or none.
var listings = map[string]listing{
	"SequenceConstruct": func(_ *site, n *ir.Node) ([]*ir.Value, *ir.Value, error) {
		return slices.Clone(n.Inputs()), nil, nil
	},
	"SequenceEmpty": func(*site, *ir.Node) ([]*ir.Value, *ir.Value, error) { return []*ir.Value{}, nil, nil },
	"SequenceInsert": func(s *site, n *ir.Node) ([]*ir.Value, *ir.Value, error) {
		list, at, err := s.listAt(n, 0, 2, 1)
		if err != nil {
			return nil, nil, err
		}
		return slices.Insert(slices.Clone(list), at, n.Input(1)), nil, nil
	},
	"SequenceErase": func(s *site, n *ir.Node) ([]*ir.Value, *ir.Value, error) {
		list, at, err := s.listAt(n, 0, 1, 0)
		if err != nil {
			return nil, nil, err
		}
		return slices.Delete(slices.Clone(list), at, at+1), nil, nil
	},
	"SplitToSequence": splitToList,
	"SequenceAt": func(s *site, n *ir.Node) ([]*ir.Value, *ir.Value, error) {
		list, at, err := s.listAt(n, 0, 1, 0)
		if err != nil {
			return nil, nil, err
		}
		return nil, list[at], nil
	},
	"SequenceLength": func(s *site, n *ir.Node) ([]*ir.Value, *ir.Value, error) {
		list, ok := s.l.lists[n.Input(0)]
		if !ok {
			return nil, nil, errSequence
		}
		return nil, s.Const("length", tensor.Scalar(int64(len(list)))), nil
	},
	"ConcatFromSequence": concatList,
	"Optional": func(s *site, n *ir.Node) ([]*ir.Value, *ir.Value, error) {
		if n.Input(0) == nil {
			return []*ir.Value{}, nil, nil
		}
		return ir.In(n.Input(0)), nil, nil
	},
	"OptionalGetElement": func(s *site, n *ir.Node) ([]*ir.Value, *ir.Value, error) {
		x := n.Input(0)
		list, ok := s.l.lists[x]
		switch {
		case !ok:
			return nil, x, nil // since 18 also of what is no optional value
		case len(list) == 0:
			return nil, nil, errors.New("the optional value is empty")
		}
		return nil, list[0], nil
	},
	"OptionalHasElement": func(s *site, n *ir.Node) ([]*ir.Value, *ir.Value, error) {
		list, ok := s.l.lists[n.Input(0)]
		has := n.Input(0) != nil && (!ok || len(list) > 0)
		return nil, s.Const("has", tensor.Scalar(has)), nil
	},
}

// listAt is the list in input i of n, and the place in input at; places up to
// extra beyond the end count, and no place means the end.
func (s *site) listAt(n *ir.Node, i, at, extra int) ([]*ir.Value, int, error) {
	list, ok := s.l.lists[n.Input(i)]
	if !ok {
		return nil, 0, errSequence
	}
	place := len(list) + extra - 1
	if v := n.Input(at); v != nil {
		p, ok := s.Fact(v).Ints()
		if !ok || len(p) != 1 {
			return nil, 0, errSequence
		}
		if place = p[0]; place < 0 {
			place += len(list)
		}
	}
	if place < 0 || place >= len(list)+extra {
		return nil, 0, fmt.Errorf("place %d of a sequence of %d", place, len(list))
	}
	return list, place, nil
}

// splitToList takes a tensor apart along an axis: in pieces of one, of a size,
// or of sizes given.
func splitToList(s *site, n *ir.Node) ([]*ir.Value, *ir.Value, error) {
	x := n.Input(0)
	axis, err := intAttr(n, "axis", 0)
	if err != nil {
		return nil, nil, err
	}
	keep, err := intAttr(n, "keepdims", 1)
	if err != nil {
		return nil, nil, err
	}
	sizes, err := s.pieces(x, n.Input(1), int(axis))
	if err != nil {
		return nil, nil, err
	}
	if len(sizes) == 0 {
		return []*ir.Value{}, nil, nil
	}
	parts := slices.Clone(s.Node("", "Split", ir.In(x, s.Ints(sizes...)), len(sizes), ir.A("axis", ir.Int(axis))))
	if n.Input(1) == nil && keep == 0 {
		for i, p := range parts {
			parts[i] = s.squeeze(p, int(axis))
		}
	}
	return parts, nil, nil
}

// maxPieces bounds how many values a list has.
const maxPieces = 1 << 12

func (s *site) pieces(x, split *ir.Value, axis int) ([]int, error) {
	size := 1
	if split != nil {
		v, ok := s.Fact(split).Ints()
		switch {
		case !ok:
			return nil, errSequence
		case s.Fact(split).Rank() == 1:
			return v, nil
		}
		size = v[0]
	}
	d := s.Fact(x).Dim(axis)
	if !d.Known || size < 1 || d.Value/int64(size) > maxPieces {
		return nil, errSequence
	}
	var sizes []int
	for left := int(d.Value); left > 0; left -= size {
		sizes = append(sizes, min(size, left))
	}
	return sizes, nil
}

func concatList(s *site, n *ir.Node) ([]*ir.Value, *ir.Value, error) {
	list, ok := s.l.lists[n.Input(0)]
	if !ok {
		return nil, nil, errSequence
	}
	if len(list) == 0 {
		return nil, nil, errors.New("an empty sequence is joined")
	}
	axis, err := intAttr(n, "axis", 0)
	if err != nil {
		return nil, nil, err
	}
	stack, err := intAttr(n, "new_axis", 0)
	if err != nil {
		return nil, nil, err
	}
	parts := slices.Clone(list)
	if stack != 0 {
		for i, p := range parts {
			parts[i] = s.Unsqueeze(p, int(axis))
		}
	}
	return nil, s.Op("Concat", parts, ir.A("axis", ir.Int(axis))), nil
}

// follow does what a node on lists does, where that is known; the node goes, or
// when it makes a list stays until nothing reads it.
func (l *lifter) follow(n *ir.Node) bool {
	y := n.Output(0)
	if n.Is("Identity") && y != nil {
		list, ok := l.lists[n.Input(0)]
		if ok {
			l.list(n, list)
		}
		return ok
	}
	f := listings[n.OpType]
	if f == nil || n.Domain != "" || y == nil {
		return false
	}
	s := l.at(n)
	list, v, err := f(s, n)
	switch {
	case err != nil || s.Err() != nil:
		return false // for whoever parses the node
	case v == nil:
		l.list(n, list)
		return true
	}
	v = s.Op("Identity", ir.In(v)) // v stays in the list
	l.become(s, n, v, y, map[*ir.Value]*ir.Value{})
	n.Graph().Remove(n)
	return true
}

// list notes what the sequence that n makes holds.
func (l *lifter) list(n *ir.Node, list []*ir.Value) {
	l.lists[n.Output(0)] = list
	l.listNodes = append(l.listNodes, n)
}

// dropLists removes the nodes that made lists which nothing reads any more.
func (l *lifter) dropLists() {
	for i := len(l.listNodes) - 1; i >= 0; i-- {
		if n := l.listNodes[i]; n.Output(0).Unused() {
			n.Graph().Remove(n)
		}
	}
}
