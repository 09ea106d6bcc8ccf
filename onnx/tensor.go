package onnx

import (
	"errors"
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/bonnx/bonnx/internal/mmap"
	"github.com/bonnx/bonnx/onnx/internal/onnxpb"
	"github.com/bonnx/bonnx/tensor"
)

// Field numbers of TensorProto that hold elements.
const (
	fieldFloat  = 4
	fieldInt32  = 5
	fieldString = 6
	fieldInt64  = 7
	fieldRaw    = 9
	fieldDouble = 10
	fieldUint64 = 11
)

// isBulk reports whether a field of TensorProto holds elements.
func isBulk(n protowire.Number) bool { return n >= fieldFloat && n <= fieldUint64 && n != 8 }

// typedField says in which field, other than raw_data, the elements of a type
// are kept, and how many entries of it one element takes.
var typedField = [...]struct {
	num     protowire.Number
	entries int // 0: as many as the packed form has bytes
}{
	tensor.Float32: {fieldFloat, 1}, tensor.Complex64: {fieldFloat, 2},
	tensor.Float64: {fieldDouble, 1}, tensor.Complex128: {fieldDouble, 2},
	tensor.Int64: {fieldInt64, 1}, tensor.Uint32: {fieldUint64, 1}, tensor.Uint64: {fieldUint64, 1},
	tensor.String: {fieldString, 1},
	tensor.Uint8:  {fieldInt32, 1}, tensor.Int8: {fieldInt32, 1}, tensor.Uint16: {fieldInt32, 1},
	tensor.Int16: {fieldInt32, 1}, tensor.Int32: {fieldInt32, 1}, tensor.Bool: {fieldInt32, 1},
	tensor.Float16: {fieldInt32, 1}, tensor.BFloat16: {fieldInt32, 1},
	tensor.Float8E4M3FN: {fieldInt32, 1}, tensor.Float8E4M3FNUZ: {fieldInt32, 1},
	tensor.Float8E5M2: {fieldInt32, 1}, tensor.Float8E5M2FNUZ: {fieldInt32, 1}, tensor.Float8E8M0: {fieldInt32, 1},
	tensor.Uint4: {fieldInt32, 0}, tensor.Int4: {fieldInt32, 0}, tensor.Float4E2M1: {fieldInt32, 0},
	tensor.Uint2: {fieldInt32, 0}, tensor.Int2: {fieldInt32, 0},
}

// entriesOf is how many entries of its typed field a tensor of n elements has.
func entriesOf(d tensor.DType, n int) int {
	if e := typedField[d].entries; e > 0 {
		return n * e
	}
	return d.Size(n)
}

// fileData is a tensor that lies in a file: ir.Data whose header was read and
// whose elements were not.
type fileData struct {
	msg   span // the TensorProto
	head  *onnxpb.TensorProto
	dtype tensor.DType
	shape tensor.Shape
	size  int // elements
	form  protowire.Number
	raw   span    // where form is fieldRaw: the elements as they are in memory
	ext   *extRef // elements in another file; form is 0
}

// DType implements ir.Data.
func (d *fileData) DType() tensor.DType { return d.dtype }

// Shape implements ir.Data.
func (d *fileData) Shape() tensor.Shape { return d.shape }

// tally is what a walk over a TensorProto sees of one field of elements.
type tally struct {
	entries int64 // entries of unpacked fields, strings
	packed  int64 // bytes of packed ones
	chunks  int
	last    span
}

// decodeTensor reads a tensor's header and finds its elements. ext resolves
// external data; nil refuses it.
func (r *reader) decodeTensor(msg span, ext *files) (*fileData, error) {
	d := &fileData{msg: msg, head: &onnxpb.TensorProto{}}
	var seen [16]tally
	err := r.split(msg, d.head, func(f field) (bool, error) {
		if !isBulk(f.num) {
			return false, nil
		}
		t := &seen[f.num]
		t.packed += f.body.n
		t.chunks++
		t.last = f.body
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	// Entries that are not packed are numbers, which split left in the head.
	h := d.head
	seen[fieldFloat].entries = int64(len(h.FloatData))
	seen[fieldInt32].entries = int64(len(h.Int32Data))
	seen[fieldInt64].entries = int64(len(h.Int64Data))
	seen[fieldDouble].entries = int64(len(h.DoubleData))
	seen[fieldUint64].entries = int64(len(h.Uint64Data))
	h.FloatData, h.Int32Data, h.Int64Data, h.DoubleData, h.Uint64Data = nil, nil, nil, nil, nil
	err = d.describe()
	if err == nil {
		err = d.locate(&seen, ext)
	}
	if err != nil {
		return nil, fmt.Errorf("tensor %q: %w", h.GetName(), err)
	}
	return d, nil
}

// describe checks element type and dims.
func (d *fileData) describe() error {
	t := d.head.GetDataType()
	if t <= 0 || int(t) >= len(typedField) {
		return fmt.Errorf("unknown element type %d", t)
	}
	d.dtype = tensor.DType(t)
	d.shape = make(tensor.Shape, len(d.head.Dims))
	for i, n := range d.head.Dims {
		if n < 0 || int64(int(n)) != n {
			return fmt.Errorf("dimension %d is %d", i, n)
		}
		d.shape[i] = int(n)
	}
	n, err := d.shape.CheckedSize()
	d.size = n
	return err
}

// locate decides which form the elements have and that there are as many as
// the shape says.
func (d *fileData) locate(seen *[16]tally, ext *files) error {
	if d.head.Segment != nil {
		return errors.New("tensors in segments are not supported")
	}
	if d.head.GetDataLocation() == onnxpb.TensorProto_EXTERNAL {
		return d.locateExternal(ext)
	}
	f := typedField[d.dtype].num
	raw, typed := &seen[fieldRaw], &seen[f]
	if raw.chunks > 0 && (raw.last.n > 0 || typed.chunks == 0 && typed.entries == 0) {
		if d.dtype == tensor.String {
			return errors.New("strings in raw_data")
		}
		d.form, d.raw = fieldRaw, raw.last
		return d.wantBytes("raw_data", raw.last.n)
	}
	d.form = f
	if d.dtype == tensor.String {
		return d.wantEntries(int64(typed.chunks))
	}
	switch width := fixedWidth(f); {
	case width > 0 && typed.chunks == 1 && typed.entries == 0:
		// Packed little-endian numbers are what is in memory too.
		d.form, d.raw = fieldRaw, typed.last
		return d.wantBytes("the data", typed.last.n)
	case width > 0:
		if typed.packed%width != 0 {
			return errors.New("packed data ends inside of an element")
		}
		return d.wantEntries(typed.entries + typed.packed/width)
	}
	return d.countVarints(typed)
}

// fixedWidth is the size of an entry of fields that are not varints.
func fixedWidth(f protowire.Number) int64 {
	switch f {
	case fieldFloat:
		return 4
	case fieldDouble:
		return 8
	}
	return 0
}

// countVarints checks what can be known without reading a large field: each
// entry takes 1 to 10 bytes. Reading the tensor counts exactly.
func (d *fileData) countVarints(t *tally) error {
	if t.packed <= window {
		n, err := d.walkEntries(nil)
		if err != nil {
			return err
		}
		return d.wantEntries(int64(n))
	}
	want := int64(entriesOf(d.dtype, d.size)) - t.entries
	if want > t.packed || want < (t.packed+9)/10 {
		return fmt.Errorf("%v%v needs %d entries, its field has %d bytes", d.dtype, d.shape, want, t.packed)
	}
	return nil
}

func (d *fileData) wantBytes(what string, n int64) error {
	if want := d.dtype.Size(d.size); int64(want) != n {
		return fmt.Errorf("%v%v needs %d bytes, %s has %d", d.dtype, d.shape, want, what, n)
	}
	return nil
}

func (d *fileData) wantEntries(n int64) error {
	if want := entriesOf(d.dtype, d.size); int64(want) != n {
		return fmt.Errorf("%v%v needs %d entries, there are %d", d.dtype, d.shape, want, n)
	}
	return nil
}

// Tensor implements ir.Data. Elements that lie in the mapping as they shall be
// in memory are shared with it, all others are decoded at each call.
func (d *fileData) Tensor() (t *tensor.Tensor, err error) {
	gerr := mmap.Guard(func() error {
		t, err = d.read()
		return err
	})
	if gerr != nil {
		return nil, fmt.Errorf("tensor %q: %w", d.head.GetName(), gerr)
	}
	return t, nil
}

// Release implements ir.Released.
func (d *fileData) Release() {
	switch {
	case d.ext != nil:
		d.ext.drop()
	case d.form == fieldRaw:
		d.raw.src.Release(d.raw.off, d.raw.n)
	}
}

func (d *fileData) read() (*tensor.Tensor, error) {
	switch {
	case d.ext != nil:
		b, err := d.ext.bytes()
		if err != nil {
			return nil, err
		}
		return tensor.FromBytes(d.dtype, d.shape, b)
	case d.form == fieldRaw:
		b, err := d.raw.bytes()
		if err != nil {
			return nil, err
		}
		return tensor.FromBytes(d.dtype, d.shape, b)
	}
	// The exact count comes first: nothing is allocated for a shape that lies.
	n, err := d.walkEntries(nil)
	if err == nil {
		err = d.wantEntries(int64(n))
	}
	if err != nil {
		return nil, err
	}
	t := tensor.New(d.dtype, d.shape...)
	if d.dtype == tensor.String {
		return t, d.readStrings(t.Strings())
	}
	_, err = d.walkEntries(putter(t.Bytes(), d.dtype))
	return t, err
}

// putter stores entry after entry in b, each in as many low bytes as the
// element type has (for parts of complex numbers: half of them).
func putter(b []byte, d tensor.DType) func(uint64) {
	width := max(1, d.Bits()/8/max(1, typedField[d].entries))
	boolean := d == tensor.Bool
	return func(v uint64) {
		if boolean && v != 0 {
			v = 1
		}
		for i := range width {
			b[i] = byte(v >> (8 * i))
		}
		b = b[width:]
	}
}

func (d *fileData) readStrings(out []string) error {
	r, err := newReader(d.msg.src)
	if err != nil {
		return err
	}
	i := 0
	return r.fields(d.msg, func(f field) error {
		if f.num != fieldString || f.typ != protowire.BytesType {
			return nil
		}
		b, err := f.body.bytes()
		out[i] = string(b)
		i++
		return err
	})
}

// walkEntries counts the entries of the typed field and hands them to put,
// where that is not nil.
func (d *fileData) walkEntries(put func(uint64)) (int, error) {
	r, err := newReader(d.msg.src)
	if err != nil {
		return 0, err
	}
	n := 0
	give := func(v uint64) {
		n++
		if put != nil {
			put(v)
		}
	}
	err = r.fields(d.msg, func(f field) error {
		switch {
		case f.num != d.form:
		case f.typ == protowire.BytesType && d.dtype == tensor.String:
			n++
		case f.typ == protowire.BytesType:
			return unpack(f.body, fixedWidth(d.form), give)
		case f.typ == wireType(d.form):
			give(f.value)
		}
		return nil
	})
	return n, err
}

// wireType is how an unpacked entry of a typed field is written.
func wireType(f protowire.Number) protowire.Type {
	switch f {
	case fieldFloat:
		return protowire.Fixed32Type
	case fieldDouble:
		return protowire.Fixed64Type
	}
	return protowire.VarintType
}

// unpack hands out the entries of a packed field.
func unpack(body span, width int64, give func(uint64)) error {
	b, err := body.bytes()
	if err != nil {
		return err
	}
	for len(b) > 0 {
		var v uint64
		n := 0
		switch width {
		case 4:
			var x uint32
			x, n = protowire.ConsumeFixed32(b)
			v = uint64(x)
		case 8:
			v, n = protowire.ConsumeFixed64(b)
		default:
			v, n = protowire.ConsumeVarint(b)
		}
		if n < 0 {
			return protowire.ParseError(n)
		}
		give(v)
		b = b[n:]
	}
	return nil
}

// LoadTensor decodes a TensorProto, such as a file of test data, and its name.
// The tensor may share b.
func LoadTensor(b []byte) (string, *tensor.Tensor, error) {
	src := mmap.FromBytes("tensor", b)
	r, err := newReader(src)
	if err != nil {
		return "", nil, err
	}
	d, err := r.decodeTensor(r.all(), nil)
	if err != nil {
		return "", nil, invalid(err)
	}
	t, err := d.Tensor()
	if err != nil {
		return "", nil, invalid(err)
	}
	return d.head.GetName(), t, nil
}

// MarshalTensor encodes t as a TensorProto called name.
func MarshalTensor(name string, t *tensor.Tensor) ([]byte, error) {
	head := &onnxpb.TensorProto{}
	if name != "" {
		head.Name = &name
	}
	setShape(head, t.DType(), t.Shape())
	var r rope
	r.proto(head)
	r.elements(t)
	if r.n > math.MaxInt32 {
		return nil, fmt.Errorf("tensor %q: %w", name, errTooBig)
	}
	return r.memory()
}
