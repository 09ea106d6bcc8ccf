// Package ops is what bonnx knows about each operator: how its attributes are
// read, what it makes of shapes, which kernels run it, and what its gradient
// is. One file holds one operator or a tight family; table.go lists them.
package ops

import (
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// Domain is where bonnx's own composite operators live.
const Domain = "ai.bonnx"

// CanonicalOpset is the oldest opset of the standard domain that gradients,
// fusions and the runtime see. Canonical lifts older models to it.
const CanonicalOpset = 18

// An Op is one operator of one node, its attributes parsed and checked once.
// It is immutable and shared.
type Op interface {
	// Infer says what is known of the outputs given what is known of the
	// inputs: dtype, shape (extents may be symbolic or unknown), value where
	// it is constant without computing. in[i] is the zero Fact where input i
	// is left out. It is called with symbolic facts when a graph is built and
	// with concrete ones when it is planned; errors say what does not fit.
	Infer(in []Fact) ([]Fact, error)
	// Bind is called once per plan, with concrete facts. It picks kernels,
	// packs constant inputs, asks for scratch. The Step it returns is what runs.
	Bind(p *Binder, in, out []Fact) (Step, error)
}

// A Step computes outputs from inputs; absent ones are nil. It allocates
// nothing, and its errors are only for bad values (an index out of range).
// Outputs come with shape and storage; their content is undefined.
type Step func(f *Frame, in, out []*tensor.Tensor) error

// Dynamic operators make outputs whose shape depends on values (NonZero) or
// run sub-graphs (If, Loop): they allocate outputs themselves.
type Dynamic interface {
	Op
	RunDynamic(env Env, in []*tensor.Tensor) ([]*tensor.Tensor, error)
}

// Env is what a Dynamic operator may ask of the runtime.
type Env interface {
	// Frame is the session's frame.
	Frame() *Frame
	// RunGraph runs a sub-graph of the operator's node on inputs; captured
	// values are the environment's affair.
	RunGraph(g *ir.Graph, in []*tensor.Tensor) ([]*tensor.Tensor, error)
}

// Differentiable operators append the nodes that compute the gradients of
// those inputs that need one (b.Needs), and hand them over with b.Set.
type Differentiable interface {
	Op
	Grad(b *GradBuilder) error
}

// Composite operators (of domain ai.bonnx) have a body of standard operators
// of CanonicalOpset. Expand builds it and returns what stands for n's outputs
// (nil for outputs that n leaves out).
type Composite interface {
	Op
	Expand(b *Builder, n *ir.Node) ([]*ir.Value, error)
}

// View operators give an input another shape: their output 0 may share the
// storage of input ViewOf() (Reshape, Squeeze, Identity). Bind must work too.
type View interface {
	Op
	ViewOf() int
}

// Partial operators compute what is left where output 0 is left out, without
// it. Others always have their output 0.
type Partial interface {
	Op
	Partial()
}

// Random operators draw numbers from the Frame: they are never folded or
// merged with an equal node.
type Random interface {
	Op
	Random()
}

// Strictness is how closely two right implementations of an operator agree.
type Strictness uint8

const (
	// Exact results are equal bit for bit (data movement, integers, comparison).
	Exact Strictness = iota
	// Rounding results differ by the order of few roundings: 1e-6 relative.
	Rounding
	// Accurate results come of long sums or of approximations: 1e-5 relative,
	// with an absolute part of 1e-6 times the largest magnitude.
	Accurate
)

// Tolerance is how far two right results may be apart: a part of the largest
// magnitude among them, and a part of each.
func (s Strictness) Tolerance() (ofLargest, relative float64) {
	return [...]float64{Exact: 0, Rounding: 1e-7, Accurate: 1e-6}[s], [...]float64{Exact: 0, Rounding: 1e-6, Accurate: 1e-5}[s]
}
