package bonnx

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"

	"github.com/bonnx/bonnx/adapter"
	"github.com/bonnx/bonnx/adapter/peft"
	"github.com/bonnx/bonnx/internal/atomicfile"
	"github.com/bonnx/bonnx/rewrite"
	"github.com/bonnx/bonnx/tensor"
	"github.com/bonnx/bonnx/train"
)

// Report says what Inject did: targets, what was skipped and why, parameters.
type Report = rewrite.Report

// InjectOptions are how an adapter is written into a graph.
type InjectOptions = rewrite.Options

// Form is how an adapter stands in a graph: ParseForm knows the names.
type Form = rewrite.Form

// The forms: AutoForm is Activation where the method has it, else Weight.
const (
	AutoForm   = rewrite.Auto
	Activation = rewrite.Activation
	Weight     = rewrite.Weighted
)

// Bat is the method whose update depends on the weight; it has no activation
// form.
const Bat = adapter.Bat

// BaseMismatchError says that an adapter was made for another base model.
type BaseMismatchError = rewrite.BaseMismatchError

// ErrNoMatch is what errors wrap that say that no layer was selected.
var ErrNoMatch = adapter.ErrNoMatch

// ParseForm is the form called auto, activation or weight.
func ParseForm(s string) (Form, error) { return rewrite.ParseForm(s) }

// Inject puts a new adapter on the layers that c selects. No weight is read.
func (m *Model) Inject(c Config, o InjectOptions) (*Report, error) {
	r, err := rewrite.Inject(m.graph, c, o)
	return r, m.wrap(err)
}

// Blocks are the names of the initializers that the model's adapters train:
// blocks, and what is trained whole.
func (m *Model) Blocks() []string {
	adapters, err := rewrite.Adapters(m.graph)
	if err != nil {
		return nil
	}
	var names []string
	for _, a := range adapters {
		names = append(names, a.TrainableNames()...)
	}
	return names
}

// Merge folds the adapters into the weights; notes tell of weights that had to
// be copied.
func (m *Model) Merge() (notes []string, err error) {
	r, err := rewrite.Merge(m.graph)
	if err != nil {
		return nil, m.wrap(notAdapted(err))
	}
	return r.Notes, nil
}

// Strip takes the adapters off: the base model, field for field.
func (m *Model) Strip() (notes []string, err error) {
	return nil, m.wrap(notAdapted(rewrite.Strip(m.graph)))
}

// SetForm gives the adapters another form and keeps their blocks.
func (m *Model) SetForm(f Form) error {
	adapters, err := rewrite.Adapters(m.graph)
	if err != nil {
		return m.wrap(invalidModel(err))
	}
	inputs := len(adapters) > 0 && adapters[0].Inputs
	return m.wrap(notAdapted(rewrite.Convert(m.graph, rewrite.Options{Form: f, Inputs: inputs})))
}

// notAdapted makes a missing adapter a fault of the model.
func notAdapted(err error) error {
	if errors.Is(err, rewrite.ErrNoAdapter) {
		return invalidModel(err)
	}
	return err
}

// CheckFormat reports whether format is one that Extract writes.
func CheckFormat(format string) error {
	_, err := writerOf(format)
	return err
}

// CheckExtract reports whether Extract could write to path: Check for each
// file of the format.
func CheckExtract(path, format string, force bool, inputs ...string) error {
	if !strings.EqualFold(format, "peft") {
		return CheckOutput(path, force, inputs...)
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return CheckOutput(filepath.Clean(path), force, inputs...) // the folder is made there
	}
	for _, name := range []string{peft.ConfigFile, peft.ModelFile} {
		if err := CheckOutput(filepath.Join(path, name), force, inputs...); err != nil {
			return err
		}
	}
	return nil
}

// Extract writes the model's adapter alone: as "npz", one file, or as "peft",
// a folder. Both carry configuration and fingerprint.
func (m *Model) Extract(path, format string, force bool) error {
	write, err := writerOf(format)
	if err != nil {
		return err
	}
	set, err := rewrite.Extract(m.graph, "")
	if err != nil {
		return m.wrap(notAdapted(err))
	}
	return write(path, set, atomicfile.Options{Force: force, Inputs: m.Files(), FS: m.disk})
}

// Apply puts the adapter in a file or folder onto the model. Onto a model that
// carries adapters, the arrays of an .npz without configuration replace blocks
// by name; names may end in ".new", as an exported training step gives them.
func (m *Model) Apply(path string, o InjectOptions) (notes []string, err error) {
	if names := m.Blocks(); len(names) > 0 {
		values, err := bareBlocks(path)
		if err != nil {
			return nil, err
		}
		if values != nil {
			return nil, m.wrap(m.replaceBlocks(path, names, values))
		}
	}
	set, notes, err := readAdapter(path)
	if err != nil {
		return nil, err
	}
	r, err := rewrite.Apply(m.graph, set, o)
	if err != nil {
		return notes, m.wrap(err)
	}
	return append(notes, r.Notes...), nil
}

// replaceBlocks sets blocks by name; arrays that name no block are refused, but
// for the state of an optimizer, which is left out.
func (m *Model) replaceBlocks(path string, names []string, values map[string]*tensor.Tensor) error {
	blocks := map[string]*tensor.Tensor{}
	known := map[string]bool{}
	for _, n := range names {
		known[n] = true
	}
	for key, t := range values {
		name := strings.TrimSuffix(key, train.NewSuffix)
		switch {
		case known[name]:
			blocks[name] = t
		case train.IsState(name, known), name == train.ExportLoss:
		default:
			return fmt.Errorf("%s: array %q is no block of the model's adapters", path, key)
		}
	}
	if len(blocks) == 0 {
		return fmt.Errorf("%s: no array is a block of the model's adapters", path)
	}
	return rewrite.SetBlocks(m.graph, blocks)
}

// LayerInfo is a linear layer of a model.
type LayerInfo struct {
	Path, Source, Node, Kind string
	In, Out, Params          int
	Head                     bool // left out of all-linear
}

// SkipInfo is a node that cannot take an adapter.
type SkipInfo struct{ Node, Reason string }

// MethodInfo is what a method adds at a rank under all-linear.
type MethodInfo struct {
	Method       string
	Rank, Params int
	Unfit        int // layers that do not take the rank
}

// AdapterInfo is an adapter of a model.
type AdapterInfo struct {
	Name, Method string
	Rank         int
	Form         string
	Targets      []TargetInfo
}

// TargetInfo is one layer of an adapter. UpdateNorm is the Euclidean norm of
// what merging adds to the weight, relative to the weight's.
type TargetInfo struct {
	Path                  string
	BlockNorm, UpdateNorm float64
}

// Inspection is what Inspect found.
type Inspection struct {
	Layers   []LayerInfo
	Skipped  []SkipInfo
	Methods  []MethodInfo
	Adapters []AdapterInfo
}

// inspectRanks are the ranks that Inspect tells the cost of.
var inspectRanks = []int{1, 2, 4, 8, 16, 32, 64, 128}

// Inspect lists linear layers, what each method would add, and the adapters
// that the model carries. Weights are read only where there is an adapter.
func (m *Model) Inspect() (*Inspection, error) {
	found, err := rewrite.Find(m.graph)
	if err != nil {
		return nil, m.wrap(err)
	}
	var in Inspection
	var targets []*rewrite.Linear
	for _, l := range found.Linear {
		in.Layers = append(in.Layers, LayerInfo{l.Path, string(l.Source), l.Label(), l.Kind, l.In, l.Out, l.Params(), l.Head})
		if !l.Head {
			targets = append(targets, l)
		}
	}
	for _, s := range found.Others {
		if !s.Computed {
			in.Skipped = append(in.Skipped, SkipInfo{s.Node, s.Reason})
		}
	}
	for _, method := range []adapter.Method{adapter.Bone, adapter.Bat, adapter.MiSS, adapter.LoRA} {
		for _, rank := range inspectRanks {
			in.Methods = append(in.Methods, methodInfo(method, rank, targets))
		}
	}
	adapters, err := rewrite.Adapters(m.graph)
	if err != nil {
		return nil, m.wrap(invalidModel(err))
	}
	for _, a := range adapters {
		info, err := adapterInfo(a)
		if err != nil {
			return nil, m.wrap(err)
		}
		in.Adapters = append(in.Adapters, info)
	}
	return &in, nil
}

func methodInfo(method adapter.Method, rank int, layers []*rewrite.Linear) MethodInfo {
	info := MethodInfo{Method: method.String(), Rank: rank}
	for _, l := range layers {
		d := adapter.Dims{In: l.In, Out: l.Out, Rank: rank}
		if method.Check(d) != nil {
			info.Unfit++
			continue
		}
		info.Params += method.Params(d)
	}
	return info
}

func adapterInfo(a *rewrite.Adapter) (AdapterInfo, error) {
	info := AdapterInfo{Name: a.Config.DisplayName(), Method: a.Config.Method.String(), Rank: a.Config.Rank, Form: a.Form.String()}
	for _, t := range a.Targets {
		ti := TargetInfo{Path: t.Path}
		layer := adapter.Layer{Method: a.Config.Method, Alpha: a.Config.Alpha, Name: a.Config.DisplayName()}
		for _, v := range t.Blocks {
			b, err := v.Data.Tensor()
			if err != nil {
				return info, fmt.Errorf("block %q: %w", v.Name, err)
			}
			layer.Blocks = append(layer.Blocks, b)
		}
		w, err := t.Weight.Read()
		if err != nil {
			return info, fmt.Errorf("weight of %s: %w", t.Path, err)
		}
		delta, err := layer.Delta(w)
		if err != nil {
			return info, fmt.Errorf("%s: %w", t.Path, err)
		}
		ti.BlockNorm = norm(layer.Blocks...)
		if n := norm(w); n > 0 {
			ti.UpdateNorm = norm(delta) / n
		}
		info.Targets = append(info.Targets, ti)
	}
	return info, nil
}

// norm is the Euclidean norm of all elements together.
func norm(ts ...*tensor.Tensor) float64 {
	sum := 0.0
	for _, t := range ts {
		xs, err := t.Float64s()
		if err != nil {
			return math.NaN()
		}
		for _, x := range xs {
			sum += x * x
		}
	}
	return math.Sqrt(sum)
}
