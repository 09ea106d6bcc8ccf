// Package extent finds extents that an exporter took for constant, and makes
// the batch of such a model dynamic again where that provably changes nothing
// for a single sample.
package extent

import (
	"slices"
	"strings"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

// Kind is what an axis of an input counts.
type Kind string

// The kinds.
const (
	Batch    Kind = "batch"
	Sequence Kind = "sequence"
)

// Fixed is an axis of a graph input whose extent the file fixes though models
// of its kind take any.
type Fixed struct {
	Input  string `json:"input"`
	Axis   int    `json:"axis"`
	Kind   Kind   `json:"kind"`
	Extent int64  `json:"extent"`
	// Nodes are those whose constant shapes contain the extent where this axis
	// may have come to lie, in the graph's order: what an input of another
	// extent would run into first.
	Nodes []string `json:"nodes,omitempty"`
}

// FixedDims lists the fixed batch and sequence axes of a model's inputs. It computes nothing and works on graphs
// that bonnx cannot run.
func FixedDims(m *ir.Model) []Fixed {
	var list []Fixed
	for _, v := range m.Graph.Inputs {
		t := v.TensorType()
		if v.Data != nil || t == nil || !t.Ranked {
			continue
		}
		for axis, d := range t.Dims {
			kind := kindOf(v.Name, t, axis)
			if kind == "" || !d.Known || d.Value < 1 {
				continue
			}
			list = append(list, Fixed{Input: v.Name, Axis: axis, Kind: kind, Extent: d.Value, Nodes: bakedIn(m, kind, d.Value)})
		}
	}
	return list
}

// kindOf is what an axis of an input counts, "" where that is not known. The
// first axis is the batch. Ids and masks (B,T) and features (B,T,C) have a
// sequence in their second axis, a cache of keys or values (B,H,T,C) in its
// third; an image (B,C,H,W), which only its name tells from a cache, has none.
func kindOf(name string, t *ir.TensorType, axis int) Kind {
	rank := len(t.Dims)
	switch {
	case !hasBatch(t):
		return ""
	case axis == 0:
		return Batch
	case axis == 1 && (rank == 2 && t.Elem.IsInteger() || rank == 3), axis == 2 && rank == 4 && strings.Contains(name, "past"):
		return Sequence
	}
	return ""
}

// hasBatch reports whether the first axis of an input is a batch: scalars have
// no axes, and a vector of one bool is a switch.
func hasBatch(t *ir.TensorType) bool {
	return len(t.Dims) > 0 && !(t.Elem == tensor.Bool && len(t.Dims) == 1)
}

// shapeInputs is, by operator, the input that holds the shape of the result.
var shapeInputs = map[string]int{"Reshape": 1, "Expand": 1, "ConstantOfShape": 0, "Resize": 3}

// bakedIn are the nodes whose constant shape has the extent: as its first
// entry for the batch, anywhere behind that for a sequence.
func bakedIn(m *ir.Model, kind Kind, extent int64) []string {
	var nodes []string
	m.Graphs(func(g *ir.Graph) bool {
		for n := range g.Nodes() {
			i, ok := shapeInputs[n.OpType]
			if !ok || ir.CanonicalDomain(n.Domain) != "" {
				continue
			}
			shape := constantInts(n.Input(i))
			at := shape[:min(1, len(shape))]
			if kind == Sequence {
				at = shape[min(1, len(shape)):]
			}
			if slices.Contains(at, extent) {
				nodes = append(nodes, label(n))
			}
		}
		return true
	})
	return nodes
}

// constantInts are the elements of a constant vector of integers, nil where v
// is none.
func constantInts(v *ir.Value) []int64 {
	if v == nil {
		return nil
	}
	d := v.Data
	if p := v.Producer(); p.Is("Constant") {
		d, _ = ops.ConstantValue(p)
	}
	if d == nil || d.DType() != tensor.Int64 || len(d.Shape()) != 1 {
		return nil
	}
	t, err := d.Tensor()
	if err != nil {
		return nil
	}
	return tensor.Data[int64](t)
}

// label is how a node is called in reports: by its name, else by its result.
func label(n *ir.Node) string {
	if n.Name != "" || n.Output(0) == nil {
		return n.Name
	}
	return n.Output(0).Name
}
