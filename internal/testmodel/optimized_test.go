package testmodel_test

import (
	"path/filepath"
	"slices"
	"testing"

	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/internal/testutil/ort"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/onnx"
	"github.com/bonnx/bonnx/rewrite"
)

// ONNX Runtime's optimizer rewrites every family; the layers are still found
// under their modules' paths, and bonnx computes the same, gradients through
// ONNX Runtime's own operators included.
func TestORTOptimizedFamilies(t *testing.T) {
	ort.Available(t)
	for _, f := range families() {
		for _, level := range []ort.Level{ort.Basic, ort.Extended} {
			t.Run(f.name+" "+string(level), func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "model.onnx")
				if err := onnx.Save(path, build(t, f), onnx.SaveOptions{}); err != nil {
					t.Fatal(err)
				}
				m, err := onnx.Load(ort.Optimize(t, path, level))
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = onnx.Close(m) })
				optimizedPaths(t, f, m)
				want := ort.Run(t, path, f.feeds[0])
				for name, got := range run(t, m, f.feeds[0]) {
					testutil.Close(t, name, got, want[name], 1e-4, 1e-4)
				}
				if level == ort.Extended {
					everywhere(t, m)
					sameGradients(t, m, f.feeds[0])
				}
			})
		}
	}
}

// optimizedPaths holds the layers of an optimized model to those of the
// family. As many may be missing as products were fused with an activation.
func optimizedPaths(t *testing.T, f family, m *ir.Model) {
	t.Helper()
	found, err := rewrite.Find(m)
	if err != nil {
		t.Fatal(err)
	}
	var missing []string
	for _, p := range f.paths {
		if f.but[p] != rewrite.FromPosition && found.At(p) == nil { // numbers change
			missing = append(missing, p)
		}
	}
	for _, l := range found.Linear {
		if l.Kind != "Conv" && l.Source != rewrite.FromPosition && !slices.Contains(f.paths, l.Path) {
			t.Errorf("%s, from %s of %v, is no module", l.Path, l.Source, l.Node)
		}
	}
	fused := 0
	for n := range m.Graph.Nodes() {
		if n.OpType == "FusedGemm" || n.OpType == "BiasGelu" {
			fused++
		}
	}
	// The optimizer does not write metadata: what dynamo's biases do not tell is lost.
	if len(missing) > fused && f.from != rewrite.FromScopes {
		t.Errorf("%q are not found, and %d products are fused", missing, fused)
	}
}
