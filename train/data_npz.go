package train

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/bonnx/bonnx/tensor"
	"github.com/bonnx/bonnx/tensor/npz"
)

// arrays is Data whose samples are the entries of the first axis of arrays.
type arrays struct {
	feeds  map[string]*tensor.Tensor
	n      int
	tokens string // the feed of token ids, "" for none
	mask   Port   // made of ones; no name where it is not
	notes  []string
}

// OpenNPZ reads data from an .npz archive whose arrays are named by the
// model's inputs, samples along the first axis, and "labels".
//
// With task causal-lm and no labels, input_ids holds windows of T+1 ids, of
// which the first T are the input and the last T the labels. An input
// attention_mask that the file lacks is all ones. Element types are converted
// where no value changes but by rounding; labels become int64, of a regression
// float32. Other differences between file and model are errors.
func OpenNPZ(path string, spec Spec) (Data, error) {
	if err := checkRegular(path); err != nil {
		return nil, err
	}
	f, err := npz.ReadFile(path, npz.Options{})
	if err != nil {
		return nil, err
	}
	d, err := FromTensors(f.Map(), spec)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return d, nil
}

// FromTensors is the data that the arrays hold, as OpenNPZ has it. Arrays
// that need no conversion are kept, not copied.
func FromTensors(m map[string]*tensor.Tensor, spec Spec) (Data, error) {
	if err := spec.check(); err != nil {
		return nil, err
	}
	spec, err := spec.detected(heldFacts(m))
	if err != nil {
		return nil, err
	}
	a := &arrays{feeds: make(map[string]*tensor.Tensor, len(m))}
	if p, ok := spec.tokens(); ok {
		a.tokens = p.Name
	}
	if err := a.checkNames(m, spec); err != nil {
		return nil, err
	}
	if err := a.countSamples(m, spec); err != nil {
		return nil, err
	}
	for name, t := range m {
		if !a.used(name, spec) {
			continue
		}
		if t.Shape()[0] > a.n {
			all := make([]int, a.n)
			for i := range all {
				all[i] = i
			}
			t = gather(t, all)
		}
		a.feeds[name] = t
	}
	if err := a.labels(spec); err != nil {
		return nil, err
	}
	if err := a.inputs(spec); err != nil {
		return nil, err
	}
	if spec.SeqLen > 0 && a.tokens != "" {
		if t := a.feeds[a.tokens].Shape()[1]; t > spec.SeqLen {
			return nil, fmt.Errorf("samples have %d positions, more than seq-len %d", t, spec.SeqLen)
		}
	}
	return a, nil
}

// used says whether an array is fed; the rest was refused by checkNames.
func (a *arrays) used(name string, spec Spec) bool {
	_, ok := spec.port(name)
	return ok || spec.wantsLabels()
}

// checkNames holds the arrays' names to the model's inputs.
func (a *arrays) checkNames(m map[string]*tensor.Tensor, spec Spec) error {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	has := strings.Join(names, ", ")
	if has == "" {
		return fmt.Errorf("holds no arrays; the model takes %s", spec.inputList())
	}
	for _, p := range spec.Inputs {
		if m[p.Name] != nil {
			continue
		}
		if rank, ranked := p.rank(); p.Name == maskName && a.tokens != "" && (!ranked || rank == 2) {
			a.mask = p
			continue
		}
		if _, made := feedRule(p, spec.Feeds); made {
			continue
		}
		return fmt.Errorf("no array for input %q; the arrays are %s; the model takes %s; --feed %[1]s=... can make it", p.Name, has, spec.inputList())
	}
	for _, name := range names {
		if _, ok := spec.port(name); !ok && name != LabelsInput {
			return fmt.Errorf("array %q is no input of the model, which takes %s", name, spec.inputList())
		}
	}
	if m[LabelsInput] == nil && spec.wantsLabels() && spec.Task != CausalLM {
		return fmt.Errorf("no array %q, which task %s needs; the arrays are %s", LabelsInput, spec.Task, has)
	}
	if _, ok := spec.port(LabelsInput); !ok && m[LabelsInput] != nil && !spec.wantsLabels() {
		a.notes = append(a.notes, fmt.Sprintf("labels are left out: the model has no such input and task %s computes its own loss", spec.Task))
	}
	return nil
}

// countSamples finds how many samples all arrays have.
func (a *arrays) countSamples(m map[string]*tensor.Tensor, spec Spec) error {
	first := ""
	for _, name := range sortedKeys(m) {
		t := m[name]
		switch {
		case t.Rank() == 0:
			return fmt.Errorf("array %q has rank 0; its first axis has to be that of the samples", name)
		case t.DType().Bits() < 8 && t.DType() != tensor.String:
			return fmt.Errorf("array %q holds %v, which is no type of data", name, t.DType())
		case t.Size() == 0 && t.Shape()[0] > 0:
			return fmt.Errorf("array %q is %v, which holds nothing", name, t.Shape())
		case first == "":
			first, a.n = name, t.Shape()[0]
		case t.Shape()[0] != a.n:
			return fmt.Errorf("array %q has %d samples, %q has %d", first, a.n, name, t.Shape()[0])
		}
	}
	if a.n == 0 {
		return errors.New("holds no samples")
	}
	if spec.MaxRows > 0 && a.n > spec.MaxRows {
		a.notes = append(a.notes, fmt.Sprintf("the first %d of %d samples are taken", spec.MaxRows, a.n))
		a.n = spec.MaxRows
	}
	return nil
}

func sortedKeys(m map[string]*tensor.Tensor) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// labels converts the labels, or makes them of windows.
func (a *arrays) labels(spec Spec) error {
	if !spec.wantsLabels() {
		return nil
	}
	t := a.feeds[LabelsInput]
	if t == nil {
		return a.shift()
	}
	if spec.Task == Regression {
		c, err := convert(t, tensor.Float32)
		if err != nil {
			return fmt.Errorf("array %q: %w", LabelsInput, err)
		}
		a.feeds[LabelsInput] = c
		return nil
	}
	if !t.DType().IsInteger() && t.DType() != tensor.Bool {
		return fmt.Errorf("array %q holds %v; task %s has class numbers", LabelsInput, t.DType(), spec.Task)
	}
	c, err := convert(t, tensor.Int64)
	if err != nil {
		return fmt.Errorf("array %q: %w", LabelsInput, err)
	}
	a.feeds[LabelsInput] = c
	if spec.Task != CausalLM || a.tokens == "" {
		return nil
	}
	if ids := a.feeds[a.tokens]; !ids.Shape().Equal(c.Shape()) {
		return fmt.Errorf("labels are %v, %s is %v; with task %s every position has one", c.Shape(), a.tokens, ids.Shape(), CausalLM)
	}
	return nil
}

// shift cuts windows of T+1 ids into T inputs and T labels. Arrays beside the
// ids that have T+1 columns too lose the last. A mask says which labels count.
func (a *arrays) shift() error {
	ids := a.feeds[a.tokens]
	if ids == nil {
		return fmt.Errorf("no array %q, and no input that windows of token ids could be cut from", LabelsInput)
	}
	if ids.Rank() != 2 || ids.Shape()[1] < 2 {
		return fmt.Errorf("array %q is %v; without labels it has to hold windows of at least 2 ids", a.tokens, ids.Shape())
	}
	wide := ids.Shape()[1]
	all, err := convert(ids, tensor.Int64)
	if err != nil {
		return fmt.Errorf("array %q: %w", a.tokens, err)
	}
	labels := columns(all, 1, wide)
	if mask := a.feeds[maskName]; mask != nil {
		if err := ignoreMasked(tensor.Data[int64](labels), mask, wide); err != nil {
			return err
		}
	}
	for name, t := range a.feeds {
		if t.Rank() >= 2 && t.Shape()[1] == wide && t.DType() != tensor.String {
			a.feeds[name] = columns(t, 0, wide-1)
		}
	}
	a.feeds[LabelsInput] = labels
	return nil
}

// ignoreMasked marks labels (n, wide-1) at and of padding. mask has as many
// columns, or one more for the ids that are labels only.
func ignoreMasked(labels []int64, mask *tensor.Tensor, wide int) error {
	if mask.Rank() != 2 || (mask.Shape()[1] != wide && mask.Shape()[1] != wide-1) {
		return nil // of another kind; its shape is checked against the input's
	}
	v, err := mask.Float64s()
	if err != nil {
		return fmt.Errorf("array %q: %w", maskName, err)
	}
	cols := mask.Shape()[1]
	for i := range labels {
		r, c := i/(wide-1), i%(wide-1)
		if v[r*cols+c] == 0 || (cols == wide && v[r*cols+c+1] == 0) {
			labels[i] = ignoreIndex
		}
	}
	return nil
}

// inputs converts every input's array and holds it to the declared type.
func (a *arrays) inputs(spec Spec) error {
	type extent struct {
		name string
		n    int
	}
	symbols := map[string]extent{}
	for _, p := range spec.Inputs {
		t := a.feeds[p.Name]
		if t == nil || (p.Name == LabelsInput && spec.wantsLabels()) {
			continue
		}
		c, err := convert(t, p.elem())
		if err != nil {
			return fmt.Errorf("array %q: %w", p.Name, err)
		}
		a.feeds[p.Name] = c
		if rank, ok := p.rank(); ok && rank != c.Rank() {
			return fmt.Errorf("array %q is %v; the input is %v", p.Name, c.Shape(), p.Type)
		}
		for axis, n := range c.Shape() {
			d, ok := p.dim(axis)
			if !ok || axis == 0 {
				continue // the first axis is cut into batches
			}
			if d.Known && d.Value != int64(n) {
				return fmt.Errorf("array %q is %v; the input is %v", p.Name, c.Shape(), p.Type)
			}
			if o, seen := symbols[d.Sym]; d.Sym != "" && seen && o.n != n {
				return fmt.Errorf("array %q has %d for %s, array %q has %d", o.name, o.n, d.Sym, p.Name, n)
			}
			symbols[d.Sym] = extent{p.Name, n}
		}
	}
	if a.tokens != "" && a.feeds[a.tokens].Rank() < 2 {
		a.tokens = "" // ids without positions
	}
	if a.tokens == "" && a.mask.Name != "" {
		return fmt.Errorf("no array for input %q", a.mask.Name)
	}
	return nil
}

// Len implements Data.
func (a *arrays) Len() int { return a.n }

// Notes are what reading left out.
func (a *arrays) Notes() []string { return a.notes }

// Batch implements Data.
func (a *arrays) Batch(samples []int) (Batch, error) { return refilled(a, samples) }

func (a *arrays) refill(b *Batch, samples []int) (err error) {
	if err := checkSamples(samples, a.n); err != nil {
		return err
	}
	for name, t := range a.feeds {
		b.Feeds[name] = gatherInto(b.Feeds[name], t, samples)
	}
	if a.mask.Name != "" {
		if err := a.maskOnes(b); err != nil {
			return err
		}
	}
	b.Tokens, err = countTokens(b.Feeds, a.tokens, len(samples))
	return err
}

// maskOnes feeds the mask of ones beside the token ids.
func (a *arrays) maskOnes(b *Batch) error {
	shape := b.Feeds[a.tokens].Shape()[:2]
	if m := b.Feeds[maskName]; m != nil && m.Shape().Equal(shape) {
		return nil
	}
	ones := make([]int64, shape.Size())
	for i := range ones {
		ones[i] = 1
	}
	m, err := maskTensor(ones, a.mask, shape[0], shape[1])
	b.Feeds[maskName] = m
	return err
}

// maskTensor is a mask (rows, cols) in the type that the input takes.
func maskTensor(v []int64, p Port, rows, cols int) (*tensor.Tensor, error) {
	t, err := convert(tensor.FromSlice(v, rows, cols), p.elem())
	if err != nil {
		return nil, fmt.Errorf("input %q: %w", p.Name, err)
	}
	return t, nil
}
