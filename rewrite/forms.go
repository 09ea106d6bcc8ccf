package rewrite

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/bonnx/bonnx/adapter"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// Form is how an adapter stands in a graph.
type Form uint8

const (
	// Auto is Activation where the method has it, else Weight.
	Auto Form = iota
	// Activation keeps the base layer and adds to its result:
	// y = x W + fold(x) D. Cheap to differentiate, any base type.
	Activation
	// Weighted adds to the weight before it is used: y = x (W + delta). Runtimes
	// that fold constants fold it away. Bat is always this form.
	Weighted
)

var formNames = [...]string{Auto: "auto", Activation: "activation", Weighted: "weight"}

// ParseForm is the form of that name, as String gives it.
func ParseForm(s string) (Form, error) {
	for i, n := range formNames {
		if strings.EqualFold(s, n) {
			return Form(i), nil
		}
	}
	return 0, fmt.Errorf("unknown form %q; there are %s", s, strings.Join(formNames[1:], ", "))
}

// String is auto, activation or weight.
func (f Form) String() string {
	if int(f) >= len(formNames) {
		return fmt.Sprintf("form(%d)", uint8(f))
	}
	return formNames[f]
}

// MarshalText writes the name.
func (f Form) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// UnmarshalText reads the name.
func (f *Form) UnmarshalText(b []byte) (err error) {
	*f, err = ParseForm(string(b))
	return err
}

// of is the form that an adapter of the method takes.
func (f Form) of(m adapter.Method) (Form, error) {
	switch {
	case int(f) >= len(formNames):
		return 0, fmt.Errorf("unknown %v", f)
	case f == Activation && m == adapter.Bat:
		return 0, fmt.Errorf("bat has the form weight alone: what it adds depends on the weight")
	case f != Auto:
		return f, nil
	case m == adapter.Bat:
		return Weighted, nil
	}
	return Activation, nil
}

// writer adds the nodes of one adapter to one layer. Its table of operators is
// what ONNX has had since opset 7; ReduceSum's axes moved from an attribute to
// an input in 13.
type writer struct {
	*injection
	p      *ir.Patch
	prefix string
	l      *Linear
	dims   adapter.Dims
	blocks []*ir.Value
	scale  float64 // of lora, else 1
	// dropout is the probability with which the blocks miss an element of x.
	dropout float64
	last    *ir.Value
	nodes   []*ir.Node
}

// op adds a node; its value is the last one until the next.
func (w *writer) op(opType string, in []*ir.Value, attrs ...*ir.Attr) *ir.Value {
	w.last = w.p.Node(w.prefix+opType, opType, in, nil, attrs...)
	w.nodes = append(w.nodes, w.last.Producer())
	return w.last
}

func (w *writer) transpose(v *ir.Value, perm ...int64) *ir.Value {
	return w.op("Transpose", ir.In(v), ir.A("perm", ir.Ints(perm)))
}

func (w *writer) reshape(v *ir.Value, dims ...int) *ir.Value {
	return w.op("Reshape", ir.In(v, w.ints(dims...)))
}

// cast converts v where the layer's type is not float32, the blocks' type.
func (w *writer) cast(v *ir.Value, to tensor.DType) *ir.Value {
	if w.l.Weight.dtype == tensor.Float32 {
		return v
	}
	return w.op("Cast", ir.In(v), ir.A("to", ir.Int(to)))
}

func (w *writer) times(v *ir.Value, c float64) *ir.Value {
	if c == 1 {
		return v
	}
	f := float32(c)
	name := "scale_" + strconv.FormatFloat(float64(f), 'g', -1, 32)
	return w.op("Mul", ir.In(v, w.constant(name, func() *tensor.Tensor { return tensor.Scalar(f) })))
}

// updates are the methods' parts of the activation form: each turns x (.., in) into
// what the adapter adds to the layer's result, as rows (.., out).
var updates = map[adapter.Method]func(w *writer, x *ir.Value) *ir.Value{
	adapter.Bone: boneUpdate,
	adapter.MiSS: boneUpdate,
	adapter.MiSSMini: func(w *writer, x *ir.Value) *ir.Value {
		return w.multiply(w.fold(x), factor{v: w.tile()}, false)
	},
	adapter.LoRA: func(w *writer, x *ir.Value) *ir.Value {
		s := w.multiply(x, factor{w.blocks[0], true}, true)
		return w.multiply(s, factor{w.blocks[1], true}, false)
	},
}

func boneUpdate(w *writer, x *ir.Value) *ir.Value {
	return w.multiply(w.fold(x), factor{v: w.blocks[0]}, false)
}

// folds reports whether fold cuts x into whole pieces of the rank: then it is
// a sum, n additions a row, else a product with a 0/1 matrix.
func (w *writer) folds() bool { return w.dims.In%w.dims.Rank == 0 && w.l.product == nil }

// fold is S, S[l] = sum of x[k] over k mod r = l.
func (w *writer) fold(x *ir.Value) *ir.Value {
	d := w.dims
	if !w.folds() {
		ones := w.constant(fmt.Sprintf("fold_%dx%d", d.In, d.Rank), func() *tensor.Tensor {
			t := tensor.New(tensor.Float32, d.In, d.Rank)
			for k := range d.In {
				tensor.Data[float32](t)[k*d.Rank+k%d.Rank] = 1
			}
			return t
		})
		return w.multiply(x, factor{v: ones}, true)
	}
	x = w.reshape(x, -1, d.In/d.Rank, d.Rank)
	keep := ir.A("keepdims", ir.Int(0))
	if w.opset < 13 {
		return w.op("ReduceSum", ir.In(x), ir.A("axes", ir.Ints{1}), keep)
	}
	return w.op("ReduceSum", ir.In(x, w.ints(1)), keep)
}

// tile is D (r, out) of a miss-mini block (r, mini_r).
func (w *writer) tile() *ir.Value {
	out, mini := w.dims.Out, w.dims.MiniRank
	if mini == out {
		return w.blocks[0]
	}
	return w.op("Gather", ir.In(w.blocks[0], w.modulo("cols", out, mini)), ir.A("axis", ir.Int(1)))
}

// modulo is the constant vector 0 1 .. r-1 0 1 .. of n entries.
func (w *writer) modulo(name string, n, r int) *ir.Value {
	return w.constant(fmt.Sprintf("%s_%dx%d", name, n, r), func() *tensor.Tensor {
		t := tensor.New(tensor.Int64, n)
		for k := range n {
			tensor.Data[int64](t)[k] = int64(k % r)
		}
		return t
	})
}

// activation writes the activation form and returns the layer's new result.
func (w *writer) activation(m adapter.Method) *ir.Value {
	l := w.l
	x, y := l.input(), w.result(l)
	w.p.After(y.Producer())
	if l.transA {
		x = w.transpose(x, 1, 0)
	}
	d := updates[m](w, w.drop(w.cast(x, tensor.Float32)))
	d = w.times(d, w.scale*float64(l.spot.scale))
	d = w.cast(d, l.Weight.dtype)
	if !l.kind.exact && m != adapter.LoRA && w.folds() {
		d = w.op("Reshape", ir.In(d, w.op("Shape", ir.In(y))))
	}
	out := w.op("Add", ir.In(y, d))
	w.p.TakeOver(y, out)
	return out
}

// drop is x with Dropout, on the input of the blocks alone, as in PEFT.
func (w *writer) drop(x *ir.Value) *ir.Value {
	if w.dropout == 0 {
		return x
	}
	f := float32(w.dropout)
	name := "dropout_" + strconv.FormatFloat(float64(f), 'g', -1, 32)
	ratio := w.constant(name, func() *tensor.Tensor { return tensor.Scalar(f) })
	return w.op("Dropout", ir.In(x, ratio, w.constant("training", func() *tensor.Tensor { return tensor.Scalar(true) })))
}

// deltas are the methods' parts of the weight form: what is added to a weight
// of (in, out).
var deltas = map[adapter.Method]func(w *writer) *ir.Value{
	adapter.Bone:     func(w *writer) *ir.Value { return w.rows(w.blocks[0]) },
	adapter.MiSS:     func(w *writer) *ir.Value { return w.rows(w.blocks[0]) },
	adapter.MiSSMini: func(w *writer) *ir.Value { return w.rows(w.tile()) },
	adapter.LoRA: func(w *writer) *ir.Value {
		a, b := w.transpose(w.blocks[0], 1, 0), w.transpose(w.blocks[1], 1, 0)
		return w.times(w.op("MatMul", ir.In(a, b)), w.scale)
	},
}

// rows repeats the rows of d (r, out): row k of the result is row k mod r.
func (w *writer) rows(d *ir.Value) *ir.Value {
	return w.op("Gather", ir.In(d, w.modulo("rows", w.dims.In, w.dims.Rank)), ir.A("axis", ir.Int(0)))
}

// weight writes the weight form and returns the layer's new weight.
func (w *writer) weight(m adapter.Method) *ir.Value {
	l := w.l
	v := l.Node.Input(l.slot) // with what the adapters below add
	w.p.Before(l.Node)
	var out *ir.Value
	if m == adapter.Bat {
		out = w.bat(v)
	} else {
		out = w.op("Add", ir.In(v, w.cast(w.asSeen(deltas[m](w)), l.Weight.dtype)))
	}
	w.p.SetInput(l.Node, l.slot, out)
	return out
}

// asSeen turns a matrix (in, out) into what the layer's node reads.
func (w *writer) asSeen(v *ir.Value) *ir.Value {
	if w.l.Weight.transposed {
		v = w.transpose(v, 1, 0)
	}
	if w.l.Weight.view != nil {
		v = w.reshape(v, w.l.Weight.view.from.shape...)
	}
	return v
}

// bat is W' = W + (blocks of W and I) B: on tiles W_ji of r by r,
// W'_ji = W_ji + B_i^T (W_ji + I).
func (w *writer) bat(v *ir.Value) *ir.Value {
	in, out, r := w.dims.In, w.dims.Out, w.dims.Rank
	if w.l.Weight.view != nil {
		v = w.reshape(v, out, in)
	}
	if w.l.Weight.transposed {
		v = w.transpose(v, 1, 0)
	}
	v = w.cast(v, tensor.Float32)
	tiles := w.transpose(w.reshape(v, in/r, r, out/r, r), 0, 2, 1, 3)
	eye := w.constant(fmt.Sprintf("eye_%d", r), func() *tensor.Tensor {
		t := tensor.New(tensor.Float32, r, r)
		for i := range r {
			tensor.Data[float32](t)[i*r+i] = 1
		}
		return t
	})
	sum := w.op("Add", ir.In(tiles, eye))
	delta := w.op("MatMul", ir.In(w.transpose(w.blocks[0], 0, 2, 1), sum))
	tiles = w.op("Add", ir.In(tiles, delta))
	v = w.reshape(w.transpose(tiles, 0, 2, 1, 3), in, out)
	return w.asSeen(w.cast(v, w.l.Weight.dtype))
}
