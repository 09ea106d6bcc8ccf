package fuse

import (
	"math"
	"slices"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
)

// factors takes a product of products apart, but for the value whole; nodes
// are the Muls inside v.
func factors(v, whole *ir.Value, depth int) (list []*ir.Value, nodes []*ir.Node) {
	mul := from(v, "Mul")
	if mul == nil || v == whole || depth == 0 {
		return []*ir.Value{v}, nil
	}
	nodes = []*ir.Node{mul}
	for _, in := range mul.Inputs() {
		l, n := factors(in, whole, depth-1)
		list, nodes = append(list, l...), append(nodes, n...)
	}
	return list, nodes
}

// takeConst removes the constants from a product and returns their product.
func (r *rewriter) takeConst(list []*ir.Value) (rest []*ir.Value, c float64) {
	c = 1
	for _, v := range list {
		if x, ok := r.float(v); ok && r.fact(v).Rank() == 0 {
			c *= x
		} else {
			rest = append(rest, v)
		}
	}
	return rest, c
}

func near(a, b float64) bool { return math.Abs(a-b) <= 1e-5*math.Abs(b) }

// maxFactors bounds how deep a product is taken apart.
const maxFactors = 3

// gelu recognises x/2 * (1 + erf(x/sqrt(2))) and x/2 * (1 + tanh(sqrt(2/pi) *
// (x + 0.044715 x^3))), the factors in any order.
func gelu(r *rewriter, n *ir.Node) (bool, string) {
	all, _ := factors(n.Output(0), nil, maxFactors)
	for _, v := range all {
		add := from(v, "Add")
		if add == nil {
			continue
		}
		var fn *ir.Node
		if !pair(add, func(f, one *ir.Value) bool {
			fn = fromEither(f, "Erf", "Tanh")
			return fn != nil && r.isFloat(one, 1)
		}) {
			continue
		}
		for _, arg := range r.geluArguments(fn) {
			list, muls := factors(n.Output(0), arg.x, maxFactors)
			list, c := r.takeConst(list)
			if len(list) != 2 || !near(c, 0.5) || !slices.Contains(list, arg.x) || !slices.Contains(list, v) {
				continue
			}
			inner := append(append(muls[1:], add, fn), arg.nodes...)
			switch {
			case !r.floats(arg.x):
				return false, "the input is neither float32 nor float64"
			case !r.closed(n, inner...):
				return false, usedElsewhere
			}
			r.replace(n, ops.Domain, "Gelu", ir.In(arg.x), inner, arg.attrs...)
			return true, ""
		}
	}
	return false, ""
}

// A geluArgument is a way to read what goes into Erf or Tanh as made of x.
type geluArgument struct {
	x     *ir.Value
	nodes []*ir.Node
	attrs []*ir.Attr
}

func (r *rewriter) geluArguments(fn *ir.Node) []geluArgument {
	var found []geluArgument
	if fn.Is("Erf") {
		n := fromEither(fn.Input(0), "Div", "Mul")
		switch {
		case n == nil:
		case n.Is("Div"):
			if r.isFloat(n.Input(1), math.Sqrt2) {
				found = append(found, geluArgument{x: n.Input(0), nodes: []*ir.Node{n}})
			}
		default:
			pair(n, func(x, c *ir.Value) bool {
				if r.isFloat(c, math.Sqrt2/2) {
					found = append(found, geluArgument{x: x, nodes: []*ir.Node{n}})
				}
				return false
			})
		}
		return found
	}
	list, muls := factors(fn.Input(0), nil, 1)
	list, c := r.takeConst(list)
	if len(list) != 1 || !near(c, math.Sqrt(2/math.Pi)) {
		return nil
	}
	add := from(list[0], "Add")
	if add == nil {
		return nil
	}
	pair(add, func(x, cube *ir.Value) bool {
		if nodes, ok := r.cubeOf(cube, x); ok {
			found = append(found, geluArgument{x, append(append(nodes, muls...), add), []*ir.Attr{ir.A("approximate", ir.String("tanh"))}})
		}
		return false
	})
	return found
}

// cubeOf reports whether v is 0.044715 x^3.
func (r *rewriter) cubeOf(v, x *ir.Value) ([]*ir.Node, bool) {
	list, nodes := factors(v, x, maxFactors)
	list, c := r.takeConst(list)
	power := 0
	for _, f := range list {
		pow := from(f, "Pow")
		switch {
		case f == x:
			power++
		case pow != nil && pow.Input(0) == x && r.isFloatOrInt(pow.Input(1), 3):
			power += 3
			nodes = append(nodes, pow)
		case pow != nil && pow.Input(0) == x && r.isFloatOrInt(pow.Input(1), 2):
			power += 2
			nodes = append(nodes, pow)
		default:
			return nil, false
		}
	}
	return nodes, power == 3 && near(c, 0.044715)
}

// silu recognises x * sigmoid(x).
func silu(r *rewriter, n *ir.Node) (bool, string) {
	var s *ir.Node
	var x *ir.Value
	if !pair(n, func(a, b *ir.Value) bool {
		s, x = from(b, "Sigmoid"), a
		return s != nil && s.Input(0) == a
	}) {
		return false, ""
	}
	switch {
	case !r.floats(x):
		return false, "the input is neither float32 nor float64"
	case !r.closed(n, s):
		return false, usedElsewhere
	}
	r.replace(n, ops.Domain, "SiLU", ir.In(x), []*ir.Node{s})
	return true, ""
}

// gatedSiLU recognises silu(gate) * up, of equal shapes.
func gatedSiLU(r *rewriter, n *ir.Node) (bool, string) {
	var act *ir.Node
	var up *ir.Value
	if !pair(n, func(a, b *ir.Value) bool {
		act, up = a.Producer(), b
		return isComposite(act, "SiLU")
	}) {
		return false, ""
	}
	gate := act.Input(0)
	switch f, g := r.fact(up), r.fact(gate); {
	case f.Rank() != g.Rank() || !f.Ranked || !slices.EqualFunc(f.Dims, g.Dims, ops.SameDim):
		return false, "gate and values are not known to have one shape"
	case !r.floats(gate, up):
		return false, "gate and values are not of one float type"
	case !r.closed(n, act):
		return false, usedElsewhere
	}
	r.replace(n, ops.Domain, "GatedSiLU", ir.In(gate, up), []*ir.Node{act})
	return true, ""
}
