package kernel

import "github.com/bonnx/bonnx/internal/par"

// gatedPart is how many elements pass through the parts of a gate at a time:
// they stay in the first-level cache.
const gatedPart = 1 << 10

// GatedSiLU is
//
//	y[i] = silu(gate[i]) * up[i]
//
// y may be gate.
func GatedSiLU[T Float](p *par.Pool, y, gate, up []T) {
	par.Do(p, len(y), grain, &gating[T]{y, gate, up})
}

type gating[T Float] struct{ y, gate, up []T }

func (t *gating[T]) Run(lo, hi int) {
	v := vec[T]()
	for ; lo < hi; lo += gatedPart {
		end := min(lo+gatedPart, hi)
		y := t.y[lo:end]
		v.silu(y, t.gate[lo:end])
		v.mul.vv(y, y, t.up[lo:end])
	}
}

// GatedSiLUGrad is the gradient of GatedSiLU:
//
//	dgate[i] = dy[i] * up[i] * silu'(gate[i])
//	dup[i] = dy[i] * silu(gate[i])
//
// dgate may be dy.
func GatedSiLUGrad[T Float](p *par.Pool, dgate, dup, dy, gate, up []T) {
	par.Do(p, len(dy), grain, &gatingGrad[T]{dgate, dup, dy, gate, up})
}

type gatingGrad[T Float] struct{ dgate, dup, dy, gate, up []T }

func (t *gatingGrad[T]) Run(lo, hi int) {
	v := vec[T]()
	for ; lo < hi; lo += gatedPart {
		end := min(lo+gatedPart, hi)
		dgate, dup, dy, gate := t.dgate[lo:end], t.dup[lo:end], t.dy[lo:end], t.gate[lo:end]
		v.silu(dup, gate)
		v.mul.vv(dup, dup, dy)
		v.mul.vv(dgate, dy, t.up[lo:end])
		v.siluGrad(dgate, gate, dgate)
	}
}
