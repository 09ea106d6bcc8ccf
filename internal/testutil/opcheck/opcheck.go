// Package opcheck tests single operators: forward against wanted values,
// gradients against finite differences in float64 with symbolic shapes, and
// composites against their expansion.
package opcheck

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

// Case is one application of an operator.
type Case struct {
	Name    string
	Domain  string
	Op      string
	Opset   int64 // of the standard domain; 0 means ops.CanonicalOpset
	Attrs   []*ir.Attr
	Inputs  []*tensor.Tensor // nil is left out
	Outputs int              // 0 means 1
	// Const lists inputs that are constants of the graph (axes, shapes, k);
	// integer inputs are constants unless Fed lists them.
	Const []int
	// Fed lists integer inputs that are graph inputs, unknown when the graph
	// is built.
	Fed []int
	// Diff lists the inputs whose gradient is checked; nil means all float64
	// inputs that are not constants.
	Diff []int
	// GradOf lists the outputs that a gradient flows from; nil means all
	// float outputs.
	GradOf []int
	// Step and Tol of the finite differences; 0 means 1e-5 and 1e-6.
	Step, Tol float64
	// Set is the table; nil means ops.Standard().
	Set *ops.Set
	// Canonical has the case go through ops.Canonical, as functions always do:
	// for forms of older opsets.
	Canonical bool
}

// Random is a float64 tensor of numbers in [lo, hi), the same for the same
// seed.
func Random(seed uint64, lo, hi float64, shape ...int) *tensor.Tensor {
	r := rand.New(rand.NewPCG(seed, 1))
	t := tensor.New(tensor.Float64, shape...)
	for i := range tensor.Data[float64](t) {
		tensor.Data[float64](t)[i] = lo + (hi-lo)*r.Float64()
	}
	return t
}

type built struct {
	model *ir.Model
	names *ir.Names
	node  *ir.Node
	an    *ops.Analysis
	b     *ops.Builder
}

// model makes a model of the one node. mode 0: shapes symbolic; 1: shapes
// known; 2: ranks unknown too.
func (c *Case) model(mode int) (*ir.Model, *ir.Node) {
	opset := c.Opset
	if opset == 0 {
		opset = ops.CanonicalOpset
	}
	g := ir.NewGraph("case")
	m := &ir.Model{IRVersion: 8, Opsets: []ir.Opset{{Version: opset}, {Domain: ops.Domain, Version: 1}}, Graph: g}
	if c.Domain != "" && c.Domain != ops.Domain {
		m.SetOpset(c.Domain, 1)
	}
	in := make([]*ir.Value, len(c.Inputs))
	for i, t := range c.Inputs {
		if t == nil {
			continue
		}
		name := fmt.Sprintf("x%d", i)
		if slices.Contains(c.Const, i) || !t.DType().IsFloat() && !slices.Contains(c.Fed, i) {
			in[i] = g.AddInitializer(name, ir.Dense(t))
			continue
		}
		typ := &ir.TensorType{Elem: t.DType(), Ranked: mode < 2}
		for j, n := range t.Shape() {
			d := ir.Symbol(fmt.Sprintf("%s_%d", name, j))
			if mode == 1 {
				d = ir.Fixed(int64(n))
			}
			typ.Dims = append(typ.Dims, d)
		}
		if mode == 2 {
			typ.Dims = nil
		}
		in[i] = g.AddInput(name, typ)
	}
	n := ir.NewNode(c.Domain, c.Op, in...)
	n.Name = "node"
	n.Attrs = c.Attrs
	for i := range max(1, c.Outputs) {
		n.SetOutput(i, g.NewValue(fmt.Sprintf("y%d", i), nil))
	}
	g.Append(n)
	return m, n
}

// build analyzes the model of the one node.
func (c *Case) build(mode int) (*built, error) {
	m, n := c.model(mode)
	an, err := c.set().Analyze(m, ops.AnalyzeOptions{})
	if err != nil {
		return nil, err
	}
	names := ir.NewNames(m)
	return &built{m, names, n, an, ops.NewBuilder(an, m.Graph, names)}, nil
}

func (c *Case) set() *ops.Set {
	if c.Set != nil {
		return c.Set
	}
	return ops.Standard()
}

// Eval runs the case's node alone, for tests that look at errors.
func Eval(c Case) ([]*tensor.Tensor, error) {
	if c.isFunction() {
		w, err := c.spelled(1)
		if err != nil {
			return nil, err
		}
		return w.run(c.Inputs)
	}
	b, err := c.build(1)
	if err != nil {
		return nil, err
	}
	return Run(c.set(), b.model, c.feeds(b), b.node.Outputs())
}

func (c *Case) feeds(b *built) map[*ir.Value]*tensor.Tensor {
	feeds := map[*ir.Value]*tensor.Tensor{}
	for i, v := range b.node.Inputs() {
		if v != nil && v.IsInput() {
			feeds[v] = c.Inputs[i]
		}
	}
	return feeds
}

// Forward runs the case and compares output i with want[i] (nil is not
// compared): shape and dtype exactly, floats within abs+rel tol.
func Forward(t *testing.T, c Case, tol float64, want ...*tensor.Tensor) {
	t.Helper()
	if c.isFunction() {
		c.forwardSpelled(t, tol, want)
		return
	}
	for mode, what := range []string{"symbolic", "known", "unranked"} {
		b, err := c.build(mode)
		if err != nil {
			if mode == 2 {
				continue // an operator may need ranks
			}
			t.Fatalf("%s (%s shapes): %v", c.Name, what, err)
		}
		got, err := Run(c.set(), b.model, c.feeds(b), b.node.Outputs())
		if err != nil {
			t.Fatalf("%s: %v", c.Name, err)
		}
		for i, w := range want {
			if w != nil {
				Close(t, fmt.Sprintf("%s: output %d", c.Name, i), got[i], w, tol)
			}
		}
		for i, o := range b.node.Outputs() {
			checkFact(t, fmt.Sprintf("%s: output %d (%s shapes)", c.Name, i, what), b.an.Fact(o), got[i])
		}
	}
}

// checkFact holds what inference claimed against what was computed.
func checkFact(t *testing.T, what string, f ops.Fact, got *tensor.Tensor) {
	t.Helper()
	if f.DType != got.DType() {
		t.Errorf("%s: inferred %v, got %v", what, f, got)
	}
	if f.Ranked && f.Rank() != got.Rank() {
		t.Errorf("%s: inferred %v, got %v", what, f, got)
		return
	}
	for i, d := range f.Dims {
		if d.Known && int(d.Value) != got.Shape()[i] {
			t.Errorf("%s: inferred %v, got %v", what, f, got)
		}
	}
}

// Gradient compares each gradient with central finite differences, with
// symbolic, with known, and where the operator allows it with unknown ranks.
func Gradient(t *testing.T, c Case) {
	t.Helper()
	for mode, what := range []string{"symbolic", "known", "unranked"} {
		if err := c.gradient(mode); err != nil {
			if mode == 2 && err == errNeedsRank {
				continue
			}
			t.Errorf("%s (%s shapes): %v", c.Name, what, err)
		}
	}
}

// GradientKnown is Gradient for cases whose gradient needs known extents.
func GradientKnown(t *testing.T, c Case) {
	t.Helper()
	if err := c.gradient(1); err != nil {
		t.Errorf("%s: %v", c.Name, err)
	}
}

// differentiated notes whose gradients were compared, for Differentiated.
var differentiated sync.Map

// Differentiated are the operators, as DOMAIN.NAME, whose gradients this test
// binary compared with finite differences so far.
func Differentiated() map[string]bool {
	m := map[string]bool{}
	differentiated.Range(func(k, _ any) bool { m[k.(string)] = true; return true })
	return m
}

var errNeedsRank = fmt.Errorf("needs the rank")

func (c *Case) gradient(mode int) error {
	differentiated.Store(c.Domain+"."+c.Op, true)
	if c.isFunction() {
		return c.gradientSpelled(mode)
	}
	b, err := c.build(mode)
	if err != nil {
		if mode == 2 {
			return errNeedsRank
		}
		return err
	}
	outs, err := Run(c.set(), b.model, c.feeds(b), b.node.Outputs())
	if err != nil {
		return err
	}
	feeds := c.feeds(b)
	grads := make([]*ir.Value, len(outs))
	up := make([]*tensor.Tensor, len(outs))
	for i, o := range outs {
		if o.DType() != tensor.Float64 || c.GradOf != nil && !slices.Contains(c.GradOf, i) {
			continue
		}
		up[i] = Random(uint64(100+i), -1, 1, o.Shape()...)
		f := b.an.Fact(b.node.Output(i))
		grads[i] = b.model.Graph.AddInput(fmt.Sprintf("g%d", i), f.Type())
		b.an.Set(grads[i], f.WithoutValue())
		feeds[grads[i]] = up[i]
	}
	diff := c.diff(b)
	needs := make([]bool, len(c.Inputs))
	for _, i := range diff {
		needs[i] = true
	}
	if err := c.appendGrad(b, grads, needs, mode); err != nil {
		return err
	}
	for _, i := range diff {
		if err := c.compare(b, feeds, up, i); err != nil {
			return err
		}
	}
	return nil
}

func (c *Case) diff(b *built) []int {
	if c.Diff != nil {
		return c.Diff
	}
	var diff []int
	for i, v := range b.node.Inputs() {
		if v != nil && v.IsInput() && c.Inputs[i].DType() == tensor.Float64 {
			diff = append(diff, i)
		}
	}
	return diff
}

// appendGrad builds the gradients and makes them the graph's outputs.
func (c *Case) appendGrad(b *built, grads []*ir.Value, needs []bool, mode int) error {
	d, ok := b.an.Op(b.node).(ops.Differentiable)
	if !ok {
		return fmt.Errorf("%s has no gradient", c.Op)
	}
	gb := ops.NewGradBuilder(b.b, b.node, grads, needs)
	err := d.Grad(gb)
	if err == nil {
		err = gb.Err()
	}
	if err != nil {
		if mode == 2 {
			return errNeedsRank
		}
		return err
	}
	b.model.Graph.Outputs = gb.Results()
	return nil
}

func (c *Case) compare(b *built, feeds map[*ir.Value]*tensor.Tensor, up []*tensor.Tensor, i int) error {
	gv := b.model.Graph.Outputs[i]
	if gv == nil {
		return fmt.Errorf("no gradient of input %d", i)
	}
	res, err := Run(c.set(), b.model, feeds, []*ir.Value{gv})
	if err != nil {
		return err
	}
	want, err := c.numeric(up, i)
	if err != nil {
		return err
	}
	return c.agree(i, res[0], want)
}

// agree compares the gradient of input i with finite differences.
func (c *Case) agree(i int, t *tensor.Tensor, want []float64) error {
	if !t.Shape().Equal(c.Inputs[i].Shape()) || t.DType() != tensor.Float64 {
		return fmt.Errorf("gradient of input %d is %v, want %v", i, t, c.Inputs[i])
	}
	got := tensor.Data[float64](t)
	tol := c.Tol
	if tol == 0 {
		tol = 1e-6
	}
	for k := range got {
		if !(math.Abs(got[k]-want[k]) <= tol*(1+math.Abs(want[k]))) {
			return fmt.Errorf("gradient of input %d, element %d: got %.9g, finite differences give %.9g", i, k, got[k], want[k])
		}
	}
	return nil
}

// numeric is the gradient of sum(up*y) by central differences.
func (c *Case) numeric(up []*tensor.Tensor, i int) ([]float64, error) {
	b, err := c.build(1)
	if err != nil {
		return nil, err
	}
	feeds := c.feeds(b)
	x := c.Inputs[i].Clone()
	for v, t := range feeds {
		if t == c.Inputs[i] {
			feeds[v] = x
		}
	}
	return c.differences(x, up, func() ([]*tensor.Tensor, error) {
		return Run(c.set(), b.model, feeds, b.node.Outputs())
	})
}

// differences is the gradient of sum(up*y) with respect to x, run giving y.
func (c *Case) differences(x *tensor.Tensor, up []*tensor.Tensor, run func() ([]*tensor.Tensor, error)) ([]float64, error) {
	h := c.Step
	if h == 0 {
		h = 1e-5
	}
	loss := func() (float64, error) {
		outs, err := run()
		if err != nil {
			return 0, err
		}
		sum := 0.0
		for j, u := range up {
			if u == nil {
				continue
			}
			y, w := tensor.Data[float64](outs[j]), tensor.Data[float64](u)
			for k := range y {
				sum += y[k] * w[k]
			}
		}
		return sum, nil
	}
	xs := tensor.Data[float64](x)
	out := make([]float64, len(xs))
	for k := range xs {
		at := xs[k]
		xs[k] = at + h
		hi, err := loss()
		if err != nil {
			return nil, err
		}
		xs[k] = at - h
		lo, err := loss()
		if err != nil {
			return nil, err
		}
		xs[k] = at
		out[k] = (hi - lo) / (2 * h)
	}
	return out, nil
}

// Expansion compares a composite's kernel with its body of standard
// operators, built with symbolic and with known shapes.
func Expansion(t *testing.T, c Case, tol float64) {
	t.Helper()
	for mode, what := range []string{"symbolic", "known"} {
		b, err := c.build(mode)
		if err != nil {
			t.Fatalf("%s: %v", c.Name, err)
		}
		comp, ok := b.an.Op(b.node).(ops.Composite)
		if !ok {
			t.Fatalf("%s is not composite", c.Op)
		}
		want, err := Run(c.set(), b.model, c.feeds(b), b.node.Outputs())
		if err != nil {
			t.Fatalf("%s: %v", c.Name, err)
		}
		outs, err := comp.Expand(b.b, b.node)
		if err == nil {
			err = b.b.Err()
		}
		if err != nil {
			t.Fatalf("%s (%s shapes): expand: %v", c.Name, what, err)
		}
		for n := range b.model.Graph.Nodes() {
			if n != b.node && n.Domain != "" {
				if _, again := b.an.Op(n).(ops.Composite); !again {
					t.Errorf("%s expands to %v, which is not standard", c.Name, n)
				}
			}
		}
		got, err := Run(c.set(), b.model, c.feeds(b), outs[:len(want)])
		if err != nil {
			t.Fatalf("%s (%s shapes): %v", c.Name, what, err)
		}
		for i := range got {
			Close(t, fmt.Sprintf("%s (%s shapes): output %d", c.Name, what, i), got[i], want[i], tol)
		}
	}
}
