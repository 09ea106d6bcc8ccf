package train

import (
	"context"
	"strings"
	"testing"

	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

// ending is classifier with what end makes of its logits (n,4) for output.
func ending(end func(b *ir.Builder, logits *ir.Value) *ir.Value) *ir.Model {
	m := classifier(0, "")
	g := m.Graph
	b := ir.NewBuilder(g, ir.NewNames(m))
	logits := g.Outputs[0]
	logits.Name = "raw"
	y := end(b, logits)
	y.Name, y.Type = "y", &ir.TensorType{Elem: elemOf(y)}
	g.Outputs = ir.In(y)
	return m
}

// elemOf is what a wrapped-up output holds.
func elemOf(y *ir.Value) tensor.DType {
	switch n := y.Producer(); {
	case n.Is("Cast"):
		return tensor.DType(n.Attr("to").Value.(ir.Int))
	case n.Is("ArgMax"):
		return tensor.Int64
	case n.Is("Squeeze"), n.Is("Unsqueeze"), n.Is("Identity"), n.Is("Flatten"):
		return elemOf(n.Input(0))
	}
	return tensor.Float32
}

// TestTappedLosses: however the output was wrapped up, the loss and what is
// counted right are those of the logits themselves.
func TestTappedLosses(t *testing.T) {
	axis := func(n int64) *ir.Attr { return ir.A("axis", ir.Int(n)) }
	to := func(d int64) *ir.Attr { return ir.A("to", ir.Int(d)) }
	type end = func(b *ir.Builder, x *ir.Value) *ir.Value
	ends := map[string]end{
		"Softmax": func(b *ir.Builder, x *ir.Value) *ir.Value { return b.Op("Softmax", ir.In(x)) },
		"LogSoftmax, Identity": func(b *ir.Builder, x *ir.Value) *ir.Value {
			return b.Op("Identity", ir.In(b.Op("LogSoftmax", ir.In(x))))
		},
		"Sigmoid, Cast": func(b *ir.Builder, x *ir.Value) *ir.Value {
			return b.Op("Cast", ir.In(b.Op("Sigmoid", ir.In(x))), to(11))
		},
		"ArgMax, Cast": func(b *ir.Builder, x *ir.Value) *ir.Value {
			return b.Op("Cast", ir.In(b.Op("ArgMax", ir.In(x), axis(1), ir.A("keepdims", ir.Int(0)))), to(6))
		},
		"ArgMax, Squeeze": func(b *ir.Builder, x *ir.Value) *ir.Value {
			return b.Op("Squeeze", ir.In(b.Op("ArgMax", ir.In(x), axis(-1)), b.Ints(1)))
		},
		"Softmax, Unsqueeze, Cast": func(b *ir.Builder, x *ir.Value) *ir.Value {
			return b.Op("Cast", ir.In(b.Op("Unsqueeze", ir.In(b.Op("Softmax", ir.In(x)), b.Ints(1)))), to(10))
		},
		"Softmax over channels, Flatten": func(b *ir.Builder, x *ir.Value) *ir.Value {
			wide := b.Op("Unsqueeze", ir.In(x, b.Ints(2, 3))) // (n,4,1,1)
			return b.Op("Flatten", ir.In(b.Op("Softmax", ir.In(wide), axis(1))), axis(1))
		},
		"Softmax over channels, Cast, Squeeze": func(b *ir.Builder, x *ir.Value) *ir.Value {
			wide := b.Op("Unsqueeze", ir.In(x, b.Ints(2)))
			return b.Op("Squeeze", ir.In(b.Op("Cast", ir.In(b.Op("Softmax", ir.In(wide), axis(-2))), to(11)), b.Ints(2)))
		},
		"classes first": func(b *ir.Builder, x *ir.Value) *ir.Value {
			return b.Op("Softmax", ir.In(b.Op("Transpose", ir.In(x), ir.A("perm", ir.Ints{1, 0}))), axis(0))
		},
	}
	data := points(t, 9)
	want := evalOf(t, classifier(0, ""), data)
	for name, end := range ends {
		got := evalOf(t, ending(end), data)
		if got.LossSum != want.LossSum || got.Count != want.Count || *got.Correct != *want.Correct {
			t.Errorf("%s: got loss %v over %v, %v right, want %v, %v, %v", name, got.LossSum, got.Count, *got.Correct, want.LossSum, want.Count, *want.Correct)
		}
	}
	for name, end := range map[string]end{
		"Tanh behind":         func(b *ir.Builder, x *ir.Value) *ir.Value { return b.Op("Tanh", ir.In(b.Op("Softmax", ir.In(x)))) },
		"a Softmax elsewhere": func(b *ir.Builder, x *ir.Value) *ir.Value { return b.Op("Add", ir.In(x, b.Op("Softmax", ir.In(x)))) },
	} {
		g, err := newGraph(ending(end), ops.Standard(), nil, LossConfig{Task: Classification})
		if err != nil || strings.Contains(g.loss.from, "tapped") {
			t.Errorf("%s: the loss is made from %q (%v), want the output", name, g.loss.from, err)
		}
	}
}

func evalOf(t *testing.T, m *ir.Model, data Data) Result {
	t.Helper()
	r, err := Evaluate(context.Background(), m, ops.Standard(), Samples(data), Config{BatchSize: 4, LossConfig: LossConfig{Task: Classification}})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestPixelClasses: an ArgMax over channels leaves labels for every position.
func TestPixelClasses(t *testing.T) {
	g, err := newGraph(ending(func(b *ir.Builder, x *ir.Value) *ir.Value {
		x = b.Op("Concat", ir.In(b.Op("Unsqueeze", ir.In(x, b.Ints(2))), b.Op("Unsqueeze", ir.In(x, b.Ints(2)))), ir.A("axis", ir.Int(2))) // (n,4,2)
		return b.Op("ArgMax", ir.In(x), ir.A("axis", ir.Int(1)), ir.A("keepdims", ir.Int(0)))
	}), ops.Standard(), nil, LossConfig{Task: Classification})
	if err != nil {
		t.Fatal(err)
	}
	if f := g.b.Fact(g.loss.labels); f.Rank() != 2 || f.Dim(1) != ir.Fixed(2) {
		t.Errorf("labels are %v, want (n,2)", f)
	}
	if f := g.b.Fact(g.loss.logits); f.Rank() != 3 || f.Dim(2) != ir.Fixed(4) {
		t.Errorf("logits are %v, want (n,2,4)", f)
	}
}

// TestOneOfManyOutputs: the logits are the output that is named, else the one
// called logits, else the only float output that is no cache.
func TestOneOfManyOutputs(t *testing.T) {
	with := func(names ...string) *ir.Model {
		m := classifier(0, "")
		b := ir.NewBuilder(m.Graph, ir.NewNames(m))
		y := m.Graph.Outputs[0]
		y.Name = names[0]
		for _, n := range names[1:] {
			v := b.Op("Tanh", ir.In(y))
			v.Name, v.Type = n, y.Type
			m.Graph.Outputs = append(m.Graph.Outputs, v)
		}
		return m
	}
	for _, c := range []struct {
		outputs []string
		named   string
		want    string // "" for an error
	}{
		{[]string{"y"}, "", "y"}, {[]string{"y", "present.0.key", "present.0.value"}, "", "y"}, {[]string{"y", "hidden"}, "", ""},
		{[]string{"hidden", "logits", "present.0.key"}, "", "logits"}, {[]string{"y", "logits"}, "y", "y"}, {[]string{"present.0.key"}, "present.0.key", "present.0.key"},
	} {
		g, err := newGraph(with(c.outputs...), ops.Standard(), nil, LossConfig{Task: Classification, Logits: c.named})
		if c.want == "" {
			wantError(t, err, "--logits", `"hidden"`)
			continue
		}
		if err != nil || !strings.Contains(g.loss.from, `"`+c.want+`"`) {
			t.Errorf("%v: the loss is made from %v (%v), want %q", c.outputs, g, err, c.want)
		}
	}
}

// detectable is a model with an output for every case below.
func detectable(outs map[string]ir.Type, ins map[string]ir.Type) *ir.Model {
	m := &ir.Model{IRVersion: 8, Graph: ir.NewGraph("g")}
	m.SetOpset("", 18)
	b := ir.NewBuilder(m.Graph, ir.NewNames(m))
	for name, t := range ins {
		m.Graph.AddInput(name, t)
	}
	for name, t := range outs {
		in := m.Graph.AddInput("in_"+name, t)
		y := b.Op("Identity", ir.In(in))
		y.Name, y.Type = name, t
		m.Graph.Outputs = append(m.Graph.Outputs, y)
	}
	return m
}

func TestDetectTask(t *testing.T) {
	n, f32, i64 := ir.Symbol("n"), tensor.Float32, tensor.Int64
	type types = map[string]ir.Type
	type facts = map[string]ops.Fact
	ids := ir.Tensor(i64, n, ir.Symbol("t"))
	lmOut := types{"logits": ir.Tensor(f32, n, ir.Symbol("t"), ir.Fixed(9))}
	rows := func(d tensor.DType, more ...int64) ops.Fact {
		dims := []ir.Dim{ir.Symbol("samples")}
		for _, k := range more {
			dims = append(dims, ir.Fixed(k))
		}
		return ops.Of(d, dims...)
	}
	for _, c := range []struct {
		name     string
		outs     types
		ins      types
		held     facts
		loss     LossConfig
		want     Task
		contains []string // of the reason or the error
	}{
		{"windows", lmOut, types{"input_ids": ids}, facts{"input_ids": rows(i64, 33)}, LossConfig{}, CausalLM, []string{"no labels", "input_ids"}},
		{"token labels", lmOut, types{"input_ids": ids}, facts{"input_ids": rows(i64, 33), "labels": rows(i64, 33)}, LossConfig{}, CausalLM, []string{"labels"}},
		{"text", lmOut, types{"input_ids": ids}, facts{"input_ids": manyTokens}, LossConfig{}, CausalLM, nil},
		{"class numbers", types{"y": ir.Tensor(f32, n, ir.Fixed(3))}, nil, facts{"labels": rows(i64)}, LossConfig{}, Classification, []string{"int64[samples]"}},
		{"class numbers of text", types{"logits": ir.Tensor(f32, n, ir.Fixed(3))}, types{"input_ids": ids}, facts{"input_ids": rows(i64, 5), "labels": rows(i64)}, LossConfig{}, Classification, nil},
		{"int32 labels", types{"y": ir.Tensor(f32, n, ir.Fixed(3))}, nil, facts{"labels": rows(tensor.Int32)}, LossConfig{}, Classification, nil},
		{"numbers", types{"y": ir.Tensor(f32, n, ir.Fixed(3))}, nil, facts{"labels": rows(f32, 3)}, LossConfig{}, Regression, []string{"float32[samples 3]"}},
		{"numbers without an axis", types{"y": ir.Tensor(f32, n, ir.Fixed(1))}, nil, facts{"labels": rows(tensor.Float64)}, LossConfig{}, Regression, nil},
		{"its own loss", types{"loss": ir.Tensor(f32)}, types{"x": ids}, facts{"x": rows(i64, 3)}, LossConfig{}, Custom, []string{`"loss"`}},
		{"its own loss and labels", types{"loss": ir.Tensor(f32), "logits": ir.Tensor(f32, n, ir.Fixed(3))}, types{"labels": ir.Tensor(i64, n)}, facts{"labels": rows(i64)}, LossConfig{}, Custom, nil},
		{"a loss that is named", types{"score": ir.Tensor(f32)}, nil, facts{}, LossConfig{LossOutput: "score"}, Custom, nil},
		{"the output that is named", types{"a": ir.Tensor(f32, n, ir.Fixed(3)), "b": ir.Tensor(f32, n, ir.Fixed(2), ir.Fixed(3))}, nil, facts{"labels": rows(i64, 2)}, LossConfig{Logits: "b"}, Classification, nil},

		{"numbers of another shape", types{"y": ir.Tensor(f32, n, ir.Fixed(3))}, nil, facts{"labels": rows(f32, 2)}, LossConfig{}, "", []string{`"labels" float32[samples 2]`, `"y" float32[n 3]`, "--task"}},
		{"labels of the wrong rank", types{"y": ir.Tensor(f32, n, ir.Fixed(3))}, nil, facts{"labels": rows(i64, 1)}, LossConfig{}, "", []string{"int64[samples 1]"}},
		{"no labels", types{"y": ir.Tensor(f32, n, ir.Fixed(3))}, types{"x": ids}, facts{"x": rows(f32, 2)}, LossConfig{}, "", []string{`"x" float32`}},
		{"one class", types{"y": ir.Tensor(f32, n, ir.Fixed(1))}, nil, facts{"labels": rows(i64)}, LossConfig{}, "", []string{`"y" float32[n 1]`}},
		{"two outputs", types{"a": ir.Tensor(f32, n, ir.Fixed(3)), "b": ir.Tensor(f32, n, ir.Fixed(3))}, nil, facts{"labels": rows(i64)}, LossConfig{}, "", []string{`"a"`, `"b"`, "--logits"}},
		{"words", types{"y": ir.Tensor(f32, n, ir.Fixed(3))}, nil, facts{"labels": rows(tensor.String)}, LossConfig{}, "", []string{"string"}},
		{"nothing", types{"y": ir.Tensor(f32, n, ir.Fixed(3))}, nil, nil, LossConfig{}, "", []string{"the data has nothing"}},
	} {
		task, why, err := DetectTask(detectable(c.outs, c.ins), ops.Standard(), c.loss, c.held)
		if task != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%s: got task %q because %q (%v), want %q", c.name, task, why, err, c.want)
			continue
		}
		for _, part := range c.contains {
			if s := why; !strings.Contains(s, part) && (err == nil || !strings.Contains(err.Error(), part)) {
				t.Errorf("%s: %q (%v) does not say %q", c.name, s, err, part)
			}
		}
	}
}

// TestDetectInFiles: reading asks for the task, with what is in the file.
func TestDetectInFiles(t *testing.T) {
	for _, c := range []struct{ name, file, content, want string }{
		{"text", "a.txt", "1 2 3", "input_ids int64[? ?]"},
		{"ids", "a.jsonl", `{"input_ids":[1,2,3]}`, "input_ids int64[? ?]"},
		{"ids and labels", "a.jsonl", `{"input_ids":[1,2],"labels":[1,2]}`, "input_ids int64[? ?], labels int64[? ?]"},
		{"classes", "a.jsonl", "{\"input_ids\":[1,2],\"label\":3}\n{\"input_ids\":[1],\"label\":0}", "input_ids int64[? ?], labels int64[samples]"},
		{"numbers", "a.jsonl", "{\"input_ids\":[1,2],\"label\":3}\n{\"input_ids\":[1],\"label\":0.5}\n{\"input_ids\":[1],\"label\":1}", "input_ids int64[? ?], labels float32[samples]"},
		{"vectors", "a.jsonl", `{"input_ids":[1,2],"label":[3,4]}`, "input_ids int64[? ?], labels float32[samples 2]"},
	} {
		asked := ""
		spec := lm()
		spec.Task = ""
		spec.Detect = func(held map[string]ops.Fact) (Task, error) {
			for _, name := range []string{"input_ids", LabelsInput} {
				if f, ok := held[name]; ok {
					asked += ", " + name + " " + f.String()
				}
			}
			return Custom, nil
		}
		_, err := Open(write(t, c.file, c.content), spec)
		if asked = strings.TrimPrefix(asked, ", "); asked != c.want {
			t.Errorf("%s: asked about %q (%v), want %q", c.name, asked, err, c.want)
		}
	}
	path, asked := writeNPZ(t, map[string]*tensor.Tensor{"x": testutil.Random(1, 3, 2), LabelsInput: testutil.Random(2, 3)}), ops.Fact{}
	d, err := Open(path, Spec{Inputs: []Port{xPort}, Detect: func(held map[string]ops.Fact) (Task, error) {
		asked = held[LabelsInput]
		return Regression, nil
	}})
	if err != nil || d.Len() != 3 || asked.String() != "float32[samples]" {
		t.Errorf("npz: asked about labels %v, got %v (%v)", asked, d, err)
	}
	_, err = Open(path, Spec{Inputs: []Port{xPort}})
	wantError(t, err, "task")
}

// TestRunDetects: a run without a task finds it, and one resumed keeps it.
func TestRunDetects(t *testing.T) {
	c := pointConfig()
	want, _, err := runPoints(context.Background(), Samples(points(t, 10)), nil, c)
	if err != nil {
		t.Fatal(err)
	}
	c.Task, c.Checkpoint = "", t.TempDir()
	got, r, err := runPoints(context.Background(), Samples(points(t, 10)), nil, c)
	if err != nil {
		t.Fatal(err)
	}
	sameRun(t, "detected", got, want)
	if got.Picked.Task != Classification || len(r.notes) == 0 || !strings.Contains(r.notes[0], "task classification") {
		t.Errorf("picked %+v, said %q", got.Picked, r.notes)
	}
	if ck, _, err := Latest(c.Checkpoint); err != nil || ck.Config.Task != "" || ck.Picked.Task != Classification {
		t.Errorf("the checkpoint has %+v (%v)", ck, err)
	}
	c.LabelSmoothing, c.Checkpoint = 0.1, ""
	m := classifier(0, "")
	d, err := FromTensors(map[string]*tensor.Tensor{"x": testutil.Random(5, 4, 3), LabelsInput: testutil.Random(6, 4, 4)}, Spec{Task: Regression, Inputs: []Port{{"x", m.Graph.Inputs[0].Type}}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = Run(context.Background(), m, ops.Standard(), Samples(d), nil, c, Identity{})
	wantError(t, err, "label smoothing", "regression")
}
