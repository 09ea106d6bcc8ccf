package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"math/rand/v2"

	"github.com/bonnx/bonnx/onnx"
	"github.com/bonnx/bonnx/runtime"
	"github.com/bonnx/bonnx/tensor"
)

// How samples are drawn.
const (
	sampleWindow = pretrainSeq // bytes that the model sees; the rest of a text scrolls off
	sampleLength = 240
	temperature  = 0.3
)

// writeSample continues a prompt, byte by byte, with a model whose tokens are
// bytes. The same model and prompt give the same text.
func writeSample(args []string, out io.Writer) error {
	if len(args) != 2 || args[1] == "" {
		return errUsage
	}
	m, err := onnx.Load(args[0])
	if err != nil {
		return err
	}
	defer onnx.Close(m)
	p, err := runtime.Compile(m, runtime.Options{})
	if err != nil {
		return err
	}
	defer p.Close()
	s, err := p.NewSession()
	if err != nil {
		return err
	}
	text := []byte(args[1])
	r := rand.New(rand.NewPCG(7, 7))
	for range sampleLength {
		next, err := nextByte(s, text, r)
		if err != nil {
			return err
		}
		text = append(text, next)
	}
	_, err = fmt.Fprintf(out, "%s\n", text)
	return err
}

// nextByte draws from the distribution after text. The window has a fixed
// length, so that one plan serves: what follows text in it cannot be seen by
// a causal model.
func nextByte(s *runtime.Session, text []byte, r *rand.Rand) (byte, error) {
	seen := text[max(0, len(text)-sampleWindow):]
	ids := make([]int64, sampleWindow)
	for i, b := range seen {
		ids[i] = int64(b)
	}
	outs, err := s.Run(context.Background(), map[string]*tensor.Tensor{"input_ids": tensor.FromSlice(ids, 1, sampleWindow)})
	if err != nil {
		return 0, err
	}
	logits := tensor.Data[float32](outs[0])
	vocab := outs[0].Shape()[2]
	row := logits[(len(seen)-1)*vocab : len(seen)*vocab]
	return byte(draw(row, r)), nil
}

// draw picks an index by softmax(row/temperature).
func draw(row []float32, r *rand.Rand) int {
	top := float64(row[0])
	for _, x := range row {
		top = max(top, float64(x))
	}
	weight := func(x float32) float64 { return math.Exp((float64(x) - top) / temperature) }
	sum := 0.0
	for _, x := range row {
		sum += weight(x)
	}
	at := r.Float64() * sum
	for i, x := range row {
		if at -= weight(x); at < 0 {
			return i
		}
	}
	return len(row) - 1
}
