package main

import (
	"bufio"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
)

// torchScript trains a model of the same sizes in PyTorch.
//
//go:embed torch_step.py
var torchScript string

// A llama is the sizes of a model that both sides train.
type llama struct{ Vocab, Dim, Heads, KV, Hidden, Layers int }

// Two pools of threads, PyTorch's own and OpenBLAS's, each look for work while
// the other has the processors. torchWays are PyTorch as it is installed, and
// told not to do that.
var torchWays = []struct {
	name string
	env  []string
}{
	{"as installed", nil},
	{"waiting asleep", []string{"OMP_WAIT_POLICY=PASSIVE", "OPENBLAS_THREAD_TIMEOUT=10"}},
}

// torches measures training steps against PyTorch, which runs eagerly, as
// people train. It needs a Python that has it.
func torches(ctx context.Context, p *page, o options, dir string) error {
	if o.python == "" {
		return nil
	}
	p.table("Training step against PyTorch", "model", "adapter", "size", "threads", "PyTorch", "ratio", "bonnx ms", "PyTorch ms", "bonnx MiB", "PyTorch MiB")
	version := ""
	err := eachSubject(ctx, o, dir, trained, func(s subject, paths map[string]string) (err error) {
		for _, threads := range o.threads {
			for _, way := range torchWays[:min(threads, len(torchWays))] {
				j := job{Path: paths["base"], Vocab: s.vocab, Size: s.train, Threads: threads, Rank: s.rank}
				if version, err = s.againstTorch(ctx, p, o, j, way.name, way.env); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	p.peer("PyTorch: %s, eager, the same Bone layers and AdamW; its OpenBLAS is told to use the kernels for this processor.", version)
	return nil
}

func (s subject) againstTorch(ctx context.Context, p *page, o options, j job, way string, env []string) (version string, err error) {
	t, err := startTorch(ctx, o.python, s, j.Threads, env)
	if err != nil {
		return "", err
	}
	defer t.stop()
	pairs, err := o.interleaveSteps(ctx, j, t.step)
	if err != nil {
		return "", err
	}
	p.row(s.name, fmt.Sprintf("bone r=%d", s.rank), fmt.Sprintf("%d x %d", s.train[0], s.train[1]), strconv.Itoa(j.Threads), way, pairs.ratio(),
		milliseconds(median(pairs.ours)), milliseconds(median(pairs.theirs)), o.memory(ctx, j, "bonnx"), peakOf(strconv.Itoa(t.cmd.Process.Pid)))
	return strings.Split(t.version, ",")[0], nil
}

// A torch is a Python process that trains a step for each line it is given.
type torch struct {
	cmd     *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Scanner
	version string
}

func startTorch(ctx context.Context, python string, s subject, threads int, env []string) (*torch, error) {
	spec, err := json.Marshal(struct {
		llama
		Rank, Batch, Seq, Threads int
	}{s.sizes, s.rank, s.train[0], s.train[1], threads})
	if err != nil {
		return nil, err
	}
	t := &torch{cmd: exec.CommandContext(ctx, python, "-c", torchScript, string(spec))}
	t.cmd.Stderr = os.Stderr
	t.cmd.Env = slices.Concat(os.Environ(), blasKernels(), []string{"OPENBLAS_NUM_THREADS=" + strconv.Itoa(threads)}, env)
	if t.in, err = t.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := t.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	t.out = bufio.NewScanner(out)
	if err := t.cmd.Start(); err != nil {
		return nil, err
	}
	if !t.out.Scan() {
		return nil, fmt.Errorf("%s did not start PyTorch: %w", python, t.cmd.Wait())
	}
	t.version = t.out.Text()
	return t, nil
}

// step is one step of training.
func (t *torch) step(context.Context) error {
	if _, err := io.WriteString(t.in, "\n"); err != nil {
		return err
	}
	if !t.out.Scan() {
		return fmt.Errorf("PyTorch's process ended: %w", t.cmd.Wait())
	}
	return nil
}

func (t *torch) stop() {
	_ = t.in.Close()
	_ = t.cmd.Wait()
}
