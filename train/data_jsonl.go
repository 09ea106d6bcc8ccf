package train

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxLine bounds a line of a .jsonl file.
const maxLine = 16 << 20

// A jsonlReader turns lines into samples.
type jsonlReader struct {
	spec   Spec
	d      *sequences
	ids    wideTokens
	labels wideTokens
}

// record is one line, fields as they stand there.
type record map[string]field

type field struct {
	raw    []byte
	column int // of the value's first byte, counted from 1
}

// lineError is an error at a column of a line.
type lineError struct {
	column int
	err    error
}

func (e lineError) Error() string { return e.err.Error() }

func at(column int, format string, args ...any) error {
	return lineError{column, fmt.Errorf(format, args...)}
}

// openJSONL reads a .jsonl file: one object a line, with "input_ids" or, given
// a tokenizer, "text", and the label fields of the task: of causal-lm
// optional "labels", one for each id (absent: the ids shifted by one); of the
// others "label", a class number or the values of a regression.
func openJSONL(path string, spec Spec) (Data, error) {
	if err := checkRegular(path); err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readJSONL(f, path, spec)
}

func readJSONL(r io.Reader, path string, spec Spec) (Data, error) {
	in := bufio.NewReaderSize(r, 64<<10)
	head, _ := in.Peek(64 << 10) // an error comes again with the lines
	spec, err := spec.detected(heldLines(head))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	ports, err := spec.ports()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	j := &jsonlReader{spec: spec, d: &sequences{textPorts: ports, width: -1}}
	for n := 1; ; n++ {
		line, err := readLine(in)
		if err != nil && err != io.EOF {
			return nil, fmt.Errorf("%s:%d: %w", path, n, err)
		}
		if n == 1 {
			line = bytes.TrimPrefix(line, []byte("\ufeff"))
		}
		if len(bytes.TrimSpace(line)) > 0 {
			if err := j.line(line); err != nil {
				var le lineError
				if errors.As(err, &le) {
					return nil, fmt.Errorf("%s:%d:%d: %w", path, n, le.column, err)
				}
				return nil, fmt.Errorf("%s:%d: %w", path, n, err)
			}
		}
		if err == io.EOF {
			break
		}
	}
	if len(j.d.spans) == 0 {
		return nil, fmt.Errorf("%s: holds no samples", path)
	}
	return j.finish(), nil
}

func (j *jsonlReader) finish() *sequences {
	j.d.ids = j.ids
	if j.perToken() {
		j.d.labels = j.labels
	}
	j.d.width = max(j.d.width, 0)
	return j.d
}

// perToken says whether positions have labels, rather than samples.
func (j *jsonlReader) perToken() bool {
	return j.spec.Task == CausalLM || j.d.target.Name != ""
}

// readLine is the next line without its end; at the last one with io.EOF. The
// bytes are good until the next call, unless the line is long.
func readLine(in *bufio.Reader) ([]byte, error) {
	line, err := in.ReadSlice('\n')
	if err != bufio.ErrBufferFull {
		return bytes.TrimSuffix(line, []byte("\n")), err
	}
	long := bytes.Clone(line)
	for err == bufio.ErrBufferFull {
		if len(long) > maxLine {
			return nil, fmt.Errorf("line is longer than %d bytes", maxLine)
		}
		line, err = in.ReadSlice('\n')
		long = append(long, line...)
	}
	return bytes.TrimSuffix(long, []byte("\n")), err
}

// fields are the names that a line may have.
func (j *jsonlReader) fields() []string {
	names := []string{tokensName}
	if j.spec.Tokenizer != "" {
		names = append(names, "text")
	}
	switch {
	case j.perToken():
		names = append(names, LabelsInput)
	case j.spec.Task != Custom:
		names = append(names, "label")
	}
	return names
}

// parse splits a line into its fields.
func (j *jsonlReader) parse(line []byte) (record, error) {
	if !utf8.Valid(line) {
		return nil, errors.New("line is not UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(line))
	if t, err := dec.Token(); err != nil {
		return nil, syntax(line, err)
	} else if t != json.Delim('{') {
		return nil, at(1, "line is no object such as {\"input_ids\": [1, 2]}")
	}
	known, rec := j.fields(), record{}
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return nil, syntax(line, err)
		}
		name, _ := t.(string) // the decoder takes no other keys
		column := int(dec.InputOffset())
		if !slices.Contains(known, name) {
			hint := ""
			if name == "text" {
				hint = `; "text" needs a tokenizer`
			}
			return nil, at(column, "unknown field %s; known are %s%s", brief([]byte(name)), strings.Join(known, ", "), hint)
		}
		if _, twice := rec[name]; twice {
			return nil, at(column, "field %q is there twice", name)
		}
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return nil, syntax(line, err)
		}
		rec[name] = field{raw, int(dec.InputOffset()) - len(raw) + 1}
	}
	if _, err := dec.Token(); err != nil {
		return nil, syntax(line, err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, at(int(dec.InputOffset())+1, "more than one object in a line")
	}
	return rec, nil
}

// syntax says where a line stops being JSON. The decoder of tokens counts
// from the value it is at, so the line is read once more as a whole.
func syntax(line []byte, err error) error {
	var whole json.RawMessage
	var se *json.SyntaxError
	if errors.As(json.Unmarshal(line, &whole), &se) {
		return at(int(max(se.Offset, 1)), "%w", se)
	}
	return at(len(line), "%w", err)
}

// line adds the sample of one line.
func (j *jsonlReader) line(line []byte) error {
	if j.spec.MaxRows > 0 && len(j.d.spans) == j.spec.MaxRows {
		j.d.skipped++
		return nil
	}
	rec, err := j.parse(line)
	if err != nil {
		return err
	}
	ids, err := j.tokens(rec)
	if err != nil {
		return err
	}
	var labels []int32
	if j.perToken() {
		if ids, labels, err = j.tokenLabels(rec, ids); err != nil {
			return err
		}
	} else if len(ids) == 0 {
		return errors.New("sample has no tokens")
	}
	if !j.perToken() && j.spec.Task != Custom {
		if err := j.sampleLabel(rec); err != nil {
			return err
		}
	}
	n := len(ids)
	if j.d.limit > 0 && n > j.d.limit {
		n = j.d.limit
		j.d.cut++
	}
	j.d.spans = append(j.d.spans, span{len(j.ids), n})
	j.ids = append(j.ids, ids[:n]...)
	if labels != nil {
		j.labels = append(j.labels, labels[:n]...)
	}
	return nil
}

// tokens are the ids of a line, given or made of its text.
func (j *jsonlReader) tokens(rec record) ([]int32, error) {
	given, hasIDs := rec[tokensName]
	text, hasText := rec["text"]
	switch {
	case hasIDs && hasText:
		return nil, at(text.column, "line has both %q and \"text\"", tokensName)
	case hasIDs:
		return parseInts(tokensName, given, 0)
	case !hasText && j.spec.Tokenizer != "":
		return nil, fmt.Errorf("line has neither %q nor \"text\"", tokensName)
	case !hasText:
		return nil, fmt.Errorf("line has no %q", tokensName)
	}
	var s string
	if text.raw[0] != '"' {
		return nil, at(text.column, "field \"text\" is %s, no string", brief(text.raw))
	}
	if err := json.Unmarshal(text.raw, &s); err != nil {
		return nil, at(text.column, "field \"text\": %w", err)
	}
	ids := make([]int32, len(s))
	for i := range len(s) {
		ids[i] = int32(s[i])
	}
	return ids, nil
}

// tokenLabels are the labels of the positions: those given, else the ids
// shifted by one, which leaves one position less.
func (j *jsonlReader) tokenLabels(rec record, ids []int32) (in, labels []int32, err error) {
	f, ok := rec[LabelsInput]
	if !ok {
		if len(ids) < 2 {
			return nil, nil, fmt.Errorf("sample has %d tokens; at least 2 are needed to predict one", len(ids))
		}
		return ids[:len(ids)-1], ids[1:], nil
	}
	if labels, err = parseInts(LabelsInput, f, ignoreIndex); err != nil {
		return nil, nil, err
	}
	if len(labels) != len(ids) {
		return nil, nil, at(f.column, "%d labels for %d tokens", len(labels), len(ids))
	}
	if len(ids) == 0 {
		return nil, nil, errors.New("sample has no tokens")
	}
	return ids, labels, nil
}

// sampleLabel reads the label of a whole sample.
func (j *jsonlReader) sampleLabel(rec record) error {
	f, ok := rec["label"]
	if !ok {
		return fmt.Errorf("line has no \"label\", which task %s needs", j.spec.Task)
	}
	if j.spec.Task == Classification {
		v, err := parseInt(f.raw, ignoreIndex)
		if err != nil {
			return at(f.column, "field \"label\": %w", err)
		}
		j.d.classes = append(j.d.classes, int64(v))
		return nil
	}
	values, width, err := parseFloats(f)
	if err != nil {
		return err
	}
	if j.d.width >= 0 && j.d.width != width {
		return at(f.column, "field \"label\" has another number of values than in the lines before")
	}
	j.d.width = width
	j.d.targets = append(j.d.targets, values...)
	return nil
}

// parseInts are the numbers of a flat array of integers: none is negative but
// ignored, where that is not 0.
func parseInts(name string, f field, ignored int64) ([]int32, error) {
	items, columns, ok := split(f)
	if !ok {
		return nil, at(f.column, "field %q is %s, no array of integers", name, brief(f.raw))
	}
	out := make([]int32, len(items))
	for i, item := range items {
		v, err := parseInt(item, ignored)
		if err != nil {
			return nil, at(columns[i], "field %q: %w", name, err)
		}
		out[i] = v
	}
	return out, nil
}

func parseInt(b []byte, ignored int64) (int32, error) {
	v, err := strconv.ParseInt(string(b), 10, 64)
	switch {
	case err != nil && !errors.Is(err, strconv.ErrRange):
		return 0, fmt.Errorf("%s is no integer", brief(b))
	case err == nil && v == ignored:
		return int32(v), nil
	case err != nil || v < 0 || v > math.MaxInt32:
		return 0, fmt.Errorf("%s is outside of 0 to %d", brief(b), math.MaxInt32)
	}
	return int32(v), nil
}

// parseFloats are the values of a number (width 0) or of an array of them.
func parseFloats(f field) (values []float32, width int, err error) {
	items, columns, list := split(f)
	if !list {
		items, columns = [][]byte{f.raw}, []int{f.column}
	}
	if len(items) == 0 {
		return nil, 0, at(f.column, "field \"label\" has no values")
	}
	for i, item := range items {
		v, err := strconv.ParseFloat(string(item), 32)
		if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
			return nil, 0, at(columns[i], "field \"label\": %s is no float32 number", brief(item))
		}
		values = append(values, float32(v))
	}
	if list {
		width = len(values)
	}
	return values, width, nil
}

// split cuts the text of a JSON array at its commas. What is no array of
// numbers falls into pieces that are no numbers.
func split(f field) (items [][]byte, columns []int, ok bool) {
	if f.raw[0] != '[' {
		return nil, nil, false
	}
	inner := f.raw[1 : len(f.raw)-1]
	if len(bytes.TrimSpace(inner)) == 0 {
		return nil, nil, true
	}
	for from := 0; ; {
		to := len(inner)
		if k := bytes.IndexByte(inner[from:], ','); k >= 0 {
			to = from + k
		}
		item := bytes.TrimLeft(inner[from:to], " \t\r\n")
		columns = append(columns, f.column+1+to-len(item))
		items = append(items, bytes.TrimRight(item, " \t\r\n"))
		if to == len(inner) {
			return items, columns, true
		}
		from = to + 1
	}
}
