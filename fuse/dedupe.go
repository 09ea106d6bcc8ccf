package fuse

import (
	"fmt"
	"strings"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

// Up to how many bytes constants are compared: scalars, shapes, axes and tables
// of indices, not weights, which would have to be read.
const (
	smallConstant = 1 << 10
	smallTable    = 1 << 18
)

// isSmall reports whether a constant is to be compared.
func isSmall(d ir.Data) bool {
	limit := smallConstant
	if d.DType() == tensor.Int64 {
		limit = smallTable
	}
	return d.DType() != tensor.String && d.DType().Size(d.Shape().Size()) <= limit
}

// dedupe makes equal constants one, drops casts that change nothing, and makes
// nodes one that compute the same from the same. What may change or draws
// random numbers stays apart, as do nodes of different tags.
func (r *rewriter) dedupe() {
	r.dedupeConstants()
	seen := map[string]*ir.Node{}
	for n := range r.g.Nodes() {
		if r.dropCast(n) {
			continue
		}
		key, ok := r.nodeKey(n)
		if !ok {
			continue
		}
		first := seen[key]
		if first == nil {
			seen[key] = n
			continue
		}
		r.merge(n, first)
	}
}

func (r *rewriter) dedupeConstants() {
	inputs := map[*ir.Value]bool{}
	for _, v := range r.g.Inputs {
		inputs[v] = true
	}
	seen := map[string]*ir.Value{}
	for _, v := range append([]*ir.Value{}, r.g.Initializers...) {
		if inputs[v] || r.kept(v) || !isSmall(v.Data) || r.o.Mutable != nil && r.o.Mutable(v) {
			continue
		}
		t, err := v.Data.Tensor()
		if err != nil {
			continue // whoever needs the value reports it
		}
		key := fmt.Sprint(t.DType(), t.Shape(), " ", string(t.Bytes()))
		if first := seen[key]; first != nil {
			v.ReplaceUses(first)
			r.g.RemoveInitializer(v)
		} else {
			seen[key] = v
		}
	}
}

// dropCast removes a Cast to the type that its input has.
func (r *rewriter) dropCast(n *ir.Node) bool {
	if !n.Is("Cast") || r.kept(n.Output(0)) || int64(r.fact(n.Input(0)).DType) != intAttr(n, "to", 0) {
		return false
	}
	n.Output(0).ReplaceUses(n.Input(0))
	r.g.Remove(n)
	return true
}

// nodeKey is equal for nodes that compute the same; ok is false for those that
// must not be merged.
func (r *rewriter) nodeKey(n *ir.Node) (string, bool) {
	op := r.a.Op(n)
	if op == nil || len(n.Subgraphs()) > 0 {
		return "", false
	}
	if _, random := op.(ops.Random); random {
		return "", false
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s\x00%s\x00%s\x00%s", ir.CanonicalDomain(n.Domain), n.OpType, n.Overload, n.Tag)
	for _, v := range n.Inputs() {
		fmt.Fprintf(&b, " %p", v)
	}
	for _, v := range n.Outputs() {
		fmt.Fprintf(&b, " %t", v != nil)
	}
	for _, a := range n.Attrs {
		s, ok := attrKey(a.Value)
		if !ok {
			return "", false
		}
		fmt.Fprintf(&b, "\x00%s=%s", a.Name, s)
	}
	return b.String(), true
}

// attrKey spells an attribute out; small tensors by their bytes.
func attrKey(v ir.AttrValue) (string, bool) {
	switch v := v.(type) {
	case ir.Int, ir.Float, ir.Ints, ir.Floats:
		return fmt.Sprintf("%T%v", v, v), true
	case ir.String:
		return fmt.Sprintf("%q", string(v)), true
	case ir.Strings:
		return fmt.Sprintf("%q", []string(v)), true
	case ir.TensorAttr:
		if !isSmall(v.Data) {
			return "", false
		}
		t, err := v.Data.Tensor()
		if err != nil {
			return "", false
		}
		return fmt.Sprint(t.DType(), t.Shape(), " ", string(t.Bytes())), true
	}
	return "", false
}

// merge makes what reads n read first, and removes n where none of its values
// must stay.
func (r *rewriter) merge(n, first *ir.Node) {
	for i, v := range n.Outputs() {
		if v != nil {
			v.ReplaceUses(first.Output(i))
		}
	}
	if r.dead(n) {
		r.g.Remove(n)
	}
}
