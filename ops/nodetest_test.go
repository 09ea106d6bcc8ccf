package ops_test

import (
	"fmt"
	"testing"

	"github.com/bonnx/bonnx/internal/testutil/nodetest"
	"github.com/bonnx/bonnx/internal/testutil/opcheck"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

// TestNodes runs the official node tests by Canonical and node by node; what
// inference says of the outputs must be true, and pointwise operators give the
// same in tiles.
func TestNodes(t *testing.T) {
	set := ops.Standard()
	nodetest.Run(t, set, func(m *ir.Model, inputs []*tensor.Tensor) ([]*tensor.Tensor, error) {
		c, err := ops.Canonical(m)
		if err != nil {
			return nil, err
		}
		an, err := set.Analyze(c, ops.AnalyzeOptions{})
		if err != nil {
			return nil, fmt.Errorf("analyze: %w", err)
		}
		feeds := map[*ir.Value]*tensor.Tensor{}
		for i, v := range c.Graph.Inputs {
			feeds[v] = inputs[i]
		}
		got, err := opcheck.Run(set, c, feeds, c.Graph.Outputs)
		if err != nil {
			return nil, err
		}
		for i, v := range c.Graph.Outputs {
			if err := claims(an.Fact(v), got[i]); err != nil {
				return nil, fmt.Errorf("output %q: %w", v.Name, err)
			}
		}
		return got, inTiles(an, c.Graph, func(want []*ir.Value) ([]*tensor.Tensor, error) { return opcheck.Run(set, c, feeds, want) })
	})
}

// claims holds an inferred fact against a value.
func claims(f ops.Fact, t *tensor.Tensor) error {
	wrong := fmt.Errorf("inferred %v of %v", f, t)
	if f.DType != t.DType() || f.Ranked && f.Rank() != t.Rank() {
		return wrong
	}
	for i, d := range f.Dims {
		if d.Known && int(d.Value) != t.Shape()[i] {
			return wrong
		}
	}
	return nil
}
