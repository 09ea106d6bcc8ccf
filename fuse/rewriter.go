package fuse

import (
	"math"
	"slices"
	"strings"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

// A rewriter is one application of passes to a graph.
type rewriter struct {
	g          *ir.Graph
	a          *ops.Analysis
	names      *ir.Names
	keep       map[*ir.Value]bool // outputs of the graph
	o          Options
	composites bool                 // whether one was put in
	sums       map[sumsOf]*ir.Value // that layers with a block give
	err        error
}

func newRewriter(m *ir.Model, a *ops.Analysis, o Options) *rewriter {
	r := &rewriter{g: m.Graph, a: a, names: ir.NewNames(m), keep: map[*ir.Value]bool{}, o: o, sums: map[sumsOf]*ir.Value{}}
	for _, v := range m.Graph.Outputs {
		r.keep[v] = true
	}
	return r
}

// kept reports whether a value must stay.
func (r *rewriter) kept(v *ir.Value) bool { return r.keep[v] || r.o.Keep != nil && r.o.Keep(v) }

func (r *rewriter) fact(v *ir.Value) ops.Fact { return r.a.Fact(v) }

// from is the node that makes v where it is that standard operator, else nil.
func from(v *ir.Value, op string) *ir.Node {
	if v == nil {
		return nil
	}
	if n := v.Producer(); n.Is(op) && v.Index() == 0 {
		return n
	}
	return nil
}

// fromEither is from for several operators.
func fromEither(v *ir.Value, opTypes ...string) *ir.Node {
	for _, op := range opTypes {
		if n := from(v, op); n != nil {
			return n
		}
	}
	return nil
}

// closed reports whether the values that inner nodes make are read by root or
// by each other only, and need not stay.
func (r *rewriter) closed(root *ir.Node, inner ...*ir.Node) bool {
	for _, n := range inner {
		if n == nil {
			continue
		}
		for _, v := range n.Outputs() {
			if v == nil {
				continue
			}
			if r.kept(v) {
				return false
			}
			for _, u := range v.Uses() {
				if u.Node != root && !slices.Contains(inner, u.Node) {
					return false
				}
			}
		}
	}
	return true
}

const usedElsewhere = "a value inside is read elsewhere"

// float is the value of a constant of one float element.
func (r *rewriter) float(v *ir.Value) (float64, bool) {
	f := r.fact(v)
	if s, ok := f.Shape(); f.Const == nil || !ok || s.Size() != 1 {
		return 0, false
	}
	t := f.Value()
	if t == nil {
		return 0, false
	}
	switch t.DType() {
	case tensor.Float32:
		return float64(tensor.Data[float32](t)[0]), true
	case tensor.Float64:
		return tensor.Data[float64](t)[0], true
	}
	return 0, false
}

// isFloat reports whether v is a constant of one element near x, as near as
// float32 can say.
func (r *rewriter) isFloat(v *ir.Value, x float64) bool {
	c, ok := r.float(v)
	return ok && math.Abs(c-x) <= 1e-6*math.Abs(x)
}

// ints are the elements of a constant int64 tensor.
func (r *rewriter) ints(v *ir.Value) ([]int, bool) {
	if v == nil || r.fact(v).Const == nil {
		return nil, false
	}
	return r.fact(v).Ints()
}

// isInts reports whether v is that constant vector.
func (r *rewriter) isInts(v *ir.Value, want ...int) bool {
	got, ok := r.ints(v)
	return ok && slices.Equal(got, want)
}

// perm is a Transpose's permutation, nil where it is left to the default.
func perm(n *ir.Node) []int {
	a := n.Attr("perm")
	if a == nil {
		return nil
	}
	p, _ := a.Value.(ir.Ints)
	out := make([]int, len(p))
	for i, x := range p {
		out[i] = int(x)
	}
	return out
}

func isPerm(n *ir.Node, want ...int) bool { return n != nil && slices.Equal(perm(n), want) }

// intAttr is an integer attribute.
func intAttr(n *ir.Node, name string, def int64) int64 {
	if a := n.Attr(name); a != nil {
		if v, ok := a.Value.(ir.Int); ok {
			return int64(v)
		}
	}
	return def
}

// floatAttr is a float attribute.
func floatAttr(n *ir.Node, name string, def float64) float64 {
	if a := n.Attr(name); a != nil {
		if v, ok := a.Value.(ir.Float); ok {
			return float64(v)
		}
	}
	return def
}

// other is the second operand of a node of two inputs one of which is v.
func other(n *ir.Node, v *ir.Value) *ir.Value {
	switch v {
	case n.Input(0):
		return n.Input(1)
	case n.Input(1):
		return n.Input(0)
	}
	return nil
}

// pair tries match with the two inputs of n in both orders.
func pair(n *ir.Node, match func(a, b *ir.Value) bool) bool {
	return match(n.Input(0), n.Input(1)) || match(n.Input(1), n.Input(0))
}

// floats reports whether all values are of one type that composites compute.
func (r *rewriter) floats(vs ...*ir.Value) bool {
	d := r.fact(vs[0]).DType
	if d != tensor.Float32 && d != tensor.Float64 {
		return false
	}
	for _, v := range vs {
		if r.fact(v).DType != d {
			return false
		}
	}
	return true
}

// insert puts a node before at; its result takes the place of old (which
// keeps its name), or is new where old is nil.
func (r *rewriter) insert(at *ir.Node, domain, op string, in []*ir.Value, old *ir.Value, attrs ...*ir.Attr) *ir.Value {
	n := ir.NewNode(domain, op, in...)
	n.Name = r.names.Fresh(prefixOf(at.Name) + op)
	n.Attrs, n.Tag = attrs, at.Tag
	if old != nil {
		old.Producer().SetOutput(old.Index(), nil)
	} else {
		old = r.g.NewValue(r.names.Fresh(n.Name+"_output_0"), nil)
	}
	n.SetOutput(0, old)
	r.g.InsertBefore(n, at)
	r.composites = r.composites || domain == ops.Domain
	if err := r.a.Node(n); err != nil && r.err == nil {
		r.err = err
	}
	return old
}

// constant is an initializer that never changes.
func (r *rewriter) constant(name string, t *tensor.Tensor) *ir.Value {
	v := r.g.AddInitializer(r.names.Fresh(name), ir.Dense(t))
	r.a.Set(v, ops.ConstantData(v.Data))
	return v
}

// prefixOf is the module path in a node's name.
func prefixOf(name string) string { return name[:strings.LastIndexByte(name, '/')+1] }

// replace puts a node in root's place and removes root, and what of inner
// nothing reads any more.
func (r *rewriter) replace(root *ir.Node, domain, op string, in []*ir.Value, inner []*ir.Node, attrs ...*ir.Attr) {
	r.insert(root, domain, op, in, root.Output(0), attrs...)
	r.remove(root, inner...)
}

// remove takes root out, whose outputs must be gone, and then those inner
// nodes that nothing reads any more. A node may be listed twice.
func (r *rewriter) remove(root *ir.Node, inner ...*ir.Node) {
	r.g.Remove(root)
	for again := true; again; {
		again = false
		for _, n := range inner {
			if n != nil && n.Graph() == r.g && r.dead(n) {
				r.g.Remove(n)
				again = true
			}
		}
	}
}

func (r *rewriter) dead(n *ir.Node) bool {
	return !slices.ContainsFunc(n.Outputs(), func(v *ir.Value) bool {
		return v != nil && (len(v.Uses()) > 0 || r.kept(v))
	})
}

// prune removes nodes that nothing needs.
func (r *rewriter) prune() {
	r.g.Prune(false, func(n *ir.Node) bool { return !r.dead(n) })
}
