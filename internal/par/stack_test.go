package par_test

import (
	"testing"

	"github.com/bonnx/bonnx/internal/par"
)

// counting is a task that makes its stack grow, and counts.
type counting struct {
	step  *int
	count int
}

func (t *counting) Run(lo, _ int) {
	takeStack(lo)
	t.count += *t.step
}

// takeStack takes some kilobytes of stack for each level.
func takeStack(levels int) byte {
	var room [8 << 10]byte
	if levels > 0 {
		room[levels] = takeStack(levels - 1)
	}
	return room[levels] + room[len(room)-1]
}

// A task on a stack that moves while it runs is the same task for all chunks.
func TestTaskOnGrowingStack(t *testing.T) {
	for range 20 {
		got, one := make(chan int), 1
		go func() { // with a small stack
			task := counting{step: &one}
			par.Do(nil, 12, 1, &task)
			got <- task.count
		}()
		if n := <-got; n != 12 {
			t.Fatalf("%d chunks counted, want 12", n)
		}
	}
}
