package npz

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"unicode/utf8"

	"github.com/bonnx/bonnx/tensor"
)

const magic = "\x93NUMPY"

// maxHeader is far beyond what arrays without named fields need.
const maxHeader = 1 << 16

// maxRank is NumPy's own limit.
const maxRank = 64

// kinds are NumPy's letters for the element types that both know.
var kinds = []struct {
	code  string
	dtype tensor.DType
}{
	{"f4", tensor.Float32}, {"f8", tensor.Float64}, {"f2", tensor.Float16},
	{"i8", tensor.Int64}, {"i4", tensor.Int32}, {"i2", tensor.Int16}, {"i1", tensor.Int8},
	{"u8", tensor.Uint64}, {"u4", tensor.Uint32}, {"u2", tensor.Uint16}, {"u1", tensor.Uint8},
	{"b1", tensor.Bool}, {"c8", tensor.Complex64}, {"c16", tensor.Complex128},
}

func native(d tensor.DType) bool { return d == tensor.String || codeOf(d) != "" }

func codeOf(d tensor.DType) string {
	for _, k := range kinds {
		if k.dtype == d {
			return k.code
		}
	}
	return ""
}

// header is the dictionary at the start of an array.
type header struct {
	descr   string
	fortran bool
	shape   tensor.Shape
}

// format is what a descr says about the elements.
type format struct {
	dtype tensor.DType
	size  int  // bytes of an element
	swap  int  // bytes of a unit to reverse, 0 for none
	wide  bool // strings: UTF-32 rather than bytes
}

// ReadArray reads one .npy array of at most limit bytes and leaves what
// follows it unread.
func ReadArray(r io.Reader, limit int64) (*tensor.Tensor, error) {
	return readArray(r, limit, 0)
}

// readArray allocates for the declared size at once only up to sure, the
// bytes that the reader is known to hold.
func readArray(r io.Reader, limit, sure int64) (*tensor.Tensor, error) {
	h, err := readHeader(r)
	if err != nil {
		return nil, err
	}
	f, err := parseDescr(h.descr)
	if err != nil {
		return nil, err
	}
	n, err := h.shape.CheckedSize()
	if err != nil {
		return nil, err
	}
	if n > 0 && (f.size == 0 || n > math.MaxInt/16/f.size) {
		return nil, fmt.Errorf("%d elements of type %q", n, h.descr)
	}
	if memory := int64(n) * int64(max(f.size, stringSize(f.dtype))); memory > limit {
		return nil, fmt.Errorf("array of %d bytes: %w", memory, errLimit)
	}
	data, err := readExactly(r, n*f.size, sure)
	if err != nil {
		return nil, err
	}
	swapBytes(data, f.swap)
	return h.build(f, n, data)
}

// stringSize is what a string takes in memory besides its bytes.
func stringSize(d tensor.DType) int {
	if d == tensor.String {
		return 16
	}
	return 1
}

func readHeader(r io.Reader) (header, error) {
	var pre [8]byte
	if _, err := io.ReadFull(r, pre[:]); err != nil {
		return header{}, truncated(err)
	}
	if string(pre[:6]) != magic {
		return header{}, errors.New("not a .npy array")
	}
	var size int
	switch major := pre[6]; major {
	case 1:
		var b [2]byte
		if _, err := io.ReadFull(r, b[:]); err != nil {
			return header{}, truncated(err)
		}
		size = int(binary.LittleEndian.Uint16(b[:]))
	case 2, 3:
		var b [4]byte
		if _, err := io.ReadFull(r, b[:]); err != nil {
			return header{}, truncated(err)
		}
		if u := binary.LittleEndian.Uint32(b[:]); u > maxHeader {
			return header{}, fmt.Errorf("header of %d bytes", u)
		} else {
			size = int(u)
		}
	default:
		return header{}, fmt.Errorf("npy format version %d.%d", major, pre[7])
	}
	text := make([]byte, size)
	if _, err := io.ReadFull(r, text); err != nil {
		return header{}, truncated(err)
	}
	h, err := parseHeader(string(text))
	if err != nil {
		return header{}, fmt.Errorf("array header: %w", err)
	}
	return h, nil
}

func truncated(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return errors.New("truncated")
	}
	return err
}

func parseDescr(s string) (format, error) {
	if len(s) < 2 || !strings.ContainsRune("<>|=", rune(s[0])) {
		return format{}, fmt.Errorf("element type %q is unknown", s)
	}
	order, code := s[0], s[1:]
	for _, k := range kinds {
		if k.code != code {
			continue
		}
		f := format{dtype: k.dtype, size: k.dtype.Size(1)}
		if order == '>' && f.size > 1 {
			f.swap = f.size
			if k.dtype.IsComplex() {
				f.swap = f.size / 2
			}
		}
		return f, nil
	}
	switch code[0] {
	case 'U', 'S', 'a':
		n, err := digits(code[1:])
		if err != nil {
			return format{}, fmt.Errorf("element type %q is unknown", s)
		}
		if code[0] != 'U' {
			return format{dtype: tensor.String, size: n}, nil
		}
		f := format{dtype: tensor.String, size: 4 * n, wide: true}
		if order == '>' {
			f.swap = 4
		}
		return f, nil
	case 'O':
		return format{}, errors.New("array holds pickled Python objects, which are never loaded")
	case 'V':
		return format{}, fmt.Errorf("element type %q is raw bytes without a type (NumPy writes bfloat16 and float8 so); save a float32 or float16 array", s)
	}
	return format{}, fmt.Errorf("element type %q is unknown", s)
}

func digits(s string) (int, error) {
	n := 0
	if s == "" || len(s) > 7 {
		return 0, errors.New("not a number")
	}
	for _, c := range s {
		if c < '0' || c > '9' {
			return 0, errors.New("not a number")
		}
		n = n*10 + int(c-'0')
	}
	return n, nil
}

// readExactly reads n bytes. Beyond sure, memory grows as bytes arrive: at
// most twice what was read, or 1 MiB.
func readExactly(r io.Reader, n int, sure int64) ([]byte, error) {
	const first = 1 << 20
	if n <= first || int64(n) <= sure {
		b := make([]byte, n)
		_, err := io.ReadFull(r, b)
		return b, truncated(err)
	}
	b := make([]byte, first)
	at := 0
	for {
		k, err := io.ReadFull(r, b[at:])
		if at += k; err != nil {
			return nil, truncated(err)
		}
		if at == n {
			return b, nil
		}
		bigger := make([]byte, min(n, 2*len(b)))
		copy(bigger, b)
		b = bigger
	}
}

func swapBytes(b []byte, unit int) {
	if unit == 0 {
		return
	}
	for ; len(b) >= unit; b = b[unit:] {
		for i, j := 0, unit-1; i < j; i, j = i+1, j-1 {
			b[i], b[j] = b[j], b[i]
		}
	}
}

// build makes the tensor out of little-endian elements.
func (h header) build(f format, n int, data []byte) (*tensor.Tensor, error) {
	shape := h.shape
	if h.fortran {
		shape = make(tensor.Shape, len(h.shape))
		for i, d := range h.shape {
			shape[len(shape)-1-i] = d
		}
	}
	var t *tensor.Tensor
	switch f.dtype {
	case tensor.String:
		s, err := decodeStrings(data, n, f)
		if err != nil {
			return nil, err
		}
		t = tensor.FromStrings(s, shape...)
	case tensor.Bool: // any byte but 0 is true; Go knows 1 alone
		for i, b := range data {
			if b > 1 {
				data[i] = 1
			}
		}
		fallthrough
	default:
		var err error
		if t, err = tensor.FromBytes(f.dtype, shape, data); err != nil {
			return nil, err
		}
	}
	if h.fortran {
		return t.Transpose()
	}
	return t, nil
}

// decodeStrings cuts off the zeros that pad every string.
func decodeStrings(data []byte, n int, f format) ([]string, error) {
	out := make([]string, n)
	for i := range out {
		b := data[i*f.size : (i+1)*f.size]
		if !f.wide {
			out[i] = string(bytes.TrimRight(b, "\x00"))
			continue
		}
		var sb strings.Builder
		zeros := 0
		for ; len(b) > 0; b = b[4:] {
			c := binary.LittleEndian.Uint32(b)
			if c == 0 {
				zeros++
				continue
			}
			if c > utf8.MaxRune || !utf8.ValidRune(rune(c)) {
				return nil, fmt.Errorf("string %d holds %#x, which is no character", i, c)
			}
			for ; zeros > 0; zeros-- {
				sb.WriteByte(0)
			}
			sb.WriteRune(rune(c))
		}
		out[i] = sb.String()
	}
	return out, nil
}

// WriteArray writes t as a .npy array, version 1.0 where its header fits.
// Element types that NumPy lacks are errors; an archive can hold them.
func WriteArray(w io.Writer, t *tensor.Tensor) error {
	head, body, err := encodeArray(t)
	if err != nil {
		return err
	}
	if _, err := w.Write(head); err != nil {
		return err
	}
	_, err = w.Write(body)
	return err
}

// encodeArray is the header and the elements of t, which are shared.
func encodeArray(t *tensor.Tensor) (head, body []byte, err error) {
	descr, body := "", t.Bytes()
	switch {
	case t.DType() == tensor.String:
		if descr, body, err = encodeStrings(t.Strings()); err != nil {
			return nil, nil, err
		}
	case !native(t.DType()):
		return nil, nil, fmt.Errorf("NumPy has no %v; cast it to float32, or write it into an .npz archive", t.DType())
	default:
		order := "<"
		if t.DType().Size(1) == 1 {
			order = "|"
		}
		descr = order + codeOf(t.DType())
	}
	if t.Rank() > maxRank {
		return nil, nil, fmt.Errorf("rank %d is more than NumPy's %d", t.Rank(), maxRank)
	}
	return formatHeader(descr, t.Shape()), body, nil
}

func encodeStrings(s []string) (string, []byte, error) {
	longest := 1
	for _, v := range s {
		if !utf8.ValidString(v) {
			return "", nil, fmt.Errorf("string %q is not UTF-8", v[:min(len(v), 40)])
		}
		longest = max(longest, utf8.RuneCountInString(v))
	}
	if len(s) > math.MaxInt/64/longest {
		return "", nil, errors.New("strings are too long for a NumPy array")
	}
	body := make([]byte, 4*longest*len(s))
	for i, v := range s {
		at := body[4*longest*i:]
		for _, c := range v {
			binary.LittleEndian.PutUint32(at, uint32(c))
			at = at[4:]
		}
	}
	return fmt.Sprintf("<U%d", longest), body, nil
}

// formatHeader pads the header so that the elements start at a multiple of 64.
func formatHeader(descr string, shape tensor.Shape) []byte {
	var sb strings.Builder
	fmt.Fprintf(&sb, "{'descr': '%s', 'fortran_order': False, 'shape': (", descr)
	for i, d := range shape {
		if i > 0 {
			sb.WriteByte(' ')
		}
		fmt.Fprintf(&sb, "%d,", d)
	}
	text := sb.String()
	if len(shape) > 1 {
		text = text[:len(text)-1]
	}
	text += "), }"
	// A header of rank 64 at most stays far below version 1.0's 64 KiB.
	total := (len(magic) + 4 + len(text) + 1 + 63) &^ 63
	out := make([]byte, 0, total)
	out = append(out, magic...)
	out = append(out, 1, 0)
	out = binary.LittleEndian.AppendUint16(out, uint16(total-len(magic)-4))
	out = append(out, text...)
	for len(out) < total-1 {
		out = append(out, ' ')
	}
	return append(out, '\n')
}
