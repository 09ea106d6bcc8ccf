// Package nodetest holds whatever runs models against the official ONNX node
// tests.
package nodetest

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
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/onnx"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

// known lists tests that fail, with the reason. One that passes must not be
// listed.
var known = map[string]string{
	"test_batchnorm_epsilon_training_mode": batchStatistics,
	"test_batchnorm_example_training_mode": batchStatistics,
	"test_scan_sum":                        "is Scan of opset 8, which had a batch axis",
	"test_training_dropout":                numpyRandom,
	"test_training_dropout_default":        numpyRandom,
	"test_training_dropout_default_mask":   numpyRandom,
	"test_training_dropout_mask":           numpyRandom,
}

const numpyRandom = "wants the numbers of NumPy's generator; the standard leaves the generator open"

const batchStatistics = "computes statistics of the batch, which is refused"

// atLeast is how many tests must pass for the suite to count as run.
const atLeast = 1200

// A Subject runs a model on its inputs, in order.
type Subject func(m *ir.Model, inputs []*tensor.Tensor) ([]*tensor.Tensor, error)

// Run holds the subject against every test all of whose operators are in the
// set: outputs are compared in shape, dtype and value (1e-3 relative, 1e-7
// absolute). It logs how many passed and which operators are missing.
func Run(t *testing.T, set *ops.Set, subject Subject) {
	t.Helper()
	root := testutil.Shared(t, "onnx-node-tests/node")
	dirs, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	passed, unsupported := 0, 0
	missing := map[string]int{}
	for _, d := range dirs {
		err := one(filepath.Join(root, d.Name()), set, subject)
		reason, listed := known[d.Name()]
		var un *unsupportedError
		switch {
		case errors.As(err, &un):
			missing[un.what]++
			unsupported++
		case err == nil && listed:
			t.Errorf("%s passes, but is listed as failing (%s)", d.Name(), reason)
		case err == nil:
			passed++
		case !listed:
			t.Errorf("%s: %v", d.Name(), err)
		}
	}
	t.Logf("%d passed, %d known failures, %d unsupported:%s", passed, len(known), unsupported, byCount(missing))
	if passed < atLeast {
		t.Errorf("only %d tests passed: is %s complete?", passed, root)
	}
}

// unsupportedError says what a test needs that is not there.
type unsupportedError struct{ what string }

func (e *unsupportedError) Error() string { return "unsupported: " + e.what }

func one(dir string, set *ops.Set, subject Subject) error {
	m, err := onnx.Load(filepath.Join(dir, "model.onnx"))
	if err != nil {
		return err
	}
	defer onnx.Close(m)
	if what := unsupportedIn(set, m); what != "" {
		return &unsupportedError{what}
	}
	for i := 0; ; i++ {
		data := filepath.Join(dir, fmt.Sprintf("test_data_set_%d", i))
		if _, err := os.Stat(data); err != nil {
			if i == 0 {
				return err
			}
			return nil
		}
		if err := dataSet(m, data, subject); err != nil {
			return err
		}
	}
}

// renamed are operators that lifting makes others.
var renamed = map[string]string{"Scatter": "ScatterElements", "Upsample": "Resize"}

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
			op := n.OpType
			if to, ok := renamed[op]; ok {
				op = to
			}
			if _, ok := set.Lookup(n.Domain, op); !ok && what == "" {
				what = strings.TrimPrefix(n.Domain+"."+op, ".")
			}
		}
		return what == ""
	})
	return what
}

func dataSet(m *ir.Model, data string, subject Subject) error {
	inputs, err := readAll(data, "input", len(m.Graph.Inputs))
	if err != nil {
		return err
	}
	want, err := readAll(data, "output", len(m.Graph.Outputs))
	if err != nil {
		return err
	}
	got, err := subject(m, inputs)
	if err != nil {
		return err
	}
	for i, v := range m.Graph.Outputs {
		if err := testutil.Compare(got[i], want[i], 1e-7, 1e-3); err != nil {
			return fmt.Errorf("output %q: %w", v.Name, err)
		}
	}
	return nil
}

func readAll(data, what string, n int) ([]*tensor.Tensor, error) {
	list := make([]*tensor.Tensor, n)
	for i := range list {
		b, err := os.ReadFile(filepath.Join(data, fmt.Sprintf("%s_%d.pb", what, i)))
		if err != nil {
			return nil, err
		}
		if _, list[i], err = onnx.LoadTensor(b); err != nil {
			return nil, err
		}
	}
	return list, nil
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
