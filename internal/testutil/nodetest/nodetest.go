// Package nodetest holds whatever runs models against the official ONNX node
// tests.
package nodetest

import (
	"fmt"
	"math"
	"os"
	"path"
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

// debian is where Debian's libonnx-testdata puts the tests of an older ONNX.
const debian = "/usr/share/libonnx-testdata/data/node"

// atLeast is how many of the tests that matter to transformers must pass.
const atLeast = 1490

// A Subject runs a model on its inputs, in order.
type Subject func(m *ir.Model, inputs []*tensor.Tensor) ([]*tensor.Tensor, error)

// Run runs the subject on every test and holds the outcomes against the
// manifest, in both directions. Outputs are compared in shape, dtype and value,
// as closely as the operators of the model say. It logs how many passed and
// which operators are missing. Without the shared tests it takes Debian's,
// of an older version, and says so.
func Run(t *testing.T, set *ops.Set, subject Subject) {
	t.Helper()
	root, whole := suite(t)
	dirs, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]entry{}
	for _, d := range dirs {
		found[d.Name()] = outcome(one(filepath.Join(root, d.Name()), set, subject))
	}
	want := readManifest(t)
	if *update && whole {
		writeManifest(t, found, want)
		want = readManifest(t)
	}
	hold(t, found, want, whole)
	report(t, found, root)
	if whole {
		transformers(t, found)
	}
}

// suite is the folder of the tests, and whether the manifest lists them all.
func suite(t *testing.T) (root string, whole bool) {
	t.Helper()
	shared := testutil.SharedPath(t, "onnx-node-tests/node")
	if _, err := os.Stat(shared); err == nil {
		return shared, true
	}
	if _, err := os.Stat(debian); err != nil {
		t.Skipf("needs %s or %s, both absent here", shared, debian)
	}
	t.Logf("%s is absent; running the older tests of %s", shared, debian)
	return debian, false
}

// hold compares what was found with the manifest. Debian's tests have a few
// names that are gone since, and some have another content.
func hold(t *testing.T, found, want map[string]entry, whole bool) {
	t.Helper()
	for _, name := range sortedNames(found) {
		got := found[name]
		w, listed := want[name]
		switch {
		case !whole && (!listed || like(name, mistaken) || got.status == pass || got.status == unsupported):
		case !listed:
			t.Errorf("%s is not in the manifest; it is %s %s", name, got.status, got.reason)
		case got.status != w.status:
			t.Errorf("%s is %s %s; the manifest says %s %s", name, got.status, got.reason, w.status, w.reason)
		}
	}
	for name := range want {
		if _, ok := found[name]; !ok && whole {
			t.Errorf("%s is in the manifest, but there is no such test", name)
		}
	}
}

func report(t *testing.T, found map[string]entry, root string) {
	t.Helper()
	count, missing := map[status]int{}, map[string]int{}
	for _, e := range found {
		count[e.status]++
		if e.status == unsupported {
			missing[e.reason]++
		}
	}
	t.Logf("of %d tests in %s: %d pass, %d fail, %d unsupported:%s", len(found), filepath.Base(filepath.Dir(root)),
		count[pass], count[fail], count[unsupported], byCount(missing))
}

// transformers counts the tests that matter to transformers.
func transformers(t *testing.T, found map[string]entry) {
	t.Helper()
	b, err := os.ReadFile(testutil.Shared(t, "onnx-node-tests/transformer_tests.txt"))
	if err != nil {
		t.Fatal(err)
	}
	names := strings.Fields(string(b))
	var not []string
	for _, name := range names {
		if found[name].status != pass {
			not = append(not, name)
		}
	}
	t.Logf("of %d tests for transformers %d pass; not %v", len(names), len(names)-len(not), not)
	if len(names)-len(not) < atLeast {
		t.Errorf("only %d of %d tests for transformers pass, want %d", len(names)-len(not), len(names), atLeast)
	}
}

// fourDigits lists tests whose results were typed in with four digits: they
// can only be held to rel.
var fourDigits = []string{
	"test_averagepool_2d_ceil_last_window_starts_on_pad", "test_gridsample_bicubic", "test_roialign_aligned_false", "test_roialign_aligned_true",
	"test_*window*_expanded", // among Debian's, whose pi is so short
}

// mistaken lists those of Debian's tests whose data was set right since.
var mistaken = []string{
	"*BFLOAT16*",                             // given as uint16
	"test_*window", "test_*window_symmetric", // of so short a pi
	"test_adam_multiple", // today's has other numbers for the same inputs
}

// like reports whether a name matches one of the patterns.
func like(name string, patterns []string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		ok, _ := path.Match(pattern, name) // the patterns are well formed
		return ok
	})
}

func one(dir string, set *ops.Set, subject Subject) error {
	m, err := onnx.Load(filepath.Join(dir, "model.onnx"))
	if err != nil {
		return err
	}
	defer onnx.Close(m)
	for _, v := range slices.Concat(m.Graph.Inputs, m.Graph.Outputs) {
		if v.TensorType() == nil {
			return &unsupportedError{"values that are no tensors"}
		}
	}
	digits := like(filepath.Base(dir), fourDigits)
	close := func(got, want *tensor.Tensor) error { return compare(got, want, strictness(set, m), digits) }
	for i := 0; ; i++ {
		data := filepath.Join(dir, fmt.Sprintf("test_data_set_%d", i))
		if _, err := os.Stat(data); err != nil {
			if i == 0 {
				return err
			}
			return nil
		}
		if err := dataSet(m, data, subject, close); err != nil {
			return err
		}
	}
}

// strictness is that of the least strict operator of the model.
func strictness(set *ops.Set, m *ir.Model) ops.Strictness {
	s := ops.Exact
	m.Graphs(func(g *ir.Graph) bool {
		for n := range g.Nodes() {
			row, ok := set.Lookup(n.Domain, n.OpType)
			if !ok { // an operator of old, or of a function
				row.Strict = ops.Accurate
			}
			s = max(s, row.Strict)
		}
		return true
	})
	return s
}

func dataSet(m *ir.Model, data string, subject Subject, close func(got, want *tensor.Tensor) error) error {
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
		if err := close(got[i], want[i]); err != nil {
			return fmt.Errorf("output %q: %w", v.Name, err)
		}
	}
	return nil
}

// The bounds that the tests themselves come with: nothing is compared more
// loosely, whatever an operator declares.
const abs, rel = 1e-7, 1e-3

// compare compares as closely as the strictness says. Of 16 bits and less the
// last digit is about rel.
func compare(got, want *tensor.Tensor, s ops.Strictness, fourDigits bool) error {
	d := want.DType()
	if s == ops.Exact || d.IsInteger() || d == tensor.Bool {
		return testutil.Compare(got, want, 0, 0)
	}
	if err := testutil.Compare(got, want, abs, rel); err != nil || fourDigits || d != tensor.Float32 && d != tensor.Float64 {
		return err
	}
	a, r := s.Tolerance()
	w, err := want.Float64s()
	if err != nil {
		return err
	}
	return testutil.Compare(got, want, a*largest(w), r)
}

// largest is the greatest finite magnitude.
func largest(v []float64) float64 {
	m := 0.0
	for _, x := range v {
		if a := math.Abs(x); a > m && !math.IsInf(a, 0) {
			m = a
		}
	}
	return m
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

func sortedNames(m map[string]entry) []string {
	names := make([]string, 0, len(m))
	for n := range m {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
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
