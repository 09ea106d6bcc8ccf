// Package par runs loops on a fixed set of worker goroutines.
//
// Work is cut by its size and a grain alone, never by the number of threads,
// so whatever a loop computes per chunk is bit-equal on any machine.
package par

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// maxChunks bounds how finely one loop is cut, so that handing out chunks
// stays cheap against the work in them. It is part of how work is cut:
// changing it changes the rounding of split sums.
const maxChunks = 256

// A Pool is a set of workers that share the chunks of one loop at a time. The
// goroutine that calls For works too. A nil Pool runs everything inline.
// A Pool may be shared: a loop that finds the workers taken runs inline.
type Pool struct {
	threads int
	busy    atomic.Bool // one loop at a time owns the workers
	jobs    chan *job   // nil when threads == 1
}

// New starts a pool of the given number of threads, the caller of For
// included; 0 or less means GOMAXPROCS.
func New(threads int) *Pool {
	if threads <= 0 {
		threads = runtime.GOMAXPROCS(0)
	}
	p := &Pool{threads: threads}
	if threads > 1 {
		p.jobs = make(chan *job, threads-1)
		for range threads - 1 {
			go work(p.jobs)
		}
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
	if p == nil || p.jobs == nil {
		return
	}
	for !p.busy.CompareAndSwap(false, true) {
		runtime.Gosched()
	}
	close(p.jobs) // busy stays set: every later For runs inline, none sends
	p.jobs = nil
}

// Chunks says how For cuts [0,n): count chunks of size elements, the last one
// maybe shorter. Chunk c is [c*size, min((c+1)*size, n)). A grain below 1
// counts as 1.
func Chunks(n, grain int) (count, size int) {
	if n <= 0 {
		return 0, 0
	}
	size = max(grain, 1, (n+maxChunks-1)/maxChunks)
	return (n-1)/size + 1, size
}

// For calls body(lo, hi) for every chunk of [0,n) as cut by Chunks(n, grain)
// and returns when all have run. Chunks run concurrently and in no order. A
// For inside a body runs inline. A panic in a body is raised again in the
// caller, after the chunks under way have ended; chunks not begun are dropped.
func (p *Pool) For(n, grain int, body func(lo, hi int)) {
	count, size := Chunks(n, grain)
	if count == 0 {
		return
	}
	if count == 1 || p == nil || p.threads == 1 || !p.busy.CompareAndSwap(false, true) {
		for lo := 0; lo < n; lo += size {
			body(lo, min(lo+size, n))
		}
		return
	}
	j := &job{body: body, n: n, size: size, count: int64(count)}
	helpers := min(count, p.threads) - 1
	j.running.Add(helpers)
	for range helpers {
		p.jobs <- j
	}
	j.run()
	p.recall(j)
	j.running.Wait()
	p.busy.Store(false)
	if j.failed.Load() {
		panic(j.reason)
	}
}

// recall takes back what no worker has picked up yet, so that a loop never
// waits for a worker to wake only to find nothing left. While busy is held the
// channel carries no other job.
func (p *Pool) recall(j *job) {
	for {
		select {
		case <-p.jobs:
			j.running.Done()
		default:
			return
		}
	}
}

// A job is one loop under way.
type job struct {
	body    func(lo, hi int)
	n, size int
	count   int64
	next    atomic.Int64 // the next chunk to hand out
	running sync.WaitGroup
	failed  atomic.Bool
	reason  any // of the first panic; read after running is done
}

func work(jobs <-chan *job) {
	for j := range jobs {
		j.run()
		j.running.Done()
	}
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
		j.body(lo, min(lo+j.size, j.n))
	}
}
