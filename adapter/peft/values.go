package peft

import (
	"encoding/json"
	"errors"
	"strconv"

	"github.com/bonnx/bonnx/adapter"
)

// The checks of what a key may hold.

func anything(any) error { return nil }

func aString(v any) error {
	if _, ok := v.(string); !ok {
		return errors.New("is no string")
	}
	return nil
}

func optString(v any) error {
	if v == nil {
		return nil
	}
	return aString(v)
}

func aBool(v any) error {
	if _, ok := v.(bool); !ok {
		return errors.New("is neither true nor false")
	}
	return nil
}

func anInt(v any) error {
	if _, ok := integer(v); !ok {
		return errors.New("is no integer")
	}
	return nil
}

func aNumber(v any) error {
	n, ok := v.(json.Number)
	if !ok {
		return errors.New("is no number")
	}
	if _, err := n.Float64(); err != nil {
		return errors.New("is no number in range")
	}
	return nil
}

func initWeights(v any) error {
	if _, ok := v.(bool); !ok && v != "bat" && v != "mini" {
		return errors.New("is none of true, false, bat and mini")
	}
	return nil
}

// modules: a string, a list of strings, or null.
func modules(v any) error { return strings1(v) }

// strings1: one string, a list of them, or null.
func strings1(v any) error { return oneOrList(v, aString) }

// ints1: one integer, a list of them, or null.
func ints1(v any) error { return oneOrList(v, anInt) }

func oneOrList(v any, check func(any) error) error {
	if v == nil {
		return nil
	}
	list, ok := v.([]any)
	if !ok {
		return check(v)
	}
	for _, e := range list {
		if err := check(e); err != nil {
			return errors.New("has an entry that " + err.Error())
		}
	}
	return nil
}

// The values of keys that passed their checks.

func integer(v any) (int, bool) {
	n, ok := v.(json.Number)
	if !ok {
		return 0, false
	}
	i, err := strconv.ParseInt(string(n), 10, 32)
	return int(i), err == nil
}

func (c *Config) int(key string) int { n, _ := integer(c.value(key)); return n }

func modulesOf(v any) adapter.Modules {
	if s, ok := v.(string); ok {
		return adapter.Modules{Regex: s}
	}
	return adapter.Modules{List: stringsOf(v)}
}

func modulesValue(m adapter.Modules) any {
	switch {
	case m.Regex != "":
		return m.Regex
	case m.List != nil:
		return m.List
	}
	return nil
}

func stringsOf(v any) []string {
	if s, ok := v.(string); ok {
		return []string{s}
	}
	list, _ := v.([]any)
	var out []string
	for _, e := range list {
		s, _ := e.(string)
		out = append(out, s)
	}
	return out
}

func intsOf(v any) []int {
	if n, ok := integer(v); ok {
		return []int{n}
	}
	list, _ := v.([]any)
	var out []int
	for _, e := range list {
		n, _ := integer(e)
		out = append(out, n)
	}
	return out
}
