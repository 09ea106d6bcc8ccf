package rewrite

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/bonnx/bonnx/adapter"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// A param is a constant of floats that belongs to a module of the base: what
// PyTorch calls a parameter.
type param struct {
	path, name string // module, and weight, bias or what else it is called
	trace      *Weight
	at         info // as the first slot reads it
	slots      []slot
}

// slot is an input of a node of the base that reads a parameter. turned says
// that it reads the transpose of PyTorch's layout, as MatMul does.
type slot struct {
	node   *ir.Node
	index  int
	turned bool
}

func (p *param) key() string {
	if p.path == "" {
		return p.name
	}
	return p.path + "." + p.name
}

// layout is p's shape in PyTorch.
func (p *param) layout() tensor.Shape { return turnedShape(p.at.shape, p.slots[0].turned) }

func turnedShape(s tensor.Shape, turned bool) tensor.Shape {
	if turned {
		return tensor.Shape{s[1], s[0]}
	}
	return s
}

// params lists the parameters of the base c, in the order of the graph; found
// are its linear layers. No weight is read.
func params(c *ir.Model, found *Layers) []*param {
	f := &paramFinder{byKey: map[string]*param{}, taken: map[ir.Use]bool{}, layers: found.byNode()}
	f.graph(c.Graph)
	return f.list
}

type paramFinder struct {
	list   []*param
	byKey  map[string]*param
	taken  map[ir.Use]bool
	layers map[*ir.Node]*Linear
}

func (f *paramFinder) graph(g *ir.Graph) {
	for n := range g.Nodes() {
		if l := f.layers[n]; l != nil {
			f.linear(l)
		}
		f.others(n)
		for _, sub := range n.Subgraphs() {
			f.graph(sub)
		}
	}
}

// linear adds weight and bias of a linear layer, which is a module whatever
// its constants are called.
func (f *paramFinder) linear(l *Linear) {
	f.add(l.Path, "weight", slot{l.Node, l.slot, !l.Weight.transposed})
	u, ok := addend(l)
	if !ok {
		return
	}
	if _, at, err := traceConstant(u.Node.Input(u.Index)); err == nil && len(at.shape) == 1 {
		f.add(l.Path, "bias", slot{u.Node, u.Index, false})
	}
}

// others adds what else the node reads of a module's parameters.
func (f *paramFinder) others(n *ir.Node) {
	if ir.CanonicalDomain(n.Domain) == "" && (chainOps[n.OpType] != nil || cuts[n.OpType]) {
		return
	}
	for i := range n.Inputs() {
		if path, name, ok := ownerOf(n, i); ok && !f.taken[ir.Use{Node: n, Index: i}] {
			f.add(path, name, slot{n, i, false})
		}
	}
}

// cuts are operators whose constants are tables and masks.
var cuts = map[string]bool{"Slice": true, "Where": true}

// add notes that the slot reads a parameter of that name.
func (f *paramFinder) add(path, name string, s slot) {
	w, at, err := traceConstant(s.node.Input(s.index))
	if err != nil || !slices.Contains(weightTypes, at.dtype) || len(at.shape) == 0 || at.shape.Size() == 0 {
		return
	}
	f.taken[ir.Use{Node: s.node, Index: s.index}] = true
	p := &param{path: path, name: name, trace: w, at: at, slots: []slot{s}}
	for i := 1; f.byKey[p.key()] != nil; i++ {
		if f.byKey[p.key()].join(w, s) {
			return
		}
		p.name = fmt.Sprintf("%s_%d", name, i)
	}
	f.byKey[p.key()] = p
	f.list = append(f.list, p)
}

// join makes s a slot of p where it reads p's constant, as it is or transposed.
func (p *param) join(w *Weight, s slot) bool {
	if !p.trace.same(w) {
		return false
	}
	odd, ok := w.swaps()
	first, known := p.trace.swaps()
	if p.trace.value != w.value && !(ok && known) {
		return false
	}
	s.turned = p.slots[0].turned != (odd != first)
	p.slots = append(p.slots, s)
	return true
}

// swaps reports whether the chain transposes a matrix; ok is false where it
// changes the shape in another way.
func (w *Weight) swaps() (odd, ok bool) {
	for _, l := range w.links {
		switch s := l.step.(type) {
		case transpose:
			perm := s.perm(len(l.from.shape))
			if len(perm) != 2 {
				return false, false
			}
			odd = odd != (perm[0] == 1)
		case reshape:
			return false, false
		}
	}
	return odd, true
}

// roles are what operators that are modules of their own read, whatever it is
// called in the file.
var roles = map[string]map[int]string{
	"Conv": {1: "weight", 2: "bias"}, "ConvTranspose": {1: "weight", 2: "bias"}, "BatchNormalization": {1: "weight", 2: "bias"},
	"LayerNormalization": {1: "weight", 2: "bias"}, "InstanceNormalization": {1: "weight", 2: "bias"}, "GroupNormalization": {1: "weight", 2: "bias"},
	"RMSNormalization": {1: "weight"}, "SimplifiedLayerNormalization": {1: "weight"},
	"SkipLayerNormalization": {2: "weight", 3: "bias"}, "SkipSimplifiedLayerNormalization": {2: "weight"},
}

// guesses are what other operators most often read, where no name says more.
var guesses = map[string]map[int]string{
	"Gather": {0: "weight"}, "Mul": {0: "weight", 1: "weight"}, "Add": {0: "bias", 1: "bias"}, "PRelu": {1: "weight"},
	"MatMul": {0: "weight", 1: "weight"}, "Gemm": {1: "weight", 2: "bias"}, "FusedMatMul": {1: "weight"},
}

// ownerOf is the module that the constant at input i of n belongs to, and what
// it is called there. The constant's name says so, but for a constant that
// another module shares: there the path of the node is another one.
func ownerOf(n *ir.Node, i int) (path, name string, ok bool) {
	v := n.Input(i)
	if v == nil || n.Is("BatchNormalization") && i > 2 {
		return "", "", false
	}
	var w Weight
	_, d, err := w.root(v)
	if err != nil || len(d.Shape()) == 0 {
		return "", "", false
	}
	owner, name := parameterName(&w)
	role := roles[n.OpType][i]
	if role != "" {
		name = role
	} else if name == "" && d.Shape().Size() > 1 {
		name = guesses[n.OpType][i]
	}
	if path = scopesPath(n); path == "" {
		path = nodePath(n.Name)
	}
	within := func(a, b string) bool { return b == "" || a == b || strings.HasPrefix(a, b+".") }
	if owner != "" && (within(owner, path) || within(path, owner)) {
		path = owner
	}
	if path == "" && role != "" {
		path = positionPath(n)
	}
	return path, name, path != "" && name != ""
}

// parameterForm is an initializer's name of module path and parameter.
var parameterForm = regexp.MustCompile(`\A((?:[A-Za-z0-9_-]+\.)*[A-Za-z0-9_-]+)\.([A-Za-z_][A-Za-z0-9_]*)\z`)

// buffers are constants of modules that are no parameters.
var buffers = regexp.MustCompile(`\A(?:running_(?:mean|var)|masked_bias|inv_freq|(?:weight|bias)_(?:scales?|zero_points?|zp))\z`)

// parameterName takes "encoder.norm.weight" apart; the name is empty where the
// initializer's says nothing.
func parameterName(w *Weight) (path, name string) {
	if w.initial == nil {
		return "", ""
	}
	s := w.initial.Name
	for _, end := range madeEndings {
		s = strings.TrimSuffix(s, end)
	}
	m := parameterForm.FindStringSubmatch(s)
	if m == nil || buffers.MatchString(m[2]) {
		return "", ""
	}
	for _, op := range []string{".MatMul", ".Gemm"} {
		m[1] = strings.TrimSuffix(m[1], op)
	}
	return m[1], m[2]
}

// train gives a the parameters of the base c that its configuration trains whole.
func (a *carried) train(c *ir.Model, found *Layers, targets []*Linear) error {
	if biases, _ := a.cfg.TrainsBias(); len(a.cfg.Save) == 0 && !biases {
		return nil
	}
	list, err := chooseWhole(params(c, found), a.cfg, targets)
	for _, p := range list {
		a.whole = append(a.whole, p.start())
	}
	return err
}

// chooseWhole are the parameters that cfg trains whole: those of modules_to_save,
// and the biases that bias names.
func chooseWhole(all []*param, cfg adapter.Config, targets []*Linear) ([]*param, error) {
	sel, err := adapter.NewSelector(cfg.Selection)
	if err != nil {
		return nil, err
	}
	take := map[*param]bool{}
	for i, name := range cfg.Save {
		any := false
		for _, p := range all {
			if sel.Saves(i, p.path) {
				take[p], any = true, true
			}
		}
		if !any {
			return nil, adapter.NoModule(name, modulesOf(all))
		}
	}
	ofTargets, ofOthers := cfg.TrainsBias()
	isTarget := map[string]bool{}
	for _, l := range targets {
		isTarget[l.Path] = ofTargets
	}
	for _, p := range all {
		take[p] = take[p] || ofOthers && strings.Contains(p.key(), "bias") || isTarget[p.path] && p.name == "bias"
	}
	return slices.DeleteFunc(slices.Clone(all), func(p *param) bool { return !take[p] }), nil
}

func modulesOf(all []*param) []string {
	var paths []string
	for _, p := range all {
		paths = append(paths, p.path)
	}
	return paths
}
