package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/bonnx/bonnx/internal/testmodel"
	"github.com/bonnx/bonnx/internal/testmodel/text"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/onnx"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/train"
)

// How the demonstration's model is pre-trained.
const (
	pretrainText  = 160_000 // bytes of stories
	pretrainSteps = 700
	pretrainSeq   = 96
)

// writeModel trains all weights of testmodel.Demo on the project's stories and
// writes the model.
func writeModel(args []string, out io.Writer) error {
	if len(args) != 1 {
		return errUsage
	}
	m, err := testmodel.Demo.Model()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "bonnx-gen")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "stories.txt")
	if err := os.WriteFile(path, []byte(text.Stories(1, pretrainText)), 0o600); err != nil {
		return err
	}
	data, err := train.Open(path, train.Spec{Task: train.CausalLM, SeqLen: pretrainSeq, Tokenizer: "bytes",
		Inputs: []train.Port{{Name: "input_ids", Type: m.Graph.Inputs[0].Type}}})
	if err != nil {
		return err
	}
	c := train.Default()
	c.Watcher = printer{out}
	c.Steps, c.BatchSize, c.LR, c.Schedule, c.Warmup, c.Clip = pretrainSteps, 8, 3e-3, "cosine", 50, 1
	for _, v := range testmodel.Weights(m) {
		c.Params = append(c.Params, v.Name)
	}
	s, err := train.Run(context.Background(), m, ops.Standard(), train.Samples(data), nil, c, train.Identity{})
	if err != nil {
		return err
	}
	for _, v := range testmodel.Weights(m) {
		v.Data = ir.Dense(s.Trained[v.Name])
	}
	return onnx.Save(args[0], m, onnx.SaveOptions{Force: true})
}

// printer shows a line every fifty steps.
type printer struct{ out io.Writer }

func (printer) Begin(string, int, int) {}
func (printer) Eval(int, float64)      {}
func (printer) Note(string)            {}

func (p printer) Step(s train.StepInfo) {
	if s.Step%50 == 0 || s.Step == 1 {
		_, _ = fmt.Fprintf(p.out, "step %d/%d loss %.4f (%v a step)\n", s.Step, s.Steps, s.Loss, s.Duration)
	}
}
