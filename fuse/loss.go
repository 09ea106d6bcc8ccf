package fuse

import (
	"math"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

// crossEntropy recognises the loss of classes on the last of two axes:
//
//	SoftmaxCrossEntropyLoss(x, labels), NegativeLogLikelihoodLoss(LogSoftmax(x), labels)
//
// reduced to a sum or mean, without weights of classes.
func crossEntropy(r *rewriter, n *ir.Node) (bool, string) {
	x, labels := n.Input(0), n.Input(1)
	var logs *ir.Node
	if n.Is("NegativeLogLikelihoodLoss") {
		if logs = from(x, "LogSoftmax"); logs == nil {
			return false, ""
		}
		if axis := intAttr(logs, "axis", -1); axis != -1 && axis != 1 {
			return false, "the softmax is over another axis"
		}
		x = logs.Input(0)
	}
	reduction := "mean"
	if a := n.Attr("reduction"); a != nil {
		s, _ := a.Value.(ir.String)
		reduction = string(s)
	}
	switch {
	case r.fact(x).Rank() != 2:
		return false, "the classes are not on the last of two axes"
	case !r.floats(x) || r.fact(labels).DType != tensor.Int64:
		return false, "the scores are not float32 or float64, or the labels not int64"
	case n.Input(2) != nil:
		return false, "the classes have weights"
	case n.Output(1) != nil:
		return false, "the log-probabilities are read"
	case reduction == "none":
		return false, "the loss is not reduced"
	}
	ignore := intAttr(n, "ignore_index", math.MinInt64) // no label has that one
	sum := r.insert(n, ops.Domain, "CrossEntropy", ir.In(x, labels), nil, ir.A("ignore_index", ir.Int(ignore)))
	if reduction == "sum" {
		r.replace(n, "", "Identity", ir.In(sum), []*ir.Node{logs})
		return true, ""
	}
	ce := sum.Producer()
	count := r.g.NewValue(r.names.Fresh(ce.Name+"_output_1"), nil)
	ce.SetOutput(1, count)
	if r.err = r.a.Node(ce); r.err != nil {
		return false, ""
	}
	r.replace(n, "", "Div", ir.In(sum, count), []*ir.Node{logs})
	return true, ""
}
