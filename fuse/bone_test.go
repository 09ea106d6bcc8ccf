package fuse_test

import (
	"fmt"
	"testing"

	"github.com/bonnx/bonnx/fuse"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

// layer is a linear layer with a block, written as adapters are.
type layer struct {
	in, out, r int
	gemm       bool // with bias; else MatMul
	transB     bool
	x          []int
}

var layers = []layer{
	{in: 6, out: 4, r: 3, x: []int{2, 3, 6}},
	{in: 4, out: 5, r: 4, x: []int{3, 4}},
	{in: 5, out: 3, r: 2, x: []int{2, 2, 5}},
	{in: 6, out: 4, r: 2, gemm: true, x: []int{3, 6}},
	{in: 6, out: 4, r: 2, gemm: true, transB: true, x: []int{3, 6}},
	{in: 5, out: 4, r: 3, gemm: true, transB: true, x: []int{3, 5}},
}

func (l layer) String() string {
	return fmt.Sprintf("%dx%d r %d gemm %t transB %t", l.in, l.out, l.r, l.gemm, l.transB)
}

// base is the layer by the weight w.
func (l layer) base(s *sketch, x, w *ir.Value) *ir.Value {
	if !l.gemm {
		return s.Op("MatMul", ir.In(x, w))
	}
	t := ir.Int(0)
	if l.transB {
		t = 1
	}
	return s.Op("Gemm", ir.In(x, w, s.param("pc", l.out)), ir.A("transB", t))
}

func (l layer) weight(s *sketch) *ir.Value {
	shape := []int{l.in, l.out}
	if l.transB {
		shape = []int{l.out, l.in}
	}
	return s.Graph.AddInitializer("w", ir.Dense(s.random(shape...)))
}

// want are the operators after Raise.
func (l layer) want() map[string]int {
	if l.gemm {
		return map[string]int{"ai.bonnx:Bone": 1, ":Add": 1}
	}
	return map[string]int{"ai.bonnx:Bone": 1}
}

// activation writes y = base + fold(x) D.
func (l layer) activation(s *sketch, x *ir.Value) (y0, y *ir.Value) {
	y0 = l.base(s, x, l.weight(s))
	return y0, l.adapted(s, x, y0, "p")
}

// adapted writes y0 + fold(x) D with the block of that name.
func (l layer) adapted(s *sketch, x, y0 *ir.Value, block string) *ir.Value {
	var fold *ir.Value
	divides := l.in%l.r == 0
	if divides {
		t := s.Op("Reshape", ir.In(x, s.Ints(-1, l.in/l.r, l.r)))
		fold = s.Op("ReduceSum", ir.In(t, s.Ints(1)), ir.A("keepdims", ir.Int(0)))
	} else {
		f := tensor.New(tensor.Float64, l.in, l.r)
		for k := range l.in {
			tensor.Data[float64](f)[k*l.r+k%l.r] = 1
		}
		fold = s.Op("MatMul", ir.In(x, s.Const("fold", f)))
	}
	d := s.Op("MatMul", ir.In(fold, s.param(block, l.r, l.out)))
	if divides && !l.gemm {
		d = s.Op("Reshape", ir.In(d, s.Op("Shape", ir.In(y0))))
	}
	return s.add(y0, d)
}

func TestBoneActivation(t *testing.T) {
	for _, l := range layers {
		t.Run(l.String(), func(t *testing.T) {
			s := newSketch()
			_, y := l.activation(s, s.input("x", l.x...))
			s.output(y)
			s.check(t, l.want())
		})
	}
}

// The base layer's own result being read keeps the nodes as they are.
func TestBoneOfReadBase(t *testing.T) {
	s := newSketch()
	y0, y := layers[2].activation(s, s.input("x", layers[2].x...))
	s.output(y)
	s.output(y0)
	s.check(t, map[string]int{":MatMul": 3, ":Add": 1})
}

func (l layer) rows() []int {
	idx := make([]int, l.in)
	for k := range idx {
		idx[k] = k % l.r
	}
	return idx
}

func TestBoneWeight(t *testing.T) {
	for _, l := range layers {
		t.Run(l.String(), func(t *testing.T) {
			s := newSketch()
			x := s.input("x", l.x...)
			s.output(l.base(s, x, l.weighted(s, l.weight(s), "p")))
			s.check(t, l.want())
		})
	}
}

// weighted writes w + rows of the block of that name.
func (l layer) weighted(s *sketch, w *ir.Value, block string) *ir.Value {
	g := s.Op("Gather", ir.In(s.param(block, l.r, l.out), s.Ints(l.rows()...)), ir.A("axis", ir.Int(0)))
	if l.transB {
		g = s.Op("Transpose", ir.In(g), ir.A("perm", ir.Ints{1, 0}))
	}
	return s.add(w, g)
}

// TestBoneStack: two adapters of one layer are one, with the sum of their blocks,
// where the ranks allow it; in either form, and in both.
func TestBoneStack(t *testing.T) {
	for _, c := range []struct {
		r2   int
		more map[string]int // operators beside those of one adapter
	}{
		{2, map[string]int{":Add": 1}},
		{4, map[string]int{":Add": 1, ":Reshape": 2}},
		{1, map[string]int{":Add": 1, ":Reshape": 2}},
	} {
		for _, l := range []layer{
			{in: 8, out: 4, r: 2, x: []int{2, 3, 8}}, {in: 9, out: 5, r: 2, x: []int{4, 9}},
			{in: 8, out: 4, r: 2, gemm: true, x: []int{3, 8}}, {in: 9, out: 4, r: 2, gemm: true, transB: true, x: []int{3, 9}},
		} {
			second, want := l, l.want()
			second.r = c.r2
			for op, n := range c.more {
				want[op] += n
			}
			for name, stack := range map[string]func(s *sketch, x *ir.Value) *ir.Value{
				"activation": func(s *sketch, x *ir.Value) *ir.Value {
					_, y := l.activation(s, x)
					return second.adapted(s, x, y, "p2")
				},
				"weight": func(s *sketch, x *ir.Value) *ir.Value {
					return l.base(s, x, second.weighted(s, l.weighted(s, l.weight(s), "p"), "p2"))
				},
				"weight, then activation": func(s *sketch, x *ir.Value) *ir.Value {
					return second.adapted(s, x, l.base(s, x, l.weighted(s, l.weight(s), "p")), "p2")
				},
			} {
				t.Run(fmt.Sprintf("%v and %d, %s", l, c.r2, name), func(t *testing.T) {
					s := newSketch()
					s.output(stack(s, s.input("x", l.x...)))
					s.check(t, want)
				})
			}
		}
	}
}

// Of ranks that do not fit, the second stays a product of its own, which ends
// with the first.
func TestBoneStackOfOddRanks(t *testing.T) {
	l, second := layer{in: 6, out: 4, r: 3, x: []int{2, 3, 6}}, layer{in: 6, out: 4, r: 2}
	s := newSketch()
	x := s.input("x", l.x...)
	_, y := l.activation(s, x)
	s.output(second.adapted(s, x, y, "p2"))
	want, m := s.evaluate(t, s.model.Clone(), false), s.model.Clone()
	s.check(t, map[string]int{"ai.bonnx:Bone": 1, ":MatMul": 1, ":Add": 1, ":ReduceSum": 1, ":Reshape": 2, ":Shape": 1})
	if err := fuse.Raise(m, ops.Standard(), fuse.Options{Mutable: mutable}); err != nil {
		t.Fatal(err)
	}
	same(t, "late", s.evaluateLate(t, m), want)
}

// Forward and backward spelled out share the sum of weight and block.
func TestLoweredBoneSharesWeight(t *testing.T) {
	l := layers[0]
	s := newSketch()
	_, y := l.activation(s, s.input("x", l.x...))
	s.output(y)
	m := s.model
	if err := fuse.Raise(m, ops.Standard(), fuse.Options{Mutable: mutable}); err != nil {
		t.Fatal(err)
	}
	s.evaluate(t, m, true)
	if got := count(m); got[":Gather"] != 1 || got[":Add"] > 2 {
		t.Errorf("got %v", got)
	}
}

// MiSS's mini block is repeated along the columns by an operator that stays.
func TestMiniBlock(t *testing.T) {
	l := layer{in: 6, out: 4, r: 3, x: []int{2, 6}}
	s := newSketch()
	x := s.input("x", l.x...)
	d := s.Op("Concat", ir.In(s.param("p", 3, 2), s.param("p2", 3, 2)), ir.A("axis", ir.Int(1)))
	g := s.Op("Gather", ir.In(d, s.Ints(l.rows()...)), ir.A("axis", ir.Int(0)))
	s.output(l.base(s, x, s.add(l.weight(s), g)))
	s.check(t, map[string]int{"ai.bonnx:Bone": 1, ":Concat": 1})
}

func TestBat(t *testing.T) {
	for _, c := range []struct{ in, out, r int }{{4, 6, 2}, {6, 3, 3}, {3, 2, 1}} {
		s := newSketch()
		x := s.input("x", 2, 3, c.in)
		w := s.Graph.AddInitializer("w", ir.Dense(s.random(c.in, c.out)))
		b := s.param("p", c.out/c.r, c.r, c.r)
		eye := tensor.New(tensor.Float64, c.r, c.r)
		for i := range c.r {
			tensor.Data[float64](eye)[i*c.r+i] = 1
		}
		turn := func(v *ir.Value, perm ...int64) *ir.Value {
			return s.Op("Transpose", ir.In(v), ir.A("perm", ir.Ints(perm)))
		}
		stack := turn(s.Op("Reshape", ir.In(w, s.Ints(c.in/c.r, c.r, c.out/c.r, c.r))), 0, 2, 1, 3)
		delta := s.Op("MatMul", ir.In(turn(b, 0, 2, 1), s.add(stack, s.Const("eye", eye))))
		w2 := s.Op("Reshape", ir.In(turn(s.add(stack, delta), 0, 2, 1, 3), s.Ints(c.in, c.out)))
		s.output(s.Op("MatMul", ir.In(x, w2)))
		s.check(t, map[string]int{"ai.bonnx:BatWeight": 1, ":MatMul": 1})
	}
}

// TestConstantBone: blocks that never change become a part of the weight, one
// that does stays a layer of its own.
func TestConstantBone(t *testing.T) {
	for i, l := range layers {
		for _, changes := range []bool{false, true} {
			s := newSketch()
			x := s.input("x", l.x...)
			_, y := l.activation(s, x)
			if i%2 == 0 {
				y = l.adapted(s, x, y, "p2")
			}
			s.output(y)
			want := s.evaluate(t, s.model.Clone(), false)
			o := fuse.Options{}
			if changes {
				o.Mutable = mutable
			}
			for _, pass := range []func(*ir.Model, *ops.Set, fuse.Options) error{fuse.Raise, fuse.Late} {
				if err := pass(s.model, ops.Standard(), o); err != nil {
					t.Fatalf("%v: %v", l, err)
				}
			}
			if got := count(s.model)["ai.bonnx:Bone"]; got != map[bool]int{false: 0, true: 1}[changes] {
				t.Errorf("%v, the block changes %t: %d Bone nodes", l, changes, got)
			}
			if err := fuse.Lower(s.model, ops.Standard()); err != nil { // what Late puts in has no gradient
				t.Fatal(err)
			}
			same(t, l.String(), s.evaluate(t, s.model, false), want)
		}
	}
}

// TestSharedSums: layers of one input keep its sums once for the backward pass,
// those of another input or rank their own.
func TestSharedSums(t *testing.T) {
	for name, c := range map[string]struct {
		ranks []int
		apart bool // the last reads another input
		want  int
	}{"three": {[]int{2, 2, 2}, false, 1}, "ranks": {[]int{2, 4, 2}, false, 2}, "inputs": {[]int{2, 2, 2}, true, 2}} {
		s := newSketch()
		x := s.input("x", 2, 3, 8)
		for i, r := range c.ranks {
			if c.apart && i == 2 {
				x = s.Op("Tanh", ir.In(x))
			}
			l := layer{in: 8, out: 4, r: r}
			y := s.Op("MatMul", ir.In(x, s.Graph.AddInitializer(fmt.Sprint("w", i), ir.Dense(s.random(8, 4)))))
			s.output(l.adapted(s, x, y, fmt.Sprint("p", i)))
		}
		want := s.evaluate(t, s.model.Clone(), false)
		if err := fuse.Raise(s.model, ops.Standard(), fuse.Options{Mutable: mutable}); err != nil {
			t.Fatal(err)
		}
		same(t, name, s.evaluateLate(t, s.model), want)
		sums := 0
		for n := range s.model.Graph.Nodes() {
			if n.OpType == "Bone" && n.Output(1) != nil {
				sums++
			}
		}
		if sums != c.want {
			t.Errorf("%s: %d layers give sums, want %d", name, sums, c.want)
		}
	}
}

// TestBlockMadeAgain: a block that is made of others is made for each pass, one
// that is trained as it is, or never changes, is read by both.
func TestBlockMadeAgain(t *testing.T) {
	l := layer{in: 8, out: 4, r: 4, x: []int{2, 3, 8}}
	for name, c := range map[string]struct {
		block func(s *sketch) *ir.Value
		again bool
	}{
		"mini": {func(s *sketch) *ir.Value {
			return s.Op("Gather", ir.In(s.param("p", 4, 2), s.Ints(0, 1, 0, 1)), ir.A("axis", ir.Int(1)))
		}, true},
		"sum": {func(s *sketch) *ir.Value {
			parts := s.Op("Reshape", ir.In(s.param("p", 4, 4), s.Ints(2, 2, 4)))
			return s.Op("Reshape", ir.In(s.add(parts, s.param("p2", 2, 4)), s.Ints(4, 4)))
		}, true},
		"trained":   {func(s *sketch) *ir.Value { return s.param("p", 4, 4) }, false},
		"unchanged": {func(s *sketch) *ir.Value { return s.add(s.param("w2", 4, 4), s.param("w3", 4, 4)) }, false},
		"of what is computed": {func(s *sketch) *ir.Value {
			return s.add(s.param("p", 4, 4), s.Op("Sin", ir.In(s.param("p2", 4, 4))))
		}, false},
	} {
		s := newSketch()
		s.model.SetOpset(ops.Domain, 1)
		x := s.input("x", l.x...)
		s.output(s.Node(ops.Domain, "Bone", ir.In(x, l.weight(s), c.block(s)), 1)[0])
		want := s.evaluate(t, s.model.Clone(), false)
		same(t, name, s.evaluateLate(t, s.model), want)
		blocks := map[*ir.Value]bool{}
		for n := range s.model.Graph.Nodes() {
			if n.OpType == "Bone" || n.OpType == "BoneGradX" {
				blocks[n.Input(2)] = true
			}
		}
		if got := len(blocks) == 2; got != c.again {
			t.Errorf("%s: made again is %v, want %v", name, got, c.again)
		}
	}
}
