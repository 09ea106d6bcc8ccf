package ops

import (
	"fmt"

	"github.com/bonnx/bonnx/internal/kernel"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// window is what convolutions and pooling have in common: how a kernel moves
// over the spatial dimensions, those after batch and channel. Lists that are
// left out stand for ones, and for zeros in pads.
type window struct {
	kernel, strides, pads, dilations []int
	auto                             string
	ceil                             bool
}

// newWindow reads the attributes.
func newWindow(a *Args) (window, error) {
	w := window{
		kernel: a.Ints("kernel_shape"), strides: a.Ints("strides"), pads: a.Ints("pads"), dilations: a.Ints("dilations"),
		auto: a.String("auto_pad", "NOTSET"), ceil: a.Bool("ceil_mode", false),
	}
	for name, list := range map[string][]int{"kernel_shape": w.kernel, "strides": w.strides, "dilations": w.dilations} {
		for _, v := range list {
			if v < 1 || v > 1<<30 {
				return w, fmt.Errorf("%s are %v", name, list)
			}
		}
	}
	for _, v := range w.pads {
		if v < 0 || v > 1<<30 {
			return w, fmt.Errorf("pads are %v", w.pads)
		}
	}
	if !autoPads[w.auto] {
		return w, fmt.Errorf("auto_pad is %q", w.auto)
	}
	return w, nil
}

var autoPads = map[string]bool{"NOTSET": true, "VALID": true, "SAME_UPPER": true, "SAME_LOWER": true}

// same reports padding that follows from the extents of the input.
func (w window) same() bool { return w.auto == "SAME_UPPER" || w.auto == "SAME_LOWER" }

// attrs writes the attributes for another node.
func (w window) attrs() []*ir.Attr {
	var out []*ir.Attr
	for _, l := range []struct {
		name string
		list []int
	}{{"kernel_shape", w.kernel}, {"strides", w.strides}, {"pads", w.pads}, {"dilations", w.dilations}} {
		if l.list != nil {
			out = append(out, ir.A(l.name, ints64(l.list)))
		}
	}
	if w.auto != "NOTSET" {
		out = append(out, ir.A("auto_pad", ir.String(w.auto)))
	}
	if w.ceil {
		out = append(out, ir.A("ceil_mode", ir.Int(1)))
	}
	return out
}

// check compares the lengths of the lists with the number of spatial
// dimensions.
func (w window) check(rank int) error {
	for _, list := range [][]int{w.kernel, w.strides, w.dilations} {
		if list != nil && len(list) != rank {
			return fmt.Errorf("%d values for %d spatial dimensions", len(list), rank)
		}
	}
	if w.pads != nil && len(w.pads) != 2*rank {
		return fmt.Errorf("%d pads for %d spatial dimensions", len(w.pads), rank)
	}
	return nil
}

func (w window) stride(i int) int   { return orDefault(w.strides, i, 1) }
func (w window) dilation(i int) int { return orDefault(w.dilations, i, 1) }

func orDefault(list []int, i, def int) int {
	if list == nil {
		return def
	}
	return list[i]
}

// padding is what lies before and after an axis of extent in.
func (w window) padding(i, rank, in, k int) (before, after int) {
	if !w.same() {
		if w.auto == "VALID" || w.pads == nil {
			return 0, 0
		}
		return w.pads[i], w.pads[i+rank]
	}
	s := w.stride(i)
	total := max(0, ((in+s-1)/s-1)*s+w.dilation(i)*(k-1)+1-in)
	if w.auto == "SAME_UPPER" {
		return total / 2, total - total/2
	}
	return total - total/2, total / 2
}

// outDim is the extent of the result along spatial axis i.
func (w window) outDim(i, rank int, in, k ir.Dim) (ir.Dim, error) {
	s := w.stride(i)
	switch {
	case in.Known && w.same():
		return known((int(in.Value) + s - 1) / s), nil
	case w.same():
		return dimOp('/', dimOp('+', in, known(s-1)), known(s)), nil
	case !k.Known:
		return unknown, nil
	}
	before, after := w.padding(i, rank, 0, 0)
	reach := w.dilation(i) * (int(k.Value) - 1)
	if in.Known {
		if int(in.Value)+before+after < reach+1 {
			return unknown, fmt.Errorf("a window of %d does not fit into %d with padding %d", reach+1, in.Value, before+after)
		}
		return known(kernel.OutExtent(int(in.Value), int(k.Value), s, w.dilation(i), before, after, w.ceil)), nil
	}
	if w.ceil && s > 1 {
		return unknown, nil
	}
	d := in
	if grow := before + after - reach - 1 + s; grow >= 0 {
		d = dimOp('+', d, known(grow))
	} else {
		d = dimOp('-', d, known(-grow))
	}
	return dimOp('/', d, known(s)), nil
}

// outDims are the extents of the result for spatial extents in and a kernel.
func (w window) outDims(in, kernel []ir.Dim) ([]ir.Dim, error) {
	if err := w.check(len(in)); err != nil {
		return nil, err
	}
	out := make([]ir.Dim, len(in))
	for i := range in {
		var err error
		if out[i], err = w.outDim(i, len(in), in[i], kernel[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// place is the window over concrete extents: in and out are without batch and
// channel.
func (w window) place(in, ker, out tensor.Shape) *kernel.WindowND {
	nd := &kernel.WindowND{In: in, Kernel: ker, Out: out}
	for i := range in {
		before, after := w.padding(i, len(in), in[i], ker[i])
		nd.Stride, nd.Dilation = append(nd.Stride, w.stride(i)), append(nd.Dilation, w.dilation(i))
		nd.Before, nd.After = append(nd.Before, before), append(nd.After, after)
	}
	return nd
}

// flat is a window over one or two dimensions for the kernels of planes.
func flat(nd *kernel.WindowND) kernel.Window {
	w := kernel.Window{H: 1, KH: 1, StrideH: 1, DilationH: 1, OH: 1}
	i := len(nd.In) - 1
	w.W, w.KW, w.StrideW, w.DilationW, w.OW = nd.In[i], nd.Kernel[i], nd.Stride[i], nd.Dilation[i], nd.Out[i]
	w.Left, w.Right = nd.Before[i], nd.After[i]
	if i--; i >= 0 {
		w.H, w.KH, w.StrideH, w.DilationH, w.OH = nd.In[i], nd.Kernel[i], nd.Stride[i], nd.Dilation[i], nd.Out[i]
		w.Top, w.Bottom = nd.Before[i], nd.After[i]
	}
	return w
}

// explicit is the window with its padding written out, for extents that are
// known where it depends on them.
func (w window) explicit(in []ir.Dim, ker []int) (window, error) {
	rank := len(in)
	pads := make([]int, 2*rank)
	for i := range rank {
		if w.same() && !in[i].Known {
			return w, fmt.Errorf("auto_pad %s needs known extents", w.auto)
		}
		pads[i], pads[i+rank] = w.padding(i, rank, int(in[i].Value), ker[i])
	}
	w.pads, w.auto = pads, "NOTSET"
	return w, nil
}
