package ops

import (
	"fmt"
	"strings"

	"github.com/bonnx/bonnx/ir"
)

// linearAttention is attention by a state that each token updates: with q, k, v,
// decay g and rate beta of a token and S the state (dk,dv) of a head,
//
//	linear:      S' = S + k v^T               gated:       S' = exp(g) S + k v^T
//	delta:       S' = S + k (beta (v - S^T k))^T
//	gated_delta: like delta, with exp(g) S for S
//	y = scale * q^T S'
//
//	q (B,T,H*dk), k (B,T,G*dk), v (B,T,G*dv) [, state (B,G,dk,dv), g (B,T,G*dk)
//	or (B,T,G), beta (B,T,G) or (B,T,1)] -> y (B,T,H*dv), state (B,G,dk,dv)
//
// H/G heads of q share a state. 16-bit floats are widened.
// https://onnx.ai/onnx/operators/onnx__LinearAttention.html (since 27)
type linearAttention struct {
	function
	heads, kvHeads int
	scale          float64 // 0 means 1/sqrt(dk)
	gated, delta   bool
}

func newLinearAttention(a *Args) (Op, error) {
	o := linearAttention{heads: a.Int("q_num_heads", 0), kvHeads: a.Int("kv_num_heads", 0), scale: a.Float("scale", 0)}
	a.Skip("chunk_size") // how the work is cut
	rule := a.String("update_rule", "gated_delta")
	switch rule {
	case "linear", "gated", "delta", "gated_delta":
	default:
		return nil, fmt.Errorf("update_rule is %q", rule)
	}
	o.gated, o.delta = strings.HasPrefix(rule, "gated"), strings.HasSuffix(rule, "delta")
	if o.heads <= 0 || o.kvHeads <= 0 || o.heads%o.kvHeads != 0 {
		return nil, fmt.Errorf("q_num_heads is %d, kv_num_heads %d", o.heads, o.kvHeads)
	}
	if o.gated && a.Node.Input(4) == nil || o.delta && a.Node.Input(5) == nil {
		return nil, fmt.Errorf("update_rule %s without decay or beta", rule)
	}
	return o, nil
}

// Expand builds the body.
func (o linearAttention) Expand(b *Builder, n *ir.Node) ([]*ir.Value, error) {
	d := b.Fact(n.Input(0)).DType
	steps := func(x *ir.Value, heads int) *ir.Value { // (T,B,heads,rest)
		return b.Transpose(b.bySeq(b.widened(x), heads), 1, 0, 2, 3)
	}
	q, k, v := steps(n.Input(0), o.heads), steps(n.Input(1), o.kvHeads), steps(n.Input(2), o.kvHeads)
	xs := ir.In(b.Mul(q, o.factor(b, q)), k, v)
	if o.gated {
		xs = append(xs, b.Op("Exp", ir.In(steps(n.Input(4), o.kvHeads))))
	}
	if o.delta {
		beta := b.Unsqueeze(b.widened(n.Input(5)), -1) // (B,T,G or 1,1)
		xs = append(xs, b.Transpose(beta, 1, 0, 2, 3))
	}
	state := n.Input(3)
	if state == nil {
		state = b.zeros(b.Fact(q).DType, b.Join(b.Extent(q, 1), b.Ints(o.kvHeads), b.Extent(k, -1), b.Extent(v, -1)))
	}
	y, last, err := b.over(xs, ir.In(b.widened(state)), false, o.token)
	if err != nil {
		return nil, err
	}
	y = b.Transpose(y, 1, 0, 2, 3) // (B,T,H,dv)
	y = b.Reshape(y, b.Join(b.Ints(0, 0), b.Mul(b.Extent(y, 2), b.Extent(y, 3))))
	return ir.In(b.Cast(y, d), b.Cast(last[0], d)), nil
}

func (o linearAttention) factor(b *Builder, q *ir.Value) *ir.Value {
	return b.attendScale(attend{q: q, scale: o.scale})
}

// token is one token's update: q (B,H,dk), k (B,G,dk), v (B,G,dv), gate (B,G,dk
// or 1), beta (B,G or 1,1).
func (o linearAttention) token(b *Builder, in, state []*ir.Value) []*ir.Value {
	q, k, v, rest := in[0], in[1], in[2], in[3:]
	s := state[0]
	if o.gated {
		s = b.Mul(s, b.Unsqueeze(rest[0], -1))
		rest = rest[1:]
	}
	column := b.Unsqueeze(k, -1)
	if o.delta {
		known := b.squeeze(b.MatMul(b.Transpose(s, 0, 1, 3, 2), column), -1)
		v = b.Mul(b.Sub(v, known), rest[0])
	}
	s = b.Add(s, b.MatMul(column, b.Unsqueeze(v, -2)))
	y := b.squeeze(b.grouped(b.Unsqueeze(q, -2), s), -2)
	return ir.In(s, y)
}
