package onnxgo

import (
	"errors"
	"fmt"

	gorgonia "gorgonia.org/tensor"

	"github.com/bonnx/bonnx/tensor"
)

// Node is a value of the model: an input, a weight, or what an operation
// makes. It implements onnx-go's Namer, Documenter and DataCarrier.
type Node struct {
	id       int64
	backend  *Backend
	name     string
	named    bool
	doc      string
	made     bool // by an operation
	early    bool // created before any edge: what the file declares
	value    gorgonia.Tensor
	declared tensor.DType // the element type in the file, where it says
	setAt    int          // the backend's clock when SetTensor was last called, 0 never
	run      int          // the run that value is the result of, 0 where it was set
}

// ID is the node's number, counted from 0 in the order of creation.
func (n *Node) ID() int64 { return n.id }

// SetName names the node as the file does.
func (n *Node) SetName(name string) { n.name, n.named = name, true }

// GetName is the name that SetName gave.
func (n *Node) GetName() string { return n.name }

// SetDescription keeps a description.
func (n *Node) SetDescription(doc string) { n.doc = doc }

// GetDescription is the description that SetDescription gave.
func (n *Node) GetDescription() string { return n.doc }

// String names the node in errors.
func (n *Node) String() string {
	if n.name != "" {
		return fmt.Sprintf("value %q", n.name)
	}
	return fmt.Sprintf("value %d", n.id)
}

// SetTensor gives an input or weight its value. Inputs may be set before every
// run, and the tensor last set may be filled anew instead. A weight changes
// only by being set: what it holds at the first run is packed for the kernels.
func (n *Node) SetTensor(t gorgonia.Tensor) error {
	n.backend.clock++
	n.value, n.setAt, n.run = t, n.backend.clock, 0
	if n.early && n.declared == tensor.Undefined {
		if x, err := toTensor(t); err == nil {
			n.declared = x.DType()
		}
	}
	return nil
}

// GetTensor is the tensor that was set, or after a run the node's result in
// it. A value between two operations is not kept by a run; asking for it
// computes the last run again, and keeps it from then on. Where that fails
// the result is nil.
func (n *Node) GetTensor() gorgonia.Tensor {
	b := n.backend
	if n.made && b.runs > 0 && n.run != b.runs && !n.absent() {
		if err := b.fetch(n); err != nil {
			return nil
		}
	}
	return n.value
}

// read is the tensor that was set, in the element type that the file declares.
// A tensor of another type will do where every element survives the change:
// counts and axes are often given as floats.
func (n *Node) read() (*tensor.Tensor, error) {
	if n.value == nil {
		return nil, errors.New("no tensor; set it with SetInput or SetTensor")
	}
	t, err := toTensor(n.value)
	if err != nil || n.declared == tensor.Undefined || n.declared == t.DType() {
		return t, err
	}
	cast, err := t.Cast(n.declared)
	if err != nil {
		return nil, err
	}
	back, err := cast.Cast(t.DType())
	if err != nil {
		return nil, err
	}
	if !back.Equal(t) {
		return nil, fmt.Errorf("%v is declared %v, and its elements are not", t, n.declared)
	}
	return cast, nil
}

// absent reports whether n stands for an optional input or output that a node
// of the file leaves out: they are all one node, named "".
func (n *Node) absent() bool { return n.named && n.name == "" }
