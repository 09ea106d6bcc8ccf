package rewrite

import (
	"fmt"
	"strings"

	"github.com/bonnx/bonnx/ir"
)

// Source says where the module path of a layer was found.
type Source string

// The sources, in the order in which they are asked.
const (
	FromScopes      Source = "name_scopes" // metadata of PyTorch's dynamo exporter
	FromNode        Source = "node name"
	FromInitializer Source = "initializer"
	FromBias        Source = "bias"
	FromPosition    Source = "position" // the node's name as it is, or its number
)

// scopesKey is the node metadata in which PyTorch's dynamo exporter keeps the
// module path.
const scopesKey = "pkg.torch.onnx.name_scopes"

// Candidate is what one source says of the path of a layer's module.
type Candidate struct {
	Source Source `json:"source"`
	From   string `json:"from"` // what it was read from: a name, or metadata
	Path   string `json:"path"` // "" where it says nothing
}

// candidates are what every source says, in the order in which they are asked.
func candidates(l *Linear) []Candidate {
	scopes, _ := l.Node.Metadata.Get(scopesKey)
	initial, bias := "", ""
	if l.Weight.initial != nil {
		initial = l.Weight.initial.Name
	}
	if l.Bias != nil {
		bias = l.Bias.Name
	}
	return []Candidate{
		{FromScopes, scopes, scopesPath(l.Node)},
		{FromNode, l.Node.Name, nodePath(l.Node.Name)},
		{FromInitializer, initial, initializerPath(l.Weight)},
		{FromBias, bias, biasPath(l)},
	}
}

// The rules by which one candidate is chosen.
const (
	ruleFirst    = "the first source that names a module"
	ruleInside   = "a later source names a part of the module that the first one names"
	rulePosition = "no source names a module: the node's own name, or its number among the layers"
)

// modulePath recovers the path of the module that a linear layer came from,
// such as "layers.0.self_attn.q_proj". index numbers the layers of the model.
// A module that multiplies by parameters of its own, as torch's
// MultiheadAttention does, has them named in the weight or the bias.
func modulePath(l *Linear, index int) (path string, source Source, rule string) {
	found := candidates(l)
	for i, f := range found {
		if f.Path == "" {
			continue
		}
		for _, more := range found[i+1:] {
			if strings.HasPrefix(more.Path, f.Path+".") {
				return more.Path, more.Source, ruleInside
			}
		}
		return f.Path, f.Source, ruleFirst
	}
	if l.Node.Name != "" {
		return positionPath(l.Node), FromPosition, rulePosition
	}
	return fmt.Sprintf("linear.%d", index), FromPosition, rulePosition
}

// positionPath is the node's name as a path.
func positionPath(n *ir.Node) string { return strings.Trim(strings.ReplaceAll(n.Name, "/", "."), ".") }

// scopesPath reads the list [”, 'encoder', 'encoder.layer.0.query', 'linear']:
// the last entry names the operation, the one before it the module.
func scopesPath(n *ir.Node) string {
	s, ok := n.Metadata.Get(scopesKey)
	if !ok {
		return ""
	}
	list := pythonStrings(s)
	if len(list) < 2 {
		return ""
	}
	return list[len(list)-2]
}

// pythonStrings are the string literals of a Python list.
func pythonStrings(s string) []string {
	var out []string
	for {
		i := strings.IndexAny(s, `'"`)
		if i < 0 {
			return out
		}
		quote := s[i]
		var b strings.Builder
		j := i + 1
		for ; j < len(s) && s[j] != quote; j++ {
			if s[j] == '\\' && j+1 < len(s) {
				j++
			}
			b.WriteByte(s[j])
		}
		out = append(out, b.String())
		if j >= len(s) {
			return out
		}
		s = s[j+1:]
	}
}

// nodePath turns "/layers.0/self_attn/q_proj/MatMul" into a module path. A
// container that is called itself shows in the names of its children, as in
// "/layer1/layer1.0/conv1/Conv": those stand for it. What ONNX Runtime's
// optimizer adds, "/q_proj/MatMul/MatMulAddFusion" or "fused /q_proj/Gemm", is
// no module.
func nodePath(name string) string {
	segments := strings.Split(strings.TrimPrefix(name, "fused "), "/")
	for i, s := range segments {
		if strings.HasPrefix(s, "MatMulAddFusion") || strings.HasPrefix(s, "MatMulScaleFusion") {
			segments = segments[:i]
			break
		}
	}
	if len(segments) == 0 {
		return ""
	}
	var path []string
	for _, s := range segments[:len(segments)-1] {
		if s == "" {
			continue
		}
		if k := len(path) - 1; k >= 0 && strings.HasPrefix(s, path[k]+".") {
			path[k] = s
			continue
		}
		path = append(path, s)
	}
	return strings.Join(path, ".")
}

// madeEndings are what tools put behind the name of a constant that they change.
var madeEndings = []string{"_quantized", "_transposed", "_fp16"}

// initializerPath takes "encoder.query.weight" or "encoder.q.MatMul.weight"
// apart. Names that exporters make up ("onnx::MatMul_720", "val_62") say
// nothing.
func initializerPath(w *Weight) string {
	if w.initial == nil {
		return ""
	}
	name := w.initial.Name
	for _, end := range madeEndings {
		name = strings.TrimSuffix(name, end)
	}
	if p, ok := strings.CutSuffix(name, "_weight"); ok && strings.HasSuffix(p, ".in_proj") {
		return p
	}
	if p, ok := strings.CutSuffix(name, ".weight"); ok {
		for _, op := range []string{".MatMul", ".Gemm"} {
			p = strings.TrimSuffix(p, op)
		}
		return p
	}
	for _, end := range []string{"/ReadVariableOp:0", "/ReadVariableOp", "/kernel:0", "/kernel"} {
		if p, ok := strings.CutSuffix(name, end); ok {
			return nodePath(strings.TrimSuffix(p, "/MatMul") + "/")
		}
	}
	return ""
}

// biasPath is the path in the name of the bias.
func biasPath(l *Linear) string {
	if b := l.Bias; b != nil {
		if p, ok := strings.CutSuffix(b.Name, "_bias"); ok && strings.HasSuffix(p, ".in_proj") {
			return p
		}
		if p, ok := strings.CutSuffix(b.Name, ".bias"); ok {
			return p
		}
	}
	return ""
}

// biasOf is the constant vector that is added to the layer's result, or nil.
func biasOf(l *Linear) *ir.Value {
	u, ok := addend(l)
	if !ok {
		return nil
	}
	v := u.Node.Input(u.Index)
	if v == nil || !v.IsInitializer() || len(v.Data.Shape()) != 1 {
		return nil
	}
	return v
}

// addend is where something is added to the layer's result: in the layer
// itself, or in the Add that alone reads it.
func addend(l *Linear) (ir.Use, bool) {
	if i := l.kind.bias; i > 0 && (l.kind.exact || l.Node.Input(i) != nil) {
		return ir.Use{Node: l.Node, Index: i}, true
	}
	y := l.result
	if len(y.Uses()) != 1 || !y.Uses()[0].Node.Is("Add") {
		return ir.Use{}, false
	}
	return ir.Use{Node: y.Uses()[0].Node, Index: 1 - y.Uses()[0].Index}, true
}

// distinct gives every layer a path of its own. Layers of one path and one
// weight are one module that is called several times and keep theirs; of the
// others each gets its node's last name behind the path.
func distinct(layers []*Linear) {
	byPath := map[string][]*Linear{}
	for _, l := range layers {
		byPath[l.Path] = append(byPath[l.Path], l)
	}
	taken := map[string]*Linear{}
	for _, l := range layers {
		group := byPath[l.Path]
		for _, o := range group {
			if !o.Weight.same(l.Weight) || o.Weight.transposed != l.Weight.transposed {
				leaf := l.Node.Name[strings.LastIndexByte(l.Node.Name, '/')+1:]
				if leaf == "" {
					leaf = l.Kind
				}
				l.unique = l.Path + "." + leaf
				break
			}
		}
	}
	for _, l := range layers {
		base := l.Path
		if l.unique != "" {
			base = l.unique
		}
		path := base
		for i := 1; taken[path] != nil && !taken[path].Weight.same(l.Weight); i++ {
			path = fmt.Sprintf("%s_%d", base, i)
		}
		if taken[path] == nil {
			taken[path] = l
		}
		if path != l.Path {
			l.rule += fmt.Sprintf("; other layers are called %s too, so the node's last name or a number tells it apart", l.Path)
		}
		l.Path = path
	}
}
