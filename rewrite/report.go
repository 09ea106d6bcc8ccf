package rewrite

import (
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"

	"github.com/bonnx/bonnx/ir"
)

// Report says what Inject or Apply did. Its JSON form is part of the command
// line's contract.
type Report struct {
	Targets   []TargetReport `json:"targets"`
	Skipped   []Skip         `json:"skipped"`
	Trainable int            `json:"trainable_parameters"`
	// Saved are the parameters that are trained whole.
	Saved []SavedReport `json:"saved,omitempty"`
	// All counts the values of all the model's adapters and those of the base
	// model's float constants; biases that are trained count once, as in PEFT.
	All   int      `json:"-"`
	Notes []string `json:"-"`
}

// TargetReport is a module that got an adapter.
type TargetReport struct {
	Path       string `json:"path"`
	Node       string `json:"node"`
	Kind       string `json:"kind"`
	In         int    `json:"in"`
	Out        int    `json:"out"`
	Parameters int    `json:"parameters"`
	Source     Source `json:"-"`
}

// SavedReport is a parameter that is trained whole, by module path and name.
type SavedReport struct {
	Key        string `json:"key"`
	Parameters int    `json:"parameters"`
}

// report describes the topmost adapter, which is about to be put on c.
func (s stack) report(c *ir.Model, sel *Selected) *Report {
	top := s[len(s)-1]
	r := &Report{Targets: []TargetReport{}, Skipped: append([]Skip{}, sel.Skipped...), Trainable: top.params(), All: Params(c), Notes: sel.Notes}
	for _, a := range s {
		r.All += a.params() - a.biases()
	}
	for _, t := range top.targets {
		l := t.calls[0]
		r.Targets = append(r.Targets, TargetReport{Path: l.Path, Node: l.Label(), Kind: l.Kind, In: l.In, Out: l.Out,
			Parameters: top.cfg.Method.Params(top.cfg.Dims(l.In, l.Out)), Source: l.Source})
		if len(t.calls) > 1 {
			r.Notes = append(r.Notes, fmt.Sprintf("%s is called %d times with one weight and gets one adapter", l.Path, len(t.calls)))
		}
	}
	for _, w := range top.whole {
		r.Saved = append(r.Saved, SavedReport{w.key, w.data.Shape().Size()})
	}
	return r
}

// Params is the number of values in the model's parameters, as far as a file
// tells these from other constants: float initializers and Constant nodes of
// two dimensions and more, without scalars and without tables that are only
// cut by Slice or picked from by Where, such as masks and rotary angles. What
// a file stores twice (a tied embedding) counts twice.
func Params(m *ir.Model) int {
	n := 0
	m.Graphs(func(g *ir.Graph) bool {
		for _, v := range g.Initializers {
			n += paramsOf(v, v.Data)
		}
		for node := range g.Nodes() {
			if !node.Is("Constant") || node.Output(0) == nil || node.Attr("value") == nil {
				continue
			}
			if t, ok := node.Attr("value").Value.(ir.TensorAttr); ok && len(t.Data.Shape()) > 1 {
				n += paramsOf(node.Output(0), t.Data)
			}
		}
		return true
	})
	return n
}

func paramsOf(v *ir.Value, d ir.Data) int {
	size := d.Shape().Size()
	if !d.DType().IsFloat() || size == 1 {
		return 0
	}
	cut := func(u ir.Use) bool { return u.Node.Is("Slice") || u.Node.Is("Where") }
	for _, u := range v.Uses() {
		if !cut(u) {
			return size
		}
	}
	return 0
}

// TrainableLine is PEFT's: trainable params: 48,000 || all params: 308,000 || trainable%: 15.5844.
func (r *Report) TrainableLine() string {
	percent := 0.0
	if r.All > 0 {
		percent = 100 * float64(r.Trainable) / float64(r.All)
	}
	return fmt.Sprintf("trainable params: %s || all params: %s || trainable%%: %.4f", grouped(r.Trainable), grouped(r.All), percent)
}

// grouped writes n with commas between thousands.
func grouped(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// WriteTable writes targets and skipped nodes as a table for people.
func (r *Report) WriteTable(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(tw, "MODULE\tKIND\tIN\tOUT\tPARAMETERS\tPATH FROM")
	for _, t := range r.Targets {
		fmt.Fprintf(tw, "%s\t%s\t%d\t%d\t%s\t%s\n", t.Path, t.Kind, t.In, t.Out, grouped(t.Parameters), t.Source)
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	for _, s := range r.Saved {
		if _, err := fmt.Fprintf(w, "trained whole: %s, %s parameters\n", s.Key, grouped(s.Parameters)); err != nil {
			return err
		}
	}
	for _, s := range r.Skipped {
		name := s.Path
		if name == "" {
			name = s.Node
		}
		if _, err := fmt.Fprintf(w, "skipped %s: %s\n", name, s.Reason); err != nil {
			return err
		}
	}
	for _, n := range r.Notes {
		if _, err := fmt.Fprintf(w, "note: %s\n", n); err != nil {
			return err
		}
	}
	return nil
}
