package npz

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/bonnx/bonnx/tensor"
)

// parseHeader reads the Python dictionary of an array header:
// {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }.
func parseHeader(s string) (header, error) {
	p := &scanner{s: s}
	var h header
	seen := map[string]bool{}
	if !p.take("{") {
		return h, p.unexpected()
	}
	for !p.take("}") {
		key, err := p.str()
		if err != nil {
			return h, err
		}
		if seen[key] {
			return h, fmt.Errorf("key %q is there twice", key)
		}
		seen[key] = true
		if !p.take(":") {
			return h, p.unexpected()
		}
		if err := p.value(key, &h); err != nil {
			return h, err
		}
		if !p.take(",") && !strings.HasPrefix(p.rest(), "}") {
			return h, p.unexpected()
		}
	}
	if p.rest() != "" {
		return h, p.unexpected()
	}
	for _, key := range []string{"descr", "fortran_order", "shape"} {
		if !seen[key] {
			return h, fmt.Errorf("no %s", key)
		}
	}
	return h, nil
}

type scanner struct {
	s  string
	at int
}

// rest is what follows, without leading blanks.
func (p *scanner) rest() string {
	for p.at < len(p.s) && strings.IndexByte(" \t\r\n", p.s[p.at]) >= 0 {
		p.at++
	}
	return p.s[p.at:]
}

func (p *scanner) take(tok string) bool {
	if strings.HasPrefix(p.rest(), tok) {
		p.at += len(tok)
		return true
	}
	return false
}

func (p *scanner) unexpected() error {
	r := p.rest()
	return fmt.Errorf("unexpected %q", r[:min(len(r), 20)])
}

func (p *scanner) str() (string, error) {
	r := p.rest()
	if r == "" || r[0] != '\'' && r[0] != '"' {
		return "", p.unexpected()
	}
	end := strings.IndexByte(r[1:], r[0])
	if end < 0 || strings.ContainsRune(r[1:1+end], '\\') {
		return "", p.unexpected()
	}
	p.at += end + 2
	return r[1 : 1+end], nil
}

func (p *scanner) value(key string, h *header) (err error) {
	switch key {
	case "descr":
		if strings.HasPrefix(p.rest(), "[") {
			return errors.New("array has named fields; save one array per field")
		}
		h.descr, err = p.str()
	case "fortran_order":
		switch {
		case p.take("True"):
			h.fortran = true
		case !p.take("False"):
			return p.unexpected()
		}
	case "shape":
		h.shape, err = p.tuple()
	default:
		return fmt.Errorf("unknown key %q", key)
	}
	return err
}

func (p *scanner) tuple() (tensor.Shape, error) {
	shape := tensor.Shape{}
	if !p.take("(") {
		return nil, p.unexpected()
	}
	for !p.take(")") {
		n, err := p.integer()
		if err != nil {
			return nil, err
		}
		if shape = append(shape, n); len(shape) > maxRank {
			return nil, fmt.Errorf("more than %d dimensions", maxRank)
		}
		if !p.take(",") && !strings.HasPrefix(p.rest(), ")") {
			return nil, p.unexpected()
		}
	}
	return shape, nil
}

// integer reads digits, with the L that Python 2 put behind long ones.
func (p *scanner) integer() (int, error) {
	r := p.rest()
	n, i := 0, 0
	for ; i < len(r) && r[i] >= '0' && r[i] <= '9'; i++ {
		if n > (math.MaxInt-9)/10 {
			return 0, errors.New("shape is too large")
		}
		n = n*10 + int(r[i]-'0')
	}
	if i == 0 {
		return 0, p.unexpected()
	}
	p.at += i
	p.take("L")
	return n, nil
}
