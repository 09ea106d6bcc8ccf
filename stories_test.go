package bonnx_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/bonnx/bonnx"
	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/tensor"
	"github.com/bonnx/bonnx/tensor/npz"
	"github.com/bonnx/bonnx/train"
)

// raw reads a file of little-endian numbers of type T.
func raw[T int64 | int32 | float32](t testing.TB, path string) []T {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	var z T
	s := make([]T, info.Size()/int64(binary.Size(z)))
	if err := binary.Read(f, binary.LittleEndian, s); err != nil {
		t.Fatal(err)
	}
	return s
}

func open(t *testing.T, path string) *bonnx.Model {
	t.Helper()
	m, err := bonnx.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	return m
}

// references are models with logits that PyTorch gave.
var references = []struct{ model, ids, logits string }{
	{"stories260k/stories260K_op14.onnx", "stories260k/stories260K.ref_ids_2x32.i64", "stories260k/stories260K.ref_logits_2x32x512.f32"},
	{"stories260k/stories260K_op17.onnx", "stories260k/stories260K.ref_ids_2x32.i64", "stories260k/stories260K.ref_logits_2x32x512.f32"},
	{"babyllama/babyllama_op17.onnx", "babyllama/babyllama.ref_ids_2x32.i64", "babyllama/babyllama.ref_logits_2x32x105.f32"},
}

func TestReferenceLogits(t *testing.T) {
	dir := testutil.Shared(t, "models")
	for _, r := range references {
		t.Run(filepath.Base(r.model), func(t *testing.T) {
			m := open(t, filepath.Join(dir, r.model))
			ids := tensor.FromSlice(raw[int64](t, filepath.Join(dir, r.ids)), 2, 32)
			outs, err := m.Run(context.Background(), map[string]*tensor.Tensor{m.InputNames()[0]: ids}, 0)
			if err != nil {
				t.Fatal(err)
			}
			got := tensor.Data[float32](outs[m.OutputNames()[0]])
			want := raw[float32](t, filepath.Join(dir, r.logits))
			if len(got) != len(want) {
				t.Fatalf("%d logits, want %d", len(got), len(want))
			}
			worst := 0.0
			for i := range got {
				worst = math.Max(worst, math.Abs(float64(got[i]-want[i])))
			}
			if !(worst <= 1e-4) {
				t.Errorf("logits differ by up to %g", worst)
			}
			t.Logf("logits differ by up to %.2g", worst)
		})
	}
}

// trace is a training run that PyTorch and PEFT did.
type trace struct {
	Method     string    `json:"method"`
	Rank       int       `json:"rank"`
	EvalBefore float64   `json:"eval_before"`
	EvalAfter  float64   `json:"eval_after"`
	TrainLoss  []float64 `json:"train_loss"`
}

// windows cuts the tokens of tinyshakespeare into 285 windows of 129 and
// writes the first 228 and the last 57.
func windows(t testing.TB, dir string) (train, eval string) {
	t.Helper()
	ids := raw[int32](t, filepath.Join(dir, "models/stories260k/tinyshakespeare_first60k_tok512.i32"))
	write := func(name string, lo, hi int) string {
		x := tensor.New(tensor.Int64, hi-lo, 129)
		for i := range tensor.Data[int64](x) {
			tensor.Data[int64](x)[i] = int64(ids[lo*129+i])
		}
		f, err := npz.FromMap(map[string]*tensor.Tensor{"input_ids": x})
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), name)
		if err := f.WriteFile(path); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return write("train.npz", 0, 228), write("eval.npz", 228, 285)
}

// follower compares each step's loss with a trace.
type follower struct {
	t     *testing.T
	want  []float64
	worst float64
	evals []float64
}

func (f *follower) Begin(string, int, int) {}
func (f *follower) Note(s string)          { f.t.Log(s) }
func (f *follower) Eval(_ int, loss float64) {
	f.evals = append(f.evals, loss)
}

func (f *follower) Step(s bonnx.StepInfo) {
	if s.Step > len(f.want) {
		f.t.Errorf("step %d of %d", s.Step, len(f.want))
		return
	}
	d := math.Abs(s.Loss - f.want[s.Step-1])
	f.worst = math.Max(f.worst, d)
	if !(d <= 1e-3) {
		f.t.Errorf("step %d: loss %.6f, PyTorch's is %.6f", s.Step, s.Loss, f.want[s.Step-1])
	}
}

// traceConfig is the recipe in the trace files.
func traceConfig() bonnx.TrainConfig {
	c := train.Default()
	c.Epochs, c.LR, c.NoShuffle = 2, 3e-3, true
	return c
}

func TestTrainingFollowsPyTorch(t *testing.T) {
	if testing.Short() {
		t.Skip("short: 58 steps of a real model")
	}
	dir := testutil.Shared(t, ".")
	train, eval := windows(t, dir)
	for _, name := range []string{"stories260k_bone_r16_trace.json", "stories260k_bat_r4_trace.json"} {
		for _, opset := range []string{"op14", "op17"} {
			t.Run(name+"/"+opset, func(t *testing.T) {
				b, err := os.ReadFile(filepath.Join(dir, "golden", name))
				if err != nil {
					t.Fatal(err)
				}
				var tr trace
				if err := json.Unmarshal(b, &tr); err != nil {
					t.Fatal(err)
				}
				m := open(t, filepath.Join(dir, "models/stories260k/stories260K_"+opset+".onnx"))
				follow(t, m, tr, train, eval)
			})
		}
	}
}

func follow(t *testing.T, m *bonnx.Model, tr trace, train, eval string) {
	cfg := bonnx.BoneConfig{R: tr.Rank, TargetModules: bonnx.Modules{Regex: "all-linear"}}
	if err := cfg.SetMethod(tr.Method); err != nil {
		t.Fatal(err)
	}
	b, err := bonnx.New(m, "", cfg)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(b.LayerStatus()); n != 35 {
		t.Errorf("%d targets, want 35", n)
	}
	c := traceConfig()
	data, err := m.OpenData(train, bonnx.DataOptions{Task: c.Task})
	if err != nil {
		t.Fatal(err)
	}
	evalData, err := m.OpenData(eval, bonnx.DataOptions{Task: c.Task})
	if err != nil {
		t.Fatal(err)
	}
	f := &follower{t: t, want: tr.TrainLoss}
	c.Watcher = f
	s, err := b.TrainOn(context.Background(), data, evalData, c)
	if err != nil {
		t.Fatal(err)
	}
	if s.Steps != len(tr.TrainLoss) {
		t.Errorf("%d steps, want %d", s.Steps, len(tr.TrainLoss))
	}
	if math.Abs(*s.EvalLossBefore-tr.EvalBefore) > 2e-3 || math.Abs(*s.EvalLossAfter-tr.EvalAfter) > 2e-3 {
		t.Errorf("evaluation %.4f -> %.4f, PyTorch's %.4f -> %.4f", *s.EvalLossBefore, *s.EvalLossAfter, tr.EvalBefore, tr.EvalAfter)
	}
	t.Logf("losses differ by up to %.2g; evaluation %.4f -> %.4f", f.worst, *s.EvalLossBefore, *s.EvalLossAfter)
}
