package onnx

import (
	"errors"
	"fmt"
	"math"

	"google.golang.org/protobuf/proto"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/onnx/internal/onnxpb"
)

// What Load keeps in the Extra fields of ir, for Save: the message as it was
// read, without what ir itself holds. It never changes after Load, so copies
// of a model share it.
type (
	modelExtra struct {
		head     *onnxpb.ModelProto
		training []span // whole fields
		files    *files
	}
	graphExtra    struct{ head *onnxpb.GraphProto }
	nodeExtra     struct{ head *onnxpb.NodeProto }
	functionExtra struct{ head *onnxpb.FunctionProto }

	// valueExtra has the entries for a value in its graph's lists, and what
	// they were decoded to: what still equals that is written as it was read.
	valueExtra struct {
		in, out, ann []*onnxpb.ValueInfoProto
		typ          ir.Type
		doc          string
		meta         ir.Metadata
		tensor       *onnxpb.TensorProto // of an initializer
		ext          *extRef             // where that lay, if outside
	}
)

// A decoder turns one file into a model.
type decoder struct {
	*reader
	files *files
}

func (d *decoder) model() (*ir.Model, error) {
	x := &modelExtra{head: &onnxpb.ModelProto{}, files: d.files}
	var graphs, functions []span
	err := d.split(d.all(), x.head, func(f field) (bool, error) {
		switch f.num {
		case 7:
			graphs = append(graphs, f.body)
		case 20:
			x.training = append(x.training, f.whole)
		case 25:
			functions = append(functions, f.body)
		default:
			return false, nil
		}
		return true, nil
	})
	if err != nil {
		return nil, fmt.Errorf("not an ONNX model: %w", err)
	}
	h := x.head
	if len(graphs) == 0 {
		return nil, errors.New("not an ONNX model: it has no graph")
	}
	m := &ir.Model{
		IRVersion: h.GetIrVersion(), Opsets: decodeOpsets(h.OpsetImport),
		ProducerName: h.GetProducerName(), ProducerVersion: h.GetProducerVersion(),
		Domain: h.GetDomain(), ModelVersion: h.GetModelVersion(), Doc: h.GetDocString(),
		Metadata: decodeMetadata(h.MetadataProps), Extra: x,
	}
	h.OpsetImport, h.MetadataProps = nil, nil
	if m.Graph, err = d.graph(graphs, nil, nil); err != nil {
		return nil, err
	}
	for _, s := range functions {
		f, err := d.function(s)
		if err != nil {
			return nil, err
		}
		m.Functions = append(m.Functions, f)
	}
	return m, nil
}

// scope maps the names of one graph's values, with the graphs around it.
type scope struct {
	names map[string]*ir.Value
	outer *scope
	depth int
}

func (s *scope) find(name string) *ir.Value {
	for ; s != nil; s = s.outer {
		if v := s.names[name]; v != nil {
			return v
		}
	}
	return nil
}

// errTooDeep goes up without the names of all the nodes it passed.
var errTooDeep = fmt.Errorf("sub-graphs are nested more than %d deep", maxDepth)

// within says where err happened, but for errTooDeep.
func within(err error, format string, args ...any) error {
	if errors.Is(err, errTooDeep) {
		return err
	}
	return fmt.Errorf(format+": %w", append(args, err)...)
}

func newScope(outer *scope) (*scope, error) {
	s := &scope{names: map[string]*ir.Value{}, outer: outer}
	if outer != nil {
		s.depth = outer.depth + 1
	}
	if s.depth > maxDepth {
		return nil, errTooDeep
	}
	return s, nil
}

// define makes a value called name in g.
func (s *scope) define(g *ir.Graph, name, what string) (*ir.Value, error) {
	if name == "" {
		return nil, fmt.Errorf("%s without a name", what)
	}
	if s.names[name] != nil {
		return nil, fmt.Errorf("%s %q: the name is defined twice", what, name)
	}
	v := g.NewValue(name, nil)
	s.names[name] = v
	return v, nil
}

// graph decodes a graph from its parts (protobuf merges a message that comes
// in several).
func (d *decoder) graph(parts []span, outer *scope, parent *ir.Node) (*ir.Graph, error) {
	s, err := newScope(outer)
	if err != nil {
		return nil, err
	}
	head := &onnxpb.GraphProto{}
	var nodes, inits, sparse []span
	for _, p := range parts {
		part := &onnxpb.GraphProto{}
		err := d.split(p, part, func(f field) (bool, error) {
			switch f.num {
			case 1:
				nodes = append(nodes, f.body)
			case 5:
				inits = append(inits, f.body)
			case 15:
				sparse = append(sparse, f.body)
			default:
				return false, nil
			}
			return true, nil
		})
		if err != nil {
			return nil, fmt.Errorf("graph: %w", err)
		}
		proto.Merge(head, part)
	}
	g := ir.NewGraph(head.GetName())
	g.SetParent(parent)
	g.Doc, g.Metadata = head.GetDocString(), decodeMetadata(head.MetadataProps)
	steps := []func() error{
		func() error { return d.inputs(g, s, head.Input) },
		func() error { return d.initializers(g, s, inits) },
		func() error { return d.sparse(g, s, sparse) },
		func() error { return d.nodes(g, s, nodes) },
		func() error { return d.outputs(g, s, head.Output) },
		func() error { return d.annotations(g, s, head.ValueInfo) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return nil, err
		}
	}
	head.Input, head.Output, head.ValueInfo, head.MetadataProps = nil, nil, nil, nil
	g.Extra = &graphExtra{head}
	return g, nil
}

func (d *decoder) inputs(g *ir.Graph, s *scope, list []*onnxpb.ValueInfoProto) error {
	for _, p := range list {
		v, err := s.define(g, p.GetName(), "graph input")
		if err != nil {
			return err
		}
		x, err := declare(v, p)
		if err != nil {
			return err
		}
		x.in = append(x.in, p)
		g.Inputs = append(g.Inputs, v)
	}
	return nil
}

// declare gives v the type that p declares, unless an earlier entry did.
func declare(v *ir.Value, p *onnxpb.ValueInfoProto) (*valueExtra, error) {
	x := extraOf(v)
	if len(x.in)+len(x.out)+len(x.ann) > 0 && x.typ != nil {
		return x, nil
	}
	t, err := decodeType(p.GetType(), 0)
	if err != nil {
		return nil, fmt.Errorf("value %q: %w", p.GetName(), err)
	}
	x.typ = t
	x.doc, x.meta = p.GetDocString(), decodeMetadata(p.MetadataProps)
	v.Type, v.Doc = x.typ, x.doc
	v.Metadata = append(ir.Metadata(nil), x.meta...)
	return x, nil
}

// extraOf is v's valueExtra, made where it has none. Only Load calls it.
func extraOf(v *ir.Value) *valueExtra {
	x, _ := v.Extra.(*valueExtra)
	if x == nil {
		x = &valueExtra{}
		v.Extra = x
	}
	return x
}

func (d *decoder) initializers(g *ir.Graph, s *scope, list []span) error {
	for _, sp := range list {
		t, err := d.decodeTensor(sp, d.files)
		if err != nil {
			return fmt.Errorf("initializer: %w", err)
		}
		v, err := initializer(g, s, t.head.GetName())
		if err != nil {
			return err
		}
		v.Data = t
		x := extraOf(v)
		x.tensor, x.ext = t.head, t.ext
	}
	return nil
}

// initializer is the value that a constant called name gives its data: an
// input, or one of its own.
func initializer(g *ir.Graph, s *scope, name string) (*ir.Value, error) {
	v := s.names[name]
	if v == nil || v.Data != nil {
		var err error
		if v, err = s.define(g, name, "initializer"); err != nil {
			return nil, err
		}
	}
	g.Initializers = append(g.Initializers, v)
	return v, nil
}

// nodes makes all nodes with their outputs, then reads their inputs and
// attributes: a graph that is not sorted, or has a cycle, is read too, for
// Verify to say what is wrong with it.
func (d *decoder) nodes(g *ir.Graph, s *scope, list []span) error {
	heads := make([]*onnxpb.NodeProto, len(list))
	attrs := make([][]span, len(list))
	all := make([]*ir.Node, len(list))
	for i, sp := range list {
		h := &onnxpb.NodeProto{}
		err := d.split(sp, h, func(f field) (bool, error) {
			if f.num != 5 {
				return false, nil
			}
			attrs[i] = append(attrs[i], f.body)
			return true, nil
		})
		if err != nil {
			return fmt.Errorf("node %d: %w", i, err)
		}
		n, err := newNode(g, s, h)
		if err != nil {
			return fmt.Errorf("node %d: %w", i, err)
		}
		heads[i], all[i] = h, n
	}
	for i, n := range all {
		if err := d.connect(n, s, heads[i].Input, attrs[i]); err != nil {
			return within(err, "%v", n)
		}
		h := heads[i]
		h.Input, h.Output, h.MetadataProps = nil, nil, nil
		n.Extra = &nodeExtra{h}
	}
	return nil
}

func newNode(g *ir.Graph, s *scope, h *onnxpb.NodeProto) (*ir.Node, error) {
	if h.GetOpType() == "" {
		return nil, fmt.Errorf("%q has no operator", h.GetName())
	}
	n := &ir.Node{
		Name: h.GetName(), OpType: h.GetOpType(), Domain: h.GetDomain(), Overload: h.GetOverload(),
		Doc: h.GetDocString(), Metadata: decodeMetadata(h.MetadataProps),
	}
	for i, name := range h.Output {
		if name == "" {
			n.SetOutput(i, nil)
			continue
		}
		v, err := s.define(g, name, "output")
		if err != nil {
			return nil, within(err, "%v", n)
		}
		n.SetOutput(i, v)
	}
	g.Append(n)
	return n, nil
}

func (d *decoder) connect(n *ir.Node, s *scope, inputs []string, attrs []span) error {
	for i, name := range inputs {
		var v *ir.Value
		if name != "" {
			if v = s.find(name); v == nil {
				return fmt.Errorf("input %q is not defined", name)
			}
		}
		n.SetInput(i, v)
	}
	for _, sp := range attrs {
		a, err := d.attr(sp, s, n)
		if err != nil {
			return err
		}
		n.Attrs = append(n.Attrs, a)
	}
	return nil
}

func (d *decoder) outputs(g *ir.Graph, s *scope, list []*onnxpb.ValueInfoProto) error {
	for _, p := range list {
		v := s.find(p.GetName())
		if v == nil {
			return fmt.Errorf("graph output %q is not defined", p.GetName())
		}
		x, err := declare(v, p)
		if err != nil {
			return err
		}
		x.out = append(x.out, p)
		g.Outputs = append(g.Outputs, v)
	}
	return nil
}

// annotations reads value_info. Entries for values that the graph does not
// have, which optimizers leave behind, become values that nothing uses.
func (d *decoder) annotations(g *ir.Graph, s *scope, list []*onnxpb.ValueInfoProto) error {
	for _, p := range list {
		v := s.names[p.GetName()]
		if v == nil {
			v = g.NewValue(p.GetName(), nil)
		}
		x, err := declare(v, p)
		if err != nil {
			return err
		}
		x.ann = append(x.ann, p)
		g.Annotated = append(g.Annotated, v)
	}
	return nil
}

func (d *decoder) function(sp span) (*ir.Function, error) {
	h := &onnxpb.FunctionProto{}
	var nodes, attrs []span
	err := d.split(sp, h, func(f field) (bool, error) {
		switch f.num {
		case 7:
			nodes = append(nodes, f.body)
		case 11:
			attrs = append(attrs, f.body)
		default:
			return false, nil
		}
		return true, nil
	})
	if err != nil {
		return nil, fmt.Errorf("function: %w", err)
	}
	f := &ir.Function{
		Domain: h.GetDomain(), Name: h.GetName(), Overload: h.GetOverload(), Doc: h.GetDocString(),
		Opsets: decodeOpsets(h.OpsetImport), Attrs: h.Attribute, Metadata: decodeMetadata(h.MetadataProps),
		Body: ir.NewGraph(h.GetName()),
	}
	if err := d.body(f, h, nodes, attrs); err != nil {
		return nil, fmt.Errorf("function %q: %w", f.Name, err)
	}
	h.Input, h.Output, h.OpsetImport, h.Attribute, h.MetadataProps, h.ValueInfo = nil, nil, nil, nil, nil, nil
	f.Extra = &functionExtra{h}
	return f, nil
}

func (d *decoder) body(f *ir.Function, h *onnxpb.FunctionProto, nodes, attrs []span) error {
	s, err := newScope(nil)
	if err != nil {
		return err
	}
	for _, name := range h.Input {
		v, err := s.define(f.Body, name, "input")
		if err != nil {
			return err
		}
		f.Body.Inputs = append(f.Body.Inputs, v)
	}
	if err := d.nodes(f.Body, s, nodes); err != nil {
		return err
	}
	for _, name := range h.Output {
		v := s.find(name)
		if v == nil {
			return fmt.Errorf("output %q is not defined", name)
		}
		f.Body.Outputs = append(f.Body.Outputs, v)
	}
	for _, sp := range attrs {
		a, err := d.attr(sp, s, nil)
		if err != nil {
			return err
		}
		f.Defaults = append(f.Defaults, a)
	}
	return d.annotations(f.Body, s, h.ValueInfo)
}

var errTooBig = fmt.Errorf("a message of protobuf is at most %d bytes", math.MaxInt32)
