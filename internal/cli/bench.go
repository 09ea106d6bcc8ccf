package cli

import (
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/bonnx/bonnx"
)

func (e *env) benchCommand() *cli.Command {
	return &cli.Command{
		Name:      "bench",
		Usage:     "time a model, operator by operator and in all",
		ArgsUsage: "MODEL",
		Description: `Inputs come from --input; those that it lacks are made up, in the shapes given by --shape.

EXAMPLE: bonnx bench model.onnx --shape input_ids=8x128 --runs 20`,
		Flags: []cli.Flag{inputFlag("read inputs from `IN.npz`"), shapeFlag(), seedFlag("seed of inputs that are made up"),
			&cli.IntFlag{Name: "runs", Value: 10, Usage: "time `N` runs, after one that is not counted"}, threadsFlag(), jsonFlag()},
		Action: e.bench,
	}
}

// benchJSON is what bench --json prints; times are in seconds.
type benchJSON struct {
	Runs        int           `json:"runs"`
	Median      float64       `json:"median_seconds"`
	Min         float64       `json:"min_seconds"`
	Max         float64       `json:"max_seconds"`
	Compile     float64       `json:"compile_seconds"`
	First       float64       `json:"first_run_seconds"`
	ArenaBytes  int           `json:"arena_bytes"`
	WeightBytes int           `json:"weight_bytes"`
	PeakRSS     int64         `json:"peak_rss_bytes"`
	Operators   []benchOpJSON `json:"operators"`
}

type benchOpJSON struct {
	Op      string  `json:"op"`
	Nodes   int     `json:"nodes"`
	Seconds float64 `json:"seconds"`
}

func (e *env) bench(c *cli.Context) error {
	a, err := args(c, "MODEL")
	if err != nil {
		return err
	}
	n, err := threads(c)
	if err != nil {
		return err
	}
	runs := c.Int("runs")
	if runs < 1 {
		return usagef("--runs is %d", runs)
	}
	m, err := e.open(c, a[0])
	if err != nil {
		return err
	}
	defer m.Close()
	in, err := feeds(c, m, true)
	if err != nil {
		return err
	}
	r, err := m.Bench(c.Context, in, runs, n)
	if err != nil {
		return err
	}
	return e.reportBench(c, r)
}

func (e *env) reportBench(c *cli.Context, r *bonnx.BenchResult) error {
	sorted := slices.Sorted(slices.Values(r.Runs))
	j := benchJSON{
		Runs: len(sorted), Median: sorted[len(sorted)/2].Seconds(), Min: sorted[0].Seconds(), Max: sorted[len(sorted)-1].Seconds(),
		Compile: r.Compile.Seconds(), First: r.Plan.Seconds(), ArenaBytes: r.ArenaBytes, WeightBytes: r.WeightBytes,
		PeakRSS: peakRSS(), Operators: []benchOpJSON{},
	}
	var all time.Duration
	for _, o := range r.Ops {
		j.Operators = append(j.Operators, benchOpJSON{o.Op, o.Nodes, o.Time.Seconds()})
		all += o.Time
	}
	if c.Bool("json") {
		return e.printJSON(j)
	}
	ms := func(s float64) float64 { return 1000 * s }
	if err := e.printf("%d runs: median %.3f ms, min %.3f, max %.3f; compile %.1f ms, first run %.1f ms\narena %s, weights %s, peak RSS %s\n",
		j.Runs, ms(j.Median), ms(j.Min), ms(j.Max), ms(j.Compile), ms(j.First), bytesText(j.ArenaBytes), bytesText(j.WeightBytes), bytesText(int(j.PeakRSS))); err != nil {
		return err
	}
	for _, o := range j.Operators {
		share := 100 * o.Seconds / max(all.Seconds(), 1e-12)
		if err := e.printf("%8.3f ms %5.1f %%  %4d x %s\n", ms(o.Seconds), share, o.Nodes, o.Op); err != nil {
			return err
		}
	}
	return nil
}
