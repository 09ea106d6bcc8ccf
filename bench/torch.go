package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
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
	if err := o.pin(j.Threads); err != nil {
		return "", err
	}
	t, err := startTorch(ctx, o.python, s, j.Threads, env)
	if err != nil {
		return "", err
	}
	defer t.stop()
	pairs, err := o.interleaveSteps(ctx, j, t.work)
	if err != nil {
		return "", err
	}
	p.row(s.name, fmt.Sprintf("bone r=%d", s.rank), fmt.Sprintf("%d x %d", s.train[0], s.train[1]), strconv.Itoa(j.Threads), way, pairs.ratio(),
		milliseconds(median(pairs.ours)), milliseconds(median(pairs.theirs)), o.memory(ctx, j, "bonnx"), t.peak())
	return strings.Split(t.greeting, ",")[0], nil
}

// startTorch starts a Python process that trains a step for each line it is
// given, and greets with PyTorch's version.
func startTorch(ctx context.Context, python string, s subject, threads int, env []string) (*partner, error) {
	spec, err := json.Marshal(struct {
		llama
		Rank, Batch, Seq, Threads int
	}{s.sizes, s.rank, s.train[0], s.train[1], threads})
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, python, "-c", torchScript, string(spec))
	cmd.Env = slices.Concat(os.Environ(), blasKernels(), []string{"OPENBLAS_NUM_THREADS=" + strconv.Itoa(threads)}, env)
	return startPartner(cmd)
}
