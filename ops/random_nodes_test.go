package ops_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

// TestRandomNodes makes nodes of every operator with inputs and attributes
// that fit by chance at best: whatever they say, nothing panics.
func TestRandomNodes(t *testing.T) {
	g := &nodeMaker{set: ops.Standard(), rnd: rand.New(rand.NewPCG(7, 7))}
	g.set.Rows(func(e ops.Entry) { g.rows = append(g.rows, e) })
	slices.SortFunc(g.rows, func(a, b ops.Entry) int { return strings.Compare(a.Domain+a.Name, b.Domain+b.Name) })
	seen := map[string]bool{}
	for range 50000 {
		g.try(func(what string) {
			if op, _, _ := strings.Cut(what, " "); !seen[op] {
				seen[op] = true
				t.Error(what)
			}
		})
	}
}

type nodeMaker struct {
	set  *ops.Set
	rnd  *rand.Rand
	rows []ops.Entry
}

// anInt is mostly small, at times absurd.
func (g *nodeMaker) anInt() int64 {
	odd := []int64{4, 7, 10, math.MaxInt64, math.MinInt64, 1 << 32}
	if g.rnd.IntN(4) == 0 {
		return odd[g.rnd.IntN(len(odd))]
	}
	return int64(g.rnd.IntN(6)) - 2
}

func (g *nodeMaker) tensor() *tensor.Tensor {
	types := []tensor.DType{tensor.Float32, tensor.Float32, tensor.Float64, tensor.Int64, tensor.Int64, tensor.Int32,
		tensor.Bool, tensor.Float16, tensor.Uint8, tensor.String, tensor.Int4}
	shape := make([]int, g.rnd.IntN(4))
	for i := range shape {
		shape[i] = g.rnd.IntN(4)
	}
	x := tensor.New(tensor.Int64, shape...)
	for i := range tensor.Data[int64](x) {
		tensor.Data[int64](x)[i] = g.anInt()
	}
	if y, err := x.Cast(types[g.rnd.IntN(len(types))]); err == nil {
		return y
	}
	return x
}

func (g *nodeMaker) inputs(e ops.Entry) []*tensor.Tensor {
	most := e.MaxIn
	if most < 0 || most > 7 {
		most = 4
	}
	in := make([]*tensor.Tensor, e.MinIn+g.rnd.IntN(max(most-e.MinIn, 0)+1))
	like := g.tensor()
	for i := range in {
		switch k := g.rnd.IntN(8); {
		case k < 3:
			in[i] = like.Clone()
		case k > 3 || i < e.MinIn:
			in[i] = g.tensor()
		}
	}
	return in
}

var attrNames = []string{"axis", "axes", "perm", "to", "k", "blocksize", "mode", "num_outputs", "batch_dims", "reduction",
	"allowzero", "start", "end", "keepdims", "transA", "alpha", "group", "kernel_shape", "pads", "strides", "dilations",
	"auto_pad", "epsilon", "num_groups", "upper", "largest", "exclusive", "equation", "batch_axis", "time_axis", "rank"}

func (g *nodeMaker) attr() *ir.Attr {
	name := attrNames[g.rnd.IntN(len(attrNames))]
	words := []string{"add", "reflect", "edge", "CRD", "max", "SAME_UPPER", "VALID", "ij,jk->ik"}
	switch g.rnd.IntN(3) {
	case 0:
		return ir.A(name, ir.Int(g.anInt()))
	case 1:
		list := make(ir.Ints, g.rnd.IntN(4))
		for i := range list {
			list[i] = g.anInt()
		}
		return ir.A(name, list)
	}
	return ir.A(name, ir.String(words[g.rnd.IntN(len(words))]))
}

// node makes a node; attributes that its operator refuses are left out.
func (g *nodeMaker) node(e ops.Entry, in []*tensor.Tensor) *ir.Node {
	graph := ir.NewGraph("g")
	vals := make([]*ir.Value, len(in))
	for i, t := range in {
		if t != nil {
			vals[i] = graph.NewValue("x", nil)
		}
	}
	n := ir.NewNode(e.Domain, e.Name, vals...)
	n.SetOutput(0, graph.NewValue("y", nil))
	if e.MaxOut != 1 && g.rnd.IntN(2) == 0 {
		n.SetOutput(1, graph.NewValue("z", nil))
	}
	for range g.rnd.IntN(4) {
		before := slices.Clone(n.Attrs)
		if a := g.attr(); n.Attr(a.Name) == nil {
			n.Attrs = append(n.Attrs, a)
		}
		if _, err := g.set.Parse(n, ops.CanonicalOpset); err != nil {
			n.Attrs = before
		}
	}
	return n
}

// facts are true of the tensors, and say more or less.
func (g *nodeMaker) facts(in []*tensor.Tensor) []ops.Fact {
	facts := make([]ops.Fact, len(in))
	for i, t := range in {
		if t == nil {
			continue
		}
		facts[i] = ops.Constant(t)
		switch g.rnd.IntN(3) {
		case 0:
			facts[i] = ops.Fact{DType: t.DType()}
		case 1:
			facts[i] = facts[i].WithoutValue()
			for k := range facts[i].Dims {
				if g.rnd.IntN(2) == 0 {
					facts[i].Dims[k] = ir.Symbol("s")
				}
			}
		}
	}
	return facts
}

func (g *nodeMaker) try(report func(what string)) {
	e := g.rows[g.rnd.IntN(len(g.rows))]
	in := g.inputs(e)
	var n *ir.Node
	defer func() {
		if p := recover(); p != nil {
			what := fmt.Sprintf("%s panics: %v; inputs %v", e.Name, p, in)
			if n != nil {
				for _, a := range n.Attrs {
					what += fmt.Sprintf(", %s=%v", a.Name, a.Value)
				}
			}
			report(what)
		}
	}()
	n = g.node(e, in)
	op, err := g.set.Parse(n, ops.CanonicalOpset)
	if err != nil {
		return
	}
	if _, dynamic := op.(ops.Dynamic); dynamic {
		return
	}
	_, _ = op.Infer(g.facts(in)) // the point is that it returns
	whole := make([]ops.Fact, len(in))
	for i, t := range in {
		if t != nil {
			whole[i] = ops.Constant(t)
		}
	}
	out, err := op.Infer(whole)
	if err != nil {
		return
	}
	for _, f := range out {
		if s, ok := f.Shape(); ok {
			if size, err := s.CheckedSize(); err != nil || size > 1<<16 {
				return
			}
		}
	}
	_, _ = ops.EvalOn(nil, g.rnd, op, in, min(len(n.Outputs()), len(out)))
}
