package ir

import "github.com/bonnx/bonnx/tensor"

// Data is a constant: its type and shape are known without reading it.
type Data interface {
	DType() tensor.DType
	Shape() tensor.Shape
	// Tensor reads the value. The result may share the file's mapping: it
	// must not be written to, and is valid while the model is open.
	Tensor() (*tensor.Tensor, error)
}

// Released is Data that can give back the memory in which its value was read.
type Released interface {
	Data
	// Release says that nobody needs the value soon. Tensors that share a
	// mapping stay valid.
	Release()
}

// Release gives back what reading d took, where d can.
func Release(d Data) {
	if r, ok := d.(Released); ok {
		r.Release()
	}
}

// Dense makes Data of a tensor in memory.
func Dense(t *tensor.Tensor) Data { return dense{t} }

type dense struct{ t *tensor.Tensor }

func (d dense) DType() tensor.DType             { return d.t.DType() }
func (d dense) Shape() tensor.Shape             { return d.t.Shape() }
func (d dense) Tensor() (*tensor.Tensor, error) { return d.t, nil }
