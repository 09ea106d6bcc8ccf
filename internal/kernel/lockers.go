package kernel

import (
	"math/bits"
	"sync/atomic"
)

// lockers are count pieces of scratch for as many tasks at once. A task takes the
// first that is free: one that lies in a cache, as a task has just left it.
type lockers[T Float] struct {
	all         []T
	count, size int
	taken       uint32 // a bit for each
}

func (l *lockers[T]) take() int {
	for {
		was := atomic.LoadUint32(&l.taken)
		free := bits.TrailingZeros32(^was)
		if atomic.CompareAndSwapUint32(&l.taken, was, was|1<<free) {
			return free
		}
	}
}

func (l *lockers[T]) of(i int) []T { return l.all[i*l.size:][:l.size] }

func (l *lockers[T]) leave(i int) { atomic.AndUint32(&l.taken, ^(1 << i)) }
