package testmodel_test

import (
	"context"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bonnx/bonnx/adapter"
	"github.com/bonnx/bonnx/autodiff"
	"github.com/bonnx/bonnx/fuse"
	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/internal/testutil/ort"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/onnx"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/rewrite"
	"github.com/bonnx/bonnx/runtime"
	"github.com/bonnx/bonnx/tensor"
)

// The gradients of adapters on all layers, the head's too, of the mean square
// of a family's first output: bonnx's are those of the lowered graph in ONNX
// Runtime, and agree with the slope of the forward pass there.
func TestORTFamilyGradients(t *testing.T) {
	ort.Available(t)
	for _, f := range open() {
		t.Run(f.name, func(t *testing.T) {
			m := build(t, f)
			everywhere(t, m)
			want, blocks := sameGradients(t, m, f.feeds[0])
			slope := 0.0
			for _, name := range blocks {
				g := want[name+".grad"]
				slope += dot(direction(g.Shape()), tensor.Data[float32](g))
			}
			const step = 1e-2
			rise := (meanSquare(t, moved(t, m, blocks, step), f.feeds[0]) - meanSquare(t, moved(t, m, blocks, -step), f.feeds[0])) / (2 * step)
			if math.Abs(rise-slope) > 0.02*math.Abs(slope)+1e-4 {
				t.Errorf("the loss rises by %g, the gradients say %g", rise, slope)
			}
		})
	}
}

// everywhere puts random adapters on all layers, the head included.
func everywhere(t *testing.T, m *ir.Model) {
	t.Helper()
	cfg := adapter.Config{Method: adapter.Bone, Rank: 4, Init: adapter.InitRandom, Seed: 5,
		Selection: adapter.Selection{Targets: adapter.Modules{Regex: ".*"}}}
	if _, err := rewrite.Inject(m, cfg, rewrite.Options{SkipUnfit: true}); err != nil {
		t.Fatal(err)
	}
}

// sameGradients holds bonnx's gradients to those of ONNX Runtime and returns
// the latter, with the blocks' names.
func sameGradients(t *testing.T, m *ir.Model, f feed) (map[string]*tensor.Tensor, []string) {
	t.Helper()
	backward, blocks := gradientGraph(t, m)
	got := runPrepared(t, backward, f)
	lowered := backward.Clone()
	if err := fuse.Lower(lowered, ops.Standard()); err != nil {
		t.Fatal(err)
	}
	want := inORT(t, lowered, f)
	for _, name := range blocks {
		g := want[name+".grad"]
		testutil.Close(t, name, got[name+".grad"], g, 1e-4*largest(g)+1e-6, 1e-3)
	}
	testutil.Close(t, "loss", got["loss"], want["loss"], 1e-5, 1e-4)
	return want, blocks
}

// gradientGraph is m with the loss and the gradients of its blocks, called
// BLOCK.grad, as its outputs.
func gradientGraph(t *testing.T, m *ir.Model) (*ir.Model, []string) {
	t.Helper()
	c, err := ops.Canonical(m)
	if err != nil {
		t.Fatal(err)
	}
	c.SetOpset(ops.Domain, 1)
	var params []*ir.Value
	var blocks []string
	for _, v := range c.Graph.Initializers {
		if strings.HasSuffix(v.Name, ".bone_block") {
			params, blocks = append(params, v), append(blocks, v.Name)
		}
	}
	if len(params) == 0 {
		t.Fatal("no blocks")
	}
	set, isBlock := ops.Standard(), func(v *ir.Value) bool { return strings.HasSuffix(v.Name, ".bone_block") }
	if err := fuse.Raise(c, set, fuse.Options{Mutable: isBlock}); err != nil {
		t.Fatal(err)
	}
	an, err := set.Analyze(c, ops.AnalyzeOptions{Mutable: isBlock})
	if err != nil {
		t.Fatal(err)
	}
	b := ops.NewBuilder(an, c.Graph, ir.NewNames(c))
	y := c.Graph.Outputs[0]
	loss := b.Op("ReduceMean", ir.In(b.Mul(y, y)), ir.A("keepdims", ir.Int(0)))
	grads, err := autodiff.Gradient(b, loss, params)
	if err != nil {
		t.Fatal(err)
	}
	loss.Name = "loss"
	c.Graph.Outputs = []*ir.Value{loss}
	for i, g := range grads {
		if g == nil {
			t.Fatalf("%s does not reach the loss", blocks[i])
		}
		g.Name = blocks[i] + ".grad"
		c.Graph.Outputs = append(c.Graph.Outputs, g)
	}
	for _, v := range c.Graph.Outputs {
		v.Type = an.Fact(v).Type()
	}
	c.Graph.Prune(true, nil)
	c.Metadata = nil
	return c, blocks
}

func runPrepared(t *testing.T, m *ir.Model, f feed) map[string]*tensor.Tensor {
	t.Helper()
	p, err := runtime.Compile(m.Clone(), runtime.Options{Prepared: true, Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	s, err := p.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	feeds := feed{}
	for _, v := range m.Graph.Inputs {
		if f[v.Name] != nil {
			feeds[v.Name] = f[v.Name]
		}
	}
	outs, err := s.Run(context.Background(), feeds)
	if err != nil {
		t.Fatal(err)
	}
	named := map[string]*tensor.Tensor{}
	for i, o := range p.Outputs() {
		named[o.Name] = outs[i].Clone()
	}
	return named
}

// moved is m with all blocks moved along direction.
func moved(t *testing.T, m *ir.Model, blocks []string, by float32) *ir.Model {
	t.Helper()
	c := m.Clone()
	index := c.Graph.Index()
	for _, name := range blocks {
		x, err := index[name].Data.Tensor()
		if err != nil {
			t.Fatal(err)
		}
		x = x.Clone()
		for i, d := range direction(x.Shape()) {
			tensor.Data[float32](x)[i] += by * d
		}
		index[name].Data = ir.Dense(x)
	}
	return c
}

// direction is a fixed random one, of length one over all of a tensor.
func direction(shape tensor.Shape) []float32 {
	d := tensor.Data[float32](testutil.Random(9, shape...))
	n := float32(math.Sqrt(dot(d, d)))
	for i := range d {
		d[i] /= n
	}
	return d
}

func dot(a, b []float32) float64 {
	s := 0.0
	for i := range a {
		s += float64(a[i]) * float64(b[i])
	}
	return s
}

func largest(x *tensor.Tensor) float64 {
	m := 0.0
	for _, v := range tensor.Data[float32](x) {
		m = max(m, math.Abs(float64(v)))
	}
	return m
}

// meanSquare is the loss by ONNX Runtime's forward pass.
func meanSquare(t *testing.T, m *ir.Model, f feed) float64 {
	t.Helper()
	path := filepath.Join(t.TempDir(), "model.onnx")
	if err := onnx.Save(path, m, onnx.SaveOptions{}); err != nil {
		t.Fatal(err)
	}
	y := tensor.Data[float32](ort.Run(t, path, f)[m.Graph.Outputs[0].Name])
	return dot(y, y) / float64(len(y))
}
