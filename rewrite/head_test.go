package rewrite_test

import (
	"testing"

	"github.com/bonnx/bonnx/internal/testmodel"
	"github.com/bonnx/bonnx/rewrite"
)

// TestHeadOfBranches: the head of a decoder whose branches compute with and
// without a cache is in both, and left out of all-linear.
func TestHeadOfBranches(t *testing.T) {
	c := testmodel.SmallDecoder
	c.Merged = true
	m, err := c.Model()
	if err != nil {
		t.Fatal(err)
	}
	found, err := rewrite.Find(m)
	if err != nil {
		t.Fatal(err)
	}
	heads := 0
	for _, l := range found.Linear {
		if l.Head {
			heads++
		}
		if l.Head != (l.Path == "lm_head") {
			t.Errorf("%s is the head: %v", l.Path, l.Head)
		}
	}
	if heads != 2 {
		t.Errorf("%d heads, want one in each branch", heads)
	}
}
