package cli

import (
	"github.com/urfave/cli/v2"

	"github.com/bonnx/bonnx"
)

func (e *env) mergeCommand() *cli.Command {
	return &cli.Command{
		Name:      "merge",
		Usage:     "fold the adapters into the weights: a plain model",
		ArgsUsage: "ADAPTED",
		Description: `Weights that are not finite after merging are refused, as PEFT's safe_merge does.

EXAMPLE: bonnx merge trained.onnx -o merged.onnx`,
		Flags:  []cli.Flag{outputFlag(), forceFlag(), quietFlag()},
		Action: e.rewriting((*bonnx.Model).Merge),
	}
}

func (e *env) stripCommand() *cli.Command {
	return &cli.Command{
		Name:        "strip",
		Usage:       "take the adapters off: the base model back",
		ArgsUsage:   "ADAPTED",
		Description: `EXAMPLE: bonnx strip trained.onnx -o base.onnx`,
		Flags:       []cli.Flag{outputFlag(), forceFlag(), quietFlag()},
		Action:      e.rewriting((*bonnx.Model).Strip),
	}
}

// rewriting is a command that opens one model, rewrites it and saves it.
func (e *env) rewriting(rewrite func(*bonnx.Model) (notes []string, err error)) cli.ActionFunc {
	return func(c *cli.Context) error {
		a, err := args(c, "ADAPTED")
		if err != nil {
			return err
		}
		out, err := output(c, a[0])
		if err != nil {
			return err
		}
		m, err := bonnx.Open(a[0])
		if err != nil {
			return err
		}
		defer m.Close()
		notes, err := rewrite(m)
		if err != nil {
			return err
		}
		e.notes(c, notes)
		return m.Save(out, bonnx.SaveOptions{Context: c.Context, Force: c.Bool("force")})
	}
}

func (e *env) notes(c *cli.Context, notes []string) {
	for _, n := range notes {
		if !c.Bool("quiet") {
			e.say("%s", n)
		}
	}
}

func (e *env) extractCommand() *cli.Command {
	return &cli.Command{
		Name:      "extract",
		Usage:     "write the adapter alone",
		ArgsUsage: "ADAPTED",
		Description: `peft writes a folder that PEFT reads; npz one file of arrays named by block. Both carry the
configuration and the base's fingerprint.

EXAMPLE: bonnx extract trained.onnx --format peft -o adapter/`,
		Flags:  []cli.Flag{&cli.StringFlag{Name: "format", Value: "npz", Usage: "npz or peft"}, outputFlag(), forceFlag(), quietFlag()},
		Action: e.extract,
	}
}

func (e *env) extract(c *cli.Context) error {
	a, err := args(c, "ADAPTED")
	if err != nil {
		return err
	}
	if err := bonnx.CheckFormat(c.String("format")); err != nil {
		return &usageError{err.Error()}
	}
	out := c.String("output")
	if out == "" {
		return &usageError{errNeedOutput.Error()}
	}
	if err := bonnx.CheckExtract(out, c.String("format"), c.Bool("force"), a[0]); err != nil {
		return err
	}
	m, err := bonnx.Open(a[0])
	if err != nil {
		return err
	}
	defer m.Close()
	return m.Extract(out, c.String("format"), c.Bool("force"))
}

func (e *env) applyCommand() *cli.Command {
	return &cli.Command{
		Name:      "apply",
		Usage:     "put an adapter onto its base model",
		ArgsUsage: "MODEL",
		Description: `The adapter is a PEFT folder or an .npz. Onto an adapted model, a bare .npz replaces blocks by
name. An adapter made for another base is refused.

EXAMPLE: bonnx apply base.onnx --adapter adapter/ -o adapted.onnx`,
		Flags: []cli.Flag{&cli.StringFlag{Name: "adapter", Usage: "the adapter: `PATH` of a folder or .npz (required)"},
			formFlag(), outputFlag(), forceFlag(), quietFlag()},
		Action: e.apply,
	}
}

func (e *env) apply(c *cli.Context) error {
	a, err := args(c, "MODEL")
	if err != nil {
		return err
	}
	path := c.String("adapter")
	if path == "" {
		return usagef("--adapter PATH is required")
	}
	form, err := adapterForm(c)
	if err != nil {
		return err
	}
	out, err := output(c, a[0], path)
	if err != nil {
		return err
	}
	m, err := bonnx.Open(a[0])
	if err != nil {
		return err
	}
	defer m.Close()
	notes, err := m.Apply(path, bonnx.InjectOptions{Form: form})
	if err != nil {
		return err
	}
	e.notes(c, notes)
	return m.Save(out, bonnx.SaveOptions{Context: c.Context, Force: c.Bool("force"), Inputs: []string{path}})
}
