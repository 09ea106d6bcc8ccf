package ops_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/bonnx/bonnx/internal/par"
	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

// chainMaker makes random chains, and computes them node by node.
type chainMaker struct {
	t     *testing.T
	r     *rand.Rand
	chain ops.Chain
	in    []*tensor.Tensor
	all   []*tensor.Tensor
}

func chainOp(t *testing.T, name string, in, out int) ops.Pointwise {
	t.Helper()
	domain := ""
	if name == "GatedSiLUGrad" {
		domain = ops.Domain
	}
	m := &ir.Model{IRVersion: 8, Graph: ir.NewGraph("test")}
	m.SetOpset("", 18)
	m.SetOpset(ops.Domain, 1)
	var vs []*ir.Value
	for i := range in {
		vs = append(vs, m.Graph.AddInput(fmt.Sprint("x", i), ir.Tensor(tensor.Float32)))
	}
	n := ir.NewNode(domain, name, vs...)
	for i := range out {
		n.SetOutput(i, m.Graph.NewValue(fmt.Sprint("y", i), nil))
	}
	op, err := ops.Standard().Parse(n, m.Opset(domain))
	if err != nil {
		t.Fatal(err)
	}
	return op.(ops.Pointwise)
}

// link appends an operator on the values of these numbers.
func (k *chainMaker) link(name string, out int, in ...int) {
	op := chainOp(k.t, name, len(in), out)
	args := make([]*tensor.Tensor, len(in))
	for i, v := range in {
		args[i] = k.all[v]
	}
	got, err := ops.Eval(op, args, out)
	if err != nil {
		k.t.Fatalf("%s: %v", name, err)
	}
	k.all = append(k.all, got...)
	k.chain.Links = append(k.chain.Links, ops.Link{Op: op, In: in, Out: out})
}

// full is the number of a random value of the result's shape.
func (k *chainMaker) full(shape tensor.Shape) int {
	for {
		i := len(k.all) - 1 - k.r.IntN(min(len(k.all), 5))
		if k.r.IntN(3) == 0 {
			i = k.r.IntN(len(k.all))
		}
		if k.all[i].Shape().Equal(shape) && k.all[i].DType() == tensor.Float32 {
			return i
		}
	}
}

func randomChain(t *testing.T, seed uint64) *chainMaker {
	k := &chainMaker{t: t, r: rand.New(rand.NewPCG(seed, 3))}
	shape := tensor.Shape{1 + k.r.IntN(3), 1 + k.r.IntN(4), 1 + k.r.IntN(40)}
	k.in = append(k.in, testutil.Random(seed, shape...), testutil.Random(seed+50, shape...), testutil.Random(seed+60))
	for i := range 3 {
		s := shape.Clone()
		for a := range s {
			if k.r.IntN(2) == 0 {
				s[a] = 1
			}
		}
		k.in = append(k.in, testutil.Random(seed+uint64(100*i), s[k.r.IntN(2):]...))
	}
	k.all = slices.Clone(k.in)
	for range 2 + k.r.IntN(8) {
		x := k.full(shape)
		switch k.r.IntN(6) {
		case 0:
			k.link([]string{"Tanh", "Neg", "Sigmoid", "Relu"}[k.r.IntN(4)], 1, x)
		case 1:
			k.link("GatedSiLUGrad", 2, x, k.full(shape), k.full(shape))
		case 2:
			k.link("Greater", 1, x, k.full(shape))
			k.link("Where", 1, len(k.all)-1, k.r.IntN(len(k.in)), x)
		case 3:
			k.link("Sum", 1, x, k.r.IntN(len(k.in)), x)
		default:
			k.link([]string{"Add", "Mul", "Sub", "Max"}[k.r.IntN(4)], 1, x, k.r.IntN(len(k.in)))
		}
	}
	for v := len(k.in); v < len(k.all); v++ {
		if v == len(k.all)-1 || k.r.IntN(3) == 0 {
			k.chain.Leave = append(k.chain.Leave, v)
		}
	}
	return k
}

// TestRandomChains runs chains in tiles of many sizes, on one thread and two,
// and with outputs in the storage of inputs as they offer; the results are those
// of the operators alone, bit for bit.
func TestRandomChains(t *testing.T) {
	for seed := range uint64(200) {
		k := randomChain(t, seed)
		for _, size := range []int{1, 2, 7, 16, 33, 0} {
			for _, threads := range []int{1, 2} {
				k.chain.Tile = size
				k.hold(fmt.Sprintf("seed %d, tiles of %d, %d threads", seed, size, threads), threads)
			}
		}
	}
}

// hold runs the chain twice: with outputs of their own, and in place.
func (k *chainMaker) hold(what string, threads int) {
	k.t.Helper()
	var facts []ops.Fact
	for _, x := range k.in {
		facts = append(facts, ops.Concrete(x.DType(), x.Shape()...))
	}
	outs, err := k.chain.Infer(facts)
	if err != nil {
		k.t.Fatal(err)
	}
	var states []func() any
	b := ops.NewBinder(&ops.Cache{}, &states)
	b.Threads = threads
	step, err := k.chain.Bind(b, facts, outs)
	if err != nil {
		k.t.Fatal(err)
	}
	pool := par.New(threads)
	defer pool.Close()
	frame := ops.NewFrame(pool, nil, b.ScratchSize(), states)
	for _, inPlace := range []bool{false, true} {
		in, out := make([]*tensor.Tensor, len(k.in)), make([]*tensor.Tensor, len(outs))
		for i, x := range k.in {
			in[i] = x.Clone()
		}
		for i, f := range outs {
			out[i] = tensor.New(f.DType, f.MustShape()...)
		}
		taken := map[int]bool{}
		for _, o := range b.InPlaceOffers() {
			if inPlace && !taken[o.In] && len(taken) <= o.Out {
				taken[o.In], out[o.Out] = true, in[o.In]
			}
		}
		if err := step(frame, in, out); err != nil {
			k.t.Fatal(err)
		}
		for i, v := range k.chain.Leave {
			if !out[i].Equal(k.all[v]) {
				k.t.Fatalf("%s, in place %v: output %d: %v", what, inPlace, i, testutil.Compare(out[i], k.all[v], 0, 0))
			}
		}
	}
}

// inTiles holds the pointwise nodes of a canonical graph to themselves in small
// tiles.
func inTiles(an *ops.Analysis, g *ir.Graph, run func(want []*ir.Value) ([]*tensor.Tensor, error)) error {
	for n := range g.Nodes() {
		op, ok := an.Op(n).(ops.Pointwise)
		if !ok {
			continue
		}
		var want []*ir.Value
		l := ops.Link{Op: op, Out: len(n.Outputs())}
		for _, v := range n.Inputs() {
			if v == nil {
				l.In = append(l.In, -1)
				continue
			}
			l.In = append(l.In, len(want))
			want = append(want, v)
		}
		ins := len(want)
		vals, err := run(append(want, n.Outputs()...))
		if err != nil {
			return err
		}
		if slices.ContainsFunc(vals, func(t *tensor.Tensor) bool { return t.DType() == tensor.String || t.DType().Bits() < 8 }) {
			continue
		}
		for _, size := range []int{1, 3, 1000} {
			c := &ops.Chain{Links: []ops.Link{l}, Tile: size}
			for i := range n.Outputs() {
				c.Leave = append(c.Leave, ins+i)
			}
			got, err := ops.Eval(c, vals[:ins], l.Out)
			if err != nil {
				return fmt.Errorf("%v in tiles of %d: %w", n, size, err)
			}
			for i, x := range got {
				if !x.Equal(vals[ins+i]) {
					return fmt.Errorf("%v in tiles of %d: %v", n, size, testutil.Compare(x, vals[ins+i], 0, 0))
				}
			}
		}
	}
	return nil
}
