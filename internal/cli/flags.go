package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/bonnx/bonnx"
	"github.com/bonnx/bonnx/tensor"
	"github.com/bonnx/bonnx/tensor/npz"
)

// Flags that several commands have.
func outputFlag() cli.Flag {
	return &cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "write to `OUT` (required)"}
}

func forceFlag() cli.Flag { return &cli.BoolFlag{Name: "force", Usage: "replace OUT where it exists"} }

func jsonFlag() cli.Flag { return &cli.BoolFlag{Name: "json", Usage: "report as JSON on stdout"} }

func quietFlag() cli.Flag {
	return &cli.BoolFlag{Name: "quiet", Usage: "say nothing on stderr but errors"}
}

func threadsFlag() cli.Flag {
	return &cli.IntFlag{Name: "threads", Usage: "compute on `N` threads (0: all cores)"}
}

func inputFlag(usage string) cli.Flag {
	return &cli.StringFlag{Name: "input", Usage: usage}
}

func shapeFlag() cli.Flag {
	return &cli.StringSliceFlag{Name: "shape", Usage: "shape of an input that is made up, as `NAME=DIMS`, such as input_ids=8x128; repeats"}
}

func seedFlag(usage string) cli.Flag { return &cli.Uint64Flag{Name: "seed", Usage: usage} }

func formFlag() cli.Flag {
	return &cli.StringFlag{Name: "form", DefaultText: "activation; bat: weight", Usage: "how the adapter stands in the graph: activation or weight"}
}

// saveOptions reads the flags that say how a model is written.
func saveOptions(c *cli.Context) (bonnx.SaveOptions, error) {
	o := bonnx.SaveOptions{Force: c.Bool("force"), BlockInputs: c.Bool("inputs")}
	if !c.IsSet("form") {
		return o, nil
	}
	if o.Form = c.String("form"); o.Form != "activation" && o.Form != "weight" {
		return o, usagef("--form %q is not one of activation, weight", o.Form)
	}
	return o, nil
}

// maxThreads is more than any machine has use for; each costs memory.
const maxThreads = 1024

// threads is --threads, checked.
func threads(c *cli.Context) (int, error) {
	n := c.Int("threads")
	if n < 0 || n > maxThreads {
		return 0, usagef("--threads is %d; it is 0 to %d", n, maxThreads)
	}
	return n, nil
}

// output is -o, checked before any work: that it is given, may be written,
// and is none of the inputs.
func output(c *cli.Context, inputs ...string) (string, error) {
	out := c.String("output")
	if out == "" {
		return "", &usageError{errNeedOutput.Error()}
	}
	return out, bonnx.SaveOptions{Force: c.Bool("force"), Keep: inputs}.Check(out)
}

// shapes reads --shape.
func shapes(c *cli.Context) (map[string][]int, error) {
	m := map[string][]int{}
	for _, s := range c.StringSlice("shape") {
		name, dims, ok := strings.Cut(s, "=")
		if !ok || name == "" {
			return nil, usagef("--shape %q is not NAME=DIMS, such as input_ids=8x128", s)
		}
		shape := []int{}
		for _, d := range strings.FieldsFunc(dims, func(r rune) bool { return r == 'x' || r == ',' }) {
			n, err := strconv.Atoi(d)
			if err != nil || n < 0 {
				return nil, usagef("--shape %q: %q is not an extent", s, d)
			}
			shape = append(shape, n)
		}
		m[name] = shape
	}
	return m, nil
}

// dynamicBatchFlag is for commands that write a model.
func dynamicBatchFlag() cli.Flag {
	return &cli.BoolFlag{Name: "dynamic-batch", Usage: "make a batch that the file fixes dynamic, where that is certain to change nothing for a sample"}
}

// inlineFlag is for commands that put adapters on a model.
func inlineFlag() cli.Flag {
	return &cli.BoolFlag{Name: "inline-functions", Usage: "put the bodies of the model's functions in the place of their calls, so that layers in them are targets"}
}

// open opens a model whose remarks go to stderr, and gives it a dynamic batch
// where the command has been told to.
func (e *env) open(c *cli.Context, path string) (*bonnx.Model, error) {
	m, err := bonnx.Open(path)
	if err != nil {
		return nil, err
	}
	if !c.Bool("quiet") {
		m.SetLogger(slog.New(remarks{e}))
	}
	if c.Bool("inline-functions") {
		if err := m.InlineFunctions(); err != nil {
			_ = m.Close()
			return nil, err
		}
	}
	if c.Bool("dynamic-batch") {
		if err := m.DynamicBatch(); err != nil {
			_ = m.Close()
			return nil, err
		}
	}
	return m, nil
}

// adapted opens a model with the adapters that it has.
func (e *env) adapted(c *cli.Context, path string) (*bonnx.BoneModel, error) {
	m, err := e.open(c, path)
	if err != nil {
		return nil, err
	}
	b, err := bonnx.Adapted(m)
	if err != nil {
		_ = m.Close()
	}
	return b, err
}

// remarks writes what the library has to say as lines on stderr.
type remarks struct{ e *env }

func (remarks) Enabled(context.Context, slog.Level) bool { return true }
func (r remarks) WithAttrs([]slog.Attr) slog.Handler     { return r }
func (r remarks) WithGroup(string) slog.Handler          { return r }

// Handle writes a message and what belongs to it.
func (r remarks) Handle(_ context.Context, rec slog.Record) error {
	text := rec.Message
	rec.Attrs(func(a slog.Attr) bool { text += " " + a.String(); return true })
	r.e.say("%s", text)
	return nil
}

// feeds reads --input, and makes up what is missing where makeUp is set.
func feeds(c *cli.Context, m *bonnx.Model, makeUp bool) (map[string]*tensor.Tensor, error) {
	given := map[string]*tensor.Tensor{}
	if path := c.String("input"); path != "" {
		f, err := npz.ReadFile(path, npz.Options{})
		if err != nil {
			return nil, err
		}
		given = f.Map()
	}
	given, err := m.Conform(given)
	if err != nil || !makeUp {
		return given, err
	}
	s, err := shapes(c)
	if err != nil {
		return nil, err
	}
	return m.Feeds(given, s, c.Uint64("seed"))
}

// printJSON writes v as one line.
func (e *env) printJSON(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return e.printf("%s\n", b)
}

// commas writes an integer with thousands separated.
func commas(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// bytesText writes a number of bytes for people.
func bytesText(n int) string {
	f, unit := float64(n), "B"
	for _, u := range []string{"KB", "MB", "GB"} {
		if f < 1000 {
			break
		}
		f, unit = f/1000, u
	}
	if unit == "B" {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", f, unit)
}
