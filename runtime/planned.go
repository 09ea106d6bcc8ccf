package runtime

import "github.com/bonnx/bonnx/tensor"

// OutputShapes are the shapes of the outputs, in the order of Program.Outputs;
// nil for one that is not known before it runs.
func (pl *Plan) OutputShapes() []tensor.Shape {
	shapes := make([]tensor.Shape, len(pl.outputs))
	for i, s := range pl.outputs {
		shapes[i] = pl.slots[s].shape
	}
	return shapes
}
