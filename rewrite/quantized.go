package rewrite

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// Requantized is what quantizing a merged weight again has cost.
type Requantized struct {
	Path string
	// Max is the largest error of an element, Relative the Euclidean norm of all
	// of them beside that of the weight.
	Max, Relative float64
}

// A requantizer is the step of a chain, or the view, behind which a weight is
// integers.
type requantizer interface {
	// requantize is t as integers in the layout from, and the scales and zero
	// points for them.
	requantize(t, was *tensor.Tensor) (q *tensor.Tensor, puts []put, err error)
}

// put is a new value for a constant that a node reads.
type put struct {
	source
	t *tensor.Tensor
}

// quantized reports whether the constant holds quantized numbers.
func (w *Weight) quantized() bool { return w.integers() >= 0 }

// path are the steps between the constant and the matrix.
func (w *Weight) path() []link {
	if w.view == nil {
		return w.links
	}
	return append(slices.Clone(w.links), *w.view)
}

// integers is the place in path of the last step that makes floats of
// integers, -1 where there is none.
func (w *Weight) integers() int {
	path := w.path()
	for i := len(path) - 1; i >= 0; i-- {
		if _, ok := path[i].step.(requantizer); ok {
			return i
		}
	}
	return -1
}

// requantize writes after, of (in, out), in integers again, and returns what
// that costs.
func (x *merged) requantize(c *ir.Model, fresh *ir.Names, after *tensor.Tensor) (Requantized, error) {
	cost := Requantized{Path: x.path}
	weight := x.calls[0].Weight
	at, path := weight.integers(), weight.path()
	was, err := weight.rootData().Tensor()
	if err != nil {
		return cost, err
	}
	for _, l := range path[:at] {
		if was, err = l.read(was); err != nil {
			return cost, err
		}
	}
	t, err := weight.turned(after)
	if err != nil {
		return cost, err
	}
	for _, l := range slices.Backward(path[at+1:]) {
		if t, err = l.write(t, l.from); err != nil {
			return cost, err
		}
	}
	q, puts, err := path[at].step.(requantizer).requantize(t, was)
	if err != nil {
		return cost, err
	}
	for _, l := range slices.Backward(path[:at]) {
		if q, err = l.write(q, l.from); err != nil {
			return cost, err
		}
	}
	weight.set(q)
	for i, l := range x.calls {
		if i > 0 { // its own nodes read the scales
			_, own, err := l.Weight.path()[at].step.(requantizer).requantize(t, was)
			if err != nil {
				return cost, err
			}
			puts = append(puts, own...)
		}
	}
	place(c, fresh, puts)
	return x.cost(after)
}

// cost compares what a layer reads now with what it should.
func (x *merged) cost(after *tensor.Tensor) (Requantized, error) {
	cost := Requantized{Path: x.path}
	now, err := readLayer(x.calls[0].Node, x.calls[0].Node.Input)
	if err != nil {
		return cost, err
	}
	is, err := now.Weight.Read()
	if err != nil {
		return cost, err
	}
	a, err := is.Float64s()
	if err != nil {
		return cost, err
	}
	b, err := after.Float64s()
	if err != nil {
		return cost, err
	}
	var off, all float64
	for i := range a {
		d := a[i] - b[i]
		cost.Max = max(cost.Max, math.Abs(d))
		off, all = off+d*d, all+b[i]*b[i]
	}
	if all > 0 {
		cost.Relative = math.Sqrt(off / all)
	}
	return cost, nil
}

// place gives constants new values: where other nodes read one too, those keep
// the old.
func place(c *ir.Model, fresh *ir.Names, puts []put) {
	mine := map[ir.Use]bool{}
	for _, p := range puts {
		mine[ir.Use{Node: p.node, Index: p.index}] = true
	}
	for _, p := range puts {
		v := p.v
		if v.IsInitializer() && !v.IsOutput() && !slices.ContainsFunc(v.Uses(), func(u ir.Use) bool { return !mine[u] }) {
			v.Data = ir.Dense(p.t)
			continue
		}
		p.node.SetInput(p.index, addInitializer(c, fresh, v.Name, ir.Dense(p.t), false))
	}
}

// set puts t into the constant at the root.
func (w *Weight) set(t *tensor.Tensor) {
	if w.initial != nil {
		w.initial.Data = ir.Dense(t)
	} else {
		w.constant.Value = ir.TensorAttr{Data: ir.Dense(t)}
	}
}

func (d dequantize) requantize(t, was *tensor.Tensor) (*tensor.Tensor, []put, error) {
	scale, zero, err := d.tensors()
	if err != nil {
		return nil, nil, err
	}
	q, s, z, err := tensor.Requantize(t, was.DType(), scale, zero, d.axis, d.block)
	if err != nil {
		return nil, nil, err
	}
	puts := []put{{d.scale, s}}
	if z == nil {
		return q, puts, nil
	}
	if shape := d.zero.data().Shape(); shape.Size() == z.Size() {
		z = z.Reshape(shape...)
	} else if z.Equal(zero) { // one for all, and it stays
		return q, puts, nil
	}
	return q, append(puts, put{d.zero, z}), nil
}

// requantize sees the blocks as rows of a matrix of 8-bit integers.
func (w nBits) requantize(t, was *tensor.Tensor) (*tensor.Tensor, []put, error) {
	if z := w.zero.data(); z != nil && z.DType().IsFloat() {
		return nil, nil, errors.New("its zero points are floats; merge it into floats")
	}
	scales, err := w.scale.data().Tensor()
	if err != nil {
		return nil, nil, err
	}
	zeros, err := w.zeros()
	if err != nil {
		return nil, nil, err
	}
	q, s, z, err := w.grid(t, scales.Reshape(w.n, w.blocks()), zeros)
	if err != nil {
		return nil, nil, err
	}
	packed := tensor.New(tensor.Uint8, was.Shape()...)
	blob := w.perBlock * w.bits / 8
	for i, v := range q {
		w.set(tensor.Data[uint8](packed)[(i/w.k*w.blocks()+i%w.k/w.perBlock)*blob:], i%w.k%w.perBlock, v)
	}
	puts := []put{{w.scale, s.Reshape(scales.Shape()...)}}
	if d := w.zero.data(); d != nil {
		p := tensor.New(tensor.Uint8, d.Shape()...)
		for i, v := range z {
			w.set(tensor.Data[uint8](p)[i/w.blocks()*w.zeroBytes():], i%w.blocks(), v)
		}
		puts = append(puts, put{w.zero, p})
	}
	return packed, puts, nil
}

// grid is t (N,K) on the grid of w.bits bits.
func (w nBits) grid(t, scales *tensor.Tensor, zeros []float32) (q []float32, s *tensor.Tensor, z []float32, err error) {
	d := map[int]tensor.DType{2: tensor.Uint2, 4: tensor.Uint4, 8: tensor.Uint8}[w.bits]
	zero, err := tensor.FromSlice(zeros, w.n, w.blocks()).Cast(d)
	if err != nil {
		return nil, nil, nil, err
	}
	free := w.zero.v != nil
	qt, s, zt, err := tensor.Requantize(t, d, scales, zero, 1, w.perBlock)
	if err != nil {
		return nil, nil, nil, err
	}
	if !free && !zt.Equal(zero) {
		return nil, nil, nil, errors.New("zero points moved")
	}
	if q, err = qt.Float32s(); err == nil {
		z, err = zt.Float32s()
	}
	return q, s, z, err
}

// set packs v as number i.
func (w nBits) set(b []uint8, i int, v float32) {
	per := 8 / w.bits
	b[i/per] |= uint8(v) << (i % per * w.bits)
}

// float gives the module weights of floats in the place of quantized ones.
func (x *merged) float(c *ir.Model, fresh *ir.Names, after *tensor.Tensor) error {
	copies := map[bool]*ir.Value{}
	for _, l := range x.calls {
		turned := l.Weight.transposed && len(l.parts) == 0
		v := copies[turned]
		if v == nil {
			t := after
			if len(l.parts) == 0 {
				var err error
				if t, err = l.Weight.asSeen(after); err != nil {
					return err
				}
			}
			v = addInitializer(c, fresh, x.path+".weight", ir.Dense(t), false)
			copies[turned] = v
		}
		if len(l.parts) > 0 {
			l.plain(fresh, v)
			continue
		}
		l.Node.SetInput(l.slot, v)
		for _, k := range slices.Backward(l.Weight.links) {
			drop(k.node)
		}
	}
	return nil
}

// plain makes a layer of quantized numbers one of floats with the weight w
// (in, out).
func (l *Linear) plain(fresh *ir.Names, w *ir.Value) {
	g, name := l.Node.Graph(), l.Node.Name
	last := l.parts[len(l.parts)-1]
	n := ir.NewNode("", "MatMul", l.input(), w)
	if l.kind.exact {
		n = ir.NewNode("", "Gemm", l.input(), w)
		n.SetAttr("alpha", ir.Float(l.scale))
		if l.transA {
			n.SetAttr("transA", ir.Int(1))
		}
	}
	n.Name = name
	g.InsertBefore(n, last)
	if l.kind.bias > 0 && l.Node.Input(l.kind.bias) != nil {
		y := g.NewValue(fresh.Fresh(l.result.Name+"_product"), nil)
		n.SetOutput(0, y)
		n = ir.NewNode("", "Add", y, l.Node.Input(l.kind.bias))
		n.Name = fresh.Fresh(name + "_bias")
		g.InsertBefore(n, last)
	}
	y := l.result
	last.SetOutput(0, nil)
	n.SetOutput(0, y)
	l.Node.Name = fresh.Fresh(name + "_quantized") // should it stay
	for _, p := range slices.Backward(l.parts) {
		drop(p)
	}
}

// drop takes n out of its graph, and what it alone reads of the constants, where
// nothing reads what it computes.
func drop(n *ir.Node) {
	if n.Graph() == nil || slices.ContainsFunc(n.Outputs(), func(v *ir.Value) bool { return v != nil && !v.Unused() }) {
		return
	}
	in := slices.Clone(n.Inputs())
	n.Graph().Remove(n)
	for _, v := range in {
		switch {
		case v == nil || !v.Unused():
		case v.IsInitializer() && v.Graph() != nil:
			v.Graph().RemoveInitializer(v)
		case v.Producer().Is("Constant"):
			drop(v.Producer())
		}
	}
}

// describe is a note on what became of quantized weights.
func (r *MergeReport) describe() {
	if n := len(r.Dequantized); n > 0 {
		r.Notes = append(r.Notes, fmt.Sprintf("%d quantized weights are floats now, as merging changes them by less than a step: %s", n, some(r.Dequantized)))
	}
	if len(r.Requantized) == 0 {
		return
	}
	worst := slices.MaxFunc(r.Requantized, func(a, b Requantized) int {
		switch {
		case a.Relative < b.Relative:
			return -1
		case a.Relative > b.Relative:
			return 1
		}
		return 0
	})
	r.Notes = append(r.Notes, fmt.Sprintf("%d weights were quantized again; rounding adds at most %.3g to their norms, and %.3g to an element, at %s",
		len(r.Requantized), worst.Relative, worst.Max, worst.Path))
}

// some are the first of a list of names.
func some(list []string) string {
	const most = 3
	s := ""
	for i, x := range list[:min(most, len(list))] {
		if i > 0 {
			s += ", "
		}
		s += x
	}
	if len(list) > most {
		s += ", ..."
	}
	return s
}

// writeQuantized writes a merged weight whose constant holds integers.
func (x *merged) writeQuantized(c *ir.Model, fresh *ir.Names, after *tensor.Tensor, again bool, rep *MergeReport) error {
	if again {
		cost, err := x.requantize(c, fresh, after)
		if err == nil {
			rep.Requantized = append(rep.Requantized, cost)
		}
		return err
	}
	rep.Dequantized = append(rep.Dequantized, x.path)
	return x.float(c, fresh, after)
}
