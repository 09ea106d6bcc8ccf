package onnx

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/bonnx/bonnx/internal/mmap"
)

const (
	// maxStructure bounds the bytes of a file that are parsed into memory:
	// everything but tensors' elements. The graphs of the largest published
	// models stay below a tenth of it.
	maxStructure = 512 << 20
	// maxDepth bounds the nesting of sub-graphs and of types.
	maxDepth = 64
	// window is how much is read at a time where a file is not mapped.
	window = 32 << 10
	// maxHead is more than a tag and a length, or a tag and a number, take.
	maxHead = 2 * 10
)

// A span is a range of a source file.
type span struct {
	src    *mmap.File
	off, n int64
}

func (s span) end() int64 { return s.off + s.n }

// bytes reads the span.
func (s span) bytes() ([]byte, error) { return s.src.Bytes(s.off, s.n) }

// A field is one field of a message on the wire.
type field struct {
	num   protowire.Number
	typ   protowire.Type
	whole span   // with its tag
	body  span   // of a length-delimited field, without tag and length
	value uint64 // of a varint or fixed field
}

// A reader walks messages of one source without reading what it skips.
type reader struct {
	src    *mmap.File
	direct []byte // the whole source, where that costs nothing
	win    []byte
	winOff int64
	used   int64 // structure bytes parsed so far
}

func newReader(src *mmap.File) (*reader, error) {
	r := &reader{src: src}
	if src.Direct() {
		b, err := src.Bytes(0, src.Size())
		if err != nil {
			return nil, err
		}
		r.direct = b
	}
	return r, nil
}

func (r *reader) all() span { return span{r.src, 0, r.src.Size()} }

// at gives bytes from off, up to end; at least maxHead where there are.
func (r *reader) at(off, end int64) ([]byte, error) {
	if r.direct != nil {
		return r.direct[off:end], nil
	}
	need := min(end-off, maxHead)
	if off < r.winOff || off+need > r.winOff+int64(len(r.win)) {
		b, err := r.src.Bytes(off, min(window, r.src.Size()-off))
		if err != nil {
			return nil, err
		}
		r.win, r.winOff = b, off
	}
	b := r.win[off-r.winOff:]
	return b[:min(int64(len(b)), end-off)], nil
}

// bytes reads a span of the source.
func (r *reader) bytes(s span) ([]byte, error) {
	if r.direct != nil {
		return r.direct[s.off:s.end()], nil
	}
	return s.bytes()
}

// fields calls visit for each field of msg in order.
func (r *reader) fields(msg span, visit func(field) error) error {
	for off := msg.off; off < msg.end(); {
		f, err := r.field(off, msg.end(), 0)
		if err != nil {
			return err
		}
		if err := visit(f); err != nil {
			return err
		}
		off = f.whole.end()
	}
	return nil
}

// field parses the field at off, whose message ends at end.
func (r *reader) field(off, end int64, depth int) (field, error) {
	b, err := r.at(off, end)
	if err != nil {
		return field{}, err
	}
	num, typ, n := protowire.ConsumeTag(b)
	if n < 0 {
		return field{}, wireError(off, n)
	}
	f := field{num: num, typ: typ}
	switch typ {
	case protowire.VarintType:
		v, k := protowire.ConsumeVarint(b[n:])
		f.value, n = v, addLen(n, k)
	case protowire.Fixed32Type:
		v, k := protowire.ConsumeFixed32(b[n:])
		f.value, n = uint64(v), addLen(n, k)
	case protowire.Fixed64Type:
		v, k := protowire.ConsumeFixed64(b[n:])
		f.value, n = v, addLen(n, k)
	case protowire.BytesType:
		v, k := protowire.ConsumeVarint(b[n:])
		if n = addLen(n, k); n >= 0 {
			start := off + int64(n)
			if v > uint64(end-start) {
				return field{}, fmt.Errorf("field %d at byte %d has %d bytes, of which %d are there (file truncated?)", num, off, v, end-start)
			}
			f.body = span{r.src, start, int64(v)}
			f.whole = span{r.src, off, start + int64(v) - off}
			return f, nil
		}
	case protowire.StartGroupType:
		return r.group(f, off, off+int64(n), end, depth)
	default:
		return field{}, fmt.Errorf("field %d at byte %d has wire type %d", num, off, typ)
	}
	if n < 0 {
		return field{}, wireError(off, n)
	}
	f.whole = span{r.src, off, int64(n)}
	return f, nil
}

// group finds the end of a group, which only fields unknown to ONNX may be.
func (r *reader) group(f field, start, off, end int64, depth int) (field, error) {
	if depth >= maxDepth {
		return f, errors.New("groups are nested too deep")
	}
	for off < end {
		b, err := r.at(off, end)
		if err != nil {
			return f, err
		}
		num, typ, n := protowire.ConsumeTag(b)
		if n >= 0 && typ == protowire.EndGroupType {
			if num != f.num {
				break
			}
			f.whole = span{r.src, start, off + int64(n) - start}
			return f, nil
		}
		g, err := r.field(off, end, depth+1)
		if err != nil {
			return f, err
		}
		off = g.whole.end()
	}
	return f, fmt.Errorf("group %d at byte %d does not end", f.num, start)
}

func addLen(n, k int) int {
	if k < 0 {
		return k
	}
	return n + k
}

func wireError(off int64, n int) error {
	return fmt.Errorf("byte %d: %w", off, protowire.ParseError(n))
}

// split hands the length-delimited fields of msg that heavy accepts to it, and
// parses everything else, unknown fields too, into rest.
func (r *reader) split(msg span, rest proto.Message, heavy func(field) (bool, error)) error {
	var buf []byte
	run := span{r.src, msg.off, 0} // what was not copied to buf yet
	flush := func() error {
		if run.n == 0 {
			return nil
		}
		b, err := r.bytes(run)
		switch {
		case err != nil:
			return err
		case buf == nil:
			buf = b[:len(b):len(b)] // appending will copy
		default:
			buf = append(buf, b...)
		}
		return nil
	}
	err := r.fields(msg, func(f field) error {
		if f.typ == protowire.BytesType {
			if took, err := heavy(f); took || err != nil {
				if err == nil {
					err = flush()
				}
				run = span{r.src, f.whole.end(), 0}
				return err
			}
		}
		run.n += f.whole.n
		if r.used += f.whole.n; r.used > maxStructure {
			return fmt.Errorf("the graph takes more than %d MiB without its tensors", maxStructure>>20)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := flush(); err != nil {
		return err
	}
	return proto.Unmarshal(buf, rest)
}
