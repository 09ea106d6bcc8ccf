package extent_test

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"github.com/bonnx/bonnx/extent"
	"github.com/bonnx/bonnx/internal/testmodel"
	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/internal/testutil/ort"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/onnx"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/runtime"
	"github.com/bonnx/bonnx/tensor"
)

type feed = map[string]*tensor.Tensor

// A fixed model is one whose file has a batch of 1 baked in, and a way to feed
// it any batch.
type fixed struct {
	name  string
	model func() (*ir.Model, error)
	feeds func(batch int) feed
	nodes int // that have the batch in a constant
}

func fixedModels() []fixed {
	return slices.Concat(encoders(), decoders(), others())
}

func decoders() []fixed {
	plain, merged, cross := testmodel.SmallDecoder, testmodel.SmallDecoder, testmodel.SmallSeq2Seq
	plain.Batch, merged.Batch, merged.Merged, cross.Batch, cross.Past = 1, 1, true, 1, true
	const seq, past = 2, 3
	feeds := func(batch int) feed {
		f := feed{"input_ids": testutil.RandomInts(1, 0, int64(plain.Vocab), batch, seq), "attention_mask": testutil.RandomInts(2, 0, 2, batch, past+seq),
			"position_ids": testutil.RandomInts(3, 0, 9, batch, seq)}
		for i := range plain.Layers {
			f[fmt.Sprintf("past_key_values.%d.key", i)] = testutil.Random(uint64(i), batch, plain.KVHeads, past, plain.Dim/plain.Heads)
			f[fmt.Sprintf("past_key_values.%d.value", i)] = testutil.Random(uint64(i+9), batch, plain.KVHeads, past, plain.Dim/plain.Heads)
		}
		for b := range batch { // a row that is masked whole has no right answer
			tensor.Data[int64](f["attention_mask"])[b*(past+seq)] = 1
		}
		return f
	}
	crossFeeds := func(batch int) feed {
		f := feed{"input_ids": testutil.RandomInts(1, 0, int64(cross.Vocab), batch, seq), "encoder_attention_mask": testutil.RandomInts(2, 1, 2, batch, 4)}
		for i := range 2 * cross.Layers {
			side, length := []string{"decoder", "encoder"}[i%2], []int{past, 4}[i%2]
			for _, what := range []string{"key", "value"} {
				f[fmt.Sprintf("past_key_values.%d.%s.%s", i/2, side, what)] = testutil.Random(uint64(i), batch, cross.Heads, length, cross.Dim/cross.Heads)
			}
		}
		return f
	}
	return []fixed{
		{"decoder with past", plain.Model, feeds, 12},
		{"merged decoder", merged.Model, func(batch int) feed {
			f := feeds(batch)
			f["use_cache_branch"] = tensor.FromSlice([]bool{true}, 1)
			return f
		}, 12},
		{"seq2seq decoder with past", cross.Model, crossFeeds, 12},
	}
}

func encoders() []fixed {
	var list []fixed
	add := func(name string, nodes int, change func(*testmodel.Encoder)) {
		c := testmodel.SmallEncoder
		c.Batch = 1
		change(&c)
		seq := max(c.Seq, 6)
		list = append(list, fixed{name, c.Model, func(batch int) feed {
			return feed{"input_ids": testutil.RandomInts(1, 0, int64(c.Vocab), batch, seq),
				"attention_mask": testutil.RandomInts(2, 0, 2, batch, seq), "token_type_ids": testutil.RandomInts(3, 0, 2, batch, seq)}
		}, nodes})
	}
	add("classifier", 8, func(*testmodel.Encoder) {})
	add("classifier, sequence 8", 8, func(c *testmodel.Encoder) { c.Seq = 8 })
	add("opset 14", 8, func(c *testmodel.Encoder) { c.Seq, c.Opset = 8, 14 })
	add("old TorchScript", 8, func(c *testmodel.Encoder) { c.Exporter = testmodel.OldTorchScript })
	add("dynamo", 8, func(c *testmodel.Encoder) { c.Exporter, c.Head = testmodel.Dynamo, testmodel.Sigmoid })
	add("module functions", 8, func(c *testmodel.Encoder) { c.Exporter = testmodel.ModuleFunctions })
	return list
}

func others() []fixed {
	gpt, clip, unet, conv := testmodel.SmallGPT2, testmodel.SmallCLIP, testmodel.SmallUNet, testmodel.SmallUNet
	gpt.Batch, gpt.Exporter = 1, testmodel.TorchScript
	clip.Batch, clip.Seq = 1, 8
	unet.Batch, conv.Batch, conv.ConvProjection = 1, 1, true
	ids := func(batch int) feed { return feed{"input_ids": testutil.RandomInts(1, 0, int64(gpt.Vocab), batch, 8)} }
	noise := func(batch int) feed {
		return feed{"sample": testutil.Random(1, batch, 4, 8, 8), "timestep": testutil.Random(2, batch),
			"encoder_hidden_states": testutil.Random(3, batch, 8, unet.Text)}
	}
	vit := testmodel.SmallViT
	vit.Batch = 1
	pixels := func(batch int) feed { return feed{"pixel_values": testutil.Random(1, batch, 3, vit.Image, vit.Image)} }
	return []fixed{
		{"ViT", vit.Model, pixels, 10},
		{"GPT-2", gpt.Model, ids, 16},
		{"CLIP text", clip.Model, ids, 22},
		{"UNet", unet.Model, noise, 30},
		{"UNet, 1x1 convolutions", conv.Model, noise, 30},
	}
}

// After the rewrite a batch of any size gives, row by row, what the file as it
// was gave for each sample alone.
func TestDynamicBatch(t *testing.T) {
	for _, c := range fixedModels() {
		t.Run(c.name, func(t *testing.T) {
			m := build(t, c.model)
			rep := dynamic(t, m)
			if rep.Was != 1 || len(rep.Nodes) != c.nodes {
				t.Errorf("was %d, %d nodes changed: %q; want 1, %d", rep.Was, len(rep.Nodes), rep.Nodes, c.nodes)
			}
			for _, batch := range []int{1, 3} {
				rowByRow(t, build(t, c.model), m, c.feeds(batch), batch, run)
			}
		})
	}
}

func TestORTDynamicBatch(t *testing.T) {
	ort.Available(t)
	for _, c := range fixedModels() {
		t.Run(c.name, func(t *testing.T) {
			m := build(t, c.model)
			dynamic(t, m)
			for _, batch := range []int{1, 3} {
				rowByRow(t, build(t, c.model), m, c.feeds(batch), batch, inORT)
			}
		})
	}
}

func build(t testing.TB, model func() (*ir.Model, error)) *ir.Model {
	t.Helper()
	m, err := model()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func dynamic(t testing.TB, m *ir.Model) *extent.Report {
	t.Helper()
	rep, err := extent.DynamicBatch(m, ops.Standard())
	if err != nil {
		t.Fatal(err)
	}
	if err := ir.Verify(m); err != nil {
		t.Fatal(err)
	}
	for _, v := range slices.Concat(m.Graph.Inputs, m.Graph.Outputs) {
		if v.Data == nil && v.TensorType().Elem != tensor.Bool && (slices.Contains(rep.Inputs, v.Name) || v.IsOutput()) && v.TensorType().Dims[0] != ir.Symbol(rep.Symbol) {
			t.Errorf("%q is %v, want a first axis %s", v.Name, v.Type, rep.Symbol)
		}
	}
	return rep
}

type runner func(t testing.TB, m *ir.Model, f feed) map[string]*tensor.Tensor

// rowByRow compares a batch with its samples one at a time.
func rowByRow(t *testing.T, one, many *ir.Model, f feed, batch int, run runner) {
	t.Helper()
	got := run(t, many, f)
	for i := range batch {
		sample := feed{}
		for name, x := range f {
			if sample[name] = x; x.Shape()[0] != batch {
				continue // a switch
			}
			sample[name] = row(t, x, i)
		}
		for name, want := range run(t, one, sample) {
			testutil.Close(t, fmt.Sprintf("%s of sample %d of %d", name, i, batch), row(t, got[name], i), want, 1e-5, 1e-5)
		}
	}
}

// row is x[i:i+1].
func row(t testing.TB, x *tensor.Tensor, i int) *tensor.Tensor {
	t.Helper()
	shape := slices.Clone(x.Shape())
	n := len(x.Bytes()) / shape[0]
	shape[0] = 1
	y, err := tensor.FromBytes(x.DType(), shape, x.Bytes()[i*n:(i+1)*n])
	if err != nil {
		t.Fatal(err)
	}
	return y
}

func run(t testing.TB, m *ir.Model, f feed) map[string]*tensor.Tensor {
	t.Helper()
	p, err := runtime.Compile(m, runtime.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	s, err := p.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	outs, err := s.Run(context.Background(), f)
	if err != nil {
		t.Fatal(err)
	}
	named := map[string]*tensor.Tensor{}
	for i, o := range p.Outputs() {
		named[o.Name] = outs[i].Clone()
	}
	return named
}

func inORT(t testing.TB, m *ir.Model, f feed) map[string]*tensor.Tensor {
	t.Helper()
	path := filepath.Join(t.TempDir(), "model.onnx")
	if err := onnx.Save(path, m, onnx.SaveOptions{}); err != nil {
		t.Fatal(err)
	}
	return ort.Run(t, path, f)
}

// What ONNX Runtime's optimizer has rewritten, with the batch in more shapes,
// is made dynamic too.
func TestORTOptimizedDynamicBatch(t *testing.T) {
	ort.Available(t)
	for i := range 2 * len(fixedModels()) {
		c, level := fixedModels()[i/2], []ort.Level{ort.Basic, ort.Extended}[i%2]
		t.Run(c.name+" "+string(level), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "model.onnx")
			if err := onnx.Save(path, build(t, c.model), onnx.SaveOptions{}); err != nil {
				t.Fatal(err)
			}
			m, err := onnx.Load(ort.Optimize(t, path, level))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = onnx.Close(m) })
			dynamic(t, m)
			rowByRow(t, build(t, c.model), m, c.feeds(3), 3, inORT)
		})
	}
}
