// Package onnxgo runs models decoded by github.com/owulveryck/onnx-go on
// bonnx: New is a computation backend for onnx.NewModel. A program written
// for onnx-go changes the line that makes its backend and nothing else.
//
// onnx-go calls a backend while it decodes a file, node by node, and tells it
// neither the opset nor which values are the graph's outputs. The backend
// therefore only takes notes. The first Run compiles them; further runs reuse
// the program, whatever the shapes of the inputs.
package onnxgo

import (
	"context"
	"errors"
	"fmt"

	onnx "github.com/owulveryck/onnx-go"
	"github.com/owulveryck/onnx-go/backend"
	"gonum.org/v1/gonum/graph"
	"gonum.org/v1/gonum/graph/simple"

	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

// DefaultOpset is the opset that a model is read as unless WithOpset says
// otherwise: onnx-go was written for it, and keeps from backends what a file
// says.
const DefaultOpset = 9

// Backend implements onnx-go's backend.ComputationBackend. Like the graphs of
// onnx-go it serves one model, and one goroutine at a time.
type Backend struct {
	*simple.WeightedDirectedGraph

	opset   int64
	threads int
	set     *ops.Set

	nodes []*Node
	links map[link]*Node // what an operation's output takes in, by position
	calls []*call        // operations in the order of the file
	clock int            // counts tensors set and operations applied
	begun int            // the clock when the first edge came, 0 before
	err   error          // what was wrong with the notes

	program *program
	wanted  map[*Node]bool // read though nobody would guess that it is an output
	feeds   map[string]*tensor.Tensor
	runs    int
}

// A link is an input position of the operation that makes a node. The graph
// itself keeps one edge between two nodes, and Mul(x, x) has two.
type link struct {
	of       int64
	position int
}

// A call is one operation applied to nodes.
type call struct {
	onnx.Operation
	out []*Node
}

var (
	_ backend.ComputationBackend = (*Backend)(nil)
	_ onnx.Namer                 = (*Node)(nil)
	_ onnx.Documenter            = (*Node)(nil)
	_ onnx.DataCarrier           = (*Node)(nil)
)

// An Option changes how a Backend reads and runs a model.
type Option func(*Backend)

// WithOpset says which opset of the standard domain the model imports.
func WithOpset(version int64) Option { return func(b *Backend) { b.opset = version } }

// WithThreads bounds the threads that a run uses; 0 means all cores.
func WithThreads(n int) Option { return func(b *Backend) { b.threads = n } }

// WithSet replaces the table of operators, ops.Standard().
func WithSet(s *ops.Set) Option { return func(b *Backend) { b.set = s } }

// New makes a backend for one model.
func New(options ...Option) *Backend {
	b := &Backend{
		WeightedDirectedGraph: simple.NewWeightedDirectedGraph(0, 0),
		opset:                 DefaultOpset,
		links:                 map[link]*Node{},
		wanted:                map[*Node]bool{},
	}
	for _, o := range options {
		o(b)
	}
	if b.set == nil {
		b.set = ops.Standard()
	}
	return b
}

// NewNode makes a node to be added next. IDs count from 0: onnx-go takes the
// position of an input for its ID.
func (b *Backend) NewNode() graph.Node {
	return &Node{id: b.WeightedDirectedGraph.NewNode().ID(), backend: b, early: b.begun == 0}
}

// AddNode adds a node that NewNode made.
func (b *Backend) AddNode(n graph.Node) {
	if own, ok := n.(*Node); ok {
		b.nodes = append(b.nodes, own)
	}
	b.WeightedDirectedGraph.AddNode(n)
}

// SetWeightedEdge notes that the operation which makes e.From() takes in
// e.To() at the position that the weight says.
func (b *Backend) SetWeightedEdge(e graph.WeightedEdge) {
	if b.begun == 0 {
		b.clock++
		b.begun = b.clock
	}
	to, ok := e.To().(*Node)
	switch {
	case !ok:
		b.fail(fmt.Errorf("node %d is not of this backend", e.To().ID()))
	case e.From().ID() == to.id:
		b.fail(fmt.Errorf("%v is made of itself", to))
	default:
		b.links[link{e.From().ID(), int(e.Weight())}] = to
		b.WeightedDirectedGraph.SetWeightedEdge(e)
	}
}

func (b *Backend) fail(err error) {
	if b.err == nil {
		b.err = err
	}
}

// ApplyOperation notes an operation and the nodes that it makes. Whether it
// can be run is found when all is known, by Run.
func (b *Backend) ApplyOperation(op onnx.Operation, nodes ...graph.Node) error {
	c := &call{Operation: op}
	for _, n := range nodes {
		own, ok := n.(*Node)
		if !ok {
			return fmt.Errorf("operation %s: node %d is not of this backend", op.Name, n.ID())
		}
		if own.made && !own.absent() {
			return fmt.Errorf("operation %s: %v is made twice", op.Name, own)
		}
		own.made = true
		c.out = append(c.out, own)
	}
	b.calls = append(b.calls, c)
	b.drop()
	return b.err
}

// Run computes the model from the tensors that its inputs hold, and gives
// every output its result. An operator that bonnx does not have is reported as
// a *onnx.ErrNotImplemented.
func (b *Backend) Run() error { return b.RunContext(context.Background()) }

// RunContext is Run that ends early when ctx does.
func (b *Backend) RunContext(ctx context.Context) error {
	if b.err != nil {
		return b.err
	}
	feeds, err := b.ready()
	if err != nil {
		return forOnnxGo(err)
	}
	b.feeds = feeds
	b.runs++
	return b.execute(ctx)
}

// ready compiles where there is no program that fits the tensors set, and
// returns the inputs.
func (b *Backend) ready() (map[string]*tensor.Tensor, error) {
	if b.program != nil {
		feeds, ok, err := b.program.gather(b.begun)
		if ok || err != nil {
			return feeds, err
		}
		b.drop()
	}
	p, err := b.compile()
	if err != nil {
		return nil, err
	}
	b.program = p
	feeds, _, err := p.gather(b.begun)
	return feeds, err
}

// execute runs the program on b.feeds and hands out the results.
func (b *Backend) execute(ctx context.Context) error {
	outs, err := b.program.session.Run(ctx, b.feeds)
	if err != nil {
		return forOnnxGo(err)
	}
	for i, n := range b.program.results {
		t, err := fromTensor(outs[i])
		if err != nil {
			return fmt.Errorf("%v: %w", n, err)
		}
		n.value, n.run = t, b.runs
	}
	return nil
}

// fetch computes the value that n had in the last run, and from now on in
// every run. Programs ask for few values, files declare many: none is kept
// before somebody asks.
func (b *Backend) fetch(n *Node) error {
	b.wanted[n] = true
	b.drop()
	p, err := b.compile()
	if err != nil {
		return err
	}
	b.program = p
	return b.execute(context.Background())
}

// drop forgets the compiled program.
func (b *Backend) drop() {
	if b.program != nil {
		b.program.compiled.Close()
		b.program = nil
	}
}

// Close ends the threads of the backend. It may be used again; Run then
// compiles anew.
func (b *Backend) Close() { b.drop() }

// forOnnxGo turns the error for an operator that is not there into the one
// that onnx-go and its tests look for, by type, unwrapped.
func forOnnxGo(err error) error {
	var missing *ops.UnsupportedOpError
	if errors.As(err, &missing) {
		return &onnx.ErrNotImplemented{Operator: missing.Op, Message: missing.Error()}
	}
	return err
}
