package par_test

import (
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bonnx/bonnx/internal/par"
)

func pools(t *testing.T) map[string]*par.Pool {
	m := map[string]*par.Pool{"nil": nil, "one": par.New(1), "two": par.New(2), "five": par.New(5), "default": par.New(0)}
	t.Cleanup(func() {
		for _, p := range m {
			p.Close()
		}
	})
	return m
}

func TestForCoversEachIndexOnce(t *testing.T) {
	for name, p := range pools(t) {
		for _, n := range []int{0, 1, 2, 7, 255, 256, 257, 1000, 5000} {
			for _, grain := range []int{-1, 0, 1, 3, 64, 10000} {
				seen := make([]int32, n)
				p.For(n, grain, func(lo, hi int) {
					for i := lo; i < hi; i++ {
						atomic.AddInt32(&seen[i], 1)
					}
				})
				for i, c := range seen {
					if c != 1 {
						t.Fatalf("pool %s, n %d, grain %d: index %d visited %d times, want 1", name, n, grain, i, c)
					}
				}
			}
		}
	}
}

func TestChunksDependOnSizeAlone(t *testing.T) {
	for name, p := range pools(t) {
		for _, n := range []int{1, 100, 257, 4096} {
			count, size := par.Chunks(n, 10)
			var mu sync.Mutex
			var got []int
			p.For(n, 10, func(lo, hi int) {
				if hi != min(lo+size, n) {
					t.Errorf("pool %s, n %d: chunk [%d,%d), want size %d", name, n, lo, hi, size)
				}
				mu.Lock()
				got = append(got, lo)
				mu.Unlock()
			})
			slices.Sort(got)
			if len(got) != count {
				t.Fatalf("pool %s, n %d: got %d chunks, want %d", name, n, len(got), count)
			}
			for c, lo := range got {
				if lo != c*size {
					t.Fatalf("pool %s, n %d: chunk %d begins at %d, want %d", name, n, c, lo, c*size)
				}
			}
		}
	}
}

func TestNestedForRunsInline(t *testing.T) {
	for name, p := range pools(t) {
		var total atomic.Int64
		p.For(20, 1, func(lo, hi int) {
			p.For(30, 1, func(lo, hi int) { total.Add(int64(hi - lo)) })
		})
		if got := total.Load(); got != 600 {
			t.Errorf("pool %s: inner bodies covered %d, want 600", name, got)
		}
	}
}

func TestPanicReachesCallerAndPoolSurvives(t *testing.T) {
	for name, p := range pools(t) {
		got := func() (r any) {
			defer func() { r = recover() }()
			p.For(100, 1, func(lo, hi int) {
				if lo == 37 {
					panic("chunk 37")
				}
			})
			return nil
		}()
		if got != "chunk 37" {
			t.Errorf("pool %s: recovered %v, want chunk 37", name, got)
		}
		var n atomic.Int64
		p.For(100, 1, func(lo, hi int) { n.Add(1) })
		if n.Load() != 100 {
			t.Errorf("pool %s: %d chunks after a panic, want 100", name, n.Load())
		}
	}
}

func TestConcurrentCallersAndClose(t *testing.T) {
	p := par.New(3)
	var total atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				p.For(64, 4, func(lo, hi int) { total.Add(int64(hi - lo)) })
			}
		})
	}
	p.Close() // while loops run: they end, later ones run inline
	wg.Wait()
	p.Close()
	if got, want := total.Load(), int64(8*200*64); got != want {
		t.Errorf("covered %d, want %d", got, want)
	}
	if got := p.Threads(); got != 3 {
		t.Errorf("Threads() = %d, want 3", got)
	}
}

func BenchmarkForEmpty(b *testing.B) {
	p := par.New(0)
	defer p.Close()
	b.ReportAllocs()
	for b.Loop() {
		p.For(64, 1, func(lo, hi int) {})
	}
}

// sums is a Task with a slice of its own.
type sums struct{ into []int64 }

func (s *sums) Run(lo, hi int) {
	for i := lo; i < hi; i++ {
		s.into[i] += int64(i)
	}
}

func TestDoAllocatesNothing(t *testing.T) {
	for name, p := range pools(t) {
		s := sums{make([]int64, 1000)}
		runs := int64(0)
		run := func() { runs++; par.Do(p, len(s.into), 1, &s) }
		run() // the pool's own task
		if got := testing.AllocsPerRun(100, run); got != 0 {
			t.Errorf("pool %s: %v allocations a loop, want 0", name, got)
		}
		for i, v := range s.into {
			if v != runs*int64(i) {
				t.Fatalf("pool %s: element %d is %d after %d runs, want %d", name, i, v, runs, runs*int64(i))
			}
		}
	}
}

// stack is a Task whose run needs a larger stack than its caller has.
type stack struct{ into []int64 }

func (s *stack) Run(lo, hi int) {
	for i := lo; i < hi; i++ {
		s.into[i] = deep(200)
	}
}

//go:noinline
func deep(n int) int64 {
	var pad [256]byte
	pad[n%256] = 1
	if n == 0 {
		return int64(pad[0])
	}
	return deep(n-1) + int64(pad[n%256]) - 1
}

// TestDoWhileStacksMove: an inline task lies on a stack that is moved while
// the task runs.
func TestDoWhileStacksMove(t *testing.T) {
	for _, p := range pools(t) {
		done := make(chan []int64)
		go func() {
			s := stack{make([]int64, 50)}
			par.Do(p, len(s.into), 1, &s)
			done <- s.into
		}()
		for i, v := range <-done {
			if v != 1 {
				t.Fatalf("element %d is %d, want 1", i, v)
			}
		}
	}
}

// TestSleepersWake: loops that come after the workers went to sleep are shared
// again, and closing ends sleepers.
func TestSleepersWake(t *testing.T) {
	p := par.New(3)
	for range 5 {
		time.Sleep(2 * time.Millisecond)
		var total atomic.Int64
		p.For(64, 1, func(lo, hi int) { total.Add(int64(hi - lo)) })
		if total.Load() != 64 {
			t.Fatalf("covered %d, want 64", total.Load())
		}
	}
	time.Sleep(2 * time.Millisecond)
	p.Close()
}

// TestSleeperTakesPart: a worker that went to sleep joins the next loop. Each
// of two chunks waits until the other has begun.
func TestSleeperTakesPart(t *testing.T) {
	p := par.New(2)
	defer p.Close()
	for range 3 {
		time.Sleep(5 * time.Millisecond)
		var begun atomic.Int64
		both := make(chan struct{})
		p.For(2, 1, func(lo, hi int) {
			if begun.Add(1) == 2 {
				close(both)
			}
			select {
			case <-both:
			case <-time.After(20 * time.Second):
				t.Errorf("chunk %d ran alone", lo)
			}
		})
	}
}

func BenchmarkDoEmpty(b *testing.B) {
	p := par.New(0)
	defer p.Close()
	b.ReportAllocs()
	s := sums{make([]int64, 64)}
	for b.Loop() {
		par.Do(p, 64, 1, &s)
	}
}
