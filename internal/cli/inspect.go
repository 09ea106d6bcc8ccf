package cli

import (
	"errors"
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
		Description: `Works on graphs that bonnx cannot run, too. --explain tells of a module, node, weight or bias which
paths it could have, by which rule one was chosen, and what has a name like it. --support lists all
operators that keep the model from being run or trained, and what would help.

EXAMPLE: bonnx inspect model.onnx
EXAMPLE: bonnx inspect model.onnx --explain q_proj
EXAMPLE: bonnx inspect model.onnx --support`,
		Flags: []cli.Flag{&cli.StringFlag{Name: "explain", Usage: "tell how the module or node `NAME` came by its path"},
			&cli.BoolFlag{Name: "support", Usage: "list what is not supported, for running and for training"},
			jsonFlag()},
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
	switch {
	case c.IsSet("explain") && c.Bool("support"):
		return usagef("--explain and --support are two questions")
	case c.Bool("support"):
		return e.support(c, m)
	case c.IsSet("explain"):
		return e.explain(c, m)
	}
	in, err := m.Inspect()
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return e.printJSON(in)
	}
	return e.printInspection(in)
}

// explain writes where the paths of layers come from.
func (e *env) explain(c *cli.Context, m *bonnx.Model) error {
	x, err := m.Explain(c.String("explain"))
	if x != nil && c.Bool("json") {
		return errors.Join(e.printJSON(x), err)
	}
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(e.out, 0, 0, 2, ' ', 0)
	line := func(format string, a ...any) { _, _ = fmt.Fprintf(w, format+"\n", a...) } // Flush reports errors
	for _, l := range x.Layers {
		line("%s, %s %d to %d at node %s", l.Path, l.Kind, l.In, l.Out, l.Node)
		line("  from %s: %s", l.Source, l.Rule)
		for _, k := range l.Candidates {
			path, from := k.Path, k.From
			if path == "" {
				path = "-"
			}
			if from == "" {
				from = "none"
			}
			line("  %s\t%s\t%s", k.Source, path, from)
		}
	}
	for _, s := range x.Others {
		line("%s is no target: %s", s.Node, s.Reason)
	}
	return w.Flush()
}

// support writes what is not supported.
func (e *env) support(c *cli.Context, m *bonnx.Model) error {
	s, err := m.Support()
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return e.printJSON(s)
	}
	return s.WriteText(e.out)
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
