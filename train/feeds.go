package train

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/bonnx/bonnx/tensor"
	"github.com/bonnx/bonnx/tensor/npz"
)

// FeedRule says how an input is made that the data does not hold.
type FeedRule struct {
	Kind FeedKind `json:"kind"`
	// File and Key name an array in an .npz archive, of kind FeedFile.
	File string `json:"file,omitempty"`
	Key  string `json:"key,omitempty"`
}

// FeedKind is the kind of a FeedRule.
type FeedKind string

// The kinds. Ones, zeros and arange take the declared shape, extents from the
// batch; arange counts from 0 along the last axis. Empty has extent 0 along
// the axis that the batch leaves open, such as a past of no position. An array
// of a file is fed as it is; where its first extent is 1, it is repeated for
// each sample.
const (
	FeedOnes   FeedKind = "ones"
	FeedZeros  FeedKind = "zeros"
	FeedArange FeedKind = "arange"
	FeedEmpty  FeedKind = "empty"
	FeedFile   FeedKind = "file"

	// feedPositions counts the positions that the attention mask has, from
	// how many are past on.
	feedPositions FeedKind = "positions"
)

// maskSuffix ends the names of masks, positionsName is the input of positions,
// pastPrefix begins the names of cached keys and values.
const (
	maskSuffix    = "attention_mask"
	positionsName = "position_ids"
	pastPrefix    = "past_"
)

// standing is how inputs are made that no FeedRule speaks of.
var standing = []struct {
	match func(name string) bool
	kind  FeedKind
}{
	{func(n string) bool { return strings.HasSuffix(n, maskSuffix) }, FeedOnes},
	{func(n string) bool { return n == positionsName }, feedPositions},
	{func(n string) bool { return n == "token_type_ids" }, FeedZeros},
	{func(n string) bool { return n == "use_cache_branch" }, FeedZeros},
	{func(n string) bool { return strings.HasPrefix(n, pastPrefix) }, FeedEmpty},
}

// ParseFeed reads NAME=ones|zeros|arange|empty|FILE.npz[:KEY]; the key is NAME
// where it is left out.
func ParseFeed(s string) (name string, r FeedRule, err error) {
	name, what, ok := strings.Cut(s, "=")
	if !ok || name == "" || what == "" {
		return "", FeedRule{}, fmt.Errorf("feed %q is not NAME=ones|zeros|arange|empty|FILE.npz:KEY", s)
	}
	if k := FeedKind(what); slices.Contains([]FeedKind{FeedOnes, FeedZeros, FeedArange, FeedEmpty}, k) {
		return name, FeedRule{Kind: k}, nil
	}
	file, key := what, name
	if i := strings.LastIndex(what, ".npz:"); i >= 0 {
		file, key = what[:i+len(".npz")], what[i+len(".npz:"):]
	}
	if !strings.HasSuffix(file, ".npz") || key == "" {
		return "", FeedRule{}, fmt.Errorf("feed %q: %q is not one of ones, zeros, arange, empty, FILE.npz:KEY", s, what)
	}
	return name, FeedRule{FeedFile, file, key}, nil
}

// String is the rule as ParseFeed reads it, without the input's name.
func (r FeedRule) String() string {
	if r.Kind == FeedFile {
		return r.File + ":" + r.Key
	}
	return string(r.Kind)
}

// feedList writes rules down as flags would.
func feedList(rules map[string]FeedRule) string {
	var s []string
	for _, name := range slices.Sorted(maps.Keys(rules)) {
		s = append(s, fmt.Sprintf("%s=%v", name, rules[name]))
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
		if s.kind == FeedEmpty && p.elem().IsInteger() {
			return FeedRule{Kind: FeedZeros}, true // a length: nothing is past
		}
		return FeedRule{Kind: s.kind}, true
	}
	return FeedRule{}, false
}

// readFeeds reads the arrays that rules name.
func readFeeds(rules map[string]FeedRule) (map[string]*tensor.Tensor, error) {
	arrays := map[string]*tensor.Tensor{}
	for name, r := range rules {
		if r.Kind != FeedFile {
			continue
		}
		f, err := npz.ReadFile(r.File, npz.Options{})
		if err != nil {
			return nil, fmt.Errorf("feed of %q: %w", name, err)
		}
		if arrays[name] = f.Get(r.Key); arrays[name] == nil {
			return nil, fmt.Errorf("feed of %q: %s has no array %q; it has %s", name, r.File, r.Key, strings.Join(f.Names(), ", "))
		}
	}
	return arrays, nil
}
