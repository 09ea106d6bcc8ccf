package train

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

// A tokenStore is a long row of token ids.
type tokenStore interface {
	// copyTo fills dst with the ids from the given one on.
	copyTo(dst []int64, from int)
	tail(from int) tokenStore
	size() int
}

type (
	wideTokens []int32
	byteTokens []byte
)

func (w wideTokens) copyTo(dst []int64, from int) { widen(dst, w[from:]) }
func (w wideTokens) tail(from int) tokenStore     { return w[from:] }
func (w wideTokens) size() int                    { return len(w) }
func (b byteTokens) copyTo(dst []int64, from int) { widen(dst, b[from:]) }
func (b byteTokens) tail(from int) tokenStore     { return b[from:] }
func (b byteTokens) size() int                    { return len(b) }

func widen[T int32 | byte](dst []int64, src []T) {
	for i := range dst {
		dst[i] = int64(src[i])
	}
}

// span is where a sample lies in the store.
type span struct{ from, n int }

// sequences is Data of token sequences of any lengths, padded batch by batch.
type sequences struct {
	textPorts
	ids    tokenStore
	labels tokenStore // parallel to ids, nil where no position has a label
	spans  []span
	// classes or targets are the labels of whole samples; width values each,
	// 0 for one value without an axis of its own.
	classes []int64
	targets []float32
	width   int
	cut     int // samples that were longer than the limit
	skipped int // samples beyond MaxRows
}

// textPorts is where token sequences go.
type textPorts struct {
	tokens Port
	mask   Port // no name where the model has none
	target Port // of task custom: the input called labels
	fixed  int  // the extent of the positions that the model declares, or 0
	limit  int  // the most positions of a sample, 0 for no limit
}

// ports finds where token sequences go, or what they cannot fill.
func (s Spec) ports() (textPorts, error) {
	if err := s.check(); err != nil {
		return textPorts{}, err
	}
	var t textPorts
	var ok bool
	if t.tokens, ok = s.tokens(); !ok {
		return t, fmt.Errorf("the model has no input %s for token ids; it takes %s", tokensName, s.inputList())
	}
	t.mask, _ = s.port(maskName)
	if s.Task == Custom {
		t.target, _ = s.port(LabelsInput)
	}
	for _, p := range s.Inputs {
		if _, made := feedRule(p, s.Feeds); made && p.Name != t.mask.Name {
			continue
		}
		if !slices.Contains([]string{t.tokens.Name, t.mask.Name, LabelsInput}, p.Name) {
			return t, fmt.Errorf("input %q cannot be filled from token ids; give its array in an .npz file, or say how to make it (--feed); the model takes %s", p.Name, s.inputList())
		}
		if rank, ranked := p.rank(); ranked && rank != 2 && (p.Name != LabelsInput || s.Task == Custom) {
			return t, fmt.Errorf("input %q is %v; token ids are [samples positions]", p.Name, p.Type)
		}
	}
	t.limit = s.SeqLen
	if d, ok := t.tokens.dim(1); ok && d.Known {
		if d.Value < 1 || d.Value > math.MaxInt32 || int64(s.SeqLen) > d.Value {
			return t, fmt.Errorf("seq-len is %d; input %q is %v", s.SeqLen, t.tokens.Name, t.tokens.Type)
		}
		t.fixed = int(d.Value)
		if t.limit == 0 {
			t.limit = t.fixed
		}
	}
	return t, nil
}

// manyTokens is what is known of token ids before they are read.
var manyTokens = ops.Of(tensor.Int64, ir.Dim{}, ir.Dim{})

// openTXT reads a .txt file: token ids between white space, or with the bytes
// tokenizer the text itself, cut into windows of seq-len positions so that
// every token but the first is predicted once. The last window may be short.
func openTXT(path string, spec Spec) (Data, error) {
	spec, err := spec.detected(map[string]ops.Fact{tokensName: manyTokens})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	ports, err := spec.ports()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if spec.Task != CausalLM && spec.Task != Custom {
		return nil, fmt.Errorf("%s: a .txt file has no labels, which task %s needs; use .jsonl or .npz", path, spec.Task)
	}
	if err := checkRegular(path); err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var ids tokenStore
	if spec.Tokenizer == bytesTokenizer {
		b, rerr := io.ReadAll(f)
		ids, err = byteTokens(b), rerr
	} else {
		ids, err = readIDs(f, path)
	}
	if err != nil {
		return nil, err
	}
	d, err := windows(ids, ports, spec)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return d, nil
}

// readIDs reads token ids between white space.
func readIDs(r io.Reader, path string) (wideTokens, error) {
	in := bufio.NewReaderSize(r, 64<<10)
	var ids wideTokens
	word := make([]byte, 0, 32)
	line, column, start := 1, 0, 0
	for {
		c, err := in.ReadByte()
		if err != nil && err != io.EOF {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		column++
		if err == nil && c > ' ' {
			if len(word) == 0 {
				start = column
			}
			if len(word) < cap(word) { // more digits than any id has
				word = append(word, c)
			}
			continue
		}
		if len(word) > 0 {
			id, perr := parseID(word)
			if perr != nil {
				return nil, fmt.Errorf("%s:%d:%d: %w; text needs a tokenizer", path, line, start, perr)
			}
			ids = append(ids, id)
			word = word[:0]
		}
		if err == io.EOF {
			return ids, nil
		}
		if c == '\n' {
			line, column = line+1, 0
		}
	}
}

// parseID is a token id in decimal.
func parseID(b []byte) (int32, error) {
	v, err := strconv.ParseInt(string(b), 10, 64)
	switch {
	case err != nil && !errors.Is(err, strconv.ErrRange):
		return 0, fmt.Errorf("%s is no token id", brief(b))
	case err != nil || v < 0 || v > math.MaxInt32:
		return 0, fmt.Errorf("token id %s is outside of 0 to %d", brief(b), math.MaxInt32)
	}
	return int32(v), nil
}

// brief is the beginning of b for a message.
func brief(b []byte) string {
	const most = 40
	if len(b) > most {
		return strconv.Quote(string(b[:most])) + "..."
	}
	return strconv.Quote(string(b))
}

// windows cuts one long row of ids.
func windows(ids tokenStore, ports textPorts, spec Spec) (*sequences, error) {
	size := ports.limit
	if size == 0 {
		size = defaultSeqLen
	}
	d := &sequences{textPorts: ports, ids: ids}
	n := ids.size()
	if spec.Task == CausalLM || ports.target.Name != "" {
		if n < 2 {
			return nil, fmt.Errorf("holds %d tokens; at least 2 are needed to predict one", n)
		}
		n-- // the last is a label only
		d.labels = ids.tail(1)
	}
	if n == 0 {
		return nil, errors.New("holds no tokens")
	}
	for from := 0; from < n; from += size {
		if spec.MaxRows > 0 && len(d.spans) == spec.MaxRows {
			d.skipped++
			continue
		}
		d.spans = append(d.spans, span{from, min(size, n-from)})
	}
	return d, nil
}

// Len implements Data.
func (s *sequences) Len() int { return len(s.spans) }

func (s *sequences) positions(sample int) int { return s.spans[sample].n }

// Notes are how many samples were cut or left out.
func (s *sequences) Notes() []string {
	var out []string
	if s.cut > 0 {
		out = append(out, fmt.Sprintf("%d of %d samples were longer than %d positions and cut", s.cut, len(s.spans), s.limit))
	}
	if s.skipped > 0 {
		out = append(out, fmt.Sprintf("the first %d of %d samples are taken", len(s.spans), len(s.spans)+s.skipped))
	}
	return out
}

// Batch implements Data. Samples are padded at their ends to the longest, or
// to what the model declares: id 0, label -100, mask 0.
func (s *sequences) Batch(samples []int) (Batch, error) { return refilled(s, samples) }

func (s *sequences) refill(b *Batch, samples []int) error {
	if err := checkSamples(samples, len(s.spans)); err != nil {
		return err
	}
	cols := s.fixed
	b.Tokens = 0
	for _, k := range samples {
		cols = max(cols, s.spans[k].n)
		b.Tokens += s.spans[k].n
	}
	if err := s.feed(b, s.tokens.Name, s.tokens, s.ids, 0, samples, cols); err != nil {
		return err
	}
	if s.mask.Name != "" {
		if err := s.feed(b, maskName, s.mask, nil, 0, samples, cols); err != nil {
			return err
		}
	}
	if s.labels != nil {
		return s.feed(b, LabelsInput, s.target, s.labels, ignoreIndex, samples, cols)
	}
	switch {
	case s.classes != nil:
		labelRows(b, s.classes, 0, samples)
	case s.targets != nil:
		labelRows(b, s.targets, s.width, samples)
	}
	return nil
}

// feed gives b one number per position under a name, in the type that p takes:
// those of the store, ones where there is none, and pad behind a sample.
func (s *sequences) feed(b *Batch, name string, p Port, from tokenStore, pad int64, samples []int, cols int) (err error) {
	v := spaceFor[int64](b, name, len(samples), cols)
	for i, k := range samples {
		sp, row := s.spans[k], v[i*cols:][:cols]
		if from == nil {
			fillWith(row[:sp.n], 1)
		} else {
			from.copyTo(row[:sp.n], sp.from)
		}
		fillWith(row[sp.n:], pad)
	}
	if b.Feeds[name], err = convert(b.Feeds[name], p.elem()); err != nil {
		return fmt.Errorf("input %q: %w", p.Name, err)
	}
	return nil
}

func fillWith(v []int64, x int64) {
	for i := range v {
		v[i] = x
	}
}

// labelRows feeds the labels of whole samples, width values each, 0 for one
// value without an axis of its own.
func labelRows[T tensor.Elem](b *Batch, all []T, width int, samples []int) {
	shape, n := []int{len(samples), width}, max(width, 1)
	if width == 0 {
		shape = shape[:1]
	}
	v := spaceFor[T](b, LabelsInput, shape...)
	for i, k := range samples {
		copy(v[i*n:][:n], all[k*n:])
	}
}
