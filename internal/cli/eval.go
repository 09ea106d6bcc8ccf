package cli

import (
	"errors"
	"fmt"
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
	t := bonnx.TrainConfig{BatchSize: c.Int("batch-size"), Threads: n}
	lossConfig(c, &t)
	if err := errors.Join(feedConfig(c, &t), validate(t)); err != nil {
		return err
	}
	if err := needData(c); err != nil {
		return err
	}
	m, err := e.open(c, a[0])
	if err != nil {
		return err
	}
	defer m.Close()
	data, _, err := e.openData(c, m)
	if err != nil {
		return err
	}
	r, err := m.Eval(c.Context, data, t)
	if err != nil {
		return err
	}
	j := evalJSON{Loss: r.Loss, Accuracy: r.Accuracy, Count: r.Count, Samples: data.Len()}
	if r.Task == "causal-lm" {
		j.Perplexity = finiteOrNil(math.Exp(r.Loss))
	}
	if c.Bool("json") {
		return e.printJSON(j)
	}
	return e.printf("%s\n", j.text(counted[r.Task]))
}

// counted says what the mean of a task's loss is over.
var counted = map[bonnx.Task]string{"causal-lm": "tokens", "classification": "labels", "regression": "elements", "custom": "batches"}

// text is the evaluation for people.
func (j evalJSON) text(what string) string {
	s := fmt.Sprintf("loss %.6f", j.Loss)
	if j.Perplexity != nil {
		s += fmt.Sprintf("  perplexity %.4f", *j.Perplexity)
	}
	if j.Accuracy != nil {
		s += fmt.Sprintf("  accuracy %.1f%%", 100**j.Accuracy)
	}
	return s + fmt.Sprintf("  over %s %s", commas(int(j.Count)), what)
}
