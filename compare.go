package bonnx

import (
	"context"
	"fmt"
	"math"

	"github.com/bonnx/bonnx/tensor"
)

// Difference is how far two models' outputs of one name are apart.
type Difference struct {
	Output string  `json:"output"`
	Max    float64 `json:"max"`
	Mean   float64 `json:"mean"`
	// Note says why outputs cannot be compared, "" where they can.
	Note string `json:"note,omitempty"`
}

// Compare runs two models on the same inputs and compares the outputs of m.
func (m *Model) Compare(ctx context.Context, other *Model, feeds map[string]*tensor.Tensor, threads int) ([]Difference, error) {
	x, err := m.Run(ctx, feeds, threads)
	if err != nil {
		return nil, err
	}
	y, err := other.Run(ctx, feeds, threads)
	if err != nil {
		return nil, err
	}
	var diffs []Difference
	for _, v := range m.graph.Graph.Outputs {
		diffs = append(diffs, difference(v.Name, x[v.Name], y[v.Name]))
	}
	return diffs, nil
}

func difference(name string, x, y *tensor.Tensor) Difference {
	d := Difference{Output: name}
	switch {
	case y == nil:
		d.Note = "the second model has no such output"
	case x.DType() != y.DType() || !x.Shape().Equal(y.Shape()):
		d.Note = fmt.Sprintf("%v against %v", x, y)
	case x.DType() == tensor.String:
		if !x.Equal(y) {
			d.Note = "strings differ"
		}
	default:
		a, errA := x.Float64s()
		b, errB := y.Float64s()
		if errA != nil || errB != nil {
			d.Note = fmt.Sprintf("%v cannot be compared", x)
			return d
		}
		d.Max, d.Mean = apart(a, b)
	}
	if d.Note != "" {
		d.Max = math.Inf(1)
	}
	return d
}

// apart is the largest and the mean absolute difference; equal infinities and
// two NaNs are no difference, anything else with a NaN is infinite.
func apart(a, b []float64) (largest, mean float64) {
	sum := 0.0
	for i := range a {
		e := math.Abs(a[i] - b[i])
		if a[i] == b[i] || math.IsNaN(a[i]) && math.IsNaN(b[i]) {
			e = 0
		} else if math.IsNaN(e) {
			e = math.Inf(1)
		}
		largest = max(largest, e)
		sum += e
	}
	return largest, sum / math.Max(1, float64(len(a)))
}
