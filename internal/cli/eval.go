package cli

import (
	"math"

	"github.com/urfave/cli/v2"

	"github.com/bonnx/bonnx"
)

func (e *env) eval(c *cli.Context) error {
	a, err := args(c, "MODEL")
	if err != nil {
		return err
	}
	n, err := threads(c)
	if err != nil {
		return err
	}
	t := bonnx.DefaultTrainConfig()
	t.LossConfig, t.BatchSize, t.Params = lossConfig(c), c.Int("batch-size"), []string{"any"}
	if err := t.Validate(); err != nil {
		return &usageError{err.Error()}
	}
	if c.String("data") == "" {
		return usagef("--data DATA is required")
	}
	m, err := bonnx.Open(a[0])
	if err != nil {
		return err
	}
	defer m.Close()
	data, _, err := e.openData(c, m)
	if err != nil {
		return err
	}
	loss, count, err := m.Eval(c.Context, data, t.LossConfig, t.BatchSize, n)
	if err != nil {
		return err
	}
	j := evalJSON{Loss: loss, Count: count, Samples: data.Len()}
	if t.Task == "causal-lm" {
		p := math.Exp(loss)
		j.Perplexity = finiteOrNil(p)
	}
	if c.Bool("json") {
		return e.printJSON(j)
	}
	if j.Perplexity != nil {
		return e.printf("loss %.6f  perplexity %.4f  over %s tokens\n", loss, *j.Perplexity, commas(int(count)))
	}
	return e.printf("loss %.6f  over %s\n", loss, commas(int(count)))
}
