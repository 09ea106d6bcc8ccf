package onnx

import (
	"fmt"
	"io"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// smallSpan is up to what size copying through memory is cheaper than by the
// operating system.
const smallSpan = 4 << 10

// A rope is a message under construction: bytes, and ranges of files that are
// copied when it is written. Its length is known before; its first error
// sticks.
type rope struct {
	chunks []chunk
	n      int64
	err    error
}

// A chunk is n bytes from one of four places.
type chunk struct {
	n    int64
	mem  []byte
	span span
	ext  *extRef
	data ir.Data // the elements, computed or read when written
}

// bytes appends b, which the rope may take over.
func (r *rope) bytes(b []byte) {
	if len(b) == 0 {
		return
	}
	if k := len(r.chunks) - 1; k >= 0 && r.chunks[k].mem != nil {
		c := &r.chunks[k]
		c.mem = append(c.mem, b...)
		c.n = int64(len(c.mem))
	} else {
		r.chunks = append(r.chunks, chunk{n: int64(len(b)), mem: append([]byte(nil), b...)})
	}
	r.n += int64(len(b))
}

// span appends a range of a source file.
func (r *rope) span(s span) {
	if s.n > smallSpan {
		r.add(chunk{n: s.n, span: s})
		return
	}
	b, err := s.bytes()
	r.fail(err)
	r.bytes(b)
}

func (r *rope) add(c chunk) {
	r.chunks = append(r.chunks, c)
	r.n += c.n
}

func (r *rope) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

// proto appends the fields of a message.
func (r *rope) proto(m proto.Message) {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	r.fail(err)
	r.bytes(b)
}

// field appends a length-delimited field.
func (r *rope) field(num protowire.Number, b []byte) {
	r.head(num, int64(len(b)))
	r.bytes(b)
}

// head appends the tag and length of a field whose n bytes come next.
func (r *rope) head(num protowire.Number, n int64) {
	b := protowire.AppendTag(nil, num, protowire.BytesType)
	r.bytes(protowire.AppendVarint(b, uint64(n)))
}

// append appends the fields of sub.
func (r *rope) append(sub *rope) {
	r.fail(sub.err)
	for _, c := range sub.chunks {
		if c.mem != nil {
			r.bytes(c.mem)
			continue
		}
		r.add(c)
	}
}

// message appends sub as a field.
func (r *rope) message(num protowire.Number, sub *rope) {
	r.head(num, sub.n)
	r.append(sub)
}

// elements appends the field that holds a tensor's elements.
func (r *rope) elements(t *tensor.Tensor) {
	if t.DType() == tensor.String {
		for _, s := range t.Strings() {
			r.field(fieldString, []byte(s))
		}
		return
	}
	r.field(fieldRaw, t.Bytes())
}

func (r *rope) writeTo(w io.Writer) error {
	if r.err != nil {
		return r.err
	}
	for _, c := range r.chunks {
		if err := c.writeTo(w); err != nil {
			return err
		}
	}
	return nil
}

func (c chunk) writeTo(w io.Writer) error {
	switch {
	case c.data != nil:
		return writeElements(w, c.data, c.n)
	case c.ext != nil:
		f, err := c.ext.file.open(false)
		if err != nil {
			return err
		}
		return f.CopyTo(w, c.ext.off, c.n)
	case c.span.src != nil:
		return c.span.src.CopyTo(w, c.span.off, c.n)
	}
	_, err := w.Write(c.mem)
	return err
}

// writeElements writes a constant's n bytes, one constant in memory at a time.
func writeElements(w io.Writer, d ir.Data, n int64) error {
	t, err := d.Tensor()
	if err != nil {
		return err
	}
	if int64(len(t.Bytes())) != n {
		return fmt.Errorf("a constant announced as %v%v is %v", d.DType(), d.Shape(), t)
	}
	_, err = w.Write(t.Bytes())
	return err
}

// memory is the whole message.
func (r *rope) memory() ([]byte, error) {
	if r.n > math.MaxInt32 {
		return nil, errTooBig
	}
	w := &sink{make([]byte, 0, r.n)}
	err := r.writeTo(w)
	return w.b, err
}

type sink struct{ b []byte }

func (s *sink) Write(p []byte) (int, error) {
	s.b = append(s.b, p...)
	return len(p), nil
}
