package runtime_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/internal/testutil/opcheck"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/runtime"
	"github.com/bonnx/bonnx/tensor"
)

// maker makes random graphs over square matrices of a symbolic extent, and
// vectors of all their elements.
type maker struct {
	*ir.Builder
	g            *ir.Graph
	r            *rand.Rand
	mats, flats  []*ir.Value
	small        []*ir.Value // initializers of one element
	back, square *ir.Value   // shapes: (-1), and the inputs'
}

func newModel() *ir.Model {
	m := &ir.Model{IRVersion: 8, Graph: ir.NewGraph("test")}
	m.SetOpset("", 18)
	return m
}

func randomModel(seed uint64, nodes int) *ir.Model {
	m := newModel()
	k := &maker{Builder: ir.NewBuilder(m.Graph, ir.NewNames(m)), g: m.Graph, r: rand.New(rand.NewPCG(seed, 7))}
	for i := range 2 {
		k.mats = append(k.mats, m.Graph.AddInput(fmt.Sprintf("x%d", i), ir.Tensor(tensor.Float32, ir.Symbol("n"), ir.Symbol("n"))))
		k.small = append(k.small, m.Graph.AddInitializer(fmt.Sprintf("w%d", i), ir.Dense(testutil.Random(seed+uint64(i), 1, 1))))
	}
	k.back, k.square = k.Ints(-1), k.Op("Shape", ir.In(k.mats[0]))
	for range nodes {
		makers[k.r.IntN(len(makers))](k)
	}
	k.outputs()
	return m
}

func pick(k *maker, from []*ir.Value) *ir.Value {
	if k.r.IntN(2) == 0 {
		from = from[max(0, len(from)-3):] // chains, so that buffers are taken over
	}
	return from[k.r.IntN(len(from))]
}

func (k *maker) mat(v *ir.Value) { k.mats = append(k.mats, v) }
func (k *maker) any() *ir.Value  { return pick(k, k.mats) }
func (k *maker) wide() *ir.Value {
	return k.Op("Concat", ir.In(k.any(), k.any()), ir.A("axis", ir.Int(0)))
}
func (k *maker) name(s ...string) string { return s[k.r.IntN(len(s))] }

var makers = []func(k *maker){
	func(k *maker) { k.mat(k.Op(k.name("Relu", "Tanh", "Neg", "Sigmoid", "Abs", "Tanh"), ir.In(k.any()))) },
	func(k *maker) { k.mat(k.Op(k.name("Add", "Sub", "Mul", "Max"), ir.In(k.any(), k.any()))) },
	func(k *maker) { v := k.any(); k.mat(k.Op(k.name("Add", "Mul", "Sub"), ir.In(v, v))) },
	func(k *maker) { k.mat(k.Op(k.name("Add", "Mul"), ir.In(pick(k, k.small), k.any()))) },
	func(k *maker) { k.mat(k.Op("Tanh", ir.In(k.Op("MatMul", ir.In(k.any(), k.any()))))) },
	func(k *maker) { k.mat(k.Op("Transpose", ir.In(k.any()), ir.A("perm", ir.Ints{1, 0}))) },
	func(k *maker) { k.mat(k.Op("Identity", ir.In(k.any()))) },
	func(k *maker) { k.mat(k.Op("Clip", ir.In(k.any()))) },
	func(k *maker) { k.flats = append(k.flats, k.Op("Reshape", ir.In(k.any(), k.back))) },
	func(k *maker) {
		if len(k.flats) > 0 {
			f := pick(k, k.flats)
			if k.r.IntN(2) == 0 {
				f = k.Op("Relu", ir.In(f))
			}
			k.flats = append(k.flats, f)
			k.mat(k.Op("Reshape", ir.In(f, k.square)))
		}
	},
	func(k *maker) {
		for _, v := range k.Node("", "Split", ir.In(k.wide()), 2, ir.A("axis", ir.Int(0)), ir.A("num_outputs", ir.Int(2))) {
			k.mat(v)
		}
	},
	func(k *maker) { k.small = append(k.small, k.Op("Reshape", ir.In(pick(k, k.small), k.Ints(1)))) },
}

// outputs are random values, and views of an input, an initializer, and of
// another output.
func (k *maker) outputs() {
	seen := map[*ir.Value]bool{}
	put := func(v *ir.Value) {
		if !seen[v] && !v.IsInput() && !v.IsInitializer() {
			seen[v] = true
			v.Type = &ir.TensorType{Elem: tensor.Float32}
			k.g.Outputs = append(k.g.Outputs, v)
		}
	}
	for range 4 {
		put(k.any())
	}
	put(k.mats[len(k.mats)-1])
	for _, v := range ir.In(k.mats[k.r.IntN(2)], k.any(), k.g.Outputs[0], pick(k, k.small)) {
		put(k.Op("Reshape", ir.In(v, k.back)))
	}
}

func compile(t testing.TB, m *ir.Model, o runtime.Options) *runtime.Program {
	t.Helper()
	p, err := runtime.Compile(m, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func session(t testing.TB, p *runtime.Program, share ...*runtime.Session) *runtime.Session {
	t.Helper()
	s, err := p.NewSession(share...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

type feed = map[string]*tensor.Tensor

func run(t testing.TB, s *runtime.Session, f feed) []*tensor.Tensor {
	t.Helper()
	out, err := s.Run(context.Background(), f)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// observed are copies of what a run gives in which each node has a step of its
// own.
func observed(t testing.TB, s *runtime.Session, f feed) (out []*tensor.Tensor) {
	t.Helper()
	got, err := s.RunObserved(context.Background(), f, func(*ir.Node, []*tensor.Tensor) {})
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range got {
		out = append(out, x.Clone())
	}
	return out
}

// nodeByNode is what the model's outputs are, computed without a plan.
func nodeByNode(t testing.TB, m *ir.Model, f feed) []*tensor.Tensor {
	t.Helper()
	feeds := map[*ir.Value]*tensor.Tensor{}
	for _, v := range m.Graph.Inputs {
		feeds[v] = f[v.Name]
	}
	out, err := opcheck.Run(ops.Standard(), m, feeds, m.Graph.Outputs)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func squares(seed uint64, n int) feed {
	return feed{"x0": testutil.Random(seed, n, n), "x1": testutil.Random(seed+1, n, n)}
}

// TestRandomGraphs holds plans to a run node by node: over several shapes in
// one session, on one thread and two, with and without fusions.
func TestRandomGraphs(t *testing.T) {
	for seed := range uint64(60) {
		m := randomModel(seed, 5+int(seed))
		plain := session(t, compile(t, m, runtime.Options{NoFusion: true, Threads: 1}))
		two := session(t, compile(t, m, runtime.Options{NoFusion: true, Threads: 2}))
		fused := session(t, compile(t, m, runtime.Options{Threads: 1}))
		fusedTwo := session(t, compile(t, m, runtime.Options{Threads: 2}))
		for _, n := range []int{3, 17, 1, 3, 67, 8, 17} { // 67: elementwise nodes run in chains
			f := squares(seed, n)
			want := nodeByNode(t, m, f)
			for i, got := range run(t, plain, f) {
				if !got.Equal(want[i]) {
					t.Fatalf("seed %d, n %d: %q: %v", seed, n, m.Graph.Outputs[i].Name, testutil.Compare(got, want[i], 0, 0))
				}
			}
			for i, got := range run(t, two, f) {
				if !got.Equal(want[i]) {
					t.Fatalf("seed %d, n %d, two threads: %q: %v", seed, n, m.Graph.Outputs[i].Name, testutil.Compare(got, want[i], 0, 0))
				}
			}
			apart := observed(t, fusedTwo, f)
			again := run(t, fusedTwo, f)
			for i, got := range run(t, fused, f) {
				testutil.Close(t, fmt.Sprintf("seed %d, n %d, fused: %q", seed, n, m.Graph.Outputs[i].Name), got, want[i], 1e-5, 1e-5)
				if !got.Equal(again[i]) {
					t.Errorf("seed %d, n %d: %q differs between one thread and two", seed, n, m.Graph.Outputs[i].Name)
				}
				if !got.Equal(apart[i]) {
					t.Errorf("seed %d, n %d: %q differs where each node runs by itself", seed, n, m.Graph.Outputs[i].Name)
				}
			}
			for name, x := range squares(seed, n) {
				if !x.Equal(f[name]) {
					t.Fatalf("seed %d, n %d: the run changed the feed %q", seed, n, name)
				}
			}
		}
	}
}

// TestManyGoroutines runs one program in many sessions at once.
func TestManyGoroutines(t *testing.T) {
	m := randomModel(5, 40)
	p := compile(t, m, runtime.Options{Threads: 2})
	shapes := []int{1, 2, 5, 9, 16, 31, 4, 7}
	want := make([][]*tensor.Tensor, len(shapes))
	for i, n := range shapes {
		for _, x := range run(t, session(t, compile(t, m, runtime.Options{Threads: 1})), squares(uint64(n), n)) {
			want[i] = append(want[i], x.Clone())
		}
	}
	done := make(chan error)
	for w := range 8 {
		go func() {
			done <- func() error {
				s, err := p.NewSession()
				for i := 0; err == nil && i < 24; i++ {
					k := (i*(w+1) + w) % len(shapes)
					var out []*tensor.Tensor
					if out, err = s.Run(context.Background(), squares(uint64(shapes[k]), shapes[k])); err != nil {
						break
					}
					for j, x := range out {
						if !x.Equal(want[k][j]) {
							err = fmt.Errorf("goroutine %d, shape %d: output %d differs from the sequential run", w, shapes[k], j)
						}
					}
				}
				return err
			}()
		}()
	}
	for range 8 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}
