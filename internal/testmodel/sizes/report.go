package main

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/bonnx/bonnx/internal/testmodel"
)

const (
	markBegin = "<!-- make sizes: begin -->\n"
	markEnd   = "<!-- make sizes: end -->\n"
)

// write writes the document, and its first table into the README, once there is
// a result for every size; until then it only shows it.
func write(o options, results []*result) error {
	sizes := testmodel.Sizes()
	doc := document(sizes, results)
	if len(results) < len(sizes) {
		fmt.Print(doc)
		fmt.Fprintf(os.Stderr, "sizes: %d of %d models are measured; %s stays\n", len(results), len(sizes), o.doc)
		return nil
	}
	if err := os.WriteFile(o.doc, []byte(doc), 0o644); err != nil {
		return err
	}
	b, err := os.ReadFile(o.readme)
	if err != nil {
		return err
	}
	readme, err := between(string(b), trainingTable(sizes, results))
	if err != nil {
		return fmt.Errorf("%s: %w", o.readme, err)
	}
	return os.WriteFile(o.readme, []byte(readme), 0o644)
}

// between puts text between the marks.
func between(file, text string) (string, error) {
	before, rest, ok := strings.Cut(file, markBegin)
	_, after, ok2 := strings.Cut(rest, markEnd)
	if !ok || !ok2 {
		return "", fmt.Errorf("no %q with %q behind it", strings.TrimSpace(markBegin), strings.TrimSpace(markEnd))
	}
	return before + markBegin + text + markEnd + after, nil
}

// document is docs/sizes.md.
func document(sizes []testmodel.Size, results []*result) string {
	var b strings.Builder
	b.WriteString(intro)
	b.WriteString(where(results))
	b.WriteString("\n## Training\n\n" + trainingText + "\n" + trainingTable(sizes, results) + "\n")
	b.WriteString(failures(sizes, results, func(r *result) string { return r.Train.Error }))
	b.WriteString("## inject\n\n" + injectText + "\n" + injectTable(sizes, results) + "\n")
	b.WriteString("## Forward pass\n\n" + forwardText + "\n" + forwardTable(sizes, results) + "\n")
	b.WriteString(failures(sizes, results, func(r *result) string { return r.Forward.Error }))
	b.WriteString("Where bonnx's forward pass spends its time, by `bonnx bench`:\n\n" + operatorTable(sizes, results))
	return b.String()
}

const intro = `# Models of true size

What bonnx takes for models that people have: architectures and extents of well-known ones, random weights, graphs and
names as exporters write them (` + "`internal/testmodel`" + `). ` + "`make sizes`" + ` writes this page and the table in the README; it takes
a quarter of an hour, 4 GB of disk and up to 5 GB of memory, and is no part of CI. ` + "`make sizes SIZES=gpt2`" + ` measures one
model anew and keeps the others' results under ` + "`bin/sizes`" + `. Times mean something on a machine that does nothing else: the
load average before each model is named below.

`

const trainingText = `` + "`bonnx train --batch-size N`" + ` on the file that ` + "`bonnx inject`" + ` wrote without flags: Bone of rank 64 on all linear
layers but the head. Seconds are the median of the steps after the first, in which weights are packed. Peak memory is the
largest resident set of the whole process, pages of the model file that it mapped included.
`

const injectText = `` + "`bonnx inject MODEL -o ADAPTED`" + `, the whole process, median of three; weights are copied by the operating system.
`

const forwardText = `` + "`bonnx bench`" + ` and ONNX Runtime (onnxruntime-node, all optimizations) on the same file and inputs, in turns. Times are
medians over the turns of the median run of a turn; the ratio is the median over the turns of bonnx's time by ONNX
Runtime's, least and largest in brackets. Peak memory is of the whole process, node's with its own 60 MB.
`

// where names machine and versions: those of the last result, but of all their
// loads, dates and builds of bonnx.
func where(results []*result) string {
	if len(results) == 0 {
		return ""
	}
	m := results[len(results)-1].Machine
	var loads []float64
	var dates, programs []string
	for _, r := range results {
		loads, dates, programs = append(loads, r.Machine.Load), append(dates, r.Date), append(programs, r.Machine.Bonnx)
	}
	slices.Sort(programs)
	steps, turns := len(results[0].Train.Steps), len(results[0].Forward.Ratios)
	for _, r := range results {
		steps, turns = min(steps, len(r.Train.Steps)), min(turns, len(r.Forward.Ratios))
	}
	text := fmt.Sprintf("Measured %s on %s, %d cores, %s of memory, %s; load average before a model %.1f to %.1f. bonnx %s with kernels %s, %s",
		span(slices.Min(dates), slices.Max(dates)), m.CPU, m.Cores, bytesText(m.Memory), m.OS, slices.Min(loads), slices.Max(loads), strings.Join(slices.Compact(programs), ", "), m.Kernels, m.Go)
	if m.ORT != "" {
		text += fmt.Sprintf("; ONNX Runtime %s, node %s", m.ORT, m.Node)
	}
	text += fmt.Sprintf(". Medians are of at least %d training steps, and of %d turns of the forward pass", steps, turns)
	return wrap(text+".", 120) + "\n"
}

func span(from, to string) string {
	if from == to {
		return from
	}
	return from + " to " + to
}

// wrap breaks text into lines of at most width.
func wrap(text string, width int) string {
	var b strings.Builder
	line := 0
	for word := range strings.FieldsSeq(text) {
		switch {
		case line == 0:
		case line+1+len(word) > width:
			b.WriteByte('\n')
			line = 0
		default:
			b.WriteByte(' ')
			line++
		}
		b.WriteString(word)
		line += len(word)
	}
	return b.String()
}

// rows makes a Markdown table with a row for each result.
func rows(sizes []testmodel.Size, results []*result, head []string, row func(testmodel.Size, *result) []string) string {
	var b strings.Builder
	line := func(cells []string) { b.WriteString("| " + strings.Join(cells, " | ") + " |\n") }
	line(head)
	b.WriteString(strings.Repeat("|---", len(head)) + "|\n")
	for _, r := range results {
		s := sizes[slices.IndexFunc(sizes, func(s testmodel.Size) bool { return s.Name == r.Size })]
		line(append([]string{s.Title}, row(s, r)...))
	}
	return b.String()
}

func trainingTable(sizes []testmodel.Size, results []*result) string {
	return rows(sizes, results, []string{"model", "file", "batch", "trained parameters", "seconds a step", "peak memory"}, func(s testmodel.Size, r *result) []string {
		return []string{bytesText(r.FileBytes), fmt.Sprintf("%d x %s", s.Batch, s.Each), countText(r.Trainable),
			secondsText(r.Train.Seconds), bytesText(r.Train.Peak)}
	})
}

func injectTable(sizes []testmodel.Size, results []*result) string {
	return rows(sizes, results, []string{"model", "file", "layers", "seconds", "peak memory"}, func(_ testmodel.Size, r *result) []string {
		return []string{bytesText(r.FileBytes), strconv.Itoa(r.Targets), secondsText(r.Inject.Seconds), bytesText(r.Inject.Peak)}
	})
}

func forwardTable(sizes []testmodel.Size, results []*result) string {
	head := []string{"model", "batch", "bonnx, s", "ONNX Runtime, s", "ratio", "first run, s", "peak, bonnx", "peak, ONNX Runtime"}
	return rows(sizes, results, head, func(s testmodel.Size, r *result) []string {
		f := r.Forward
		ratio := "-"
		if len(f.Ratios) > 0 {
			ratio = fmt.Sprintf("%.2f (%.2f to %.2f)", median(f.Ratios), slices.Min(f.Ratios), slices.Max(f.Ratios))
		}
		return []string{fmt.Sprintf("%d x %s", s.Batch, s.Each), secondsText(f.Bonnx.Seconds), secondsText(f.ORT.Seconds), ratio,
			secondsText(f.Plan), bytesText(f.Bonnx.Peak), bytesText(f.ORT.Peak)}
	})
}

// shownOps is how many operators are named of each model.
const shownOps = 3

func operatorTable(sizes []testmodel.Size, results []*result) string {
	return rows(sizes, results, []string{"model", "operators, share of the time"}, func(_ testmodel.Size, r *result) []string {
		all := 0.0
		for _, o := range r.Forward.Ops {
			all += o.Seconds
		}
		var list []string
		for _, o := range r.Forward.Ops[:min(shownOps, len(r.Forward.Ops))] {
			list = append(list, fmt.Sprintf("%d %s %.0f %%", o.Nodes, o.Op, 100*o.Seconds/all))
		}
		return []string{strings.Join(list, ", ")}
	})
}

// failures says what was not measured, and why.
func failures(sizes []testmodel.Size, results []*result, of func(*result) string) string {
	var b strings.Builder
	for _, r := range results {
		if e := of(r); e != "" {
			s := sizes[slices.IndexFunc(sizes, func(s testmodel.Size) bool { return s.Name == r.Size })]
			fmt.Fprintf(&b, "%s: `%s`\n\n", s.Title, e)
		}
	}
	return b.String()
}

func secondsText(s float64) string {
	if s == 0 {
		return "-"
	}
	return strconv.FormatFloat(s, 'f', max(0, 3-len(strconv.Itoa(int(s)))), 64)
}

func bytesText(n int64) string {
	switch {
	case n == 0:
		return "-"
	case n < 1e9:
		return fmt.Sprintf("%d MB", (n+5e5)/1e6)
	}
	return fmt.Sprintf("%.1f GB", float64(n)/1e9)
}

func countText(n int) string { return fmt.Sprintf("%.1f M", float64(n)/1e6) }
