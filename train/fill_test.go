package train

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/runtime"
	"github.com/bonnx/bonnx/tensor"
)

// cachedDecoder is one layer of attention as exporters leave it with a cache:
// inputs input_ids, attention_mask, position_ids, token_type_ids, past keys and
// values and use_cache_branch; outputs logits and the cache for what follows,
// to which /present/ nodes do work that no loss needs. Width 8, 2 heads, 11 ids.
func cachedDecoder(t *testing.T) *ir.Model {
	t.Helper()
	m := &ir.Model{IRVersion: 8, Graph: ir.NewGraph("decoder")}
	m.SetOpset("", 17)
	g := m.Graph
	b := ir.NewBuilder(g, ir.NewNames(m))
	n, s := ir.Symbol("batch"), ir.Symbol("seq")
	ints := func(name string, d ...ir.Dim) *ir.Value { return g.AddInput(name, ir.Tensor(tensor.Int64, d...)) }
	past := func(name string) *ir.Value {
		return g.AddInput(name, ir.Tensor(tensor.Float32, n, ir.Fixed(2), ir.Symbol("past"), ir.Fixed(4)))
	}
	ids, mask := ints("input_ids", n, s), ints("attention_mask", n, ir.Symbol("past + seq"))
	pos, kind := ints("position_ids", n, s), ints("token_type_ids", n, s)
	pastK, pastV := past("past_key_values.0.key"), past("past_key_values.0.value")
	flag := g.AddInput("use_cache_branch", ir.Tensor(tensor.Bool, ir.Fixed(1)))
	seed := uint64(0)
	weight := func(name string, shape ...int) *ir.Value {
		seed++
		return g.AddInitializer(name, ir.Dense(testutil.Random(seed, shape...)))
	}
	look := func(name string, rows int, at *ir.Value) *ir.Value {
		return b.Op("Gather", ir.In(weight(name, rows, 8), at))
	}
	add := func(x, y *ir.Value) *ir.Value { return b.Op("Add", ir.In(x, y)) }
	x := add(add(look("tokens", 11, ids), look("positions", 16, pos)), look("types", 2, kind))
	branch := b.Op("Cast", ir.In(flag), ir.A("to", ir.Int(1)))
	x = add(x, branch) // a model that was told to use its cache is another
	heads := func(name string) *ir.Value {
		y := b.Op("Reshape", ir.In(b.Op("MatMul", ir.In(x, weight(name, 8, 8))), b.Ints(0, 0, 2, 4)))
		return b.Op("Transpose", ir.In(y), ir.A("perm", ir.Ints{0, 2, 1, 3}))
	}
	q := heads("q")
	k := b.Op("Concat", ir.In(pastK, heads("k")), ir.A("axis", ir.Int(2)))
	v := b.Op("Concat", ir.In(pastV, heads("v")), ir.A("axis", ir.Int(2)))
	off := b.Op("Mul", ir.In(b.Op("Sub", ir.In(b.Const("one", tensor.Scalar[float32](1)), b.Op("Cast", ir.In(mask), ir.A("to", ir.Int(1))))), b.Const("far", tensor.Scalar[float32](-1e4))))
	scores := add(b.Op("MatMul", ir.In(q, b.Op("Transpose", ir.In(k), ir.A("perm", ir.Ints{0, 1, 3, 2})))), b.Op("Unsqueeze", ir.In(off, b.Ints(1, 2))))
	y := b.Op("MatMul", ir.In(b.Op("Softmax", ir.In(scores), ir.A("axis", ir.Int(-1))), v))
	y = b.Op("Reshape", ir.In(b.Op("Transpose", ir.In(y), ir.A("perm", ir.Ints{0, 2, 1, 3})), b.Ints(0, 0, 8)))
	logits := b.Op("MatMul", ir.In(y, weight("head", 8, 11)))
	logits.Name, logits.Type = "logits", ir.Tensor(tensor.Float32, n, s, ir.Fixed(11))
	g.Outputs = ir.In(logits)
	b.Prefix = "/present/"
	unused := g.AddInput("cache_scale", ir.Tensor(tensor.Float32)) // no loss depends on it
	for name, cache := range map[string]*ir.Value{"present.0.key": k, "present.0.value": v} {
		out := b.Op("Mul", ir.In(b.Op("MatMul", ir.In(cache, weight("w."+name, 4, 4))), unused))
		out.Name, out.Type = name, ir.Tensor(tensor.Float32, n, ir.Fixed(2), ir.Dim{}, ir.Fixed(4))
		g.Outputs = append(g.Outputs, out)
	}
	if err := b.Err(); err != nil {
		t.Fatal(err)
	}
	return m
}

// decoderConfig trains the decoder's projections for two epochs.
func decoderConfig() Config {
	c := Config{Params: []string{"q", "v", "head"}, LR: 1e-2, BatchSize: 2, Epochs: 2, Threads: 1}
	c.Task = CausalLM
	return c
}

// padded are windows of 5 ids, with padding at the end of some or, for
// generation, at the beginning.
func padded() map[string]*tensor.Tensor {
	mask := []int64{1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1, 0, 1, 1, 1, 1}
	return map[string]*tensor.Tensor{"input_ids": testutil.RandomInts(9, 0, 11, 4, 5), "attention_mask": tensor.FromSlice(mask, 4, 5)}
}

func decoderData(t *testing.T, m *ir.Model, arrays map[string]*tensor.Tensor, feeds map[string]FeedRule) Data {
	t.Helper()
	spec := Spec{Task: CausalLM, Feeds: feeds}
	for _, v := range m.Graph.Inputs {
		if v.Name != "cache_scale" {
			spec.Inputs = append(spec.Inputs, Port{v.Name, v.Type})
		}
	}
	d, err := FromTensors(arrays, spec)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestInputsMadeByRule: a run on ids (and a mask) alone is, to the bit, one on
// data that spells every input out, in training and in evaluation.
func TestInputsMadeByRule(t *testing.T) {
	m := cachedDecoder(t)
	short := padded()
	full := maps.Clone(short)
	// Positions of the four inputs of a window; the fifth id is a label alone.
	full["position_ids"] = tensor.FromSlice([]int64{0, 1, 2, 3, 0, 1, 2, 0, 0, 0, 0, 1, 0, 0, 1, 2}, 4, 4)
	full["token_type_ids"] = tensor.New(tensor.Int64, 4, 4)
	full["input_ids"] = columns(short["input_ids"], 0, 4)
	full["attention_mask"] = columns(short["attention_mask"], 0, 4)
	labels := columns(short["input_ids"], 1, 5)
	if err := ignoreMasked(tensor.Data[int64](labels), short["attention_mask"], 5); err != nil {
		t.Fatal(err)
	}
	full[LabelsInput] = labels
	spelled := Stream(func(yield func(Batch, error) bool) {
		for i := 0; i < 4; i += 2 {
			b := Batch{Feeds: map[string]*tensor.Tensor{"use_cache_branch": tensor.New(tensor.Bool, 1),
				"past_key_values.0.key": tensor.New(tensor.Float32, 2, 2, 0, 4), "past_key_values.0.value": tensor.New(tensor.Float32, 2, 2, 0, 4)}}
			for name, a := range full {
				b.Feeds[name] = gather(a, []int{i, i + 1})
			}
			if !yield(b, nil) {
				return
			}
		}
	})
	c := decoderConfig()
	c.NoShuffle = true
	want, err := Run(context.Background(), m, ops.Standard(), spelled, spelled, c, Identity{})
	if err != nil {
		t.Fatal(err)
	}
	r := &recorder{}
	data := Samples(decoderData(t, m, short, nil))
	c.Watcher = r
	got, err := Run(context.Background(), m, ops.Standard(), data, data, c, Identity{})
	if err != nil {
		t.Fatal(err)
	}
	sameRun(t, "made by rule", got, want)
	if *got.EvalLossAfter != *want.EvalLossAfter || *got.EvalLossBefore != *want.EvalLossBefore {
		t.Errorf("evaluation %v -> %v, want %v -> %v", *got.EvalLossBefore, *got.EvalLossAfter, *want.EvalLossBefore, *want.EvalLossAfter)
	}
	notes := strings.Join(r.notes, "\n")
	wantNotes := `fed by rule: use_cache_branch (false)
fed by rule: past_key_values.0.key and 1 more (empty, float32[2 2 0 4])
fed by rule: token_type_ids (zeros, int64[2 4])
fed by rule: position_ids (positions counted by the mask, int64[2 4])`
	if notes != wantNotes {
		t.Errorf("the run said\n%s\nwant\n%s", notes, wantNotes)
	}
	if n := r.steps[0].Tokens; n != 4+3 {
		t.Errorf("step 1 counts %d tokens, want the 7 that are no padding", n)
	}
}

// TestPastIsNotComputed: what only the cache for the next position needs is
// neither run nor asked for, in training and in evaluation.
func TestPastIsNotComputed(t *testing.T) {
	m := cachedDecoder(t)
	c := decoderConfig().WithDefaults()
	e, _, err := newEngine(m, ops.Standard(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if !e.unused["cache_scale"] || e.unused["attention_mask"] || e.unused["past_key_values.0.key"] {
		t.Errorf("not needed are %v", e.unused)
	}
	l := &loop{c: c, data: Samples(decoderData(t, m, padded(), nil)), w: watchers{}}
	if err := l.fillIn(e.inputs, e.unused); err != nil {
		t.Fatal(err)
	}
	b, err := l.data.largest(2)
	if err != nil {
		t.Fatal(err)
	}
	if b.Feeds["cache_scale"] != nil {
		t.Error("an input that nothing needs was made")
	}
	present := func(n *ir.Node) bool {
		return strings.HasPrefix(n.Name, "/present/") || strings.HasPrefix(n.Output(0).Name, "present")
	}
	count := func(s *runtime.Session, feeds map[string]*tensor.Tensor) (ran, of int) {
		if _, err := s.RunObserved(context.Background(), feeds, func(n *ir.Node, _ []*tensor.Tensor) {
			if ran++; present(n) {
				of++
			}
		}); err != nil {
			t.Fatal(err)
		}
		return ran, of
	}
	feeds := maps.Clone(b.Feeds)
	maps.Copy(feeds, hyper(1e-3, 1))
	for name, u := range map[string]*unit{"step": e.whole, "evaluation": e.eval} {
		f := feeds
		if name == "evaluation" {
			f = b.Feeds
		}
		if ran, of := count(u.session, f); ran == 0 || of != 0 {
			t.Errorf("%s: %d of %d nodes serve the cache", name, of, ran)
		}
	}
	// The test sees them where they are computed.
	p, err := runtime.Compile(m, runtime.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	s, err := p.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	f := maps.Clone(b.Feeds)
	delete(f, LabelsInput)
	f["cache_scale"] = tensor.Scalar[float32](2)
	if _, of := count(s, f); of == 0 {
		t.Error("the whole model runs no node for the cache either")
	}
}

// TestFeedRules: what --feed says wins over the standing rule and the data.
func TestFeedRules(t *testing.T) {
	m := cachedDecoder(t)
	file := writeNPZ(t, map[string]*tensor.Tensor{"types": tensor.FromSlice([]int32{1, 0, 1, 0}, 1, 4), "past": testutil.Random(3, 1, 2, 3, 4)})
	feeds := map[string]FeedRule{}
	for _, s := range []string{"token_type_ids=" + file + ":types", "past_key_values.0.key=" + file + ":past", "past_key_values.0.value=" + file + ":past", "attention_mask=ones"} {
		name, rule, err := ParseFeed(s)
		if err != nil {
			t.Fatal(err)
		}
		feeds[name] = rule
	}
	c := decoderConfig()
	c.Feeds = feeds
	e, _, err := newEngine(m, ops.Standard(), c.WithDefaults())
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	r := &recorder{}
	l := &loop{c: c, data: Samples(decoderData(t, m, padded(), feeds)), w: r}
	if err := l.fillIn(e.inputs, e.unused); err != nil {
		t.Fatal(err)
	}
	b, err := l.data.largest(2)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"token_type_ids": "int64[2 4] [1 0 1 0 1 0 1 0]", "attention_mask": "int64[2 7] [1 1 1 1 1 1 1 1 1 1 1 1 1 1]",
		"position_ids": "int64[2 4] [3 4 5 6 3 4 5 6]", "use_cache_branch": "bool[1] [0]",
	} {
		v, err := b.Feeds[name].Int64s()
		if got := fmt.Sprint(b.Feeds[name], v); err != nil || got != want {
			t.Errorf("%s is %s (%v), want %s", name, got, err, want)
		}
	}
	if k := b.Feeds["past_key_values.0.key"]; !k.Shape().Equal(tensor.Shape{2, 2, 3, 4}) {
		t.Errorf("the past is %v", k)
	}
	if notes := strings.Join(r.notes, "\n"); !strings.Contains(notes, "attention_mask (ones, int64[2 7], instead of the data's)") || !strings.Contains(notes, ":past") {
		t.Errorf("the run says %s", notes)
	}
	if _, err := e.Step(context.Background(), []Batch{b}, 1e-3, 1); err != nil {
		t.Errorf("the model does not take it: %v", err)
	}
}

func TestFeedErrors(t *testing.T) {
	m := cachedDecoder(t)
	file := writeNPZ(t, map[string]*tensor.Tensor{"types": testutil.Random(1, 2, 4)})
	data := Samples(decoderData(t, m, padded(), nil))
	for _, c := range []struct {
		feeds map[string]FeedRule
		want  []string
	}{
		{map[string]FeedRule{"nobody": feedOnes}, []string{`"nobody"`, "input_ids int64[batch seq]"}},
		{map[string]FeedRule{LabelsInput: feedZeros}, []string{`"labels"`}},
		{map[string]FeedRule{"token_type_ids": FeedRule(file + ":nothing")}, []string{`no array "nothing"`, "types"}},
		{map[string]FeedRule{"token_type_ids": FeedRule(strings.Replace(file, "data", "nodata", 1) + ":types")}, []string{"nodata.npz"}},
		{map[string]FeedRule{"token_type_ids": FeedRule(file + ":types")}, []string{`"token_type_ids"`, "float32", "--feed"}},
		{map[string]FeedRule{"token_type_ids": "twos"}, []string{`"token_type_ids"`, `"twos"`, "zeros"}},
		{map[string]FeedRule{"use_cache_branch": feedEmpty}, []string{"use_cache_branch", "no extent that could be 0"}},
	} {
		cfg := decoderConfig()
		cfg.Feeds = c.feeds
		_, err := Run(context.Background(), m, ops.Standard(), data, nil, cfg, Identity{})
		wantError(t, err, c.want...)
	}
	// An input that no rule knows is named, beside what there is.
	m2 := classifier(0, "")
	c := pointConfig()
	_, err := Run(context.Background(), m2, ops.Standard(), Stream(func(yield func(Batch, error) bool) {
		yield(Batch{Feeds: map[string]*tensor.Tensor{LabelsInput: tensor.New(tensor.Int64, 2)}}, nil)
	}), nil, c, Identity{})
	wantError(t, err, `"x"`, "the data has labels", "--feed")
	_, err = FromTensors(map[string]*tensor.Tensor{LabelsInput: tensor.New(tensor.Int64, 2)}, Spec{Task: Classification, Inputs: []Port{xPort}})
	wantError(t, err, `"x"`, "--feed")
	if _, err := FromTensors(map[string]*tensor.Tensor{LabelsInput: tensor.New(tensor.Int64, 2)},
		Spec{Task: Classification, Inputs: []Port{xPort}, Feeds: map[string]FeedRule{"x": feedOnes}}); err != nil {
		t.Errorf("an input with a rule: %v", err)
	}
}

func TestParseFeed(t *testing.T) {
	for _, c := range []struct {
		in   string
		name string
		want FeedRule
	}{
		{"a=ones", "a", feedOnes}, {"a.b=empty", "a.b", feedEmpty}, {"a=arange", "a", feedArange},
		{"a=x.npz:k", "a", "x.npz:k"}, {"a=x.npz", "a", "x.npz:a"},
		{`a=C:\d\x.npz:k:l`, "a", `C:\d\x.npz:k:l`}, {"a=b=c.npz:k", "a", "b=c.npz:k"},
		{"a", "", ""}, {"=ones", "", ""}, {"a=", "", ""}, {"a=twos", "", ""}, {"a=x.npz:", "", ""}, {"a=positions", "", ""}, {"a=file", "", ""},
	} {
		name, got, err := ParseFeed(c.in)
		if name != c.name || got != c.want || (err == nil) != (c.name != "") {
			t.Errorf("%q: got %q %q (%v), want %q %q", c.in, name, got, err, c.name, c.want)
		}
		if err == nil {
			if _, again, err := ParseFeed(name + "=" + string(got)); err != nil || again != got {
				t.Errorf("%q reads back as %+v (%v)", got, again, err)
			}
		}
	}
}

// TestShapesOfRules: extents come from what is declared and what is fed.
func TestShapesOfRules(t *testing.T) {
	f32, i64 := tensor.Float32, tensor.Int64
	dims := func(s ...any) []ir.Dim {
		var d []ir.Dim
		for _, x := range s {
			switch x := x.(type) {
			case int:
				d = append(d, ir.Fixed(int64(x)))
			case string:
				d = append(d, ir.Symbol(x))
			}
		}
		return d
	}
	for _, c := range []struct {
		name string
		p    Port
		want string // type made, or the error
	}{
		{"a past by batch and head", Port{"past_key_values.3.value", ir.Tensor(f32, dims("batch", 2, "past", 4)...)}, "float32[3 2 0 4]"},
		{"keys and values in one", Port{"past_0", ir.Tensor(f32, dims(2, "batch", 2, "past", 4)...)}, "float32[2 3 2 0 4]"},
		{"half precision", Port{"past_key_values.0.key", ir.Tensor(tensor.Float16, dims("b", 2, "p", 4)...)}, "float16[3 2 0 4]"},
		{"the length of a past", Port{"past_sequence_length", ir.Tensor(i64)}, "int64[]"},
		{"a past that is fixed", Port{"past_key_values.0.key", ir.Tensor(f32, dims("batch", 2, 5, 4)...)}, "no extent that could be 0"},
		{"a mask of its own length", Port{"attention_mask", ir.Tensor(i64, dims("batch", "total")...)}, "int64[3 5]"},
		{"a mask that is not declared", Port{"attention_mask", &ir.TensorType{Elem: tensor.Bool}}, "bool[3 5]"},
		{"one row of positions", Port{"position_ids", ir.Tensor(i64, dims(1, "seq")...)}, "int64[1 5]"},
		{"positions in int32", Port{"position_ids", ir.Tensor(tensor.Int32, dims("batch", "seq")...)}, "int32[3 5]"},
		{"no rule", Port{"pixels", ir.Tensor(f32, dims("batch", 3)...)}, `"pixels"`},
		{"more than a machine has", Port{"attention_mask", ir.Tensor(i64, dims("batch", 1<<40)...)}, "more than"},
		{"more than can be counted", Port{"attention_mask", ir.Tensor(i64, dims("batch", 1<<40, 1<<40)...)}, "too large"},
		{"a mask of words", Port{"attention_mask", ir.Tensor(tensor.String, dims("batch", "seq")...)}, "attention_mask"},
	} {
		f := &filler{spec: Spec{Task: Custom, Inputs: []Port{idsPort, c.p}}, note: func(string) {}}
		b, err := f.fill(Batch{Feeds: map[string]*tensor.Tensor{"input_ids": tensor.New(i64, 3, 5)}})
		if err != nil {
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: got error %v, want %q", c.name, err, c.want)
			}
			continue
		}
		if got := b.Feeds[c.p.Name].String(); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
}

// TestUntrainedInputs: initializers that are inputs too, which any session may
// change, stay as they are where they are not trained, and in no checkpoint.
func TestUntrainedInputs(t *testing.T) {
	m := classifier(0, "")
	g := m.Graph
	b := ir.NewBuilder(g, ir.NewNames(m))
	bias := g.AddInitializer("bias", ir.Dense(testutil.Random(8, 4)))
	g.Inputs = append(g.Inputs, bias)
	bias.Type = ir.Tensor(tensor.Float32, ir.Fixed(4))
	y := g.Outputs[0]
	y.Name = "raw"
	z := b.Op("Add", ir.In(y, bias))
	z.Name, z.Type = "y", y.Type
	g.Outputs = ir.In(z)
	c := pointConfig()
	c.Checkpoint = t.TempDir()
	s, err := Run(context.Background(), m, ops.Standard(), Samples(points(t, 8)), nil, c, Identity{})
	if err != nil {
		t.Fatal(err)
	}
	ck, _, err := Latest(c.Checkpoint)
	if err != nil {
		t.Fatal(err)
	}
	if got := sortedKeys(ck.Tensors); !slices.Equal(got, []string{"w", "w.exp_avg", "w.exp_avg_sq"}) || len(s.Trained) != 1 {
		t.Errorf("the checkpoint has %v, trained are %v", got, sortedKeys(s.Trained))
	}
	c.Params, c.Checkpoint = []string{"w", "bias"}, ""
	if s, err = Run(context.Background(), m, ops.Standard(), Samples(points(t, 8)), nil, c, Identity{}); err != nil || len(s.Trained) != 2 {
		t.Errorf("both: trained are %v (%v)", s, err)
	}
}
