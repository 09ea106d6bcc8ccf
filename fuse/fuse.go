// Package fuse rewrites canonical graphs: Raise recognises composite
// operators in standard ones, Lower spells them out again, Late readies a
// graph that is to be run as it is.
//
// Passes stand in visible lists. Each looks at one node at a time, checks what
// it needs, and rewrites or says why not. A fusion only happens where the
// values inside are read by nothing else.
package fuse

import (
	"fmt"
	"maps"
	"slices"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
)

// Options tune Raise and Late.
type Options struct {
	// Mutable says which initializers may change between runs; their values
	// decide nothing. Those that are also inputs always may.
	Mutable func(*ir.Value) bool
	// Keep says which values must stay, beside the graph's outputs.
	Keep func(*ir.Value) bool
	// Report, where set, hears of every rewrite (reason "") and of every
	// match that was refused.
	Report func(pass string, n *ir.Node, reason string)
}

// A pass tries a rewrite at the node n. It returns whether it rewrote, and
// else, where n is nearly what it looks for, the reason why it did not.
type pass struct {
	name string
	at   []string // operators where it starts, others than standard ones after their domain
	try  func(*rewriter, *ir.Node) (bool, string)
}

// raise are the passes of Raise, in order. Bone comes before what would take
// its nodes apart.
var raise = []pass{
	{"bone, activation form", []string{"Add"}, boneActivation},
	{"bone, weight form", []string{"MatMul", "Gemm", ops.Domain + ".Bone"}, boneWeight},
	{"bat", []string{"Reshape"}, batWeight},
	{"layer norm", []string{"Mul"}, layerNorm},
	{"rms norm", []string{"Mul"}, rmsNorm},
	{"gelu", []string{"Mul"}, gelu},
	{"silu", []string{"Mul"}, silu},
	{"gated silu", []string{"Mul"}, gatedSiLU},
	{"cross-entropy", []string{"SoftmaxCrossEntropyLoss", "NegativeLogLikelihoodLoss"}, crossEntropy},
	{"product of integers", []string{"Mul"}, integerProduct},
	{"quantized activation", []string{"DequantizeLinear"}, quantizedActivation},
	{"rotary, halves", []string{"Concat"}, rotaryHalves},
	{"rotary, wide tables", []string{"Add"}, rotaryWide},
	{"rotary, pairs", []string{"Reshape"}, rotaryPairs},
	{"transposed product", []string{"MatMul"}, transposedProduct},
	{"scaled product", []string{"Mul", "Div"}, scaledProduct},
	{"attention", []string{"Softmax"}, attention},
}

// late are the passes of Late, in order.
var late = []pass{
	{"bone of constants", []string{ops.Domain + ".Bone"}, constantBone},
	{"transposed product", []string{"MatMul", ops.Domain + ".FusedMatMul"}, transposedProduct},
	{"block made again", []string{ops.Domain + ".BoneGradX"}, blockAgain},
	{"sums of one input", []string{ops.Domain + ".Bone"}, sharedSums},
	{"product with ending", slices.Sorted(maps.Keys(endings)), linearEnding},
}

// Raise replaces what it recognises in the main graph of a canonical model by
// composite operators. It removes duplicates, casts that change nothing, and
// nodes whose results nobody reads. The graph afterwards computes the same,
// within rounding.
func Raise(m *ir.Model, set *ops.Set, o Options) error { return apply(m, set, o, raise) }

// Late rewrites a graph, gradients included, for the runtime: duplicates go,
// transpositions move into products.
func Late(m *ir.Model, set *ops.Set, o Options) error { return apply(m, set, o, late) }

func apply(m *ir.Model, set *ops.Set, o Options, passes []pass) error {
	a, err := set.Analyze(m, ops.AnalyzeOptions{Mutable: o.Mutable})
	if err != nil {
		return err
	}
	r := newRewriter(m, a, o)
	r.dedupe()
	for _, p := range passes {
		for n := range m.Graph.Nodes() {
			if !contains(p.at, operator(n)) {
				continue
			}
			done, reason := p.try(r, n)
			if r.err != nil {
				return fmt.Errorf("%s: %w", p.name, r.err)
			}
			if o.Report != nil && (done || reason != "") {
				o.Report(p.name, n, reason)
			}
		}
	}
	r.prune()
	if r.composites && m.Opset(ops.Domain) == 0 {
		m.SetOpset(ops.Domain, 1)
	}
	return nil
}

// operator is an operator's name, after its domain where that is not the
// standard one.
func operator(n *ir.Node) string {
	if d := ir.CanonicalDomain(n.Domain); d != "" {
		return d + "." + n.OpType
	}
	return n.OpType
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}
