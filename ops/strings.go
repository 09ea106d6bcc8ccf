package ops

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/bonnx/bonnx/internal/kernel"
	"github.com/bonnx/bonnx/tensor"
)

// stringTable lists the operators on strings.
func stringTable() []Entry {
	return []Entry{
		{Name: "StringConcat", MinIn: 2, MaxIn: 2, MaxOut: 1, Strict: Exact, New: newStringConcat},
		{Name: "StringSplit", MinIn: 1, MaxIn: 1, MaxOut: 2, Strict: Exact, New: newStringSplit},
		{Name: "StringNormalizer", MinIn: 1, MaxIn: 1, MaxOut: 1, Strict: Exact, New: newStringNormalizer},
		{Name: "RegexFullMatch", MinIn: 1, MaxIn: 1, MaxOut: 1, Strict: Exact, New: newRegexFullMatch},
	}
}

// wantStrings is an error where f is known to hold no strings.
func wantStrings(f Fact) error {
	if f.DType != tensor.String && f.DType != tensor.Undefined {
		return fmt.Errorf("input is %v, want strings", f)
	}
	return nil
}

// stringConcat joins the strings of two tensors, broadcast.
// https://onnx.ai/onnx/operators/onnx__StringConcat.html (since 20)
type stringConcat struct{}

func newStringConcat(*Args) (Op, error) { return stringConcat{}, nil }

func (stringConcat) Infer(in []Fact) ([]Fact, error) {
	for _, f := range in {
		if err := wantStrings(f); err != nil {
			return nil, err
		}
	}
	f, err := broadcastFact(tensor.String, in)
	return []Fact{f}, err
}

func (stringConcat) Bind(_ *Binder, in, out []Fact) (Step, error) {
	shape := out[0].MustShape()
	var parts [2]*kernel.Broadcast
	for i := range parts {
		var err error
		if parts[i], err = planBroadcast(shape, in[i].MustShape()); err != nil {
			return nil, err
		}
	}
	return func(_ *Frame, in, out []*tensor.Tensor) error {
		y, other := out[0].Strings(), make([]string, shape.Size())
		kernel.Expand(nil, parts[0], y, in[0].Strings())
		kernel.Expand(nil, parts[1], other, in[1].Strings())
		for i, s := range other {
			y[i] += s
		}
		return nil
	}, nil
}

// stringSplit takes each string apart at a delimiter, or at white space where
// that is empty, and says how many parts there are; the last axis is as long as
// the most parts, shorter lists are filled with empty strings.
// https://onnx.ai/onnx/operators/onnx__StringSplit.html (since 20)
type stringSplit struct {
	delimiter string
	most      int // splits, -1 for no bound
}

func newStringSplit(a *Args) (Op, error) {
	o := stringSplit{a.String("delimiter", ""), a.Int("maxsplit", -1)}
	if o.most < -1 {
		o.most = -1
	}
	return o, nil
}

func (stringSplit) Infer(in []Fact) ([]Fact, error) {
	x := in[0]
	if !x.Ranked {
		return []Fact{unranked(tensor.String), unranked(tensor.Int64)}, wantStrings(x)
	}
	parts := Of(tensor.String, append(slices.Clone(x.Dims), unknown)...)
	return []Fact{parts, Of(tensor.Int64, x.Dims...)}, wantStrings(x)
}

func (stringSplit) Bind(*Binder, []Fact, []Fact) (Step, error) { return bindDynamic() }

func (o stringSplit) RunDynamic(_ Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	x := in[0].Strings()
	lists := make([][]string, len(x))
	counts := tensor.New(tensor.Int64, in[0].Shape()...)
	width := 0
	for i, s := range x {
		lists[i] = o.split(s)
		tensor.Data[int64](counts)[i] = int64(len(lists[i]))
		width = max(width, len(lists[i]))
	}
	shape := append(in[0].Shape().Clone(), width)
	if _, err := shape.CheckedSize(); err != nil {
		return nil, err
	}
	y := tensor.New(tensor.String, shape...)
	for i, list := range lists {
		copy(y.Strings()[i*width:][:width], list)
	}
	return []*tensor.Tensor{y, counts}, nil
}

func (o stringSplit) split(s string) []string {
	switch {
	case o.delimiter != "" && s == "":
		return nil
	case o.delimiter != "" && o.most < 0:
		return strings.Split(s, o.delimiter)
	case o.delimiter != "":
		return strings.SplitN(s, o.delimiter, o.most+1)
	case o.most < 0:
		return strings.Fields(s)
	}
	var parts []string
	for s = strings.TrimSpace(s); s != ""; {
		at := strings.IndexAny(s, " \t\n\v\f\r")
		if at < 0 || len(parts) == o.most {
			return append(parts, s)
		}
		parts = append(parts, s[:at])
		s = strings.TrimSpace(s[at:])
	}
	return parts
}

// stringNormalizer drops stop words and changes the case of a list of words,
// (C) or (1,C). A list that all goes leaves one empty string.
// https://onnx.ai/onnx/operators/onnx__StringNormalizer.html (since 10)
type stringNormalizer struct {
	change    func(string) string
	sensitive bool
	stop      []string
}

func newStringNormalizer(a *Args) (Op, error) {
	a.Skip("locale") // case is that of Unicode
	o := stringNormalizer{sensitive: a.Bool("is_case_sensitive", false), stop: a.Strings("stopwords")}
	switch action := a.String("case_change_action", "NONE"); action {
	case "NONE":
		o.change = func(s string) string { return s }
	case "LOWER":
		o.change = strings.ToLower
	case "UPPER":
		o.change = strings.ToUpper
	default:
		return nil, fmt.Errorf("case_change_action is %q", action)
	}
	return o, nil
}

func (stringNormalizer) Infer(in []Fact) ([]Fact, error) {
	x := in[0]
	if !x.Ranked {
		return []Fact{unranked(tensor.String)}, wantStrings(x)
	}
	if x.Rank() != 1 && x.Rank() != 2 {
		return nil, fmt.Errorf("x is %v, want (C) or (1,C)", x)
	}
	return []Fact{Of(tensor.String, append(slices.Clone(x.Dims[:x.Rank()-1]), unknown)...)}, wantStrings(x)
}

func (stringNormalizer) Bind(*Binder, []Fact, []Fact) (Step, error) { return bindDynamic() }

func (o stringNormalizer) RunDynamic(_ Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	shape := in[0].Shape().Clone()
	if len(shape) == 0 || len(shape) == 2 && shape[0] != 1 || len(shape) > 2 {
		return nil, fmt.Errorf("x is %v, want (C) or (1,C)", in[0])
	}
	kept := []string{}
	for _, s := range in[0].Strings() {
		if !slices.ContainsFunc(o.stop, func(w string) bool { return w == s || !o.sensitive && strings.EqualFold(w, s) }) {
			kept = append(kept, o.change(s))
		}
	}
	if len(kept) == 0 {
		kept = []string{""}
	}
	shape[len(shape)-1] = len(kept)
	return []*tensor.Tensor{tensor.FromStrings(kept, shape...)}, nil
}

// regexFullMatch tells which strings a regular expression of RE2's syntax
// matches from end to end.
// https://onnx.ai/onnx/operators/onnx__RegexFullMatch.html (since 20)
type regexFullMatch struct{ re *regexp.Regexp }

func newRegexFullMatch(a *Args) (Op, error) {
	if !a.Has("pattern") {
		return nil, errors.New("pattern is missing")
	}
	re, err := regexp.Compile(`\A(?:` + a.String("pattern", "") + `)\z`)
	return regexFullMatch{re}, err
}

func (regexFullMatch) Infer(in []Fact) ([]Fact, error) {
	return []Fact{asBool(in[0])}, wantStrings(in[0])
}

func (o regexFullMatch) Bind(*Binder, []Fact, []Fact) (Step, error) {
	return func(_ *Frame, in, out []*tensor.Tensor) error {
		y := tensor.Data[bool](out[0])
		for i, s := range in[0].Strings() {
			y[i] = o.re.MatchString(s)
		}
		return nil
	}, nil
}
