package rewrite

import (
	"fmt"
	"strings"

	"github.com/bonnx/bonnx/adapter"
)

// Selected are the layers that an adapter is put on, the linear layers that it
// is not put on, and remarks.
type Selected struct {
	Targets []*Linear
	Skipped []Skip
	Notes   []string
}

// Select applies the configuration's target selection to what Find found.
//
// all-linear leaves the head out, and skips layers that cannot take the method
// or rank; a layer that is named and cannot is an error that lists all such
// layers and the ranks that fit, unless skipUnfit is set. An error that wraps
// adapter.ErrNoMatch says that nothing is left.
func Select(found *Layers, cfg adapter.Config, skipUnfit bool) (*Selected, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	sel, err := adapter.NewSelector(cfg.Selection)
	if err != nil {
		return nil, err
	}
	all := cfg.Targets.IsZero() || cfg.Targets.AllLinear()
	s := &Selected{}
	var matched []*Linear
	for _, l := range found.Linear {
		switch v := sel.MatchGraph(l.Path); {
		case v == adapter.Matched && all && l.Head:
			s.skip(l, "it is the head; name it to adapt it too")
		case v == adapter.Matched:
			matched = append(matched, l)
		case v != adapter.NotNamed:
			s.skip(l, v.String())
		}
	}
	if len(matched) == 0 {
		return nil, noMatch(found, cfg, s)
	}
	if err := s.fit(matched, cfg, all || skipUnfit); err != nil {
		return nil, err
	}
	for _, o := range found.Others {
		if all && !o.Computed {
			s.Skipped = append(s.Skipped, o)
		}
	}
	s.Notes = append(s.Notes, unmatched(found, cfg)...)
	return s, nil
}

func (s *Selected) skip(l *Linear, reason string) {
	s.Skipped = append(s.Skipped, Skip{Node: l.Label(), Path: l.Path, Reason: reason})
}

// fit splits matched by whether method and rank fit.
func (s *Selected) fit(matched []*Linear, cfg adapter.Config, skip bool) error {
	targets := make([]adapter.Target, len(matched))
	for i, l := range matched {
		targets[i] = adapter.Target{Name: fmt.Sprintf("node %q", l.Label()), In: l.In, Out: l.Out}
		if err := cfg.Method.Check(cfg.Dims(l.In, l.Out)); err != nil && skip {
			s.skip(l, err.Error())
			continue
		}
		s.Targets = append(s.Targets, l)
	}
	if skip && len(s.Targets) > 0 {
		return nil
	}
	return cfg.Method.CheckAll(cfg.Rank, cfg.MiniRank, targets)
}

// noMatch explains a selection that nothing passes.
func noMatch(found *Layers, cfg adapter.Config, s *Selected) error {
	err := adapter.NoMatch(cfg.Selection, found.Paths())
	if near := nearest(cfg.Targets.List, found.Paths()); len(near) > 0 {
		err = fmt.Errorf("%w Did you mean %s?", err, strings.Join(near, ", "))
	}
	for _, k := range s.Skipped {
		err = fmt.Errorf("%w\n%s: %s", err, k.Path, k.Reason)
	}
	return err
}

// unmatched notes listed targets that no layer has.
func unmatched(found *Layers, cfg adapter.Config) []string {
	var notes []string
	for _, e := range cfg.Targets.List {
		hit := false
		for _, p := range found.Paths() {
			hit = hit || p == e || strings.HasSuffix(p, "."+e)
		}
		if hit {
			continue
		}
		note := fmt.Sprintf("target %q names no linear layer", e)
		if near := nearest([]string{e}, found.Paths()); len(near) > 0 {
			note += "; did you mean " + strings.Join(near, ", ") + "?"
		}
		notes = append(notes, note)
	}
	return notes
}

// nearest are the last names in paths that differ from that of a wanted one by
// little.
func nearest(wanted, paths []string) []string {
	var out []string
	seen := map[string]bool{}
	for _, p := range paths {
		name := lastName(p)
		for _, w := range wanted {
			w = lastName(w)
			if d := distance(strings.ToLower(w), strings.ToLower(name)); !seen[name] && d > 0 && d <= 1+len(w)/4 {
				seen[name] = true
				out = append(out, name)
			}
		}
	}
	return out
}

func lastName(path string) string { return path[strings.LastIndexByte(path, '.')+1:] }

// distance is Levenshtein's.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diag := row[0]
		row[0] = i + 1
		for j := range len(b) {
			d := diag
			if a[i] != b[j] {
				d++
			}
			diag = row[j+1]
			row[j+1] = min(d, diag+1, row[j]+1)
		}
	}
	return row[len(b)]
}
