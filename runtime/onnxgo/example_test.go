package onnxgo_test

import (
	"fmt"
	"log"

	onnx "github.com/owulveryck/onnx-go"
	gorgonia "gorgonia.org/tensor"

	"github.com/bonnx/bonnx/runtime/onnxgo"
)

// A program written for onnx-go makes its backend with onnxgo.New in place of
// gorgonnx.NewGraph; the rest stays.
func Example() {
	backend := onnxgo.New(onnxgo.WithOpset(9)) // was: gorgonnx.NewGraph()
	model := onnx.NewModel(backend)
	if err := model.UnmarshalBinary(onnxFile()); err != nil {
		log.Fatal(err)
	}
	input := gorgonia.New(gorgonia.WithShape(1, 2), gorgonia.WithBacking([]float32{1, 1}))
	if err := model.SetInput(0, input); err != nil {
		log.Fatal(err)
	}
	if err := backend.Run(); err != nil {
		log.Fatal(err)
	}
	output, err := model.GetOutputTensors()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(output[0].Data())
	// Output: [5 7 0]
}
