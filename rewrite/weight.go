package rewrite

import (
	"errors"
	"fmt"
	"slices"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// Weight is a constant matrix as a linear layer reads it: the constant of the
// file, the operators between it and the layer, and the layer's orientation.
type Weight struct {
	value      *ir.Value // what the layer's node reads
	initial    *ir.Value // the initializer at the root, or
	constant   *ir.Attr  // the attribute of the Constant node there
	links      []link    // from the root to value
	view       *link     // from value to a matrix, nil where it is one
	transposed bool      // that is (out, in), as in Gemm with transB
	in, out    int
	dtype      tensor.DType // of the matrix
}

// link is one operator between a constant and the node that uses it.
type link struct {
	node *ir.Node
	step
	from info // what goes in
}

// info is what is known of a tensor without reading it.
type info struct {
	dtype tensor.DType
	shape tensor.Shape
}

// step is what an operator of a chain does to the weight, and its inverse.
type step interface {
	out(in info) (info, error)
	read(t *tensor.Tensor) (*tensor.Tensor, error)
	write(t *tensor.Tensor, from info) (*tensor.Tensor, error)
}

// chainOps is the table of operators that may stand between a constant and the
// layer that uses it.
var chainOps = map[string]func(n *ir.Node) (step, error){
	"Identity":         func(*ir.Node) (step, error) { return identity{}, nil },
	"Transpose":        newTranspose,
	"Cast":             newCast,
	"Reshape":          newReshape,
	"DequantizeLinear": newDequantize,
}

// errQuantized is why a weight of floats has no plain way back into its
// constant.
var errQuantized = errors.New("the weight is quantized")

// maxChain bounds the length of a chain, so that a strange file costs little.
const maxChain = 16

// traceWeight finds the constant behind v, which a node reads as its weight,
// through view. The error says why it is no constant matrix.
func traceWeight(v *ir.Value, view step, transposed bool) (*Weight, error) {
	w, at, err := traceConstant(v)
	if err != nil {
		return nil, err
	}
	return w.as(at, view, transposed)
}

// as is w, which its layer reads as at, as a matrix.
func (w *Weight) as(at info, view step, transposed bool) (*Weight, error) {
	if view != nil {
		w.view = &link{step: view, from: at}
		var err error
		if at, err = view.out(at); err != nil {
			return nil, err
		}
		w.dtype = at.dtype
	}
	if len(at.shape) != 2 {
		return nil, fmt.Errorf("its weight has shape %v, not that of a matrix", at.shape)
	}
	if !slices.Contains(weightTypes, at.dtype) {
		return nil, fmt.Errorf("its weight is %v", at.dtype)
	}
	w.transposed, w.in, w.out = transposed, at.shape[0], at.shape[1]
	if transposed {
		w.in, w.out = w.out, w.in
	}
	if w.in == 0 || w.out == 0 {
		return nil, errors.New("its weight is empty")
	}
	return w, nil
}

// traceConstant finds the constant behind v and says what the operators between
// the two make of it.
func traceConstant(v *ir.Value) (*Weight, info, error) {
	w := &Weight{value: v}
	nodes, data, err := w.root(v)
	if err != nil {
		return nil, info{}, err
	}
	at := info{data.DType(), data.Shape()}
	for _, n := range nodes {
		s, err := chainOps[n.OpType](n)
		if err != nil {
			return nil, info{}, fmt.Errorf("its weight passes through %v: %w", n, err)
		}
		w.links = append(w.links, link{n, s, at})
		if at, err = s.out(at); err != nil {
			return nil, info{}, fmt.Errorf("its weight passes through %v: %w", n, err)
		}
	}
	w.dtype = at.dtype
	return w, at, nil
}

var weightTypes = []tensor.DType{tensor.Float32, tensor.Float16, tensor.BFloat16, tensor.Float64}

// errComputed is why most nodes are no linear layers.
var errComputed = errors.New("its weight is computed, not a constant")

// root walks up from v to a constant and returns the nodes passed, root first.
func (w *Weight) root(v *ir.Value) (nodes []*ir.Node, d ir.Data, err error) {
	for range maxChain {
		if d := w.literal(v); d != nil {
			slices.Reverse(nodes)
			return nodes, d, nil
		}
		if v == nil || v.Producer() == nil {
			break
		}
		n := v.Producer()
		if chainOps[n.OpType] == nil || ir.CanonicalDomain(n.Domain) != "" {
			break
		}
		nodes = append(nodes, n)
		v = n.Input(0)
	}
	return nil, nil, errComputed
}

// literal is the constant that v itself is, nil where it is none, and makes
// that the root of w.
func (w *Weight) literal(v *ir.Value) ir.Data {
	switch {
	case v == nil:
	case v.IsInitializer():
		w.initial = v
		return v.Data
	case v.Producer().Is("Constant"):
		if a := v.Producer().Attr("value"); a != nil {
			if t, ok := a.Value.(ir.TensorAttr); ok {
				w.constant = a
				return t.Data
			}
		}
	}
	return nil
}

// Read is the weight in the orientation (in, out), of the type the layer sees.
// It may share the file's mapping: do not write to it.
func (w *Weight) Read() (*tensor.Tensor, error) {
	t, err := through(w.rootData(), w.links)
	if err != nil {
		return nil, err
	}
	if w.view != nil {
		if t, err = w.view.read(t); err != nil {
			return nil, err
		}
	}
	if t.Rank() != 2 {
		return nil, fmt.Errorf("weight has shape %v, not that of a matrix", t.Shape())
	}
	return w.turned(t)
}

// through is d as the node at the end of the links reads it.
func through(d ir.Data, links []link) (*tensor.Tensor, error) {
	t, err := d.Tensor()
	if err != nil {
		return nil, err
	}
	for _, l := range links {
		if t, err = l.read(t); err != nil {
			return nil, fmt.Errorf("%v: %w", l.node, err)
		}
	}
	return t, nil
}

func (w *Weight) rootData() ir.Data {
	if w.initial != nil {
		return w.initial.Data
	}
	return w.constant.Value.(ir.TensorAttr).Data
}

// same reports whether both come from one constant.
func (w *Weight) same(o *Weight) bool {
	return w.initial == o.initial && w.constant == o.constant
}

// write puts t, of (in, out), into the constant, back through the chain.
func (w *Weight) write(t *tensor.Tensor) error {
	t, err := w.asSeen(t)
	if err != nil {
		return err
	}
	for _, l := range slices.Backward(w.links) {
		if t, err = l.write(t, l.from); err != nil {
			return fmt.Errorf("%v: %w", l.node, err)
		}
	}
	w.set(t)
	return nil
}

// asSeen turns t, of (in, out), into what the layer's node reads.
func (w *Weight) asSeen(t *tensor.Tensor) (*tensor.Tensor, error) {
	t, err := w.turned(t)
	if err == nil && w.view != nil {
		t, err = w.view.write(t, w.view.from)
	}
	return t, err
}

// turned turns t, of (in, out), into the layer's orientation, or back.
func (w *Weight) turned(t *tensor.Tensor) (*tensor.Tensor, error) {
	if w.transposed {
		return t.Transpose(1, 0)
	}
	return t, nil
}

// own reports whether nothing but the given nodes and those of the chains
// reads the constant or a value between it and the layer.
func (w *Weight) own(readers map[*ir.Node]bool) bool {
	mine := func(v *ir.Value) bool {
		return !v.IsOutput() && !slices.ContainsFunc(v.Uses(), func(u ir.Use) bool { return !readers[u.Node] })
	}
	if !mine(w.value) || w.initial != nil && !mine(w.initial) {
		return false
	}
	return !slices.ContainsFunc(w.links, func(l link) bool { return !mine(l.node.Input(0)) })
}

// identity is Identity.
type identity struct{}

func (identity) out(in info) (info, error)                              { return in, nil }
func (identity) read(t *tensor.Tensor) (*tensor.Tensor, error)          { return t, nil }
func (identity) write(t *tensor.Tensor, _ info) (*tensor.Tensor, error) { return t, nil }

// cast is Cast.
type cast struct{ to tensor.DType }

func (c cast) out(in info) (info, error)                                 { return info{c.to, in.shape}, nil }
func (c cast) read(t *tensor.Tensor) (*tensor.Tensor, error)             { return t.Cast(c.to) }
func (c cast) write(t *tensor.Tensor, from info) (*tensor.Tensor, error) { return t.Cast(from.dtype) }

func newCast(n *ir.Node) (step, error) {
	if a := n.Attr("to"); a != nil {
		if v, ok := a.Value.(ir.Int); ok && v > 0 && v < 256 && tensor.DType(v).Valid() {
			return cast{tensor.DType(v)}, nil
		}
	}
	return nil, errors.New("attribute to is no element type")
}

// transpose is Transpose; without attribute it reverses the axes.
type transpose struct{ axes []int }

func newTranspose(n *ir.Node) (step, error) {
	a := n.Attr("perm")
	if a == nil {
		return transpose{}, nil
	}
	list, ok := a.Value.(ir.Ints)
	if !ok {
		return nil, errors.New("attribute perm is no list of axes")
	}
	p := transpose{make([]int, len(list))}
	for i, x := range list {
		p.axes[i] = int(x)
	}
	return p, nil
}

func (p transpose) perm(rank int) []int {
	if p.axes != nil {
		return p.axes
	}
	perm := make([]int, rank)
	for i := range perm {
		perm[i] = rank - 1 - i
	}
	return perm
}

func (p transpose) out(in info) (info, error) {
	perm := p.perm(len(in.shape))
	if len(perm) != len(in.shape) {
		return info{}, fmt.Errorf("perm %v does not fit shape %v", perm, in.shape)
	}
	shape, seen := make(tensor.Shape, len(perm)), make([]bool, len(perm))
	for i, a := range perm {
		if a < 0 || a >= len(perm) || seen[a] {
			return info{}, fmt.Errorf("perm %v does not fit shape %v", perm, in.shape)
		}
		seen[a] = true
		shape[i] = in.shape[a]
	}
	return info{in.dtype, shape}, nil
}

func (p transpose) read(t *tensor.Tensor) (*tensor.Tensor, error) {
	return t.Transpose(p.perm(t.Rank())...)
}

func (p transpose) write(t *tensor.Tensor, _ info) (*tensor.Tensor, error) {
	perm := p.perm(t.Rank())
	back := make([]int, len(perm))
	for i, a := range perm {
		back[a] = i
	}
	return t.Transpose(back...)
}

// reshape is Reshape to a constant shape.
type reshape struct {
	dims []int
	zero bool // allowzero: a 0 is an extent, not a copy of the input's
}

func newReshape(n *ir.Node) (step, error) {
	var w Weight
	d := w.literal(n.Input(1))
	if d == nil || d.DType() != tensor.Int64 || len(d.Shape()) != 1 || d.Shape().Size() > 16 {
		return nil, errors.New("its shape is not a constant")
	}
	t, err := d.Tensor()
	if err != nil {
		return nil, err
	}
	dims, err := t.IntSlice()
	if err != nil {
		return nil, err
	}
	r := reshape{dims: dims}
	if a := n.Attr("allowzero"); a != nil {
		v, _ := a.Value.(ir.Int)
		r.zero = v != 0
	}
	return r, nil
}

func (r reshape) out(in info) (info, error) {
	size, err := in.shape.CheckedSize()
	if err != nil {
		return info{}, err
	}
	shape, free := make(tensor.Shape, len(r.dims)), -1
	for i, d := range r.dims {
		switch {
		case d == -1 && free < 0:
			free, d = i, 1
		case d == 0 && !r.zero && i < len(in.shape):
			d = in.shape[i]
		case d < 0:
			return info{}, fmt.Errorf("cannot reshape %v to %v", in.shape, r.dims)
		}
		shape[i] = d
	}
	rest, err := shape.CheckedSize()
	if err != nil {
		return info{}, err
	}
	if free >= 0 && rest > 0 {
		shape[free] = size / rest
	}
	if shape.Size() != size {
		return info{}, fmt.Errorf("cannot reshape %v to %v", in.shape, r.dims)
	}
	return info{in.dtype, shape}, nil
}

func (r reshape) read(t *tensor.Tensor) (*tensor.Tensor, error) {
	o, err := r.out(info{t.DType(), t.Shape()})
	if err != nil {
		return nil, err
	}
	return t.Reshape(o.shape...), nil
}

func (r reshape) write(t *tensor.Tensor, from info) (*tensor.Tensor, error) {
	if t.Size() != from.shape.Size() {
		return nil, fmt.Errorf("cannot reshape %v to %v", t.Shape(), from.shape)
	}
	return t.Reshape(from.shape...), nil
}
