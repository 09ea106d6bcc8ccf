package ops_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/internal/testutil/opcheck"
	"github.com/bonnx/bonnx/internal/testutil/ort"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/onnx"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

// TestORTContrib has ONNX Runtime compute every use of its own operators, but
// for those that it does not compute on a CPU (TestPackedHeads).
func TestORTContrib(t *testing.T) {
	ort.Available(t)
	for _, c := range contribCases(16) {
		if strings.HasPrefix(c.Name, "MultiHeadAttention packed") {
			continue
		}
		t.Run(c.Name, func(t *testing.T) { inORT(t, single(t, c)) })
		if c.Op == "MatMulNBits" {
			t.Run(c.Name+" of float16", func(t *testing.T) { inORT(t, inFloats(t, c, tensor.Float16)) })
		}
	}
}

// inORT compares a case with ONNX Runtime, as closely as the operator declares.
func inORT(t *testing.T, c opcheck.Case) {
	t.Helper()
	m, feeds, want, err := c.Model()
	if err != nil {
		t.Fatal(err)
	}
	row, _ := ops.Standard().Lookup(c.Domain, c.Op)
	agreeInORT(t, m, feeds, want, row.Strict)
}

// agreeInORT runs a model in ONNX Runtime, unoptimized.
func agreeInORT(t *testing.T, m *ir.Model, feeds, want map[string]*tensor.Tensor, strict ops.Strictness) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "model.onnx")
	if err := onnx.Save(path, m, onnx.SaveOptions{}); err != nil {
		t.Fatal(err)
	}
	got, err := ort.TryRun(t, path, feeds, ort.Options{Level: ort.Disabled})
	if err != nil {
		t.Fatal(err)
	}
	for name, w := range want {
		if err := closeAs(got[name], w, strict); err != nil {
			t.Errorf("output %q: ONNX Runtime: %v", name, err)
		}
	}
}

// closeAs compares as closely as a strictness says.
func closeAs(got, want *tensor.Tensor, strict ops.Strictness) error {
	ofLargest, rel := strict.Tolerance()
	if want.DType() == tensor.Float16 { // in which each step was rounded
		ofLargest, rel = 2e-3, 2e-3
	}
	largest := 0.0
	if w, err := want.Float64s(); err == nil {
		for _, x := range w {
			largest = max(largest, x, -x)
		}
	}
	return testutil.Compare(got, want, ofLargest*largest, rel)
}
