package ops

import (
	"errors"
	"fmt"
	"slices"

	"github.com/bonnx/bonnx/tensor"
)

// tfIdf counts n-grams of a pool in sequences of tokens, which may leave out
// tokens between those of an n-gram, the same number each time.
//
//	x (C) or (N,C) of int32, int64 or string -> y (columns) or (N,columns)
//
// A column has the number of occurrences (TF), whether there is one (IDF) times
// the n-gram's weight, or both multiplied (TFIDF).
// https://onnx.ai/onnx/operators/onnx__TfIdfVectorizer.html
type tfIdf struct {
	value             func(count, weight float32) float32
	least, most, skip int // tokens of an n-gram, tokens left out
	ints              map[int64]int32
	words             map[string]int32
	next              map[[2]int32]int32 // by state and token: a state for each beginning of an n-gram
	gram              []int32            // that ends in a state, -1 where none does
	column            []int64            // of each n-gram
	weight            []float32
	columns           int
}

var tfIdfModes = map[string]func(count, weight float32) float32{
	"TF": func(count, _ float32) float32 { return count },
	"IDF": func(count, weight float32) float32 {
		if count > 0 {
			return weight
		}
		return 0
	},
	"TFIDF": func(count, weight float32) float32 { return count * weight },
}

func newTfIdf(a *Args) (Op, error) {
	o := &tfIdf{least: a.Int("min_gram_length", 0), most: a.Int("max_gram_length", 0), skip: a.Int("max_skip_count", 0),
		ints: map[int64]int32{}, words: map[string]int32{}, next: map[[2]int32]int32{}, gram: []int32{-1}}
	mode := a.String("mode", "")
	if o.value = tfIdfModes[mode]; o.value == nil {
		return nil, fmt.Errorf("mode is %q", mode)
	}
	if o.least < 1 || o.most < o.least || o.skip < 0 || o.skip > 1<<30 {
		return nil, fmt.Errorf("min_gram_length %d, max_gram_length %d, max_skip_count %d", o.least, o.most, o.skip)
	}
	tokens, err := o.tokens(a)
	if err != nil {
		return nil, err
	}
	for _, c := range a.Ints("ngram_indexes") {
		if c < 0 || c >= 1<<31 {
			return nil, fmt.Errorf("ngram_indexes have %d", c)
		}
		o.column = append(o.column, int64(c))
		o.columns = max(o.columns, c+1)
	}
	if err := o.grams(tokens, a.Ints("ngram_counts")); err != nil {
		return nil, err
	}
	if o.weight = a.Floats("weights"); o.weight == nil {
		o.weight = slices.Repeat([]float32{1}, len(o.column))
	}
	if len(o.weight) != len(o.column) {
		return nil, fmt.Errorf("%d weights for %d n-grams", len(o.weight), len(o.column))
	}
	return o, nil
}

// tokens numbers the tokens of the pool.
func (o *tfIdf) tokens(a *Args) ([]int32, error) {
	ints, words := a.Ints("pool_int64s"), a.Strings("pool_strings")
	if (ints == nil) == (words == nil) {
		return nil, errors.New("one of pool_int64s and pool_strings is needed")
	}
	var list []int32
	for _, v := range ints {
		list = append(list, number(o.ints, int64(v)))
	}
	for _, v := range words {
		list = append(list, number(o.words, v))
	}
	return list, nil
}

func number[T comparable](seen map[T]int32, v T) int32 {
	n, ok := seen[v]
	if !ok {
		n = int32(len(seen))
		seen[v] = n
	}
	return n
}

// grams makes the states. starts says where in the pool the n-grams of one
// token begin, those of two, and so on.
func (o *tfIdf) grams(pool []int32, starts []int) error {
	count := 0
	for i, at := range starts {
		end := len(pool)
		if i+1 < len(starts) {
			end = starts[i+1]
		}
		n := i + 1
		if at < 0 || end < at || end > len(pool) || (end-at)%n != 0 {
			return fmt.Errorf("ngram_counts are %v for a pool of %d", starts, len(pool))
		}
		for ; at < end; at += n {
			if count >= len(o.column) {
				return fmt.Errorf("ngram_indexes has %d entries, the pool more", len(o.column))
			}
			o.gram[o.path(pool[at:at+n])] = int32(count)
			count++
		}
	}
	if count != len(o.column) {
		return fmt.Errorf("ngram_indexes has %d entries for %d n-grams", len(o.column), count)
	}
	return nil
}

// path is the state that tokens lead to.
func (o *tfIdf) path(tokens []int32) int32 {
	state := int32(0)
	for _, t := range tokens {
		next, ok := o.next[[2]int32{state, t}]
		if !ok {
			next = int32(len(o.gram))
			o.next[[2]int32{state, t}] = next
			o.gram = append(o.gram, -1)
		}
		state = next
	}
	return state
}

func (o *tfIdf) Infer(in []Fact) ([]Fact, error) {
	x := in[0]
	switch x.Rank() {
	case -1:
		return []Fact{unranked(tensor.Float32)}, nil
	case 1:
		return []Fact{Of(tensor.Float32, known(o.columns))}, nil
	case 2:
		return []Fact{Of(tensor.Float32, x.Dims[0], known(o.columns))}, nil
	}
	return nil, fmt.Errorf("%v has neither one nor two dimensions", x)
}

func (o *tfIdf) Bind(p *Binder, in, _ []Fact) (Step, error) {
	shape := in[0].MustShape()
	n := shape[len(shape)-1]
	slot := p.Scratch(4 * len(o.column))
	token := o.reader(in[0].DType)
	if token == nil {
		return nil, errDType(in[0].DType)
	}
	return func(f *Frame, in, out []*tensor.Tensor) error {
		y, counts := tensor.Data[float32](out[0]), ScratchOf[float32](f, slot)
		clear(y)
		for row := 0; row*o.columns < len(y); row++ {
			clear(counts)
			o.count(counts, n, func(i int) (int32, bool) { return token(in[0], row*n+i) })
			for g, c := range counts {
				y[row*o.columns+int(o.column[g])] += o.value(c, o.weight[g])
			}
		}
		return nil
	}, nil
}

// reader gives the numbers of tokens of a dtype.
func (o *tfIdf) reader(d tensor.DType) func(t *tensor.Tensor, i int) (int32, bool) {
	switch d {
	case tensor.Int64:
		return func(t *tensor.Tensor, i int) (int32, bool) { n, ok := o.ints[tensor.Data[int64](t)[i]]; return n, ok }
	case tensor.Int32:
		return func(t *tensor.Tensor, i int) (int32, bool) {
			n, ok := o.ints[int64(tensor.Data[int32](t)[i])]
			return n, ok
		}
	case tensor.String:
		return func(t *tensor.Tensor, i int) (int32, bool) { n, ok := o.words[t.Strings()[i]]; return n, ok }
	}
	return nil
}

// count counts the n-grams of n tokens. Those of one token have nothing
// between their tokens to leave out, and are counted once.
func (o *tfIdf) count(counts []float32, n int, token func(i int) (int32, bool)) {
	for step := 1; step <= o.skip+1 && step <= max(1, n); step++ {
		for start := range n {
			state := int32(0)
			for k, i := 1, start; k <= o.most && i < n; k, i = k+1, i+step {
				t, ok := token(i)
				if !ok {
					break
				}
				if state, ok = o.next[[2]int32{state, t}]; !ok {
					break
				}
				if g := o.gram[state]; g >= 0 && k >= o.least && (k > 1 || step == 1) {
					counts[g]++
				}
			}
		}
	}
}
