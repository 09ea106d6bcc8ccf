package peft

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/bonnx/bonnx/adapter"
	"github.com/bonnx/bonnx/tensor"
)

// maxHeader bounds the JSON header of a safetensors file.
const maxHeader = 16 << 20

// metadataKey is the one header key that is no tensor.
const metadataKey = "__metadata__"

// dtypeNames are the names of element types in safetensors files.
var dtypeNames = []struct {
	name  string
	dtype tensor.DType
}{
	{"BOOL", tensor.Bool}, {"U8", tensor.Uint8}, {"I8", tensor.Int8},
	{"F4", tensor.Float4E2M1}, {"F8_E4M3", tensor.Float8E4M3FN}, {"F8_E5M2", tensor.Float8E5M2}, {"F8_E8M0", tensor.Float8E8M0},
	{"F8_E4M3FNUZ", tensor.Float8E4M3FNUZ}, {"F8_E5M2FNUZ", tensor.Float8E5M2FNUZ},
	{"I16", tensor.Int16}, {"U16", tensor.Uint16}, {"F16", tensor.Float16}, {"BF16", tensor.BFloat16},
	{"I32", tensor.Int32}, {"U32", tensor.Uint32}, {"F32", tensor.Float32},
	{"I64", tensor.Int64}, {"U64", tensor.Uint64}, {"F64", tensor.Float64}, {"C64", tensor.Complex64},
}

// Safetensors is the content of a .safetensors file.
type Safetensors struct {
	Metadata map[string]string
	// Tensors in the order of their data.
	Tensors []adapter.Named
}

// span is one tensor's header entry.
type span struct {
	name       string
	dtype      tensor.DType
	shape      tensor.Shape
	begin, end int64
}

// ReadSafetensors reads a file of size bytes. The header is checked whole
// before any tensor is read: sizes that do not fit the type and shape, gaps,
// overlaps and duplicate names are errors, so memory stays within a constant
// factor of the file's size.
func ReadSafetensors(r io.ReaderAt, size int64) (*Safetensors, error) {
	var pre [8]byte
	if size < 8 {
		return nil, errors.New("safetensors file is truncated")
	}
	if _, err := io.ReadFull(io.NewSectionReader(r, 0, 8), pre[:]); err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint64(pre[:])
	if n > maxHeader {
		return nil, fmt.Errorf("safetensors header of %d bytes is longer than the limit of %d", n, maxHeader)
	}
	if int64(n) > size-8 {
		return nil, errors.New("safetensors file is truncated within its header")
	}
	head := make([]byte, n)
	if _, err := io.ReadFull(io.NewSectionReader(r, 8, int64(n)), head); err != nil {
		return nil, err
	}
	s := &Safetensors{}
	spans, err := s.header(head, size-8-int64(n))
	if err != nil {
		return nil, fmt.Errorf("safetensors header: %w", err)
	}
	for _, sp := range spans {
		data := make([]byte, sp.end-sp.begin)
		if _, err := io.ReadFull(io.NewSectionReader(r, 8+int64(n)+sp.begin, sp.end-sp.begin), data); err != nil {
			return nil, fmt.Errorf("tensor %q: %w", sp.name, err)
		}
		if sp.dtype == tensor.Bool {
			for i, b := range data {
				data[i] = min(b, 1)
			}
		}
		t, err := tensor.FromBytes(sp.dtype, sp.shape, data)
		if err != nil {
			return nil, fmt.Errorf("tensor %q: %w", sp.name, err)
		}
		s.Tensors = append(s.Tensors, adapter.Named{Key: sp.name, Tensor: t})
	}
	return s, nil
}

// header parses the header and checks that the tensors fill the data, which
// is size bytes, without gap or overlap.
func (s *Safetensors) header(b []byte, size int64) ([]span, error) {
	v, err := decode(b)
	if err != nil {
		return nil, err
	}
	m, ok := v.(map[string]any)
	if !ok {
		return nil, errors.New("is no JSON object")
	}
	var spans []span
	for name, v := range m {
		if name == metadataKey {
			if s.Metadata, err = parseMetadata(v); err != nil {
				return nil, err
			}
			continue
		}
		sp, err := parseSpan(v, size)
		if err != nil {
			return nil, fmt.Errorf("tensor %q: %w", clip(name), err)
		}
		sp.name = name
		spans = append(spans, sp)
	}
	slices.SortFunc(spans, func(a, b span) int {
		if a.begin != b.begin {
			return int(min(max(a.begin-b.begin, -1), 1))
		}
		if a.end != b.end {
			return int(min(max(a.end-b.end, -1), 1))
		}
		return strings.Compare(a.name, b.name)
	})
	var at int64
	for _, sp := range spans {
		if sp.begin != at {
			return nil, fmt.Errorf("tensor %q begins at %d where the one before ends at %d: a gap or an overlap", clip(sp.name), sp.begin, at)
		}
		at = sp.end
	}
	if at != size {
		return nil, fmt.Errorf("%d bytes of data, but the tensors take %d", size, at)
	}
	return spans, nil
}

func parseMetadata(v any) (map[string]string, error) {
	m, ok := v.(map[string]any)
	if !ok {
		return nil, errors.New("__metadata__ is no object")
	}
	out := make(map[string]string, len(m))
	for k, v := range m {
		if out[k], ok = v.(string); !ok {
			return nil, fmt.Errorf("__metadata__ %q is no string", clip(k))
		}
	}
	return out, nil
}

func parseSpan(v any, size int64) (span, error) {
	m, ok := v.(map[string]any)
	if !ok || len(m) != 3 {
		return span{}, errors.New("wants dtype, shape and data_offsets")
	}
	var sp span
	name, _ := m["dtype"].(string)
	for _, d := range dtypeNames {
		if d.name == name {
			sp.dtype = d.dtype
		}
	}
	if sp.dtype == tensor.Undefined {
		return sp, fmt.Errorf("dtype %q is unknown", clip(name))
	}
	shape, err := integers(m["shape"])
	if err != nil {
		return sp, fmt.Errorf("shape: %w", err)
	}
	sp.shape = make(tensor.Shape, len(shape))
	for i, d := range shape {
		sp.shape[i] = int(d)
	}
	n, err := sp.shape.CheckedSize()
	if err != nil {
		return sp, err
	}
	offsets, err := integers(m["data_offsets"])
	if err != nil || len(offsets) != 2 {
		return sp, errors.New("data_offsets are not two integers")
	}
	sp.begin, sp.end = offsets[0], offsets[1]
	if sp.begin > sp.end || sp.end > size {
		return sp, fmt.Errorf("data from %d to %d is outside of the file's %d bytes", sp.begin, sp.end, size)
	}
	if want := sp.dtype.Size(n); sp.end-sp.begin != int64(want) {
		return sp, fmt.Errorf("%v%v takes %d bytes, not %d", sp.dtype, sp.shape, want, sp.end-sp.begin)
	}
	return sp, nil
}

func integers(v any) ([]int64, error) {
	list, ok := v.([]any)
	if !ok {
		return nil, errors.New("is no list")
	}
	if len(list) > 64 {
		return nil, errors.New("is too long")
	}
	out := make([]int64, len(list))
	for i, e := range list {
		num, _ := e.(json.Number)
		n, err := strconv.ParseUint(string(num), 10, 63)
		if err != nil {
			return nil, fmt.Errorf("%v is no size", e)
		}
		out[i] = int64(n)
	}
	return out, nil
}

// Write writes the file: wide elements first, then by name, which keeps every
// tensor aligned; the header padded with blanks to a multiple of 8.
func (s *Safetensors) Write(w io.Writer) error {
	ts := slices.Clone(s.Tensors)
	slices.SortStableFunc(ts, func(a, b adapter.Named) int {
		if d := b.Tensor.DType().Bits() - a.Tensor.DType().Bits(); d != 0 {
			return d
		}
		return strings.Compare(a.Key, b.Key)
	})
	head, err := s.formatHeader(ts)
	if err != nil {
		return err
	}
	if _, err := w.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(head)))); err != nil {
		return err
	}
	if _, err := w.Write(head); err != nil {
		return err
	}
	for _, t := range ts {
		if _, err := w.Write(t.Tensor.Bytes()); err != nil {
			return err
		}
	}
	return nil
}

func (s *Safetensors) formatHeader(ts []adapter.Named) ([]byte, error) {
	head := []byte{'{'}
	if len(s.Metadata) > 0 {
		head = appendString(head, metadataKey)
		head = append(head, ":{"...)
		keys := make([]string, 0, len(s.Metadata))
		for k := range s.Metadata {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		for i, k := range keys {
			if i > 0 {
				head = append(head, ',')
			}
			head = append(appendString(head, k), ':')
			head = appendString(head, s.Metadata[k])
		}
		head = append(head, '}')
	}
	at := 0
	for i, t := range ts {
		name := dtypeName(t.Tensor.DType())
		if name == "" {
			return nil, fmt.Errorf("tensor %q: safetensors has no %v", t.Key, t.Tensor.DType())
		}
		if t.Key == metadataKey || i > 0 && t.Key == ts[i-1].Key {
			return nil, fmt.Errorf("tensor name %q is there twice or reserved", t.Key)
		}
		if len(head) > 1 {
			head = append(head, ',')
		}
		end := at + len(t.Tensor.Bytes())
		head = appendString(head, t.Key)
		head = fmt.Appendf(head, `:{"dtype":"%s","shape":[%s],"data_offsets":[%d,%d]}`, name, commas(t.Tensor.Shape()), at, end)
		at = end
	}
	head = append(head, '}')
	for len(head)%8 != 0 {
		head = append(head, ' ')
	}
	if len(head) > maxHeader {
		return nil, fmt.Errorf("safetensors header of %d bytes is longer than the limit of %d", len(head), maxHeader)
	}
	return head, nil
}

func dtypeName(d tensor.DType) string {
	for _, n := range dtypeNames {
		if n.dtype == d {
			return n.name
		}
	}
	return ""
}

func commas(s tensor.Shape) string {
	parts := make([]string, len(s))
	for i, d := range s {
		parts[i] = strconv.Itoa(d)
	}
	return strings.Join(parts, ",")
}
