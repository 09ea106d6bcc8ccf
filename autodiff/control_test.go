package autodiff_test

import (
	"math"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bonnx/bonnx/autodiff"
	"github.com/bonnx/bonnx/fuse"
	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/internal/testutil/opcheck"
	"github.com/bonnx/bonnx/internal/testutil/ort"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/onnx"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

// sketch builds float64 models with sub-graphs.
type sketch struct {
	*ir.Builder
	model *ir.Model
	feeds map[string]*tensor.Tensor
}

func newSketch() *sketch {
	g := ir.NewGraph("sketch")
	m := &ir.Model{IRVersion: 8, Graph: g, Opsets: []ir.Opset{{Version: 18}}}
	return &sketch{ir.NewBuilder(g, ir.NewNames(m)), m, map[string]*tensor.Tensor{}}
}

func (s *sketch) input(name string, t *tensor.Tensor) *ir.Value {
	s.feeds[name] = t
	typ := &ir.TensorType{Elem: t.DType(), Ranked: true}
	for _, n := range t.Shape() {
		typ.Dims = append(typ.Dims, ir.Fixed(int64(n)))
	}
	return s.Graph.AddInput(name, typ)
}

func (s *sketch) output(v *ir.Value) {
	v.Type = &ir.TensorType{Elem: tensor.Float64}
	s.Graph.Outputs = append(s.Graph.Outputs, v)
}

// body makes a sub-graph.
func (s *sketch) body(name string, make func(b *ir.Builder, g *ir.Graph)) ir.GraphAttr {
	g := ir.NewGraph(name)
	b := ir.NewBuilder(g, s.Names())
	b.Prefix = name + "/"
	make(b, g)
	return ir.GraphAttr{Graph: g}
}

func random(seed uint64, shape ...int) *tensor.Tensor { return opcheck.Random(seed, -1, 1, shape...) }

// weighted is sum over all outputs y of y*w, w being numbers that differ.
func weighted(b *ops.Builder, outs []*ir.Value) *ir.Value {
	var loss *ir.Value
	for _, y := range outs {
		part := b.Op("ReduceSum", ir.In(b.Mul(y, b.Op("Sin", ir.In(y)))), ir.A("keepdims", ir.Int(0)))
		if loss != nil {
			part = b.Add(loss, part)
		}
		loss = part
	}
	return loss
}

// differentiate is the canonical model with its loss and the gradients of all
// float inputs, spelled out where lower is set.
func (s *sketch) differentiate(lower bool) (*ir.Model, error) {
	m, err := ops.Canonical(s.model)
	if err != nil {
		return nil, err
	}
	m.SetOpset(ops.Domain, 1)
	an, err := ops.Standard().Analyze(m, ops.AnalyzeOptions{})
	if err != nil {
		return nil, err
	}
	b := ops.NewBuilder(an, m.Graph, ir.NewNames(m))
	loss := weighted(b, m.Graph.Outputs)
	var params []*ir.Value
	for _, v := range m.Graph.Inputs {
		if an.Fact(v).DType.IsFloat() {
			params = append(params, v)
		}
	}
	grads, err := autodiff.Gradient(b, loss, params)
	if err != nil {
		return nil, err
	}
	m.Graph.Outputs = append([]*ir.Value{loss}, grads...)
	for _, v := range m.Graph.Outputs {
		v.Type = b.Fact(v).Type()
	}
	if lower {
		if err := fuse.Lower(m, ops.Standard()); err != nil {
			return nil, err
		}
		if m.Opset(ops.Domain) != 0 {
			return nil, ops.ErrDataDependent
		}
	}
	return m, ir.Verify(m)
}

func (s *sketch) run(m *ir.Model) ([]*tensor.Tensor, error) {
	feeds := map[*ir.Value]*tensor.Tensor{}
	for _, v := range m.Graph.Inputs {
		feeds[v] = s.feeds[v.Name]
	}
	return opcheck.Run(ops.Standard(), m, feeds, m.Graph.Outputs)
}

// inORT compares the lowered gradients with what ONNX Runtime makes of them.
func (s *sketch) inORT(t *testing.T) {
	t.Helper()
	m, err := s.differentiate(true)
	if err != nil {
		t.Fatal(err)
	}
	want, err := s.run(m)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "gradients.onnx")
	if err := onnx.Save(path, m, onnx.SaveOptions{}); err != nil {
		t.Fatal(err)
	}
	got := ort.Run(t, path, s.feeds)
	for i, v := range m.Graph.Outputs {
		testutil.Close(t, v.Name, got[v.Name], want[i], 1e-12, 1e-12)
	}
}

// TestORTControlGradients has ONNX Runtime compute gradients through branches
// and iterations.
func TestORTControlGradients(t *testing.T) {
	ort.Available(t)
	for name, s := range map[string]*sketch{
		"if": ifSketch(true), "else": ifSketch(false), "nested": nestedSketch(true), "loop": loopSketch(3, -1), "scan": scanSketch(),
	} {
		t.Run(name, s.inORT)
	}
}

// check compares the gradients with finite differences.
func (s *sketch) check(t *testing.T) {
	t.Helper()
	for _, lower := range []bool{false, true} {
		m, err := s.differentiate(lower)
		if err != nil {
			t.Fatalf("lowered %v: %v", lower, err)
		}
		got, err := s.run(m)
		if err != nil {
			t.Fatalf("lowered %v: %v", lower, err)
		}
		i := 1
		for _, v := range m.Graph.Inputs {
			x := s.feeds[v.Name]
			if x.DType() != tensor.Float64 {
				continue
			}
			g := tensor.Data[float64](got[i])
			for k := range tensor.Data[float64](x) {
				if want := s.slope(t, m, x, k); math.Abs(g[k]-want) > 1e-6*(1+math.Abs(want)) {
					t.Errorf("lowered %v: gradient of %q, element %d: got %.9g, finite differences give %.9g", lower, v.Name, k, g[k], want)
				}
			}
			i++
		}
	}
}

// slope is by how much the loss changes with element k of x.
func (s *sketch) slope(t *testing.T, m *ir.Model, x *tensor.Tensor, k int) float64 {
	t.Helper()
	const h = 1e-5
	d, at := tensor.Data[float64](x), 0.0
	at = d[k]
	defer func() { d[k] = at }()
	var loss [2]float64
	for i, step := range []float64{h, -h} {
		d[k] = at + step
		out, err := s.run(m)
		if err != nil {
			t.Fatal(err)
		}
		loss[i] = tensor.Data[float64](out[0])[0]
	}
	return (loss[0] - loss[1]) / (2 * h)
}

// An If takes a branch that a value decides; both read from around, one reads
// more, and one gives on what it reads.
func TestIfGradient(t *testing.T) {
	for _, cond := range []bool{true, false} {
		ifSketch(cond).check(t)
	}
}

func ifSketch(cond bool) *sketch {
	s := newSketch()
	x, w, c := s.input("x", random(1, 2, 3)), s.input("w", random(2, 3, 2)), s.input("c", tensor.Scalar(cond))
	h := s.Op("Tanh", ir.In(x))
	then := s.body("then", func(b *ir.Builder, g *ir.Graph) {
		p := b.Op("MatMul", ir.In(h, w))
		g.Outputs = []*ir.Value{b.Op("Softmax", ir.In(p)), b.Op("Slice", ir.In(h, b.Ints(0), b.Ints(1), b.Ints(0)))}
	})
	otherwise := s.body("else", func(b *ir.Builder, g *ir.Graph) {
		p := b.Op("ReduceSum", ir.In(x, b.Ints(1)))
		g.Outputs = []*ir.Value{b.Op("Concat", ir.In(p, p), ir.A("axis", ir.Int(1))), b.Op("Gather", ir.In(h, b.Ints(1)))}
	})
	for _, y := range s.Node("", "If", ir.In(c), 2, ir.A("then_branch", then), ir.A("else_branch", otherwise)) {
		s.output(y)
	}
	return s
}

// A branch inside of a branch.
func TestNestedIfGradient(t *testing.T) {
	for _, inner := range []bool{true, false} {
		nestedSketch(inner).check(t)
	}
}

func nestedSketch(inner bool) *sketch {
	s := newSketch()
	x, c := s.input("x", random(1, 4)), s.input("c", tensor.Scalar(true))
	d := s.input("d", tensor.Scalar(inner))
	same := func(name, op string) ir.GraphAttr {
		return s.body(name, func(b *ir.Builder, g *ir.Graph) { g.Outputs = []*ir.Value{b.Op(op, ir.In(x))} })
	}
	then := s.body("then", func(b *ir.Builder, g *ir.Graph) {
		y := b.Op("If", ir.In(d), ir.A("then_branch", same("a", "Sin")), ir.A("else_branch", same("b", "Exp")))
		g.Outputs = []*ir.Value{b.Op("Mul", ir.In(y, x))}
	})
	s.output(s.Op("If", ir.In(c), ir.A("then_branch", then), ir.A("else_branch", same("e", "Neg"))))
	return s
}

// A Loop of a known number of iterations, whose body reads a weight from
// around, ends early where its condition says so, and stacks its states.
func TestLoopGradient(t *testing.T) {
	loopSketch(3, -1).check(t)
	loopSketch(5, 1).check(t)
}

// loopSketch goes on after the iteration stop no more, unless that is -1.
func loopSketch(trips, stop int64) *sketch {
	s := newSketch()
	x, w := s.input("x", random(1, 2, 3)), s.input("w", random(2, 3, 3))
	body := s.body("body", func(b *ir.Builder, g *ir.Graph) {
		i := g.AddInput("i", ir.Tensor(tensor.Int64))
		on := g.AddInput("on", ir.Tensor(tensor.Bool))
		h := g.AddInput("h", ir.Tensor(tensor.Float64, ir.Fixed(2), ir.Fixed(3)))
		next := b.Op("Tanh", ir.In(b.Op("Add", ir.In(b.Op("MatMul", ir.In(h, w)), x))))
		goOn := b.Op("Identity", ir.In(on))
		if stop >= 0 {
			goOn = b.Op("Less", ir.In(i, b.Const("stop", tensor.Scalar(stop))))
		}
		g.Outputs = []*ir.Value{goOn, next, b.Op("Mul", ir.In(next, next))}
	})
	for _, y := range s.Node("", "Loop", ir.In(s.Const("trips", tensor.Scalar(trips)), nil, x), 2, ir.A("body", body)) {
		s.output(y)
	}
	return s
}

// A Scan from both ends, along axes that are not the first.
func TestScanGradient(t *testing.T) { scanSketch().check(t) }

func scanSketch() *sketch {
	s := newSketch()
	x, w, h0 := s.input("x", random(1, 2, 4, 3)), s.input("w", random(2, 3, 3)), s.input("h0", random(3, 2, 3))
	for _, backward := range []int64{0, 1} {
		body := s.body("body", func(b *ir.Builder, g *ir.Graph) {
			h := g.AddInput("state"+string(rune('0'+backward)), ir.Tensor(tensor.Float64, ir.Fixed(2), ir.Fixed(3)))
			e := g.AddInput("entry"+string(rune('0'+backward)), ir.Tensor(tensor.Float64, ir.Fixed(2), ir.Fixed(3)))
			next := b.Op("Tanh", ir.In(b.Op("Add", ir.In(b.Op("MatMul", ir.In(h, w)), e))))
			g.Outputs = []*ir.Value{next, b.Op("Exp", ir.In(next))}
		})
		for _, y := range s.Node("", "Scan", ir.In(h0, x), 2, ir.A("body", body), ir.A("num_scan_inputs", ir.Int(1)),
			ir.A("scan_input_axes", ir.Ints{1}), ir.A("scan_input_directions", ir.Ints{backward}),
			ir.A("scan_output_axes", ir.Ints{-1}), ir.A("scan_output_directions", ir.Ints{backward})) {
			s.output(y)
		}
	}
	return s
}

// A Loop that data ends has no gradient, and the error says why.
func TestLoopGradientRefused(t *testing.T) {
	s := newSketch()
	x, trips := s.input("x", random(1, 2)), s.input("trips", tensor.Scalar(int64(2)))
	body := s.body("body", func(b *ir.Builder, g *ir.Graph) {
		g.AddInput("i", ir.Tensor(tensor.Int64))
		on := g.AddInput("on", ir.Tensor(tensor.Bool))
		h := g.AddInput("h", ir.Tensor(tensor.Float64, ir.Fixed(2)))
		g.Outputs = []*ir.Value{b.Op("Identity", ir.In(on)), b.Op("Sin", ir.In(h))}
	})
	s.output(s.Op("Loop", ir.In(trips, nil, x), ir.A("body", body)))
	if _, err := s.differentiate(false); err == nil || !strings.Contains(err.Error(), "Loop") || !strings.Contains(err.Error(), "iterations") {
		t.Errorf("got %v", err)
	}
}
