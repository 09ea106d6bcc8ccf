package train

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
	"github.com/bonnx/bonnx/tensor/npz"
)

// FeedRule says how an input is made that the data does not hold: "ones",
// "zeros", "arange", "empty", or an array of an archive, "FILE.npz:KEY".
//
// Ones, zeros and arange take the declared shape, extents from the batch;
// arange counts from 0 along the last axis. Empty has extent 0 along the axis
// that the batch leaves open, such as a past of no position. An array is fed
// as it is; where its first extent is 1, it is repeated for each sample.
type FeedRule string

const (
	feedOnes   FeedRule = "ones"
	feedZeros  FeedRule = "zeros"
	feedArange FeedRule = "arange"
	feedEmpty  FeedRule = "empty"

	// feedPositions counts the positions that the attention mask has, from
	// how many are past on.
	feedPositions FeedRule = "positions counted by the mask"
)

// maskSuffix ends the names of masks, positionsName is the input of positions,
// pastPrefix begins the names of cached keys and values.
const (
	maskSuffix    = "attention_mask"
	positionsName = "position_ids"
	pastPrefix    = "past_"
)

// standing is how inputs are made that no rule was given for.
var standing = []struct {
	match func(name string) bool
	rule  FeedRule
}{
	{func(n string) bool { return strings.HasSuffix(n, maskSuffix) }, feedOnes},
	{func(n string) bool { return n == positionsName }, feedPositions},
	{func(n string) bool { return n == "token_type_ids" }, feedZeros},
	{func(n string) bool { return n == "use_cache_branch" }, feedZeros},
	{func(n string) bool { return strings.HasPrefix(n, pastPrefix) }, feedEmpty},
}

// ParseFeed reads NAME=ones|zeros|arange|empty|FILE.npz[:KEY]; the key is NAME
// where it is left out.
func ParseFeed(s string) (name string, r FeedRule, err error) {
	name, what, ok := strings.Cut(s, "=")
	if !ok || name == "" {
		return "", "", fmt.Errorf("feed %q is not NAME=ones|zeros|arange|empty|FILE.npz:KEY", s)
	}
	if r = FeedRule(what); strings.HasSuffix(what, ".npz") {
		r += FeedRule(":" + name)
	}
	if err := r.validate(); err != nil {
		return "", "", fmt.Errorf("feed of %q: %w", name, err)
	}
	return name, r, nil
}

// array is the archive and the name of the array that the rule is.
func (r FeedRule) array() (file, key string, ok bool) {
	const ext = ".npz"
	i := strings.LastIndex(string(r), ext+":")
	if i < 0 || i+len(ext)+1 == len(r) {
		return "", "", false
	}
	return string(r[:i+len(ext)]), string(r[i+len(ext)+1:]), true
}

func (r FeedRule) validate() error {
	_, _, array := r.array()
	if array || slices.Contains([]FeedRule{feedOnes, feedZeros, feedArange, feedEmpty}, r) {
		return nil
	}
	return fmt.Errorf("%q is not one of ones, zeros, arange, empty, FILE.npz:KEY", string(r))
}

// feedList writes rules down as flags would.
func feedList(rules map[string]FeedRule) string {
	var s []string
	for _, name := range slices.Sorted(maps.Keys(rules)) {
		s = append(s, fmt.Sprintf("%s=%s", name, rules[name]))
	}
	return strings.Join(s, " ")
}

// feedRule is how the input p is made where the data does not hold it.
func feedRule(p Port, given map[string]FeedRule) (FeedRule, bool) {
	if r, ok := given[p.Name]; ok {
		return r, true
	}
	for _, s := range standing {
		if !s.match(p.Name) {
			continue
		}
		if s.rule == feedEmpty && p.elem().IsInteger() {
			return feedZeros, true // a length: nothing is past
		}
		return s.rule, true
	}
	return "", false
}

// readFeeds reads the arrays that rules name.
func readFeeds(rules map[string]FeedRule) (map[string]*tensor.Tensor, error) {
	arrays := map[string]*tensor.Tensor{}
	for name, r := range rules {
		file, key, ok := r.array()
		if !ok {
			continue
		}
		f, err := npz.ReadFile(file, npz.Options{})
		if err != nil {
			return nil, fmt.Errorf("feed of %q: %w", name, err)
		}
		if arrays[name] = f.Get(key); arrays[name] == nil {
			return nil, fmt.Errorf("feed of %q: %s has no array %q; it has %s", name, file, key, strings.Join(f.Names(), ", "))
		}
	}
	return arrays, nil
}

// decided is m with the flags that rules set, and that the data does not hold,
// as constants: an If on one of them, as in a merged decoder, then is the branch
// that it takes, and is planned, fused and differentiated like the rest.
func (l *loop) decided(m *ir.Model) (*ir.Model, error) {
	flags := map[string]*tensor.Tensor{}
	for _, v := range m.Graph.Inputs {
		p := Port{v.Name, v.Type}
		shape, known := ops.FromType(v.Type).Shape()
		r, ok := feedRule(p, l.c.Feeds)
		if ok && (r == feedZeros || r == feedOnes) && v.Data == nil && known && shape.Size() == 1 && p.elem() == tensor.Bool {
			flags[v.Name] = tensor.FromSlice([]bool{r == feedOnes}, shape...)
		}
	}
	if len(flags) == 0 {
		return m, nil
	}
	b, err := l.data.largest(1)
	if err != nil {
		return nil, err
	}
	m = m.Clone()
	g := m.Graph
	l.c.Feeds = maps.Clone(l.c.Feeds)
	for _, v := range slices.Clone(g.Inputs) {
		if t := flags[v.Name]; t != nil && b.Feeds[v.Name] == nil {
			l.w.Note(fmt.Sprintf("fed by rule: %s (%v)", v.Name, tensor.Data[bool](t)[0]))
			delete(l.c.Feeds, v.Name)
			v.Data = ir.Dense(t)
			g.Initializers = append(g.Initializers, v)
			g.Inputs = slices.DeleteFunc(g.Inputs, func(w *ir.Value) bool { return w == v })
		}
	}
	return m, nil
}
