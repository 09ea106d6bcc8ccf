package ops

import "github.com/bonnx/bonnx/ir"

// GradBuilder is what a Grad works with: the node, the gradients of its
// outputs, and a Builder for the nodes to add. Only gradients of inputs that
// Needs names are wanted; building others is waste.
type GradBuilder struct {
	*Builder
	Node *ir.Node

	grads []*ir.Value
	needs []bool
	out   []*ir.Value
}

// NewGradBuilder is for whoever differentiates: grads are the gradients of
// n's outputs (nil where none flows), needs says which inputs want one.
func NewGradBuilder(b *Builder, n *ir.Node, grads []*ir.Value, needs []bool) *GradBuilder {
	return &GradBuilder{b, n, grads, needs, make([]*ir.Value, len(needs))}
}

// In is input i of the node, nil where left out.
func (b *GradBuilder) In(i int) *ir.Value { return b.Node.Input(i) }

// Out is output i of the node, nil where left out.
func (b *GradBuilder) Out(i int) *ir.Value { return b.Node.Output(i) }

// Grad is the gradient of the loss with respect to output i, of that output's
// shape; nil where no gradient flows through it.
func (b *GradBuilder) Grad(i int) *ir.Value {
	if i >= len(b.grads) {
		return nil
	}
	return b.grads[i]
}

// Needs reports whether the gradient of input i is wanted.
func (b *GradBuilder) Needs(i int) bool { return i < len(b.needs) && b.needs[i] }

// Set hands over the gradient of input i, which must have its shape.
func (b *GradBuilder) Set(i int, g *ir.Value) { b.out[i] = g }

// SetSum hands over a gradient of input i that still has the shape that the
// input was broadcast to.
func (b *GradBuilder) SetSum(i int, g *ir.Value) { b.out[i] = b.SumTo(g, b.In(i)) }

// Results are the gradients handed over.
func (b *GradBuilder) Results() []*ir.Value { return b.out }
