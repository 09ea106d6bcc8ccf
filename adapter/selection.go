package adapter

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"
)

// AllLinear, as the only target, selects every linear layer.
const AllLinear = "all-linear"

// Modules names modules as PEFT's target_modules does: by a list of paths and
// suffixes at a dot, or by one regular expression over the whole path. The
// zero value names none.
type Modules struct {
	List  []string
	Regex string
}

// IsZero reports whether nothing is named.
func (m Modules) IsZero() bool { return len(m.List) == 0 && m.Regex == "" }

// AllLinear reports whether m is the word all-linear, in any case.
func (m Modules) AllLinear() bool { return strings.EqualFold(m.Regex, AllLinear) }

// String is the expression, or the list's entries with commas.
func (m Modules) String() string {
	if m.Regex != "" {
		return m.Regex
	}
	return strings.Join(m.List, ", ")
}

// MarshalJSON writes a string, a list or null, as PEFT does.
func (m Modules) MarshalJSON() ([]byte, error) {
	switch {
	case m.Regex != "":
		return json.Marshal(m.Regex)
	case m.List != nil:
		return json.Marshal(m.List)
	}
	return []byte("null"), nil
}

// UnmarshalJSON reads a string, a list of strings or null.
func (m *Modules) UnmarshalJSON(b []byte) error {
	*m = Modules{}
	if len(b) > 0 && b[0] == '"' {
		return json.Unmarshal(b, &m.Regex)
	}
	if err := json.Unmarshal(b, &m.List); err != nil {
		return errors.New("want a list of module names or one regular expression")
	}
	return nil
}

// Selection says which modules of a model an adapter is put on, with PEFT's
// meaning.
type Selection struct {
	// Targets are the modules. The zero value is PEFT's null: whoever selects
	// has to put DefaultTargets, all-linear or an error in its place.
	Targets Modules `json:"target_modules"`
	// Exclude wins over Targets.
	Exclude Modules `json:"exclude_modules,omitzero"`
	// Layers keeps only modules with these layer indices; empty keeps all. A
	// module that a list names by its whole path is kept in any layer.
	Layers []int `json:"layers_to_transform,omitempty"`
	// LayersPattern are the names (regular expressions) of the lists of layers
	// in a path, such as "layers" or "h"; empty stands for any name.
	LayersPattern []string `json:"layers_pattern,omitempty"`
	// Save are modules that are trained and saved whole; they are no targets.
	Save []string `json:"modules_to_save,omitempty"`
	// LastNumber takes the last number of a path for its layer, as PEFT did up
	// to 0.18, instead of the first.
	LastNumber bool `json:"last_number,omitempty"`
	// IncludeHead makes all-linear take the head too.
	IncludeHead bool `json:"include_head,omitempty"`
}

// Verdict is what a Selector says of a module.
type Verdict uint8

// The verdicts. Only Matched makes a target.
const (
	Matched Verdict = iota
	NotNamed
	Excluded
	SavedWhole
	OtherLayer
)

var verdicts = [...]string{
	Matched:    "selected",
	NotNamed:   "not among target_modules",
	Excluded:   "excluded by exclude_modules",
	SavedWhole: "saved whole by modules_to_save",
	OtherLayer: "not in layers_to_transform",
}

// String is the verdict as a reason for a report.
func (v Verdict) String() string { return verdicts[v] }

// Selector is a compiled Selection.
type Selector struct {
	sel              Selection
	targets, exclude *regexp.Regexp // nil where a list or all-linear
	save             []*regexp.Regexp
	layers           []*regexp.Regexp
}

// NewSelector compiles sel. Expressions are Go's: those that need Python's
// lookaround or backreferences are errors that say so.
func NewSelector(sel Selection) (*Selector, error) {
	if err := sel.Validate(); err != nil {
		return nil, err
	}
	s := &Selector{sel: sel}
	var err error
	if sel.Targets.Regex != "" && !sel.Targets.AllLinear() {
		if s.targets, err = compile("target_modules", `\A(?:`+sel.Targets.Regex+`)\z`, sel.Targets.Regex); err != nil {
			return nil, err
		}
	}
	if sel.Exclude.Regex != "" {
		if s.exclude, err = compile("exclude_modules", `\A(?:`+sel.Exclude.Regex+`)\z`, sel.Exclude.Regex); err != nil {
			return nil, err
		}
	}
	for _, m := range sel.Save {
		re, err := compile("modules_to_save", `\A(?:^|.*\.)`+m+`(?:$|\..*)`, m)
		if err != nil {
			return nil, err
		}
		s.save = append(s.save, re)
	}
	lazy := `?`
	if sel.LastNumber {
		lazy = ``
	}
	patterns := sel.LayersPattern
	if len(patterns) == 0 {
		patterns = []string{`[^.]*`}
	}
	for _, p := range patterns {
		re, err := compile("layers_pattern", `\A.*`+lazy+`\.`+p+`\.(\d+)\.`, p)
		if err != nil {
			return nil, err
		}
		s.layers = append(s.layers, re)
	}
	return s, nil
}

// Validate reports combinations that PEFT refuses.
func (sel Selection) Validate() error {
	if sel.Targets.Regex == "" || sel.Targets.AllLinear() {
		return nil
	}
	const hint = " Name the modules in a list, or put the layers into the expression."
	if len(sel.Layers) > 0 {
		return errors.New("`layers_to_transform` cannot be used when `target_modules` is a str." + hint) //nolint:staticcheck // PEFT's own words
	}
	if len(sel.LayersPattern) > 0 {
		return errors.New("`layers_pattern` cannot be used when `target_modules` is a str." + hint) //nolint:staticcheck // PEFT's own words
	}
	return nil
}

// compile compiles expr, which was made from what the user wrote.
func compile(field, expr, written string) (*regexp.Regexp, error) {
	re, err := regexp.Compile(expr)
	if err == nil {
		return re, nil
	}
	var se *syntax.Error
	hint := ""
	if errors.As(err, &se) {
		err = errors.New(se.Code.String())
		switch {
		case strings.Contains(written, "(?=") || strings.Contains(written, "(?!") || strings.Contains(written, "(?<=") || strings.Contains(written, "(?<!"):
			hint = "; Go's expressions have no lookaround: say what to leave out with exclude_modules, or list the modules"
		case se.Code == syntax.ErrInvalidEscape || strings.Contains(written, "(?P="):
			hint = "; Go's expressions have no backreferences and no \\Z: list the modules instead"
		}
	}
	return nil, fmt.Errorf("%s: expression %q: %w%s", field, written, err, hint)
}

// Match is PEFT's decision about the module at path.
func (s *Selector) Match(path string) Verdict { return s.match(path, path) }

// unwrapped is a path whose list of layers has no module around it.
var unwrapped = regexp.MustCompile(`\A[^.]+\.\d+\.`)

// MatchGraph is Match for a path recovered from a graph. Such paths often lack
// the wrapper that PEFT's layer filter counts on: "layers.0.q_proj" is given
// to that filter, and to it alone, as "model.layers.0.q_proj".
func (s *Selector) MatchGraph(path string) Verdict { return s.match(path, s.layered(path)) }

// Layer is the layer that the layer filter of MatchGraph sees for a path, -1
// for a path in none.
func (s *Selector) Layer(path string) int { return s.layerIndex(s.layered(path)) }

func (s *Selector) layered(path string) string {
	if unwrapped.MatchString(path) || s.layerIndex(path) < 0 {
		return "model." + path
	}
	return path
}

// Saves reports whether entry i of Save names the module at path or one around
// it.
func (s *Selector) Saves(i int, path string) bool { return s.save[i].MatchString(path) }

func (s *Selector) match(path, layered string) Verdict {
	switch {
	case s.exclude != nil && s.exclude.MatchString(path), listed(s.sel.Exclude.List, path):
		return Excluded
	case slices.ContainsFunc(s.save, func(re *regexp.Regexp) bool { return re.MatchString(path) }):
		return SavedWhole
	case s.targets != nil:
		if s.targets.MatchString(path) {
			return Matched
		}
		return NotNamed
	case slices.Contains(s.sel.Targets.List, path):
		return Matched // by its whole name: in any layer
	case len(s.sel.Targets.List) > 0 && !listed(s.sel.Targets.List, path):
		return NotNamed
	case len(s.sel.Layers) > 0 && !slices.Contains(s.sel.Layers, s.layerIndex(layered)):
		return OtherLayer
	}
	return Matched
}

// listed reports whether path is an entry or ends with a dot and an entry.
func listed(list []string, path string) bool {
	return slices.ContainsFunc(list, func(e string) bool { return e == path || strings.HasSuffix(path, "."+e) })
}

// layerIndex is the layer that a path is in, -1 where none is found.
func (s *Selector) layerIndex(path string) int {
	for _, re := range s.layers {
		if m := re.FindStringSubmatch(path); m != nil {
			if n, err := strconv.Atoi(m[1]); err == nil {
				return n
			}
			return -1
		}
	}
	return -1
}
