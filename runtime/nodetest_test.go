package runtime_test

import (
	"context"
	"testing"

	"github.com/bonnx/bonnx/internal/testutil/nodetest"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/runtime"
	"github.com/bonnx/bonnx/tensor"
)

// TestNodes runs the official node tests twice in one session each: the second
// run finds its memory used.
func TestNodes(t *testing.T) {
	nodetest.Run(t, ops.Standard(), func(m *ir.Model, inputs []*tensor.Tensor) ([]*tensor.Tensor, error) {
		p, err := runtime.Compile(m, runtime.Options{Threads: 2})
		if err != nil {
			return nil, err
		}
		defer p.Close()
		s, err := p.NewSession()
		if err != nil {
			return nil, err
		}
		feeds := map[string]*tensor.Tensor{}
		for i, v := range p.Inputs() {
			feeds[v.Name] = inputs[i]
		}
		if _, err := s.Run(context.Background(), feeds); err != nil {
			return nil, err
		}
		return s.Run(context.Background(), feeds)
	})
}
