package bonnx

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/internal/testutil/fixture"
	"github.com/bonnx/bonnx/tensor"
	"github.com/bonnx/bonnx/train"
)

var everyLinearLayer = Modules{Regex: "all-linear"}

// tiny is a small Llama, opened.
func tiny(t testing.TB) *Model { return openFixture(t, "tiny") }

func openFixture(t testing.TB, kind string) *Model {
	t.Helper()
	path := filepath.Join(t.TempDir(), kind+".onnx")
	if err := fixture.Write(kind, path); err != nil {
		t.Fatal(err)
	}
	m, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	return m
}

// random is a configuration whose blocks are not zero.
func random(t testing.TB, method string, rank int, seed uint64) BoneConfig {
	t.Helper()
	c := BoneConfig{R: rank, TargetModules: everyLinearLayer, RandomInit: true, Seed: seed}
	if err := c.SetMethod(method); err != nil {
		t.Fatal(err)
	}
	if method == "miss-mini" {
		c.MiniR = 4
	}
	return c
}

// several is a model with adapters bone, mini, bat, other (of bone's structure)
// and half (of fewer layers), none active but the first.
func several(t testing.TB) *BoneModel {
	t.Helper()
	m, err := New(tiny(t), "bone", random(t, "bone", 4, 1))
	if err != nil {
		t.Fatal(err)
	}
	half := random(t, "lora", 2, 5)
	half.TargetModules = Modules{List: []string{"q_proj", "down_proj"}}
	for name, c := range map[string]BoneConfig{"mini": random(t, "miss-mini", 8, 2), "bat": random(t, "bat", 4, 3), "other": random(t, "bone", 4, 4), "half": half} {
		if _, err := m.AddAdapter(name, c); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

func tokens(n int) map[string]*tensor.Tensor {
	return map[string]*tensor.Tensor{"input_ids": testutil.RandomInts(7, 0, 16, 2, n)}
}

// logits are what the model gives with its active adapters, as a saved file
// would.
func logits(t testing.TB, m *BoneModel) *tensor.Tensor {
	t.Helper()
	x, err := m.Model(SaveOptions{})
	if err != nil {
		t.Fatal(err)
	}
	out, err := x.Run(context.Background(), tokens(6), 1)
	if err != nil {
		t.Fatal(err)
	}
	return out["logits"]
}

// lists are choices of adapters, in order.
var lists = [][]string{{}, {"bone"}, {"other"}, {"bat"}, {"half"}, {"bone", "other"}, {"other", "bone"}, {"bat", "bone"},
	{"bone", "bat"}, {"mini", "half", "bat", "bone"}, {"half", "other"}}

// TestAdaptersInASession switches a session between lists of adapters; each
// gives what a model of those adapters alone gives, whatever ran before, and
// what was made ready is not compiled again.
func TestAdaptersInASession(t *testing.T) {
	m := several(t)
	want := map[string]*tensor.Tensor{}
	for _, names := range lists {
		if err := m.SetAdapter(names...); err != nil {
			t.Fatal(err)
		}
		want[fmt.Sprint(names)] = logits(t, m)
	}
	// Order matters to bat alone.
	apartBy := func(a, b string) float64 {
		d, _ := apart(floats(t, want[a]), floats(t, want[b]))
		return d
	}
	if d := apartBy("[bone other]", "[other bone]"); d > 1e-5 {
		t.Errorf("bone adapters in another order differ by %g", d)
	}
	if d := apartBy("[bat bone]", "[bone bat]"); !(d > 1e-4) {
		t.Errorf("bat before and after bone differ by no more than %g", d)
	}
	if err := m.SetAdapter("bone"); err != nil {
		t.Fatal(err)
	}
	p, err := m.Compile(1)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for _, names := range lists {
		if err := p.Prepare(names...); err != nil {
			t.Fatal(err)
		}
	}
	built := len(p.layouts.byKey)
	// The base, four kinds of adapters alone, five of lists: bone and other are
	// of one structure, and so are their two orders.
	if built != 10 {
		t.Errorf("%d structures were compiled, want 10", built)
	}
	a, b := p.Session(), p.Session()
	for i := range 3 * len(lists) {
		for s, names := range map[*Session][]string{a: lists[i*7%len(lists)], b: lists[i*4%len(lists)]} {
			out, err := s.Run(context.Background(), tokens(6), WithAdapter(names...))
			if err != nil {
				t.Fatal(err)
			}
			testutil.Close(t, fmt.Sprint(names), out["logits"], want[fmt.Sprint(names)], 1e-4, 1e-4)
		}
	}
	out, err := a.Run(context.Background(), tokens(6))
	if err != nil {
		t.Fatal(err)
	}
	testutil.Close(t, "no option", out["logits"], want["[bone]"], 1e-4, 1e-4)
	if n := len(p.layouts.byKey); n != built {
		t.Errorf("switching compiled %d structures", n-built)
	}
	for _, bad := range []string{"nobody", ""} {
		var unknown *UnknownAdapterError
		if _, err := a.Run(context.Background(), tokens(6), WithAdapter(bad)); !errors.As(err, &unknown) || unknown.Name != bad || len(unknown.Have) != 5 {
			t.Errorf("adapter %q: got error %v", bad, err)
		}
	}
}

func floats(t testing.TB, x *tensor.Tensor) []float64 {
	t.Helper()
	f, err := x.Float64s()
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestHammer runs many sessions of one program at once, each with adapters of
// its own: every one gets, bit for bit, what it gets alone.
func TestHammer(t *testing.T) {
	m := several(t)
	p, err := m.Compile(2)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	want := map[string]*tensor.Tensor{}
	for _, names := range lists {
		out, err := p.Session().Run(context.Background(), tokens(6), WithAdapter(names...))
		if err != nil {
			t.Fatal(err)
		}
		want[fmt.Sprint(names)] = out["logits"]
	}
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			s := p.Session()
			for i := range 20 {
				names := lists[(g*5+i*3)%len(lists)]
				out, err := s.Run(context.Background(), tokens(6), WithAdapter(names...))
				if err != nil {
					t.Error(err)
					return
				}
				if !out["logits"].Equal(want[fmt.Sprint(names)]) {
					t.Errorf("%v differ from a session alone", names)
				}
			}
		})
	}
	wg.Wait()
}

// TestProgramStays: what is done to the model after Compile changes no program.
func TestProgramStays(t *testing.T) {
	m := several(t)
	p, err := m.Compile(1)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	run := func(p *Program, names ...string) *tensor.Tensor {
		t.Helper()
		out, err := p.Session().Run(context.Background(), tokens(6), WithAdapter(names...))
		if err != nil {
			t.Fatal(err)
		}
		return out["logits"]
	}
	before := run(p, "bone")
	if err := m.SetAdapter("bone"); err != nil {
		t.Fatal(err)
	}
	fit(t, m)
	if err := m.DeleteAdapter("other"); err != nil {
		t.Fatal(err)
	}
	if !run(p, "bone").Equal(before) || run(p, "other") == nil {
		t.Error("training or deleting changed a program")
	}
	q, err := m.Compile(1)
	if err != nil {
		t.Fatal(err)
	}
	if run(q, "bone").Equal(before) {
		t.Error("a program compiled after training is as before")
	}
	q.Close()
	q.Close()
	if !run(p, "bone").Equal(before) {
		t.Error("closing a program changed another")
	}
}

// fit trains what is active for some steps.
func fit(t testing.TB, m *BoneModel) *Summary {
	t.Helper()
	c := TrainConfig{Steps: 3, LR: 0.01, BatchSize: 4}
	c.Task = train.CausalLM
	spec := train.Spec{Task: train.CausalLM, Inputs: []train.Port{{Name: "input_ids", Type: m.base.graph.Graph.Inputs[0].Type}}}
	d, err := train.FromTensors(map[string]*tensor.Tensor{"input_ids": testutil.RandomInts(3, 0, 16, 12, 9)}, spec)
	if err != nil {
		t.Fatal(err)
	}
	s, err := m.TrainOn(context.Background(), &Dataset{samples: d}, nil, c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// blocksOf are an adapter's values.
func blocksOf(t testing.TB, m *BoneModel, name string) map[string]*tensor.Tensor {
	t.Helper()
	out := map[string]*tensor.Tensor{}
	for _, n := range m.find(name).set.Named() {
		out[n.Key] = n.Tensor.Clone()
	}
	return out
}

func sameBlocks(a, b map[string]*tensor.Tensor) bool {
	return maps.EqualFunc(a, b, func(x, y *tensor.Tensor) bool { return x.Equal(y) })
}

// TestRequiresGrad: of the active adapters those train that SetRequiresGrad
// names; the others, and those not active, stay bit for bit.
func TestRequiresGrad(t *testing.T) {
	m := several(t)
	if err := m.SetAdapter("bat", "bone", "half"); err != nil {
		t.Fatal(err)
	}
	if err := m.SetRequiresGrad(false, "bone"); err != nil {
		t.Fatal(err)
	}
	before := map[string]map[string]*tensor.Tensor{}
	for _, n := range m.Adapters() {
		before[n] = blocksOf(t, m, n)
	}
	s := fit(t, m)
	trainable, _ := m.NumParameters()
	if s.Parameters != trainable || trainable != m.find("bat").params()+m.find("half").params() {
		t.Errorf("%d parameters trained, NumParameters says %d", s.Parameters, trainable)
	}
	for _, n := range m.Adapters() {
		if moved, want := !sameBlocks(before[n], blocksOf(t, m, n)), n == "bat" || n == "half"; moved != want {
			t.Errorf("%s trained: %v, want %v", n, moved, want)
		}
	}
	if err := m.SetRequiresGrad(false); err != nil {
		t.Fatal(err)
	}
	c := TrainConfig{Steps: 1}
	if _, err := m.Train(context.Background(), func(func(Batch, error) bool) {}, c); !errors.Is(err, errNothingTrains) {
		t.Errorf("nothing to train: %v", err)
	}
}

// weightsOf are all initializers of a graph.
func weightsOf(t testing.TB, m *Model) map[string]*tensor.Tensor {
	t.Helper()
	out := map[string]*tensor.Tensor{}
	for _, v := range m.graph.Graph.Initializers {
		x, err := v.Data.Tensor()
		if err != nil {
			t.Fatal(err)
		}
		out[v.Name] = x.Clone()
	}
	return out
}

// TestMerge merges and unmerges chosen adapters in any order: outputs agree,
// and what is unmerged is bit for bit what it was.
func TestMerge(t *testing.T) {
	m := several(t)
	base, pristine := weightsOf(t, m.base), logits(t, mustSet(t, m))
	if err := m.SetAdapter("bat", "bone", "half"); err != nil {
		t.Fatal(err)
	}
	want := logits(t, m)
	if err := m.Merge("bat"); err != nil {
		t.Fatal(err)
	}
	testutil.Close(t, "the first merged", logits(t, m), want, 1e-4, 1e-4)
	if err := m.Merge(); err != nil {
		t.Fatal(err)
	}
	testutil.Close(t, "all merged", logits(t, m), want, 1e-4, 1e-4)
	x, err := m.Model(SaveOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(x.graph.Graph.Initializers); n != len(base) {
		t.Errorf("a merged model has %d initializers, the base %d", n, len(base))
	}
	if err := m.DeleteAdapter("bone"); err == nil {
		t.Error("a merged adapter was deleted")
	}
	if l := m.LayerStatus()[0]; len(l.Merged) != 3 {
		t.Errorf("status says that %v are merged", l.Merged)
	}
	p, err := m.Compile(1)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	out, err := p.Session().Run(context.Background(), tokens(6))
	if err != nil {
		t.Fatal(err)
	}
	testutil.Close(t, "a program of a merged model", out["logits"], want, 1e-4, 1e-4)
	if _, err := p.Session().Run(context.Background(), tokens(6), WithAdapter("bone")); err == nil {
		t.Error("a merged adapter was applied again")
	}
	plain, err := m.MergeAndUnload()
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range [][]string{{"bone"}, nil} {
		if err := m.Unmerge(step...); err != nil {
			t.Fatal(err)
		}
		testutil.Close(t, fmt.Sprintf("unmerged %v", step), logits(t, m), want, 1e-4, 1e-4)
	}
	if err := m.Unmerge("bone"); err == nil {
		t.Error("what is not merged was unmerged")
	}
	if got := logits(t, mustSet(t, m)); !got.Equal(pristine) {
		t.Error("after unmerging the base computes something else")
	}
	after := weightsOf(t, mustUnload(t, m))
	if !sameBlocks(base, after) {
		t.Error("weights changed")
	}
	again, err := m.MergeAndUnload("bat", "bone", "half")
	if err != nil {
		t.Fatal(err)
	}
	if !sameBlocks(weightsOf(t, plain), weightsOf(t, again)) {
		t.Error("MergeAndUnload of merged adapters and of the same named ones differ")
	}
}

// mustSet makes the adapters the active ones, none where none is named.
func mustSet(t testing.TB, m *BoneModel, names ...string) *BoneModel {
	t.Helper()
	if err := m.SetAdapter(names...); err != nil {
		t.Fatal(err)
	}
	return m
}

func mustUnload(t testing.TB, m *BoneModel) *Model {
	t.Helper()
	x, err := m.Unload()
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// TestLifeCycle goes through the calls that change which adapters there are.
func TestLifeCycle(t *testing.T) {
	m := several(t)
	pristine := logits(t, mustSet(t, m))
	if err := m.SetAdapter("bone", "mini"); err != nil {
		t.Fatal(err)
	}
	m.Disable()
	if got := logits(t, m); !got.Equal(pristine) || len(m.ActiveAdapters()) != 0 {
		t.Error("a disabled model is not its base")
	}
	if n, _ := m.NumParameters(); n != 0 {
		t.Errorf("%d parameters of a disabled model train", n)
	}
	m.Enable()
	if !slices.Equal(m.ActiveAdapters(), []string{"bone", "mini"}) {
		t.Errorf("active are %v", m.ActiveAdapters())
	}
	if _, err := m.AddAdapter("bone", random(t, "bone", 2, 1)); err == nil {
		t.Error("an adapter of the same name was added")
	}
	for _, err := range []error{m.SetAdapter("nobody"), m.DeleteAdapter("nobody"), m.SetRequiresGrad(true, "nobody"), m.Merge("nobody"), m.SaveAdapter(t.TempDir(), "nobody", SaveOptions{})} {
		var unknown *UnknownAdapterError
		if !errors.As(err, &unknown) {
			t.Errorf("got error %v", err)
		}
	}
	if err := m.SetAdapter("bone", "bone"); err == nil {
		t.Error("one adapter twice")
	}
	if err := mustSet(t, m, "mini").DeleteAdapter("mini"); err != nil {
		t.Fatal(err)
	}
	if got := m.ActiveAdapters(); len(got) != 1 || got[0] != m.Adapters()[0] {
		t.Errorf("after deleting the active adapter, active are %v of %v", got, m.Adapters())
	}
	if s := m.LayerStatus(); len(s) != 14 || len(s[0].Available) != 4 || !s[0].Enabled || s[0].RequiresGrad["bat"] || !s[0].RequiresGrad["bone"] {
		t.Errorf("%d layers, the first %+v", len(s), s[0])
	}
	empty, err := Adapted(tiny(t))
	if err != nil || len(empty.Adapters()) != 0 {
		t.Fatalf("%v, %v", empty, err)
	}
	for _, err := range []error{second(empty.Unload()), second(empty.MergeAndUnload()), second(empty.Adapter(""))} {
		if !IsInvalidModel(err) {
			t.Errorf("a model without adapters: %v", err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// TestSavedAndAdapted writes a model with adapters in both forms, and opens it
// as one: the same adapters in the same order, the same outputs.
func TestSavedAndAdapted(t *testing.T) {
	m := mustSet(t, several(t), "bat", "half", "bone")
	want := logits(t, m)
	for _, form := range []string{"", "weight"} {
		path := filepath.Join(t.TempDir(), "a.onnx")
		if err := m.Save(context.Background(), path, SaveOptions{Form: form}); err != nil {
			t.Fatal(err)
		}
		f, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		back, err := Adapted(f)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(back.ActiveAdapters(), []string{"bat", "half", "bone"}) {
			t.Errorf("adapters are %v", back.ActiveAdapters())
		}
		testutil.Close(t, "saved, form "+form, logits(t, back), want, 1e-5, 1e-5)
		for _, n := range back.Adapters() {
			if !sameBlocks(blocksOf(t, back, n), blocksOf(t, m, n)) {
				t.Errorf("%s changed", n)
			}
			a, err := back.Config(n)
			b, err2 := m.Config(n)
			if err != nil || err2 != nil || a.Method() != b.Method() || a.R != b.R {
				t.Errorf("%s is %+v, was %+v", n, a, b)
			}
		}
		if base := weightsOf(t, mustUnload(t, back)); !sameBlocks(base, weightsOf(t, m.base)) {
			t.Error("the base changed")
		}
	}
	if err := m.Save(context.Background(), filepath.Join(t.TempDir(), "b.onnx"), SaveOptions{Form: "sideways"}); err == nil {
		t.Error("a form that does not exist")
	}
}

// TestSaveLoadAdapter takes adapters out and puts them on again, under another
// name, on the base and on a base that is another.
func TestSaveLoadAdapter(t *testing.T) {
	m := several(t)
	for _, name := range m.Adapters() {
		for _, file := range []string{"folder", "file.npz"} {
			path := filepath.Join(t.TempDir(), file)
			if err := m.SaveAdapter(path, name, SaveOptions{}); err != nil {
				t.Fatal(err)
			}
			back, err := Adapted(m.base)
			if err != nil {
				t.Fatal(err)
			}
			if err := back.LoadAdapter(path, "again"); err != nil {
				t.Fatal(err)
			}
			if !sameBlocks(blocksOf(t, back, "again"), blocksOf(t, m, name)) {
				t.Errorf("%s, %s: blocks differ", name, file)
			}
			if !logits(t, mustSet(t, back, "again")).Equal(logits(t, mustSet(t, m, name))) {
				t.Errorf("%s, %s: outputs differ", name, file)
			}
			other, err := Adapted(openFixture(t, "tiny-other"))
			if err != nil {
				t.Fatal(err)
			}
			var mismatch *BaseMismatchError
			if err := other.LoadAdapter(path, ""); !errors.As(err, &mismatch) || !IsInvalidModel(err) {
				t.Errorf("another base: %v", err)
			}
		}
	}
}

// TestCancelled: a run that is cancelled returns ctx.Err(), keeps what was
// learned, and its checkpoint goes on to the bits of one that was not.
func TestCancelled(t *testing.T) {
	start := func() *BoneModel {
		m, err := New(tiny(t), "", random(t, "bone", 4, 1))
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	batches := func(yield func(Batch, error) bool) {
		for i := range 6 {
			x := testutil.RandomInts(uint64(i), 0, 16, 2, 9)
			ids, labels := tensor.New(tensor.Int64, 2, 8), tensor.New(tensor.Int64, 2, 8)
			for r := range 2 {
				copy(tensor.Data[int64](ids)[r*8:], tensor.Data[int64](x)[r*9:r*9+8])
				copy(tensor.Data[int64](labels)[r*8:(r+1)*8], tensor.Data[int64](x)[r*9+1:])
			}
			if !yield(Batch{Feeds: map[string]*tensor.Tensor{"input_ids": ids, "labels": labels}}, nil) {
				return
			}
		}
	}
	c := TrainConfig{Epochs: 2, LR: 0.01, Checkpoint: filepath.Join(t.TempDir(), "ck")}
	c.Task = train.CausalLM
	whole := start()
	w := c
	w.Checkpoint = ""
	if s, err := whole.Train(context.Background(), batches, w); err != nil || s.Steps != 12 {
		t.Fatalf("%+v, %v", s, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	c.Watcher = after{5, cancel}
	part := start()
	before := blocksOf(t, part, "default")
	if _, err := part.Train(ctx, batches, c); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	if sameBlocks(before, blocksOf(t, part, "default")) {
		t.Error("nothing was kept")
	}
	c.Watcher, c.Resume = nil, true
	again := start()
	if s, err := again.Train(context.Background(), batches, c); err != nil || s.Steps != 12 {
		t.Fatalf("%+v, %v", s, err)
	}
	if !sameBlocks(blocksOf(t, whole, "default"), blocksOf(t, again, "default")) {
		t.Error("a resumed run ends elsewhere")
	}
}

// after cancels a run after some steps.
type after struct {
	steps  int
	cancel func()
}

func (after) Begin(string, int, int) {}
func (after) Eval(int, float64)      {}
func (after) Note(string)            {}
func (a after) Step(s StepInfo) {
	if s.Step == a.steps {
		a.cancel()
	}
}

// TestDropoutOnAnOldModel: a model of an operator set whose Dropout cannot be
// told to train is lifted for training alone.
func TestDropoutOnAnOldModel(t *testing.T) {
	m, err := New(openShared(t, "structure/optimum_tiny_classifier_op11.onnx").Model, "", BoneConfig{PeftType: "MISS", R: 2, MissDropout: 0.5, TargetModules: everyLinearLayer})
	if err != nil {
		t.Fatal(err)
	}
	ids, labels := testutil.RandomInts(1, 0, 1000, 4, 9), testutil.RandomInts(2, 0, 2, 4)
	batch := Batch{Feeds: map[string]*tensor.Tensor{"input_ids": ids, "labels": labels}}
	run := func(seed uint64) float64 {
		t.Helper()
		c := TrainConfig{Steps: 3, LR: 0.05, Seed: seed}
		c.Task = train.Classification
		own, err := New(m.base, "", m.find("default").config)
		if err != nil {
			t.Fatal(err)
		}
		s, err := own.Train(context.Background(), func(yield func(Batch, error) bool) { yield(batch, nil) }, c)
		if err != nil {
			t.Fatal(err)
		}
		return s.LossLast
	}
	if a, b, c := run(1), run(1), run(2); a != b || a == c {
		t.Errorf("losses of seeds 1, 1 and 2 are %g, %g, %g", a, b, c)
	}
	if x, err := m.Model(SaveOptions{}); err != nil || x.graph.Opset("") != 11 {
		t.Errorf("the model to save is of another operator set (%v)", err)
	}
}
