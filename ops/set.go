package ops

import (
	"errors"
	"fmt"

	"github.com/bonnx/bonnx/ir"
)

// Entry is one row of the table of operators.
type Entry struct {
	Domain string // "" is the standard one
	Name   string
	// In and Out bound the numbers of inputs and outputs; a negative Max has
	// no bound.
	MinIn, MaxIn, MaxOut int
	Strict               Strictness
	// New reads the attributes. It knows older opsets only so far as
	// Canonical needs.
	New func(a *Args) (Op, error)
}

// Set is an immutable table of operators.
type Set struct{ rows map[string]Entry }

// UnsupportedOpError says that a node's operator is not in the Set.
type UnsupportedOpError struct {
	Node   string // as ir.Node.String writes it
	Domain string
	Op     string
	Opset  int64
}

func (e *UnsupportedOpError) Error() string {
	d := e.Domain
	if d == "" {
		d = "ai.onnx"
	}
	return fmt.Sprintf("%s: operator %s of %s (opset %d) is not supported; %s", e.Node, e.Op, d, e.Opset, e.Help())
}

// Help is what would help.
func (e *UnsupportedOpError) Help() string {
	switch ir.CanonicalDomain(e.Domain) {
	case "com.microsoft":
		return "ONNX Runtime's optimizer writes it: take the model as it was before, or optimized at level basic"
	case "":
		return "export the model with an opset that docs/operators.md lists, or with another exporter"
	}
	return "a Go program can bring the operator along (Model.UseOps); inject, merge and strip take the model as it is"
}

func setKey(domain, name string) string { return ir.CanonicalDomain(domain) + "\x00" + name }

// NewSet makes a Set of rows; a later row replaces an earlier one of the same
// name.
func NewSet(rows ...Entry) *Set { return (&Set{}).With(rows...) }

// With is the Set with more rows.
func (s *Set) With(rows ...Entry) *Set {
	t := &Set{rows: make(map[string]Entry, len(s.rows)+len(rows))}
	for k, r := range s.rows {
		t.rows[k] = r
	}
	for _, r := range rows {
		t.rows[setKey(r.Domain, r.Name)] = r
	}
	return t
}

// Lookup finds the row of an operator.
func (s *Set) Lookup(domain, name string) (Entry, bool) {
	r, ok := s.rows[setKey(domain, name)]
	return r, ok
}

// Rows visits every row in no order.
func (s *Set) Rows(visit func(Entry)) {
	for _, r := range s.rows {
		visit(r)
	}
}

// Parse makes the Op of a node. opset is what the model imports of its domain.
func (s *Set) Parse(n *ir.Node, opset int64) (Op, error) {
	row, ok := s.Lookup(n.Domain, n.OpType)
	if !ok {
		return nil, &UnsupportedOpError{Node: n.String(), Domain: n.Domain, Op: n.OpType, Opset: opset}
	}
	in, out := len(n.Inputs()), len(n.Outputs())
	if in < row.MinIn || row.MaxIn >= 0 && in > row.MaxIn {
		return nil, fmt.Errorf("%v: %d inputs", n, in)
	}
	if row.MaxOut >= 0 && out > row.MaxOut {
		return nil, fmt.Errorf("%v: %d outputs", n, out)
	}
	for i := range row.MinIn {
		if n.Input(i) == nil {
			return nil, fmt.Errorf("%v: input %d is left out", n, i)
		}
	}
	a := &Args{Node: n, Opset: opset, read: map[string]bool{}}
	op, err := row.New(a)
	if err == nil {
		err = a.err
	}
	if err == nil {
		err = a.unread()
	}
	if err != nil {
		return nil, fmt.Errorf("%v: %w", n, err)
	}
	return op, nil
}

var errRefAttr = errors.New("attribute refers to a function's, which was not inlined")

func (a *Args) unread() error {
	for _, at := range a.Node.Attrs {
		if at.Value == nil {
			return errRefAttr
		}
		if !a.read[at.Name] {
			return fmt.Errorf("attribute %q is not known (opset %d)", at.Name, a.Opset)
		}
	}
	return nil
}
