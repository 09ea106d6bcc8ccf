package rewrite_test

import (
	"testing"

	"github.com/bonnx/bonnx/adapter"
	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/internal/testutil/ort"
	"github.com/bonnx/bonnx/rewrite"
	"github.com/bonnx/bonnx/tensor"
)

// TestORTStoriesStack runs a language model with three adapters, one of which
// trains embedding, norm and head whole, in ONNX Runtime: at the start the base's
// logits; trained those that bonnx computes; and merged the same.
func TestORTStoriesStack(t *testing.T) {
	ort.Available(t)
	for _, file := range []string{stories14, stories17} {
		base := testutil.Shared(t, file)
		feeds := map[string]*tensor.Tensor{load(t, base).Graph.Inputs[0].Name: testutil.RandomInts(4, 0, 512, 2, 19)}
		want := ort.Run(t, base, feeds)["logits"]
		m := load(t, base)
		for i, edit := range []func(c *adapter.Config){
			func(c *adapter.Config) { c.Save = []string{"embed_tokens", "norm", "lm_head"} },
			func(c *adapter.Config) { c.Method, c.Rank = adapter.Bat, 4 },
			func(c *adapter.Config) {
				c.Rank, c.Targets.List, c.Targets.Regex = 24, []string{"q_proj", "down_proj"}, ""
			},
		} {
			cfg := config(adapter.Bone, 16)
			cfg.Init, cfg.Name = adapter.InitZero, string(rune('a'+i))
			edit(&cfg)
			if _, err := rewrite.Inject(m, cfg, rewrite.Options{}); err != nil {
				t.Fatal(err)
			}
		}
		path, _ := save(t, m, "m.onnx")
		testutil.Close(t, file+", start", ort.Run(t, path, feeds)["logits"], want, 1e-5, 1e-5)

		list, err := rewrite.Adapters(m)
		if err != nil {
			t.Fatal(err)
		}
		values := map[string]*tensor.Tensor{}
		for _, a := range list {
			for i, b := range a.BlockNames() {
				values[b] = small(uint64(i), m.Graph.Index()[b].Data.Shape())
			}
			for i, w := range a.Whole {
				x := value(t, m, w.Value.Name).Clone()
				for k, v := range tensor.Data[float32](small(uint64(90+i), x.Shape())) {
					tensor.Data[float32](x)[k] += v
				}
				values[w.Value.Name] = x
			}
		}
		if err := rewrite.SetBlocks(m, values); err != nil {
			t.Fatal(err)
		}
		path, _ = save(t, m, "m.onnx")
		trained := ort.Run(t, path, feeds)["logits"]
		if testutil.Compare(trained, want, 1e-1, 0) == nil {
			t.Errorf("%s: what was trained changes nothing", file)
		}
		testutil.Close(t, file+", in bonnx", run(t, m, feeds)[0], trained, 1e-4, 1e-4)
		if _, err := rewrite.Merge(m); err != nil {
			t.Fatal(err)
		}
		path, _ = save(t, m, "m.onnx")
		testutil.Close(t, file+", merged", ort.Run(t, path, feeds)["logits"], trained, 1e-4, 1e-4)
	}
}
