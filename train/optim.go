package train

import (
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
)

// Names of the inputs that a step takes beside its batch: the learning rate, a
// float32 scalar, and the step's number counted from 1, an int64 scalar.
const (
	LearningRateInput = "learning_rate"
	StepInput         = "step"
)

// param is one trained value with its gradient and optimizer state.
type param struct {
	value   *ir.Value
	grad    *ir.Value
	slots   []*ir.Value // optimizer state, in the optimizer's order
	updated []*ir.Value // value and slots after the step
}

// optimizer is one row of optimizers: suffixes names the state that it keeps
// for each parameter (torch's names), update appends its operator, and a
// learning rate is looked for between lowest and highest, and taken below times
// lower than where the loss was lowest (RATIONALE.md has the measurements).
type optimizer struct {
	lowest, highest, below float64

	suffixes func(OptimConfig) []string
	update   func(b *ops.Builder, c OptimConfig, p *param, lr, step *ir.Value) []*ir.Value
}

// optimizers is the table of update rules.
var optimizers = map[string]*optimizer{
	"adamw": {
		lowest: 1e-6, highest: 1, below: 10,
		suffixes: func(OptimConfig) []string { return []string{"exp_avg", "exp_avg_sq"} },
		update: func(b *ops.Builder, c OptimConfig, p *param, lr, step *ir.Value) []*ir.Value {
			return b.Composite("AdamW", ir.In(p.value, p.grad, p.slots[0], p.slots[1], lr, step), 3,
				ir.A("beta1", ir.Float(c.Beta1)), ir.A("beta2", ir.Float(c.Beta2)),
				ir.A("epsilon", ir.Float(c.Eps)), ir.A("weight_decay", ir.Float(c.WeightDecay)))
		},
	},
	"sgd": {
		lowest: 1e-5, highest: 1e3, below: 2,
		suffixes: func(c OptimConfig) []string {
			if c.Momentum == 0 {
				return nil
			}
			return []string{"momentum_buffer"}
		},
		update: func(b *ops.Builder, c OptimConfig, p *param, lr, step *ir.Value) []*ir.Value {
			in := ir.In(p.value, p.grad, lr)
			return b.Composite("SGD", append(in, p.slots...), 1+len(p.slots),
				ir.A("momentum", ir.Float(c.Momentum)), ir.A("weight_decay", ir.Float(c.WeightDecay)))
		},
	},
}

// clip appends the gradients' global norm, and their scaling where there is a
// limit. It returns the norm before clipping, a scalar.
func clip(b *ops.Builder, c OptimConfig, params []*param) *ir.Value {
	grads := make([]*ir.Value, len(params))
	for i, p := range params {
		grads[i] = p.grad
	}
	norm := b.Composite("GlobalNorm", grads, 1)[0]
	if c.Clip == 0 {
		return norm
	}
	factor := b.Composite("ClipScale", ir.In(norm), 1, ir.A("max_norm", ir.Float(c.Clip)))[0]
	for _, p := range params {
		p.grad = b.Mul(p.grad, factor)
	}
	return norm
}

// update appends the optimizer.
func update(b *ops.Builder, c OptimConfig, params []*param, lr, step *ir.Value) {
	o := optimizers[c.Optimizer]
	for _, p := range params {
		p.updated = o.update(b, c, p, lr, step)
	}
}
