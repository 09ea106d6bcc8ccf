package train

import (
	"bytes"
	"context"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

// classifier is last(dropout(x w)), of n samples in 3 features and 4 classes.
func classifier(drop float32, last string) *ir.Model {
	m := &ir.Model{IRVersion: 8, Graph: ir.NewGraph("classifier")}
	m.SetOpset("", 18)
	b := ir.NewBuilder(m.Graph, ir.NewNames(m))
	x := m.Graph.AddInput("x", ir.Tensor(tensor.Float32, ir.Symbol("n"), ir.Fixed(3)))
	y := b.Op("MatMul", ir.In(x, m.Graph.AddInitializer("w", ir.Dense(testutil.Random(1, 3, 4)))))
	if drop > 0 {
		y = b.Op("Dropout", ir.In(y, b.Const("ratio", tensor.Scalar(drop)), b.Const("training", tensor.FromSlice([]bool{true}).Reshape())))
	}
	if last != "" {
		y = b.Op(last, ir.In(y))
	}
	y.Name, y.Type = "y", ir.Tensor(tensor.Float32, ir.Symbol("n"), ir.Fixed(4))
	m.Graph.Outputs = ir.In(y)
	return m
}

func classes(seed uint64, labels ...int64) Batch {
	return Batch{Feeds: map[string]*tensor.Tensor{
		"x": testutil.Random(seed, len(labels), 3), LabelsInput: tensor.FromSlice(labels, len(labels))}}
}

func testEngine(t *testing.T, m *ir.Model, change func(c *Config)) *engine {
	t.Helper()
	c := Default()
	c.Task, c.Params, c.Threads = Classification, []string{"w"}, 1
	change(&c)
	e, _, err := newEngine(m, ops.Standard(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e
}

func mustStep(t *testing.T, e *engine, n int, batches ...Batch) Result {
	t.Helper()
	r, err := e.Step(context.Background(), batches, 0.1, n)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// join is batches as one.
func join(batches ...Batch) Batch {
	var x []float32
	var labels []int64
	for _, b := range batches {
		x = append(x, tensor.Data[float32](b.Feeds["x"])...)
		labels = append(labels, tensor.Data[int64](b.Feeds[LabelsInput])...)
	}
	return Batch{Feeds: map[string]*tensor.Tensor{"x": tensor.FromSlice(x, len(labels), 3), LabelsInput: tensor.FromSlice(labels, len(labels))}}
}

// TestAccumulation: batches of unequal counts are one big batch.
func TestAccumulation(t *testing.T) {
	for name, change := range map[string]func(c *Config){
		"adamw":   func(*Config) {},
		"sgd":     func(c *Config) { c.Optimizer, c.Momentum, c.WeightDecay = "sgd", 0.9, 0.1 },
		"clipped": func(c *Config) { c.Optimizer, c.Clip = "sgd", 0.05 },
	} {
		t.Run(name, func(t *testing.T) {
			whole := testEngine(t, classifier(0, ""), change)
			parts := testEngine(t, classifier(0, ""), func(c *Config) { change(c); c.Accumulate = 3 })
			list := []Batch{classes(1, 0, 1, 2, 3), classes(2, -100, 2, -100, 1), classes(3, 3)}
			for n := 1; n <= 3; n++ {
				want, got := mustStep(t, whole, n, join(list...)), mustStep(t, parts, n, list...)
				if got.Count != 7 || want.Count != 7 || math.Abs(got.Loss()-want.Loss()) > 1e-6 || math.Abs(got.GradNorm-want.GradNorm) > 1e-6 {
					t.Errorf("step %d: got %+v, want %+v", n, got, want)
				}
			}
			for name, want := range whole.State() {
				testutil.Close(t, name, parts.State()[name], want, 2e-6, 0)
			}
		})
	}
}

// TestFailedStep changes nothing, the random stream included.
func TestFailedStep(t *testing.T) {
	for _, k := range []int{1, 2} {
		e := testEngine(t, classifier(0.5, ""), func(c *Config) { c.Accumulate = k })
		first, bad := classes(1, 0, 1, 2, 3), classes(2, 1, 1)
		mustStep(t, e, 1, []Batch{first, first}[:k]...)
		random, err := e.RandomState()
		if err != nil {
			t.Fatal(err)
		}
		before := map[string]*tensor.Tensor{}
		for name, v := range e.State() {
			before[name] = v.Clone()
		}
		for i := range tensor.Data[float32](bad.Feeds["x"]) {
			tensor.Data[float32](bad.Feeds["x"])[i] = float32(math.NaN())
		}
		_, err = e.Step(context.Background(), []Batch{first, bad}[2-k:], 0.1, 2)
		nf := (*NonFiniteError)(nil)
		if !errors.As(err, &nf) || nf.Step != 2 || !strings.Contains(nf.Node, "MatMul") {
			t.Errorf("accumulate %d: got error %v, want one that names step 2 and the MatMul", k, err)
		}
		for name, v := range e.State() {
			if !v.Equal(before[name]) {
				t.Errorf("accumulate %d: %s changed", k, name)
			}
		}
		if now, err := e.RandomState(); err != nil || !bytes.Equal(now, random) {
			t.Errorf("accumulate %d: the random stream went on (%v)", k, err)
		}
	}
}

// TestWhereTheLossAttaches: a loss over classes is made before an activation,
// a squared error from the output itself.
func TestWhereTheLossAttaches(t *testing.T) {
	for _, c := range []struct {
		task   Task
		last   string
		tapped bool
	}{
		{Classification, "", false}, {Classification, "Softmax", true}, {Classification, "LogSoftmax", true}, {Classification, "Sigmoid", true},
		{Regression, "", false}, {Regression, "Sigmoid", false}, {Classification, "Tanh", false},
	} {
		g, err := newGraph(classifier(0, c.last), ops.Standard(), []string{"w"}, LossConfig{Task: c.task})
		if err != nil {
			t.Errorf("%s, %q: %v", c.task, c.last, err)
			continue
		}
		if got := strings.Contains(g.loss.from, "tapped"); got != c.tapped || !strings.Contains(g.loss.from, `output "y"`) {
			t.Errorf("%s, %q: the loss is made from %s", c.task, c.last, g.loss.from)
		}
	}
	if _, err := newGraph(classifier(0, ""), ops.Standard(), nil, LossConfig{Task: Classification, Logits: "zz"}); err == nil || !strings.Contains(err.Error(), `"zz"; outputs are "y"`) {
		t.Errorf("unknown logits: got error %v", err)
	}
}

func TestRates(t *testing.T) {
	for _, c := range []struct {
		schedule    string
		warmup      int
		step, total int
		want        float64
	}{
		{"constant", 0, 7, 10, 2}, {"constant", 4, 1, 10, 0.5}, {"constant", 4, 4, 10, 2}, {"constant", 20, 10, 10, 1},
		{"linear", 0, 1, 10, 2}, {"linear", 0, 10, 10, 0.2}, {"linear", 5, 6, 10, 2}, {"linear", 5, 10, 10, 0.4},
		{"cosine", 0, 1, 4, 2}, {"cosine", 0, 3, 4, 1}, {"cosine", 2, 5, 6, 1},
	} {
		cfg := Config{LR: 2, Schedule: c.schedule, Warmup: c.warmup}
		if got := cfg.rate(c.step, c.total); math.Abs(got-c.want) > 1e-12 {
			t.Errorf("%+v: got %g", c, got)
		}
	}
}
