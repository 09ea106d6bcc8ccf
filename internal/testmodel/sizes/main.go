// Command sizes measures bonnx on models of true size and writes what it found
// as Markdown: how long inject, a training step and a forward pass take, what
// memory they need, and what ONNX Runtime takes for the same forward pass.
//
// Everything measured is a process of its own, started the way people start
// it. Models are written once and stay in the working folder, one result file
// beside each; the document is made of all results that are there.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"

	"github.com/bonnx/bonnx/internal/testmodel"
)

// options are the command line's.
type options struct {
	dir, bonnx, gen, ort string
	only                 string
	threads              int
	rounds, runs, steps  int
	doc, readme          string
}

func main() {
	var o options
	flag.StringVar(&o.dir, "dir", "bin/sizes", "keep models and results in this `folder`")
	flag.StringVar(&o.bonnx, "bonnx", "bin/bonnx", "the program that is measured")
	flag.StringVar(&o.gen, "gen", "bin/gen", "the program that writes models")
	flag.StringVar(&o.ort, "ort", "testdata/ort/run.mjs", "the script that times ONNX Runtime; empty leaves it out")
	flag.StringVar(&o.only, "only", "", "measure these sizes, by `name`, with commas between; none: only write the document")
	flag.IntVar(&o.threads, "threads", 2, "threads of bonnx and of ONNX Runtime")
	flag.IntVar(&o.rounds, "rounds", 7, "times that the two take turns at the forward pass")
	flag.IntVar(&o.runs, "runs", 3, "forward passes of each in a turn, after one that is not counted")
	flag.IntVar(&o.steps, "steps", 8, "training steps, of which the first is not counted")
	flag.StringVar(&o.doc, "o", "docs/sizes.md", "write the document to this `file`")
	flag.StringVar(&o.readme, "readme", "README.md", "put the first table between the marks in this `file`")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "sizes:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	all := testmodel.Sizes()
	chosen, err := choose(all, o.only)
	if err != nil {
		return err
	}
	for _, s := range chosen {
		fmt.Fprintf(os.Stderr, "%s\n", s.Title)
		r, err := measure(ctx, o, s)
		if err != nil {
			return fmt.Errorf("%s: %w", s.Title, err)
		}
		if err := r.save(o.dir); err != nil {
			return err
		}
	}
	results, err := load(o.dir, all)
	if err != nil {
		return err
	}
	return write(o, results)
}

// choose finds the sizes named; "all" is all of them.
func choose(all []testmodel.Size, names string) ([]testmodel.Size, error) {
	if names == "" {
		return nil, nil
	}
	if names == "all" {
		return all, nil
	}
	var out []testmodel.Size
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(all, func(s testmodel.Size) bool { return s.Name == name })
		if i < 0 {
			var have []string
			for _, s := range all {
				have = append(have, s.Name)
			}
			return nil, errors.New("no size " + name + "; there are " + strings.Join(have, ", "))
		}
		out = append(out, all[i])
	}
	return out, nil
}
