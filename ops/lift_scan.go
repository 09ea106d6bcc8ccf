package ops

import (
	"errors"
	"slices"

	"github.com/bonnx/bonnx/ir"
)

// liftScan: Scan of opset 8 has an input of lengths before the others, and all
// others have a batch in front, which its body does not see. It becomes a Scan
// over the batch whose body is today's Scan. Lengths are refused.
func liftScan(s *site, n *ir.Node) error {
	a := n.Attr("body")
	if a == nil {
		return errors.New("attribute \"body\" is missing")
	}
	g, ok := a.Value.(ir.GraphAttr)
	scanned, err := intAttr(n, "num_scan_inputs", 0)
	if !ok || err != nil || len(n.Inputs()) == 0 || scanned < 1 || int(scanned) > len(n.Inputs())-1 {
		return errors.New("its body or the number of scanned inputs does not fit")
	}
	if n.Input(0) != nil {
		return errors.New("lengths of sequences are not supported")
	}
	if slices.Contains(n.Inputs()[1:], nil) {
		return errors.New("an input is left out")
	}
	body := ir.NewGraph(s.Names().Fresh(s.Prefix + "batch"))
	inner := ir.NewNode("", "Scan")
	inner.Name = s.Names().Fresh(s.Prefix + "Scan")
	inner.SetAttr("num_scan_inputs", ir.Int(scanned))
	if d := n.Attr("directions"); d != nil {
		inner.SetAttr("scan_input_directions", d.Value)
		n.RemoveAttr("directions")
	}
	var in []*ir.Value
	for i, v := range n.Inputs()[1:] {
		in = append(in, v)
		row := s.Fact(v)
		if row.Rank() > 0 {
			row.Dims = row.Dims[1:]
		}
		row = ofRank(row.DType, max(0, row.Rank()))
		inner.SetInput(i, body.AddInput(s.Names().Fresh(s.Prefix+"row"), row.Type()))
	}
	for i, v := range g.Graph.Outputs {
		f := FromType(v.Type)
		if scans := i >= len(in)-int(scanned); scans && f.Ranked {
			f = ofRank(f.DType, f.Rank()+1)
		}
		y := body.NewValue(s.Names().Fresh(s.Prefix+"row"), f.WithoutValue().Type())
		inner.SetOutput(i, y)
		body.Outputs = append(body.Outputs, y)
	}
	n.RemoveAttr("body")
	n.RemoveAttr("num_scan_inputs")
	inner.SetAttr("body", g)
	body.Append(inner)
	n.TruncateInputs(0)
	for i, v := range in {
		n.SetInput(i, v)
	}
	n.SetAttr("body", ir.GraphAttr{Graph: body})
	n.SetAttr("num_scan_inputs", ir.Int(len(in)))
	body.SetParent(n)
	s.l.version[inner] = 9 // its body is still to be lifted
	return nil
}
