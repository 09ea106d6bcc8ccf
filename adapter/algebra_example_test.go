package adapter_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bonnx/bonnx/adapter"
	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/tensor"
)

// Two adapters of one weight of 6 rows and 2 columns: their mean, what was put
// in taken out again, and the closest at a lower rank.
func ExampleBlend() {
	bone := func(rank int, block ...float32) *adapter.Set {
		return &adapter.Set{
			Config:  adapter.Config{Method: adapter.Bone, Rank: rank},
			Entries: []adapter.Entry{{Path: "proj", Blocks: []*tensor.Tensor{tensor.FromSlice(block, rank, 2)}}},
		}
	}
	a := bone(2, 4, 8, -2, 6)
	b := bone(3, 2, 0, 0, -4, 6, 2)
	base := adapter.Base{Dims: func(string) (in, out int, err error) { return 6, 2, nil }}
	show := func(what string, s *adapter.Set, r *adapter.BlendReport, err error) *adapter.Set {
		if err != nil {
			fmt.Println(err)
			return nil
		}
		fmt.Printf("%s: rank %d, error %.4f\n", what, s.Config.Rank, r.Error)
		block := s.Entries[0].Blocks[0]
		for l := range s.Config.Rank {
			fmt.Printf("  %4v\n", tensor.Data[float32](block.Rows(l, l+1)))
		}
		return s
	}

	s, r, err := adapter.Blend([]*adapter.Set{a, b}, nil, adapter.BlendOptions{Base: base})
	mean := show("mean of A and B", s, r, err)

	s, r, err = adapter.Blend([]*adapter.Set{mean, b}, []float64{2, -1}, adapter.BlendOptions{Base: base})
	show("twice the mean less B", s, r, err)

	s, r, err = adapter.Convert(mean, adapter.BlendOptions{Rank: 3, Base: base})
	show("the mean at rank 3", s, r, err)

	// Output:
	// mean of A and B: rank 6, error 0.0000
	//   [   3    4]
	//   [  -1    1]
	//   [   5    5]
	//   [   0    3]
	//   [   2    2]
	//   [   2    4]
	// twice the mean less B: rank 6, error 0.0000
	//   [   4    8]
	//   [  -2    6]
	//   [   4    8]
	//   [  -2    6]
	//   [   4    8]
	//   [  -2    6]
	// the mean at rank 3: rank 3, error 0.3627
	//   [ 1.5  3.5]
	//   [ 0.5  1.5]
	//   [ 3.5  4.5]
}

// TestAlgebraPage: the numbers of docs/algebra.md are those of ExampleBlend.
func TestAlgebraPage(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(testutil.ModuleRoot(t), "docs", "algebra.md"))
	if err != nil {
		t.Fatal(err)
	}
	code, err := os.ReadFile("algebra_example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(code), "\t// Output:\n")
	var want strings.Builder
	for line := range strings.Lines(rest) {
		text, ok := strings.CutPrefix(line, "\t// ")
		if !ok {
			break
		}
		want.WriteString(text)
	}
	if want.Len() < 100 {
		t.Fatalf("the example's output was not found: %q", want.String())
	}
	if !strings.Contains(string(page), "```text\n"+want.String()+"```\n") {
		t.Errorf("docs/algebra.md does not hold the output of ExampleBlend:\n%s", want.String())
	}
}
