// Command bench measures bonnx side by side with others: matrix products
// against gonum and OpenBLAS, forward passes, training steps and single
// operators against ONNX Runtime. It writes a page of tables.
//
// A ratio is the median over interleaved pairs of runs: bonnx, peer, bonnx,
// peer, and so on, after a pair that is not counted, on as many processors as
// there are threads. Memory is the peak of a process of its own that runs one
// side alone.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// options are the flags.
type options struct {
	ort, openblas string // shared libraries
	python        string
	shared        string // folder of real models
	out           string
	pairs         int
	threads       []int
	only          string
	sections      string
	clock         string
	now           func() time.Duration
	child         string // what a process beside this one runs
	cpus          cpus   // that the process was started on
}

func parse(args []string) (options, error) {
	o := options{}
	var threads string
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.StringVar(&o.ort, "ort", ortLibrary, "ONNX Runtime's shared library")
	f.StringVar(&o.openblas, "openblas", "libopenblas.so.0", "OpenBLAS's shared library")
	f.StringVar(&o.python, "python", "", "a Python that has PyTorch, to train against; none where empty")
	f.StringVar(&o.shared, "shared", "../../shared", "folder with models/")
	f.StringVar(&o.out, "o", "", "file for the page, standard output where empty")
	f.IntVar(&o.pairs, "pairs", 7, "pairs of runs that are counted")
	f.StringVar(&threads, "threads", "1,"+strconv.Itoa(runtime.NumCPU()), "numbers of threads")
	f.StringVar(&o.only, "only", "", "measure only cases whose name contains this")
	f.StringVar(&o.sections, "sections", "gemm,forward,step,torch", "what is measured")
	f.StringVar(&o.clock, "clock", "wall", "time that is measured: wall, or cpu, which the process had")
	f.StringVar(&o.child, "child", "", "for the program itself: run one side of a case")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	for t := range strings.SplitSeq(threads, ",") {
		n, err := strconv.Atoi(t)
		if err != nil || n < 1 {
			return o, fmt.Errorf("-threads %q: want numbers above 0", threads)
		}
		if len(o.threads) == 0 || o.threads[len(o.threads)-1] != n {
			o.threads = append(o.threads, n)
		}
	}
	if o.now = clocks[o.clock]; o.now == nil {
		return o, fmt.Errorf("-clock %q: want wall or cpu", o.clock)
	}
	if o.clock != "wall" && (strings.Contains(o.sections, "step") || strings.Contains(o.sections, "torch")) {
		return o, errors.New("-clock cpu: sections step and torch run the other side in a process of its own, whose time this one cannot take")
	}
	// Go would follow the pinning, some time after it.
	runtime.GOMAXPROCS(runtime.NumCPU())
	var err error
	if o.cpus, err = allowed(); err != nil {
		return o, err
	}
	if o.pairs < 1 {
		return o, fmt.Errorf("-pairs %d: want at least 1", o.pairs)
	}
	return o, nil
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// sections are the tables of the page, in order.
var sections = []struct {
	name string
	run  func(context.Context, *page, options, string) error
}{{"gemm", products}, {"forward", forwards}, {"step", steps}, {"torch", torches}, {"operators", operators}}

func run(args []string) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if o.child != "" {
		return child(ctx, o)
	}
	dir, err := os.MkdirTemp("", "bonnx-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	p := newPage(o)
	for _, s := range sections {
		if !strings.Contains(o.sections, s.name) {
			continue
		}
		if err := s.run(ctx, p, o, dir); err != nil {
			return err
		}
	}
	if o.out == "" {
		_, err = os.Stdout.WriteString(p.String())
		return err
	}
	return os.WriteFile(o.out, []byte(p.String()), 0o644)
}
