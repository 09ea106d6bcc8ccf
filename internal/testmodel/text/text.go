// Package text holds the English that the project wrote for its test models:
// little stories to train a language model from nothing, and the log of a
// sailing ship, far enough from them for fine-tuning to be seen in a sample.
//
// Both are grammars, not files: the same seed and size always give the same
// bytes, any amount of them.
package text

import (
	"math/rand/v2"
	"strings"
)

// Stories is at least size bytes of stories for small children, a blank line
// after each, whole stories only. ASCII.
func Stories(seed uint64, size int) string {
	return write(newWriter(seed, storyRules), size, story)
}

// SeaLog is at least size bytes of a ship's log, one dated entry after the
// other, a blank line after each, whole entries only. ASCII.
func SeaLog(seed uint64, size int) string {
	w := newWriter(seed, logRules)
	day := 0
	return write(w, size, func(w *writer) string {
		day++
		return logEntry(w, day)
	})
}

func write(w *writer, size int, piece func(*writer) string) string {
	var b strings.Builder
	for b.Len() < size {
		b.WriteString(piece(w))
		b.WriteString("\n\n")
	}
	return b.String()
}

// A writer expands rules. Names bound for the piece at hand come before rules.
type writer struct {
	rng   *rand.PCG
	rules map[string][]string
	bound map[string]string
	last  map[string]int // what each rule gave last, so that it is not repeated
}

func newWriter(seed uint64, rules map[string][]string) *writer {
	return &writer{rng: rand.NewPCG(seed, 0x626f6e6e78), rules: rules, bound: map[string]string{}, last: map[string]int{}}
}

// below is a number from 0 to n-1. The remainder's tiny bias is of no concern,
// its being the same everywhere is.
func (w *writer) below(n int) int { return int(w.rng.Uint64() % uint64(n)) }

// pick expands one right-hand side of the rule name, not the one it gave last.
func (w *writer) pick(name string) string {
	list, ok := w.rules[name]
	if !ok {
		panic("text: no rule " + name)
	}
	i := w.below(len(list))
	if last, seen := w.last[name]; seen && last == i {
		i = (i + 1) % len(list)
	}
	w.last[name] = i
	return w.expand(list[i])
}

// bind fixes what {name} and {Name} stand for until it is bound again.
func (w *writer) bind(name, value string) {
	w.bound[name] = value
	w.bound[capital(name)] = capital(value)
}

// expand replaces every {name} of s; {Name} is the same with a capital.
func (w *writer) expand(s string) string {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(s, "{")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		name, after, closed := strings.Cut(rest, "}")
		if !closed {
			panic("text: a brace is open in " + s)
		}
		if v, ok := w.bound[name]; ok {
			b.WriteString(v)
		} else if _, ok := w.rules[name]; ok {
			b.WriteString(w.pick(name))
		} else {
			b.WriteString(capital(w.pick(strings.ToLower(name))))
		}
		s = after
	}
}

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }
