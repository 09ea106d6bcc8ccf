package ops_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/internal/testutil/opcheck"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/onnx"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

// knownFailures lists official node tests that fail, with the reason. A test
// that passes must not be listed.
var knownFailures = map[string]string{
	"test_training_dropout":              numpyRandom,
	"test_training_dropout_default":      numpyRandom,
	"test_training_dropout_default_mask": numpyRandom,
	"test_training_dropout_mask":         numpyRandom,
}

const numpyRandom = "wants the numbers of NumPy's generator; the standard leaves the generator open"

// TestNodes runs every official ONNX node test all of whose operators are in
// the set: Canonical, node by node, outputs compared in shape, dtype and
// value; what inference says of the outputs must be true.
func TestNodes(t *testing.T) {
	root := testutil.Shared(t, "onnx-node-tests/node")
	dirs, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	passed := 0
	missing := map[string]int{}
	var failed []string
	for _, d := range dirs {
		err := runNodeTest(filepath.Join(root, d.Name()))
		reason, listed := knownFailures[d.Name()]
		var un *unsupportedError
		switch {
		case errors.As(err, &un):
			missing[un.what]++
		case err == nil && listed:
			t.Errorf("%s passes, but is listed as failing (%s)", d.Name(), reason)
		case err == nil:
			passed++
		case !listed:
			failed = append(failed, fmt.Sprintf("%s: %v", d.Name(), err))
		}
	}
	sort.Strings(failed)
	for _, f := range failed {
		t.Error(f)
	}
	t.Logf("%d passed, %d failed, %d known failures, %d unsupported:%s",
		passed, len(failed), len(knownFailures), sum(missing), byCount(missing))
	if passed < 300 {
		t.Errorf("only %d tests passed: is %s complete?", passed, root)
	}
}

// unsupportedError says what a test needs that is not there.
type unsupportedError struct{ what string }

func (e *unsupportedError) Error() string { return "unsupported: " + e.what }

func runNodeTest(dir string) error {
	m, err := onnx.Load(filepath.Join(dir, "model.onnx"))
	if err != nil {
		return err
	}
	defer onnx.Close(m)
	set := ops.Standard()
	if what := unsupportedIn(set, m); what != "" {
		return &unsupportedError{what}
	}
	c, err := ops.Canonical(m)
	if err != nil {
		return err
	}
	if what := unsupportedIn(set, c); what != "" {
		return &unsupportedError{what}
	}
	an, err := set.Analyze(c, ops.AnalyzeOptions{})
	if err != nil {
		return fmt.Errorf("analyze: %w", err)
	}
	for i := 0; ; i++ {
		data := filepath.Join(dir, fmt.Sprintf("test_data_set_%d", i))
		if _, err := os.Stat(data); err != nil {
			if i == 0 {
				return err
			}
			return nil
		}
		if err := runDataSet(set, c, an, data); err != nil {
			return err
		}
	}
}

// unsupportedIn is the first operator of m, or kind of value, that is not
// there.
func unsupportedIn(set *ops.Set, m *ir.Model) string {
	for _, v := range slices.Concat(m.Graph.Inputs, m.Graph.Outputs) {
		if v.TensorType() == nil {
			return "values that are no tensors"
		}
	}
	what := ""
	m.Graphs(func(g *ir.Graph) bool {
		for n := range g.Nodes() {
			if _, ok := set.Lookup(n.Domain, n.OpType); !ok && n.OpType != "Scatter" && n.OpType != "Upsample" && what == "" {
				what = strings.TrimPrefix(n.Domain+"."+n.OpType, ".")
			}
		}
		return what == ""
	})
	return what
}

func runDataSet(set *ops.Set, c *ir.Model, an *ops.Analysis, data string) error {
	feeds := map[*ir.Value]*tensor.Tensor{}
	for i, v := range c.Graph.Inputs {
		t, err := readTensor(filepath.Join(data, fmt.Sprintf("input_%d.pb", i)))
		if err != nil {
			return err
		}
		feeds[v] = t
	}
	got, err := opcheck.Run(set, c, feeds, c.Graph.Outputs)
	if err != nil {
		return err
	}
	for i, v := range c.Graph.Outputs {
		want, err := readTensor(filepath.Join(data, fmt.Sprintf("output_%d.pb", i)))
		if err != nil {
			return err
		}
		if err := testutil.Compare(got[i], want, 1e-7, 1e-3); err != nil {
			return fmt.Errorf("output %q: %w", v.Name, err)
		}
		if err := claims(an.Fact(v), want); err != nil {
			return fmt.Errorf("output %q: %w", v.Name, err)
		}
	}
	return nil
}

// claims holds an inferred fact against a value.
func claims(f ops.Fact, t *tensor.Tensor) error {
	wrong := fmt.Errorf("inferred %v of %v", f, t)
	if f.DType != t.DType() || f.Ranked && f.Rank() != t.Rank() {
		return wrong
	}
	for i, d := range f.Dims {
		if d.Known && int(d.Value) != t.Shape()[i] {
			return wrong
		}
	}
	return nil
}

func readTensor(path string) (*tensor.Tensor, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	_, t, err := onnx.LoadTensor(b)
	return t, err
}

func sum(m map[string]int) int {
	n := 0
	for _, k := range m {
		n += k
	}
	return n
}

// byCount lists entries, the most frequent first.
func byCount(m map[string]int) string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Slice(keys, func(i, j int) bool {
		if m[keys[i]] != m[keys[j]] {
			return m[keys[i]] > m[keys[j]]
		}
		return keys[i] < keys[j]
	})
	var b strings.Builder
	for _, k := range keys {
		fmt.Fprintf(&b, " %s:%d", k, m[k])
	}
	return b.String()
}
