package cli

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"github.com/bonnx/bonnx"
)

func (e *env) inspectCommand() *cli.Command {
	return &cli.Command{
		Name:      "inspect",
		Usage:     "list a model's linear layers, what adapters would add, and those it has",
		ArgsUsage: "MODEL",
		Description: `Works on graphs that bonnx cannot run, too.

EXAMPLE: bonnx inspect model.onnx`,
		Flags:  []cli.Flag{jsonFlag()},
		Action: e.inspect,
	}
}

func (e *env) inspect(c *cli.Context) error {
	a, err := args(c, "MODEL")
	if err != nil {
		return err
	}
	m, err := e.open(c, a[0])
	if err != nil {
		return err
	}
	defer m.Close()
	in, err := m.Inspect()
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return e.printJSON(in)
	}
	return e.printInspection(in)
}

// wayOut is what helps against a fixed extent.
var wayOut = map[string]string{"batch": ": --dynamic-batch of inject and train frees it"}

func (e *env) printInspection(in *bonnx.Inspection) error {
	w := tabwriter.NewWriter(e.out, 0, 0, 2, ' ', 0)
	line := func(format string, a ...any) { _, _ = fmt.Fprintf(w, format+"\n", a...) } // Flush reports errors
	line("PATH\tIN\tOUT\tPARAMETERS\tKIND\tPATH FROM\tNODE")
	for _, l := range in.Layers {
		head := ""
		if l.Head {
			head = " (head)"
		}
		line("%s%s\t%d\t%d\t%s\t%s\t%s\t%s", l.Path, head, l.In, l.Out, commas(l.Params), l.Kind, l.Source, l.Node)
	}
	for _, s := range in.Skipped {
		line("%s is no target: %s", s.Node, s.Reason)
	}
	for _, f := range in.Fixed {
		line("input %s has its %s fixed at %d%s", f.Input, f.Kind, f.Extent, wayOut[string(f.Kind)])
	}
	line("\nParameters that all-linear adds (in brackets: layers that do not take the rank)")
	rows := map[string][]string{}
	var order, ranks []string
	for _, m := range in.Methods {
		if rows[m.Method] == nil {
			order = append(order, m.Method)
		}
		if m.Method == in.Methods[0].Method {
			ranks = append(ranks, fmt.Sprintf("r=%d", m.Rank))
		}
		cell := commas(m.Params)
		if m.Unfit > 0 {
			cell += fmt.Sprintf(" (%d)", m.Unfit)
		}
		rows[m.Method] = append(rows[m.Method], cell)
	}
	line("METHOD\t%s", strings.Join(ranks, "\t"))
	for _, m := range order {
		line("%s\t%s", m, strings.Join(rows[m], "\t"))
	}
	for _, a := range in.Adapters {
		line("\nAdapter %q: %s, rank %d, %s form, %d layers", a.Name, a.Method, a.Rank, a.Form, len(a.Targets))
		line("PATH\t|BLOCK|\t|UPDATE|/|W|")
		for _, t := range a.Targets {
			line("%s\t%.4g\t%.4g", t.Path, t.BlockNorm, t.UpdateNorm)
		}
	}
	return w.Flush()
}
