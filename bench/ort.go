package main

import (
	"context"
	"fmt"
	"slices"

	ort "github.com/yalue/onnxruntime_go"

	"github.com/bonnx/bonnx/tensor"
)

// ortLibrary is where `make ort` puts ONNX Runtime.
const ortLibrary = "../testdata/ort/node_modules/onnxruntime-node/bin/napi-v6/linux/x64/libonnxruntime.so.1"

// startORT loads ONNX Runtime; its version.
func startORT(path string) (string, error) {
	if !ort.IsInitialized() {
		ort.SetSharedLibraryPath(path)
		if err := ort.InitializeEnvironment(); err != nil {
			return "", fmt.Errorf("%s (make ort puts ONNX Runtime there): %w", path, err)
		}
	}
	return ort.GetVersion(), nil
}

// ortSession is a model in ONNX Runtime with its inputs.
type ortSession struct {
	session *ort.DynamicAdvancedSession
	in, out []ort.Value
}

// openORT reads a model with default optimizations. Outputs get their memory in
// the first run and keep it.
func openORT(path string, threads int, feeds map[string]*tensor.Tensor) (*ortSession, error) {
	inputs, outputs, err := ort.GetInputOutputInfo(path)
	if err != nil {
		return nil, err
	}
	o, err := ort.NewSessionOptions()
	if err != nil {
		return nil, err
	}
	defer o.Destroy()
	if err := o.SetIntraOpNumThreads(threads); err != nil {
		return nil, err
	}
	s := &ortSession{}
	var in, out []string
	for _, i := range inputs {
		t := feeds[i.Name]
		if t == nil {
			return nil, fmt.Errorf("%s: nothing to feed %q with", path, i.Name)
		}
		v, err := ortValue(t)
		if err != nil {
			return nil, fmt.Errorf("input %q: %w", i.Name, err)
		}
		in, s.in = append(in, i.Name), append(s.in, v)
	}
	for _, x := range outputs {
		var v ort.Value // made by the first run
		if len(x.Dimensions) == 0 && x.DataType == ort.TensorElementDataTypeFloat {
			if v, err = ort.NewEmptyScalar[float32](); err != nil {
				return nil, err
			}
		}
		out, s.out = append(out, x.Name), append(s.out, v)
	}
	s.session, err = ort.NewDynamicAdvancedSession(path, in, out, o)
	return s, err
}

// ortTypes are the element types that are fed.
var ortTypes = map[tensor.DType]ort.TensorElementDataType{
	tensor.Float32: ort.TensorElementDataTypeFloat,
	tensor.Int64:   ort.TensorElementDataTypeInt64,
}

func ortValue(t *tensor.Tensor) (ort.Value, error) {
	d, ok := ortTypes[t.DType()]
	if !ok {
		return nil, fmt.Errorf("%v is not fed here", t.DType())
	}
	if len(t.Shape()) == 0 {
		if d == ort.TensorElementDataTypeFloat {
			return ort.NewScalar(tensor.Data[float32](t)[0])
		}
		return ort.NewScalar(tensor.Data[int64](t)[0])
	}
	var shape []int64
	for _, n := range t.Shape() {
		shape = append(shape, int64(n))
	}
	return ort.NewCustomDataTensor(ort.NewShape(shape...), slices.Clone(t.Bytes()), d)
}

func (s *ortSession) run(context.Context) error { return s.session.Run(s.in, s.out) }

func (s *ortSession) close() {
	for _, v := range slices.Concat(s.in, s.out) {
		if v != nil {
			_ = v.Destroy()
		}
	}
	_ = s.session.Destroy()
}
