package rewrite_test

import (
	"strings"
	"testing"

	"github.com/bonnx/bonnx/adapter"
	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/rewrite"
	"github.com/bonnx/bonnx/tensor"
)

// withWhole carries a bone under a bat, and a parameter trained whole that is
// read directly and through a node.
func withWhole(t *testing.T) *ir.Model {
	t.Helper()
	m := sharing(testutil.Random(1, 4, 4), func(b *gb, x, w *ir.Value) *ir.Value {
		h := b.op("/lin/MatMul", "MatMul", "a", ir.In(x, flip(b, "t1", w)))
		return b.op("/lin/MatMul_1", "MatMul", "b", ir.In(h, flip(b, "t2", w)))
	}).m
	for _, method := range []adapter.Method{adapter.Bone, adapter.Bat} {
		cfg := config(method, 2)
		cfg.Name, cfg.Targets = method.String(), adapter.Modules{List: []string{"out"}}
		if method == adapter.Bone {
			cfg.Save = []string{"lin"}
		}
		if _, err := rewrite.Inject(m, cfg, rewrite.Options{}); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

// TestRecordOfWholeThatLies: see TestRecordThatLies.
func TestRecordOfWholeThatLies(t *testing.T) {
	text, _ := withWhole(t).Metadata.Get(rewrite.MetadataKey)
	if !strings.HasPrefix(text, `{"version":2,`) {
		t.Errorf("a record with trained parameters is of another version than 2: %s", text)
	}
	for _, c := range []struct{ name, old, new, want string }{
		{"two adapters of one name", `"name":"bat"`, `"name":"bone"`, "is recorded twice"},
		{"a target's form", `"form":"weight","sites"`, `"form":"activation","sites"`, "is not where it was"},
		{"a bat's form", `"form":"weight","targets"`, `"form":"activation","targets"`, "form"},
		{"missing copy", `"value":"lin.weight.bone"`, `"value":"lin.bias"`, `no initializer "lin.bias"`},
		{"another copy", `"value":"lin.weight.bone"`, `"value":"out.w"`, "does not pass on"},
		{"a copy that is no float", `"value":"lin.weight.bone"`, `"value":"bonnx/rows_4x2"`, "is no trained parameter"},
		{"missing value", `"from":"t1_out"`, `"from":"t9_out"`, `no value "t9_out"`},
		{"a computed value", `"from":"t1_out"`, `"from":"a"`, "computed"},
		{"a value of another shape", `"from":"t1_out"`, `"from":"bonnx/rows_4x2"`, "does not stand for"},
		{"missing node", `"/lin.weight.bone/Identity"`, `"/lin.weight.bone/Neg"`, `no node "/lin.weight.bone/Neg"`},
		{"a node of the base", `"/lin.weight.bone/Identity"`, `"t2"`, "does not pass on"},
		{"no readers", `"reads":[`, `"reads":null,"x":[`, "no readers are recorded"},
		{"a reader twice", `{"from":"t1_out"}`, `{"from":"t1_out"},{"from":"t2_out"}`, ""},
	} {
		if !strings.Contains(text, c.old) {
			t.Fatalf("%s: the record has no %s: %s", c.name, c.old, text)
		}
		m := withWhole(t)
		m.Metadata.Set(rewrite.MetadataKey, strings.Replace(text, c.old, c.new, 1))
		nodes := names(m)
		err := rewrite.Strip(m)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: error %v, want %q", c.name, err, c.want)
		}
		if c.want != "" && names(m) != nodes {
			t.Errorf("%s: the model changed", c.name)
		}
	}
}

// TestCopyUsedElsewhere: what another program built on a trained copy is not
// torn.
func TestCopyUsedElsewhere(t *testing.T) {
	m := withWhole(t)
	m.Graph.Outputs = append(m.Graph.Outputs, m.Graph.Index()["lin.weight.bone"])
	if err := rewrite.Strip(m); err == nil || !strings.Contains(err.Error(), "is no trained parameter") {
		t.Errorf("the copy is an output: %v", err)
	}
	m = withWhole(t)
	for n := range m.Graph.Nodes() {
		if n.Name == "/lin.weight.bone/Identity" {
			m.Graph.Outputs = append(m.Graph.Outputs, n.Output(0))
		}
	}
	if err := rewrite.Strip(m); err == nil || !strings.Contains(err.Error(), "does not pass on") {
		t.Errorf("a node's value is an output: %v", err)
	}
}

// TestOldRecords: a record of version 1, as it was before trained parameters and
// stacks, is read and written as it was.
func TestOldRecords(t *testing.T) {
	m := adapted(t, adapter.Bone, rewrite.Options{})
	text, _ := m.Metadata.Get(rewrite.MetadataKey)
	for _, key := range []string{`"version":1,`, `"form":"activation"`} {
		if !strings.Contains(text, key) {
			t.Errorf("a record without what is new lacks %s: %s", key, text)
		}
	}
	for _, key := range []string{"whole", "training", "dropout", "include_head", `"form":"weight"`} {
		if strings.Contains(text, key) {
			t.Errorf("a record without what is new has %s: %s", key, text)
		}
	}
}

// TestParametersOfOneName: constants that would be called the same.
func TestParametersOfOneName(t *testing.T) {
	b := newModel(17, 8)
	x := b.input("x", tensor.Float32, ir.Symbol("n"), ir.Fixed(4))
	for i, name := range []string{"/norm/Mul", "/norm/Mul_1", "/norm/Mul_2"} {
		x = b.op(name, "Mul", "h"+name, ir.In(x, b.init("onnx::Mul_"+name, testutil.Random(uint64(i), 4))))
	}
	x = b.op("/out/MatMul", "MatMul", "o", ir.In(x, b.init("out.w", testutil.Random(3, 4, 4))))
	b.output(b.op("", "Relu", "y", ir.In(x)), tensor.Float32, ir.Symbol("n"), ir.Fixed(4))
	cfg := config(adapter.Bone, 2)
	cfg.Save, cfg.Targets = []string{"norm"}, adapter.Modules{List: []string{"out"}}
	rep, err := rewrite.Inject(b.m, cfg, rewrite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, s := range rep.Saved {
		keys = append(keys, s.Key)
	}
	if got, want := strings.Join(keys, " "), "norm.weight norm.weight_1 norm.weight_2"; got != want {
		t.Errorf("trained whole %s, want %s", got, want)
	}
}
