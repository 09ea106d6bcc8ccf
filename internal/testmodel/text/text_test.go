package text_test

import (
	"strings"
	"testing"

	"github.com/bonnx/bonnx/internal/testmodel/text"
)

var sources = []struct {
	name  string
	write func(seed uint64, size int) string
}{
	{"stories", text.Stories},
	{"sealog", text.SeaLog},
}

func TestText(t *testing.T) {
	for _, s := range sources {
		t.Run(s.name, func(t *testing.T) {
			got := s.write(1, 20000)
			if len(got) < 20000 || len(got) > 22000 {
				t.Errorf("got %d bytes, want 20000 and the rest of a piece", len(got))
			}
			if got != s.write(1, 20000) {
				t.Error("the same seed gave other text")
			}
			if got == s.write(2, 20000) {
				t.Error("another seed gave the same text")
			}
			if longer := s.write(1, 40000); !strings.HasPrefix(longer, got) {
				t.Error("a larger size changed the beginning")
			}
			for i, c := range []byte(got) {
				if c != '\n' && (c < ' ' || c > '~') || c == '{' || c == '}' {
					t.Fatalf("byte %d is %q", i, c)
				}
			}
		})
	}
}

// Fine-tuning has to have something to learn: the words hardly overlap, and
// within one source pieces are not repeated.
func TestDomainsDiffer(t *testing.T) {
	words := func(s string) map[string]bool {
		set := map[string]bool{}
		for w := range strings.FieldsSeq(strings.ToLower(s)) {
			set[strings.Trim(w, `.,;:!?"`)] = true
		}
		return set
	}
	stories, log := words(text.Stories(1, 80000)), words(text.SeaLog(1, 30000))
	shared := 0
	for w := range log {
		if stories[w] {
			shared++
		}
	}
	if shared*4 > len(log) {
		t.Errorf("%d of the log's %d words are in the stories, more than a quarter", shared, len(log))
	}
	for _, s := range sources {
		seen := map[string]bool{}
		for piece := range strings.SplitSeq(strings.TrimSpace(s.write(1, 80000)), "\n\n") {
			if seen[piece] {
				t.Errorf("%s repeats %q", s.name, piece)
			}
			seen[piece] = true
		}
	}
}
