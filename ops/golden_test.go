package ops_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/internal/testutil/opcheck"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
	"github.com/bonnx/bonnx/tensor/npz"
)

// goldens are the arrays of the layer cases that PEFT's own code computed, by
// file name.
func goldens(t *testing.T, pattern string) map[string]map[string]*tensor.Tensor {
	files, err := filepath.Glob(filepath.Join(testutil.Shared(t, "golden"), pattern))
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files %s: %v", pattern, err)
	}
	all := map[string]map[string]*tensor.Tensor{}
	for _, path := range files {
		f, err := npz.ReadFile(path, npz.Options{})
		if err != nil {
			t.Fatal(err)
		}
		all[filepath.Base(path)] = f.Map()
	}
	return all
}

var transA = []*ir.Attr{ir.A("transA", ir.Int(1))}

func composite(t *testing.T, op string, in ...*tensor.Tensor) *tensor.Tensor {
	t.Helper()
	out, err := opcheck.Eval(opcheck.Case{Domain: ops.Domain, Op: op, Inputs: in})
	if err != nil {
		t.Fatalf("%s: %v", op, err)
	}
	return out[0]
}

// plus is y + bias by rows; bias may be nil.
func plus(y, bias *tensor.Tensor) *tensor.Tensor {
	if bias == nil {
		return y
	}
	y = y.Clone()
	b := tensor.Data[float32](bias)
	for i := range tensor.Data[float32](y) {
		tensor.Data[float32](y)[i] += b[i%len(b)]
	}
	return y
}

func TestBoneAgainstPEFT(t *testing.T) {
	for name, g := range goldens(t, "bone_*.npz") {
		if strings.Contains(name, "rgtin") {
			continue // r above in, which is refused
		}
		x, w, d := g["x"], g["W"], g["block"]
		testutil.Close(t, name+" y", plus(composite(t, "Bone", x, w, d), g["bias"]), g["y"], 1e-5, 1e-5)
		testutil.Close(t, name+" grad_x", composite(t, "BoneGradX", g["g"], w, d), g["grad_x"], 1e-5, 1e-5)
		out, err := opcheck.Eval(opcheck.Case{Domain: ops.Domain, Op: "Bone", Outputs: 2, Inputs: []*tensor.Tensor{x, w, d}})
		if err != nil {
			t.Fatal(err)
		}
		rows := g["g"].Size() / d.Shape()[1]
		fold, dy := out[1].Reshape(rows, d.Shape()[0]), g["g"].Reshape(rows, d.Shape()[1])
		grad := opcheck.Case{Domain: ops.Domain, Op: "FusedMatMul", Attrs: transA, Inputs: []*tensor.Tensor{fold, dy}}
		opcheck.Forward(t, grad, 1e-5, g["grad_block"])
	}
}

func TestBatAgainstPEFT(t *testing.T) {
	for name, g := range goldens(t, "bat_*.npz") {
		x, w, b, dy := g["x"], g["W"], g["block"], g["g"]
		merged := composite(t, "BatWeight", w, b)
		testutil.Close(t, name+" W", merged, g["W_merged"], 1e-5, 1e-5)
		rows, in, out := x.Size()/w.Shape()[0], w.Shape()[0], w.Shape()[1]
		y := composite(t, "FusedMatMul", x.Reshape(rows, in), merged)
		testutil.Close(t, name+" y", plus(y, g["bias"]).Reshape(g["y"].Shape()...), g["y"], 1e-5, 1e-5)
		dw, err := opcheck.Eval(opcheck.Case{Domain: ops.Domain, Op: "FusedMatMul", Attrs: transA,
			Inputs: []*tensor.Tensor{x.Reshape(rows, in), dy.Reshape(rows, out)}})
		if err != nil {
			t.Fatal(err)
		}
		testutil.Close(t, name+" grad_block", composite(t, "BatWeightGrad", w, dw[0], b), g["grad_block"], 1e-5, 1e-5)
	}
}
