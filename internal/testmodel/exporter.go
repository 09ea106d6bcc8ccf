package testmodel

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// An Exporter is a program that writes ONNX files: what it calls nodes,
// values and weights, and where it leaves the module paths.
type Exporter uint8

const (
	// TorchScript is PyTorch's exporter from 1.13 on: paths in node names,
	// transposed weights called onnx::MatMul_720.
	TorchScript Exporter = iota
	// OldTorchScript is PyTorch's exporter up to 1.12: numbers for names; only
	// parameters that are used as they are keep theirs.
	OldTorchScript
	// Dynamo is PyTorch's exporter on top of torch.export: node_MatMul_61,
	// val_62, paths in the nodes' metadata.
	Dynamo
	// ModuleFunctions is PyTorch's dynamo exporter of 2.1 to 2.4, which makes a
	// function of each module: weights are inputs of calls.
	ModuleFunctions
	// GenAI is the model builder of ONNX Runtime GenAI: paths in node names,
	// operators in weights' names.
	GenAI
)

// exporters is what sets them apart while a graph is built; rename does the rest.
var exporters = [...]struct {
	producer, version, graph string
	ir, opset                int64
	constantNodes            bool // constants are nodes, else initializers
}{
	TorchScript:     {"pytorch", "2.1.0", "main_graph", 8, 17, true},
	OldTorchScript:  {"pytorch", "1.10", "torch-jit-export", 6, 11, true},
	Dynamo:          {"pytorch", "2.10.0", "main_graph", 10, 20, false},
	ModuleFunctions: {"pytorch", "2.1.0", "main_graph", 8, 18, false},
	GenAI:           {"onnxruntime-genai", "0.9.0", "main_graph", 10, 21, false},
}

// A scope is the place of a module, as TorchScript writes it into node names:
// "/model/layers.0/self_attn". Containers that are not called themselves join
// their children's names with a dot.
type scope string

func (s scope) in(child string) scope { return s + "/" + scope(child) }

// path is the name of the module in the source framework.
func (s scope) path() string { return strings.ReplaceAll(strings.Trim(string(s), "/"), "/", ".") }

// last is the module's own name.
func (s scope) last() string { return string(s[strings.LastIndexByte(string(s), '/')+1:]) }

// exporter builds a graph as an Exporter writes it. Parameters stand in the
// main graph, whatever graph is being built.
type exporter struct {
	*ir.Builder
	kind   Exporter
	opset  int64
	model  *ir.Model
	rng    *rand.Rand
	here   scope
	scopes map[*ir.Node]scope
	params map[string]*ir.Value // by the name that the source framework has for them
	made   int                  // names that the exporter made up so far
	folded map[*ir.Value]bool   // parameters that lost their name by folding
}

// newExporter starts a model; opset 0 is the exporter's own default.
func newExporter(kind Exporter, opset int64, seed uint64) *exporter {
	e := exporters[kind]
	if opset == 0 {
		opset = e.opset
	}
	m := &ir.Model{IRVersion: e.ir, ProducerName: e.producer, ProducerVersion: e.version, Graph: ir.NewGraph(e.graph)}
	m.SetOpset("", opset)
	return &exporter{Builder: ir.NewBuilder(m.Graph, ir.NewNames(m)), kind: kind, opset: opset, model: m,
		rng: rand.New(rand.NewPCG(seed, 0x6578706f7274)), scopes: map[*ir.Node]scope{},
		params: map[string]*ir.Value{}, made: 700, folded: map[*ir.Value]bool{}}
}

// finish gives everything its final name and checks the model.
func (b *exporter) finish() (*ir.Model, error) {
	if err := b.Err(); err != nil {
		return nil, err
	}
	b.rename()
	return b.model, ir.Verify(b.model)
}

// at moves to a module and returns the way back.
func (b *exporter) at(s scope) (back func()) {
	was := b.here
	b.here = s
	return func() { b.here = was }
}

// node adds a node of the module that is being built.
func (b *exporter) node(domain, op string, in []*ir.Value, outputs int, attrs ...*ir.Attr) []*ir.Value {
	b.Prefix = string(b.here) + "/"
	out := b.Node(domain, op, in, outputs, attrs...)
	b.scopes[out[0].Producer()] = b.here
	return out
}

// op adds a standard node of one output.
func (b *exporter) op(op string, in ...*ir.Value) *ir.Value { return b.node("", op, in, 1)[0] }

// with sets an attribute of the node that made v.
func (b *exporter) with(v *ir.Value, name string, a ir.AttrValue) *ir.Value {
	v.Producer().SetAttr(name, a)
	return v
}

// constant is a value that the exporter writes into the file.
func (b *exporter) constant(t *tensor.Tensor) *ir.Value {
	if exporters[b.kind].constantNodes {
		return b.with(b.op("Constant"), "value", ir.TensorAttr{Data: ir.Dense(t)})
	}
	if b.kind == GenAI {
		return b.shared(fmt.Sprintf("/model/constants/%v/%v/%x", t.DType(), t.Shape(), t.Bytes()), func() *tensor.Tensor { return t })
	}
	return b.model.Graph.AddInitializer(b.Names().Fresh(b.madeUp("val_")), ir.Dense(t))
}

func (b *exporter) scalar(x float64) *ir.Value { return b.constant(tensor.Scalar(float32(x))) }
func (b *exporter) index(i int) *ir.Value      { return b.constant(tensor.Scalar(int64(i))) }
func (b *exporter) vector(v ...int) *ir.Value  { return b.constant(tensor.Ints(v...)) }

func (b *exporter) madeUp(prefix string) string {
	b.made++
	return prefix + strconv.Itoa(b.made)
}

// shared is a parameter or a table under a name of its own, made once.
func (b *exporter) shared(name string, make func() *tensor.Tensor) *ir.Value {
	return b.once(name, func() ir.Data { return ir.Dense(make()) })
}

func (b *exporter) once(name string, make func() ir.Data) *ir.Value {
	if b.params[name] == nil {
		b.params[name] = b.model.Graph.AddInitializer(b.Names().Fresh(name), make())
	}
	return b.params[name]
}

// param is a parameter of normal values.
func (b *exporter) param(name string, mean, std float64, shape ...int) *ir.Value {
	return b.once(name, func() ir.Data {
		if tensor.Shape(shape).Size() >= bigParam {
			return bigNormal(b.rng.Uint64(), mean, std, shape)
		}
		return ir.Dense(b.normal(mean, std, shape...))
	})
}

func (b *exporter) normal(mean, std float64, shape ...int) *tensor.Tensor {
	return normal(b.rng, mean, std, shape)
}

// foldedParam is a parameter that the exporter transposed, so that it lost its
// name; op is the operator that reads it.
func (b *exporter) foldedParam(name, op string, std float64, shape ...int) *ir.Value {
	v := b.param(name, 0, std, shape...)
	if b.folded[v] {
		return v
	}
	b.folded[v] = true
	switch b.kind {
	case GenAI:
		v.Name = strings.TrimSuffix(name, "weight") + op + ".weight"
	case Dynamo, ModuleFunctions:
		v.Name = b.madeUp("val_")
	default:
		v.Name = b.madeUp("onnx::" + op + "_")
	}
	return v
}

// output makes v a graph output of that name.
func (b *exporter) output(name string, v *ir.Value, dims ...ir.Dim) {
	v.Name = name
	v.Type = ir.Tensor(tensor.Float32, dims...)
	b.Graph.Outputs = append(b.Graph.Outputs, v)
}

// rename gives nodes, values and weights the names of those exporters that do
// not write paths, and writes the metadata of those that do that instead.
func (b *exporter) rename() {
	switch b.kind {
	case OldTorchScript:
		b.number()
	case Dynamo:
		b.describe()
	case GenAI:
		b.slash()
	}
}

// kept reports whether a value keeps its name under every exporter.
func (b *exporter) kept(v *ir.Value) bool { return v == nil || v.IsInput() || v.IsOutput() }

// number calls nodes MatMul_27 and values 74, folded weights last.
func (b *exporter) number() {
	i, next := 0, 40
	for n := range b.model.Graph.Nodes() {
		n.Name = n.OpType + "_" + strconv.Itoa(i)
		i++
		for _, v := range n.Outputs() {
			if !b.kept(v) {
				v.Name = strconv.Itoa(next)
				next += 1 + i%3/2
			}
		}
	}
	for _, v := range b.model.Graph.Initializers {
		if b.folded[v] {
			v.Name = strconv.Itoa(next)
			next++
		}
	}
}

// slash calls values by their node's name and /output_0.
func (b *exporter) slash() {
	for n := range b.model.Graph.Nodes() {
		for i, v := range n.Outputs() {
			if !b.kept(v) {
				v.Name = n.Name + "/output_" + strconv.Itoa(i)
			}
		}
	}
}

// describe calls nodes node_MatMul_61 and their results val_62, and keeps the
// module path in metadata.
func (b *exporter) describe() {
	made := 0
	for n := range b.model.Graph.Nodes() {
		made++
		n.Name = fmt.Sprintf("node_%s_%d", n.OpType, made)
		call := fmt.Sprintf("%s_%d", strings.ToLower(n.OpType), made)
		for _, v := range n.Outputs() {
			if !b.kept(v) {
				v.Name = call
			}
		}
		list := "['', "
		for i, c := range b.scopes[n] {
			if c == '/' && i > 0 {
				list += "'" + b.scopes[n][:i].path() + "', "
			}
		}
		if s := b.scopes[n]; s != "" {
			list += "'" + s.path() + "', "
		}
		n.Metadata.Set("namespace", ": model/"+strings.Trim(string(b.scopes[n]), "/")+": aten."+strings.ToLower(n.OpType))
		n.Metadata.Set("pkg.torch.onnx.fx_node", "%"+call+" : [num_users=1] = call_function[target=torch.ops.aten."+strings.ToLower(n.OpType)+"]")
		n.Metadata.Set("pkg.torch.onnx.name_scopes", list+"'"+call+"']")
	}
}
