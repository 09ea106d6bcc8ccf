package ir

import (
	"strings"
	"testing"

	"github.com/bonnx/bonnx/tensor"
)

// small is x -> MatMul(x, w) -> Relu -> y.
func small() (*Model, *Node) {
	g := NewGraph("g")
	x := g.AddInput("x", Tensor(tensor.Float32, Symbol("n"), Fixed(4)))
	w := g.AddInitializer("w", Dense(tensor.New(tensor.Float32, 4, 3)))
	mm := NewNode("", "MatMul", x, w)
	mm.Name = "mm"
	h := g.NewValue("h", nil)
	mm.SetOutput(0, h)
	g.Append(mm)
	relu := NewNode("", "Relu", h)
	y := g.NewValue("y", Tensor(tensor.Float32, Symbol("n"), Fixed(3)))
	relu.SetOutput(0, y)
	g.Append(relu)
	g.Outputs = []*Value{y}
	return &Model{IRVersion: 8, Opsets: []Opset{{Version: 17}}, Graph: g}, mm
}

func names(g *Graph) string {
	var s []string
	for n := range g.Nodes() {
		s = append(s, n.OpType)
	}
	return strings.Join(s, " ")
}

func TestPatchTakesOverNames(t *testing.T) {
	m, mm := small()
	p := NewPatch(m.Graph, NewNames(m))
	p.After(mm)
	h := mm.Output(0)
	d := p.Initializer("d", Dense(tensor.New(tensor.Float32, 3)))
	s := p.Node("fold", "Identity", In(h), nil)
	a := p.Node("add", "Add", In(s, d), nil)
	p.TakeOver(h, a)
	if got := len(h.Uses()); got != 1 {
		t.Fatalf("before Apply h has %d uses, want 1", got)
	}
	if err := p.Apply(); err != nil {
		t.Fatal(err)
	}
	if got, want := names(m.Graph), "MatMul Identity Add Relu"; got != want {
		t.Errorf("nodes %q, want %q", got, want)
	}
	if a.Name != "h" || h.Name == "h" {
		t.Errorf("names: new %q, old %q", a.Name, h.Name)
	}
	if err := Verify(m); err != nil {
		t.Error(err)
	}
}

func TestPatchChangesNothingOnError(t *testing.T) {
	m, mm := small()
	p := NewPatch(m.Graph, NewNames(m))
	p.Node("x", "Relu", In(mm.Output(0)), nil)
	p.Remove(mm)
	if err := p.Apply(); err == nil {
		t.Fatal("removing a used node succeeded")
	}
	if got, want := names(m.Graph), "MatMul Relu"; got != want {
		t.Errorf("nodes %q, want %q", got, want)
	}
	if got := len(mm.Output(0).Uses()); got != 1 {
		t.Errorf("uses %d, want 1", got)
	}
}

func TestUsesStayRight(t *testing.T) {
	m, mm := small()
	h := mm.Output(0)
	b := NewBuilder(m.Graph, NewNames(m))
	for range 5 {
		b.Op("Add", In(h, h))
	}
	if got := len(h.Uses()); got != 11 {
		t.Fatalf("uses %d, want 11", got)
	}
	x := m.Graph.Inputs[0]
	h.ReplaceUses(x)
	if len(h.Uses()) != 0 || len(x.Uses()) != 12 {
		t.Errorf("uses %d and %d, want 0 and 12", len(h.Uses()), len(x.Uses()))
	}
	for _, u := range x.Uses() {
		if u.Node.Input(u.Index) != x {
			t.Errorf("use %d of %v does not read x", u.Index, u.Node)
		}
	}
	if got := m.Graph.Prune(true, nil); got != 7 {
		t.Errorf("pruned %d, want 7 (5 Add, MatMul, w)", got)
	}
}

func TestWalkWhileChanging(t *testing.T) {
	m, mm := small()
	b := NewBuilder(m.Graph, NewNames(m))
	b.Before = mm
	for n := range m.Graph.Nodes() {
		if n.OpType == "Relu" && n.Input(0) == mm.Output(0) {
			b.Before = n
			v := b.Op("Identity", In(mm.Input(0)))
			n.SetInput(0, v)
			m.Graph.Remove(mm)
		}
	}
	if got, want := names(m.Graph), "Identity Relu"; got != want {
		t.Errorf("nodes %q, want %q", got, want)
	}
}

func TestCloneIsIndependent(t *testing.T) {
	m, _ := small()
	inner := NewGraph("then")
	n := NewNode("", "Relu", m.Graph.Inputs[0]) // captures x
	v := inner.NewValue("r", nil)
	n.SetOutput(0, v)
	inner.Append(n)
	inner.Outputs = []*Value{v}
	cond := m.Graph.AddInitializer("c", Dense(tensor.Scalar(true)))
	iff := NewNode("", "If", cond)
	iff.SetAttr("then_branch", GraphAttr{inner})
	iff.SetOutput(0, m.Graph.NewValue("o", nil))
	m.Graph.Append(iff)
	c := m.Clone()
	if err := Verify(c); err != nil {
		t.Fatal(err)
	}
	sub := c.Graph.Last().Subgraphs()[0]
	if got := sub.First().Input(0); got != c.Graph.Inputs[0] {
		t.Errorf("the clone's capture reads %p, want the clone's input", got)
	}
	if got := len(m.Graph.Inputs[0].Uses()); got != 2 {
		t.Errorf("original uses %d, want 2", got)
	}
}

func TestVerifyFindsFaults(t *testing.T) {
	cases := []struct {
		name  string
		spoil func(*Model)
		want  string
	}{
		{"no graph name", func(m *Model) { m.Graph.Name = "" }, "no name"},
		{"duplicate", func(m *Model) { m.Graph.Initializers[0].Name = "x" }, "defined twice"},
		{"unsorted", func(m *Model) { m.Graph.Move(m.Graph.First(), nil) }, "not defined before"},
		{"no import", func(m *Model) { m.Opsets[0].Domain = "other" }, "not imported"},
		{"IR 3", func(m *Model) { m.IRVersion = 3 }, "not an input"},
		{"no op", func(m *Model) { m.Graph.First().OpType = "" }, "no operator"},
		{"output", func(m *Model) { m.Graph.Outputs[0] = m.Graph.NewValue("z", nil) }, "not produced"},
		{"attr", func(m *Model) { n := m.Graph.First(); n.Attrs = []*Attr{A("a", Int(1)), A("a", Int(2))} }, "given twice"},
		{"recursion", func(m *Model) {
			body := NewGraph("")
			n := NewNode("f", "F")
			n.SetOutput(0, body.NewValue("q", nil))
			body.Append(n)
			body.Outputs = []*Value{n.Output(0)}
			m.Functions = []*Function{{Domain: "f", Name: "F", Body: body, Opsets: []Opset{{Domain: "f", Version: 1}}}}
		}, "calls itself"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			m, _ := small()
			if err := Verify(m); err != nil {
				t.Fatalf("before: %v", err)
			}
			c.spoil(m)
			if err := Verify(m); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}
