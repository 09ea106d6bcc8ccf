package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// A job is what a process of its own runs so that its memory is seen.
type job struct {
	Path    string
	Vocab   int
	Size    [2]int
	Threads int
	Rank    int // of the adapter that is trained; 0 for a forward pass
	Side    string
	Serve   bool // do it once for each line of the input, as a partner
}

// memory is the peak of a process that does a job on one side, in MiB.
func (o options) memory(ctx context.Context, j job, side string) string {
	j.Side = side
	cmd, err := o.childCommand(ctx, j)
	if err != nil {
		return "?"
	}
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench: measuring memory:", err)
		return "?"
	}
	return strings.TrimSpace(string(out))
}

// childCommand is a process of this program that does a job.
func (o options) childCommand(ctx context.Context, j job) (*exec.Cmd, error) {
	spec, err := json.Marshal(j)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return exec.CommandContext(ctx, self, "-ort", o.ort, "-child", string(spec)), nil
}

// childRuns is how often a job is done before its memory is read.
const childRuns = 3

// child does a job and writes how much memory that took, or serves.
func child(ctx context.Context, o options) error {
	var j job
	if err := json.Unmarshal([]byte(o.child), &j); err != nil {
		return err
	}
	work, err := j.side(o)
	if err != nil {
		return err
	}
	if j.Serve {
		return serve(ctx, work)
	}
	if j.Rank == 0 || j.Side == "ort" { // else work is a run of steps
		work = repeat(childRuns, work)
	}
	if err := work(ctx); err != nil {
		return err
	}
	fmt.Println(peak())
	return nil
}

// side readies one side of a job. Nothing is closed: the process ends.
func (j job) side(o options) (side, error) {
	if j.Side == "ort" {
		if _, err := startORT(o.ort); err != nil {
			return nil, err
		}
	}
	switch {
	case j.Rank > 0 && j.Side == "ort":
		return ortStep(j)
	case j.Rank > 0:
		return ourSteps(j)
	case j.Side == "ort":
		f, err := feedsOf(j.Path, j.Vocab, j.Size)
		if err != nil {
			return nil, err
		}
		s, err := openORT(j.Path, j.Threads, f)
		if err != nil {
			return nil, err
		}
		return s.run, nil
	}
	s, err := openOurs(j.Path, j.Vocab, j.Size, j.Threads)
	if err != nil {
		return nil, err
	}
	return s.run, nil
}

// peak is the most memory that this process had resident, in MiB.
func peak() string { return peakOf("self") }

// peakOf is peak for a process by its number.
func peakOf(pid string) string {
	raw, err := os.ReadFile("/proc/" + pid + "/status")
	if err != nil {
		return "?"
	}
	for s := bufio.NewScanner(bytes.NewReader(raw)); s.Scan(); {
		if v, ok := strings.CutPrefix(s.Text(), "VmHWM:"); ok {
			kb, _ := strconv.Atoi(strings.Fields(v)[0])
			return strconv.Itoa(kb >> 10)
		}
	}
	return "?"
}
