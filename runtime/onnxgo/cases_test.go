package onnxgo_test

import (
	"fmt"
	"slices"
	"testing"

	onnxgo "github.com/owulveryck/onnx-go"
	"github.com/owulveryck/onnx-go/backend/testbackend"
	_ "github.com/owulveryck/onnx-go/backend/testbackend/onnx" // registers the cases
	gorgonia "gorgonia.org/tensor"

	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/onnx"
	backend "github.com/bonnx/bonnx/runtime/onnxgo"
	"github.com/bonnx/bonnx/tensor"
)

const (
	// cases is how many onnx-go has.
	cases = 348
	// leastPassing is how many of them pass at least, by onnx-go's judgement.
	leastPassing = 340
)

// judgedHere are the cases that onnx-go's own comparison cannot pass, with the
// reason. They are compared here instead. One that starts to pass must go.
var judgedHere = map[string]struct {
	reason    string
	tolerance float64 // absolute and relative
}{
	"TestSize":                               {scalarCase, 0},
	"TestSizeExample":                        {scalarCase, 0},
	"TestRoialign":                           {"wants four digits after the point, within 1e-6", 1e-4},
	"TestPow":                                {lastPlace, 1e-6},
	"TestReduceL1DefaultAxesKeepdimsRandom":  {lastPlace, 1e-6},
	"TestReduceSumDefaultAxesKeepdimsRandom": {lastPlace, 1e-6},
	"TestReduceSumSquareDefaultAxesKeepdimsRandom": {lastPlace, 1e-6},
}

const (
	scalarCase = "wants shape (1) for a scalar, and compares slices, but a gorgonia tensor of one element has no slice"
	lastPlace  = "allows 1e-6 absolute, less than one unit in the last place of the float32 result"
)

// skipped are the operators whose cases are skipped, with the reason.
var skipped = map[string]string{
	"Scan": "onnx-go hands no sub-graphs to a backend",
}

// onnx-go's own cases, judged by onnx-go's own test where that can pass.
func TestOnnxGoCases(t *testing.T) {
	all := testbackend.GetAllRegisteredTests()
	if len(all) != cases {
		t.Fatalf("onnx-go has %d cases, want %d", len(all), cases)
	}
	var count struct{ passed, here, skipped, failed int }
	for _, construct := range all {
		tc := construct()
		t.Run(tc.GetInfo(), func(t *testing.T) {
			defer func() {
				switch {
				case t.Failed():
					count.failed++
				case t.Skipped():
					count.skipped++
				case judgedHere[tc.Title].reason != "":
					count.here++
				default:
					count.passed++
				}
			}()
			runCase(t, tc)
		})
	}
	t.Logf("%d cases: %d pass, %d pass when compared here, %d skipped, %d fail", cases, count.passed, count.here, count.skipped, count.failed)
	if all := count.passed + count.here + count.skipped + count.failed; all == cases && count.passed < leastPassing {
		t.Errorf("%d cases pass, want at least %d", count.passed, leastPassing)
	}
}

func runCase(t *testing.T, tc *testbackend.TestCase) {
	b := backend.New(backend.WithOpset(opsetOf(t, tc.ModelB)), backend.WithThreads(1))
	defer b.Close()
	if row := judgedHere[tc.Title]; row.reason != "" {
		judge(t, b, tc, row.tolerance)
		return
	}
	defer func() {
		if reason := skipped[tc.OpType]; t.Skipped() != (reason != "") {
			t.Errorf("skipped is %v, the table of skipped operators says %q", t.Skipped(), reason)
		}
	}()
	tc.RunTest(b, false)(t)
}

// judge compares within a tolerance of its own, and takes a scalar for a vector
// of one element.
func judge(t *testing.T, b *backend.Backend, tc *testbackend.TestCase, tolerance float64) {
	m := onnxgo.NewModel(b)
	if err := m.UnmarshalBinary(tc.ModelB); err != nil {
		t.Fatal(err)
	}
	for i, in := range tc.Input {
		if err := m.SetInput(i, in); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Run(); err != nil {
		t.Fatal(err)
	}
	out, err := m.GetOutputTensors()
	if err != nil {
		t.Fatal(err)
	}
	if len(out) != len(tc.ExpectedOutput) {
		t.Fatalf("got %d outputs, want %d", len(out), len(tc.ExpectedOutput))
	}
	alike := true
	for i, want := range tc.ExpectedOutput {
		testutil.Close(t, fmt.Sprint("output ", i), float64s(t, out[i]), float64s(t, want), tolerance, tolerance)
		alike = alike && slices.Equal(out[i].Shape(), want.Shape()) && testutil.Compare(float64s(t, out[i]), float64s(t, want), 1e-6, 0) == nil
	}
	if alike {
		t.Errorf("passes by onnx-go's comparison too: remove it from judgedHere")
	}
}

// float64s are the elements of x as a vector.
func float64s(t *testing.T, x gorgonia.Tensor) *tensor.Tensor {
	t.Helper()
	var v []float64
	switch d := x.Data().(type) {
	case float32:
		v = []float64{float64(d)}
	case int64:
		v = []float64{float64(d)}
	case []float32:
		for _, e := range d {
			v = append(v, float64(e))
		}
	default:
		t.Fatalf("elements are %T", d)
	}
	return tensor.FromSlice(v, len(v))
}

// opsetOf is the opset that a case's model imports, which onnx-go knows but
// does not tell.
func opsetOf(t *testing.T, model []byte) int64 {
	t.Helper()
	m, err := onnx.LoadBytes(model)
	if err != nil {
		t.Fatal(err)
	}
	return m.Opset("")
}
