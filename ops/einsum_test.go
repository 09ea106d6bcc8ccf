package ops_test

import (
	"strings"
	"testing"

	"github.com/bonnx/bonnx/internal/testutil/opcheck"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// slowEinsum loops over all assignments of letters. Terms have no ellipsis.
func slowEinsum(terms []string, out string, in []*tensor.Tensor) *tensor.Tensor {
	ext := map[byte]int{}
	letters := ""
	for i, t := range terms {
		for j := range len(t) {
			if !strings.Contains(letters, t[j:j+1]) {
				letters += t[j : j+1]
			}
			ext[t[j]] = max(ext[t[j]], in[i].Shape()[j])
		}
	}
	var shape tensor.Shape
	for j := range len(out) {
		shape = append(shape, ext[out[j]])
	}
	y := tensor.New(tensor.Float64, shape...)
	all := 1
	for j := range len(letters) {
		all *= ext[letters[j]]
	}
	at := func(term string, s tensor.Shape, value map[byte]int) int {
		off, strides := 0, s.Strides()
		for j := range len(term) {
			if s[j] > 1 {
				off += value[term[j]] * strides[j]
			}
		}
		return off
	}
	for n := range all {
		value := map[byte]int{}
		for j := range len(letters) {
			value[letters[j]] = n % ext[letters[j]]
			n /= ext[letters[j]]
		}
		v := 1.0
		for i, t := range terms {
			v *= tensor.Data[float64](in[i])[at(t, in[i].Shape(), value)]
		}
		tensor.Data[float64](y)[at(out, shape, value)] += v
	}
	return y
}

func TestEinsum(t *testing.T) {
	cases := []struct {
		equation string
		terms    []string // spelled out
		out      string
		shapes   [][]int
		diagonal bool
	}{
		{"ij,jk->ik", []string{"ij", "jk"}, "ik", [][]int{{2, 3}, {3, 4}}, false},
		{"ij , jk", []string{"ij", "jk"}, "ik", [][]int{{2, 3}, {3, 4}}, false},
		{"bij,bjk->bik", []string{"bij", "bjk"}, "bik", [][]int{{2, 2, 3}, {2, 3, 4}}, false},
		{"bhid,bhjd->bhij", []string{"bhid", "bhjd"}, "bhij", [][]int{{2, 2, 3, 2}, {2, 2, 4, 2}}, false},
		{"ji", []string{"ji"}, "ij", [][]int{{2, 3}}, false},
		{"ij->ji", []string{"ij"}, "ji", [][]int{{2, 3}}, false},
		{"...ij->...ji", []string{"aij"}, "aji", [][]int{{2, 3, 4}}, false},
		{"ij->i", []string{"ij"}, "i", [][]int{{2, 3}}, false},
		{"ij->", []string{"ij"}, "", [][]int{{2, 3}}, false},
		{"...ii->...i", []string{"aii"}, "ai", [][]int{{2, 3, 3}}, true},
		{"i,j->ij", []string{"i", "j"}, "ij", [][]int{{2}, {3}}, false},
		{"i,i", []string{"i", "i"}, "", [][]int{{3}, {3}}, false},
		{"ij,kj,lj->ikl", []string{"ij", "kj", "lj"}, "ikl", [][]int{{2, 3}, {2, 3}, {4, 3}}, false},
		{"...ij,...jk->...ik", []string{"aij", "jk"}, "aik", [][]int{{2, 2, 3}, {3, 4}}, false},
		{"...i,...i->...", []string{"abi", "bi"}, "ab", [][]int{{2, 3, 2}, {1, 2}}, false},
		{"ij,k->i", []string{"ij", "k"}, "i", [][]int{{2, 3}, {2}}, false},
	}
	for _, c := range cases {
		var in []*tensor.Tensor
		for i, s := range c.shapes {
			in = append(in, opcheck.Random(uint64(i), -1, 1, s...))
		}
		oc := opcheck.Case{Name: c.equation, Op: "Einsum", Inputs: in, Attrs: []*ir.Attr{ir.A("equation", ir.String(c.equation))}}
		opcheck.Forward(t, oc, 1e-14, slowEinsum(c.terms, c.out, in))
		if !c.diagonal {
			opcheck.Gradient(t, oc)
		}
	}
	x := opcheck.Random(1, -1, 1, 2, 3)
	for equation, want := range map[string]string{
		"i?->i": "equation", "ij,j": "2 terms", "ij->k": "output dimension", "ij->ii": "output dimension", "ijk->i": "2 dimensions", "......->": "equation",
	} {
		wantError(t, "Einsum", []*ir.Attr{ir.A("equation", ir.String(equation))}, want, x)
	}
	wantError(t, "Einsum", []*ir.Attr{ir.A("equation", ir.String("ij,jk"))}, "extents", x, x)
}
