package peft

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf16"
)

// maxDepth bounds nesting; PEFT's files have three levels.
const maxDepth = 32

// decode parses one JSON value. Objects become map[string]any with numbers as
// json.Number, so that they are written again as they were. Duplicate keys
// and anything after the value but blanks are errors.
func decode(b []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	v, err := decodeValue(d, 0)
	if err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("text follows the JSON value")
	}
	return v, nil
}

func decodeValue(d *json.Decoder, depth int) (any, error) {
	if depth > maxDepth {
		return nil, errors.New("JSON is nested too deeply")
	}
	tok, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch tok {
	case json.Delim('{'):
		return decodeObject(d, depth)
	case json.Delim('['):
		list := []any{}
		for d.More() {
			v, err := decodeValue(d, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err := d.Token()
		return list, err
	}
	return tok, nil
}

func decodeObject(d *json.Decoder, depth int) (map[string]any, error) {
	m := map[string]any{}
	for d.More() {
		tok, err := d.Token()
		if err != nil {
			return nil, err
		}
		key, ok := tok.(string)
		if !ok {
			return nil, fmt.Errorf("JSON key %v is no string", tok)
		}
		if _, twice := m[key]; twice {
			return nil, fmt.Errorf("key %q is there twice", clip(key))
		}
		if m[key], err = decodeValue(d, depth+1); err != nil {
			return nil, err
		}
	}
	_, err := d.Token()
	return m, err
}

func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "..."
	}
	return s
}

// encode writes v as Python's json.dump(v, indent=2, sort_keys=True) does.
func encode(v any) []byte { return appendValue(nil, v, 0) }

func appendValue(b []byte, v any, depth int) []byte {
	switch v := v.(type) {
	case nil:
		return append(b, "null"...)
	case bool:
		return fmt.Append(b, v)
	case json.Number:
		return append(b, v...)
	case int:
		return fmt.Append(b, v)
	case string:
		return appendString(b, v)
	case []string:
		list := make([]any, len(v))
		for i, s := range v {
			list[i] = s
		}
		return appendValue(b, list, depth)
	case []any:
		if len(v) == 0 {
			return append(b, "[]"...)
		}
		b = append(b, '[')
		for i, e := range v {
			b = appendItem(b, i, depth)
			b = appendValue(b, e, depth+1)
		}
		return append(appendBreak(b, depth), ']')
	case map[string]any:
		return appendObject(b, v, depth)
	}
	panic(fmt.Sprintf("peft: no JSON form of %T", v))
}

func appendObject(b []byte, m map[string]any, depth int) []byte {
	if len(m) == 0 {
		return append(b, "{}"...)
	}
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	b = append(b, '{')
	for i, k := range keys {
		b = appendItem(b, i, depth)
		b = appendString(b, k)
		b = append(b, ": "...)
		b = appendValue(b, m[k], depth+1)
	}
	return append(appendBreak(b, depth), '}')
}

func appendItem(b []byte, i, depth int) []byte {
	if i > 0 {
		b = append(b, ',')
	}
	return appendBreak(b, depth+1)
}

func appendBreak(b []byte, depth int) []byte {
	return append(b, "\n"+strings.Repeat("  ", depth)...)
}

var escapes = map[rune]string{'"': `\"`, '\\': `\\`, '\n': `\n`, '\r': `\r`, '\t': `\t`, '\b': `\b`, '\f': `\f`}

// appendString escapes all that is not printable ASCII.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	for _, r := range s {
		switch e, ok := escapes[r]; {
		case ok:
			b = append(b, e...)
		case r >= ' ' && r <= '~':
			b = append(b, byte(r))
		case r > 0xffff:
			hi, lo := utf16.EncodeRune(r)
			b = fmt.Appendf(b, `\u%04x\u%04x`, hi, lo)
		default:
			b = fmt.Appendf(b, `\u%04x`, r)
		}
	}
	return append(b, '"')
}
