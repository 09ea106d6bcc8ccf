package extent

import (
	"errors"
	"slices"
	"strings"

	"github.com/bonnx/bonnx/ir"
)

// matMul keeps leading axes and the rows of its left and the columns of its
// right operand apart.
func matMul(c *call) (place, error) {
	if err := c.onlyInputs(0, 1); err != nil {
		return place{}, err
	}
	left, right := c.fact(0).Rank(), c.fact(1).Rank()
	if left < 2 || right < 2 {
		return vectorProduct(c, left, right)
	}
	rank := c.out().Rank()
	a, b := c.place(0), c.place(1)
	switch {
	case a.kind == rows && a.axis == left-2 && b.kind != rows:
		return place{rows, rank - 2}, nil
	case b.kind == rows && b.axis == right-1 && a.kind != rows:
		return place{rows, rank - 1}, nil
	}
	return c.aligned(2, 2)
}

// vectorProduct is a matrix times a vector that is the same for all samples.
func vectorProduct(c *call, left, right int) (place, error) {
	a := c.place(0)
	if right == 1 && left >= 2 && a.kind == rows && a.axis < left-1 && c.place(1).kind != rows {
		return a, nil
	}
	return place{}, errMixes(0)
}

// matMulInteger is matMul with one zero point for all rows.
func matMulInteger(c *call) (place, error) {
	if c.n.Input(2) != nil && !single(c.fact(2)) {
		return place{}, errors.New("it has a zero point for each row")
	}
	return matMul(c)
}

// gemm is op(A) op(B) + C of matrices.
func gemm(c *call) (place, error) {
	if c.place(1).kind == rows {
		return place{}, errors.New("its weight is of the samples")
	}
	inner := 1
	if c.int("transA", 0) != 0 {
		inner = 0
	}
	if c.place(0).kind != rows || c.place(0).axis == inner {
		return place{}, errMixes(inner)
	}
	d := c.out().Dim(0)
	if c.place(2).kind == rows {
		if c.place(2).axis != c.fact(2).Rank()-2 {
			return place{}, errMixes(c.place(2).axis)
		}
	} else if f := c.fact(2); f.Rank() == 2 && (!f.Dims[0].Known || f.Dims[0].Value != 1) {
		return place{}, errors.New("its bias has rows, " + f.Dims[0].String() + " for " + d.String())
	}
	return place{rows, 0}, nil
}

// einsum keeps samples apart where one letter stands for their axis
// everywhere and comes out.
func einsum(c *call) (place, error) {
	a, _ := c.n.Attr("equation").Value.(ir.String)
	left, right, explicit := strings.Cut(strings.ReplaceAll(string(a), " ", ""), "->")
	if !explicit || strings.Contains(left, ".") {
		return place{}, errors.New("of its equation nothing is known")
	}
	var letter byte
	terms := strings.Split(left, ",")
	for i, term := range terms {
		p := c.place(i)
		if p.kind != rows {
			continue
		}
		if p.axis >= len(term) || letter != 0 && letter != term[p.axis] {
			return place{}, errMixes(p.axis)
		}
		letter = term[p.axis]
	}
	for i, term := range terms {
		if k := strings.IndexByte(term, letter); strings.Count(term, string(letter)) > 1 || k >= 0 && (c.place(i).kind != rows || c.place(i).axis != k) {
			return place{}, errMixes(k)
		}
	}
	out := strings.IndexByte(right, letter)
	if out < 0 {
		return place{}, errMixes(slices.Index(terms, left))
	}
	return place{rows, out}, nil
}
