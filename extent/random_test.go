package extent_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/bonnx/bonnx/extent"
	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

// Random graphs of whatever treats samples alone or mixes them: all that
// DynamicBatch accepts must be right row by row.
func TestRandomGraphs(t *testing.T) {
	randomGraphs(t, 600, 1, func(t *testing.T, one, many *ir.Model) {
		rowByRow(t, one, many, smallFeed(3), 3, run)
	})
}

// Those of a batch of two are right for every two.
func TestRandomGraphsOfTwo(t *testing.T) {
	randomGraphs(t, 600, 2, func(t *testing.T, two, many *ir.Model) {
		f := smallFeed(3)
		got := run(t, many, f)["y"]
		for _, pair := range [][2]int{{0, 1}, {2, 0}} {
			sample := feed{}
			for name, x := range f {
				sample[name] = tensor.New(x.DType(), append([]int{2}, x.Shape()[1:]...)...)
				for i, j := range pair {
					copy(sample[name].Bytes()[i*len(sample[name].Bytes())/2:], row(t, x, j).Bytes())
				}
			}
			want := run(t, two, sample)["y"]
			for i, j := range pair {
				testutil.Close(t, fmt.Sprintf("sample %d of %v", j, pair), row(t, got, j), row(t, want, i), 1e-5, 1e-5)
			}
		}
	})
}

func randomGraphs(t *testing.T, n int, batch int64, check func(t *testing.T, fixed, dynamic *ir.Model)) {
	t.Helper()
	accepted := 0
	if testing.Short() {
		n /= 6
	}
	for seed := range uint64(n) {
		fixed, err := randomGraph(seed, batch)
		if err != nil {
			continue // it grew what does not fit together
		}
		dynamic := fixed.Clone()
		if _, err := extent.DynamicBatch(dynamic, ops.Standard()); err != nil {
			continue
		}
		accepted++
		t.Run(fmt.Sprint(seed), func(t *testing.T) { check(t, fixed, dynamic) })
	}
	t.Logf("%d of %d accepted", accepted, n)
	if accepted < n/8 {
		t.Errorf("only %d of %d graphs were accepted: this tests too little", accepted, n)
	}
}

// grower adds random nodes to what it has.
type grower struct {
	graph
	rng  *rand.Rand
	an   *ops.Analysis
	have []*ir.Value
}

func randomGraph(seed uint64, batch int64) (*ir.Model, error) {
	return smallOf(batch, 18, func(g graph) *ir.Value {
		m := &ir.Model{IRVersion: 8, Graph: &ir.Graph{Name: "inputs", Inputs: g.Graph.Inputs}}
		m.SetOpset("", 18)
		an, err := ops.Standard().Analyze(m, ops.AnalyzeOptions{})
		if err != nil {
			g.Fail(err)
			return g.x
		}
		r := &grower{graph: g, rng: rand.New(rand.NewPCG(seed, 1)), an: an, have: []*ir.Value{g.x}}
		r.OnNode = an.Node
		for range 3 + r.rng.IntN(6) {
			if r.Err() != nil {
				break
			}
			y := growths[r.rng.IntN(len(growths))](r, r.pick())
			if r.Err() == nil && len(r.shape(y)) == 0 {
				y = r.reshape(y, 1, 1)
			}
			r.have = append(r.have, y)
		}
		return r.reshape(r.have[len(r.have)-1], int(batch), -1)
	})
}

// pick prefers what was made last.
func (r *grower) pick() *ir.Value {
	if r.rng.IntN(3) > 0 {
		return r.have[len(r.have)-1]
	}
	return r.have[r.rng.IntN(len(r.have))]
}

func (r *grower) shape(v *ir.Value) tensor.Shape { return r.an.Fact(v).MustShape() }

// axis is one of x, more often not the first.
func (r *grower) axis(x *ir.Value) int {
	n := len(r.shape(x))
	return max(r.rng.IntN(n), r.rng.IntN(n))
}

// alike is another value of x's shape, or x.
func (r *grower) alike(x *ir.Value) *ir.Value {
	for _, i := range r.rng.Perm(len(r.have)) {
		if r.shape(r.have[i]).Equal(r.shape(x)) {
			return r.have[i]
		}
	}
	return x
}

var growths = []func(r *grower, x *ir.Value) *ir.Value{
	func(r *grower, x *ir.Value) *ir.Value { return r.Op("Tanh", ir.In(x)) },
	func(r *grower, x *ir.Value) *ir.Value { return r.Op("Add", ir.In(x, r.alike(x))) },
	func(r *grower, x *ir.Value) *ir.Value { return r.Op("Mul", ir.In(x, r.pick())) },
	func(r *grower, x *ir.Value) *ir.Value { // a constant that broadcasts
		shape := r.shape(x)
		for i := range shape {
			if r.rng.IntN(2) == 0 {
				shape[i] = 1
			}
		}
		return r.Op("Add", ir.In(x, r.Const("c", testutil.Random(1, shape[r.rng.IntN(len(shape)):]...))))
	},
	func(r *grower, x *ir.Value) *ir.Value {
		perm := make(ir.Ints, len(r.shape(x)))
		for i, p := range r.rng.Perm(len(perm)) {
			perm[i] = int64(p)
		}
		return r.Op("Transpose", ir.In(x), ir.A("perm", perm))
	},
	func(r *grower, x *ir.Value) *ir.Value { return r.reshape(x, r.factors(r.shape(x).Size())...) },
	func(r *grower, x *ir.Value) *ir.Value { return r.reshape(x, r.factors(r.shape(x).Size())...) },
	func(r *grower, x *ir.Value) *ir.Value {
		return r.Op("Softmax", ir.In(x), axisAttr(int64(r.axis(x))))
	},
	func(r *grower, x *ir.Value) *ir.Value {
		return r.Op("ReduceMean", ir.In(x, r.Ints(r.axis(x))), ir.A("keepdims", ir.Int(1)))
	},
	func(r *grower, x *ir.Value) *ir.Value {
		return r.Op("Concat", ir.In(x, r.alike(x)), axisAttr(int64(r.axis(x))))
	},
	func(r *grower, x *ir.Value) *ir.Value { // a token
		shape := r.shape(x)
		a := r.axis(x)
		shape[a] = 1
		return r.Op("Concat", ir.In(r.Const("token", testutil.Random(2, shape...)), x), axisAttr(int64(a)))
	},
	func(r *grower, x *ir.Value) *ir.Value {
		a := r.axis(x)
		n := r.shape(x)[a]
		from := r.rng.IntN(n)
		return r.Op("Slice", ir.In(x, r.Ints(from), r.Ints(from+1+r.rng.IntN(n-from)), r.Ints(a)))
	},
	func(r *grower, x *ir.Value) *ir.Value {
		a := r.axis(x)
		n := r.shape(x)[a]
		return r.Op("Gather", ir.In(x, r.Ints(r.rng.IntN(n), r.rng.IntN(n))), axisAttr(int64(a)))
	},
	func(r *grower, x *ir.Value) *ir.Value {
		s := r.shape(x)
		return r.Op("MatMul", ir.In(x, r.Const("w", testutil.Random(3, s[len(s)-1], 2))))
	},
	func(r *grower, x *ir.Value) *ir.Value { // with itself, transposed
		n := len(r.shape(x))
		perm := make(ir.Ints, n)
		for i := range perm {
			perm[i] = int64(i)
		}
		if n > 1 {
			perm[n-1], perm[n-2] = perm[n-2], perm[n-1]
		}
		return r.Op("MatMul", ir.In(x, r.Op("Transpose", ir.In(x), ir.A("perm", perm))))
	},
	func(r *grower, x *ir.Value) *ir.Value {
		return r.Op("Unsqueeze", ir.In(x, r.Ints(r.rng.IntN(len(r.shape(x))+1))))
	},
	func(r *grower, x *ir.Value) *ir.Value { // a shape that is computed
		flat := r.Op("Tanh", ir.In(r.reshape(x, r.factors(r.shape(x).Size())...)))
		return r.Op("Reshape", ir.In(flat, r.Op("Shape", ir.In(r.alike(x)))))
	},
	func(r *grower, x *ir.Value) *ir.Value {
		ones := r.Op("Expand", ir.In(r.Const("one", tensor.Scalar[float32](1)), r.Op("Shape", ir.In(r.alike(x)))))
		return r.Op("Concat", ir.In(ones, x), axisAttr(int64(r.axis(x))))
	},
	func(r *grower, x *ir.Value) *ir.Value {
		return r.Op("CumSum", ir.In(x, r.Const("axis", tensor.Scalar(int64(r.axis(x))))))
	},
	func(r *grower, x *ir.Value) *ir.Value {
		a := r.axis(x)
		n := r.shape(x)[a]
		return r.Node("", "Split", ir.In(x, r.Ints(n-n/2, n/2)), 2, axisAttr(int64(a)))[0]
	},
	func(r *grower, x *ir.Value) *ir.Value {
		for i, n := range r.shape(x) {
			if n == 1 && r.rng.IntN(2) == 0 && len(r.shape(x)) > 1 {
				return r.Op("Squeeze", ir.In(x, r.Ints(i)))
			}
		}
		return x
	},
	func(r *grower, x *ir.Value) *ir.Value {
		at := r.Op("ArgMax", ir.In(x), axisAttr(int64(r.axis(x))), ir.A("keepdims", ir.Int(int64(r.rng.IntN(2)))))
		return r.Op("Cast", ir.In(at), ir.A("to", ir.Int(1)))
	},
	func(r *grower, x *ir.Value) *ir.Value { // parts of each sample in an order of its own
		a := int64(r.axis(x))
		i := r.Op("TopK", ir.In(x, r.Ints(1)), axisAttr(a)).Producer()
		i.SetOutput(1, r.Graph.NewValue(r.Names().Fresh("indices"), nil))
		r.Fail(r.an.Node(i))
		return r.Op("GatherElements", ir.In(r.alike(x), i.Output(1)), axisAttr(a))
	},
	func(r *grower, x *ir.Value) *ir.Value { return r.Op("Expand", ir.In(x, r.Ints(r.shape(x)...))) },
	func(r *grower, x *ir.Value) *ir.Value { return r.Op("Flatten", ir.In(x), axisAttr(int64(r.axis(x)))) },
}

// factors are extents whose product is n, with ones and a -1 in between.
func (r *grower) factors(n int) []int {
	var out []int
	for n > 1 || len(out) == 0 {
		f := 1
		for _, p := range []int{2, 3, 2, 4} {
			if n%(f*p) == 0 && r.rng.IntN(2) == 0 {
				f *= p
			}
		}
		if len(out) > 3 {
			f = n
		}
		if f > 1 || r.rng.IntN(2) == 0 {
			out = append(out, f)
			n /= f
		}
	}
	if r.rng.IntN(3) == 0 {
		out[r.rng.IntN(len(out))] = -1
	}
	return out
}
