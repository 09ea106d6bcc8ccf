package extent

import (
	"slices"
	"strconv"
	"strings"

	"github.com/bonnx/bonnx/ir"
)

// samples is the symbol of the number of samples while a graph is traced. No
// file can have it by chance: callers check.
const samples = "#samples"

// mentions reports whether an extent depends on the number of samples.
func mentions(d ir.Dim) bool { return strings.Contains(d.Sym, samples) }

// A monomial is a product of a number and symbols, in order: extents that are
// equal have equal monomials.
type monomial struct {
	n    int64
	syms []string
}

func number(n int64) monomial { return monomial{n: n} }

// product is the monomial of several extents. ok is false where one of them is
// unknown.
func product(dims ...ir.Dim) (p monomial, ok bool) {
	p.n = 1
	for _, d := range dims {
		switch {
		case d.Known:
			p.n *= d.Value
		case d.Sym == "":
			return p, false
		default:
			p = p.times(factors(d.Sym))
		}
	}
	return p, true
}

// factors takes "(((2*batch)*8)/4)", as package ops writes products and exact
// quotients, apart. What is neither counts as one symbol.
func factors(sym string) monomial {
	if n, err := strconv.ParseInt(sym, 10, 64); err == nil {
		return number(n)
	}
	if a, op, b, ok := halves(sym); ok && op == '*' {
		return factors(a).times(factors(b))
	} else if ok {
		if q, exact := factors(a).over(factors(b)); exact {
			return q
		}
	}
	return monomial{1, []string{sym}}
}

// halves are a and b of "(a*b)" or "(a/b)".
func halves(s string) (a string, op byte, b string, ok bool) {
	if !strings.HasPrefix(s, "(") || !strings.HasSuffix(s, ")") {
		return "", 0, "", false
	}
	depth, at := 0, -1
	for i := range len(s) {
		switch c := s[i]; {
		case c == '(':
			depth++
		case c == ')':
			depth--
			if depth == 0 && i != len(s)-1 {
				return "", 0, "", false // "(a)..(b)" is no pair of brackets
			}
		case depth != 1 || !strings.ContainsRune("+-*/", rune(c)):
		case at >= 0 || c == '+' || c == '-':
			return "", 0, "", false
		default:
			at = i
		}
	}
	if at < 0 {
		return "", 0, "", false
	}
	return s[1:at], s[at], s[at+1 : len(s)-1], true
}

// dim is the product written in one way: equal products, equal extents.
func (p monomial) dim() ir.Dim {
	if len(p.syms) == 0 {
		return ir.Fixed(p.n)
	}
	text := p.syms[0]
	rest := p.syms[1:]
	if p.n != 1 {
		rest = append(slices.Clone(rest), strconv.FormatInt(p.n, 10))
	}
	for _, s := range rest {
		text = "(" + min(text, s) + "*" + max(text, s) + ")"
	}
	return ir.Symbol(text)
}

// normal writes extents that depend on the number of samples in one way.
func normal(dims []ir.Dim) []ir.Dim {
	out := slices.Clone(dims)
	for i, d := range dims {
		if p, ok := product(d); ok && mentions(d) {
			out[i] = p.dim()
		}
	}
	return out
}

func (p monomial) times(q monomial) monomial {
	return monomial{p.n * q.n, slices.Sorted(slices.Values(slices.Concat(p.syms, q.syms)))}
}

// over is p/q where that is a monomial.
func (p monomial) over(q monomial) (monomial, bool) {
	if q.n == 0 || p.n%q.n != 0 {
		return p, false
	}
	rest := slices.Clone(p.syms)
	for _, s := range q.syms {
		i := slices.Index(rest, s)
		if i < 0 {
			return p, false
		}
		rest = slices.Delete(rest, i, i+1)
	}
	return monomial{p.n / q.n, rest}, true
}

func (p monomial) equal(q monomial) bool { return p.n == q.n && slices.Equal(p.syms, q.syms) }

// perSample is m of an extent samples*m. ok is false where the extent is no
// such product.
func perSample(d ir.Dim) (m monomial, ok bool) {
	p, ok := product(d)
	if !ok {
		return p, false
	}
	m, ok = p.over(monomial{1, []string{samples}})
	return m, ok && !slices.ContainsFunc(m.syms, func(s string) bool { return strings.Contains(s, samples) })
}

// onlyRows is the one axis whose extent is a multiple of the number of
// samples; -1 where no extent depends on it. ok is false where several do, or
// one in another way.
func onlyRows(dims []ir.Dim) (axis int, ok bool) {
	axis = -1
	for i, d := range dims {
		if !mentions(d) {
			continue
		}
		if _, is := perSample(d); !is || axis >= 0 {
			return -1, false
		}
		axis = i
	}
	return axis, true
}
