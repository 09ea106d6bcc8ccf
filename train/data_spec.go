package train

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

// Spec says what data is read for: the inputs that it must fill and the task
// that its labels serve.
type Spec struct {
	// Inputs are the graph's inputs that data has to fill.
	Inputs []Port
	// Task is what labels are read for, "" to ask Detect, which is told what
	// the file holds: see DetectTask.
	Task   Task
	Detect func(held map[string]ops.Fact) (Task, error)
	// Feeds say how inputs are made that the data need not hold.
	Feeds map[string]FeedRule
	// SeqLen is the most positions of a sample. 0 stands for the extent that
	// the model fixes; else text is cut into windows of 128, and single
	// samples keep their length.
	SeqLen int
	// Tokenizer makes ids of text: "bytes" (ids 0 to 255), or "" for none.
	Tokenizer string
	// MaxRows is the most samples that are taken, 0 for all.
	MaxRows int
}

const (
	maskName       = "attention_mask"
	tokensName     = "input_ids"
	defaultSeqLen  = 128
	bytesTokenizer = "bytes"
)

// formats maps the extensions of data files to their readers.
var formats = map[string]func(path string, spec Spec) (Data, error){
	".npz":   OpenNPZ,
	".jsonl": openJSONL,
	".txt":   openTXT,
}

// Open reads the data file at path; its extension says how.
func Open(path string, spec Spec) (Data, error) {
	open, ok := formats[strings.ToLower(filepath.Ext(path))]
	if !ok {
		known := make([]string, 0, len(formats))
		for ext := range formats {
			known = append(known, ext)
		}
		slices.Sort(known)
		return nil, fmt.Errorf("%s: the extension of a data file is one of %s", path, strings.Join(known, " "))
	}
	return open(path, spec)
}

// Notes is what reading d changed or left out, one line each.
func Notes(d Data) []string {
	switch d := d.(type) {
	case subset:
		return Notes(d.of)
	case interface{ Notes() []string }:
		return d.Notes()
	}
	return nil
}

// checkRegular refuses what is no file before it is opened: a pipe would block.
func checkRegular(path string) error {
	st, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() {
		return fmt.Errorf("%s: is no regular file", path)
	}
	return nil
}

// Validate reports what is wrong with s whatever the inputs.
func (s Spec) Validate() error {
	if s.SeqLen < 0 {
		return fmt.Errorf("seq-len is %d", s.SeqLen)
	}
	if s.Tokenizer != "" && s.Tokenizer != bytesTokenizer {
		return fmt.Errorf("tokenizer %q is not one of %s", s.Tokenizer, bytesTokenizer)
	}
	return nil
}

// check is what a Spec must be on its own.
func (s Spec) check() error {
	if err := s.Validate(); err != nil {
		return err
	}
	for _, p := range s.Inputs {
		if _, ok := p.Type.(*ir.TensorType); p.Type != nil && !ok {
			return fmt.Errorf("input %q is a %v, which data cannot fill", p.Name, p.Type)
		}
		if e := p.elem(); e.Valid() && e.Bits() > 0 && e.Bits() < 8 {
			return fmt.Errorf("input %q is %v, which data cannot fill", p.Name, e)
		}
	}
	return nil
}

// detected is s with its task found by what the data holds.
func (s Spec) detected(held map[string]ops.Fact) (Spec, error) {
	if s.Task != "" {
		return s, nil
	}
	if s.Detect == nil {
		return s, errors.New("the data is read for no task")
	}
	var err error
	s.Task, err = s.Detect(held)
	return s, err
}

func (s Spec) port(name string) (Port, bool) {
	i := slices.IndexFunc(s.Inputs, func(p Port) bool { return p.Name == name })
	if i < 0 {
		return Port{}, false
	}
	return s.Inputs[i], true
}

// tokens is the input that takes token ids: input_ids, else the only integer
// input that could.
func (s Spec) tokens() (Port, bool) {
	if p, ok := s.port(tokensName); ok {
		return p, true
	}
	var found []Port
	for _, p := range s.Inputs {
		rank, ranked := p.rank()
		_, made := feedRule(p, s.Feeds)
		if p.elem().IsInteger() && (!ranked || rank == 2) && !made && p.Name != LabelsInput {
			found = append(found, p)
		}
	}
	if len(found) != 1 {
		return Port{}, false
	}
	return found[0], true
}

// wantsLabels says whether every sample has labels beside the inputs. A
// custom task has them only as one more input of the model.
func (s Spec) wantsLabels() bool { return s.Task != Custom }

// inputList is what error messages say the model takes.
func (s Spec) inputList() string {
	if len(s.Inputs) == 0 {
		return "nothing"
	}
	var b strings.Builder
	for i, p := range s.Inputs {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(p.Name)
		if p.Type != nil {
			fmt.Fprintf(&b, " %v", p.Type)
		}
	}
	return b.String()
}

// elem is the element type that the input takes, Undefined where not known.
func (p Port) elem() tensor.DType {
	if t, ok := p.Type.(*ir.TensorType); ok {
		return t.Elem
	}
	return tensor.Undefined
}

// dim is the declared extent of an axis, if there is one.
func (p Port) dim(axis int) (ir.Dim, bool) {
	t, ok := p.Type.(*ir.TensorType)
	if !ok || !t.Ranked || axis >= len(t.Dims) {
		return ir.Dim{}, false
	}
	return t.Dims[axis], true
}

func (p Port) rank() (int, bool) {
	t, ok := p.Type.(*ir.TensorType)
	if !ok || !t.Ranked {
		return 0, false
	}
	return len(t.Dims), true
}

// convert gives t the element type d. Integers keep their values or are an
// error; floats are rounded; a float never becomes an integer.
func convert(t *tensor.Tensor, d tensor.DType) (*tensor.Tensor, error) {
	from := t.DType()
	counts := from.IsInteger() || from == tensor.Bool
	switch {
	case from.Bits() < 8 && from != tensor.String, d == tensor.Undefined && from.IsComplex():
		return nil, fmt.Errorf("holds %v, which is no type of data", from)
	case from == d || d == tensor.Undefined:
		return t, nil
	case counts && d.IsInteger():
		if err := checkRange(t, d); err != nil {
			return nil, err
		}
	case counts && (d.IsFloat() || d == tensor.Bool), from.IsFloat() && d.IsFloat():
	default:
		return nil, fmt.Errorf("holds %v, needed is %v", from, d)
	}
	return t.Cast(d)
}

// checkRange says which element of t an integer type cannot hold.
func checkRange(t *tensor.Tensor, d tensor.DType) error {
	v, err := t.Int64s()
	if err != nil {
		return err
	}
	lo, hi := int64(0), int64(math.MaxInt64)
	if d.IsSigned() {
		lo, hi = math.MinInt64>>(64-d.Bits()), math.MaxInt64>>(64-d.Bits())
	} else if d.Bits() < 64 {
		hi = 1<<d.Bits() - 1
	}
	for i, x := range v {
		if x < lo || x > hi {
			return fmt.Errorf("holds %d (element %d), which is no %v", x, i, d)
		}
	}
	return nil
}

// gather is the entries idx of the first axis of t, which idx is inside of.
func gather(t *tensor.Tensor, idx []int) *tensor.Tensor { return gatherInto(nil, t, idx) }

// gatherInto is gather in the memory of old, if that has the type and shape.
func gatherInto(old, t *tensor.Tensor, idx []int) *tensor.Tensor {
	out, row := old, t.Shape()[1:].Size()
	if old == nil || old.DType() != t.DType() || old.Shape()[0] != len(idx) || !old.Shape()[1:].Equal(t.Shape()[1:]) {
		shape := t.Shape().Clone()
		shape[0] = len(idx)
		out = tensor.New(t.DType(), shape...)
	}
	if t.DType() == tensor.String {
		for i, k := range idx {
			copy(out.Strings()[i*row:(i+1)*row], t.Strings()[k*row:])
		}
		return out
	}
	src, dst, n := t.Bytes(), out.Bytes(), t.DType().Size(row)
	for i, k := range idx {
		copy(dst[i*n:(i+1)*n], src[k*n:(k+1)*n])
	}
	return out
}

// columns is a copy of entries lo to hi (exclusive) of the second axis.
func columns(t *tensor.Tensor, lo, hi int) *tensor.Tensor {
	shape := t.Shape().Clone()
	rows, cols := shape[0], shape[1]
	n := t.DType().Size(tensor.Shape(shape[2:]).Size())
	shape[1] = hi - lo
	out := tensor.New(t.DType(), shape...)
	src, dst := t.Bytes(), out.Bytes()
	for r := range rows {
		copy(dst[r*(hi-lo)*n:], src[(r*cols+lo)*n:(r*cols+hi)*n])
	}
	return out
}

// isZero reports whether element i of t is 0. Elements are real numbers of whole
// bytes.
func isZero(t *tensor.Tensor, i int) bool {
	n := t.DType().Size(1)
	e := t.Bytes()[i*n:][:n]
	top := e[n-1]
	if t.DType().IsFloat() {
		top &^= 1 << 7 // the sign
	}
	for _, b := range e[:n-1] {
		top |= b
	}
	return top == 0
}

// checkSamples guards Batch against indices that no sample has.
func checkSamples(samples []int, n int) error {
	if len(samples) == 0 {
		return errors.New("a batch of no samples")
	}
	for _, k := range samples {
		if k < 0 || k >= n {
			return fmt.Errorf("sample %d of %d", k, n)
		}
	}
	return nil
}
