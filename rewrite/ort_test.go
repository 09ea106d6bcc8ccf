package rewrite_test

import (
	"fmt"
	"testing"

	"github.com/bonnx/bonnx/adapter"
	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/internal/testutil/ort"
	"github.com/bonnx/bonnx/rewrite"
	"github.com/bonnx/bonnx/tensor"
)

// TestORTLayers runs every method, form and kind of layer in ONNX Runtime,
// against package adapter, and at a zero start against the base.
func TestORTLayers(t *testing.T) {
	ort.Available(t)
	for _, l := range layers {
		for _, opset := range []int64{7, 11, 13, 17, 21} {
			irVersion := int64(8)
			if opset == 7 {
				irVersion = 3
			}
			for _, method := range adapter.Methods() {
				for _, form := range []rewrite.Form{rewrite.Auto, rewrite.Weighted} {
					name := fmt.Sprintf("%s, opset %d, %v, %v", l.name, opset, method, form)
					m, w, bias := l.build(opset, irVersion, layerIn, layerOut)
					fed, x := l.feed(layerIn)
					feeds := map[string]*tensor.Tensor{"x": fed}
					if _, err := rewrite.Inject(m, config(method, 4), rewrite.Options{Form: form}); err != nil {
						t.Fatal(err)
					}
					set, err := rewrite.Extract(m, "")
					if err != nil {
						t.Fatal(err)
					}
					path, _ := save(t, m, "m.onnx")
					testutil.Close(t, name, ort.Run(t, path, feeds)["y"], l.wanted(t, set, x, w, bias), 1e-5, 1e-5)
				}
			}
		}
	}
}

// TestORTLayerLife runs the life of an adapter on every kind of layer: at a
// zero start the base's outputs, in weight form bit for bit; with blocks the
// outputs of the merged model.
func TestORTLayerLife(t *testing.T) {
	ort.Available(t)
	for _, l := range layers {
		fed, _ := l.feed(layerIn)
		feeds := map[string]*tensor.Tensor{"x": fed}
		plain, _, _ := l.build(17, 8, layerIn, layerOut)
		path, _ := save(t, plain, "base.onnx")
		base := ort.Run(t, path, feeds)["y"]
		for _, method := range adapter.Methods() {
			for _, form := range []rewrite.Form{rewrite.Auto, rewrite.Weighted} {
				name := fmt.Sprintf("%s, %v, %v", l.name, method, form)
				m, _, _ := l.build(17, 8, layerIn, layerOut)
				cfg, limit := config(method, 4), 0.0
				cfg.Init = adapter.InitZero
				if form == rewrite.Auto {
					limit = 1e-6 // ONNX Runtime may have fused onto the base layer
				}
				if _, err := rewrite.Inject(m, cfg, rewrite.Options{Form: form}); err != nil {
					t.Fatal(err)
				}
				path, _ := save(t, m, "zero.onnx")
				testutil.Close(t, name+", zero start", ort.Run(t, path, feeds)["y"], base, limit, limit)
				m, _, _ = l.build(17, 8, layerIn, layerOut)
				if _, err := rewrite.Inject(m, config(method, 4), rewrite.Options{Form: form}); err != nil {
					t.Fatal(err)
				}
				path, _ = save(t, m, "adapted.onnx")
				adapted := ort.Run(t, path, feeds)["y"]
				if _, err := rewrite.Merge(m); err != nil {
					t.Fatal(err)
				}
				path, _ = save(t, m, "merged.onnx")
				testutil.Close(t, name+", merged", ort.Run(t, path, feeds)["y"], adapted, 1e-5, 1e-5)
				testutil.Close(t, name+", merged in bonnx", run(t, m, feeds)[0], adapted, 1e-5, 1e-5)
			}
		}
	}
}

// TestORTStories wants the base's logits from the adapted models at a zero
// start, bit for bit, and those of the merged model from the trained one.
func TestORTStories(t *testing.T) {
	ort.Available(t)
	for _, file := range []string{stories14, stories17} {
		base := testutil.Shared(t, file)
		ids := testutil.RandomInts(4, 0, 512, 2, 19)
		feeds := map[string]*tensor.Tensor{load(t, base).Graph.Inputs[0].Name: ids}
		want := ort.Run(t, base, feeds)["logits"]
		for _, c := range []struct {
			method adapter.Method
			rank   int
			o      rewrite.Options
		}{
			{adapter.Bone, 16, rewrite.Options{Form: rewrite.Activation}},
			{adapter.Bone, 16, rewrite.Options{Form: rewrite.Weighted}},
			{adapter.Bone, 16, rewrite.Options{Form: rewrite.Activation, Inputs: true}},
			{adapter.Bone, 24, rewrite.Options{}}, // 24 divides neither 64 nor 172
			{adapter.Bat, 4, rewrite.Options{}},
			{adapter.LoRA, 8, rewrite.Options{}},
		} {
			name := fmt.Sprintf("%s, %v, %v", file, c.method, c.o.Form)
			m := load(t, base)
			cfg := config(c.method, c.rank)
			cfg.Init = adapter.InitZero
			if _, err := rewrite.Inject(m, cfg, c.o); err != nil {
				t.Fatal(err)
			}
			path, _ := save(t, m, "m.onnx")
			testutil.Close(t, name, ort.Run(t, path, feeds)["logits"], want, 0, 0)

			values := map[string]*tensor.Tensor{}
			list, err := rewrite.Adapters(m)
			if err != nil {
				t.Fatal(err)
			}
			for i, b := range list[0].BlockNames() {
				values[b] = small(uint64(i), m.Graph.Index()[b].Data.Shape())
			}
			if err := rewrite.SetBlocks(m, values); err != nil {
				t.Fatal(err)
			}
			path, _ = save(t, m, "m.onnx")
			trained := ort.Run(t, path, feeds)["logits"]
			if testutil.Compare(trained, want, 1e-2, 0) == nil {
				t.Errorf("%s: the blocks change nothing", name)
			}
			if _, err := rewrite.Merge(m); err != nil {
				t.Fatal(err)
			}
			path, _ = save(t, m, "m.onnx")
			testutil.Close(t, name+", merged", ort.Run(t, path, feeds)["logits"], trained, 1e-4, 1e-4)
		}
	}
}

// small is random values like those of a trained block.
func small(seed uint64, shape tensor.Shape) *tensor.Tensor {
	t := testutil.Random(seed, shape...)
	for i := range tensor.Data[float32](t) {
		tensor.Data[float32](t)[i] *= 0.02
	}
	return t
}
