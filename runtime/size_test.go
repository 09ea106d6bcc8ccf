package runtime_test

import (
	"context"
	"strings"
	"testing"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/runtime"
	"github.com/bonnx/bonnx/tensor"
)

// TestSizesThatNoMachineHas: extents that a file or a feed makes up are errors
// that say so, and folding takes no memory for them.
func TestSizesThatNoMachineHas(t *testing.T) {
	for _, c := range []struct {
		name string
		size []int64
		want string
	}{
		{"overflow", []int64{1 << 62, 8}, "too large"},
		{"bytes overflow", []int64{1 << 60}, "too large"},
		{"beyond any memory", []int64{1 << 41, 16}, "too large"},
		{"negative", []int64{-7}, "shape [-7]"},
	} {
		for _, fed := range []bool{false, true} {
			if err := fillUp(c.size, fed); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s, fed %v: error %v, want %q", c.name, fed, err, c.want)
			}
		}
	}
	if err := fillUp([]int64{1 << 40}, false); err != nil {
		t.Errorf("a terabyte was folded, or refused before it is needed: %v", err)
	}
}

// fillUp compiles a ConstantOfShape, and runs it where the shape is fed.
func fillUp(size []int64, fed bool) error {
	g := ir.NewGraph("g")
	m := &ir.Model{Graph: g, IRVersion: 8, Opsets: []ir.Opset{{Version: 18}}}
	b := ir.NewBuilder(g, ir.NewNames(m))
	shape, feeds := tensor.FromSlice(size, len(size)), map[string]*tensor.Tensor{}
	var s *ir.Value
	if fed {
		s = g.AddInput("s", ir.Tensor(tensor.Int64, ir.Fixed(int64(len(size)))))
		feeds["s"] = shape
	} else {
		s = b.Const("s", shape)
	}
	y := b.Op("ConstantOfShape", ir.In(s))
	y.Type = &ir.TensorType{Elem: tensor.Float32}
	g.Outputs = append(g.Outputs, y)
	p, err := runtime.Compile(m, runtime.Options{})
	if err != nil || !fed {
		return err
	}
	session, err := p.NewSession()
	if err != nil {
		return err
	}
	_, err = session.Run(context.Background(), feeds)
	return err
}
