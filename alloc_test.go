package bonnx

import (
	"context"
	"fmt"
	"testing"

	"github.com/bonnx/bonnx/tensor"
)

// TestRunInto: a run into the results of the last allocates nothing, and gives
// what a run gives otherwise; results that were not given stay as they are.
func TestRunInto(t *testing.T) {
	ctx := context.Background()
	for _, threads := range []int{1, 2} {
		t.Run(fmt.Sprintf("%d threads", threads), func(t *testing.T) {
			p, err := several(t).Compile(threads)
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			run := func(s *Session, n int, opts ...RunOption) map[string]*tensor.Tensor {
				out, err := s.Run(ctx, tokens(n), opts...)
				if err != nil {
					t.Fatal(err)
				}
				return out
			}
			s, results := p.Session(), map[string]*tensor.Tensor{}
			for _, names := range [][]string{{"bone"}, nil, {"bat", "half"}, {"other"}, {"bone"}} {
				with := WithAdapter(names...)
				kept := run(s, 6, with)["logits"]
				want := kept.Clone()
				for _, n := range []int{6, 4} { // tensors of the wrong shape are replaced
					if err := s.RunInto(ctx, tokens(n), results, with); err != nil {
						t.Fatal(err)
					}
					if !results["logits"].Equal(run(p.Session(), n, with)["logits"]) {
						t.Errorf("%v, %d tokens: not what a run gives that has no results to begin with", names, n)
					}
				}
				if !kept.Equal(want) || kept == results["logits"] {
					t.Errorf("%v: a result changed after its run", names)
				}
				feeds := tokens(4)
				again := func() {
					if err := s.RunInto(ctx, feeds, results, with); err != nil {
						t.Fatal(err)
					}
				}
				if got := testing.AllocsPerRun(10, again); got != 0 {
					t.Errorf("%v: %v allocations a run, want 0", names, got)
				}
			}
		})
	}
}

// TestAllocationsOfResults: of a run like the one before, the results alone are
// allocated.
func TestAllocationsOfResults(t *testing.T) {
	p, err := tiny(t).Compile(1)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	s, feeds := p.Session(), tokens(6)
	run := func() {
		if _, err := s.Run(context.Background(), feeds); err != nil {
			t.Fatal(err)
		}
	}
	run()
	const most = 2 + 3 // a map and its table; a tensor, its shape, its values
	if got := testing.AllocsPerRun(10, run); got > most {
		t.Errorf("%v allocations a run, want at most %v", got, most)
	}
}
