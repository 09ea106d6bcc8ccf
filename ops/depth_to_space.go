package ops

import (
	"fmt"

	"github.com/bonnx/bonnx/internal/kernel"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// blocks moves elements between channels and blocks of side b of the plane:
// DepthToSpace (n,c*b*b,h,w) -> (n,c,h*b,w*b) and SpaceToDepth, its inverse.
// In mode CRD the channel's number has c outside of the block's place, else
// inside. https://onnx.ai/onnx/operators/onnx__DepthToSpace.html
type blocks struct {
	side  int
	crd   bool
	space bool // SpaceToDepth
}

func newDepthToSpace(a *Args) (Op, error) {
	mode := a.String("mode", "DCR")
	if mode != "DCR" && mode != "CRD" {
		return nil, fmt.Errorf("mode %q", mode)
	}
	return newBlocks(a, blocks{crd: mode == "CRD"})
}

func newSpaceToDepth(a *Args) (Op, error) { return newBlocks(a, blocks{space: true}) }

func newBlocks(a *Args, o blocks) (Op, error) {
	if o.side = a.Int("blocksize", 0); o.side <= 0 || o.side > 1<<15 {
		return nil, fmt.Errorf("blocksize %d", o.side)
	}
	return o, nil
}

func (o blocks) Infer(in []Fact) ([]Fact, error) {
	x := in[0]
	if !x.Ranked {
		return []Fact{ofRank(x.DType, 4)}, nil
	}
	if len(x.Dims) != 4 {
		return nil, fmt.Errorf("%v is not of rank 4", x)
	}
	b, bb := known(o.side), known(o.side*o.side)
	up, down := '*', '/'
	if o.space {
		up, down = down, up
	}
	d := x.Dims
	for i, by := range []ir.Dim{known(1), bb, b, b} {
		divides := (i == 1) != o.space
		if divides && d[i].Known && d[i].Value%by.Value != 0 {
			return nil, fmt.Errorf("blocks of %d do not divide axis %d of %v", o.side, i, x)
		}
	}
	return []Fact{Of(x.DType, d[0], dimOp(byte(down), d[1], bb), dimOp(byte(up), d[2], b), dimOp(byte(up), d[3], b))}, nil
}

func (o blocks) Bind(_ *Binder, in, _ []Fact) (Step, error) {
	s, b := in[0].MustShape(), o.side
	shape, perm := []int{s[0], b, b, s[1] / (b * b), s[2], s[3]}, []int{0, 3, 4, 1, 5, 2}
	switch {
	case o.space:
		shape, perm = []int{s[0], s[1], s[2] / b, b, s[3] / b, b}, []int{0, 3, 5, 1, 2, 4}
	case o.crd:
		shape, perm = []int{s[0], s[1] / (b * b), b, b, s[2], s[3]}, []int{0, 1, 4, 2, 5, 3}
	}
	t := kernel.NewTransposition(shape, perm)
	m := moverFor(in[0].DType)
	return func(f *Frame, in, out []*tensor.Tensor) error {
		if in[0].Size() > 0 {
			m.transpose(f.Pool, t, out[0], in[0])
		}
		return nil
	}, nil
}

func (o blocks) Grad(b *GradBuilder) error {
	side := ir.A("blocksize", ir.Int(o.side))
	switch {
	case o.space:
		b.Set(0, b.Op("DepthToSpace", ir.In(b.Grad(0)), side))
	case !o.crd:
		b.Set(0, b.Op("SpaceToDepth", ir.In(b.Grad(0)), side))
	default:
		b.Set(0, b.scatterBack(b.Grad(0), b.Shape(b.In(0)), func(count *ir.Value) *ir.Value {
			return b.Op("DepthToSpace", ir.In(count), side, ir.A("mode", ir.String("CRD")))
		})[0])
	}
	return nil
}
