package kernel

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"unsafe"

	"github.com/bonnx/bonnx/internal/par"
)

// counting is 0, 1, 2, ...
func counting(n int) []int32 {
	x := make([]int32, n)
	for i := range x {
		x[i] = int32(i)
	}
	return x
}

// unravel is the index along each axis of element i of a shape.
func unravel(i int, shape []int) []int {
	at := make([]int, len(shape))
	for a := len(shape) - 1; a >= 0; a-- {
		at[a] = i % shape[a]
		i /= shape[a]
	}
	return at
}

func ravel(at, shape []int) int {
	i := 0
	for a, d := range shape {
		i = i*d + at[a]
	}
	return i
}

func TestTranspose(t *testing.T) {
	cases := []struct{ shape, perm []int }{
		{nil, nil}, {[]int{5}, []int{0}}, {[]int{3, 4}, []int{0, 1}}, {[]int{3, 4}, []int{1, 0}},
		{[]int{1, 4, 1}, []int{2, 1, 0}}, {[]int{70, 33}, []int{1, 0}}, {[]int{2, 40, 3, 35}, []int{0, 2, 1, 3}},
		{[]int{2, 40, 3, 35}, []int{3, 2, 1, 0}}, {[]int{2, 3, 4, 5}, []int{2, 3, 0, 1}}, {[]int{0, 3}, []int{1, 0}},
		{[]int{2, 3, 0, 5}, []int{3, 2, 0, 1}}, {[]int{300, 200}, []int{1, 0}},
	}
	r := newRand()
	for range 200 {
		shape := make([]int, 1+r.IntN(8))
		for a := range shape {
			shape[a] = 1 + r.IntN(4)
		}
		cases = append(cases, struct{ shape, perm []int }{shape, r.Perm(len(shape))})
	}
	withPools(t, func(t *testing.T, p *par.Pool) {
		for _, c := range cases {
			src := counting(sizeOf(c.shape))
			out := make([]int, len(c.shape))
			for a, s := range c.perm {
				out[a] = c.shape[s]
			}
			got, want := make([]int32, len(src)), make([]int32, len(src))
			for i := range want {
				to, from := unravel(i, out), make([]int, len(out))
				for a, s := range c.perm {
					from[s] = to[a]
				}
				want[i] = src[ravel(from, c.shape)]
			}
			Transpose(p, NewTransposition(c.shape, c.perm), got, src)
			checkSame(t, fmt.Sprint(c), got, want)
		}
	})
}

func randomView(r *rand.Rand) (shape, start, step, size []int) {
	for range r.IntN(6) {
		n := 1 + r.IntN(6)
		first, last := r.IntN(n), r.IntN(n)
		s := 1 + r.IntN(3)
		if last < first {
			s = -s
		}
		shape, start, step = append(shape, n), append(start, first), append(step, s)
		size = append(size, (last-first)/s+1)
	}
	return
}

func TestViews(t *testing.T) {
	r := newRand()
	for range 500 {
		shape, start, step, size := randomView(r)
		what := fmt.Sprint(shape, start, step, size)
		v := NewView(shape, start, step, size)
		if v.Len() != sizeOf(size) {
			t.Fatalf("%s: Len %d, want %d", what, v.Len(), sizeOf(size))
		}
		src := counting(sizeOf(shape))
		got, want := make([]int32, sizeOf(size)), make([]int32, sizeOf(size))
		back, wantBack := counting(len(src)), counting(len(src))
		for i := range want {
			at := unravel(i, size)
			for a := range at {
				at[a] = start[a] + at[a]*step[a]
			}
			want[i] = src[ravel(at, shape)]
			wantBack[ravel(at, shape)] = -int32(i) - 1
		}
		ReadView(nil, v, got, src)
		checkSame(t, "read "+what, got, want)
		for i := range got {
			got[i] = -int32(i) - 1
		}
		WriteView(nil, v, back, got)
		checkSame(t, "write "+what, back, wantBack)
	}
	empty := NewView([]int{3, 4}, []int{3, 0}, []int{1, 1}, []int{0, 4})
	ReadView(nil, empty, nil, counting(12))
}

func TestTile(t *testing.T) {
	got := make([]int32, 2*3*2*2)
	Expand(nil, NewTile([]int{3, 2}, []int{2, 2}), got, counting(6))
	checkSame(t, "tile", got, []int32{0, 1, 0, 1, 2, 3, 2, 3, 4, 5, 4, 5, 0, 1, 0, 1, 2, 3, 2, 3, 4, 5, 4, 5})
}

func TestCopyBlocksConcat(t *testing.T) {
	a, b, got := counting(6), counting(4), make([]int32, 10)
	CopyBlocks(nil, 2, 3, got, 5, a, 3)
	CopyBlocks(nil, 2, 2, got[3:], 5, b, 2)
	checkSame(t, "concat", got, []int32{0, 1, 2, 0, 1, 3, 4, 5, 2, 3})
}

func TestGatherScatter(t *testing.T) {
	withPools(t, func(t *testing.T, p *par.Pool) {
		for _, c := range []struct{ outer, n, inner, m int }{{1, 5, 1, 7}, {3, 4, 1, 2}, {2, 5, 3, 8}, {1, 100, 200, 333}, {2, 3, 0, 4}, {2, 3, 4, 0}} {
			r := newRand()
			index := make([]int64, c.m)
			for i := range index {
				index[i] = int64(r.IntN(c.n))
			}
			src := randSlice[float32](r, c.outer*c.n*c.inner)
			got, check := guarded[float32](t, c.outer*c.m*c.inner)
			Gather(p, c.outer, c.n, c.inner, got, src, index)
			check()
			want, sum := make([]float32, len(got)), make([]float32, len(src))
			for o := range c.outer {
				for i, k := range index {
					for j := range c.inner {
						want[(o*c.m+i)*c.inner+j] = src[(o*c.n+int(k))*c.inner+j]
						sum[(o*c.n+int(k))*c.inner+j] += src[(o*c.n+int(k))*c.inner+j]
					}
				}
			}
			checkSame(t, fmt.Sprintf("gather %+v", c), got, want)
			back, check := guarded[float32](t, len(src))
			clear(back)
			ScatterAdd(p, c.outer, c.n, c.inner, back, got, index)
			check()
			checkSame(t, fmt.Sprintf("scatter %+v", c), back, sum)
		}
	})
}

func TestNonNegative(t *testing.T) {
	got := make([]int64, 3)
	if bad := NonNegative(got, []int64{-3, 2, -1}, 3); bad != -1 {
		t.Errorf("bad index at %d, want none", bad)
	}
	checkSame(t, "non-negative", got, []int64{0, 2, 2})
	for _, c := range [][]int64{{0, 3}, {0, -4}} {
		if bad := NonNegative(got, c, 3); bad != 1 {
			t.Errorf("%v: bad index at %d, want 1", c, bad)
		}
	}
}

// TestMovers moves elements of every size and compares with int32.
func TestMovers(t *testing.T) {
	const rows, cols = 5, 7
	perm := NewTransposition([]int{rows, cols}, []int{1, 0})
	view := NewView([]int{rows, cols}, []int{1, 6}, []int{2, -2}, []int{2, 4})
	wide := NewBroadcast([]int{3, rows * cols}, []int{rows * cols})
	choice := NewBroadcast([]int{rows, cols}, []int{rows, 1}, []int{rows, cols}, []int{cols})
	cond := []bool{true, false, true, true, false}
	index := []int64{4, 0, 4}
	moves := []struct {
		name string
		n    int
		f    func(m Mover, dst, src []byte, size int)
		want func(dst, src []int32)
	}{
		{"transpose", rows * cols, func(m Mover, d, s []byte, _ int) { m.Transpose(nil, perm, d, s) }, func(d, s []int32) { Transpose(nil, perm, d, s) }},
		{"read", 8, func(m Mover, d, s []byte, _ int) { m.ReadView(nil, view, d, s) }, func(d, s []int32) { ReadView(nil, view, d, s) }},
		{"write", rows * cols, func(m Mover, d, s []byte, _ int) { m.WriteView(nil, view, d, s) }, func(d, s []int32) { WriteView(nil, view, d, s) }},
		{"expand", 3 * rows * cols, func(m Mover, d, s []byte, _ int) { m.Expand(nil, wide, d, s) }, func(d, s []int32) { Expand(nil, wide, d, s) }},
		{"where", rows * cols, func(m Mover, d, s []byte, size int) { m.Where(nil, choice, d, cond, s, s[size:]) }, func(d, s []int32) { Where(nil, choice, d, cond, s, s[1:]) }},
		{"gather", 3 * cols, func(m Mover, d, s []byte, _ int) { m.Gather(nil, 1, rows, cols, d, s, index) }, func(d, s []int32) { Gather(nil, 1, rows, cols, d, s, index) }},
		{"blocks", rows * cols, func(m Mover, d, s []byte, _ int) { m.CopyBlocks(nil, 4, 3, d, 8, s, 7) }, func(d, s []int32) { CopyBlocks(nil, 4, 3, d, 8, s, 7) }},
	}
	for _, size := range []int{1, 2, 4, 8, 16} {
		for _, c := range moves {
			src, want := counting(rows*cols+1), make([]int32, c.n)
			c.want(want, src)
			dst := make([]uint64, 2*c.n)
			from := make([]uint64, 2*len(src))
			fromBytes := unsafe.Slice((*byte)(unsafe.Pointer(&from[0])), len(src)*size)
			dstBytes := unsafe.Slice((*byte)(unsafe.Pointer(&dst[0])), c.n*size)
			for i, v := range src {
				fromBytes[i*size], fromBytes[i*size+size-1] = byte(v), byte(v)
			}
			c.f(MoverFor(size), dstBytes, fromBytes, size)
			for i, v := range want {
				if got := dstBytes[i*size]; int32(got) != v || dstBytes[i*size+size-1] != got {
					t.Fatalf("%s, size %d: element %d is %d, want %d", c.name, size, i, got, v)
				}
			}
		}
	}
	for _, size := range []int{-1, 0, 3, 17} {
		if MoverFor(size) != nil {
			t.Errorf("MoverFor(%d) is not nil", size)
		}
	}
}

func BenchmarkTranspose(b *testing.B) {
	const n = 1024
	src, dst := make([]float32, n*n), make([]float32, n*n)
	plan := NewTransposition([]int{n, n}, []int{1, 0})
	b.SetBytes(8 * n * n)
	for b.Loop() {
		Transpose(nil, plan, dst, src)
	}
}
