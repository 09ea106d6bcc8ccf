package testmodel_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/internal/testutil/ort"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/onnx"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/rewrite"
	"github.com/bonnx/bonnx/runtime"
	"github.com/bonnx/bonnx/tensor"
)

// A family is one kind of model that people have, as its exporter writes it.
type family struct {
	name  string
	model func() (*ir.Model, error)
	feeds []feed
	// paths are the linear layers to be found, in order, with the source of
	// each.
	paths []string
	from  rewrite.Source
	// but are the layers of which some other source tells.
	but map[string]rewrite.Source
	// sealed says that the layers are in functions, where no adapter is put.
	sealed bool
}

type feed map[string]*tensor.Tensor

func families() []family {
	return slices.Concat(decoders(), encoders(), gpt2s(), genais(), diffusion(), vits(), seq2seqs(), whispers())
}

// Every family is deterministic, legal, and survives a file.
func TestFamilies(t *testing.T) {
	for _, f := range families() {
		t.Run(f.name, func(t *testing.T) {
			m := build(t, f)
			first := marshal(t, m)
			if !bytes.Equal(first, marshal(t, build(t, f))) {
				t.Error("two builds differ")
			}
			again, err := onnx.LoadBytes(first)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(first, marshal(t, again)) {
				t.Error("the file changes when it is read and written again")
			}
		})
	}
}

// The layers of every family are found under the paths that the source
// framework has for them.
func TestFamilyPaths(t *testing.T) {
	for _, f := range families() {
		t.Run(f.name, func(t *testing.T) {
			found, err := rewrite.Find(build(t, f))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, l := range found.Linear {
				if l.Kind == "Conv" {
					continue // TestPEFTExample has those
				}
				if !slices.Contains(got, l.Path) {
					got = append(got, l.Path)
				}
				want := f.from
				if other := f.but[l.Path]; other != "" {
					want = other
				}
				if l.Source != want {
					t.Errorf("%s is from %s, want %s", l.Path, l.Source, want)
				}
			}
			if f.sealed {
				if len(got) > 0 {
					t.Errorf("got paths %q: functions are looked into now", got)
				}
				return
			}
			if !slices.Equal(got, f.paths) {
				t.Errorf("got paths %q,\nwant %q", got, f.paths)
			}
		})
	}
}

func TestORTFamilies(t *testing.T) {
	ort.Available(t)
	for _, f := range families() {
		t.Run(f.name, func(t *testing.T) {
			m := build(t, f)
			for i, feed := range f.feeds {
				want := inORT(t, m, feed)
				for name, got := range run(t, m, feed) {
					testutil.Close(t, name, got, want[name], 1e-4, 1e-4)
				}
				if len(want) != len(m.Graph.Outputs) {
					t.Errorf("feed %d: %d outputs, want %d", i, len(want), len(m.Graph.Outputs))
				}
			}
		})
	}
}

// open are the families whose layers take adapters.
func open() []family {
	return slices.DeleteFunc(families(), func(f family) bool { return f.sealed })
}

func build(t testing.TB, f family) *ir.Model {
	t.Helper()
	m, err := f.model()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func marshal(t testing.TB, m *ir.Model) []byte {
	t.Helper()
	b, err := onnx.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// run computes all outputs in bonnx, or skips where an operator is missing.
func run(t testing.TB, m *ir.Model, feeds feed) map[string]*tensor.Tensor {
	t.Helper()
	named, err := compute(m, feeds)
	var unsupported *ops.UnsupportedOpError
	if errors.As(err, &unsupported) {
		t.Skipf("ONNX Runtime runs it; bonnx does not yet: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return named
}

func compute(m *ir.Model, feeds feed) (map[string]*tensor.Tensor, error) {
	p, err := runtime.Compile(m, runtime.Options{Threads: 1})
	if err != nil {
		return nil, err
	}
	defer p.Close()
	s, err := p.NewSession()
	if err != nil {
		return nil, err
	}
	outs, err := s.Run(context.Background(), feeds)
	if err != nil {
		return nil, err
	}
	named := map[string]*tensor.Tensor{}
	for i, o := range p.Outputs() {
		named[o.Name] = outs[i].Clone()
	}
	return named, nil
}
