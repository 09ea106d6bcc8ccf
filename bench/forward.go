package main

import (
	"context"
	"fmt"
	"math"
	"strconv"

	ort "github.com/yalue/onnxruntime_go"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/onnx"
	"github.com/bonnx/bonnx/runtime"
	"github.com/bonnx/bonnx/tensor"
)

// forwards measures forward passes against ONNX Runtime.
func forwards(ctx context.Context, p *page, o options, dir string) error {
	version, err := startORT(o.ort)
	if err != nil {
		return err
	}
	p.peer("ONNX Runtime: %s, of the npm package onnxruntime-node, through onnxruntime_go; default options but the number of threads.", version)
	p.table("Forward pass against ONNX Runtime", "model", "form", "size", "threads", "ratio", "bonnx ms", "ORT ms", "bonnx GFLOP/s", "bonnx MiB", "ORT MiB")
	return eachSubject(ctx, o, dir, anySubject, func(s subject, paths map[string]string) error {
		for _, size := range s.shapes {
			for _, v := range variants {
				for _, threads := range o.threads {
					if err := forward(ctx, p, o, s, v, paths[v], size, threads); err != nil {
						return fmt.Errorf("%s: %w", v, err)
					}
				}
			}
		}
		return nil
	})
}

func forward(ctx context.Context, p *page, o options, s subject, variant, path string, size [2]int, threads int) error {
	if err := o.pin(threads); err != nil {
		return err
	}
	ours, err := openOurs(path, s.vocab, size, threads)
	if err != nil {
		return err
	}
	defer ours.close()
	theirs, err := openORT(path, threads, ours.feeds)
	if err != nil {
		return err
	}
	defer theirs.close()
	if err := agree(ctx, ours, theirs); err != nil {
		return err
	}
	at, err := o.timed(ctx, 1, ours.run)
	if err != nil {
		return err
	}
	n := max(1, int(2e7/max(at.Nanoseconds(), 1))) // runs of at least 20 ms
	t, err := o.interleave(ctx, n, ours.run, theirs.run)
	if err != nil {
		return err
	}
	mine, others := median(t.ours), median(t.theirs)
	job := job{Path: path, Vocab: s.vocab, Size: size, Threads: threads}
	p.row(s.name, variant, fmt.Sprintf("%d x %d", size[0], size[1]), strconv.Itoa(threads), t.ratio(), milliseconds(mine), milliseconds(others),
		gflops(ours.flops, mine), o.memory(ctx, job, "bonnx"), o.memory(ctx, job, "ort"))
	return nil
}

// oursSession is a model in bonnx with its inputs.
type oursSession struct {
	model   *ir.Model
	program *runtime.Program
	session *runtime.Session
	feeds   map[string]*tensor.Tensor
	out     []*tensor.Tensor // of the last run
	flops   float64          // of products, in a run
}

func openOurs(path string, vocab int, size [2]int, threads int) (*oursSession, error) {
	m, err := onnx.Load(path)
	if err != nil {
		return nil, err
	}
	s := &oursSession{model: m}
	if s.feeds, err = feeds(m, vocab, size); err != nil {
		return nil, err
	}
	if s.program, err = runtime.Compile(m, runtime.Options{Threads: threads}); err != nil {
		return nil, err
	}
	if s.session, err = s.program.NewSession(); err != nil {
		return nil, err
	}
	shapes := map[*ir.Value]tensor.Shape{}
	_, err = s.session.RunObserved(context.Background(), s.feeds, func(n *ir.Node, out []*tensor.Tensor) { s.flops += flopsOf(n, out, shapes) })
	return s, err
}

// flopsOf are the operations of a product of a value that a node made, or of a
// convolution; shapes are those of the values so far.
func flopsOf(n *ir.Node, out []*tensor.Tensor, shapes map[*ir.Value]tensor.Shape) float64 {
	for i, t := range out {
		if t != nil && n.Output(i) != nil {
			shapes[n.Output(i)] = t.Shape()
		}
	}
	switch d := n.OpType; {
	case len(out) == 0 || out[0] == nil:
		return 0
	case d == "Conv" && n.Input(1).Data != nil:
		return 2 * float64(n.Input(1).Data.Shape()[1:].Size()) * float64(out[0].Shape().Size())
	case d == "MatMul" || d == "Gemm" || d == "FusedMatMul" || d == "Linear" || d == "Bone":
		if x := shapes[n.Input(0)]; len(x) > 0 {
			return 2 * float64(x[len(x)-1]) * float64(out[0].Shape().Size())
		}
	}
	return 0
}

func (s *oursSession) run(ctx context.Context) (err error) {
	s.out, err = s.session.Run(ctx, s.feeds)
	return err
}

func (s *oursSession) close() {
	s.program.Close()
	_ = onnx.Close(s.model)
}

// agree is an error where the first outputs differ by more than rounding.
func agree(ctx context.Context, ours *oursSession, theirs *ortSession) error {
	if err := ours.run(ctx); err != nil {
		return err
	}
	if err := theirs.run(ctx); err != nil {
		return err
	}
	t, ok := theirs.out[0].(*ort.Tensor[float32])
	if !ok {
		return fmt.Errorf("the first output is %T", theirs.out[0])
	}
	var most, largest float64
	for i, v := range tensor.Data[float32](ours.out[0]) {
		most = max(most, math.Abs(float64(v-t.GetData()[i])))
		largest = max(largest, math.Abs(float64(v)))
	}
	if !(most <= 1e-3*max(largest, 1)) {
		return fmt.Errorf("the outputs of bonnx and ONNX Runtime differ by %g, at values up to %g", most, largest)
	}
	return nil
}
