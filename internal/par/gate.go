package par

import (
	"runtime"
	"sync/atomic"
)

// A gate lets workers into a loop while it is open, and tells when all have
// left. Loops follow each other within microseconds, so workers look for the
// next one for a while before they sleep, and nobody waits for one that sleeps.
type gate struct {
	// state is the number of the round, whether the gate is open, and how many
	// workers are inside.
	state  atomic.Uint64
	asleep atomic.Int64
	wake   chan struct{}
	closed atomic.Bool
	spins  int // how often to look before sleeping
}

const (
	isOpen   = 1 << 15
	inside   = isOpen - 1
	oneRound = 1 << 16

	// maxSpins is less than a millisecond of looking.
	maxSpins = 300000
	// yieldEvery is after how many looks others get the processor.
	yieldEvery = 2000
)

func (g *gate) init(workers int) {
	g.wake = make(chan struct{}, workers)
	if workers < runtime.GOMAXPROCS(0) {
		g.spins = maxSpins
	}
}

// open begins a round that at most workers are needed for.
func (g *gate) open(workers int) {
	g.state.Store(g.state.Load()&^(oneRound-1) + oneRound + isOpen)
	for range min(workers, int(g.asleep.Load())) {
		select {
		case g.wake <- struct{}{}:
		default: // those asleep have been called already
		}
	}
}

// shut ends the round and waits for those inside.
func (g *gate) shut() {
	g.state.And(^uint64(isOpen))
	for i := 1; g.state.Load()&inside != 0; i++ {
		if i%yieldEvery == 0 || g.spins == 0 {
			runtime.Gosched()
		}
	}
}

// enter waits for a round after the one given, and is inside when it returns;
// false where the gate is closed for good.
func (g *gate) enter(round uint64) (uint64, bool) {
	for i := 0; ; i++ {
		s := g.state.Load()
		if s&isOpen != 0 && s/oneRound != round {
			if g.state.CompareAndSwap(s, s+1) {
				return s / oneRound, true
			}
			continue
		}
		switch {
		case g.closed.Load():
			return 0, false
		case i < g.spins:
			if i%yieldEvery == yieldEvery-1 {
				runtime.Gosched()
			}
		default:
			g.sleep(round)
			i = 0
		}
	}
}

// sleep waits to be woken, unless a round has begun meanwhile.
func (g *gate) sleep(round uint64) {
	g.asleep.Add(1)
	if s := g.state.Load(); (s&isOpen == 0 || s/oneRound == round) && !g.closed.Load() {
		<-g.wake
	}
	g.asleep.Add(-1)
}

// leave ends a worker's part in a round.
func (g *gate) leave() { g.state.Add(^uint64(0)) }

// close ends all waiting. The gate is shut.
func (g *gate) close() {
	g.closed.Store(true)
	close(g.wake)
}
