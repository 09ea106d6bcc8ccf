package ops_test

import (
	"math"
	"strings"
	"testing"

	"github.com/bonnx/bonnx/internal/testutil/opcheck"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

func TestMaxUnpool(t *testing.T) {
	x, index := f64([]int{1, 1, 2, 2}, 5, 6, 7, 8), i64([]int{1, 1, 2, 2}, 5, 7, 13, 15)
	attrs := []*ir.Attr{ints("kernel_shape", 2, 2), ints("strides", 2, 2)}
	for _, c := range []moveCase{
		{name: "back", in: tensors{x, index}, fed: []int{1},
			want: tensors{f64([]int{1, 1, 4, 4}, 0, 0, 0, 0, 0, 5, 0, 6, 0, 0, 0, 0, 0, 7, 0, 8)}},
		{name: "wider", in: tensors{x, index, tensor.Ints(1, 1, 4, 5)}, fed: []int{1, 2},
			want: tensors{f64([]int{1, 1, 4, 5}, 0, 0, 0, 0, 0, 0, 5, 0, 6, 0, 0, 0, 0, 0, 0, 0, 7, 0, 8, 0)}},
	} {
		c.op, c.attrs, c.noGrad = "MaxUnpool", attrs, true
		c.check(t)
	}
	for name, in := range map[string]tensors{
		"index too great":  {x, i64([]int{1, 1, 2, 2}, 5, 7, 13, 16)},
		"index below 0":    {x, i64([]int{1, 1, 2, 2}, -1, 7, 13, 15)},
		"outside of shape": {x, index, tensor.Ints(1, 1, 3, 4)},
		"shape of 3 axes":  {x, index, tensor.Ints(1, 4, 4)},
	} {
		if y, err := evalOp("MaxUnpool", attrs, in...); err == nil {
			t.Errorf("%s: got %v, want an error", name, y)
		}
	}
}

func TestRoiAlign(t *testing.T) {
	x := count(1, 1, 4, 4) // x[h,w] = 4 h + w: interpolation is exact
	attrs := func(mode, coordinates string) []*ir.Attr {
		return []*ir.Attr{num("output_height", 1), num("output_width", 2), num("sampling_ratio", 2),
			str("mode", mode), str("coordinate_transformation_mode", coordinates)}
	}
	region, image := f64([]int{1, 4}, 0, 0, 2, 2), tensor.Ints(0)
	for _, c := range []moveCase{
		// samples at rows 0.5 and 1.5, columns 0.25 0.75 | 1.25 1.75
		{name: "mean", attrs: attrs("avg", "output_half_pixel"), in: tensors{x, region, image}, fed: []int{2},
			want: tensors{f64([]int{1, 1, 1, 2}, 4.5, 5.5)}},
		// the same, half an element to the left and up
		{name: "centres", attrs: attrs("avg", "half_pixel"), in: tensors{x, region, image},
			want: tensors{f64([]int{1, 1, 1, 2}, 2+0.125, 2+1)}},
		// the greatest term of the last sample: 0.25 * 0.5 * 0.75 parts of x
		{name: "greatest", attrs: attrs("max", "output_half_pixel"), in: tensors{x, region, image},
			want: tensors{f64([]int{1, 1, 1, 2}, 0.5*0.75*9, 0.5*0.75*10)}},
	} {
		c.op, c.noGrad = "RoiAlign", true
		c.check(t)
	}
	for name, in := range map[string]tensors{
		"image 1 of 1":        {x, region, tensor.Ints(1)},
		"two images":          {x, region, tensor.Ints(0, 0)},
		"endless region":      {x, f64([]int{1, 4}, 0, 0, math.Inf(1), 1), image},
		"region not a number": {x, f64([]int{1, 4}, 0, 0, math.NaN(), 1), image},
	} {
		if y, err := evalOp("RoiAlign", nil, in...); err == nil {
			t.Errorf("%s: got %v, want an error", name, y)
		}
	}
}

func TestNonMaxSuppression(t *testing.T) {
	corners := f64([]int{1, 4, 4}, 0, 0, 1, 1, 1, 1, 0, 0.1, 5, 5, 6, 6, 0, 0, 1, 0.4)
	centres := f64([]int{1, 4, 4}, 0.5, 0.5, 1, 1, 0.55, 0.5, 0.9, 1, 5.5, 5.5, 1, 1, 0.2, 0.5, 0.4, 1)
	scores := f64([]int{1, 1, 4}, 0.9, 0.95, 0.3, 0.5)
	half := tensor.Scalar(0.5)
	for _, c := range []struct {
		name  string
		attrs []*ir.Attr
		in    tensors
		want  []int64 // boxes
	}{
		{"overlap", nil, tensors{corners, scores, tensor.Ints(9), half}, []int64{1, 3, 2}},
		{"centres", []*ir.Attr{num("center_point_box", 1)}, tensors{centres, scores, tensor.Ints(9), half}, []int64{1, 3, 2}},
		{"score", nil, tensors{corners, scores, tensor.Ints(9), half, half}, []int64{1}},
		{"limit", nil, tensors{corners, scores, tensor.Ints(2), half}, []int64{1, 3}},
		{"any overlap but all", nil, tensors{corners, scores, tensor.Ints(9), tensor.Scalar(1.0)}, []int64{1, 0, 3, 2}},
		{"none by default", nil, tensors{corners, scores}, nil},
	} {
		op, err := parseOp("NonMaxSuppression", c.attrs, len(c.in))
		if err != nil {
			t.Fatal(err)
		}
		out, err := op.(ops.Dynamic).RunDynamic(nil, c.in)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		want := tensor.New(tensor.Int64, len(c.want), 3)
		for i, b := range c.want {
			tensor.Data[int64](want)[3*i+2] = b
		}
		if !out[0].Equal(want) {
			t.Errorf("%s: got %v %v, want boxes %v", c.name, out[0], tensor.Data[int64](out[0]), c.want)
		}
	}
	op, _ := parseOp("NonMaxSuppression", nil, 2)
	if out, err := op.(ops.Dynamic).RunDynamic(nil, tensors{corners, f64([]int{1, 1, 3}, 1, 2, 3)}); err == nil {
		t.Errorf("3 scores for 4 boxes: got %v, want an error", out)
	}
}

func TestTfIdfVectorizer(t *testing.T) {
	attrs := func(mode string, least, most, skip int, more ...*ir.Attr) []*ir.Attr {
		return append([]*ir.Attr{str("mode", mode), num("min_gram_length", least), num("max_gram_length", most), num("max_skip_count", skip),
			ints("ngram_counts", 0, 2), ints("ngram_indexes", 0, 1, 3, 2), ints("pool_int64s", 7, 8, 7, 8, 8, 8)}, more...)
	}
	row := func(v ...float32) tensors { return tensors{tensor.FromSlice(v, len(v))} }
	x := tensor.Ints(7, 8, 9, 8, 8)
	weights := ir.A("weights", ir.Floats{1, 2, 10, 20})
	for _, c := range []moveCase{
		{name: "words", attrs: attrs("TF", 1, 1, 0), in: tensors{x}, want: row(1, 3, 0, 0)},
		{name: "pairs", attrs: attrs("TF", 2, 2, 0), in: tensors{x}, want: row(0, 0, 1, 1)},
		{name: "pairs apart", attrs: attrs("TF", 2, 2, 2), in: tensors{x}, want: row(0, 0, 3, 2), fed: []int{0}},
		{name: "both, words once", attrs: attrs("TF", 1, 2, 2), in: tensors{x}, want: row(1, 3, 3, 2)},
		{name: "weights", attrs: attrs("IDF", 1, 2, 2, weights), in: tensors{x}, want: row(1, 2, 20, 10)},
		{name: "weighted counts", attrs: attrs("TFIDF", 1, 2, 2, weights), in: tensors{x}, want: row(1, 6, 60, 20)},
		{name: "rows", attrs: attrs("TF", 1, 1, 0), in: tensors{tensor.FromSlice([]int32{7, 8, 8, 9}, 2, 2)},
			want: tensors{tensor.FromSlice([]float32{1, 1, 0, 0, 0, 1, 0, 0}, 2, 4)}},
	} {
		c.op, c.noGrad = "TfIdfVectorizer", true
		c.check(t)
	}
	words := []*ir.Attr{str("mode", "TF"), num("min_gram_length", 1), num("max_gram_length", 1), num("max_skip_count", 0),
		ints("ngram_counts", 0), ints("ngram_indexes", 0, 1), ir.A("pool_strings", ir.Strings{"a", "b"})}
	opcheck.Forward(t, opcheck.Case{Name: "strings", Op: "TfIdfVectorizer", Attrs: words,
		Inputs: tensors{tensor.FromStrings([]string{"b", "c", "b"}, 3)}}, 0, row(0, 2)...)
	for name, bad := range map[string][]*ir.Attr{
		"no mode":          words[1:],
		"no pool":          words[:6],
		"too few indexes":  attrs("TF", 1, 2, 0, ints("ngram_indexes", 0)),
		"too few weights":  attrs("TF", 1, 2, 0, ir.A("weights", ir.Floats{1})),
		"counts backwards": attrs("TF", 1, 2, 0, ints("ngram_counts", 4, 2)),
		"half a pair":      attrs("TF", 1, 2, 0, ints("ngram_counts", 0, 3)),
	} {
		if _, err := parseOp("TfIdfVectorizer", last(bad), 1); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// last keeps the last of attributes of one name.
func last(attrs []*ir.Attr) []*ir.Attr {
	var out []*ir.Attr
	for i, a := range attrs {
		again := false
		for _, b := range attrs[i+1:] {
			again = again || a.Name == b.Name
		}
		if !again {
			out = append(out, a)
		}
	}
	return out
}

// MeanVarianceNormalization becomes operators that have gradients.
func TestMeanVarianceNormalization(t *testing.T) {
	g := ir.NewGraph("g")
	m := &ir.Model{IRVersion: 8, Opsets: []ir.Opset{{Version: 13}}, Graph: g}
	n := ir.NewNode("", "MeanVarianceNormalization", g.AddInput("x", ir.Tensor(tensor.Float64, ir.Symbol("n"), ir.Symbol("c"))))
	n.SetAttr("axes", ir.Ints{1})
	n.SetOutput(0, g.NewValue("y", ir.Tensor(tensor.Float64, ir.Symbol("n"), ir.Symbol("c"))))
	g.Append(n)
	g.Outputs = []*ir.Value{n.Output(0)}
	c, err := ops.Canonical(m)
	if err != nil {
		t.Fatal(err)
	}
	out, err := opcheck.Run(ops.Standard(), c, map[*ir.Value]*tensor.Tensor{c.Graph.Inputs[0]: f64([]int{2, 2}, 1, 3, 5, 5)}, c.Graph.Outputs)
	if err != nil {
		t.Fatal(err)
	}
	got := tensor.Data[float64](out[0])
	for i, want := range []float64{-1, 1, 0, 0} {
		if math.Abs(got[i]-want) > 1e-8 {
			t.Errorf("got %v, want [-1 1 0 0]", got)
			break
		}
	}
	n.SetAttr("axes", ir.Float(1))
	if c, err = ops.Canonical(m); err == nil {
		_, err = ops.Standard().Analyze(c, ops.AnalyzeOptions{})
	}
	if err == nil || !strings.Contains(err.Error(), "axes") {
		t.Errorf("axes that are no list: got %v", err)
	}
}
