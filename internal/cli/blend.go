package cli

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/bonnx/bonnx"
)

// algebraFlags are those of blend and convert.
func algebraFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "base", Usage: "the base `MODEL`, where bat or another fit goes by its weights"},
		&cli.StringFlag{Name: "method", DefaultText: "the adapters' own", Usage: "of the result: bone, bat, miss, miss-mini or lora"},
		&cli.IntFlag{Name: "rank", DefaultText: "the smallest exact one", Usage: "of the result"},
		&cli.IntFlag{Name: "mini-rank", Usage: "of a miss-mini result"},
		&cli.StringFlag{Name: "format", DefaultText: "npz where OUT ends so, else peft", Usage: "npz or peft"},
		outputFlag(), forceFlag(), quietFlag(), jsonFlag(),
	}
}

func (e *env) blendCommand() *cli.Command {
	return &cli.Command{
		Name:      "blend",
		Usage:     "add adapters of one base up, weighted: one adapter",
		ArgsUsage: "ADAPTER ...",
		Description: `Bone and MiSS adapters blend without error, at the least common multiple of their ranks. A
negative weight takes a skill away; without --weights the result is the mean, as federated
averaging has it. Where no exact form exists (bat, a smaller --rank) the result is the closest
in the merged weights, and the error is told.

EXAMPLE: bonnx blend law/ tone/ --weights 1,0.5 -o both/
EXAMPLE: bonnx blend site1/ site2/ site3/ -o average.npz`,
		Flags: append([]cli.Flag{&cli.StringFlag{Name: "weights", DefaultText: "the mean", Usage: "a number for each adapter, with commas between: `W,W...`"}},
			algebraFlags()...),
		Action: func(c *cli.Context) error {
			if c.NArg() < 1 {
				return usagef("blend takes one ADAPTER or more. See bonnx blend --help")
			}
			w, err := weights(c.String("weights"), c.NArg())
			if err != nil {
				return err
			}
			return e.algebra(c, c.Args().Slice(), w)
		},
	}
}

func (e *env) convertCommand() *cli.Command {
	return &cli.Command{
		Name:      "convert",
		Usage:     "give an adapter another rank or method",
		ArgsUsage: "ADAPTER",
		Description: `A multiple of its rank changes no bit of what a Bone or MiSS adapter does, and Bone becomes
LoRA exactly. Anything else is the closest in the merged weights, and the error is told.

EXAMPLE: bonnx convert adapter/ --rank 128 -o lifted/
EXAMPLE: bonnx convert adapter/ --method lora -o lora/`,
		Flags: algebraFlags(),
		Action: func(c *cli.Context) error {
			a, err := args(c, "ADAPTER")
			if err != nil {
				return err
			}
			if !c.IsSet("rank") && !c.IsSet("method") && !c.IsSet("mini-rank") {
				return usagef("convert needs --rank or --method")
			}
			return e.algebra(c, a, []float64{1})
		},
	}
}

// weights reads --weights; nil is the mean.
func weights(s string, n int) ([]float64, error) {
	if s == "" {
		return nil, nil
	}
	parts := strings.Split(s, ",")
	if len(parts) != n {
		return nil, usagef("--weights has %d numbers for %d adapters", len(parts), n)
	}
	w := make([]float64, n)
	for i, p := range parts {
		var err error
		if w[i], err = strconv.ParseFloat(strings.TrimSpace(p), 64); err != nil || w[i]-w[i] != 0 {
			return nil, usagef("--weights %q: %q is no number", s, p)
		}
	}
	return w, nil
}

// algebra blends the adapters at paths and writes the result.
func (e *env) algebra(c *cli.Context, paths []string, weights []float64) error {
	to, err := algebraConfig(c)
	if err != nil {
		return err
	}
	out := c.String("output")
	if out == "" {
		return &usageError{errNeedOutput.Error()}
	}
	o := bonnx.SaveOptions{Force: c.Bool("force"), Keep: append([]string{c.String("base")}, paths...), Format: c.String("format")}
	if err := o.CheckFormat(); err != nil {
		return &usageError{err.Error()}
	}
	if err := o.CheckAdapter(out); err != nil {
		return err
	}
	var base *bonnx.Model
	if path := c.String("base"); path != "" {
		if base, err = e.open(c, path); err != nil {
			return err
		}
		defer base.Close()
	}
	adapters := make([]*bonnx.Adapter, len(paths))
	for i, p := range paths {
		if adapters[i], err = bonnx.ReadAdapter(p); err != nil {
			return err
		}
		e.notes(c, adapters[i].Notes())
	}
	a, err := bonnx.Blend(base, adapters, weights, to)
	if err != nil && base == nil && strings.Contains(err.Error(), "give the base model") {
		err = fmt.Errorf("%w (--base MODEL)", err)
	}
	if err != nil {
		return err
	}
	if err := a.Save(out, o); err != nil {
		return err
	}
	e.notes(c, a.Notes())
	return e.reportBlend(c, a)
}

func algebraConfig(c *cli.Context) (to bonnx.BoneConfig, err error) {
	if to.R = c.Int("rank"); c.IsSet("rank") && to.R < 1 {
		return to, usagef("--rank is %d", to.R)
	}
	to.MiniR = c.Int("mini-rank")
	if c.IsSet("method") {
		if err := to.SetMethod(c.String("method")); err != nil {
			return to, &usageError{"--method: " + err.Error()}
		}
	}
	return to, nil
}

// blendJSON is what blend --json and convert --json print.
type blendJSON struct {
	Method     string            `json:"method"`
	Rank       int               `json:"rank"`
	Parameters int               `json:"parameters"`
	Exact      bool              `json:"exact"`
	Error      float64           `json:"error"`
	Targets    []blendTargetJSON `json:"targets"`
}

type blendTargetJSON struct {
	Path  string  `json:"path"`
	Exact bool    `json:"exact"`
	Error float64 `json:"error"`
}

func (e *env) reportBlend(c *cli.Context, a *bonnx.Adapter) error {
	cfg, err := a.Config()
	if err != nil {
		return err
	}
	fit := a.Fit()
	j := blendJSON{cfg.Method(), cfg.R, a.NumParameters(), fit.Exact, fit.Error, []blendTargetJSON{}}
	for _, t := range fit.Targets {
		j.Targets = append(j.Targets, blendTargetJSON(t))
	}
	if c.Bool("json") {
		return e.printJSON(j)
	}
	text := fmt.Sprintf("%s of rank %d, %s parameters, %d layers: ", j.Method, j.Rank, commas(j.Parameters), len(j.Targets))
	if j.Exact {
		return e.printf("%sexact\n", text)
	}
	if err := e.printf("%sthe closest, missing %.3g of the update\n", text, j.Error); err != nil {
		return err
	}
	for _, t := range j.Targets {
		if err := e.printf("%-40s %.3g\n", t.Path, t.Error); err != nil {
			return err
		}
	}
	return nil
}
