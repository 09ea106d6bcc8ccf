package ops

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// einsum is a sum of products over named dimensions, as "ij,jk->ik"; an
// ellipsis stands for dimensions that are broadcast.
// https://onnx.ai/onnx/operators/onnx__Einsum.html
type einsum struct {
	terms []string // per operand, "." for the ellipsis
	out   string
}

func newEinsum(a *Args) (Op, error) {
	o, err := parseEinsum(a.String("equation", ""))
	if err == nil && len(o.terms) != a.NumIn() {
		err = fmt.Errorf("the equation has %d terms for %d operands", len(o.terms), a.NumIn())
	}
	return o, err
}

func parseEinsum(equation string) (einsum, error) {
	text := strings.ReplaceAll(strings.ReplaceAll(equation, " ", ""), "...", ".")
	left, right, explicit := strings.Cut(text, "->")
	o := einsum{terms: strings.Split(left, ","), out: right}
	for _, t := range append(slices.Clone(o.terms), o.out) {
		if strings.Count(t, ".") > 1 || strings.ContainsFunc(t, func(r rune) bool {
			return r != '.' && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
		}) {
			return o, fmt.Errorf("equation %q", equation)
		}
	}
	if !explicit {
		o.out = implicitOutput(left)
	}
	for i, r := range o.out {
		if !strings.ContainsRune(left, r) && r != '.' || strings.ContainsRune(o.out[:i], r) {
			return o, fmt.Errorf("equation %q: output dimension %q", equation, r)
		}
	}
	return o, nil
}

// implicitOutput is the ellipsis and then the letters that occur once, sorted.
func implicitOutput(left string) string {
	out := []rune{}
	for _, r := range left {
		if r != ',' && r != '.' && strings.Count(left, string(r)) == 1 {
			out = append(out, r)
		}
	}
	slices.Sort(out)
	if strings.Contains(left, ".") {
		out = append([]rune{'.'}, out...)
	}
	return string(out)
}

// ellipsis is the first of the names of dimensions that an ellipsis stands
// for; letters lie below it.
const ellipsis = 256

// names gives each dimension of each term and of the output a name.
func (o einsum) names(ranks []int) (terms [][]int, out []int, err error) {
	width := 0
	for i, t := range o.terms {
		if n := ranks[i] - len(strings.ReplaceAll(t, ".", "")); n < 0 || n > 0 && !strings.Contains(t, ".") {
			return nil, nil, fmt.Errorf("term %q for an operand of %d dimensions", t, ranks[i])
		} else {
			width = max(width, n)
		}
	}
	for i, t := range o.terms {
		terms = append(terms, nameTerm(t, width, ranks[i]-len(strings.ReplaceAll(t, ".", ""))))
	}
	return terms, nameTerm(o.out, width, width), nil
}

// nameTerm spells a term out; its ellipsis stands for the last n of width names.
func nameTerm(t string, width, n int) []int {
	var names []int
	for _, r := range t {
		if r != '.' {
			names = append(names, int(r))
			continue
		}
		for k := width - n; k < width; k++ {
			names = append(names, ellipsis+k)
		}
	}
	return names
}

// extents are the extents by name; those of 1 are broadcast.
func einsumExtents(terms [][]int, in []Fact) (map[int]ir.Dim, error) {
	ext := map[int]ir.Dim{}
	for i, names := range terms {
		for j, name := range names {
			d, seen := ext[name]
			if !seen {
				d = known(1)
			}
			both, ok := BroadcastDims([]ir.Dim{d}, []ir.Dim{in[i].Dims[j]})
			if !ok {
				return nil, fmt.Errorf("extents %v and %v of one dimension", d, in[i].Dims[j])
			}
			ext[name] = both[0]
		}
	}
	return ext, nil
}

func (o einsum) Infer(in []Fact) ([]Fact, error) {
	d, err := commonDType(in)
	if err != nil {
		return nil, err
	}
	ranks := make([]int, len(in))
	for i, f := range in {
		if ranks[i] = f.Rank(); ranks[i] < 0 {
			if strings.Contains(o.out, ".") {
				return []Fact{unranked(d)}, nil
			}
			return []Fact{ofRank(d, len(o.out))}, nil
		}
	}
	terms, out, err := o.names(ranks)
	if err != nil {
		return nil, err
	}
	ext, err := einsumExtents(terms, in)
	if err != nil {
		return nil, err
	}
	dims := make([]ir.Dim, len(out))
	for i, name := range out {
		dims[i] = ext[name]
	}
	return []Fact{Of(d, dims...)}, nil
}

// Grad: the gradient of one operand is the sum of products of the others and
// dY, with the operand's dimensions as result; dimensions that only the operand
// has are repeated.
func (o einsum) Grad(b *GradBuilder) error {
	for i := range o.terms {
		if b.Needs(i) {
			g, err := o.gradOf(b, i)
			if err != nil {
				return err
			}
			b.SetSum(i, g)
		}
	}
	return nil
}

func (o einsum) gradOf(b *GradBuilder, i int) (*ir.Value, error) {
	in, terms := []*ir.Value{b.Grad(0)}, []string{o.out}
	for j, t := range o.terms {
		if j != i {
			in, terms = append(in, b.In(j)), append(terms, t)
		}
	}
	left := strings.Join(terms, ",")
	result, alone := "", []int{}
	for j, r := range o.terms[i] {
		switch {
		case strings.Count(o.terms[i], string(r)) > 1:
			return nil, errors.New("the gradient of a diagonal is not known")
		case strings.ContainsRune(left, r):
			result += string(r)
		case r == '.':
			return nil, errors.New("the gradient of a sum over an ellipsis is not known")
		default:
			alone = append(alone, o.position(i, j))
		}
	}
	g := b.Op("Einsum", in, ir.A("equation", ir.String(strings.ReplaceAll(left+"->"+result, ".", "..."))))
	if len(alone) > 0 {
		g = b.ExpandLike(b.Unsqueeze(g, alone...), b.In(i))
	}
	return g, nil
}

// position is the axis of letter j of term i, from the end where an ellipsis
// comes before it.
func (o einsum) position(i, j int) int {
	if strings.Contains(o.terms[i][:j], ".") {
		return j - len(o.terms[i])
	}
	return j
}

func (o einsum) Bind(p *Binder, in, out []Fact) (Step, error) {
	if isNarrow(in[0].DType) {
		return viaFloat32(p, o, in, out)
	}
	ranks := make([]int, len(in))
	for i, f := range in {
		ranks[i] = f.Rank()
	}
	terms, names, err := o.names(ranks)
	if err != nil {
		return nil, err
	}
	shapes := make([]tensor.Shape, len(in))
	for i, f := range in {
		shapes[i] = f.MustShape()
	}
	e := &einsumPlan{terms: terms, out: names, shapes: shapes, result: out[0].MustShape()}
	return floatStep(in[0].DType,
		func() (Step, error) { return bindEinsum[float32](p, e) },
		func() (Step, error) { return bindEinsum[float64](p, e) })
}
