package train

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
	"github.com/bonnx/bonnx/tensor/npz"
)

var (
	batch, seq = ir.Symbol("batch"), ir.Symbol("seq")
	idsPort    = Port{"input_ids", ir.Tensor(tensor.Int64, batch, seq)}
	maskPort   = Port{"attention_mask", ir.Tensor(tensor.Int64, batch, seq)}
	xPort      = Port{"x", ir.Tensor(tensor.Float32, batch, ir.Fixed(2))}
)

func lm(ports ...Port) Spec { return Spec{Inputs: append([]Port{idsPort}, ports...), Task: CausalLM} }

func write(t testing.TB, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func writeNPZ(t testing.TB, m map[string]*tensor.Tensor) string {
	t.Helper()
	f, err := npz.FromMap(m)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "data.npz")
	if err := f.WriteFile(path); err != nil {
		t.Fatal(err)
	}
	return path
}

// show writes a batch of all samples down: type, shape and elements.
func show(t testing.TB, d Data) string {
	t.Helper()
	all := make([]int, d.Len())
	for i := range all {
		all[i] = i
	}
	b, err := d.Batch(all)
	if err != nil {
		t.Fatal(err)
	}
	var s strings.Builder
	for _, name := range sortedKeys(b.Feeds) {
		v, err := b.Feeds[name].Float64s()
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&s, "%s %v %v\n", name, b.Feeds[name], v)
	}
	fmt.Fprintf(&s, "tokens %d\n", b.Tokens)
	return s.String()
}

func TestNPZ(t *testing.T) {
	type arrays = map[string]*tensor.Tensor
	cases := []struct {
		name string
		spec Spec
		m    arrays
		want string
	}{
		{"windows", lm(), arrays{"input_ids": tensor.FromSlice([]int32{1, 2, 3, 4, 5, 6}, 2, 3)},
			"input_ids int64[2 2] [1 2 4 5]\nlabels int64[2 2] [2 3 5 6]\ntokens 4\n"},
		{"labels given", lm(), arrays{"input_ids": tensor.FromSlice([]uint8{1, 2}, 1, 2), "labels": tensor.FromSlice([]int32{7, -100}, 1, 2)},
			"input_ids int64[1 2] [1 2]\nlabels int64[1 2] [7 -100]\ntokens 2\n"},
		{"mask made", lm(maskPort), arrays{"input_ids": tensor.FromSlice([]int64{1, 2, 3}, 1, 3)},
			"attention_mask int64[1 2] [1 1]\ninput_ids int64[1 2] [1 2]\nlabels int64[1 2] [2 3]\ntokens 2\n"},
		{"mask of windows", lm(maskPort), arrays{"input_ids": tensor.FromSlice([]int64{1, 2, 3, 0}, 1, 4), "attention_mask": tensor.FromSlice([]int64{1, 1, 1, 0}, 1, 4)},
			"attention_mask int64[1 3] [1 1 1]\ninput_ids int64[1 3] [1 2 3]\nlabels int64[1 3] [2 3 -100]\ntokens 3\n"},
		{"mask of inputs", lm(maskPort), arrays{"input_ids": tensor.FromSlice([]int64{1, 2, 3, 0}, 1, 4), "attention_mask": tensor.FromSlice([]bool{true, true, false}, 1, 3)},
			"attention_mask int64[1 3] [1 1 0]\ninput_ids int64[1 3] [1 2 3]\nlabels int64[1 3] [2 3 -100]\ntokens 2\n"},
		{"classes", Spec{Inputs: []Port{xPort}, Task: Classification}, arrays{"x": tensor.FromSlice([]float64{1, 2, 3, 4}, 2, 2), "labels": tensor.FromSlice([]uint8{1, 0}, 2)},
			"labels int64[2] [1 0]\nx float32[2 2] [1 2 3 4]\ntokens 2\n"},
		{"regression", Spec{Inputs: []Port{xPort}, Task: Regression}, arrays{"x": tensor.FromSlice([]uint8{1, 2}, 1, 2), "labels": tensor.FromSlice([]float64{0.5}, 1, 1)},
			"labels float32[1 1] [0.5]\nx float32[1 2] [1 2]\ntokens 1\n"},
		{"custom", Spec{Inputs: []Port{xPort}, Task: Custom}, arrays{"x": tensor.FromSlice([]float32{1, 2}, 1, 2), "labels": tensor.FromSlice([]int64{3}, 1)},
			"x float32[1 2] [1 2]\ntokens 1\n"},
		{"first rows", Spec{Inputs: []Port{xPort}, Task: Custom, MaxRows: 1}, arrays{"x": tensor.FromSlice([]float32{1, 2, 3, 4}, 2, 2)},
			"x float32[1 2] [1 2]\ntokens 1\n"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			d, err := Open(writeNPZ(t, c.m), c.spec)
			if err != nil {
				t.Fatal(err)
			}
			if got := show(t, d); got != c.want {
				t.Errorf("got\n%swant\n%s", got, c.want)
			}
		})
	}
}

func TestNPZErrors(t *testing.T) {
	type arrays = map[string]*tensor.Tensor
	ids := tensor.FromSlice([]int64{1, 2, 3, 4}, 2, 2)
	x := tensor.FromSlice([]float32{1, 2, 3, 4}, 2, 2)
	class := Spec{Inputs: []Port{xPort}, Task: Classification}
	cases := []struct {
		name string
		spec Spec
		m    arrays
		want []string // parts of the message
	}{
		{"no arrays", lm(), arrays{}, []string{"holds no arrays", "input_ids int64[batch seq]"}},
		{"missing", lm(), arrays{"tokens": ids}, []string{`no array for input "input_ids"`, "the arrays are tokens", "takes input_ids"}},
		{"wrong column", lm(), arrays{"input_ids": ids, "extra": ids}, []string{`array "extra" is no input`, "input_ids"}},
		{"no labels", class, arrays{"x": x}, []string{`no array "labels"`, "classification"}},
		{"float classes", class, arrays{"x": x, "labels": tensor.FromSlice([]float32{1, 0}, 2)}, []string{`"labels"`, "float32"}},
		{"counts", class, arrays{"x": x, "labels": tensor.FromSlice([]int64{1}, 1)}, []string{`"labels" has 1 samples, "x" has 2`}},
		{"rank", class, arrays{"x": x.Reshape(2, 2, 1), "labels": tensor.FromSlice([]int64{1, 0}, 2)}, []string{`"x" is [2 2 1]`, "float32[batch 2]"}},
		{"extent", class, arrays{"x": x.Reshape(1, 4), "labels": tensor.FromSlice([]int64{1}, 1)}, []string{`"x" is [1 4]`, "float32[batch 2]"}},
		{"symbol", lm(Port{"type", ir.Tensor(tensor.Int64, batch, seq)}), arrays{"input_ids": ids, "labels": ids, "type": tensor.New(tensor.Int64, 2, 5)}, []string{"input_ids", "seq", "type", "5"}},
		{"scalar", class, arrays{"x": tensor.Scalar(float32(1)), "labels": tensor.FromSlice([]int64{1}, 1)}, []string{`"x" has rank 0`}},
		{"no samples", class, arrays{"x": tensor.New(tensor.Float32, 0, 2), "labels": tensor.New(tensor.Int64, 0)}, []string{"no samples"}},
		{"nothing wide", class, arrays{"x": tensor.New(tensor.Float32, 1<<40, 0), "labels": tensor.New(tensor.Int64, 1)}, []string{"holds nothing"}},
		{"floats for ids", lm(), arrays{"input_ids": x}, []string{`"input_ids"`, "float32", "int64"}},
		{"strings", class, arrays{"x": tensor.FromStrings([]string{"a", "b"}, 1, 2), "labels": tensor.FromSlice([]int64{1}, 1)}, []string{`"x"`, "string"}},
		{"too large", Spec{Inputs: []Port{{"ids", ir.Tensor(tensor.Uint8, batch, seq)}}, Task: Custom}, arrays{"ids": tensor.FromSlice([]int64{1, 256}, 1, 2)}, []string{`"ids"`, "256", "uint8"}},
		{"short windows", lm(), arrays{"input_ids": tensor.FromSlice([]int64{1, 2}, 2, 1)}, []string{"windows of at least 2"}},
		{"label shape", lm(), arrays{"input_ids": ids, "labels": tensor.FromSlice([]int64{1, 2}, 2)}, []string{"labels are [2]", "[2 2]"}},
		{"longer than seq-len", Spec{Inputs: []Port{idsPort}, Task: CausalLM, SeqLen: 2}, arrays{"input_ids": tensor.New(tensor.Int64, 1, 4)}, []string{"3 positions", "seq-len 2"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			path := writeNPZ(t, c.m)
			_, err := OpenNPZ(path, c.spec)
			wantError(t, err, append(c.want, path)...)
		})
	}
}

func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("got no error, want one with %q", parts)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("got error %q, want it to have %q", err, p)
		}
	}
}

func TestBatchSelection(t *testing.T) {
	d, err := FromTensors(map[string]*tensor.Tensor{"x": tensor.FromSlice([]float32{1, 2, 3, 4, 5, 6}, 3, 2)}, Spec{Inputs: []Port{xPort}, Task: Custom})
	if err != nil {
		t.Fatal(err)
	}
	b, err := d.Batch([]int{2, 0, 2})
	if err != nil {
		t.Fatal(err)
	}
	want := []float32{5, 6, 1, 2, 5, 6}
	if got := tensor.Data[float32](b.Feeds["x"]); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for _, bad := range [][]int{{3}, {-1}, nil} {
		if _, err := d.Batch(bad); err == nil {
			t.Errorf("samples %v: got no error", bad)
		}
	}
}

func TestText(t *testing.T) {
	bytesSpec := func(s Spec) Spec { s.Tokenizer = "bytes"; return s }
	short := func(n int, s Spec) Spec { s.SeqLen = n; return s }
	task := func(k Task, s Spec) Spec { s.Task = k; return s }
	fixed := Port{"input_ids", ir.Tensor(tensor.Int32, batch, ir.Fixed(4))}
	cases := []struct {
		name, file, content string
		spec                Spec
		want                string
		notes               int
	}{
		{"windows of ids", "a.txt", "1 2\n3\t4 5 6", short(2, lm()),
			"input_ids int64[3 2] [1 2 3 4 5 0]\nlabels int64[3 2] [2 3 4 5 6 -100]\ntokens 5\n", 0},
		{"windows of bytes", "a.txt", "abc", short(2, bytesSpec(lm(maskPort))),
			"attention_mask int64[1 2] [1 1]\ninput_ids int64[1 2] [97 98]\nlabels int64[1 2] [98 99]\ntokens 2\n", 0},
		{"custom windows", "a.txt", "1 2 3", short(2, task(Custom, lm())),
			"input_ids int64[2 2] [1 2 3 0]\ntokens 3\n", 0},
		{"first windows", "a.txt", "1 2 3 4", Spec{Inputs: []Port{idsPort}, Task: CausalLM, SeqLen: 1, MaxRows: 2},
			"input_ids int64[2 1] [1 2]\nlabels int64[2 1] [2 3]\ntokens 2\n", 1},
		{"shifted lines", "a.jsonl", "{\"input_ids\":[1,2,3]}\n\n{\"input_ids\": [ 4 , 5 ]}\r\n", lm(maskPort),
			"attention_mask int64[2 2] [1 1 1 0]\ninput_ids int64[2 2] [1 2 4 0]\nlabels int64[2 2] [2 3 5 -100]\ntokens 3\n", 0},
		{"labelled lines", "a.jsonl", `{"labels":[-100,9],"input_ids":[1,2]}`, lm(),
			"input_ids int64[1 2] [1 2]\nlabels int64[1 2] [-100 9]\ntokens 2\n", 0},
		{"mixed lines", "a.jsonl", "\ufeff{\"labels\":[8],\"input_ids\":[1]}\n{\"text\":\"\u00e9\"}", bytesSpec(lm()),
			"input_ids int64[2 1] [1 195]\nlabels int64[2 1] [8 169]\ntokens 2\n", 0},
		{"cut", "a.jsonl", `{"input_ids":[1,2,3,4]}`, short(2, lm()),
			"input_ids int64[1 2] [1 2]\nlabels int64[1 2] [2 3]\ntokens 2\n", 1},
		{"class", "a.jsonl", `{"text":"hi","label":2}`, bytesSpec(task(Classification, lm())),
			"input_ids int64[1 2] [104 105]\nlabels int64[1] [2]\ntokens 2\n", 0},
		{"value", "a.jsonl", "{\"input_ids\":[1],\"label\":-0.5}\n{\"input_ids\":[2],\"label\":3}", task(Regression, lm()),
			"input_ids int64[2 1] [1 2]\nlabels float32[2] [-0.5 3]\ntokens 2\n", 0},
		{"values", "a.jsonl", "{\"input_ids\":[1],\"label\":[1, 2]}\n{\"input_ids\":[2],\"label\":[3,4]}", task(Regression, lm()),
			"input_ids int64[2 1] [1 2]\nlabels float32[2 2] [1 2 3 4]\ntokens 2\n", 0},
		{"declared extent", "a.jsonl", `{"input_ids":[1,2,3]}`, task(CausalLM, Spec{Inputs: []Port{fixed}}),
			"input_ids int32[1 4] [1 2 0 0]\nlabels int64[1 4] [2 3 -100 -100]\ntokens 2\n", 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			d, err := Open(write(t, c.file, c.content), c.spec)
			if err != nil {
				t.Fatal(err)
			}
			if got := show(t, d); got != c.want {
				t.Errorf("got\n%swant\n%s", got, c.want)
			}
			if got := Notes(d); len(got) != c.notes {
				t.Errorf("got notes %q, want %d", got, c.notes)
			}
		})
	}
}

func TestTextErrors(t *testing.T) {
	class := lm()
	class.Task = Classification
	value := lm()
	value.Task = Regression
	text := lm()
	text.Tokenizer = "bytes"
	other := lm(xPort)
	cases := []struct {
		name, file, content string
		spec                Spec
		want                []string
	}{
		{"extension", "a.csv", "", lm(), []string{".jsonl .npz .txt"}},
		{"no id", "a.txt", "1 2\n3 x4", lm(), []string{"a.txt:2:3:", `"x4" is no token id`}},
		{"large id", "a.txt", "99999999999999999999", lm(), []string{"a.txt:1:1:", "outside"}},
		{"one id", "a.txt", "1", lm(), []string{"at least 2"}},
		{"empty", "a.txt", "", lm(), []string{"0 tokens"}},
		{"txt of classes", "a.txt", "1 2", class, []string{"no labels", "classification"}},
		{"other input", "a.txt", "1 2", other, []string{`input "x"`, ".npz"}},
		{"no token input", "a.jsonl", "", Spec{Inputs: []Port{xPort}, Task: CausalLM}, []string{"no input input_ids", "x float32"}},
		{"no samples", "a.jsonl", "\n \n", lm(), []string{"no samples"}},
		{"syntax", "a.jsonl", "{\"input_ids\":[1,2]}\n{\"input_ids\":[1,,2]}", lm(), []string{"a.jsonl:2:17:"}},
		{"no end", "a.jsonl", `{"input_ids":[1,2]`, lm(), []string{"a.jsonl:1:18:", "unexpected end"}},
		{"array", "a.jsonl", `[1,2]`, lm(), []string{"a.jsonl:1:1:", "no object"}},
		{"two objects", "a.jsonl", `{"input_ids":[1,2]} {}`, lm(), []string{"more than one"}},
		{"unknown field", "a.jsonl", `{"inputs":[1,2]}`, lm(), []string{"a.jsonl:1:", `"inputs"`, "input_ids, labels"}},
		{"text without tokenizer", "a.jsonl", `{"text":"a"}`, lm(), []string{"needs a tokenizer"}},
		{"twice", "a.jsonl", `{"input_ids":[1,2],"input_ids":[1,2]}`, lm(), []string{"twice"}},
		{"no ids", "a.jsonl", `{}`, lm(), []string{`no "input_ids"`}},
		{"both", "a.jsonl", `{"text":"ab","input_ids":[1]}`, text, []string{"both"}},
		{"null id", "a.jsonl", `{"input_ids":[1, null]}`, lm(), []string{"a.jsonl:1:18:", `"null" is no integer`}},
		{"fraction", "a.jsonl", `{"input_ids":[1,2.0]}`, lm(), []string{`"2.0" is no integer`}},
		{"nested", "a.jsonl", `{"input_ids":[[1],2]}`, lm(), []string{"no integer"}},
		{"deep", "a.jsonl", `{"input_ids":` + strings.Repeat("[", 20000), lm(), []string{"a.jsonl:1:"}},
		{"int64", "a.jsonl", `{"input_ids":[1,9223372036854775808]}`, lm(), []string{"outside"}},
		{"negative", "a.jsonl", `{"input_ids":[1,-100]}`, lm(), []string{"-100", "outside"}},
		{"bad label", "a.jsonl", `{"input_ids":[1],"labels":[-7]}`, lm(), []string{"-7", "labels"}},
		{"label count", "a.jsonl", `{"input_ids":[1,2],"labels":[1]}`, lm(), []string{"1 labels for 2 tokens"}},
		{"one token", "a.jsonl", `{"input_ids":[1]}`, lm(), []string{"at least 2"}},
		{"no label", "a.jsonl", `{"input_ids":[1]}`, class, []string{`no "label"`}},
		{"class fraction", "a.jsonl", `{"input_ids":[1],"label":0.5}`, class, []string{"a.jsonl:1:26:", `"0.5"`}},
		{"huge value", "a.jsonl", `{"input_ids":[1],"label":1e39}`, value, []string{"float32"}},
		{"NaN", "a.jsonl", `{"input_ids":[1],"label":NaN}`, value, []string{"a.jsonl:1:26:"}},
		{"ragged values", "a.jsonl", "{\"input_ids\":[1],\"label\":1}\n{\"input_ids\":[1],\"label\":[1]}", value, []string{"a.jsonl:2:"}},
		{"not UTF-8", "a.jsonl", "{\"text\":\"\xff\"}", text, []string{"UTF-8"}},
		{"text is number", "a.jsonl", `{"text":1}`, text, []string{"no string"}},
		{"long line", "a.jsonl", strings.Repeat(" ", maxLine+1<<17), lm(), []string{"a.jsonl:1:", "longer"}},
		{"tokenizer", "a.txt", "a", Spec{Inputs: []Port{idsPort}, Task: CausalLM, Tokenizer: "bpe"}, []string{`"bpe"`, "bytes"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := Open(write(t, c.file, c.content), c.spec)
			wantError(t, err, c.want...)
		})
	}
}

func TestOpenNoFile(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a.npz", "a.txt", "a.jsonl"} {
		if _, err := Open(filepath.Join(dir, name), lm()); err == nil {
			t.Errorf("%s: got no error for a missing file", name)
		}
		path := filepath.Join(dir, "dir."+name)
		if err := os.Mkdir(path, 0o755); err != nil {
			t.Fatal(err)
		}
		_, err := Open(path, lm())
		wantError(t, err, path, "regular")
	}
}

// Every token but the first is predicted exactly once, whatever the lengths.
func TestWindowsPredictOnce(t *testing.T) {
	for n := 2; n < 20; n++ {
		text := strings.Repeat("x", n)
		for size := 1; size < 8; size++ {
			spec := lm()
			spec.SeqLen, spec.Tokenizer = size, "bytes"
			d, err := Open(write(t, "a.txt", text), spec)
			if err != nil {
				t.Fatal(err)
			}
			counted := 0
			for k := range d.Len() {
				b, err := d.Batch([]int{k})
				if err != nil {
					t.Fatal(err)
				}
				counted += b.Tokens
			}
			if counted != n-1 {
				t.Errorf("%d tokens in windows of %d: got %d predictions, want %d", n, size, counted, n-1)
			}
		}
	}
}

func TestSharedWindows(t *testing.T) {
	raw, err := os.ReadFile(testutil.Shared(t, "models/stories260k/tinyshakespeare_first60k_tok512.i32"))
	if err != nil {
		t.Fatal(err)
	}
	ids := make([]int32, len(raw)/4)
	if err := binary.Read(bytes.NewReader(raw), binary.LittleEndian, ids); err != nil {
		t.Fatal(err)
	}
	n := len(ids) / 129
	d, err := OpenNPZ(writeNPZ(t, map[string]*tensor.Tensor{"input_ids": tensor.FromSlice(ids[:n*129], n, 129)}), lm())
	if err != nil {
		t.Fatal(err)
	}
	if got, want := d.Len(), 285; got != want {
		t.Fatalf("got %d windows, want %d", got, want)
	}
	b, err := d.Batch([]int{284, 3})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := b.Tokens, 256; got != want {
		t.Errorf("got %d tokens, want %d", got, want)
	}
	in, labels := tensor.Data[int64](b.Feeds["input_ids"]), tensor.Data[int64](b.Feeds["labels"])
	for i, k := range []int{284, 3} {
		for j := range 128 {
			if in[i*128+j] != int64(ids[k*129+j]) || labels[i*128+j] != int64(ids[k*129+j+1]) {
				t.Fatalf("window %d position %d: got %d -> %d, want %d -> %d", k, j, in[i*128+j], labels[i*128+j], ids[k*129+j], ids[k*129+j+1])
			}
		}
	}
	if _, eval, err := Split(d, 0.2); err != nil || eval.Len() != 57 {
		t.Errorf("got %v samples for evaluation (%v), want 57", eval, err)
	}
}

func FuzzJSONL(f *testing.F) {
	f.Add([]byte("{\"input_ids\":[1,2]}\n{\"text\":\"a\",\"label\":1}"), uint8(0))
	f.Add([]byte(`{"input_ids":[1,2],"labels":[-100,3]}`), uint8(1))
	f.Add([]byte(`{"input_ids":[1],"label":[1e5,2]}`), uint8(2))
	f.Add([]byte(`{"text":"\ud800"}`), uint8(3))
	f.Fuzz(func(t *testing.T, b []byte, task uint8) {
		spec := lm(maskPort)
		spec.Task = Tasks()[int(task)%len(Tasks())]
		spec.Tokenizer, spec.SeqLen = "bytes", int(task)/4
		d, err := readJSONL(bytes.NewReader(b), "fuzz.jsonl", spec)
		if err != nil {
			return
		}
		checkData(t, d)
	})
}

// checkData takes every sample of what was accepted.
func checkData(t *testing.T, d Data) {
	t.Helper()
	for k := range min(d.Len(), 100) {
		b, err := d.Batch([]int{k, 0})
		if err != nil {
			t.Fatalf("sample %d of accepted data: %v", k, err)
		}
		for name, x := range b.Feeds {
			if x.Rank() == 0 || x.Shape()[0] != 2 {
				t.Fatalf("sample %d: %s is %v, want 2 samples", k, name, x.Shape())
			}
		}
	}
}

func FuzzNPZData(f *testing.F) {
	seed, err := npz.FromMap(map[string]*tensor.Tensor{
		"input_ids": tensor.FromSlice([]int32{1, 2, 3, 4}, 2, 2), "labels": tensor.FromSlice([]int16{1, 2, 3, 4}, 2, 2),
	})
	if err != nil {
		f.Fatal(err)
	}
	var buf bytes.Buffer
	if err := seed.Write(&buf); err != nil {
		f.Fatal(err)
	}
	f.Add(buf.Bytes(), uint8(0))
	f.Fuzz(func(t *testing.T, b []byte, task uint8) {
		file, err := npz.Read(bytes.NewReader(b), int64(len(b)), npz.Options{MaxBytes: 1 << 20, MaxEntries: 16})
		if err != nil {
			return
		}
		spec := lm(maskPort)
		spec.Task = Tasks()[int(task)%len(Tasks())]
		if d, err := FromTensors(file.Map(), spec); err == nil {
			checkData(t, d)
		}
	})
}
