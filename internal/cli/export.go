package cli

import (
	"errors"

	"github.com/urfave/cli/v2"

	"github.com/bonnx/bonnx"
)

func (e *env) exportCommand() *cli.Command {
	flags := []cli.Flag{
		&cli.StringFlag{Name: "form", Value: "merged", Usage: "merged, activation, weight or train-step"},
		&cli.Int64Flag{Name: "opset", Usage: "train-step: opset `N` (0: the oldest possible, 18 or the model's)"},
		&cli.BoolFlag{Name: "grads-only", Usage: "train-step: give gradients instead of updated blocks"},
		&cli.StringFlag{Name: "task", Value: "causal-lm", Usage: "train-step: causal-lm, classification, regression or custom"},
		&cli.StringFlag{Name: "logits", Usage: "train-step: attach the loss to output `NAME`"},
		&cli.StringFlag{Name: "loss-output", Usage: "train-step: with --task custom, the model's own loss"},
		&cli.Float64Flag{Name: "label-smoothing", Usage: "train-step: label smoothing"},
	}
	return &cli.Command{
		Name:      "export",
		Usage:     "write one ordinary ONNX file for another runtime",
		ArgsUsage: "ADAPTED",
		Description: `merged folds the adapters into the weights; weight keeps them apart in the form that other
runtimes fold at load; activation is what inject writes. train-step writes the training step
itself as standard ONNX: inputs are the batch, labels, blocks, optimizer state, learning_rate
and step; outputs the loss, new blocks and new state.

EXAMPLE: bonnx export trained.onnx -o deploy.onnx
EXAMPLE: bonnx export adapted.onnx --form train-step --opset 18 -o step.onnx`,
		Flags:  append(append(flags, optimFlags()...), dynamicBatchFlag(), outputFlag(), forceFlag(), quietFlag()),
		Action: e.export,
	}
}

func (e *env) export(c *cli.Context) error {
	a, err := args(c, "ADAPTED")
	if err != nil {
		return err
	}
	write := exportForms[c.String("form")]
	if write == nil {
		return usagef("--form %q is not one of merged, activation, weight, train-step", c.String("form"))
	}
	for _, only := range []string{"opset", "grads-only", "logits", "loss-output", "label-smoothing", "optimizer", "betas", "eps", "momentum", "weight-decay", "clip"} {
		if c.IsSet(only) && c.String("form") != "train-step" {
			return usagef("--%s belongs to --form train-step", only)
		}
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
	x, err := write(c, m)
	if err != nil {
		return err
	}
	return x.Save(c.Context, out, bonnx.SaveOptions{Force: c.Bool("force"), Keep: m.Base().Files()})
}

// exportForms are the forms that export writes.
var exportForms = map[string]func(c *cli.Context, m *bonnx.BoneModel) (*bonnx.Model, error){
	"merged":     func(_ *cli.Context, m *bonnx.BoneModel) (*bonnx.Model, error) { return m.MergeAndUnload() },
	"activation": reform,
	"weight":     reform,
	"train-step": func(c *cli.Context, m *bonnx.BoneModel) (*bonnx.Model, error) {
		var t bonnx.TrainConfig
		lossConfig(c, &t)
		if err := errors.Join(optimConfig(c, &t), validate(t)); err != nil {
			return nil, err
		}
		return m.ExportStep(t, c.Int64("opset"), c.Bool("grads-only"))
	},
}

func reform(c *cli.Context, m *bonnx.BoneModel) (*bonnx.Model, error) {
	if len(m.Adapters()) == 0 {
		return m.Unload() // says that there is none
	}
	return m.Model(bonnx.SaveOptions{Form: c.String("form")})
}
