package ops

import (
	"fmt"

	"github.com/bonnx/bonnx/ir"
)

// affineGrid is the places that an affine map sends the places of an image to,
// as GridSample takes them: coordinates from -1 to 1, of the corners' centres
// with align_corners, else of their outer edges.
//
//	theta (N,2,3), size (N,C,H,W) -> grid (N,H,W,2); theta (N,3,4), size (N,C,D,H,W)
//	-> grid (N,D,H,W,3)
//
// https://onnx.ai/onnx/operators/onnx__AffineGrid.html (since 20)
type affineGrid struct {
	function
	corners bool
}

func newAffineGrid(a *Args) (Op, error) {
	return affineGrid{corners: a.Bool("align_corners", false)}, nil
}

// Expand builds the body.
func (o affineGrid) Expand(b *Builder, n *ir.Node) ([]*ir.Value, error) {
	theta, size := n.Input(0), n.Input(1)
	d := b.Fact(size).Dim(0)
	if !d.Known || d.Value != 4 && d.Value != 5 {
		return nil, fmt.Errorf("size is %v, want 4 or 5 extents", b.Fact(size))
	}
	rank := int(d.Value) - 2
	space := b.slice(size, 0, 2, 2+rank, 1)
	shape := b.Join(space, b.Ints(1))
	var coords []*ir.Value
	for a := rank - 1; a >= 0; a-- { // x first
		c := b.coordinates(theta, b.slice(space, 0, a, a+1, 1), o.corners)
		for range rank - a { // along its axis, with one axis more
			c = b.Unsqueeze(c, -1)
		}
		coords = append(coords, b.Op("Expand", ir.In(c, shape)))
	}
	one := b.Op("Expand", ir.In(b.Scalar(theta, 1), shape))
	flat := b.ReshapeTo(b.concat(append(coords, one), -1), 1, -1, rank+1)
	grid := b.MatMul(flat, b.Transpose(theta, 0, 2, 1))
	return ir.In(b.Reshape(grid, b.Join(b.slice(size, 0, 0, 1, 1), space, b.Ints(rank)))), nil
}

// coordinates are n places between -1 and 1.
func (b *Builder) coordinates(like, n *ir.Value, corners bool) *ir.Value {
	d := b.Fact(like).DType
	i, count, one, two := b.Cast(b.Count(n), d), b.Cast(n, d), b.Scalar(like, 1), b.Scalar(like, 2)
	if corners {
		return b.Sub(b.Div(b.Mul(i, two), b.Sub(count, one)), one)
	}
	return b.Sub(b.Div(b.Add(b.Mul(i, two), one), count), one)
}
