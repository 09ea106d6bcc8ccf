package adapter

import (
	"fmt"
	"strconv"
	"strings"
)

// Check reports whether the method can be put on a target of these sizes.
func (m Method) Check(d Dims) error {
	if !m.Valid() {
		return fmt.Errorf("unknown %v", m)
	}
	if d.In <= 0 || d.Out <= 0 {
		return fmt.Errorf("%v cannot adapt a weight of (%d, %d)", m, d.In, d.Out)
	}
	if err := checkRank(d.Rank); err != nil {
		return err
	}
	return methods[m].limits(d)
}

func checkRank(r int) error {
	if r <= 0 {
		return fmt.Errorf("`r` should be a positive integer value but the value passed is %d", r)
	}
	return nil
}

func boneLimits(name string) func(Dims) error {
	return func(d Dims) error {
		if d.Rank > d.In {
			return fmt.Errorf("%s needs a rank of at most %d, the weight's input size; got %d", name, d.In, d.Rank)
		}
		return nil
	}
}

func batLimits(d Dims) error {
	if d.In%d.Rank != 0 || d.Out%d.Rank != 0 {
		return fmt.Errorf("bat needs a rank that divides %d and %d; got %d (the weight matrix must be fully divisible into [r, r] blocks)", d.In, d.Out, d.Rank)
	}
	return nil
}

func miniLimits(d Dims) error {
	if d.MiniRank <= 0 {
		return fmt.Errorf("`mini_r` should be a positive integer value but the value passed is %d", d.MiniRank)
	}
	if d.Out%d.MiniRank != 0 {
		return fmt.Errorf("miss-mini needs a mini_r that divides %d, the weight's output size; got %d", d.Out, d.MiniRank)
	}
	return boneLimits("miss-mini")(d)
}

func anyLimits(Dims) error { return nil }

// Ranks is a set of ranks: those in List, or where that is nil 1 to Max; with
// Max 0, any at all.
type Ranks struct {
	List []int
	Max  int
}

// Has reports whether r is in the set.
func (s Ranks) Has(r int) bool {
	if s.List == nil {
		return r > 0 && (s.Max == 0 || r <= s.Max)
	}
	for _, x := range s.List {
		if x == r {
			return true
		}
	}
	return false
}

// String lists the ranks for a message, such as "1 2 4 8" or "1 to 64".
func (s Ranks) String() string {
	switch {
	case s.List == nil && s.Max == 0:
		return "any"
	case s.List == nil:
		return "1 to " + strconv.Itoa(s.Max)
	case len(s.List) == 0:
		return "none"
	}
	parts := make([]string, len(s.List))
	for i, r := range s.List {
		parts[i] = strconv.Itoa(r)
	}
	return strings.Join(parts, " ")
}

func boneRanks(in, _ int) Ranks { return Ranks{Max: in} }

func anyRanks(_, _ int) Ranks { return Ranks{} }

func batRanks(in, out int) Ranks {
	g := gcd(in, out)
	list := []int{}
	for r := 1; r <= g; r++ {
		if g%r == 0 {
			list = append(list, r)
		}
	}
	return Ranks{List: list}
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// Target is a weight of (In, Out) that an adapter is to be put on. Name is how
// messages call it, such as `node "/layers.0/q_proj/MatMul"`.
type Target struct {
	Name    string
	In, Out int
}

// Ranks are the ranks that fit all targets.
func (m Method) Ranks(targets ...Target) Ranks {
	var all Ranks
	for i, t := range targets {
		s := methods[m].ranks(t.In, t.Out)
		switch {
		case i == 0:
			all = s
		case s.List == nil && s.Max == 0:
		case s.List == nil && all.List == nil:
			all.Max = min(all.Max, s.Max)
		default:
			kept := []int{}
			for _, r := range all.List {
				if s.Has(r) {
					kept = append(kept, r)
				}
			}
			all.List = kept
		}
	}
	return all
}

// CheckAll is Check of every target, as one error that lists all targets that
// do not fit and the ranks that would fit all.
func (m Method) CheckAll(rank, miniRank int, targets []Target) error {
	if err := checkRank(rank); err != nil {
		return err
	}
	var bad []string
	for _, t := range targets {
		if err := m.Check(Dims{In: t.In, Out: t.Out, Rank: rank, MiniRank: miniRank}); err != nil {
			bad = append(bad, t.Name+": "+err.Error())
		}
	}
	if len(bad) == 0 {
		return nil
	}
	hint := fmt.Sprintf("Ranks that fit all targets: %v", m.Ranks(targets...))
	if m == MiSSMini {
		g := 0
		for _, t := range targets {
			g = gcd(g, t.Out)
		}
		hint += fmt.Sprintf("; mini_r must divide %d", g)
	}
	return fmt.Errorf("%s. %s", strings.Join(bad, "\n"), hint)
}
