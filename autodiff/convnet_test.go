package autodiff_test

import (
	"math"
	"testing"

	"github.com/bonnx/bonnx/autodiff"
	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/internal/testutil/opcheck"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/onnx"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

// TestConvNet differentiates a whole convolutional network, a file of another
// project: along the gradient of each weight the loss changes as the gradient
// says.
func TestConvNet(t *testing.T) {
	file, err := onnx.Load(testutil.Shared(t, "models/structure/mnist-8.onnx"))
	if err != nil {
		t.Fatal(err)
	}
	defer onnx.Close(file)
	m, err := ops.Canonical(file)
	if err != nil {
		t.Fatal(err)
	}
	var params []*ir.Value
	for _, v := range m.Graph.Initializers {
		if v.Data.DType() == tensor.Float32 {
			params = append(params, v)
		}
	}
	set := ops.Standard()
	an, err := set.Analyze(m, ops.AnalyzeOptions{Mutable: func(v *ir.Value) bool { return v.Data.DType() == tensor.Float32 }})
	if err != nil {
		t.Fatal(err)
	}
	b := ops.NewBuilder(an, m.Graph, ir.NewNames(m))
	y := m.Graph.Outputs[0]
	labels := b.Const("labels", tensor.FromSlice([]int64{3}, 1))
	loss := b.Op("SoftmaxCrossEntropyLoss", ir.In(y, labels))
	grads, err := autodiff.Gradient(b, loss, params)
	if err != nil {
		t.Fatal(err)
	}
	feeds := map[*ir.Value]*tensor.Tensor{m.Graph.Inputs[0]: testutil.Random(1, 1, 1, 28, 28)}
	got, err := opcheck.Run(set, m, feeds, append([]*ir.Value{loss}, grads...))
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range params {
		if g := got[i+1]; !g.Shape().Equal(p.Data.Shape()) {
			t.Errorf("gradient of %q is %v, want %v", p.Name, g, p.Data.Shape())
		}
		along(t, set, m, feeds, loss, p, tensor.Data[float32](got[i+1]))
	}
}

// along moves p by a little of g, forth and back.
func along(t *testing.T, set *ops.Set, m *ir.Model, feeds map[*ir.Value]*tensor.Tensor, loss, p *ir.Value, g []float32) {
	t.Helper()
	square := 0.0
	for _, v := range g {
		square += float64(v) * float64(v)
	}
	if square == 0 {
		t.Errorf("gradient of %q is zero", p.Name)
		return
	}
	start, err := p.Data.Tensor()
	if err != nil {
		t.Fatal(err)
	}
	data := p.Data
	defer func() { p.Data = data }()
	step := 0.01 / math.Sqrt(square) // how far p goes; the loss changes by about step*square
	var losses [2]float64
	for k, sign := range []float64{1, -1} {
		moved := start.Clone()
		for i := range g {
			tensor.Data[float32](moved)[i] += float32(sign * step * float64(g[i]))
		}
		p.Data = ir.Dense(moved)
		out, err := opcheck.Run(set, m, feeds, []*ir.Value{loss})
		if err != nil {
			t.Fatal(err)
		}
		losses[k] = float64(tensor.Data[float32](out[0])[0])
	}
	if got := (losses[0] - losses[1]) / (2 * step); math.Abs(got-square) > 0.02*square {
		t.Errorf("%q: the loss rises by %g a unit, the gradient says %g", p.Name, got, square)
	}
}
