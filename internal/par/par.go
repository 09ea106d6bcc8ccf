// Package par runs loops on a fixed set of worker goroutines.
//
// Work is cut by its size and a grain alone, never by the number of threads,
// so whatever a loop computes per chunk is bit-equal on any machine.
package par

import (
	"runtime"
	"sync/atomic"
	"unsafe"
)

// maxChunks bounds how finely one loop is cut, so that handing out chunks
// stays cheap against the work in them. It is part of how work is cut:
// changing it changes the rounding of split sums.
const maxChunks = 256

// A Task is a loop that can be cut: Run does the part [lo,hi) of it. Parts run
// concurrently and in no order.
type Task interface{ Run(lo, hi int) }

// A Pool is a set of workers that share the chunks of one loop at a time. The
// goroutine that calls Do or For works too. A nil Pool runs everything inline.
// A Pool may be shared: a loop that finds the workers taken runs inline.
type Pool struct {
	threads int
	busy    atomic.Bool // one loop at a time owns what follows
	stored  []Task      // one of each type that ever ran here
	job     job
	gate    gate
}

// New starts a pool of the given number of threads, the caller of For
// included; 0 or less means GOMAXPROCS.
func New(threads int) *Pool {
	if threads <= 0 {
		threads = runtime.GOMAXPROCS(0)
	}
	p := &Pool{threads: threads}
	p.gate.init(threads - 1)
	for range threads - 1 {
		go p.work()
	}
	return p
}

// Threads is the number of goroutines that run a loop; 1 for a nil Pool.
func (p *Pool) Threads() int {
	if p == nil {
		return 1
	}
	return p.threads
}

// Close ends the workers once a running loop has finished. Later loops run
// inline. Closing twice, or a nil Pool, does nothing.
func (p *Pool) Close() {
	if p == nil || p.threads == 1 || p.gate.closed.Load() {
		return
	}
	for !p.busy.CompareAndSwap(false, true) {
		if p.gate.closed.Load() {
			return
		}
		runtime.Gosched()
	}
	p.gate.close() // busy stays set: every later loop runs inline
}

// Chunks says how Do and For cut [0,n): count chunks of size elements, the
// last one maybe shorter. Chunk c is [c*size, min((c+1)*size, n)). A grain
// below 1 counts as 1.
func Chunks(n, grain int) (count, size int) {
	if n <= 0 {
		return 0, 0
	}
	size = max(grain, 1, (n+maxChunks-1)/maxChunks)
	return (n-1)/size + 1, size
}

// Do runs the task t for every chunk of [0,n) as cut by Chunks(n, grain) and
// returns when all have run. Where several threads take part they share a copy
// of the task that the pool keeps, and what it then holds is copied back; so
// nothing is allocated but once for a type of task, and t may be on the stack.
// A Do inside a task runs inline. A panic in a task is raised again in the
// caller, after the chunks under way have ended; chunks not begun are dropped.
func Do[T any, P interface {
	*T
	Task
}](p *Pool, n, grain int, t P) {
	count, size := Chunks(n, grain)
	if count == 0 {
		return
	}
	if count == 1 || p == nil || p.threads == 1 || !p.busy.CompareAndSwap(false, true) {
		run := P(unescaped((*T)(t)))
		for lo := 0; lo < n; lo += size {
			run.Run(lo, min(lo+size, n))
		}
		runtime.KeepAlive(t)
		return
	}
	s := stored[T, P](p)
	*s = *t
	p.share(s, n, size, count)
	var none T
	*t, *s = *s, none // what the pool keeps holds on to no memory
	p.release()
}

// unescaped is t, hidden from escape analysis: a task that runs inline is only
// used until its call returns, so it may stay on the stack. Inlined, the result
// would be kept as the integer that it is hidden in, and be wrong once the stack
// has grown and moved.
//
//go:noinline
func unescaped[T any](t *T) *T {
	at := uintptr(unsafe.Pointer(t))
	return *(**T)(unsafe.Pointer(&at))
}

// stored is the pool's own task of a type.
func stored[T any, P interface {
	*T
	Task
}](p *Pool) P {
	for _, s := range p.stored {
		if s, ok := s.(P); ok {
			return s
		}
	}
	s := P(new(T))
	p.stored = append(p.stored, s)
	return s
}

// loop is a Task of a function.
type loop struct{ body func(lo, hi int) }

func (l *loop) Run(lo, hi int) { l.body(lo, hi) }

// For is Do for a function. Where the function has variables of its
// surroundings they are allocated: code that runs in every step has a Task.
func (p *Pool) For(n, grain int, body func(lo, hi int)) { Do(p, n, grain, &loop{body}) }

// share runs a task on the caller and on the workers that come in time.
func (p *Pool) share(t Task, n, size, count int) {
	j := &p.job
	j.task, j.n, j.size, j.count = t, n, size, int64(count)
	j.next.Store(0)
	p.gate.open(min(count, p.threads) - 1)
	j.run()
	p.gate.shut()
	j.task = nil
}

// release gives the workers free, and raises what a task panicked with.
func (p *Pool) release() {
	failed, reason := p.job.failed.Load(), p.job.reason
	p.job.failed.Store(false)
	p.job.reason = nil
	p.busy.Store(false)
	if failed {
		panic(reason)
	}
}

// A job is one loop under way.
type job struct {
	task   Task
	n      int
	size   int
	count  int64
	next   atomic.Int64 // the next chunk to hand out
	failed atomic.Bool
	reason any // of the first panic; read when the gate is shut
}

// run takes chunks until none is left.
func (j *job) run() {
	defer func() {
		if r := recover(); r != nil {
			if j.failed.CompareAndSwap(false, true) {
				j.reason = r
			}
			j.next.Store(j.count) // hand out no more
		}
	}()
	for {
		c := j.next.Add(1) - 1
		if c >= j.count {
			return
		}
		lo := int(c) * j.size
		j.task.Run(lo, min(lo+j.size, j.n))
	}
}

func (p *Pool) work() {
	round := uint64(0)
	for {
		var ok bool
		if round, ok = p.gate.enter(round); !ok {
			return
		}
		p.job.run()
		p.gate.leave()
	}
}
