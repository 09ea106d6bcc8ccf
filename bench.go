package bonnx

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/runtime"
	"github.com/bonnx/bonnx/tensor"
)

// BenchResult is what Bench measured.
type BenchResult struct {
	Runs        []time.Duration
	Compile     time.Duration
	Plan        time.Duration // planning and the first run
	ArenaBytes  int
	WeightBytes int
	Ops         []opTime // of one run, the longest first
}

// opTime is the time that all nodes of one operator took.
type opTime struct {
	Op    string
	Nodes int
	Time  time.Duration
}

// Bench times runs of the model, after one that is not counted.
func (m *Model) Bench(ctx context.Context, feeds map[string]*tensor.Tensor, runs, threads int) (*BenchResult, error) {
	r := &BenchResult{}
	began := time.Now()
	p, err := runtime.Compile(m.graph, runtime.Options{Set: m.set, Threads: threads})
	if err != nil {
		return nil, m.wrap(invalidModel(err))
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
	return r, r.profile(ctx, s, feeds)
}

// profile times each operator in one run.
func (r *BenchResult) profile(ctx context.Context, s *runtime.Session, feeds map[string]*tensor.Tensor) error {
	at := map[string]int{}
	last := time.Now()
	_, err := s.RunProfiled(ctx, feeds, func(nodes ...*ir.Node) {
		now := time.Now()
		name := operatorsOf(nodes)
		i, ok := at[name]
		if !ok {
			i, at[name] = len(r.Ops), len(r.Ops)
			r.Ops = append(r.Ops, opTime{Op: name})
		}
		r.Ops[i].Nodes += len(nodes)
		r.Ops[i].Time += now.Sub(last)
		last = time.Now()
	})
	slices.SortFunc(r.Ops, func(a, b opTime) int { return cmp.Or(cmp.Compare(b.Time, a.Time), cmp.Compare(a.Op, b.Op)) })
	return err
}

// operatorsOf names the operators of a step, those of a chain in order.
func operatorsOf(nodes []*ir.Node) string {
	names := make([]string, len(nodes))
	for i, n := range nodes {
		if names[i] = n.OpType; n.Domain != "" {
			names[i] = n.Domain + "." + n.OpType
		}
	}
	if len(names) > longestChainNamed {
		names = append(names[:longestChainNamed], "...")
	}
	return strings.Join(names, "+")
}

// longestChainNamed is how many operators of a chain a table names.
const longestChainNamed = 6

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
