package ops

import (
	"fmt"

	"github.com/bonnx/bonnx/internal/kernel"
	"github.com/bonnx/bonnx/tensor"
)

// col2im adds blocks up to an image, each at its place: what gathering the
// blocks of a convolution undoes.
//
//	x (N,C*K,L), image shape (r), block shape (r) -> y (N,C,image...)
//
// K is the number of elements of a block, L that of the places where it fits,
// in order.
// https://onnx.ai/onnx/operators/onnx__Col2Im.html (since 18)
type col2im struct{ strides, pads, dilations []int }

func newCol2Im(a *Args) (Op, error) {
	o := col2im{a.Ints("strides"), a.Ints("pads"), a.Ints("dilations")}
	for _, list := range [][]int{o.strides, o.dilations} {
		for _, v := range list {
			if v < 1 || v > 1<<20 {
				return nil, fmt.Errorf("strides or dilations are %v", list)
			}
		}
	}
	for _, v := range o.pads {
		if v < 0 || v > 1<<20 {
			return nil, fmt.Errorf("pads are %v", o.pads)
		}
	}
	return o, nil
}

func (o col2im) Infer(in []Fact) ([]Fact, error) {
	x := in[0]
	if x.Ranked && x.Rank() != 3 {
		return nil, fmt.Errorf("x is %v, want rank 3", x)
	}
	image, ok := in[1].Extents()
	if !ok {
		return []Fact{unranked(x.DType)}, nil
	}
	c := unknown
	if block, ok := in[2].Ints(); ok && x.Ranked {
		k := tensor.Shape(block).Size()
		if d := x.Dims[1]; k < 1 || d.Known && d.Value%int64(k) != 0 {
			return nil, fmt.Errorf("x %v for blocks of %v", x, block)
		}
		c = dimOp('/', x.Dims[1], known(k))
	}
	f := ofRank(x.DType, 2+len(image))
	f.Dims[0], f.Dims[1] = x.Dim(0), c
	copy(f.Dims[2:], image)
	return []Fact{f}, nil
}

// An axis of the image: its extent, the block's, and where blocks lie.
type col2imAxis struct{ size, block, stride, pad, dilation, places int }

func (o col2im) axes(image, block []int) ([]col2imAxis, error) {
	r := len(image)
	bad := func(list []int, n int) bool { return list != nil && len(list) != n }
	if len(block) != r || bad(o.strides, r) || bad(o.dilations, r) || bad(o.pads, 2*r) {
		return nil, fmt.Errorf("image %v and blocks %v with strides %v, pads %v, dilations %v", image, block, o.strides, o.pads, o.dilations)
	}
	axes := make([]col2imAxis, r)
	for d := range axes {
		a := col2imAxis{size: image[d], block: block[d], stride: 1, dilation: 1}
		end := 0
		if o.strides != nil {
			a.stride = o.strides[d]
		}
		if o.dilations != nil {
			a.dilation = o.dilations[d]
		}
		if o.pads != nil {
			a.pad, end = o.pads[d], o.pads[r+d]
		}
		if room := a.size + a.pad + end - a.dilation*(a.block-1) - 1; room >= 0 {
			a.places = room/a.stride + 1
		}
		axes[d] = a
	}
	return axes, nil
}

func (o col2im) Bind(p *Binder, in, out []Fact) (Step, error) {
	if !isConst(in, 1, 2) {
		return late(o), nil
	}
	image, err := constInts(in[1], "image shape")
	if err != nil {
		return nil, err
	}
	block, err := constInts(in[2], "block shape")
	if err != nil {
		return nil, err
	}
	axes, err := o.axes(image, block)
	if err != nil {
		return nil, err
	}
	places := 1
	for _, a := range axes {
		places *= a.places
	}
	if x := in[0].MustShape(); x[2] != places {
		return nil, fmt.Errorf("x %v for %d places of blocks", in[0], places)
	}
	return bindTyped(p, o, []typedStep{col2imStep[float32](axes, places, block), col2imStep[float64](axes, places, block)}, in, out)
}

func col2imStep[T kernel.Float](axes []col2imAxis, places int, block tensor.Shape) typedStep {
	size, count := 1, block.Size()
	for _, a := range axes {
		size *= a.size
	}
	return typedStep{tensor.DTypeOf[T](), func(f *Frame, in, out []*tensor.Tensor) error {
		x, y := tensor.Data[T](in[0]), tensor.Data[T](out[0])
		clear(y)
		for plane := range len(y) / max(1, size) {
			for k := range count {
				row := x[(plane*count+k)*places:][:places]
				for l, v := range row {
					if at := col2imPlace(axes, k, l); at >= 0 {
						y[plane*size+at] += v
					}
				}
			}
		}
		return nil
	}}
}

// col2imPlace is where element k of block l lies in the image, -1 outside.
func col2imPlace(axes []col2imAxis, k, l int) int {
	at, step := 0, 1
	for d := len(axes) - 1; d >= 0; d-- {
		a := axes[d]
		i := l%a.places*a.stride + k%a.block*a.dilation - a.pad
		if i < 0 || i >= a.size {
			return -1
		}
		at += i * step
		step *= a.size
		l, k = l/a.places, k/a.block
	}
	return at
}
