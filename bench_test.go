package bonnx_test

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/bonnx/bonnx"
	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/tensor"
)

// stories opens the real model that benchmarks run on.
func stories(b *testing.B) *bonnx.Model {
	m, err := bonnx.Open(filepath.Join(testutil.Shared(b, "models"), "stories260k/stories260K_op17.onnx"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = m.Close() })
	return m
}

// perThreads runs a benchmark with one thread and with all.
func perThreads(b *testing.B, run func(b *testing.B, threads int)) {
	b.Run("1thread", func(b *testing.B) { run(b, 1) })
	b.Run("allthreads", func(b *testing.B) { run(b, 0) })
}

// BenchmarkForward is the forward pass of stories260k at 8 x 128, its results in
// the memory of the last ones.
func BenchmarkForward(b *testing.B) {
	perThreads(b, func(b *testing.B, threads int) {
		m := stories(b)
		p, err := m.Compile(threads)
		if err != nil {
			b.Fatal(err)
		}
		defer p.Close()
		s := p.Session()
		feeds := map[string]*tensor.Tensor{m.InputNames()[0]: tensor.New(tensor.Int64, 8, 128)}
		results := map[string]*tensor.Tensor{}
		if err := s.RunInto(context.Background(), feeds, results); err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for b.Loop() {
			if err := s.RunInto(context.Background(), feeds, results); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(8*128*b.N)/b.Elapsed().Seconds(), "tokens/s")
	})
}

// timer runs the clock from the second step on: the first makes plans.
type timer struct{ b *testing.B }

func (timer) Begin(string, int, int) {}
func (timer) Eval(int, float64)      {}
func (timer) Note(string)            {}

func (t timer) Step(s bonnx.StepInfo) {
	switch s.Step {
	case 1:
		t.b.ResetTimer()
	case s.Steps:
		t.b.StopTimer()
	}
}

// BenchmarkTrainStep is a training step of stories260k with Bone of rank 16 on
// all linear layers at 8 x 128.
func BenchmarkTrainStep(b *testing.B) {
	perThreads(b, func(b *testing.B, threads int) {
		m := stories(b)
		bone, err := bonnx.New(m, "", bonnx.BoneConfig{R: 16, TargetModules: bonnx.Modules{Regex: "all-linear"}})
		if err != nil {
			b.Fatal(err)
		}
		train, _ := windows(b, testutil.Shared(b, "."))
		c := traceConfig()
		c.Steps, c.Threads = 1+b.N, threads
		data, err := m.OpenData(train, bonnx.DataOptions{Task: c.Task})
		if err != nil {
			b.Fatal(err)
		}
		if data, _, err = data.Split(4.0 / 228); err != nil { // the others make whole batches
			b.Fatal(err)
		}
		b.ReportAllocs()
		c.Watcher = timer{b}
		if _, err := bone.TrainOn(context.Background(), data, nil, c); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(8*128*b.N)/b.Elapsed().Seconds(), "tokens/s")
	})
}
