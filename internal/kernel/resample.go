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
	Pairs   bool // every row has two: of linear interpolation
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
	if inner == 1 {
		for lo < hi {
			o, n := lo%r.Out, min(r.Out-lo%r.Out, hi-lo)
			gatherLine(r, t.dst[lo:][:n], t.src[lo/r.Out*r.In:][:r.In], o)
			lo += n
		}
		return
	}
	v := vec[T]()
	for l := lo; l < hi; l++ {
		o, from := l%r.Out, t.src[l/r.Out*r.In*inner:][:r.In*inner]
		to := t.dst[l*inner:][:inner]
		clear(to)
		for k := r.Start[o]; k < r.Start[o+1]; k++ {
			v.addScaled(to, from[r.At[k]*inner:][:inner], T(r.Weight[k]))
		}
	}
}

// gatherLine applies the rows of r from o on to a line.
func gatherLine[T Float](r *Resampling, to, from []T, o int) {
	at, weight, start := r.At, r.Weight, r.Start[o:][:len(to)+1]
	if r.Pairs {
		at, weight = at[2*o:][:2*len(to)], weight[2*o:][:2*len(to)]
		for i := range to {
			s := float64(weight[2*i] * float64(from[at[2*i]]))
			to[i] = T(s + float64(weight[2*i+1]*float64(from[at[2*i+1]])))
		}
		return
	}
	for i := range to {
		var s float64
		for k := start[i]; k < start[i+1]; k++ {
			s += float64(weight[k] * float64(from[at[k]]))
		}
		to[i] = T(s)
	}
}
