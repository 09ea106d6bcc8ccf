package train

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/onnx"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
	"github.com/bonnx/bonnx/tensor/npz"
)

// structure loads a file that another exporter wrote.
func structure(t *testing.T, name string) *ir.Model {
	t.Helper()
	m, err := onnx.Load(filepath.Join(testutil.Shared(t, "models/structure"), name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = onnx.Close(m) })
	return m
}

func fedPorts(m *ir.Model) []Port {
	var ports []Port
	for _, v := range m.Graph.Inputs {
		if v.Data == nil {
			ports = append(ports, Port{v.Name, v.Type})
		}
	}
	return ports
}

// TestRulesForRealFiles: ids alone become all that generation models of other
// exporters take, in the types that they declare.
func TestRulesForRealFiles(t *testing.T) {
	past := func(f string, layers int, typ string) map[string]string {
		m := map[string]string{"input_ids": "int32[3 5]", "attention_mask": "int32[3 5]"}
		for i := range layers {
			m[fmt.Sprintf(f, i)] = typ
		}
		return m
	}
	gpt2 := past("past_%d", 5, "float32[2 3 4 0 8]")
	gpt2["position_ids"] = "int32[3 5]"
	half := past("past_%d", 5, "float16[2 3 4 0 8]")
	half["position_ids"] = "int32[3 5]"
	qwen := past("past_key_values.%d.key", 2, "float16[3 2 0 16]")
	qwen["attention_mask"] = "int64[3 5]"
	for i := range 2 {
		qwen[fmt.Sprintf("past_key_values.%d.value", i)] = "float16[3 2 0 16]"
	}
	for name, want := range map[string]map[string]string{
		"genai_tiny_gpt2_fp32.onnx": gpt2, "genai_tiny_gpt2_fp16.onnx": half, "genai_tiny_qwen_gqa_fp16.onnx": qwen,
		"dummy_transformer.onnx": {"input_ids": "int64[3 5]", "attention_mask": "int64[3 5]", "token_type_ids": "int64[3 5]"},
	} {
		m := structure(t, name)
		f := &filler{spec: Spec{Task: Custom, Inputs: fedPorts(m)}, note: func(string) {}}
		b, err := f.fill(Batch{Feeds: map[string]*tensor.Tensor{"input_ids": tensor.New(tensor.Int64, 3, 5)}})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for input, typ := range want {
			if got := b.Feeds[input]; got == nil || got.String() != typ {
				t.Errorf("%s: %s is %v, want %s", name, input, got, typ)
			}
		}
		if len(b.Feeds) != len(want) {
			t.Errorf("%s: fed are %s", name, nameList(b.Feeds))
		}
	}
	decoder := structure(t, "random_decoder.onnx") // states of an encoder cannot be made up
	f := &filler{spec: Spec{Task: Custom, Inputs: fedPorts(decoder)}, note: func(string) {}}
	_, err := f.fill(Batch{Feeds: map[string]*tensor.Tensor{"input_ids": tensor.New(tensor.Int64, 3, 5)}})
	wantError(t, err, `"encoder_hidden_states"`, "--feed")
}

// TestNothingGiven: a real transformer, a file of samples and the parameters'
// names are enough; what is chosen and made is said, and the run learns.
func TestNothingGiven(t *testing.T) {
	m := structure(t, "dummy_transformer.onnx")
	var text strings.Builder
	for i := range 48 {
		var ids, labels []string
		for k := range 3 + i%5 {
			id := (7*i + 3*k) % 20
			ids, labels = append(ids, fmt.Sprint(id)), append(labels, fmt.Sprint(id%4))
		}
		fmt.Fprintf(&text, "{\"input_ids\":[%s],\"labels\":[%s]}\n", strings.Join(ids, ","), strings.Join(labels, ","))
	}
	said := ""
	d, err := Open(write(t, "d.jsonl", text.String()), Spec{Inputs: fedPorts(m), Detect: func(held map[string]ops.Fact) (Task, error) {
		task, why, err := DetectTask(m, ops.Standard(), LossConfig{}, held)
		said = why
		return task, err
	}})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(said, "labels are int64[? ?]") {
		t.Errorf("the task follows from %q", said)
	}
	var params []string
	for _, v := range m.Graph.Initializers {
		if v.Data.DType() == tensor.Float32 && len(v.Data.Shape()) == 2 {
			params = append(params, v.Name)
		}
	}
	train, eval, err := Split(d, 0.25)
	if err != nil {
		t.Fatal(err)
	}
	r := &recorder{}
	s, err := Run(context.Background(), m, ops.Standard(), Samples(train), Samples(eval), Config{Params: params, Epochs: 4, Watcher: r}, Identity{})
	if err != nil {
		t.Fatal(err)
	}
	if s.Picked.Task != CausalLM || s.Picked.BatchSize != 8 || !(s.Picked.LR > 1e-6 && s.Picked.LR < 1) || s.Steps != 4*5 {
		t.Errorf("picked %+v, %d steps", s.Picked, s.Steps)
	}
	if !s.Improved || !(*s.EvalLossAfter < 0.8**s.EvalLossBefore) {
		t.Errorf("evaluation loss %v -> %v, improved %v", *s.EvalLossBefore, *s.EvalLossAfter, s.Improved)
	}
	if len(r.notes) != 4 || !strings.Contains(r.notes[1], "token_type_ids (zeros") {
		t.Errorf("the run said %q, want task, what is fed, batch size, learning rate", r.notes)
	}
	t.Logf("%s; evaluation loss %.4f -> %.4f", strings.Join(r.notes, "; "), *s.EvalLossBefore, *s.EvalLossAfter)
}

// TestAutoOnStreams: task and learning rate are found on a stream, too.
func TestAutoOnStreams(t *testing.T) {
	data, left := points(t, 10), 0
	c := pointConfig()
	c.Epochs = 2
	want, _, err := runPoints(context.Background(), Samples(data), nil, func() Config { c := c; c.LR = 0; return c }())
	if err != nil {
		t.Fatal(err)
	}
	c.Task, c.LR, c.BatchSize = "", 0, 0
	got, r, err := runPoints(context.Background(), Stream(streamed(data, 4, &left)), Samples(points(t, 3)), c)
	if err != nil {
		t.Fatal(err)
	}
	sameRun(t, "stream", got, want)
	if got.Picked != (Picks{Classification, 8, want.Picked.LR}) || len(r.evals) == 0 {
		t.Errorf("picked %+v, evaluated %v; want the rate %g, and a size for the evaluation data", got.Picked, r.evals, want.Picked.LR)
	}
	if left != 2+2 {
		t.Errorf("%d ranges over the stream ended, want one for the task, one for the rate, two epochs", left)
	}
}

// TestFirstVersionOfCheckpoints, which knew neither picks nor losses, are read.
func TestFirstVersionOfCheckpoints(t *testing.T) {
	data := points(t, 10)
	c := pointConfig()
	c.Epochs, c.Checkpoint, c.Steps = 2, t.TempDir(), 4
	if _, _, err := runPoints(context.Background(), Samples(data), nil, c); err != nil {
		t.Fatal(err)
	}
	asFirstVersion(t, c.Checkpoint, 4)
	c.Resume, c.Steps = true, 6
	got, _, err := runPoints(context.Background(), Samples(data), nil, c)
	if err != nil {
		t.Fatal(err)
	}
	c.Checkpoint, c.Resume = "", false
	want, _, err := runPoints(context.Background(), Samples(data), nil, c)
	if err != nil {
		t.Fatal(err)
	}
	sameRun(t, "resumed", got, want)
}

// asFirstVersion writes a checkpoint again as version 1 had it.
func asFirstVersion(t *testing.T, dir string, step int) {
	t.Helper()
	path := CheckpointPath(dir, step)
	old, err := npz.ReadFile(path, npz.Options{})
	if err != nil {
		t.Fatal(err)
	}
	text, _ := old.Extra(manifestEntry)
	var m struct {
		Version    int                        `json:"bonnx_checkpoint"`
		Checkpoint map[string]json.RawMessage `json:"checkpoint"`
	}
	if err := json.Unmarshal(text, &m); err != nil || m.Version != checkpointVersion {
		t.Fatalf("version %d (%v)", m.Version, err)
	}
	m.Version = 1
	delete(m.Checkpoint, "picked")
	delete(m.Checkpoint, "losses")
	if text, err = json.Marshal(m); err != nil {
		t.Fatal(err)
	}
	f, err := npz.FromMap(old.Map())
	if err == nil {
		err = errors.Join(f.AddExtra(manifestEntry, text), f.WriteFile(path))
	}
	if err != nil {
		t.Fatal(err)
	}
}
