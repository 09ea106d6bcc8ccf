package testmodel

import (
	"fmt"
	"math"
	"strings"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// An extent is one of a tensor that is being traced: a number, or a scalar
// that Shape and Gather compute where the exporter was told that it varies.
type extent struct {
	n int
	v *ir.Value
}

func size(n int) extent { return extent{n: n} }

// extents are several of them, traced or not.
func sizes(n ...int) []extent {
	list := make([]extent, len(n))
	for i, x := range n {
		list[i] = size(x)
	}
	return list
}

// dim is x's extent along axis: fixed where it is not zero.
func (b *exporter) dim(x *ir.Value, axis, fixed int) extent {
	if fixed != 0 {
		return size(fixed)
	}
	return extent{v: b.with(b.op("Gather", b.op("Shape", x), b.index(axis)), "axis", ir.Int(0))}
}

// scalarOf is an extent as a scalar.
func (b *exporter) scalarOf(e extent) *ir.Value {
	if e.v == nil {
		return b.index(e.n)
	}
	return e.v
}

// vectorOf is extents as a vector: a constant where none is traced, as constant
// folding leaves it.
func (b *exporter) vectorOf(list ...extent) *ir.Value {
	numbers, traced := make([]int, len(list)), false
	for i, e := range list {
		numbers[i], traced = e.n, traced || e.v != nil
	}
	if !traced {
		return b.vector(numbers...)
	}
	parts := make([]*ir.Value, len(list))
	for i, e := range list {
		if e.v == nil {
			parts[i] = b.vector(e.n)
			continue
		}
		parts[i] = b.unsqueeze(e.v, 0)
	}
	return b.with(b.op("Concat", parts...), "axis", ir.Int(0))
}

func (b *exporter) reshape(x *ir.Value, list ...extent) *ir.Value {
	return b.op("Reshape", x, b.vectorOf(list...))
}

// expand broadcasts x. TorchScript does not know that no extent is -1 and
// guards against it.
func (b *exporter) expand(x *ir.Value, list ...extent) *ir.Value {
	shape := b.vectorOf(list...)
	for _, e := range list {
		if e.v == nil || b.kind == Dynamo {
			continue
		}
		ones := b.with(b.op("ConstantOfShape", b.op("Shape", shape)), "value", ir.TensorAttr{Data: ir.Dense(tensor.Ints(1))})
		open := b.op("Equal", shape, b.op("Mul", ones, b.index(-1)))
		return b.op("Expand", x, b.op("Where", open, ones, shape))
	}
	return b.op("Expand", x, shape)
}

func (b *exporter) transpose(x *ir.Value, perm ...int64) *ir.Value {
	return b.with(b.op("Transpose", x), "perm", ir.Ints(perm))
}

// axes adds an operator whose axes became an input in opset since.
func (b *exporter) axes(op string, since int64, x *ir.Value, axes ...int) *ir.Value {
	if b.opset >= since {
		return b.op(op, x, b.vector(axes...))
	}
	list := make(ir.Ints, len(axes))
	for i, a := range axes {
		list[i] = int64(a)
	}
	return b.with(b.op(op, x), "axes", list)
}

func (b *exporter) unsqueeze(x *ir.Value, axes ...int) *ir.Value {
	return b.axes("Unsqueeze", 13, x, axes...)
}

// slice is x[..., from:to, ...] along axis.
func (b *exporter) slice(x *ir.Value, axis int, from, to *ir.Value) *ir.Value {
	return b.op("Slice", x, from, to, b.vector(axis), b.vector(1))
}

// split cuts the last axis into n equal parts.
func (b *exporter) split(x *ir.Value, n, part int) []*ir.Value {
	if b.opset < 13 {
		list := make(ir.Ints, n)
		for i := range list {
			list[i] = int64(part)
		}
		return b.node("", "Split", ir.In(x), n, ir.A("axis", ir.Int(-1)), ir.A("split", list))
	}
	list := make([]int, n)
	for i := range list {
		list[i] = part
	}
	return b.node("", "Split", ir.In(x, b.vector(list...)), n, ir.A("axis", ir.Int(-1)))
}

// cast converts to an element type of ONNX's numbering.
func (b *exporter) cast(x *ir.Value, d tensor.DType) *ir.Value {
	return b.with(b.op("Cast", x), "to", ir.Int(onnxType[d]))
}

// onnxType is ONNX's numbering of what builders cast to.
var onnxType = map[tensor.DType]int64{tensor.Float32: 1, tensor.Int32: 6, tensor.Int64: 7, tensor.Bool: 9}

// linear is x W + b for x of rank 3: a product with the transposed weight,
// which constant folding has made anew, and an addition.
func (b *exporter) linear(s scope, x *ir.Value, in, out int, bias bool) *ir.Value {
	defer b.at(s)()
	if b.kind == ModuleFunctions {
		return b.module(x, in, out, bias)
	}
	y := b.op("MatMul", x, b.foldedParam(s.path()+".weight", "MatMul", 1/math.Sqrt(float64(in)), in, out))
	if !bias {
		return y
	}
	return b.op("Add", b.param(s.path()+".bias", 0, 0.1, out), y)
}

// dense is x W' + b for x of rank 2: one Gemm that reads the weight as it is.
func (b *exporter) dense(s scope, x *ir.Value, in, out int) *ir.Value {
	defer b.at(s)()
	if b.kind == ModuleFunctions {
		return b.module(x, in, out, true)
	}
	y := b.op("Gemm", x, b.param(s.path()+".weight", 0, 1/math.Sqrt(float64(in)), out, in), b.param(s.path()+".bias", 0, 0.1, out))
	b.with(y, "alpha", ir.Float(1))
	b.with(y, "beta", ir.Float(1))
	return b.with(y, "transB", ir.Int(1))
}

// torchDomain is where functions of PyTorch's modules stand.
const torchDomain = "pkg.torch.2.1.0"

// module calls a function of x, weight (out, in) and bias, made for this module
// alone.
func (b *exporter) module(x *ir.Value, in, out int, bias bool) *ir.Value {
	path := b.here.path()
	name := fmt.Sprintf("torch_nn_modules_linear_Linear_%s_%d", strings.ReplaceAll(path, ".", "_"), len(b.model.Functions))
	f := &ir.Function{Domain: torchDomain, Name: name, Opsets: []ir.Opset{{Version: b.opset}}, Body: ir.NewGraph(name)}
	body := ir.NewBuilder(f.Body, ir.NewNames(&ir.Model{Graph: f.Body}))
	args := ir.In(x, b.param(path+".weight", 0, 1/math.Sqrt(float64(in)), out, in))
	y := body.Op("MatMul", ir.In(f.Body.AddInput("input", nil), body.Op("Transpose", ir.In(f.Body.AddInput("weight", nil)), ir.A("perm", ir.Ints{1, 0}))))
	if bias {
		args = append(args, b.param(path+".bias", 0, 0.1, out))
		y = body.Op("Add", ir.In(y, f.Body.AddInput("bias", nil)))
	}
	f.Body.Outputs = append(f.Body.Outputs, y)
	b.model.Functions = append(b.model.Functions, f)
	b.model.SetOpset(torchDomain, 1)
	return b.node(torchDomain, name, args, 1)[0]
}

// layerNorm is one node from opset 17 on, nine before.
func (b *exporter) layerNorm(s scope, x *ir.Value, dim int) *ir.Value {
	defer b.at(s)()
	w, bias := b.param(s.path()+".weight", 1, 0.1, dim), b.param(s.path()+".bias", 0, 0.1, dim)
	if b.opset >= 17 {
		y := b.with(b.op("LayerNormalization", x, w, bias), "axis", ir.Int(-1))
		return b.with(y, "epsilon", ir.Float(1e-5))
	}
	d := b.op("Sub", x, b.axes("ReduceMean", 18, x, -1))
	mean := b.axes("ReduceMean", 18, b.op("Pow", d, b.scalar(2)), -1)
	y := b.op("Div", d, b.op("Sqrt", b.op("Add", mean, b.scalar(1e-5))))
	return b.op("Add", b.op("Mul", y, w), bias)
}

// rmsNorm is w * x / sqrt(mean(x^2) + eps), as traced from Python.
func (b *exporter) rmsNorm(s scope, x *ir.Value, dim int) *ir.Value {
	defer b.at(s)()
	mean := b.axes("ReduceMean", 18, b.op("Pow", x, b.scalar(2)), -1)
	root := b.op("Sqrt", b.op("Add", mean, b.scalar(1e-6)))
	y := b.op("Mul", x, b.op("Div", b.scalar(1), root))
	return b.op("Mul", b.param(s.path()+".weight", 1, 0.1, dim), y)
}

// gelu is x/2 (1 + erf(x/sqrt 2)), an operator of its own from opset 20 on.
func gelu(b *exporter, s scope, x *ir.Value) *ir.Value {
	defer b.at(s)()
	if b.opset >= 20 {
		return b.op("Gelu", x)
	}
	e := b.op("Add", b.op("Erf", b.op("Div", x, b.scalar(math.Sqrt2))), b.scalar(1))
	return b.op("Mul", b.op("Mul", x, e), b.scalar(0.5))
}

// geluTanh is GPT-2's approximation of gelu.
func geluTanh(b *exporter, s scope, x *ir.Value) *ir.Value {
	defer b.at(s)()
	half := b.op("Mul", x, b.scalar(0.5))
	cube := b.op("Mul", b.op("Pow", x, b.scalar(3)), b.scalar(0.044715))
	t := b.op("Tanh", b.op("Mul", b.op("Add", x, cube), b.scalar(math.Sqrt(2/math.Pi))))
	return b.op("Mul", half, b.op("Add", t, b.scalar(1)))
}

// quickGelu is CLIP's x sigmoid(1.702 x).
func quickGelu(b *exporter, s scope, x *ir.Value) *ir.Value {
	defer b.at(s)()
	return b.op("Mul", x, b.op("Sigmoid", b.op("Mul", x, b.scalar(1.702))))
}

// silu is x sigmoid(x).
func silu(b *exporter, s scope, x *ir.Value) *ir.Value {
	defer b.at(s)()
	return b.op("Mul", x, b.op("Sigmoid", x))
}

// heads is x (B,T,H*D) as (B,H,T,D).
func (b *exporter) heads(x *ir.Value, batch, seq extent, width int) *ir.Value {
	return b.transpose(b.reshape(x, batch, seq, size(-1), size(width)), 0, 2, 1, 3)
}

// attend is softmax(q k' / sqrt D + mask) v with its heads joined: q (B,H,T,D),
// k and v (B,H,S,D), mask nil or broadcast to (B,H,T,S); gives (B,T,H*D).
func (b *exporter) attend(q, k, v, mask *ir.Value, batch, seq extent, heads, width int) *ir.Value {
	scores := b.op("Div", b.op("MatMul", q, b.transpose(k, 0, 1, 3, 2)), b.scalar(math.Sqrt(float64(width))))
	if mask != nil {
		scores = b.op("Add", scores, mask)
	}
	p := b.with(b.op("Softmax", scores), "axis", ir.Int(-1))
	y := b.transpose(b.op("MatMul", p, v), 0, 2, 1, 3)
	return b.reshape(y, batch, seq, size(heads*width))
}
