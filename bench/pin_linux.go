package main

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// pin keeps all threads of the process, and those that they start, on as many
// processors: the first ones that the process was started on.
func (o options) pin(threads int) error {
	var set unix.CPUSet
	for cpu := 0; cpu < 8*len(set) && set.Count() < threads; cpu++ {
		if o.cpus.IsSet(cpu) {
			set.Set(cpu)
		}
	}
	if set.Count() < threads {
		return fmt.Errorf("%d threads on %d processors", threads, o.cpus.Count())
	}
	list, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, t := range list {
		id, err := strconv.Atoi(t.Name())
		if err != nil {
			return err
		}
		if err := unix.SchedSetaffinity(id, &set); err != nil && err != unix.ESRCH {
			return fmt.Errorf("pinning thread %d: %w", id, err)
		}
	}
	return nil
}

// cpus are processors.
type cpus = unix.CPUSet

// allowed are the processors that the process may run on.
func allowed() (cpus, error) {
	var set cpus
	err := unix.SchedGetaffinity(0, &set)
	return set, err
}
