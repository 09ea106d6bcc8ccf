package ops

import (
	"errors"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// flexAttention is attention whose scores and probabilities sub-graphs change:
//
//	q (B,H,S,D), k (B,G,T,D), v (B,G,T,E) -> y (B,H,S,E)
//	y = prob_mod(softmax(score_mod(q k^T * scale))) v
//
// https://onnx.ai/onnx/operators/onnx_aionnxpreview_FlexAttention.html
type flexAttention struct {
	function
	scale             float64
	precision         tensor.DType
	onScores, onProbs *ir.Graph
}

func newFlexAttention(a *Args) (Op, error) {
	o := flexAttention{scale: a.Float("scale", 0), precision: tensor.DType(a.Int("softmax_precision", 0)),
		onScores: a.Graph("score_mod"), onProbs: a.Graph("prob_mod")}
	for _, g := range []*ir.Graph{o.onScores, o.onProbs} {
		if g != nil && (len(g.Inputs) != 1 || len(g.Outputs) != 1) {
			return nil, errors.New("score_mod and prob_mod take one value and give one")
		}
	}
	return o, nil
}

// Expand builds the body.
func (o flexAttention) Expand(b *Builder, n *ir.Node) ([]*ir.Value, error) {
	mod := func(g *ir.Graph) func(*ir.Value) *ir.Value {
		if g == nil {
			return nil
		}
		return func(v *ir.Value) *ir.Value { return iterate(b, g, ir.In(v))[0] }
	}
	r := b.attend(attend{q: n.Input(0), k: n.Input(1), v: n.Input(2), scale: o.scale, precision: o.precision,
		onScores: mod(o.onScores), onProbs: mod(o.onProbs)})
	return ir.In(r.y), nil
}
