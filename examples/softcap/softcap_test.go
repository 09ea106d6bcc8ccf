package softcap_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/bonnx/bonnx"
	"github.com/bonnx/bonnx/examples/softcap"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/onnx"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

// capped is a model that ends in the operator: y = SoftCap(x W).
func capped() ([]byte, error) {
	m := &ir.Model{IRVersion: 8, Graph: ir.NewGraph("capped")}
	m.SetOpset("", 17)
	m.SetOpset(softcap.Domain, 1)
	x := m.Graph.AddInput("x", ir.Tensor(tensor.Float32, ir.Symbol("n"), ir.Fixed(4)))
	w := tensor.New(tensor.Float32, 4, 3)
	for i := range tensor.Data[float32](w) {
		tensor.Data[float32](w)[i] = float32(i%5) - 2
	}
	b := ir.NewBuilder(m.Graph, ir.NewNames(m))
	b.Prefix = "/proj/"
	h := b.Op("MatMul", ir.In(x, m.Graph.AddInitializer("proj.weight", ir.Dense(w))))
	b.Prefix = "/cap/"
	y := b.Node(softcap.Domain, "SoftCap", ir.In(h), 1, ir.A("cap", ir.Float(2)))[0]
	y.Name, y.Type = "y", ir.Tensor(tensor.Float32, ir.Symbol("n"), ir.Fixed(3))
	m.Graph.Outputs = []*ir.Value{y}
	return onnx.Marshal(m)
}

func Example() {
	file, err := capped()
	if err != nil {
		panic(err)
	}
	m, err := bonnx.OpenReader(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		panic(err)
	}
	defer m.Close()
	x := map[string]*tensor.Tensor{"x": tensor.FromSlice([]float32{1, 2, 3, 4}, 1, 4)}

	_, err = m.Run(context.Background(), x, 1)
	var unknown *bonnx.UnsupportedOpError
	fmt.Println("without:", errors.As(err, &unknown), unknown.Op)

	m.UseOps(ops.Standard().With(softcap.Entry()))
	out, err := m.Run(context.Background(), x, 1)
	if err != nil {
		panic(err)
	}
	fmt.Printf("with: %.4f\n", tensor.Data[float32](out["y"]))
	// Output:
	// without: true SoftCap
	// with: [1.9732 -1.9732 -1.9732]
}

// TestTrains trains an adapter through the operator, so its gradient is used.
func TestTrains(t *testing.T) {
	file, err := capped()
	if err != nil {
		t.Fatal(err)
	}
	m, err := bonnx.OpenReader(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	m.UseOps(ops.Standard().With(softcap.Entry()))
	bone, err := bonnx.New(m, "", bonnx.BoneConfig{R: 4, TargetModules: bonnx.Modules{List: []string{"proj"}}})
	if err != nil {
		t.Fatal(err)
	}
	// What W + 1 would give, for a fixed set of inputs.
	r := rand.New(rand.NewPCG(1, 2))
	x, want := tensor.New(tensor.Float32, 32, 4), tensor.New(tensor.Float32, 32, 3)
	for i := range tensor.Data[float32](x) {
		tensor.Data[float32](x)[i] = float32(r.NormFloat64()) / 4
	}
	for i := range 32 {
		for j := range 3 {
			sum := 0.0
			for k := range 4 {
				sum += float64(tensor.Data[float32](x)[i*4+k]) * float64((k*3+j)%5-2+1)
			}
			tensor.Data[float32](want)[i*3+j] = float32(2 * math.Tanh(sum/2))
		}
	}
	batch := bonnx.Batch{Feeds: map[string]*tensor.Tensor{"x": x, "labels": want}}
	c := bonnx.TrainConfig{LR: 0.05, Steps: 300}
	c.Task = "regression"
	s, err := bone.Train(context.Background(), func(yield func(bonnx.Batch, error) bool) { yield(batch, nil) }, c)
	if err != nil {
		t.Fatal(err)
	}
	if !(s.LossLast < 1e-4*s.LossFirst) {
		t.Errorf("loss %g -> %g", s.LossFirst, s.LossLast)
	}
}
