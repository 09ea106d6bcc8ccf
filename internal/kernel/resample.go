package kernel

import "github.com/bonnx/bonnx/internal/par"

// A Resampling is a sparse matrix (Out,In) that is applied along one axis: row
// o has the weights Weight[Start[o]:Start[o+1]] at the columns At of the same
// indices.
type Resampling struct {
	In, Out int
	Start   []int // of Out+1 elements
	At      []int
	Weight  []float64
}

// Transposed is the matrix (In,Out): the gradient of the resampling.
func (r *Resampling) Transposed() *Resampling {
	t := &Resampling{In: r.Out, Out: r.In, Start: make([]int, r.In+1), At: make([]int, len(r.At)), Weight: make([]float64, len(r.At))}
	for _, at := range r.At {
		t.Start[at+1]++
	}
	for i := range r.In {
		t.Start[i+1] += t.Start[i]
	}
	next := append([]int{}, t.Start...)
	for o := range r.Out {
		for k := r.Start[o]; k < r.Start[o+1]; k++ {
			to := next[r.At[k]]
			next[r.At[k]]++
			t.At[to], t.Weight[to] = o, r.Weight[k]
		}
	}
	return t
}

// Resample applies r along the middle axis of src (outer,In,inner):
//
//	dst[i,o,j] = sum over the taps k of row o of Weight[k] * src[i,At[k],j]
func Resample[T Float](p *par.Pool, r *Resampling, outer, inner int, dst, src []T) {
	if r.Out == 0 {
		return
	}
	taps := len(r.At)/r.Out + 1
	par.Do(p, outer*r.Out, rowsPerChunk(taps*inner), &resampling[T]{r, inner, dst, src})
}

type resampling[T Float] struct {
	r        *Resampling
	inner    int
	dst, src []T
}

func (t *resampling[T]) Run(lo, hi int) {
	r, inner := t.r, t.inner
	for l := lo; l < hi; l++ {
		o, from := l%r.Out, t.src[l/r.Out*r.In*inner:][:r.In*inner]
		if inner == 1 {
			var s float64
			for k := r.Start[o]; k < r.Start[o+1]; k++ {
				s += float64(r.Weight[k] * float64(from[r.At[k]]))
			}
			t.dst[l] = T(s)
			continue
		}
		to, v := t.dst[l*inner:][:inner], vec[T]()
		clear(to)
		for k := r.Start[o]; k < r.Start[o+1]; k++ {
			v.addScaled(to, from[r.At[k]*inner:][:inner], T(r.Weight[k]))
		}
	}
}
