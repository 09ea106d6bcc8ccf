// Package ort runs models in ONNX Runtime, the independent oracle of the
// project's tests.
//
// Tests that use it are named TestORT...; `make test-ort` runs them. They skip
// where node or its modules (`make ort`) are absent.
package ort

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/tensor"
)

// Env is the environment variable that, set to 1, makes an absent oracle a
// failure instead of a reason to skip.
const Env = "BONNX_ORT"

// Level is how far ONNX Runtime optimizes a graph before it runs it.
type Level string

// ONNX Runtime's optimization levels; the zero Level is All, its own default.
const (
	All      Level = "all"
	Extended Level = "extended"
	Basic    Level = "basic"
	Disabled Level = "disabled"
)

// Options are the less common wishes of a run.
type Options struct {
	Outputs []string // which outputs to compute; none: all
	Level   Level
	Threads int // of one operator; 0: one
}

// Port is an input or output of a model.
type Port struct {
	Name  string
	Type  string   // ONNX Runtime's name, such as "float32"
	Shape []string // numbers, or names of symbolic dimensions
}

// Available skips the test where ONNX Runtime cannot be run, or fails it
// where Env asks for that.
func Available(t testing.TB) {
	t.Helper()
	dir := scripts(t)
	_, err := exec.LookPath("node")
	if err == nil {
		_, err = os.Stat(filepath.Join(dir, "node_modules", "onnxruntime-node"))
	}
	switch {
	case err == nil:
	case os.Getenv(Env) == "1":
		t.Fatalf("ONNX Runtime is absent (%v); run make ort", err)
	default:
		t.Skipf("needs node and ONNX Runtime (run make ort): %v", err)
	}
}

// Run feeds the model and returns the outputs named, all when none is. It
// skips like Available and fails the test where ONNX Runtime reports an error.
func Run(t testing.TB, model string, feeds map[string]*tensor.Tensor, outputs ...string) map[string]*tensor.Tensor {
	t.Helper()
	got, err := TryRun(t, model, feeds, Options{Outputs: outputs})
	if err != nil {
		t.Fatalf("ONNX Runtime: %v", err)
	}
	return got
}

// TryRun is Run with options, and with ONNX Runtime's error as the result.
func TryRun(t testing.TB, model string, feeds map[string]*tensor.Tensor, o Options) (map[string]*tensor.Tensor, error) {
	t.Helper()
	Available(t)
	dir := t.TempDir()
	q := common("run", model, o)
	names, in := writeArrays(t, dir, "in.npz", feeds)
	out := filepath.Join(dir, "out.npz")
	q["feeds"], q["input"], q["output"], q["outputs"] = names, in, out, o.Outputs
	var answer struct{ Outputs []string }
	if err := ask(t, q, &answer); err != nil {
		return nil, err
	}
	return named(answer.Outputs, readArrays(t, out)), nil
}

// Describe loads the model and returns its inputs and outputs, or the error
// for which ONNX Runtime refuses it.
func Describe(t testing.TB, model string, level Level) (inputs, outputs []Port, err error) {
	t.Helper()
	Available(t)
	var answer struct{ Inputs, Outputs []Port }
	err = ask(t, common("describe", model, Options{Level: level}), &answer)
	return answer.Inputs, answer.Outputs, err
}

// Optimize writes the model as ONNX Runtime rewrites it before it runs it, with
// operators of its own from level Extended on, and returns the file's path.
func Optimize(t testing.TB, model string, level Level) string {
	t.Helper()
	Available(t)
	q := common("optimize", model, Options{Level: level})
	path := filepath.Join(t.TempDir(), "optimized.onnx")
	q["output"] = path
	if err := ask(t, q, &struct{}{}); err != nil {
		t.Fatalf("ONNX Runtime: %v", err)
	}
	return path
}

// Steps is a model run repeatedly, some outputs fed back as inputs: how an
// exported training step is used.
type Steps struct {
	Model   string
	Batches map[string]*tensor.Tensor // by input, a leading axis of steps: one slice is fed per step
	State   map[string]*tensor.Tensor // by input: fed to the first step, and to all unless carried
	Carry   map[string]string         // output -> input that it becomes in the next step
	Record  []string                  // outputs to return for every step
	Options Options                   // Outputs is ignored
}

// RunSteps runs the model once per slice of its batches. It returns every
// recorded output stacked along a new first axis, and the carried values after
// the last step by the names of their inputs.
func RunSteps(t testing.TB, s Steps) (recorded, state map[string]*tensor.Tensor) {
	t.Helper()
	Available(t)
	if err := s.check(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	q := common("steps", s.Model, s.Options)
	q["batchFeeds"], q["batches"] = writeArrays(t, dir, "batches.npz", s.Batches)
	q["stateFeeds"], q["state"] = writeArrays(t, dir, "state.npz", s.State)
	out := filepath.Join(dir, "out.npz")
	q["carry"], q["record"], q["output"] = nonNil(s.Carry), append([]string{}, s.Record...), out
	var answer struct{ Outputs []string }
	if err := ask(t, q, &answer); err != nil {
		t.Fatalf("ONNX Runtime: %v", err)
	}
	arrays := readArrays(t, out)
	n := len(s.Record)
	return named(answer.Outputs[:n], arrays[:n]), named(answer.Outputs[n:], arrays[n:])
}

func (s Steps) check() error {
	steps := -1
	for name, a := range s.Batches {
		if a.Rank() == 0 || steps >= 0 && a.Shape()[0] != steps {
			return fmt.Errorf("batches of %q: shape %v does not start with the number of steps", name, a.Shape())
		}
		steps = a.Shape()[0]
	}
	if steps < 1 {
		return errors.New("no batches, so no steps")
	}
	return nil
}

func nonNil(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

func common(op, model string, o Options) map[string]any {
	q := map[string]any{"op": op, "model": model}
	if abs, err := filepath.Abs(model); err == nil {
		q["model"] = abs
	}
	if o.Level != "" {
		q["level"] = o.Level
	}
	if o.Threads > 0 {
		q["threads"] = o.Threads
	}
	return q
}

func scripts(t testing.TB) string {
	t.Helper()
	return filepath.Join(testutil.ModuleRoot(t), "testdata", "ort")
}

// A server is the node process of one test binary. It ends when the binary
// does, because its standard input ends then.
type server struct {
	once  sync.Once
	mu    sync.Mutex
	in    io.Writer
	out   *bufio.Reader
	start error
}

// Starting node takes half a second, so the tests of a binary share one.
var node server

func ask(t testing.TB, request map[string]any, answer any) error {
	t.Helper()
	dir := scripts(t)
	node.once.Do(func() { node.start = node.run(dir) })
	if node.start != nil {
		t.Fatalf("node: %v", node.start)
	}
	line, err := node.exchange(request)
	if err != nil {
		t.Fatalf("node: %v", err)
	}
	var failure struct{ Error string }
	if err := json.Unmarshal(line, &failure); err != nil {
		t.Fatalf("node answered %q: %v", line, err)
	}
	if failure.Error != "" {
		return errors.New(failure.Error)
	}
	return json.Unmarshal(line, answer)
}

func (s *server) run(dir string) error {
	cmd := exec.Command("node", "run.mjs", "--serve")
	cmd.Dir = dir
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	s.in, s.out = in, bufio.NewReader(out)
	return cmd.Start()
}

func (s *server) exchange(request map[string]any) ([]byte, error) {
	line, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.in.Write(append(line, '\n')); err != nil {
		return nil, err
	}
	return s.out.ReadBytes('\n')
}

func named(names []string, arrays []*tensor.Tensor) map[string]*tensor.Tensor {
	m := make(map[string]*tensor.Tensor, len(names))
	for i, name := range names {
		m[name] = arrays[i]
	}
	return m
}

func sortedKeys(m map[string]*tensor.Tensor) []string { return slices.Sorted(maps.Keys(m)) }
