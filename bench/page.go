package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	bonnx "github.com/bonnx/bonnx/runtime"
)

// page is what bench writes, as Markdown: what was measured with, then tables.
type page struct{ head, tables strings.Builder }

func (p *page) String() string { return p.head.String() + p.tables.String() }

func newPage(o options) *page {
	p := &page{}
	fmt.Fprintf(&p.head, `# Benchmarks

Written by `+"`make bench`, `make bench-torch` or `make bench-operators`"+`. A ratio is bonnx's time over the other's, so below 1 bonnx is faster:
the median of %d interleaved pairs, in brackets the middle half of them, both sides pinned to as many processors as they
have threads. Times are medians of %s time. Memory is the peak of a process that runs one side alone, weights and the model's
file, mapped or read, included.

- Machine: %s, %d cores, %s/%s.
- bonnx: %s, kernels %s. Date: %s.
`, o.pairs, o.clock, cpuName(), runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, runtime.Version(), bonnx.Kernels(), time.Now().UTC().Format(time.DateOnly))
	return p
}

// peer names what is compared with.
func (p *page) peer(format string, args ...any) { fmt.Fprintf(&p.head, "- "+format+"\n", args...) }

// table begins a table.
func (p *page) table(title string, columns ...string) {
	fmt.Fprintf(&p.tables, "\n## %s\n\n| %s |\n|%s\n", title, strings.Join(columns, " | "), strings.Repeat(" --- |", len(columns)))
}

// row adds a row, and shows it at once.
func (p *page) row(cells ...string) {
	line := "| " + strings.Join(cells, " | ") + " |"
	fmt.Fprintln(&p.tables, line)
	fmt.Fprintln(os.Stderr, line)
}

// cpuName is the processor as the system names it.
func cpuName() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return "unknown processor"
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if name, ok := strings.CutPrefix(s.Text(), "model name"); ok {
			return strings.TrimLeft(name, "\t :")
		}
	}
	return "unknown processor"
}
