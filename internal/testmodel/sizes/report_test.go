package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bonnx/bonnx/internal/testmodel"
	"github.com/bonnx/bonnx/internal/testutil"
)

func TestDocument(t *testing.T) {
	sizes := testmodel.Sizes()
	r := &result{Size: "vit-b16", Date: "2026-01-02", FileBytes: 346_300_000, Targets: 72, Trainable: 8_650_752,
		Machine: machine{CPU: "Some CPU", Cores: 2, Memory: 16e9, Load: 0.3, OS: "linux/amd64", Bonnx: "0.1.0 (abc)", Go: "go1.26"},
		Inject:  usage{1.25, 31e6},
		Train:   training{usage: usage{12.5, 2.25e9}, Steps: []float64{12.5}},
		Forward: forward{Bonnx: usage{1.5, 5e8}, ORT: usage{2, 7e8}, Ratios: []float64{0.9, 0.7, 0.75}, Plan: 2.5,
			Ops: []operator{{"MatMul", 73, 3}, {"Add", 50, 1}}}}
	failed := &result{Size: "gpt2", Date: "2026-01-03", Machine: r.Machine, Train: training{Error: "out of memory"}}
	failed.Machine.Load = 4
	got := document(sizes, []*result{failed, r})
	for _, want := range []string{
		"Measured 2026-01-02 to 2026-01-03 on Some CPU, 2 cores, 16.0 GB of memory",
		"load average before a model 0.3 to 4.0.",
		"| ViT-B/16 | 346 MB | 8 x 224 x 224 pixels | 8.7 M | 12.5 | 2.2 GB |",
		"| ViT-B/16 | 346 MB | 72 | 1.25 | 31 MB |",
		"| ViT-B/16 | 8 x 224 x 224 pixels | 1.50 | 2.00 | 0.75 (0.70 to 0.90) | 2.50 | 500 MB | 700 MB |",
		"| ViT-B/16 | 73 MatMul 75 %, 50 Add 25 % |",
		"| GPT-2 small | - | 4 x 256 tokens | 0.0 M | - | - |",
		"GPT-2 small: `out of memory`",
	} {
		if !strings.Contains(strings.ReplaceAll(got, "\n", " "), want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	for line := range strings.Lines(got) {
		if len(line) > 130 && !strings.HasPrefix(line, "|") {
			t.Errorf("%d characters: %s", len(line), line)
		}
	}
}

// The README's table is the page's.
func TestReadmeHasTheTable(t *testing.T) {
	root := testutil.ModuleRoot(t)
	read := func(file string) string {
		b, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	_, rest, ok := strings.Cut(read("README.md"), markBegin)
	table, _, ok2 := strings.Cut(rest, markEnd)
	if !ok || !ok2 {
		t.Fatal("the README has no marks")
	}
	if table == "" || !strings.Contains(read("docs/sizes.md"), table) {
		t.Errorf("the README has a table that docs/sizes.md has not: run make sizes SIZES=\n%s", table)
	}
	for _, s := range testmodel.Sizes() {
		if !strings.Contains(table, "| "+s.Title+" |") {
			t.Errorf("no row for %s", s.Title)
		}
	}
	again, err := between(read("README.md"), table)
	if err != nil || again != read("README.md") {
		t.Errorf("putting the table where it is changes the file (%v)", err)
	}
	if _, err := between("no marks", table); err == nil {
		t.Error("a file without marks: got no error")
	}
}

func TestChoose(t *testing.T) {
	all := testmodel.Sizes()
	for names, want := range map[string]int{"": 0, "all": len(all), "gpt2,vit-b16": 2} {
		got, err := choose(all, names)
		if err != nil || len(got) != want {
			t.Errorf("%q: got %d sizes and %v, want %d", names, len(got), err, want)
		}
	}
	if _, err := choose(all, "gpt3"); err == nil || !strings.Contains(err.Error(), "vit-b16") {
		t.Errorf("got %v, want an error that lists the names", err)
	}
}

func TestProcess(t *testing.T) {
	var v struct{ X int }
	u, err := process(t.Context(), &v, "go", "env", "GOVERSION")
	if err == nil || !strings.Contains(err.Error(), "go") {
		t.Errorf("got %v, want an error for an answer that is no JSON", err)
	}
	if _, err = process(t.Context(), nil, "go", "no-such-command"); err == nil || !strings.Contains(err.Error(), "no-such-command") {
		t.Errorf("got %v, want what the program said", err)
	}
	if u, err = process(t.Context(), nil, "go", "version"); err != nil || u.Seconds <= 0 || u.Peak < 1e6 {
		t.Errorf("got %+v and %v", u, err)
	}
}
