package cli

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/bonnx/bonnx"
)

// adapterFlags define an adapter; inject and train have them.
func adapterFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "method", Value: "bone", Usage: "bone, bat, miss, miss-mini or lora"},
		&cli.IntFlag{Name: "rank", Value: 64, Usage: "rank r of the blocks"},
		&cli.IntFlag{Name: "mini-rank", Usage: "miss-mini: columns of the blocks"},
		&cli.Float64Flag{Name: "alpha", Usage: "lora: scale by ALPHA/r (0: no scaling)"},
		&cli.StringSliceFlag{Name: "target", Usage: "adapt modules called `NAME`, or whose path ends in .NAME; repeats (none: all-linear)"},
		&cli.StringFlag{Name: "target-regex", Usage: "adapt modules whose whole path matches `RE`"},
		&cli.StringSliceFlag{Name: "exclude", Usage: "leave out modules called `NAME`; repeats"},
		&cli.StringFlag{Name: "layers", Usage: "only these layers, such as 0,2-5"},
		&cli.StringSliceFlag{Name: "layers-pattern", Usage: "name of the list that layers are counted in; repeats"},
		&cli.BoolFlag{Name: "include-head", Usage: "all-linear takes the head, the last layer before an output, too"},
		&cli.StringSliceFlag{Name: "save-modules", Usage: "train the modules called `NAME` whole and keep them with the adapter; repeats"},
		&cli.StringFlag{Name: "bias", Value: "none", Usage: "biases that train too: none, all or bone_only (of the adapted layers)"},
		&cli.Float64Flag{Name: "dropout", Usage: "share of a layer's inputs that the adapter does not see in a training step (not bat)"},
		&cli.StringFlag{Name: "init", Value: "zero", Usage: "zero, or random (for tests)"},
		&cli.Uint64Flag{Name: "seed", Usage: "seed of random initial values, shuffling and dropout"},
		&cli.StringFlag{Name: "name", Value: "default", Usage: "call the adapter `NAME`; a model may have several"},
		&cli.StringFlag{Name: "config", Usage: "read the adapter's configuration from `FILE`: PEFT's adapter_config.json, or YAML; flags win"},
		&cli.StringFlag{Name: "model-type", Usage: "the model's type, such as llama, for PEFT's default targets (none: that of a config.json beside the model)"},
		formFlag(),
		&cli.BoolFlag{Name: "inputs", Usage: "make the blocks graph inputs with defaults, to be fed others at run time"},
		&cli.BoolFlag{Name: "skip-unfit", Usage: "leave out named targets that do not take the method or rank"},
	}
}

func (e *env) injectCommand() *cli.Command {
	return &cli.Command{
		Name:      "inject",
		Usage:     "put adapters on a model's linear layers",
		ArgsUsage: "MODEL",
		Description: `The adapted model computes what the model computes until the adapter is trained. No weight
is read. Onto an adapted model, an adapter of another --name goes on top.

EXAMPLE: bonnx inject model.onnx -o adapted.onnx
EXAMPLE: bonnx inject model.onnx --method bat --rank 4 --target q_proj --target v_proj --layers 0-3 -o adapted.onnx`,
		Flags:  append(adapterFlags(), dynamicBatchFlag(), inlineFlag(), outputFlag(), forceFlag(), quietFlag(), jsonFlag()),
		Action: e.injectAction,
	}
}

func (e *env) injectAction(c *cli.Context) error {
	a, err := args(c, "MODEL")
	if err != nil {
		return err
	}
	out, err := output(c, a[0], c.String("config"))
	if err != nil {
		return err
	}
	m, err := e.adapted(c, a[0])
	if err != nil {
		return err
	}
	defer m.Base().Close()
	r, err := e.inject(c, m)
	if err != nil {
		return err
	}
	o, err := saveOptions(c)
	if err != nil {
		return err
	}
	o.Keep = []string{c.String("config")}
	if err := m.Save(c.Context, out, o); err != nil {
		return err
	}
	return e.reportInject(c, r)
}

// inject reads the adapter's flags and puts it on top of those that m has.
func (e *env) inject(c *cli.Context, m *bonnx.BoneModel) (*bonnx.Report, error) {
	cfg, err := e.adapterConfig(c)
	if err != nil {
		return nil, err
	}
	o, err := saveOptions(c)
	if err != nil {
		return nil, err
	}
	if cfg.InitWeights == "bat" && o.Form == "activation" {
		return nil, usagef("--form activation: bat has the form weight alone, because what it adds depends on the weight")
	}
	if t := c.String("model-type"); t != "" {
		m.Base().SetType(t)
	}
	name := c.String("name")
	r, err := m.AddAdapter(name, cfg)
	var none *bonnx.NoMatchError
	if errors.As(err, &none) && none.OnlyHead {
		return nil, fmt.Errorf("%w (--include-head)", err)
	}
	if err != nil {
		return nil, err
	}
	return r, m.SetAdapter(append(m.ActiveAdapters(), name)...)
}

// adapterConfig is --config with what flags say on top.
func (e *env) adapterConfig(c *cli.Context) (bonnx.BoneConfig, error) {
	cfg := bonnx.BoneConfig{R: 64, TargetModules: bonnx.Modules{Regex: allLinear}}
	if path := c.String("config"); path != "" {
		var notes []string
		var err error
		if cfg, notes, err = bonnx.LoadConfig(path); err != nil {
			return cfg, err
		}
		for _, n := range notes {
			e.say("%s: %s", path, n)
		}
	}
	for _, f := range configFlags {
		if c.IsSet(f.name) {
			if err := f.set(c, &cfg); err != nil {
				return cfg, &usageError{fmt.Sprintf("--%s: %v", f.name, err)}
			}
		}
	}
	if cfg.PeftType == "LORA" && cfg.LoraAlpha == 0 {
		cfg.LoraAlpha = float64(cfg.R) // no scaling
	}
	if c.IsSet("target") && c.IsSet("target-regex") {
		return cfg, usagef("--target and --target-regex exclude each other")
	}
	if err := cfg.Validate(); err != nil {
		return cfg, &usageError{err.Error()}
	}
	return cfg, nil
}

// allLinear, as the only target, selects every linear layer.
const allLinear = "all-linear"

// configFlags map flags to the configuration.
var configFlags = []struct {
	name string
	set  func(c *cli.Context, cfg *bonnx.BoneConfig) error
}{
	{"method", func(c *cli.Context, cfg *bonnx.BoneConfig) error { return cfg.SetMethod(c.String("method")) }},
	{"rank", func(c *cli.Context, cfg *bonnx.BoneConfig) (err error) {
		if cfg.R = c.Int("rank"); cfg.R <= 0 {
			err = fmt.Errorf("`r` should be a positive integer value but the value passed is %d; a rank of 1 or more is needed", cfg.R)
		}
		return err
	}},
	{"mini-rank", func(c *cli.Context, cfg *bonnx.BoneConfig) error { cfg.MiniR = c.Int("mini-rank"); return nil }},
	{"alpha", func(c *cli.Context, cfg *bonnx.BoneConfig) error { cfg.LoraAlpha = c.Float64("alpha"); return nil }},
	{"init", func(c *cli.Context, cfg *bonnx.BoneConfig) error { return setInit(cfg, c.String("init")) }},
	{"seed", func(c *cli.Context, cfg *bonnx.BoneConfig) error { cfg.Seed = c.Uint64("seed"); return nil }},
	{"target", func(c *cli.Context, cfg *bonnx.BoneConfig) error {
		cfg.TargetModules = targets(c.StringSlice("target"))
		return nil
	}},
	{"target-regex", func(c *cli.Context, cfg *bonnx.BoneConfig) error {
		cfg.TargetModules = bonnx.Modules{Regex: c.String("target-regex")}
		return nil
	}},
	{"exclude", func(c *cli.Context, cfg *bonnx.BoneConfig) error {
		cfg.ExcludeModules = bonnx.Modules{List: c.StringSlice("exclude")}
		return nil
	}},
	{"layers", func(c *cli.Context, cfg *bonnx.BoneConfig) (err error) {
		cfg.LayersToTransform, err = layers(c.String("layers"))
		return err
	}},
	{"layers-pattern", func(c *cli.Context, cfg *bonnx.BoneConfig) error {
		cfg.LayersPattern = c.StringSlice("layers-pattern")
		return nil
	}},
	{"include-head", func(c *cli.Context, cfg *bonnx.BoneConfig) error {
		cfg.IncludeHead = c.Bool("include-head")
		return nil
	}},
	{"save-modules", func(c *cli.Context, cfg *bonnx.BoneConfig) error {
		cfg.ModulesToSave = c.StringSlice("save-modules")
		return nil
	}},
	{"bias", func(c *cli.Context, cfg *bonnx.BoneConfig) error { cfg.Bias = c.String("bias"); return nil }},
	{"dropout", func(c *cli.Context, cfg *bonnx.BoneConfig) error {
		cfg.MissDropout = c.Float64("dropout")
		return nil
	}},
	{"skip-unfit", func(c *cli.Context, cfg *bonnx.BoneConfig) error { cfg.SkipUnfit = c.Bool("skip-unfit"); return nil }},
}

// setInit reads --init; bat and mini start at zero alone.
func setInit(cfg *bonnx.BoneConfig, how string) error {
	switch {
	case how == "zero":
		cfg.RandomInit = false
		if cfg.InitWeights == "false" {
			cfg.InitWeights = ""
		}
	case how != "random":
		return fmt.Errorf("unknown initialisation %q; there are zero, random", how)
	default:
		cfg.RandomInit = true
	}
	return nil
}

// targets is --target: a list, or the word all-linear alone.
func targets(list []string) bonnx.Modules {
	if len(list) == 1 && strings.EqualFold(list[0], allLinear) {
		return bonnx.Modules{Regex: allLinear}
	}
	return bonnx.Modules{List: list}
}

// layers reads a list such as 0,2-5.
func layers(s string) ([]int, error) {
	var out []int
	for part := range strings.SplitSeq(s, ",") {
		lo, hi, isRange := strings.Cut(strings.TrimSpace(part), "-")
		a, err := strconv.Atoi(lo)
		b := a
		if err == nil && isRange {
			b, err = strconv.Atoi(hi)
		}
		if err != nil || a < 0 || b < a || b > 100000 {
			return nil, fmt.Errorf("%q is not a list of layers such as 0,2-5", s)
		}
		for i := a; i <= b; i++ {
			out = append(out, i)
		}
	}
	return out, nil
}

func (e *env) reportInject(c *cli.Context, r *bonnx.Report) error {
	switch {
	case c.Bool("json"):
		return e.printJSON(r)
	case c.Bool("quiet"):
		return e.printf("%s\n", r.TrainableLine())
	}
	e.notes(c, r.Notes)
	if err := r.WriteTable(e.out); err != nil {
		return err
	}
	return e.printf("%s\n", r.TrainableLine())
}
