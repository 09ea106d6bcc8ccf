package runtime_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/bonnx/bonnx/internal/testmodel"
	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/internal/testutil/nodetest"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/runtime"
	"github.com/bonnx/bonnx/tensor"
)

// allocations is how often a run allocates that is like the one before.
func allocations(t testing.TB, s *runtime.Session, feeds map[string]*tensor.Tensor) float64 {
	t.Helper()
	run := func() {
		if _, err := s.Run(context.Background(), feeds); err != nil {
			t.Fatal(err)
		}
	}
	run()
	return testing.AllocsPerRun(3, run)
}

// TestSteadyRunAllocatesNothing: a forward pass with the shapes of the last.
func TestSteadyRunAllocatesNothing(t *testing.T) {
	ids := testutil.RandomInts(1, 0, 40, 3, 9)
	large := testmodel.Llama{Vocab: 300, Dim: 64, Heads: 4, Hidden: 176, Layers: 2, Context: 64}
	type tensors = map[string]*tensor.Tensor
	for _, c := range []struct {
		name  string
		model func() (*ir.Model, error)
		feeds tensors
	}{
		{"llama", testmodel.Tiny.Model, tensors{"input_ids": ids}},
		{"llama, a token", testmodel.Tiny.Model, tensors{"input_ids": tensor.New(tensor.Int64, 1, 1)}},
		{"llama, loops that are cut", large.Model, tensors{"input_ids": testutil.RandomInts(1, 0, 300, 2, 64)}},
		{"llama of 16 bits", changed(large.Model, testmodel.Half), tensors{"input_ids": ids}},
		{"llama of 4 bits", changed(large.Model, quantized(testmodel.BlockInt4)), tensors{"input_ids": ids}},
		{"llama of 8 bits, dynamic", changed(large.Model, quantized(testmodel.DynamicInt8)), tensors{"input_ids": ids}},
		{"bert", testmodel.SmallEncoder.Model, tensors{"input_ids": ids, "attention_mask": testutil.RandomInts(2, 1, 2, 3, 9), "token_type_ids": tensor.New(tensor.Int64, 3, 9)}},
		{"vit", testmodel.SmallViT.Model, tensors{"pixel_values": testutil.Random(3, 2, 3, 8, 8)}},
		{"unet", testmodel.SmallUNet.Model, tensors{"sample": testutil.Random(4, 2, 4, 8, 8), "timestep": testutil.Random(5, 1), "encoder_hidden_states": testutil.Random(6, 2, 5, 12)}},
		{"clip", testmodel.SmallCLIP.Model, tensors{"input_ids": ids}},
	} {
		m, err := c.model()
		if err != nil {
			t.Fatal(err)
		}
		for _, threads := range []int{1, 2} {
			t.Run(fmt.Sprintf("%s, %d threads", c.name, threads), func(t *testing.T) {
				p, err := runtime.Compile(m, runtime.Options{Threads: threads})
				if err != nil {
					t.Fatal(err)
				}
				defer p.Close()
				s, err := p.NewSession()
				if err != nil {
					t.Fatal(err)
				}
				if got := allocations(t, s, c.feeds); got != 0 {
					t.Errorf("%v allocations a run, want 0", got)
				}
			})
		}
	}
}

func changed(model func() (*ir.Model, error), by func(*ir.Model) (*ir.Model, error)) func() (*ir.Model, error) {
	return func() (*ir.Model, error) {
		m, err := model()
		if err != nil {
			return nil, err
		}
		return by(m)
	}
}

func quantized(how testmodel.Quantization) func(*ir.Model) (*ir.Model, error) {
	return func(m *ir.Model) (*ir.Model, error) { return testmodel.Quantize(m, how) }
}

// TestShapesThatAreReady: runs that go to and fro between shapes.
func TestShapesThatAreReady(t *testing.T) {
	m, err := testmodel.Tiny.Model()
	if err != nil {
		t.Fatal(err)
	}
	p, err := runtime.Compile(m, runtime.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	s, err := p.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	var feeds []map[string]*tensor.Tensor
	for _, n := range []int{8, 3, 5} { // the memory of the first is enough for all
		feeds = append(feeds, map[string]*tensor.Tensor{"input_ids": testutil.RandomInts(uint64(n), 0, 40, 2, n)})
	}
	run := func() {
		for _, f := range feeds {
			if out, err := s.Run(context.Background(), f); err != nil || out[0].Shape()[1] != f["input_ids"].Shape()[1] {
				t.Fatal(out, err)
			}
		}
	}
	run()
	if got := testing.AllocsPerRun(5, run); got != 0 {
		t.Errorf("%v allocations for three runs, want 0", got)
	}
}

// allocating are the operators that may allocate in a steady run, and what.
var allocating = map[string]string{
	"GridSample":       "the taps of a point, once a chunk",
	"RegexFullMatch":   "what package regexp has dropped from its pool, as it does under the race detector",
	"StringConcat":     "strings",
	"StringNormalizer": "strings",
	"StringSplit":      "strings",
}

// TestNodesAllocateNothing holds every operator to that in the official tests,
// but for graphs with shapes that depend on data.
func TestNodesAllocateNothing(t *testing.T) {
	steady, found := 0, map[string]bool{}
	nodetest.Run(t, ops.Standard(), func(m *ir.Model, inputs []*tensor.Tensor) ([]*tensor.Tensor, error) {
		p, err := runtime.Compile(m, runtime.Options{Threads: 1})
		if err != nil {
			return nil, err
		}
		defer p.Close()
		s, err := p.NewSession()
		if err != nil {
			return nil, err
		}
		feeds := map[string]*tensor.Tensor{}
		for i, v := range p.Inputs() {
			feeds[v.Name] = inputs[i]
		}
		outs, err := s.Run(context.Background(), feeds)
		if err != nil {
			return nil, err
		}
		if _, free := s.Steps(); free > 0 {
			return outs, nil
		}
		steady++
		if got := allocations(t, s, feeds); got > 0 && !excused(m) {
			found[fmt.Sprintf("%s: %v", opTypes(m), got)] = true
		}
		return s.Run(context.Background(), feeds)
	})
	for what := range found {
		t.Errorf("%s allocations a run, want 0", what)
	}
	t.Logf("%d runs", steady)
}

func opTypes(m *ir.Model) string {
	var types []string
	for n := range m.Graph.Nodes() {
		types = append(types, n.OpType)
	}
	return strings.Join(slices.Compact(types), " ")
}

func excused(m *ir.Model) bool {
	for n := range m.Graph.Nodes() {
		if allocating[n.OpType] != "" || (n.Is("Cast") || n.Is("CastLike")) && hasStrings(m.Graph) {
			return true
		}
	}
	return false
}

// hasStrings reports whether strings go in or come out, which casts allocate.
func hasStrings(g *ir.Graph) bool {
	return slices.ContainsFunc(slices.Concat(g.Inputs, g.Outputs), func(v *ir.Value) bool {
		t, ok := v.Type.(*ir.TensorType)
		return ok && t.Elem == tensor.String
	})
}
