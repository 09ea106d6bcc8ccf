package cli

import (
	"context"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/bonnx/bonnx"
)

// adapterNames is --adapter, where a command takes some of a model's adapters.
func adapterNames(usage string) cli.Flag {
	return &cli.StringSliceFlag{Name: "adapter", Usage: usage}
}

func (e *env) mergeCommand() *cli.Command {
	return &cli.Command{
		Name:      "merge",
		Usage:     "fold the adapters into the weights: a plain model",
		ArgsUsage: "ADAPTED",
		Description: `Weights that are not finite after merging are refused, as PEFT's safe_merge does. Quantized
weights become floats, since their steps are larger than most of what training adds.

EXAMPLE: bonnx merge trained.onnx -o merged.onnx`,
		Flags: []cli.Flag{adapterNames("fold in the adapter called `NAME`; repeats, in this order (none: all); the others go"),
			&cli.BoolFlag{Name: "requantize", Usage: "keep quantized weights quantized, and tell the error that this adds"},
			outputFlag(), forceFlag(), quietFlag()},
		Action: e.rewriting(func(c *cli.Context, m *bonnx.BoneModel) (saver, error) {
			if c.Bool("requantize") {
				return m.MergeAndRequantize(c.StringSlice("adapter")...)
			}
			return m.MergeAndUnload(c.StringSlice("adapter")...)
		}),
	}
}

func (e *env) stripCommand() *cli.Command {
	return &cli.Command{
		Name:        "strip",
		Usage:       "take the adapters off: the base model back",
		ArgsUsage:   "ADAPTED",
		Description: `EXAMPLE: bonnx strip trained.onnx -o base.onnx`,
		Flags: []cli.Flag{adapterNames("take off the adapter called `NAME` alone; repeats (none: all)"),
			outputFlag(), forceFlag(), quietFlag()},
		Action: e.rewriting(stripped),
	}
}

func stripped(c *cli.Context, m *bonnx.BoneModel) (saver, error) {
	names := c.StringSlice("adapter")
	if len(names) == 0 || len(names) == len(m.Adapters()) {
		return m.Unload()
	}
	for _, n := range names {
		if err := m.DeleteAdapter(n); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// saver is a model that can be written.
type saver interface {
	Save(ctx context.Context, path string, o bonnx.SaveOptions) error
}

// rewriting is a command that opens one model, rewrites it and saves it.
func (e *env) rewriting(rewrite func(*cli.Context, *bonnx.BoneModel) (saver, error)) cli.ActionFunc {
	return func(c *cli.Context) error {
		a, err := args(c, "ADAPTED")
		if err != nil {
			return err
		}
		out, err := output(c, a[0])
		if err != nil {
			return err
		}
		m, err := e.adapted(c, a[0])
		if err != nil {
			return err
		}
		defer m.Base().Close()
		s, err := rewrite(c, m)
		if err != nil {
			return err
		}
		return s.Save(c.Context, out, bonnx.SaveOptions{Force: c.Bool("force")})
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
		Flags: []cli.Flag{&cli.StringFlag{Name: "format", Value: "npz", Usage: "npz or peft"},
			&cli.StringFlag{Name: "adapter", Usage: "the adapter called `NAME` (none: the only one)"}, outputFlag(), forceFlag(), quietFlag()},
		Action: e.extract,
	}
}

func (e *env) extract(c *cli.Context) error {
	a, err := args(c, "ADAPTED")
	if err != nil {
		return err
	}
	out := c.String("output")
	if out == "" {
		return &usageError{errNeedOutput.Error()}
	}
	o := bonnx.SaveOptions{Force: c.Bool("force"), Keep: a, Format: c.String("format")}
	if err := o.CheckFormat(); err != nil {
		return &usageError{err.Error()}
	}
	if err := o.CheckAdapter(out); err != nil {
		return err
	}
	m, err := e.adapted(c, a[0])
	if err != nil {
		return err
	}
	defer m.Base().Close()
	return m.SaveAdapter(out, c.String("adapter"), o)
}

func (e *env) applyCommand() *cli.Command {
	return &cli.Command{
		Name:      "apply",
		Usage:     "put adapters onto their base model",
		ArgsUsage: "MODEL",
		Description: `An adapter is a PEFT folder or an .npz. Onto an adapted model, a bare .npz replaces blocks by
name. An adapter made for another base is refused, but for --any-base: one that was trained on a
quantized model fits the float model too.

EXAMPLE: bonnx apply base.onnx --adapter adapter/ -o adapted.onnx
EXAMPLE: bonnx apply base.onnx --adapter law=law/ --adapter tone=tone/ -o both.onnx`,
		Flags: []cli.Flag{&cli.StringSliceFlag{Name: "adapter", Usage: "an adapter, `PATH` of a folder or .npz, or NAME=PATH; repeats, in this order (required)"},
			&cli.BoolFlag{Name: "any-base", Usage: "take adapters that were made for another base, with a remark"},
			formFlag(), outputFlag(), forceFlag(), quietFlag()},
		Action: e.apply,
	}
}

func (e *env) apply(c *cli.Context) error {
	a, err := args(c, "MODEL")
	if err != nil {
		return err
	}
	list := c.StringSlice("adapter")
	if len(list) == 0 {
		return usagef("--adapter PATH is required")
	}
	o, err := saveOptions(c)
	if err != nil {
		return err
	}
	var names, paths []string
	for _, x := range list {
		name, path := named(x)
		names, paths = append(names, name), append(paths, path)
	}
	o.Keep = paths
	out, err := output(c, append(a, paths...)...)
	if err != nil {
		return err
	}
	m, err := e.adapted(c, a[0])
	if err != nil {
		return err
	}
	defer m.Base().Close()
	for i, path := range paths {
		if err := load(m, path, names[i], c.Bool("any-base")); err != nil {
			return err
		}
	}
	if err := m.SetAdapter(m.Adapters()...); err != nil {
		return err
	}
	return m.Save(c.Context, out, o)
}

// load puts the adapter at path on m.
func load(m *bonnx.BoneModel, path, name string, anyBase bool) error {
	if !anyBase {
		return m.LoadAdapter(path, name)
	}
	a, err := bonnx.ReadAdapter(path)
	if err != nil {
		return err
	}
	return m.Put(name, a.OnAnyBase())
}

// named parts NAME=PATH; a path that exists is no such thing.
func named(s string) (name, path string) {
	name, path, ok := strings.Cut(s, "=")
	if _, err := os.Stat(s); !ok || err == nil {
		return "", s
	}
	return name, path
}
