package adapter

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"

	"github.com/bonnx/bonnx/tensor"
)

// blend is a Blend under way.
type blend struct {
	BlendOptions
	sets    []*Set
	weights []float64
	over    float64 // divides all weights: the mean's count, else 1
	targets []*module
	config  Config // of the result
	report  BlendReport
}

// module is a target and what each adapter has for it. in and out are 0 where
// neither the base nor a block tells them.
type module struct {
	path    string
	in, out int
	parts   []part
}

// part is what one adapter adds to a target: weight times the delta of layer,
// divided by over, which is the same in all parts.
type part struct {
	form
	layer  Layer
	weight float64
	over   float64     // divides the sum of all parts
	scale  float64     // of lora: alpha / r
	blocks [][]float64 // of layer
}

// form is what decides which other blocks can hold a block. mini is 0 but for
// miss-mini.
type form struct {
	method     Method
	rank, mini int
}

// width is the number of columns after which the block repeats on d.
func (f form) width(d Dims) int {
	if f.mini > 0 {
		return f.mini
	}
	return d.Out
}

func forms(parts []part) []form {
	out := make([]form, len(parts))
	for i, p := range parts {
		out[i] = p.form
	}
	return out
}

// dtype is the type of the result's blocks: float32, but float64 where a block
// is that already.
func (t *module) dtype() tensor.DType {
	for _, p := range t.parts {
		for _, b := range p.layer.Blocks {
			if b.DType() == tensor.Float64 {
				return tensor.Float64
			}
		}
	}
	return tensor.Float32
}

// scale is lora's Alpha/Rank, and 1 for the other methods.
func (c Config) scale() float64 {
	if c.Method != LoRA || c.Alpha == 0 {
		return 1
	}
	return c.Alpha / float64(c.Rank)
}

func newBlend(sets []*Set, weights []float64, o BlendOptions) (*blend, error) {
	if len(sets) == 0 {
		return nil, errors.New("no adapter to blend")
	}
	over := 1.0
	if weights == nil {
		weights, over = slices.Repeat([]float64{1}, len(sets)), float64(len(sets))
	}
	if len(weights) != len(sets) {
		return nil, fmt.Errorf("%d weights for %d adapters", len(weights), len(sets))
	}
	b := &blend{BlendOptions: o, sets: sets, weights: weights, over: over, report: BlendReport{Exact: true}}
	at := map[string]*module{}
	for i, s := range sets {
		if w := weights[i]; math.IsNaN(w) || math.IsInf(w, 0) {
			return nil, fmt.Errorf("%s: weight %v is not finite", b.label(i), w)
		}
		if err := s.usable(); err != nil {
			return nil, fmt.Errorf("%s: %w", b.label(i), err)
		}
		for _, e := range s.Entries {
			t := at[e.Path]
			if t == nil {
				t = &module{path: e.Path}
				at[e.Path] = t
				b.targets = append(b.targets, t)
			}
			p, err := newPart(s, e, weights[i], over)
			if err != nil {
				return nil, fmt.Errorf("%s: %s: %w", b.label(i), e.Path, err)
			}
			t.parts = append(t.parts, p)
		}
	}
	for _, t := range b.targets {
		if err := b.size(t); err != nil {
			return nil, fmt.Errorf("%s: %w", t.path, err)
		}
	}
	b.aliases(at)
	return b, b.configure()
}

// label is how messages call a set.
func (b *blend) label(i int) string {
	switch {
	case i < len(b.Labels):
		return b.Labels[i]
	case len(b.sets) == 1:
		return "the adapter"
	}
	return fmt.Sprintf("adapter %d (%s)", i+1, b.sets[i].Config.DisplayName())
}

// usable reports what keeps a set from being computed with.
func (s *Set) usable() error {
	m := s.Config.Method
	if err := s.Config.Validate(); err != nil {
		return err
	}
	if len(s.Entries) == 0 {
		return errors.New("it has no blocks")
	}
	want := m.Blocks(Dims{In: 1, Out: 1, Rank: 1, MiniRank: 1})
	for _, e := range s.Entries {
		if len(e.Blocks) != len(want) {
			return fmt.Errorf("%s: %v has %d blocks; got %d", e.Path, m, len(want), len(e.Blocks))
		}
		for i, t := range e.Blocks {
			if t == nil || t.Rank() != len(want[i].Shape) || t.Size() == 0 || !t.DType().IsFloat() {
				return fmt.Errorf("%s: %v is no %s of %v", e.Path, t, want[i].Suffix, m)
			}
		}
	}
	return s.check()
}

func newPart(s *Set, e Entry, weight, over float64) (part, error) {
	p := part{form: form{s.Config.Method, s.Config.Rank, s.Config.MiniRank}, layer: s.Layer(e), weight: weight, over: over, scale: s.Config.scale()}
	for _, t := range e.Blocks {
		if ok, err := finite(t); err != nil || !ok {
			return p, errors.Join(err, errors.New("a block has elements that are not finite"))
		}
	}
	var err error
	p.blocks, err = float64s(e.Blocks)
	return p, err
}

// size finds out how large a target is and holds every part to it.
func (b *blend) size(t *module) error {
	known := func(have *int, got int) error {
		if *have != 0 && got != 0 && *have != got {
			return fmt.Errorf("blocks of the adapters are for weights of different sizes, %d and %d", *have, got)
		}
		*have = max(*have, got)
		return nil
	}
	for _, p := range t.parts {
		in, out := algebras[p.method].sizes(p)
		if err := errors.Join(known(&t.in, in), known(&t.out, out)); err != nil {
			return err
		}
	}
	in, out, err := b.Base.size(t.path)
	if err != nil {
		return err
	}
	if in != 0 {
		t.in, t.out = in, out
	}
	if t.in == 0 || t.out == 0 {
		return nil
	}
	for _, p := range t.parts {
		shapes := make([][]int, len(p.layer.Blocks))
		for i, x := range p.layer.Blocks {
			shapes[i] = x.Shape()
		}
		d, err := p.method.DimsOf(t.in, t.out, shapes...)
		if err == nil {
			err = p.method.Check(d)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// size is what the base says of a module's weight, zeros where it says nothing.
func (b Base) size(path string) (in, out int, err error) {
	switch {
	case b.Dims != nil:
		return b.Dims(path)
	case b.Weight == nil:
		return 0, 0, nil
	}
	w, err := b.Weight(path)
	if err != nil {
		return 0, 0, err
	}
	if w.Rank() != 2 {
		return 0, 0, fmt.Errorf("weight is %v, no matrix", w)
	}
	return w.Shape()[0], w.Shape()[1], nil
}

// configure decides the configuration of the result.
func (b *blend) configure() error {
	c := b.sets[0].Config
	if b.Name != "" {
		c.Name = b.Name
	}
	var err error
	if c.Method, err = b.method(); err != nil {
		return err
	}
	exact, err := b.form(&c)
	if err != nil {
		return err
	}
	c.Selection = b.selection()
	b.config = c
	if err := c.Validate(); err != nil {
		return err
	}
	if err := b.fits(); err != nil {
		if b.Rank == 0 && c.Rank == exact && len(b.sets) > 1 {
			return fmt.Errorf("the exact result takes rank %d, for adapters of rank %s: %w; ask for a rank that fits (--rank) to get what is closest", exact, b.ranks(), err)
		}
		return err
	}
	return nil
}

// form puts rank, mini rank and alpha into c, whose method is decided: what is
// asked for, else the least that is exact, else what the sets have. It returns
// the least rank that is exact, 0 where none is.
func (b *blend) form(c *Config) (exact int, err error) {
	exact, mini := algebras[c.Method].least(b.targets)
	if b.Rank == 0 && exact > maxRank {
		return 0, fmt.Errorf("the exact result for adapters of rank %s takes a rank past any use; ask for a rank (--rank) to get what is closest", b.ranks())
	}
	if c.Rank = cmp.Or(b.Rank, exact); c.Rank == 0 {
		if c.Rank, err = b.commonRank(); err != nil {
			return 0, err
		}
	}
	c.MiniRank, c.Alpha = 0, 0
	switch {
	case c.Method == MiSSMini:
		c.MiniRank = cmp.Or(b.MiniRank, mini)
	case c.Method == LoRA && exact > 0 && c.Rank >= exact:
		c.Alpha = b.commonAlpha(c.Rank)
	}
	return exact, nil
}

// method is that of the result: what is asked for, else the sets' own. Of
// methods that differ in how much blocks repeat, it is the one that holds all.
func (b *blend) method() (Method, error) {
	if b.Method != nil {
		if !b.Method.Valid() {
			return 0, fmt.Errorf("unknown %v", *b.Method)
		}
		return *b.Method, nil
	}
	all := []Method{}
	for _, s := range b.sets {
		if m := s.Config.Method; !slices.Contains(all, m) {
			all = append(all, m)
		}
	}
	if len(all) == 1 {
		return all[0], nil
	}
	if !slices.Contains(all, Bat) && !slices.Contains(all, LoRA) {
		return all[slices.IndexFunc(all, func(m Method) bool { return m != MiSSMini })], nil
	}
	names := make([]string, len(all))
	for i, m := range all {
		names[i] = m.String()
	}
	return 0, fmt.Errorf("adapters of %s: say which method the result is to have (--method)", strings.Join(names, " and "))
}

// commonRank is the rank of all sets, for a result that is not exact at any.
func (b *blend) commonRank() (int, error) {
	for _, s := range b.sets {
		if s.Config.Rank != b.sets[0].Config.Rank {
			return 0, fmt.Errorf("adapters of rank %s have no exact blend; say which rank the result is to have (--rank)", b.ranks())
		}
	}
	return b.sets[0].Config.Rank, nil
}

func (b *blend) ranks() string {
	var out []string
	for _, s := range b.sets {
		if r := fmt.Sprint(s.Config.Rank); !slices.Contains(out, r) {
			out = append(out, r)
		}
	}
	return strings.Join(out, ", ")
}

// commonAlpha is the alpha with which a lora of the given rank has the scale
// that all sets have; 0, which is scale 1, where they differ or no such number
// exists.
func (b *blend) commonAlpha(rank int) float64 {
	s := b.sets[0].Config.scale()
	for _, x := range b.sets {
		if x.Config.Method != LoRA || x.Config.scale() != s {
			return 0
		}
	}
	if alpha := s * float64(rank); s != 1 && alpha/float64(rank) == s {
		return alpha
	}
	return 0
}

// selection is the sets' own where they agree, else the list of all targets.
func (b *blend) selection() Selection {
	first := b.sets[0]
	same := true
	for _, s := range b.sets {
		same = same && reflect.DeepEqual(s.Config.Selection, first.Config.Selection) && slices.Equal(s.sortedPaths(), first.sortedPaths())
	}
	if same {
		return first.Config.Selection
	}
	sel := Selection{Save: first.Config.Save}
	for _, t := range b.targets {
		sel.Targets.List = append(sel.Targets.List, t.path)
	}
	return sel
}

func (s *Set) sortedPaths() []string {
	out := make([]string, len(s.Entries))
	for i, e := range s.Entries {
		out[i] = e.Path
	}
	slices.Sort(out)
	return out
}

// fits holds the result's form to all targets whose sizes are known.
func (b *blend) fits() error {
	var sized []Target
	for _, t := range b.targets {
		if t.in > 0 && t.out > 0 {
			sized = append(sized, Target{Name: t.path, In: t.in, Out: t.out})
		}
	}
	c := b.config
	larger := slices.IndexFunc(b.sets, func(s *Set) bool { return s.Config.Rank >= c.Rank }) < 0
	if len(sized) < len(b.targets) && larger && c.Method != LoRA {
		b.report.Notes = append(b.report.Notes, fmt.Sprintf("that rank %d fits every target was not checked: not all sizes are known without the base model", c.Rank))
	}
	return c.Method.CheckAll(c.Rank, c.MiniRank, sized)
}
