package ops

import (
	"fmt"
	"math"
	"slices"

	"github.com/bonnx/bonnx/tensor"
)

// nonMaxSuppression chooses boxes by their scores, leaving out those that
// overlap a better one too much.
//
//	boxes (B,S,4), scores (B,C,S) [, most boxes a class, overlap above which a
//	box goes, score that a box must exceed] -> (K,3) of batch, class, box
//
// https://onnx.ai/onnx/operators/onnx__NonMaxSuppression.html
type nonMaxSuppression struct{ centred bool }

func newNonMaxSuppression(a *Args) (Op, error) {
	return nonMaxSuppression{a.Bool("center_point_box", false)}, nil
}

func (nonMaxSuppression) Infer(in []Fact) ([]Fact, error) {
	for i, f := range in[:2] {
		if f.Ranked && f.Rank() != 3 {
			return nil, fmt.Errorf("input %d is %v, want rank 3", i, f)
		}
	}
	if d := in[0].Dim(2); d.Known && d.Value != 4 {
		return nil, fmt.Errorf("boxes are %v", in[0])
	}
	for _, c := range []struct {
		what string
		a, b int
	}{{"batches of boxes and scores", 0, 0}, {"boxes and scores", 1, 2}} {
		if _, err := agree(c.what, in[0].Dim(c.a), in[1].Dim(c.b)); err != nil {
			return nil, err
		}
	}
	return []Fact{Of(tensor.Int64, unknown, known(3))}, nil
}

func (nonMaxSuppression) Bind(*Binder, []Fact, []Fact) (Step, error) { return bindDynamic() }

// RunDynamic goes through the boxes of each class from the best score down.
func (o nonMaxSuppression) RunDynamic(_ Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	boxes, err := in[0].Cast(tensor.Float64)
	if err != nil {
		return nil, err
	}
	scores, err := in[1].Cast(tensor.Float64)
	if err != nil {
		return nil, err
	}
	bs, ss := boxes.Shape(), scores.Shape()
	if len(bs) != 3 || len(ss) != 3 || bs[2] != 4 || bs[0] != ss[0] || bs[1] != ss[2] {
		return nil, fmt.Errorf("boxes are %v, scores %v", in[0], in[1])
	}
	limits := [3]float64{0, 0, math.Inf(-1)}
	for i := range limits {
		if t := arg(in, 2+i); t != nil {
			v, err := t.Cast(tensor.Float64)
			if err != nil || t.Size() != 1 {
				return nil, fmt.Errorf("input %d is %v, want one number", 2+i, t)
			}
			limits[i] = tensor.Data[float64](v)[0]
		}
	}
	var picked []int64
	for b := range ss[0] {
		rects := o.rects(tensor.Data[float64](boxes)[b*bs[1]*4:][:bs[1]*4])
		for c := range ss[1] {
			list := tensor.Data[float64](scores)[(b*ss[1]+c)*ss[2]:][:ss[2]]
			for _, i := range suppress(rects, list, limits) {
				picked = append(picked, int64(b), int64(c), int64(i))
			}
		}
	}
	return []*tensor.Tensor{tensor.FromSlice(picked, len(picked)/3, 3)}, nil
}

// rect is a box by its corners.
type rect struct{ x0, y0, x1, y1 float64 }

// rects reads boxes: corners y1 x1 y2 x2 in any order, or centre and extents.
func (o nonMaxSuppression) rects(v []float64) []rect {
	out := make([]rect, len(v)/4)
	for i := range out {
		a, b, c, d := v[4*i], v[4*i+1], v[4*i+2], v[4*i+3]
		if o.centred {
			out[i] = rect{a - c/2, b - d/2, a + c/2, b + d/2}
		} else {
			out[i] = rect{min(b, d), min(a, c), max(b, d), max(a, c)}
		}
	}
	return out
}

func (r rect) area() float64 { return (r.x1 - r.x0) * (r.y1 - r.y0) }

// overlap is the area that two boxes share, relative to what they cover.
func (r rect) overlap(s rect) float64 {
	w, h := min(r.x1, s.x1)-max(r.x0, s.x0), min(r.y1, s.y1)-max(r.y0, s.y0)
	if w <= 0 || h <= 0 || r.area() <= 0 || s.area() <= 0 {
		return 0
	}
	return w * h / (r.area() + s.area() - w*h)
}

// suppress are the boxes chosen of one class, the best first.
func suppress(rects []rect, scores []float64, limits [3]float64) []int {
	var order, picked []int
	for i, s := range scores {
		if s > limits[2] {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int {
		switch {
		case scores[a] > scores[b]:
			return -1
		case scores[a] < scores[b]:
			return 1
		}
		return 0
	})
	for _, i := range order {
		if float64(len(picked)) >= limits[0] {
			break
		}
		if !slices.ContainsFunc(picked, func(p int) bool { return rects[i].overlap(rects[p]) > limits[1] }) {
			picked = append(picked, i)
		}
	}
	return picked
}
