package train

import (
	"context"
	"math"
	"testing"

	"github.com/bonnx/bonnx/adapter"
	"github.com/bonnx/bonnx/internal/testmodel"
	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/onnx"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/rewrite"
	"github.com/bonnx/bonnx/tensor"
)

// each visits the types and tensors of a model.
func each(m *ir.Model, visit func(d tensor.DType) tensor.DType, data func(d ir.Data) ir.Data) {
	m.Graphs(func(g *ir.Graph) bool {
		retype := func(v *ir.Value) {
			if t := v.TensorType(); t != nil {
				c := *t
				c.Elem = visit(t.Elem)
				v.Type = &c
			}
		}
		for _, list := range [][]*ir.Value{g.Inputs, g.Outputs, g.Annotated, g.Initializers} {
			for _, v := range list {
				retype(v)
			}
		}
		for _, v := range g.Initializers {
			v.Data = data(v.Data)
		}
		for n := range g.Nodes() {
			for _, a := range n.Attrs {
				switch x := a.Value.(type) {
				case ir.TensorAttr:
					a.Value = ir.TensorAttr{Data: data(x.Data)}
				case ir.Int:
					if n.Is("Cast") {
						a.Value = ir.Int(visit(tensor.DType(x)))
					}
				}
			}
		}
		return true
	})
}

// converted is m with everything of type from in type to.
func converted(t *testing.T, m *ir.Model, from, to tensor.DType) *ir.Model {
	t.Helper()
	each(m, func(d tensor.DType) tensor.DType {
		if d == from {
			return to
		}
		return d
	}, func(d ir.Data) ir.Data {
		if d.DType() != from {
			return d
		}
		x, err := d.Tensor()
		if err == nil {
			x, err = x.Cast(to)
		}
		if err != nil {
			t.Fatal(err)
		}
		return ir.Dense(x)
	})
	return m
}

// half is a model as converters to float16 write it.
func half(t *testing.T, model func() (*ir.Model, error)) *ir.Model {
	t.Helper()
	m, err := model()
	if err == nil {
		m, err = testmodel.Half(m)
	}
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// trainedLosses injects, trains a few steps and returns the losses.
func trainedLosses(t *testing.T, m *ir.Model, arrays map[string]*tensor.Tensor) []float64 {
	t.Helper()
	cfg := adapter.DefaultConfig()
	cfg.Rank = 4
	if _, err := rewrite.Inject(m, cfg, rewrite.Options{}); err != nil {
		t.Fatal(err)
	}
	adapters, err := rewrite.Adapters(m)
	if err != nil {
		t.Fatal(err)
	}
	d, err := FromTensors(arrays, Spec{Inputs: fedPorts(m), Detect: func(held map[string]ops.Fact) (Task, error) {
		task, _, err := DetectTask(m, ops.Standard(), LossConfig{}, held)
		return task, err
	}})
	if err != nil {
		t.Fatal(err)
	}
	s, err := Run(context.Background(), m, ops.Standard(), Samples(d), nil, Config{Params: adapters[0].BlockNames(), Epochs: 4, BatchSize: 2, LR: 5e-3, Threads: 1, Watcher: &recorder{}}, Identity{})
	if err != nil {
		t.Fatal(err)
	}
	if err := rewrite.SetBlocks(m, s.Trained); err != nil {
		t.Fatal(err)
	}
	return []float64{s.LossFirst, s.LossLast}
}

// TestSixteenBits: a model of 16 bits trains as the one of float32 with the same
// weights does, step for step; its weights stay as they are stored, and so do
// merged ones.
func TestSixteenBits(t *testing.T) {
	windows := map[string]*tensor.Tensor{"input_ids": testutil.RandomInts(1, 0, 40, 6, 9)}
	classes := map[string]*tensor.Tensor{"input_ids": testutil.RandomInts(2, 0, 50, 6, 8), LabelsInput: testutil.RandomInts(3, 0, 3, 6)}
	for _, c := range []struct {
		name   string
		model  func() (*ir.Model, error)
		arrays map[string]*tensor.Tensor
	}{
		{"decoder", testmodel.SmallDecoder.Model, windows},
		{"classifier", testmodel.SmallEncoder.Model, classes},
		{"GenAI", testmodel.SmallGenAI.Model, windows},
	} {
		for _, d := range []tensor.DType{tensor.Float16, tensor.BFloat16} {
			t.Run(c.name+" "+d.String(), func(t *testing.T) {
				m := converted(t, half(t, c.model), tensor.Float16, d)
				wide := converted(t, m.Clone(), d, tensor.Float32)
				got, want := trainedLosses(t, m, c.arrays), trainedLosses(t, wide, c.arrays)
				for i := range got {
					if math.Abs(got[i]-want[i]) > 1e-6*math.Abs(want[i]) {
						t.Errorf("losses %v, want %v", got, want)
					}
				}
				if !(got[1] < got[0]) {
					t.Errorf("losses %v", got)
				}
				if _, err := rewrite.Merge(m); err != nil {
					t.Fatal(err)
				}
				for _, v := range m.Graph.Initializers {
					if v.Data.DType() == tensor.Float32 {
						t.Errorf("%q is %v after merging", v.Name, v.Data.DType())
					}
				}
			})
		}
	}
}

// TestRealSixteenBits trains a model that ONNX Runtime's own tool wrote, and
// exports a step that keeps its weights as they are stored.
func TestRealSixteenBits(t *testing.T) {
	m, err := onnx.Load(testutil.Shared(t, "models/structure/genai_tiny_gpt2_fp16.onnx"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = onnx.Close(m) }()
	stored := func(m *ir.Model) (n int) {
		for _, v := range m.Graph.Initializers {
			if v.Data.DType() == tensor.Float16 {
				n += v.Data.Shape().Size()
			}
		}
		return n
	}
	weights := stored(m)
	got := trainedLosses(t, m, map[string]*tensor.Tensor{"input_ids": testutil.RandomInts(1, 0, 900, 8, 9)})
	if math.Abs(got[0]-math.Log(1000)) > 0.2 || !(got[1] < got[0]) {
		t.Errorf("losses %v, the first should be about ln 1000", got)
	}
	if stored(m) != weights {
		t.Errorf("%d weights in float16, had %d", stored(m), weights)
	}
	adapters, err := rewrite.Adapters(m)
	if err != nil {
		t.Fatal(err)
	}
	step, err := ExportStep(m, ops.Standard(), adapters[0].BlockNames(), LossConfig{Task: CausalLM}, OptimConfig{Optimizer: "adamw"}, 0, true)
	if err != nil {
		t.Fatal(err)
	}
	if n := stored(step); n < weights*9/10 {
		t.Errorf("the exported step has %d weights in float16, want about %d", n, weights)
	}
}
