package ops

import (
	"strconv"
	"strings"

	"github.com/bonnx/bonnx/ir"
)

// Extents are ir.Dims: a number, a symbol, or unknown. Arithmetic on symbols
// makes canonical expressions, so that equal computations give equal symbols.

// known makes a known extent.
func known(n int) ir.Dim { return ir.Fixed(int64(n)) }

// unknown is an extent that nothing is known of.
var unknown = ir.Dim{}

// SameDim reports whether two extents are certainly equal.
func SameDim(a, b ir.Dim) bool {
	if a.Known || b.Known {
		return a.Known && b.Known && a.Value == b.Value
	}
	return a.Sym != "" && a.Sym == b.Sym
}

func isOne(d ir.Dim) bool { return d.Known && d.Value == 1 }

// dimOp applies one of + - * / to two extents; / rounds toward zero.
func dimOp(op byte, a, b ir.Dim) ir.Dim {
	if a.Known && b.Known {
		switch op {
		case '+':
			return ir.Fixed(a.Value + b.Value)
		case '-':
			return ir.Fixed(a.Value - b.Value)
		case '*':
			return ir.Fixed(a.Value * b.Value)
		case '/':
			if b.Value != 0 {
				return ir.Fixed(a.Value / b.Value)
			}
		}
		return unknown
	}
	zero := func(d ir.Dim) bool { return d.Known && d.Value == 0 }
	switch {
	case (op == '+' || op == '-') && zero(b), (op == '*' || op == '/') && isOne(b):
		return a
	case op == '+' && zero(a), op == '*' && isOne(a):
		return b
	case op == '-' && SameDim(a, b):
		return ir.Fixed(0)
	case op == '/' && SameDim(a, b):
		return ir.Fixed(1)
	case !a.Known && a.Sym == "" || !b.Known && b.Sym == "":
		return unknown
	}
	if inv := inverse[op]; inv != 0 {
		if x, ok := simplify(inv, a, b); ok {
			return x
		}
		if x, ok := simplify(inv, b, a); ok && op == '+' {
			return x
		}
	}
	x, y := dimText(a), dimText(b)
	if (op == '+' || op == '*') && y < x {
		x, y = y, x
	}
	if s := "(" + x + string(op) + y + ")"; len(s) <= 200 {
		return ir.Symbol(s)
	}
	return unknown
}

// inverse is the operator that one takes back: (x+b)-b is x.
var inverse = map[byte]byte{'-': '+', '/': '*', '+': '-'}

func dimText(d ir.Dim) string {
	if d.Known {
		return strconv.FormatInt(d.Value, 10)
	}
	return d.Sym
}

// product is the product of extents.
func product(dims []ir.Dim) ir.Dim {
	p := known(1)
	for _, d := range dims {
		p = dimOp('*', p, d)
	}
	return p
}

// BroadcastDims is NumPy's rule on symbolic extents: where it cannot be told
// which side is stretched, the extent is unknown. ok is false where two known
// extents do not fit.
func BroadcastDims(a, b []ir.Dim) (out []ir.Dim, ok bool) {
	n := max(len(a), len(b))
	out = make([]ir.Dim, n)
	for i := range n {
		x, y := known(1), known(1)
		if j := i - n + len(a); j >= 0 {
			x = a[j]
		}
		if j := i - n + len(b); j >= 0 {
			y = b[j]
		}
		switch {
		case isOne(x):
			out[i] = y
		case isOne(y) || SameDim(x, y):
			out[i] = x
		case x.Known && y.Known:
			return nil, false
		case x.Known:
			out[i] = x // not 1, so y is 1 or the same
		case y.Known:
			out[i] = y
		case capped(x, y):
			out[i] = y
		case capped(y, x):
			out[i] = x
		}
	}
	return out, true
}

// capped reports whether a is min(k,b) for some k of at least 1, as Slice makes
// of a table cut to the length of a sequence. The two then broadcast to b: a
// differs only where b exceeds k, and fits it then only by being 1.
func capped(a, b ir.Dim) bool {
	inner, ok := strings.CutPrefix(a.Sym, "min(")
	if !ok || b.Sym == "" {
		return false
	}
	inner = strings.TrimSuffix(inner, ")")
	k, ok := strings.CutSuffix(inner, ","+b.Sym)
	if !ok {
		k, ok = strings.CutPrefix(inner, b.Sym+",")
	}
	n, err := strconv.ParseInt(k, 10, 64)
	return ok && err == nil && n >= 1
}

func dimsString(dims []ir.Dim) string {
	s := make([]string, len(dims))
	for i, d := range dims {
		s[i] = d.String()
	}
	return "[" + strings.Join(s, " ") + "]"
}
