package cli

import (
	"encoding/json"
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
		&cli.StringFlag{Name: "init", Value: "zero", Usage: "zero, or random (for tests)"},
		&cli.Uint64Flag{Name: "seed", Usage: "seed of random initial values, shuffling and dropout"},
		&cli.StringFlag{Name: "config", Usage: "read the adapter's configuration from `FILE`: PEFT's adapter_config.json, or YAML; flags win"},
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
is read.

EXAMPLE: bonnx inject model.onnx --method bone --rank 16 -o adapted.onnx
EXAMPLE: bonnx inject model.onnx --method bat --rank 4 --target q_proj --target v_proj --layers 0-3 -o adapted.onnx`,
		Flags:  append(adapterFlags(), outputFlag(), forceFlag(), quietFlag(), jsonFlag()),
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
	m, err := bonnx.Open(a[0])
	if err != nil {
		return err
	}
	defer m.Close()
	r, err := e.inject(c, m)
	if err != nil {
		return err
	}
	if err := m.Save(out, bonnx.SaveOptions{Context: c.Context, Force: c.Bool("force"), Inputs: []string{c.String("config")}}); err != nil {
		return err
	}
	return e.reportInject(c, r)
}

// inject reads the adapter's flags and injects.
func (e *env) inject(c *cli.Context, m *bonnx.Model) (*bonnx.Report, error) {
	cfg, err := e.adapterConfig(c)
	if err != nil {
		return nil, err
	}
	form, err := adapterForm(c)
	if err != nil {
		return nil, err
	}
	if cfg.Method == bonnx.Bat && form == bonnx.Activation {
		return nil, usagef("--form activation: bat has the form weight alone, because what it adds depends on the weight")
	}
	return m.Inject(cfg, bonnx.InjectOptions{Form: form, Inputs: c.Bool("inputs"), SkipUnfit: c.Bool("skip-unfit")})
}

// adapterConfig is --config with what flags say on top.
func (e *env) adapterConfig(c *cli.Context) (bonnx.Config, error) {
	cfg := bonnx.DefaultConfig()
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
	if c.IsSet("target") && c.IsSet("target-regex") {
		return cfg, usagef("--target and --target-regex exclude each other")
	}
	if err := cfg.Validate(); err != nil {
		return cfg, &usageError{err.Error()}
	}
	return cfg, nil
}

// configFlags map flags to the configuration.
var configFlags = []struct {
	name string
	set  func(c *cli.Context, cfg *bonnx.Config) error
}{
	{"method", func(c *cli.Context, cfg *bonnx.Config) error {
		return cfg.Method.UnmarshalText([]byte(c.String("method")))
	}},
	{"rank", func(c *cli.Context, cfg *bonnx.Config) error { cfg.Rank = c.Int("rank"); return nil }},
	{"mini-rank", func(c *cli.Context, cfg *bonnx.Config) error { cfg.MiniRank = c.Int("mini-rank"); return nil }},
	{"alpha", func(c *cli.Context, cfg *bonnx.Config) error { cfg.Alpha = c.Float64("alpha"); return nil }},
	{"init", func(c *cli.Context, cfg *bonnx.Config) error {
		return cfg.Init.UnmarshalText([]byte(c.String("init")))
	}},
	{"seed", func(c *cli.Context, cfg *bonnx.Config) error { cfg.Seed = c.Uint64("seed"); return nil }},
	{"target", func(c *cli.Context, cfg *bonnx.Config) error {
		return json.Unmarshal(targets(c.StringSlice("target")), &cfg.Targets)
	}},
	{"target-regex", func(c *cli.Context, cfg *bonnx.Config) error {
		b, err := json.Marshal(c.String("target-regex"))
		if err != nil {
			return err
		}
		return json.Unmarshal(b, &cfg.Targets)
	}},
	{"exclude", func(c *cli.Context, cfg *bonnx.Config) error {
		b, err := json.Marshal(c.StringSlice("exclude"))
		if err != nil {
			return err
		}
		return json.Unmarshal(b, &cfg.Exclude)
	}},
	{"layers", func(c *cli.Context, cfg *bonnx.Config) (err error) {
		cfg.Layers, err = layers(c.String("layers"))
		return err
	}},
	{"layers-pattern", func(c *cli.Context, cfg *bonnx.Config) error {
		cfg.LayersPattern = c.StringSlice("layers-pattern")
		return nil
	}},
}

// targets is --target in PEFT's JSON: a list, or the word all-linear alone.
func targets(list []string) []byte {
	var v any = list
	if len(list) == 1 && strings.EqualFold(list[0], "all-linear") {
		v = list[0]
	}
	b, err := json.Marshal(v)
	if err != nil {
		return []byte("[]") // strings always marshal
	}
	return b
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
