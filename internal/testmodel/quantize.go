package testmodel

import (
	"fmt"
	"math"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// A Quantization is a tool that makes the products of a float model cheaper.
type Quantization uint8

const (
	// DynamicInt8 is ONNX Runtime's quantize_dynamic: MatMulInteger on inputs
	// that DynamicQuantizeLinear quantizes in each run.
	DynamicInt8 Quantization = iota
	// WeightInt8 keeps products in float and their weights in int8 behind
	// DequantizeLinear, a scale for each column.
	WeightInt8
	// BlockInt4 is ONNX Runtime's MatMulNBits: weights of 4 bits, a scale for
	// each block of 16.
	BlockInt4
	// GenAIInt4 is BlockInt4 as ONNX Runtime GenAI's model builder asks for it:
	// blocks of 32, leave to compute with inputs of 8 bits.
	GenAIInt4
)

// blocks is what sets the kinds of MatMulNBits apart: values under one scale,
// and accuracy_level where it is written.
var blocks = map[Quantization]struct{ size, accuracy int }{BlockInt4: {size: 16}, GenAIInt4: {size: 32, accuracy: 4}}

// Quantize rewrites every MatMul of the main graph whose weight is constant,
// naming things as the tool does.
func Quantize(m *ir.Model, how Quantization) (*ir.Model, error) {
	q := &quantizer{model: m, how: how, done: map[*ir.Value]quantized{}, inputs: map[*ir.Value][]*ir.Value{}}
	for n := range m.Graph.Nodes() {
		if !n.Is("MatMul") || !n.Input(1).IsInitializer() || len(n.Input(1).Data.Shape()) != 2 {
			continue
		}
		if err := [...]func(*ir.Node) error{q.dynamic, q.weight, q.block, q.block}[how](n); err != nil {
			return nil, err
		}
	}
	m.Graph.Prune(true, nil)
	if blocks[how].size != 0 {
		m.SetOpset(microsoft, 1)
	}
	m.ProducerName = "onnx.quantize"
	return m, ir.Verify(m)
}

type quantizer struct {
	model  *ir.Model
	how    Quantization
	done   map[*ir.Value]quantized   // weights
	inputs map[*ir.Value][]*ir.Value // quantized, scale, zero point
}

type quantized struct{ weight, scale, zero *ir.Value }

// put adds a node before another one, its outputs named.
func (q *quantizer) put(before *ir.Node, domain, op, name string, in []*ir.Value, outputs ...string) *ir.Node {
	n := ir.NewNode(domain, op, in...)
	n.Name = name
	for i, o := range outputs {
		n.SetOutput(i, q.model.Graph.NewValue(o, nil))
	}
	q.model.Graph.InsertBefore(n, before)
	return n
}

// replace gives n's place to a node that makes what n made.
func (q *quantizer) replace(n *ir.Node, domain, op, name string, in ...*ir.Value) *ir.Node {
	y := n.Output(0)
	n.SetOutput(0, nil)
	r := q.put(n, domain, op, name, in)
	r.SetOutput(0, y)
	q.model.Graph.Remove(n)
	return r
}

func (q *quantizer) constant(name string, t *tensor.Tensor) *ir.Value {
	return q.model.Graph.AddInitializer(name, ir.Dense(t))
}

func (q *quantizer) dynamic(n *ir.Node) error {
	x, w := n.Input(0), n.Input(1)
	if q.inputs[x] == nil {
		q.inputs[x] = q.put(n, "", "DynamicQuantizeLinear", x.Name+"_QuantizeLinear", ir.In(x),
			x.Name+"_quantized", x.Name+"_scale", x.Name+"_zero_point").Outputs()
	}
	d, ok := q.done[w]
	if !ok {
		data, scales, err := quantizeColumns(w.Data, false)
		if err != nil {
			return err
		}
		d = quantized{q.constant(w.Name+"_quantized", data), q.constant(w.Name+"_scale", tensor.Scalar(scales[0])),
			q.constant(w.Name+"_zero_point", tensor.Scalar[int8](0))}
		q.done[w] = d
	}
	in, name, y := q.inputs[x], n.Name, n.Output(0).Name
	product := q.put(n, "", "MatMulInteger", name+"_quant", ir.In(in[0], d.weight, in[2], d.zero), y+"_output_quantized")
	cast := q.put(n, "", "Cast", y+"_output_quantized_cast", product.Outputs(), y+"_output_quantized_cast_output")
	cast.SetAttr("to", ir.Int(onnxType[tensor.Float32]))
	scale := q.put(n, "", "Mul", name+"_quant_scales_mul", ir.In(in[1], d.scale), name+"_quant_scales_mul:0")
	q.replace(n, "", "Mul", name+"_quant_output_scale_mul", cast.Output(0), scale.Output(0))
	return nil
}

func (q *quantizer) weight(n *ir.Node) error {
	w := n.Input(1)
	d, ok := q.done[w]
	if !ok {
		data, scales, err := quantizeColumns(w.Data, true)
		if err != nil {
			return err
		}
		zeros := tensor.New(tensor.Int8, len(scales))
		in := ir.In(q.constant(w.Name+"_quantized", data), q.constant(w.Name+"_scale", tensor.FromSlice(scales, len(scales))),
			q.constant(w.Name+"_zero_point", zeros))
		dequantize := q.put(q.model.Graph.First(), "", "DequantizeLinear", w.Name+"_DequantizeLinear", in, w.Name+"_DequantizeLinear_Output")
		dequantize.SetAttr("axis", ir.Int(1))
		d = quantized{weight: dequantize.Output(0)}
		q.done[w] = d
	}
	n.SetInput(1, d.weight)
	return nil
}

// quantizeColumns rounds a float matrix (in, out) to int8, with a scale for
// each column or one for all.
func quantizeColumns(w ir.Data, columns bool) (*tensor.Tensor, []float32, error) {
	t, err := w.Tensor()
	if err != nil {
		return nil, nil, err
	}
	in, out := t.Shape()[0], t.Shape()[1]
	x := tensor.Data[float32](t)
	scales := make([]float32, out)
	for i, v := range x {
		j := i % out
		if !columns {
			j = 0
		}
		scales[j] = max(scales[j], float32(math.Abs(float64(v)))/127)
	}
	if !columns {
		scales = scales[:1]
	}
	y := tensor.New(tensor.Int8, in, out)
	for i, v := range x {
		tensor.Data[int8](y)[i] = int8(math.RoundToEven(float64(v / scales[i%out%len(scales)])))
	}
	return y, scales, nil
}

// block leaves the packing to whoever reads the weight: a matrix may be large.
func (q *quantizer) block(n *ir.Node) error {
	w, b := n.Input(1), blocks[q.how]
	in, out := w.Data.Shape()[0], w.Data.Shape()[1]
	if in%b.size != 0 {
		return fmt.Errorf("testmodel: %d rows are no blocks of %d", in, b.size)
	}
	d, ok := q.done[w]
	if !ok {
		pack := func(which int) func() (*tensor.Tensor, error) {
			return func() (*tensor.Tensor, error) {
				t, err := w.Data.Tensor()
				if err != nil {
					return nil, err
				}
				data, scales := packBlocks(tensor.Data[float32](t), in, out, b.size)
				return [...]*tensor.Tensor{data, scales}[which], nil
			}
		}
		n := in / b.size
		d = quantized{weight: q.model.Graph.AddInitializer(w.Name+"_Q4", made{tensor.Uint8, tensor.Shape{out, n, b.size / 2}, pack(0)}),
			scale: q.model.Graph.AddInitializer(w.Name+"_scales", made{tensor.Float32, tensor.Shape{out * n}, pack(1)})}
		q.done[w] = d
	}
	r := q.replace(n, microsoft, "MatMulNBits", n.Name+"_Q4", n.Input(0), d.weight, d.scale)
	r.Attrs = []*ir.Attr{ir.A("K", ir.Int(in)), ir.A("N", ir.Int(out)), ir.A("bits", ir.Int(4)), ir.A("block_size", ir.Int(b.size))}
	if b.accuracy != 0 {
		r.Attrs = append(r.Attrs, ir.A("accuracy_level", ir.Int(b.accuracy)))
	}
	return nil
}

// packBlocks is w (in, out) as MatMulNBits wants it: (out, in/size, size/2)
// bytes of two values each, the first in the low half, 8 for zero; and
// (out*in/size) scales. It walks w along its rows.
func packBlocks(w []float32, in, out, size int) (data, scales *tensor.Tensor) {
	n := in / size
	data, scales = tensor.New(tensor.Uint8, out, n, size/2), tensor.New(tensor.Float32, out*n)
	bytes, s := tensor.Data[uint8](data), tensor.Data[float32](scales)
	for k := range in {
		for j, x := range w[k*out : (k+1)*out] {
			b := j*n + k/size
			s[b] = max(s[b], float32(math.Abs(float64(x)))/7)
		}
	}
	for k := range in {
		for j, x := range w[k*out : (k+1)*out] {
			b := j*n + k/size
			bits := uint8(math.RoundToEven(float64(x/s[b])) + 8)
			bytes[b*size/2+k%size/2] |= bits << (k % 2 * 4)
		}
	}
	return data, scales
}
