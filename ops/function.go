package ops

import (
	"errors"
	"fmt"
	"slices"

	"github.com/bonnx/bonnx/ir"
)

// A function is an operator of a file that has a body of standard operators:
// a Composite of another domain than ai.bonnx. Canonical puts the body in the
// node's place, so the body is all there is to run, to differentiate and to
// export. Operators embed it for what Op asks of them beside Expand.
type function struct{}

// Slope is the kind of gradient that a function has.
type Slope uint8

const (
	// ByBody is what the gradients of the body's operators make.
	ByBody Slope = iota
	// Straight is that of the body, roundings of activations being passed by.
	Straight
	// Flat is none: the results are whole numbers, or nothing to train through.
	Flat
	// Listed is that of the values in a list, which are all that is left of it.
	Listed
)

// Slope is the gradient of a function.
func (function) Slope() Slope { return ByBody }

// A roundedFunction rounds activations on their way.
type roundedFunction struct{ function }

// Slope is Straight.
func (roundedFunction) Slope() Slope { return Straight }

// A flatFunction has no gradient.
type flatFunction struct{ function }

// Slope is Flat.
func (flatFunction) Slope() Slope { return Flat }

// errFunction says that something works on a model which is not canonical.
var errFunction = errors.New("stands for other operators, which Canonical puts in its place")

// Infer fails: the facts are those of the body.
func (function) Infer([]Fact) ([]Fact, error) { return nil, errFunction }

func (function) Bind(*Binder, []Fact, []Fact) (Step, error) { return nil, errFunction }

// functionOf is the body's maker where n is a function.
func (l *lifter) functionOf(n *ir.Node) Composite {
	if n.Domain == Domain {
		return nil
	}
	op, err := l.an.set.Parse(n, l.an.opset(n.Domain))
	if err != nil {
		return nil // for whoever parses the node again
	}
	l.an.ops[n] = op
	c, _ := op.(Composite)
	return c
}

// spell puts the body of a function in the place of n.
func (l *lifter) spell(n *ir.Node, c Composite) error {
	s := l.at(n)
	outs, err := c.Expand(s.Builder, n)
	if err == nil {
		err = s.Err()
	}
	if err != nil {
		return err
	}
	taken := map[*ir.Value]*ir.Value{}
	for i, y := range n.Outputs() {
		if y == nil {
			continue
		}
		if i >= len(outs) || outs[i] == nil {
			return fmt.Errorf("output %d is not supported with these inputs and attributes", i)
		}
		l.become(s, n, outs[i], y, taken)
	}
	n.Graph().Remove(n)
	return s.Err()
}

// become makes the node that computes v compute y, so that names stay. Where v
// is not the body's own, an Identity copies it.
func (l *lifter) become(s *site, n *ir.Node, v, y *ir.Value, taken map[*ir.Value]*ir.Value) {
	n.SetOutput(y.Index(), nil)
	if first := taken[v]; first != nil {
		v = s.Op("Identity", ir.In(first))
	} else if v.Producer() == nil || l.version[v.Producer()] == 0 || slices.Contains(n.Inputs(), v) {
		v = s.Op("Identity", ir.In(v))
	}
	taken[v] = y
	l.an.Set(y, l.an.Fact(v))
	p, i := v.Producer(), v.Index()
	p.SetOutput(i, nil)
	v.ReplaceUses(y)
	p.SetOutput(i, y)
}
