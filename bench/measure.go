package main

import (
	"context"
	"fmt"
	"slices"
	"syscall"
	"time"
)

// clocks are the ways to take time: as it passes, or as much of it as the
// process had. On a machine that others use the second says more, as long as
// neither side waits for its own threads.
var clocks = map[string]func() time.Duration{
	"wall": func() time.Duration { return time.Since(began) },
	"cpu": func() time.Duration {
		var r syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
			return 0
		}
		return time.Duration(r.Utime.Nano() + r.Stime.Nano())
	},
}

var began = time.Now()

// A side is one way to do the work that is measured.
type side func(ctx context.Context) error

// A pairing is the times of interleaved runs, of the work once.
type pairing struct{ ours, theirs []time.Duration }

// Threads of a side look for work some time after they had the last, and would
// take a processor from the other: so each side waits before it runs. As
// processors that slept are slow at first, it then runs untimed for a while.
const (
	rest   = 120 * time.Millisecond
	warmUp = 40 * time.Millisecond
)

// interleave runs n times ours and n times theirs in turn, a pair to warm up
// and then those that count.
func (o options) interleave(ctx context.Context, n int, ours, theirs side) (pairing, error) {
	var p pairing
	for i := range o.pairs + 1 {
		a, err := o.timed(ctx, n, ours)
		if err != nil {
			return p, err
		}
		b, err := o.timed(ctx, n, theirs)
		if err != nil {
			return p, err
		}
		if i > 0 {
			p.ours, p.theirs = append(p.ours, a), append(p.theirs, b)
		}
	}
	return p, nil
}

// timed is how long s takes, when it runs n times.
func (o options) timed(ctx context.Context, n int, s side) (time.Duration, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	time.Sleep(rest)
	for at := time.Now(); time.Since(at) < warmUp; {
		if err := s(ctx); err != nil {
			return 0, err
		}
	}
	at := o.now()
	err := repeat(n, s)(ctx)
	return (o.now() - at) / time.Duration(n), err
}

// repeat is a side that does the work of s n times.
func repeat(n int, s side) side {
	return func(ctx context.Context) error {
		for range n {
			if err := s(ctx); err != nil {
				return err
			}
		}
		return nil
	}
}

func median[T int64 | float64 | time.Duration](list []T) T {
	s := slices.Clone(list)
	slices.Sort(s)
	return s[len(s)/2]
}

// ratio is the median of ours over theirs, and between which values the middle
// half of the pairs lies.
func (p pairing) ratio() string {
	var r []float64
	for i := range p.ours {
		r = append(r, float64(p.ours[i])/float64(p.theirs[i]))
	}
	slices.Sort(r)
	return fmt.Sprintf("%.2f (%.2f to %.2f)", median(r), r[len(r)/4], r[len(r)-1-len(r)/4])
}

// milliseconds is a time for a table.
func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.4g", float64(d)/float64(time.Millisecond))
}

// gflops is a rate for a table.
func gflops(flops float64, d time.Duration) string {
	return fmt.Sprintf("%.0f", flops/float64(d.Nanoseconds()))
}
