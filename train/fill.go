package train

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/bonnx/bonnx/tensor"
)

// filler completes batches: it makes the inputs that the data does not hold,
// and of a language model's windows the labels.
type filler struct {
	spec   Spec
	unused map[string]bool           // inputs that the loss does not depend on
	arrays map[string]*tensor.Tensor // of rules that name a file
	note   func(string)
	told   bool
}

// fillIn has the run's batches completed. inputs are what the model and the
// loss can be fed; unused ones need not be.
func (l *loop) fillIn(inputs []Port, unused map[string]bool) error {
	f := &filler{spec: Spec{Inputs: inputs, Task: l.c.Task, Feeds: l.c.Feeds}, unused: unused, note: l.w.Note}
	for _, name := range slices.Sorted(maps.Keys(l.c.Feeds)) {
		if _, ok := f.spec.port(name); !ok || name == LabelsInput && l.c.Task != Custom {
			return fmt.Errorf("feed of %q (--feed): the model takes %s", name, f.spec.inputList())
		}
	}
	var err error
	if f.arrays, err = readFeeds(l.c.Feeds); err != nil {
		return err
	}
	l.data = filled{l.data, f}
	if l.eval != nil {
		l.eval = filled{l.eval, f}
	}
	return nil
}

// filled is a Source with its batches completed.
type filled struct {
	Source
	f *filler
}

func (s filled) once(c Config) iter.Seq2[Batch, error] {
	return func(yield func(Batch, error) bool) {
		for b, err := range s.Source.once(c) {
			if err == nil {
				b, err = s.f.fill(b)
			}
			if !yield(b, err) {
				return
			}
		}
	}
}

func (s filled) largest(n int) (Batch, error) {
	b, err := s.Source.largest(n)
	if err != nil {
		return b, err
	}
	return s.f.fill(b)
}

func (s filled) feed(c Config, from place) (feeder, error) {
	fd, err := s.Source.feed(c, from)
	if err != nil {
		return nil, err
	}
	return &filledFeeder{feeder: fd, f: s.f}, nil
}

// filledFeeder completes the batches of a feeder.
type filledFeeder struct {
	feeder
	f       *filler
	makings []*making // by batch of a portion
	batches []Batch   // of the last portion
}

func (s *filledFeeder) next() (portion, error) {
	p, err := s.feeder.next()
	s.batches = s.batches[:0]
	for i, b := range p.batches {
		if err != nil {
			break
		}
		if i == len(s.makings) {
			s.makings = append(s.makings, s.f.making())
		}
		b, err = s.makings[i].fill(b)
		s.batches = append(s.batches, b)
	}
	p.batches = s.batches
	return p, err
}

// A making completes a batch, and others after it in the same memory.
type making struct {
	*filler
	feeds map[string]*tensor.Tensor
	rows  int            // samples
	cols  int            // positions, 0 where the model has no token ids
	past  int            // positions before those
	known map[string]int // extents by symbol
	made  []string       // what was made, for people: description TAB input

	todo  []Port                    // what is to be made
	kept  map[string]*tensor.Tensor // what was made last
	shape tensor.Shape              // of what is being made
}

func (f *filler) making() *making {
	return &making{filler: f, feeds: map[string]*tensor.Tensor{}, known: map[string]int{}, kept: map[string]*tensor.Tensor{}}
}

// fill is b completed; b itself stays.
func (f *filler) fill(b Batch) (Batch, error) { return f.making().fill(b) }

// fill is b completed, valid until the next one is; b itself stays.
func (m *making) fill(b Batch) (Batch, error) {
	f := m.filler
	m.rows, m.cols, m.past, m.made, m.todo = 0, 0, 0, nil, m.todo[:0]
	clear(m.known)
	clear(m.feeds)
	maps.Copy(m.feeds, b.Feeds)
	if err := m.hold(); err != nil {
		return Batch{}, err
	}
	for _, p := range f.spec.Inputs {
		_, given := f.spec.Feeds[p.Name]
		if given || m.feeds[p.Name] == nil && !f.unused[p.Name] {
			m.todo = append(m.todo, p)
		}
	}
	if err := m.makeAll(); err != nil {
		return Batch{}, err
	}
	if !f.told {
		f.told = true
		m.tell()
	}
	out := Batch{Feeds: m.feeds, Tokens: b.Tokens}
	var err error
	if out.Tokens == 0 {
		tokens, _ := f.spec.tokens()
		out.Tokens, err = countTokens(m.feeds, tokens.Name, m.rows)
	}
	return out, err
}

// hold gives what the data holds the types that the model takes, makes labels
// of windows, and finds the extents of the batch.
func (m *making) hold() error {
	maps.DeleteFunc(m.feeds, func(_ string, t *tensor.Tensor) bool { return t == nil })
	tokens, _ := m.spec.tokens()
	if m.spec.Task == CausalLM && m.feeds[LabelsInput] == nil {
		if err := (&arrays{feeds: m.feeds, tokens: tokens.Name}).shift(); err != nil {
			return err
		}
	}
	switch _, ok := m.spec.port(LabelsInput); {
	case !ok:
		delete(m.feeds, LabelsInput) // the model computes its own loss without
	case m.feeds[LabelsInput] == nil && m.spec.Task != Custom:
		return fmt.Errorf("the data has no %q, which task %s needs; it has %s", LabelsInput, m.spec.Task, nameList(m.feeds))
	}
	for _, p := range m.spec.Inputs {
		t := m.feeds[p.Name]
		if t == nil {
			continue
		}
		c, err := convert(t, p.elem())
		if err != nil {
			return fmt.Errorf("array %q: %w", p.Name, err)
		}
		m.feeds[p.Name] = c
		if _, replaced := m.spec.Feeds[p.Name]; replaced {
			continue
		}
		m.bind(p, c)
		if m.rows == 0 && c.Rank() > 0 {
			m.rows = c.Shape()[0]
		}
	}
	if ids := m.feeds[tokens.Name]; ids != nil && ids.Rank() >= 2 {
		m.rows, m.cols = ids.Shape()[0], ids.Shape()[1]
	}
	return nil
}

// bind remembers the extents of t by the symbols of p.
func (m *making) bind(p Port, t *tensor.Tensor) {
	for axis, n := range t.Shape() {
		if d, ok := p.dim(axis); ok && d.Sym != "" {
			m.known[d.Sym] = n
		}
	}
}

// stages order the rules, those not listed first: the length of the past counts for masks and
// positions, the mask for positions.
var stages = map[FeedRule]int{feedOnes: 1, feedZeros: 1, feedArange: 1, feedPositions: 2}

func (m *making) stage(p Port) int {
	r, _ := feedRule(p, m.spec.Feeds)
	return stages[r]
}

// makeAll makes the inputs.
func (m *making) makeAll() error {
	var missing []string
	for _, p := range m.todo {
		if _, ok := feedRule(p, m.spec.Feeds); !ok {
			missing = append(missing, fmt.Sprintf("%q", p.Name))
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("nothing to feed input %s with: the data has %s; give it there, or say how to make it: --feed NAME=ones|zeros|arange|empty|FILE.npz:KEY",
			strings.Join(missing, ", "), nameList(m.feeds))
	}
	slices.SortStableFunc(m.todo, func(a, b Port) int { return cmp.Compare(m.stage(a), m.stage(b)) })
	for _, p := range m.todo {
		r, _ := feedRule(p, m.spec.Feeds)
		t, err := m.make(p, r)
		if err != nil {
			return fmt.Errorf("feed of %q as %s: %w; give it in the data or by --feed %s=FILE.npz:KEY", p.Name, r, err, p.Name)
		}
		if !m.told {
			instead := ""
			if m.feeds[p.Name] != nil {
				instead = ", instead of the data's"
			}
			m.made = append(m.made, fmt.Sprintf("%s, %v%s\t%s", r, t, instead, p.Name))
		}
		m.kept[p.Name] = t
		m.feeds[p.Name] = t
		m.bind(p, t)
		if strings.HasPrefix(p.Name, pastPrefix) && t.Rank() >= 3 {
			m.past = t.Shape()[t.Rank()-2] // (..., positions, head)
		}
	}
	return nil
}

// make is the value of one input.
func (m *making) make(p Port, r FeedRule) (*tensor.Tensor, error) {
	old := m.kept[p.Name]
	if a := m.arrays[p.Name]; a != nil {
		return m.array(old, a, p)
	}
	if err := m.setShape(p, r); err != nil {
		return nil, err
	}
	fits := old != nil && old.Shape().Equal(m.shape)
	if fits && r != feedPositions {
		return old, nil // it follows from the shape
	}
	if !fits || old.DType() != tensor.Int64 {
		n, err := m.shape.CheckedSize()
		if err != nil {
			return nil, err
		}
		if n > maxMade {
			return nil, fmt.Errorf("%v is more than %d elements", m.shape, maxMade)
		}
		old = tensor.New(tensor.Int64, m.shape...)
	}
	switch v := tensor.Data[int64](old); r {
	case feedOnes:
		fillWith(v, 1)
	case feedArange:
		count(v, m.shape, 0)
	case feedPositions:
		if err := m.positions(v, m.shape); err != nil {
			return nil, err
		}
	}
	return old.Cast(p.elem())
}

// array is what a rule's array a gives, the same in batches of the same size.
func (m *making) array(old, a *tensor.Tensor, p Port) (*tensor.Tensor, error) {
	repeat := a.Rank() > 0 && a.Shape()[0] == 1 && m.extent(p, 0) > 1
	if old != nil && (!repeat && old.Shape().Equal(a.Shape()) || repeat && old.Shape()[0] == m.rows) {
		return old, nil
	}
	t, err := convert(a, p.elem())
	if err == nil && repeat {
		t = gather(t, make([]int, m.rows))
	}
	return t, err
}

// maxMade bounds the elements that a rule makes.
const maxMade = 1 << 28

// count numbers the last axis.
func count(v []int64, shape tensor.Shape, from int) {
	if len(shape) == 0 {
		return
	}
	for i, n := 0, shape[len(shape)-1]; i < len(v); i++ {
		v[i] = int64(from + i%n)
	}
}

// positions counts the positions that the mask (rows, past+cols) has, 0 on
// padding, as Transformers' generation does; without such a mask all of them.
func (m *making) positions(v []int64, shape tensor.Shape) error {
	count(v, shape, m.past)
	mask := m.feeds[maskSuffix]
	if mask == nil || !shape.Equal(tensor.Shape{m.rows, m.cols}) || !mask.Shape().Equal(tensor.Shape{m.rows, m.past + m.cols}) {
		return nil
	}
	if mask.DType() == tensor.String || mask.DType().IsComplex() {
		return fmt.Errorf("%v holds no real numbers", mask)
	}
	for r := range m.rows {
		seen := int64(0)
		for c := range m.past + m.cols {
			one := !isZero(mask, r*(m.past+m.cols)+c)
			if c >= m.past {
				v[r*m.cols+c-m.past] = 0
			}
			if one && c >= m.past {
				v[r*m.cols+c-m.past] = seen
			}
			if one {
				seen++
			}
		}
	}
	return nil
}

// extent is what is known of an axis: declared, bound by the batch, or the
// number of samples; -1 for nothing.
func (m *making) extent(p Port, axis int) int {
	d, _ := p.dim(axis)
	if d.Known && d.Value >= 0 {
		return int(d.Value)
	}
	if n, ok := m.known[d.Sym]; ok && d.Sym != "" {
		return n
	}
	if axis == 0 {
		return m.rows
	}
	return -1
}

// setShape finds the shape of an input that is to be made.
func (m *making) setShape(p Port, r FeedRule) error {
	open := m.cols // extent of axes that nothing else tells
	switch {
	case r == feedEmpty:
		open = 0
	case strings.HasSuffix(p.Name, maskSuffix):
		open += m.past
	}
	rank, ranked := p.rank()
	if !ranked {
		if m.cols == 0 || r == feedEmpty {
			return errors.New("its shape is not declared")
		}
		m.shape = append(m.shape[:0], m.rows, open)
		return nil
	}
	m.shape = m.shape[:0]
	for axis := range rank {
		n := m.extent(p, axis)
		if n < 0 {
			if open == 0 && r != feedEmpty {
				d, _ := p.dim(axis)
				return fmt.Errorf("extent %v of %v is not known from the data", d, p.Type)
			}
			n = open
		}
		m.shape = append(m.shape, n)
	}
	if r == feedEmpty && !slices.Contains(m.shape, 0) {
		return fmt.Errorf("%v has no extent that could be 0", p.Type)
	}
	return nil
}

// tell notes what is made, inputs that are made alike in one line.
func (m *making) tell() {
	names := map[string][]string{}
	var order []string
	for _, s := range m.made {
		how, name, _ := strings.Cut(s, "\t")
		if names[how] == nil {
			order = append(order, how)
		}
		names[how] = append(names[how], name)
	}
	for _, how := range order {
		who := names[how][0]
		if more := len(names[how]) - 1; more > 0 {
			who = fmt.Sprintf("%s and %d more", who, more)
		}
		m.note(fmt.Sprintf("fed by rule: %s (%s)", who, how))
	}
}

func nameList(feeds map[string]*tensor.Tensor) string { return strings.Join(sortedKeys(feeds), ", ") }

// countTokens is how many positions of token ids count: those of the mask,
// where there is one; without token ids the number of samples.
func countTokens(feeds map[string]*tensor.Tensor, tokens string, samples int) (int, error) {
	ids := feeds[tokens]
	if ids == nil || ids.Rank() < 2 {
		return samples, nil
	}
	n, mask := ids.Size(), feeds[maskName]
	if mask == nil || mask.Size() != n {
		return n, nil
	}
	if mask.DType() == tensor.String || mask.DType().IsComplex() {
		return 0, fmt.Errorf("array %q: %v holds no real numbers", maskName, mask)
	}
	for i := range mask.Size() {
		if isZero(mask, i) {
			n--
		}
	}
	return n, nil
}
