package rewrite

import (
	"errors"
	"fmt"
	"slices"
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
// all-linear leaves the head out unless it is asked for, and 1x1 convolutions,
// which PEFT's does not count as linear either; and it skips layers that
// cannot take the method or rank; a layer that is named and cannot is an error
// that lists all such layers and the ranks that fit, unless skipUnfit is set. An
// *adapter.NoMatchError says that nothing is left, or that no targets are given.
func Select(found *Layers, cfg adapter.Config, skipUnfit bool) (*Selected, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Targets.IsZero() {
		return nil, adapter.NoTargets("", found.Paths())
	}
	sel, err := adapter.NewSelector(cfg.Selection)
	if err != nil {
		return nil, err
	}
	all := cfg.Targets.AllLinear()
	s := &Selected{}
	var matched []*Linear
	for _, l := range found.Linear {
		why := ""
		if all {
			why = l.unnamed(cfg.IncludeHead)
		}
		switch v := sel.MatchGraph(l.Path); {
		case v == adapter.Matched && why != "":
			s.skip(l, why)
		case v == adapter.Matched:
			matched = append(matched, l)
		case v != adapter.NotNamed:
			s.skip(l, v.String())
		}
	}
	if len(matched) == 0 {
		return nil, s.noMatch(found, cfg.Selection, sel)
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
	var never error
	for i, l := range matched {
		targets[i] = adapter.Target{Name: fmt.Sprintf("node %q", l.Label()), In: l.In, Out: l.Out}
		err := l.takes(cfg.Method)
		if err != nil && !skip {
			never = errors.Join(never, fmt.Errorf("node %q: %w", l.Label(), err))
			continue
		}
		if err == nil {
			err = cfg.Method.Check(cfg.Dims(l.In, l.Out))
		}
		if err != nil && skip {
			s.skip(l, err.Error())
			continue
		}
		s.Targets = append(s.Targets, l)
	}
	if skip && len(s.Targets) > 0 || never != nil {
		return never
	}
	return cfg.Method.CheckAll(cfg.Rank, cfg.MiniRank, targets)
}

// noMatch explains a selection that nothing passes.
func (s *Selected) noMatch(found *Layers, sel adapter.Selection, filter *adapter.Selector) error {
	e := adapter.NoMatch(sel, found.Paths())
	for _, p := range found.Paths() {
		if n := filter.Layer(p); n >= 0 {
			e.HasLayers = append(e.HasLayers, n)
		}
	}
	slices.Sort(e.HasLayers)
	e.HasLayers = slices.Compact(e.HasLayers)
	if len(sel.Layers) > 0 && !slices.ContainsFunc(sel.Layers, func(n int) bool { return slices.Contains(e.HasLayers, n) }) {
		e.Layers = sel.Layers
		return e
	}
	e.OnlyHead = sel.Targets.AllLinear() && len(found.Linear) > 0 && !slices.ContainsFunc(found.Linear, func(l *Linear) bool { return !l.Head })
	for _, k := range s.Skipped {
		e.Reasons = append(e.Reasons, adapter.Reason{Path: k.Path, Why: k.Reason})
	}
	return e
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
		if near := adapter.Nearest([]string{e}, found.Paths()); len(near) > 0 {
			note += "; did you mean " + strings.Join(near, ", ") + "?"
		}
		notes = append(notes, note)
	}
	return notes
}
