package ops

import (
	"fmt"
	"slices"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// Operators that run sub-graphs. Their outputs are known by what the graphs'
// outputs declare; Canonical writes there what inference finds.

// declared is what the output types of a sub-graph say of outputs from i on,
// with axis axes of unknown extent added in front.
func declared(v *ir.Value, axes int) Fact {
	f := FromType(v.Type)
	if f.Ranked {
		f.Dims = append(make([]ir.Dim, axes), f.Dims...)
	}
	return f
}

// allGiven wants every input from i on.
func allGiven(n *ir.Node, i int) error {
	for k := i; k < len(n.Inputs()); k++ {
		if n.Input(k) == nil {
			return fmt.Errorf("input %d is left out", k)
		}
	}
	return nil
}

// bindDynamic is the Bind of operators that only run dynamically.
func bindDynamic() (Step, error) { return nil, ErrDataDependent }

func graphAttr(a *Args, name string) (*ir.Graph, error) {
	g := a.Graph(name)
	if g == nil {
		return nil, fmt.Errorf("attribute %q is missing", name)
	}
	return g, nil
}

// ifOp runs one of two sub-graphs, which take no inputs.
// https://onnx.ai/onnx/operators/onnx__If.html
type ifOp struct{ then, otherwise *ir.Graph }

func newIf(a *Args) (Op, error) {
	t, err := graphAttr(a, "then_branch")
	if err != nil {
		return nil, err
	}
	e, err := graphAttr(a, "else_branch")
	if err != nil {
		return nil, err
	}
	if n := a.NumOut(); len(t.Outputs) != n || len(e.Outputs) != n || len(t.Inputs)+len(e.Inputs) != 0 {
		return nil, fmt.Errorf("branches of %d and %d outputs for %d", len(t.Outputs), len(e.Outputs), n)
	}
	return ifOp{t, e}, nil
}

func (o ifOp) Infer(in []Fact) ([]Fact, error) {
	if err := needBool(in); err != nil {
		return nil, err
	}
	out := make([]Fact, len(o.then.Outputs))
	for i := range out {
		out[i] = either(declared(o.then.Outputs[i], 0), declared(o.otherwise.Outputs[i], 0))
	}
	return out, nil
}

// either is what two facts agree on.
func either(a, b Fact) Fact {
	if a.DType == tensor.Undefined {
		return unranked(b.DType)
	}
	if !a.Ranked || !b.Ranked || len(a.Dims) != len(b.Dims) {
		return unranked(a.DType)
	}
	f := a.WithoutValue()
	f.Dims = slices.Clone(f.Dims)
	for i, d := range b.Dims {
		if !d.Known || !SameDim(f.Dims[i], d) {
			f.Dims[i] = unknown
		}
	}
	return f
}

func (ifOp) Bind(*Binder, []Fact, []Fact) (Step, error) { return bindDynamic() }

func (o ifOp) RunDynamic(env Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	cond, err := oneBool(in[0])
	if err != nil {
		return nil, err
	}
	if cond {
		return env.RunGraph(o.then, nil)
	}
	return env.RunGraph(o.otherwise, nil)
}

func oneBool(t *tensor.Tensor) (bool, error) {
	if t.DType() != tensor.Bool || t.Size() != 1 {
		return false, fmt.Errorf("condition is %v, want a bool", t)
	}
	return tensor.Data[bool](t)[0], nil
}

// loop runs its body up to M times while the condition holds. Inputs: M,
// cond, both optional, and the values carried on; the body takes the number of
// the iteration, the condition and these, and gives the condition, these, and
// values that are stacked up.
// https://onnx.ai/onnx/operators/onnx__Loop.html
type loop struct {
	body    *ir.Graph
	carried int
}

func newLoop(a *Args) (Op, error) {
	g, err := graphAttr(a, "body")
	if err != nil {
		return nil, err
	}
	n := len(g.Inputs) - 2
	if n < 0 || a.NumIn() != n+2 || len(g.Outputs) < n+1 || a.NumOut() > len(g.Outputs)-1 {
		return nil, fmt.Errorf("%d inputs and %d outputs for a body of %d and %d", a.NumIn(), a.NumOut(), len(g.Inputs), len(g.Outputs))
	}
	return loop{g, n}, allGiven(a.Node, 2)
}

func (o loop) Infer(in []Fact) ([]Fact, error) {
	var out []Fact
	for i, v := range o.body.Outputs[1:] {
		if i < o.carried { // an extent may change from one iteration to the next
			out = append(out, unranked(in[i+2].DType))
			continue
		}
		out = append(out, declared(v, 1))
	}
	return out, nil
}

func (loop) Bind(*Binder, []Fact, []Fact) (Step, error) { return bindDynamic() }

func (o loop) RunDynamic(env Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	limit, on := int64(-1), true
	var err error
	if t := in[0]; t != nil {
		if t.DType() != tensor.Int64 || t.Size() != 1 {
			return nil, fmt.Errorf("trip count is %v", t)
		}
		limit = max(tensor.Data[int64](t)[0], 0)
	}
	if t := in[1]; t != nil {
		if on, err = oneBool(t); err != nil {
			return nil, err
		}
	}
	state := slices.Clone(in[2:])
	scans := make([][]*tensor.Tensor, len(o.body.Outputs)-1-o.carried)
	for i := int64(0); on && i != limit; i++ {
		args := append([]*tensor.Tensor{tensor.Scalar(i), tensor.Scalar(on)}, state...)
		outs, err := env.RunGraph(o.body, args)
		if err != nil {
			return nil, fmt.Errorf("iteration %d: %w", i, err)
		}
		if on, err = oneBool(outs[0]); err != nil {
			return nil, err
		}
		copy(state, outs[1:])
		for k := range scans {
			scans[k] = append(scans[k], outs[1+o.carried+k])
		}
	}
	for k, list := range scans {
		t, err := stack(list, 0, o.body.Outputs[1+o.carried+k])
		if err != nil {
			return nil, err
		}
		state = append(state, t)
	}
	return state, nil
}

// stack joins tensors of one shape along a new axis. Of no tensors it makes an
// empty one, of the type that like declares.
func stack(list []*tensor.Tensor, axis int, like *ir.Value) (*tensor.Tensor, error) {
	if len(list) == 0 {
		f := FromType(like.Type)
		if f.DType == tensor.Undefined {
			return nil, fmt.Errorf("no iteration, and %q declares no type", like.Name)
		}
		shape := make(tensor.Shape, f.Rank()+1)
		for i, d := range f.Dims {
			shape[i+1] = int(d.Value)
		}
		return tensor.New(f.DType, shape...), nil
	}
	first := list[0].Shape()
	a, err := axisIn(axis, len(first)+1)
	if err != nil {
		return nil, err
	}
	out := tensor.New(list[0].DType(), slices.Insert(first.Clone(), a, len(list))...)
	rows, width := first[:a].Size(), first[a:].Size()
	m := moverFor(out.DType())
	for i, t := range list {
		if t.DType() != out.DType() || !t.Shape().Equal(first) {
			return nil, fmt.Errorf("iteration %d gives %v, the first %v", i, t, list[0])
		}
		m.copyBlocks(nil, rows, width, out, i*width, len(list)*width, t, 0, width)
	}
	return out, nil
}

// scan runs its body for each entry along an axis of its last inputs; what the
// body gives beyond the state is stacked up.
// https://onnx.ai/onnx/operators/onnx__Scan.html (since 9)
type scan struct {
	body                  *ir.Graph
	states                int
	inAxes, inBackward    []int
	outAxes, outBackwards []int
}

func newScan(a *Args) (Op, error) {
	g, err := graphAttr(a, "body")
	if err != nil {
		return nil, err
	}
	ins := a.Int("num_scan_inputs", 0)
	o := scan{body: g, states: len(g.Inputs) - ins}
	outs := len(g.Outputs) - o.states
	if ins <= 0 || o.states < 0 || outs < 0 || a.NumIn() != len(g.Inputs) || a.NumOut() > len(g.Outputs) {
		return nil, fmt.Errorf("%d inputs (%d scanned) and %d outputs for a body of %d and %d", a.NumIn(), ins, a.NumOut(), len(g.Inputs), len(g.Outputs))
	}
	for _, l := range []struct {
		name string
		n    int
		to   *[]int
	}{
		{"scan_input_axes", ins, &o.inAxes}, {"scan_input_directions", ins, &o.inBackward},
		{"scan_output_axes", outs, &o.outAxes}, {"scan_output_directions", outs, &o.outBackwards},
	} {
		v := a.Ints(l.name)
		if v == nil {
			v = make([]int, l.n)
		}
		if len(v) != l.n {
			return nil, fmt.Errorf("attribute %q has %d entries, want %d", l.name, len(v), l.n)
		}
		*l.to = v
	}
	return o, allGiven(a.Node, 0)
}

func (o scan) Infer(in []Fact) ([]Fact, error) {
	var out []Fact
	for i, v := range o.body.Outputs {
		f := declared(v, 0)
		switch {
		case i < o.states:
			f = unranked(in[i].DType)
		case f.Ranked:
			f = ofRank(f.DType, len(f.Dims)+1)
		}
		out = append(out, f)
	}
	return out, nil
}

func (scan) Bind(*Binder, []Fact, []Fact) (Step, error) { return bindDynamic() }

func (o scan) RunDynamic(env Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	state, seqs := slices.Clone(in[:o.states]), in[o.states:]
	steps := -1
	for i, t := range seqs {
		a, err := axisIn(o.inAxes[i], t.Rank())
		if err != nil {
			return nil, err
		}
		if n := t.Shape()[a]; steps >= 0 && n != steps {
			return nil, fmt.Errorf("scanned inputs of %d and %d entries", steps, n)
		}
		steps = t.Shape()[a]
	}
	scans := make([][]*tensor.Tensor, len(o.outAxes))
	for step := range steps {
		args := slices.Clone(state)
		for i, t := range seqs {
			at := step
			if o.inBackward[i] != 0 {
				at = steps - 1 - step
			}
			args = append(args, entry(t, o.inAxes[i], at))
		}
		outs, err := env.RunGraph(o.body, args)
		if err != nil {
			return nil, fmt.Errorf("step %d: %w", step, err)
		}
		copy(state, outs[:o.states])
		for k := range scans {
			scans[k] = append(scans[k], outs[o.states+k])
		}
	}
	for k, list := range scans {
		if o.outBackwards[k] != 0 {
			slices.Reverse(list)
		}
		t, err := stack(list, o.outAxes[k], o.body.Outputs[o.states+k])
		if err != nil {
			return nil, err
		}
		state = append(state, t)
	}
	return state, nil
}

// entry is entry i of t along an axis, the axis dropped.
func entry(t *tensor.Tensor, axis, i int) *tensor.Tensor {
	s := t.Shape()
	if axis < 0 {
		axis += len(s)
	}
	rows, width := s[:axis].Size(), s[axis+1:].Size()
	out := tensor.New(t.DType(), slices.Delete(s.Clone(), axis, axis+1)...)
	moverFor(t.DType()).copyBlocks(nil, rows, width, out, 0, width, t, i*width, s[axis]*width)
	return out
}

// introduce declares the inputs of an operator's body, as far as the
// operator's own inputs tell: bodies of functions declare nothing.
func (a *Analysis) introduce(n *ir.Node) {
	set := func(v *ir.Value, f Fact) {
		if v.Type == nil && !f.Absent() {
			v.Type = f.Type()
		}
	}
	for _, body := range n.Subgraphs() {
		for i, v := range body.Inputs {
			f := unranked(a.Fact(n.Input(i)).DType)
			if n.Is("Loop") && i < 2 {
				f = Of([]tensor.DType{tensor.Int64, tensor.Bool}[i])
			}
			set(v, f)
		}
	}
}
