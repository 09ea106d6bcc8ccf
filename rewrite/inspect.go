package rewrite

import (
	"fmt"
	"math"

	"github.com/bonnx/bonnx/adapter"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// Inspection is what Inspect found; its JSON form is part of the command line's
// contract.
type Inspection struct {
	Layers   []LayerInfo   `json:"layers"`
	Skipped  []Skip        `json:"skipped"`
	Methods  []MethodInfo  `json:"methods"`
	Adapters []AdapterInfo `json:"adapters"`
}

// LayerInfo is a linear layer of a model.
type LayerInfo struct {
	Path   string `json:"path"`
	Source Source `json:"source"` // where Path was found
	Node   string `json:"node"`
	Kind   string `json:"kind"`
	In     int    `json:"in"`
	Out    int    `json:"out"`
	Params int    `json:"parameters"`
	Head   bool   `json:"head"` // left out of all-linear
}

// MethodInfo is what a method adds at a rank under all-linear.
type MethodInfo struct {
	Method string `json:"method"`
	Rank   int    `json:"rank"`
	Params int    `json:"parameters"`
	Unfit  int    `json:"unfit"` // layers that do not take the rank
}

// AdapterInfo is an adapter of a model.
type AdapterInfo struct {
	Name    string       `json:"name"`
	Method  string       `json:"method"`
	Rank    int          `json:"rank"`
	Form    string       `json:"form"`
	Targets []TargetInfo `json:"targets"`
}

// TargetInfo is one layer of an adapter. UpdateNorm is the Euclidean norm of
// what merging adds to the weight, relative to the weight's.
type TargetInfo struct {
	Path       string  `json:"path"`
	BlockNorm  float64 `json:"block_norm"`
	UpdateNorm float64 `json:"update_norm"`
}

// inspectRanks are the ranks that Inspect tells the cost of.
var inspectRanks = []int{1, 2, 4, 8, 16, 32, 64, 128}

// Inspect lists linear layers, what each method would add, and the adapters
// that the model carries. Weights are read only where there is an adapter.
func Inspect(m *ir.Model) (*Inspection, error) {
	found, err := Find(m)
	if err != nil {
		return nil, err
	}
	in := &Inspection{Layers: []LayerInfo{}, Skipped: []Skip{}, Adapters: []AdapterInfo{}}
	var targets []*Linear
	for _, l := range found.Linear {
		in.Layers = append(in.Layers, l.info())
		if l.unnamed(false) == "" {
			targets = append(targets, l)
		}
	}
	for _, s := range found.Others {
		if !s.Computed {
			in.Skipped = append(in.Skipped, s)
		}
	}
	for _, method := range []adapter.Method{adapter.Bone, adapter.Bat, adapter.MiSS, adapter.LoRA} {
		for _, rank := range inspectRanks {
			in.Methods = append(in.Methods, methodInfo(method, rank, targets))
		}
	}
	adapters, err := Adapters(m)
	if err != nil {
		return nil, err
	}
	for _, a := range adapters {
		info, err := a.info()
		if err != nil {
			return nil, err
		}
		in.Adapters = append(in.Adapters, info)
	}
	return in, nil
}

func methodInfo(method adapter.Method, rank int, layers []*Linear) MethodInfo {
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

func (a *Adapter) info() (AdapterInfo, error) {
	info := AdapterInfo{Name: a.Config.DisplayName(), Method: a.Config.Method.String(), Rank: a.Config.Rank, Form: a.Form.String(), Targets: []TargetInfo{}}
	for i := range a.Targets {
		t := &a.Targets[i]
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
		ti := TargetInfo{Path: t.Path, BlockNorm: norm(layer.Blocks...)}
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
