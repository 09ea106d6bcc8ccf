package cli

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/bonnx/bonnx"
	"github.com/bonnx/bonnx/tensor"
	"github.com/bonnx/bonnx/tensor/npz"
)

func (e *env) runCommand() *cli.Command {
	return &cli.Command{
		Name:      "run",
		Usage:     "compute a model's outputs for one set of inputs",
		ArgsUsage: "MODEL",
		Description: `Arrays of the .npz are named by graph input; the output file's by graph output.

EXAMPLE: bonnx run model.onnx --input batch.npz -o logits.npz`,
		Flags: []cli.Flag{inputFlag("read inputs from `IN.npz` (required)"), adapterNames("of an adapted model, use the adapter called `NAME` alone; repeats, in this order"),
			outputFlag(), forceFlag(), threadsFlag()},
		Action: e.run,
	}
}

func (e *env) run(c *cli.Context) error {
	a, err := args(c, "MODEL")
	if err != nil {
		return err
	}
	if c.String("input") == "" {
		return usagef("--input IN.npz is required")
	}
	n, err := threads(c)
	if err != nil {
		return err
	}
	out, err := output(c, a[0], c.String("input"))
	if err != nil {
		return err
	}
	m, err := e.open(c, a[0])
	if err != nil {
		return err
	}
	defer m.Close()
	in, err := feeds(c, m, false)
	if err != nil {
		return err
	}
	outs, err := runWith(c, m, in, n)
	if err != nil {
		return err
	}
	f, err := npz.FromMap(outs)
	if err != nil {
		return err
	}
	if err := f.WriteFile(out); err != nil {
		return err
	}
	for _, name := range m.OutputNames() {
		if err := e.printf("%s %v\n", name, outs[name]); err != nil {
			return err
		}
	}
	return nil
}

// runWith runs the model as it is, or with the adapters that --adapter names.
func runWith(c *cli.Context, m *bonnx.Model, in map[string]*tensor.Tensor, threads int) (map[string]*tensor.Tensor, error) {
	names := c.StringSlice("adapter")
	if len(names) == 0 {
		return m.Run(c.Context, in, threads)
	}
	b, err := bonnx.Adapted(m)
	if err != nil {
		return nil, err
	}
	if err := b.SetAdapter(names...); err != nil {
		return nil, err
	}
	x, err := b.Model(bonnx.SaveOptions{})
	if err != nil {
		return nil, err
	}
	return x.Run(c.Context, in, threads)
}

func (e *env) compareCommand() *cli.Command {
	return &cli.Command{
		Name:      "compare",
		Usage:     "run two models on the same inputs and compare what comes out",
		ArgsUsage: "A B",
		Description: `Inputs come from --input; those that it lacks are made up. Exits with 1 where an
output differs by more than the tolerance.

EXAMPLE: bonnx compare base.onnx merged.onnx --tolerance 1e-4`,
		Flags: []cli.Flag{inputFlag("read inputs from `IN.npz`"), shapeFlag(), seedFlag("seed of inputs that are made up"),
			&cli.Float64Flag{Name: "tolerance", Value: 1e-4, Usage: "largest absolute difference that passes"}, threadsFlag(), jsonFlag()},
		Action: e.compare,
	}
}

func (e *env) compare(c *cli.Context) error {
	a, err := args(c, "A", "B")
	if err != nil {
		return err
	}
	n, err := threads(c)
	if err != nil {
		return err
	}
	tol := c.Float64("tolerance")
	if !(tol >= 0) {
		return usagef("--tolerance is %g", tol)
	}
	var m [2]*bonnx.Model
	for i, path := range a {
		if m[i], err = e.open(c, path); err != nil {
			return err
		}
		defer m[i].Close()
	}
	var in map[string]*tensor.Tensor
	if in, err = feeds(c, m[0], true); err != nil {
		return err
	}
	diffs, err := m[0].Compare(c.Context, m[1], in, n)
	if err != nil {
		return err
	}
	return e.reportDifferences(c, diffs, tol)
}

func (e *env) reportDifferences(c *cli.Context, diffs []bonnx.Difference, tol float64) error {
	worst := 0
	for i, d := range diffs {
		if d.Note != "" || diffs[worst].Note == "" && !(d.Max <= diffs[worst].Max) {
			worst = i
		}
	}
	pass := len(diffs) == 0 || diffs[worst].Note == "" && diffs[worst].Max <= tol
	if c.Bool("json") {
		if err := e.printJSON(compareReport(diffs, tol, pass)); err != nil {
			return err
		}
	} else {
		for _, d := range diffs {
			text := fmt.Sprintf("max %.3g  mean %.3g", d.Max, d.Mean)
			if d.Note != "" {
				text = d.Note
			}
			if err := e.printf("%-24s %s\n", d.Output, text); err != nil {
				return err
			}
		}
	}
	if pass {
		return nil
	}
	if note := diffs[worst].Note; note != "" {
		return fmt.Errorf("output %q: %s", diffs[worst].Output, note)
	}
	return fmt.Errorf("output %q differs by up to %.3g, more than %g", diffs[worst].Output, diffs[worst].Max, tol)
}

// compareJSON is what compare --json prints; max and mean are null where
// outputs cannot be compared or are infinitely far apart.
type compareJSON struct {
	Pass      bool             `json:"pass"`
	Tolerance float64          `json:"tolerance"`
	Outputs   []differenceJSON `json:"outputs"`
}

type differenceJSON struct {
	Output string   `json:"output"`
	Max    *float64 `json:"max"`
	Mean   *float64 `json:"mean"`
	Note   string   `json:"note,omitempty"`
}

func compareReport(diffs []bonnx.Difference, tol float64, pass bool) compareJSON {
	r := compareJSON{Pass: pass, Tolerance: tol, Outputs: []differenceJSON{}}
	for _, d := range diffs {
		r.Outputs = append(r.Outputs, differenceJSON{d.Output, finiteOrNil(d.Max), finiteOrNil(d.Mean), d.Note})
	}
	return r
}

func finiteOrNil(x float64) *float64 {
	if x-x != 0 {
		return nil
	}
	return &x
}
