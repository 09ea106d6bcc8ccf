package train

import "math"

// schedules maps names to the factor on the learning rate after warmup, for
// progress in [0, 1).
var schedules = map[string]func(progress float64) float64{
	"constant": func(float64) float64 { return 1 },
	"linear":   func(p float64) float64 { return 1 - p },
	"cosine":   func(p float64) float64 { return (1 + math.Cos(math.Pi*p)) / 2 },
}

// rate is the learning rate of a step, counted from 1, of total.
func (c Config) rate(step, total int) float64 {
	if step <= c.Warmup {
		return c.LR * float64(step) / float64(c.Warmup)
	}
	p := 0.0
	if total > c.Warmup {
		p = float64(step-1-c.Warmup) / float64(total-c.Warmup)
	}
	return c.LR * schedules[c.Schedule](p)
}
