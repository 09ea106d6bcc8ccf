package ops_test

import (
	"strings"
	"testing"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

// parsed is the operator of a node that stands alone.
func parsed(op string, opset int64, attrs []*ir.Attr, inputs int) (ops.Op, error) {
	g := ir.NewGraph("one")
	in := make([]*ir.Value, inputs)
	for i := range in {
		in[i] = g.AddInput(string(rune('a'+i)), nil)
	}
	n := ir.NewNode("", op, in...)
	n.Attrs = attrs
	n.SetOutput(0, g.NewValue("y", nil))
	g.Append(n)
	return ops.Standard().Parse(n, opset)
}

// wantError runs an operator of the newest opset and looks for an error.
func wantError(t *testing.T, op string, attrs []*ir.Attr, want string, in ...*tensor.Tensor) {
	t.Helper()
	o, err := parsed(op, 24, attrs, len(in))
	if err == nil {
		_, err = ops.Eval(o, in, 1)
	}
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%s: got error %v, want one with %q", op, err, want)
	}
}

// evalSafely makes an error of the test of a panic.
func evalSafely(t *testing.T, name string, o ops.Op, in []*tensor.Tensor) (out *tensor.Tensor, err error) {
	defer func() {
		if r := recover(); r != nil {
			t.Errorf("%s of %v panics: %v", name, in, r)
		}
	}()
	got, err := ops.Eval(o, in, 1)
	if err != nil {
		return nil, err
	}
	return got[0], nil
}
