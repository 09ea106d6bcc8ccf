package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/bonnx/bonnx/internal/testmodel"
	"github.com/bonnx/bonnx/onnx"
	"github.com/bonnx/bonnx/tensor/npz"
)

// Of a model of true size, what is written beside it.
const (
	sizeBatches = 8       // to train on
	externalMin = 1 << 10 // bytes of a tensor that leaves the model file, as in PyTorch's exporter
)

// writeSize writes a model of true size to DIR/NAME with its external data, the
// inputs of a forward pass and samples to train on. One weight at a time is in
// memory. What is there already stays.
func writeSize(args []string, out io.Writer) error {
	if len(args) != 2 {
		return errUsage
	}
	for _, s := range testmodel.Sizes() {
		if s.Name != args[0] {
			continue
		}
		dir := filepath.Join(args[1], s.Name)
		path := filepath.Join(dir, "model.onnx")
		if _, err := os.Stat(path); err == nil {
			return nil
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := writeArrays(filepath.Join(dir, "inputs.npz"), s.Inputs(s.Batch)); err != nil {
			return err
		}
		if err := writeArrays(filepath.Join(dir, "samples.npz"), s.Samples(sizeBatches*s.Batch)); err != nil {
			return err
		}
		m, err := s.Model()
		if err != nil {
			return err
		}
		_, _ = fmt.Fprintf(out, "writing %s\n", path)
		return onnx.Save(path, m, onnx.SaveOptions{External: externalMin, Force: true})
	}
	return fmt.Errorf("no size %q", args[0])
}

func writeArrays(path string, arrays testmodel.Arrays) error {
	f, err := npz.FromMap(arrays)
	if err != nil {
		return err
	}
	return f.WriteFile(path)
}
