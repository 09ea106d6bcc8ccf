package ops

import (
	"errors"
	"fmt"

	"github.com/bonnx/bonnx/ir"
)

// microsoftRotary is com.microsoft.RotaryEmbedding: rotaryEmbedding with its
// inputs in another order, positions (1) that the first place has or (B,S) for
// each, and the number of heads found from the width of the tables.
//
//	x (B,S,H*D) or (B,H,S,D), positions, cos (P,R/2), sin (P,R/2) -> y of x's shape
type microsoftRotary struct{ rotaryEmbedding }

func newMicrosoftRotary(a *Args) (Op, error) {
	if a.Bool("is_packed_batching", false) || a.Float("scale", 1) != 1 {
		return nil, errors.New("is_packed_batching and scale are not supported")
	}
	return microsoftRotary{rotaryEmbedding{interleaved: a.Bool("interleaved", false), heads: a.Int("num_heads", 0),
		width: a.Int("rotary_embedding_dim", 0)}}, nil
}

// Expand builds the body.
func (o microsoftRotary) Expand(b *Builder, n *ir.Node) ([]*ir.Value, error) {
	x, at, cos, sin := n.Input(0), n.Input(1), n.Input(2), n.Input(3)
	var byHead *ir.Value
	switch f := b.Fact(x); {
	case f.Rank() == 4:
		byHead = b.Transpose(x, 0, 2, 1, 3)
	case f.Rank() != 3:
		return nil, fmt.Errorf("x is %v, want rank 3 or 4", f)
	case o.heads > 0:
		byHead = b.bySeq(x, o.heads)
	default:
		byHead = b.Reshape(x, b.Join(b.Ints(0, 0, -1), b.Mul(b.Extent(cos, -1), b.Ints(2))))
	}
	switch rank := b.Fact(at).Rank(); rank {
	case 1: // the first place's
		at = b.Unsqueeze(b.Add(at, b.Count(b.Extent(byHead, 1))), 0)
	case 2:
	default:
		return nil, fmt.Errorf("positions are %v", b.Fact(at))
	}
	y := o.rotate(b, byHead, b.Unsqueeze(b.Op("Gather", ir.In(cos, at)), 2), b.Unsqueeze(b.Op("Gather", ir.In(sin, at)), 2))
	if b.Fact(x).Rank() == 4 {
		return ir.In(b.Transpose(y, 0, 2, 1, 3)), nil
	}
	return ir.In(b.ReshapeLike(y, x)), nil
}
