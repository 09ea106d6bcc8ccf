package ops

import (
	"errors"
	"fmt"
	"slices"

	"github.com/bonnx/bonnx/ir"
)

// NewestOpset is the newest opset of the standard domain that is known.
const NewestOpset = 27

// maxNodes bounds what inlining functions may grow a model to.
const maxNodes = 1 << 20

// Canonical is a private copy of a model in the form that gradients, fusions
// and the runtime see: at opset max(the model's, CanonicalOpset) of the
// standard domain, its model-local functions inlined, operators that stand for
// others (Attention, those of com.microsoft) spelled out, Constant nodes made
// initializers, Identity and idle Dropout nodes dropped where no output is
// named by them, IR version 8 or newer. Other domains are left alone. What
// the model computes stays exactly the same; m is not changed.
func Canonical(m *ir.Model) (*ir.Model, error) {
	if err := ir.Verify(m); err != nil {
		return nil, err
	}
	version := m.Opset("")
	if version > NewestOpset {
		return nil, fmt.Errorf("the model imports opset %d of the standard domain; the newest known is %d", version, NewestOpset)
	}
	c := m.Clone()
	if c.IRVersion < 4 {
		fixInitializers(c.Graph)
	}
	c.IRVersion = max(c.IRVersion, 8)
	target := max(version, CanonicalOpset)
	if version == 0 { // files older than IR version 3 say nothing
		version = 1
	}
	for _, f := range c.Functions {
		if v := f.Opset(""); v > NewestOpset {
			return nil, fmt.Errorf("function %q imports opset %d of the standard domain; the newest known is %d", f.Name, v, NewestOpset)
		} else if v > target {
			target = v
		}
	}
	c.SetOpset("", target)
	l := newLifter(c, target)
	if err := l.graph(c.Graph, version); err != nil {
		return nil, err
	}
	l.dropLists()
	c.Functions = nil
	c.Graphs(func(g *ir.Graph) bool { tidy(g); return true })
	if err := ir.Verify(c); err != nil {
		return nil, fmt.Errorf("after lifting to opset %d: %w", target, err)
	}
	return c, nil
}

// fixInitializers makes initializers constants, though the list of inputs has
// them: before IR version 4 it had to, and runtimes take no feeds for them.
func fixInitializers(g *ir.Graph) {
	inputs := g.Inputs
	g.Inputs = nil
	for _, v := range inputs {
		if v.Data == nil {
			g.Inputs = append(g.Inputs, v)
		}
	}
}

// A lifter rewrites nodes to the newest opset, in order, knowing the facts of
// what came before.
type lifter struct {
	model     *ir.Model
	an        *Analysis
	names     *ir.Names
	target    int64
	functions map[functionID]*ir.Function
	// version is the opset of nodes that are not of their graph's: those of
	// inlined functions, and those already lifted.
	version map[*ir.Node]int64
	inlined int // nodes of inlined bodies so far
	// lists are the values of sequences, and who makes them.
	lists     map[*ir.Value][]*ir.Value
	listNodes []*ir.Node
}

type functionID struct{ domain, name, overload string }

func newLifter(m *ir.Model, target int64) *lifter {
	l := &lifter{model: m, an: Standard().start(m, AnalyzeOptions{}), names: ir.NewNames(m), target: target,
		functions: map[functionID]*ir.Function{}, version: map[*ir.Node]int64{},
		lists: map[*ir.Value][]*ir.Value{}}
	for _, f := range m.Functions {
		l.functions[functionID{ir.CanonicalDomain(f.Domain), f.Name, f.Overload}] = f
	}
	return l
}

// graph lifts all nodes of g, which are of the given opset.
func (l *lifter) graph(g *ir.Graph, version int64) error {
	for _, v := range g.Inputs {
		if _, ok := l.an.facts[v]; !ok {
			l.an.Set(v, FromType(v.Type))
		}
	}
	for n := range g.Nodes() {
		v, ok := l.version[n]
		if !ok {
			v = version
		}
		if err := l.node(n, v); err != nil {
			return fmt.Errorf("%v: %w", n, err)
		}
	}
	if g.Parent() != nil {
		l.declare(g)
	}
	return nil
}

// declare writes what was found of a sub-graph's outputs into their types: the
// operator that runs the graph sees no more.
func (l *lifter) declare(g *ir.Graph) {
	for _, v := range g.Outputs {
		if f := l.an.Fact(v); !f.Absent() && (f.Ranked || v.Type == nil) {
			f.Dims = slices.Clone(f.Dims)
			for i, d := range f.Dims {
				if !d.Known { // symbols of the outer graph mean nothing in here
					f.Dims[i] = unknown
				}
			}
			v.Type = f.Type()
		}
	}
}

func (l *lifter) node(n *ir.Node, version int64) error {
	n.Domain = ir.CanonicalDomain(n.Domain)
	if f := l.functions[functionID{n.Domain, n.OpType, n.Overload}]; f != nil {
		return l.inline(n, f)
	}
	if l.follow(n) {
		return nil
	}
	if n.Domain == "" {
		if err := l.lift(n, version); err != nil {
			return err
		}
	}
	l.an.introduce(n)
	for _, sub := range n.Subgraphs() {
		if err := l.graph(sub, version); err != nil {
			return err
		}
	}
	if branch := l.taken(n); branch != nil {
		l.splice(n, branch)
		return nil
	}
	if c := l.functionOf(n); c != nil {
		return l.spell(n, c)
	}
	l.infer(n)
	return nil
}

// taken is the branch of an If whose condition is constant.
func (l *lifter) taken(n *ir.Node) *ir.Graph {
	if !n.Is("If") {
		return nil
	}
	c, ok := elemsOf(l.an.Fact(n.Input(0)))
	if !ok || len(c) != 1 || !c[0].Known {
		return nil
	}
	name := "then_branch"
	if c[0].Value == 0 {
		name = "else_branch"
	}
	a := n.Attr(name)
	if a == nil {
		return nil
	}
	g, ok := a.Value.(ir.GraphAttr)
	if !ok || len(g.Graph.Outputs) < len(n.Outputs()) {
		return nil
	}
	return g.Graph
}

// lift applies the rows that a node of the given opset needs. A row may make
// it another operator, whose later rows then apply.
func (l *lifter) lift(n *ir.Node, version int64) error {
	if version < 6 {
		n.RemoveAttr("consumed_inputs")
	}
	if lifts[n.OpType] != nil && len(n.Inputs()) == 0 {
		return errors.New("no inputs")
	}
	for again := true; again; {
		again = false
		for _, row := range lifts[n.OpType] {
			if version >= row.until {
				continue
			}
			op, s := n.OpType, l.at(n)
			if err := row.lift(s, n); err != nil {
				return fmt.Errorf("opset %d: %w", version, err)
			}
			if err := s.Err(); err != nil {
				return err
			}
			if version = row.until; n.OpType != op {
				again = true
				break
			}
		}
	}
	return nil
}

// infer takes note of a lifted node's outputs; what cannot be inferred is
// nobody's trouble yet.
func (l *lifter) infer(n *ir.Node) { _ = l.an.Node(n) }

// site is a place in a graph where nodes are added.
type site struct {
	*Builder
	l *lifter
}

// at is the place before n.
func (l *lifter) at(n *ir.Node) *site {
	b := NewBuilder(l.an, n.Graph(), l.names)
	b.Before = n
	b.OnNode = func(n *ir.Node) error {
		if n.Domain == Domain && l.model.Opset(Domain) == 0 {
			l.model.SetOpset(Domain, 1)
		}
		l.version[n] = l.target
		l.infer(n)
		return nil
	}
	if n.Name != "" {
		b.Prefix = n.Name + "/"
	}
	return &site{b, l}
}

// then makes make's result, computed from output i of n, what n's output i
// was.
func (s *site) then(n *ir.Node, i int, make func(y *ir.Value) *ir.Node) {
	old := n.Output(i)
	if old == nil {
		return
	}
	y := n.Graph().NewValue(s.Names().Fresh(old.Name+"_lifted"), nil)
	n.SetOutput(i, y)
	after := make(y)
	after.Name = s.Names().Fresh(s.Prefix + after.OpType)
	after.SetOutput(0, old)
	n.Graph().InsertAfter(after, n)
	s.l.version[after] = s.l.target
}

// tidy makes Constant nodes initializers and drops nodes that only pass on.
func tidy(g *ir.Graph) {
	for n := range g.Nodes() {
		switch {
		case n.Is("Constant"):
			tidyConstant(g, n)
		case n.Is("Identity") || idleDropout(n):
			tidyIdentity(g, n)
		}
	}
}

func tidyConstant(g *ir.Graph, n *ir.Node) {
	out := n.Output(0)
	d, err := ConstantValue(n)
	if err != nil || out == nil || out.IsOutput() {
		return // an error is for whoever parses the node
	}
	v := g.AddInitializer(out.Name, d)
	out.ReplaceUses(v)
	g.Remove(n)
}

func tidyIdentity(g *ir.Graph, n *ir.Node) {
	x, y := n.Input(0), n.Output(0)
	if x == nil || y == nil {
		return
	}
	if n.OpType != "Identity" {
		n.OpType, n.Attrs = "Identity", nil
		n.TruncateInputs(1)
		n.TruncateOutputs(1)
	}
	if y.IsOutput() {
		return
	}
	y.ReplaceUses(x)
	g.Remove(n)
}

// idleDropout reports whether n is a Dropout that certainly does nothing.
func idleDropout(n *ir.Node) bool {
	if !n.Is("Dropout") || n.Output(1) != nil && !n.Output(1).Unused() {
		return false
	}
	mode := n.Input(2)
	if mode == nil {
		return true
	}
	if !mode.IsInitializer() || mode.IsInput() {
		return false
	}
	f := ConstantData(mode.Data)
	b, ok := elemsOf(f)
	return ok && len(b) == 1 && b[0] == known(0)
}
