package bonnx

import (
	"context"
	"fmt"
	"time"

	"github.com/bonnx/bonnx/internal/cpu"
	"github.com/bonnx/bonnx/internal/kernel"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/runtime"
	"github.com/bonnx/bonnx/tensor"
)

// Program is a compiled model: immutable, to be shared; each goroutine needs a
// Session of it.
type Program = runtime.Program

// Session runs a Program. It is for one goroutine at a time.
type Session = runtime.Session

// Compile readies the model to be run on the given number of threads, 0 for
// all cores.
func (m *Model) Compile(threads int) (*Program, error) {
	p, err := runtime.Compile(m.graph, runtime.Options{Set: m.set, Threads: threads})
	if err != nil {
		return nil, m.wrap(invalidModel(err))
	}
	return p, nil
}

// Run computes the outputs for one set of inputs, both by name.
func (m *Model) Run(ctx context.Context, feeds map[string]*tensor.Tensor, threads int) (map[string]*tensor.Tensor, error) {
	p, err := m.Compile(threads)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	s, err := p.NewSession()
	if err != nil {
		return nil, m.wrap(err)
	}
	outs, err := s.Run(ctx, feeds)
	if err != nil {
		return nil, m.wrap(err)
	}
	named := map[string]*tensor.Tensor{}
	for i, port := range p.Outputs() {
		named[port.Name] = outs[i].Clone()
	}
	return named, nil
}

// Kernels names the kernels that this machine's processor was given.
func Kernels() string { return kernel.Chosen() }

// OpTime is the time that one operator took in a Bench.
type OpTime struct {
	Op    string        `json:"op"`
	Nodes int           `json:"nodes"`
	Time  time.Duration `json:"nanoseconds"`
}

// BenchResult is what Bench measured.
type BenchResult struct {
	Runs        []time.Duration
	Compile     time.Duration
	Plan        time.Duration // planning and the first run
	ArenaBytes  int
	WeightBytes int
	Ops         []OpTime // of one run, longest first
}

// Bench times runs of the model, after one that is not counted.
func (m *Model) Bench(ctx context.Context, feeds map[string]*tensor.Tensor, runs, threads int) (*BenchResult, error) {
	r := &BenchResult{}
	began := time.Now()
	p, err := m.Compile(threads)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	s, err := p.NewSession()
	if err != nil {
		return nil, m.wrap(err)
	}
	r.Compile = time.Since(began)
	began = time.Now()
	if _, err := s.Run(ctx, feeds); err != nil {
		return nil, m.wrap(err)
	}
	r.Plan = time.Since(began)
	r.ArenaBytes = s.ArenaBytes()
	for _, v := range m.graph.Graph.Initializers {
		r.WeightBytes += v.Data.DType().Size(v.Data.Shape().Size())
	}
	for range runs {
		began = time.Now()
		if _, err := s.Run(ctx, feeds); err != nil {
			return nil, m.wrap(err)
		}
		r.Runs = append(r.Runs, time.Since(began))
	}
	r.Ops, err = profile(ctx, s, feeds)
	return r, err
}

// profile times each operator in one run.
func profile(ctx context.Context, s *Session, feeds map[string]*tensor.Tensor) ([]OpTime, error) {
	times := map[string]*OpTime{}
	last := time.Now()
	_, err := s.RunObserved(ctx, feeds, func(n *ir.Node, _ []*tensor.Tensor) {
		now := time.Now()
		name := n.OpType
		if n.Domain != "" {
			name = n.Domain + "." + name
		}
		if times[name] == nil {
			times[name] = &OpTime{Op: name}
		}
		times[name].Nodes++
		times[name].Time += now.Sub(last)
		last = time.Now()
	})
	return sortedTimes(times), err
}

// Feeds makes inputs for the model: those in given, and for the rest random
// ones, the same for the same seed. shapes fixes the extents of inputs by
// name; symbolic extents that nothing fixes are 2 for the first axis and 8
// for the others.
func (m *Model) Feeds(given map[string]*tensor.Tensor, shapes map[string][]int, seed uint64) (map[string]*tensor.Tensor, error) {
	feeds := map[string]*tensor.Tensor{}
	symbols := map[string]int{}
	for _, v := range m.graph.Graph.Inputs {
		if t := given[v.Name]; t != nil {
			feeds[v.Name] = t
			continue
		}
		if v.Data != nil {
			continue
		}
		t, err := randomInput(v, shapes[v.Name], symbols, seed)
		if err != nil {
			return nil, m.wrap(fmt.Errorf("input %q: %w", v.Name, err))
		}
		feeds[v.Name] = t
	}
	for name := range shapes {
		if feeds[name] == nil {
			return nil, m.wrap(fmt.Errorf("there is no input %q", name))
		}
	}
	return feeds, nil
}

// CPUFeatures names the instruction sets that kernels may use here.
func CPUFeatures() []string { return cpu.Detect().Names() }
