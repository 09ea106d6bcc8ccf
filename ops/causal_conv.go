package ops

import (
	"fmt"
	"math"

	"github.com/bonnx/bonnx/ir"
)

// causalConv is a convolution along the last axis of each channel apart, that
// looks back only, and carries what it looks back to:
//
//	x (B,C,T), w (C,1,K) [, bias (C), state (B,C,K-1)] -> y (B,C,T), state (B,C,K-1)
//
// The activation is none, or silu. The past of no state is 0.
// https://onnx.ai/onnx/operators/onnx__CausalConvWithState.html (since 27)
type causalConv struct {
	function
	silu bool
}

func newCausalConv(a *Args) (Op, error) {
	act := a.String("activation", "none")
	switch act {
	case "none", "", "silu", "swish":
	default:
		return nil, fmt.Errorf("activation is %q", act)
	}
	return causalConv{silu: act == "silu" || act == "swish"}, nil
}

// Expand builds the body.
func (o causalConv) Expand(b *Builder, n *ir.Node) ([]*ir.Value, error) {
	x, w, state := n.Input(0), n.Input(1), n.Input(3)
	channels := b.Fact(w).Dim(0)
	if !channels.Known || channels.Value > math.MaxInt32 {
		return nil, fmt.Errorf("w is %v; the number of channels must be known", b.Fact(w))
	}
	back := b.Sub(b.Extent(w, 2), b.Ints(1))
	if state == nil {
		state = b.zeros(b.Fact(x).DType, b.Join(b.Extent(x, 0), b.Extent(x, 1), back))
	}
	all := b.Op("Concat", ir.In(state, x), ir.A("axis", ir.Int(2)))
	in := ir.In(all, w)
	if bias := n.Input(2); bias != nil {
		in = append(in, bias)
	}
	y := b.Op("Conv", in, ir.A("group", ir.Int(channels.Value)))
	if o.silu {
		wide := b.widened(y)
		y = b.Cast(b.Mul(wide, b.Op("Sigmoid", ir.In(wide))), b.Fact(y).DType)
	}
	end := b.Extent(all, 2)
	return ir.In(y, b.Op("Slice", ir.In(all, b.Sub(end, back), end, b.Ints(2)))), nil
}
