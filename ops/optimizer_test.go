package ops_test

import (
	"math"
	"testing"

	"github.com/bonnx/bonnx/internal/testutil/opcheck"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

func TestAdamW(t *testing.T) {
	p, g, m, v := opcheck.Random(1, -1, 1, 2, 3), opcheck.Random(2, -1, 1, 2, 3), opcheck.Random(3, -1, 1, 2, 3), opcheck.Random(4, 0, 1, 2, 3)
	lr, wd, b1, b2, eps := 0.01, 0.1, 0.8, 0.95, 1e-6
	for _, step := range []int64{1, 7} {
		want := []*tensor.Tensor{p.Clone(), m.Clone(), v.Clone()}
		for i, gi := range tensor.Data[float64](g) {
			pw, mw, vw := tensor.Data[float64](want[0]), tensor.Data[float64](want[1]), tensor.Data[float64](want[2])
			mw[i] = b1*mw[i] + (1-b1)*gi
			vw[i] = b2*vw[i] + (1-b2)*gi*gi
			mh, vh := mw[i]/(1-math.Pow(b1, float64(step))), vw[i]/(1-math.Pow(b2, float64(step)))
			pw[i] = pw[i]*(1-lr*wd) - lr*mh/(math.Sqrt(vh)+eps)
		}
		c := opcheck.Case{Name: "adamw", Domain: ops.Domain, Op: "AdamW", Outputs: 3,
			Attrs: []*ir.Attr{ir.A("beta1", ir.Float(b1)), ir.A("beta2", ir.Float(b2)), ir.A("epsilon", ir.Float(eps)),
				ir.A("weight_decay", ir.Float(wd))},
			Inputs: []*tensor.Tensor{p, g, m, v, tensor.Scalar(lr), tensor.Scalar(step)}}
		opcheck.Forward(t, c, 1e-14, want...)
		opcheck.Expansion(t, c, 1e-12)
	}
}

func TestAdamWRefusesStepZero(t *testing.T) {
	x := float32s(1, 2)
	c := opcheck.Case{Domain: ops.Domain, Op: "AdamW", Outputs: 3,
		Inputs: []*tensor.Tensor{x, x, x, x, tensor.Scalar(float32(1)), tensor.Scalar(int64(0))}}
	if _, err := opcheck.Eval(c); err == nil {
		t.Error("no error")
	}
}

func TestSGD(t *testing.T) {
	p, g, u := opcheck.Random(1, -1, 1, 2, 3), opcheck.Random(2, -1, 1, 2, 3), opcheck.Random(3, -1, 1, 2, 3)
	for _, c := range []struct {
		name            string
		momentum, decay float64
		nesterov        int
	}{{"plain", 0, 0, 0}, {"decay", 0, 0.1, 0}, {"momentum", 0.9, 0, 0}, {"nesterov", 0.9, 0.1, 1}} {
		want := []*tensor.Tensor{p.Clone(), u.Clone()}
		pw, uw := tensor.Data[float64](want[0]), tensor.Data[float64](want[1])
		for i, gi := range tensor.Data[float64](g) {
			gi += c.decay * pw[i]
			uw[i] = c.momentum*uw[i] + gi
			if c.nesterov == 1 {
				gi += c.momentum * uw[i]
			} else {
				gi = uw[i]
			}
			if c.momentum == 0 {
				gi = tensor.Data[float64](g)[i] + c.decay*pw[i]
			}
			pw[i] -= 0.1 * gi
		}
		k := opcheck.Case{Name: c.name, Domain: ops.Domain, Op: "SGD",
			Attrs: []*ir.Attr{ir.A("momentum", ir.Float(c.momentum)), ir.A("weight_decay", ir.Float(c.decay)),
				ir.A("nesterov", ir.Int(c.nesterov))},
			Inputs: []*tensor.Tensor{p, g, tensor.Scalar(0.1)}}
		if c.momentum != 0 {
			k.Inputs, k.Outputs = append(k.Inputs, u), 2
		} else {
			want = want[:1]
		}
		opcheck.Forward(t, k, 1e-14, want...)
		opcheck.Expansion(t, k, 1e-12)
	}
}

func TestGlobalNorm(t *testing.T) {
	c := opcheck.Case{Name: "norm", Domain: ops.Domain, Op: "GlobalNorm",
		Inputs: []*tensor.Tensor{tensor.FromSlice([]float64{3, 0}, 2), tensor.Scalar(4.0)}}
	opcheck.Forward(t, c, 0, tensor.Scalar(5.0))
	opcheck.Expansion(t, c, 1e-14)
}

func TestClipScale(t *testing.T) {
	for _, c := range []struct{ norm, want float64 }{{4, 2 / (4 + 1e-6)}, {1, 1}, {0, 1}, {math.NaN(), math.NaN()}} {
		k := opcheck.Case{Name: "clip", Domain: ops.Domain, Op: "ClipScale", Attrs: []*ir.Attr{ir.A("max_norm", ir.Float(2))},
			Inputs: []*tensor.Tensor{tensor.Scalar(c.norm)}}
		opcheck.Forward(t, k, 1e-15, tensor.Scalar(c.want))
		opcheck.Expansion(t, k, 1e-12)
	}
}

func TestAllFinite(t *testing.T) {
	fine, empty := opcheck.Random(1, -1, 1, 2, 2), tensor.New(tensor.Float64, 0)
	for _, c := range []struct {
		x    float64
		want bool
	}{{1, true}, {math.NaN(), false}, {math.Inf(1), false}, {math.Inf(-1), false}, {math.MaxFloat64, true}} {
		k := opcheck.Case{Name: "finite", Domain: ops.Domain, Op: "AllFinite",
			Inputs: []*tensor.Tensor{fine, empty, tensor.FromSlice([]float64{0, c.x}, 2)}}
		opcheck.Forward(t, k, 0, tensor.Scalar(c.want))
		opcheck.Expansion(t, k, 0)
	}
}

func TestFusedActivations(t *testing.T) {
	x := tensor.FromSlice([]float64{-6, -1, -0.1, 0, 0.3, 2, 7}, 7)
	for _, c := range []struct {
		op    string
		attrs []*ir.Attr
	}{{"Gelu", nil}, {"Gelu", []*ir.Attr{ir.A("approximate", ir.String("tanh"))}}, {"SiLU", nil}} {
		k := opcheck.Case{Name: c.op, Domain: ops.Domain, Op: c.op, Attrs: c.attrs, Inputs: []*tensor.Tensor{x}}
		opcheck.Gradient(t, k)
		opcheck.Expansion(t, k, 1e-12)
		k.Op, k.Inputs = c.op+"Grad", []*tensor.Tensor{x, opcheck.Random(2, -1, 1, 7)}
		opcheck.Expansion(t, k, 1e-12)
	}
	half := opcheck.Case{Name: "by hand", Domain: ops.Domain, Op: "SiLU", Inputs: []*tensor.Tensor{tensor.Scalar(1.0)}}
	opcheck.Forward(t, half, 1e-15, tensor.Scalar(1/(1+math.Exp(-1))))
}
