package train

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"

	"github.com/bonnx/bonnx/internal/atomicfile"
)

// StepLine is what the metrics file says of a step: the loss of its batch
// before the update. Values that are not finite are written as null.
type StepLine struct {
	Step     int
	Epoch    int
	Loss     float64
	LR       float64
	GradNorm float64
	Tokens   int
	Seconds  float64
}

// EvalLine is what the metrics file says of an evaluation after a step, of
// step 0 before the first.
type EvalLine struct {
	Step     int
	EvalLoss float64
}

// finite is a number that JSON can hold, or null.
type finite float64

// MarshalJSON implements json.Marshaler.
func (f finite) MarshalJSON() ([]byte, error) {
	if math.IsNaN(float64(f)) || math.IsInf(float64(f), 0) {
		return []byte("null"), nil
	}
	return json.Marshal(float64(f))
}

// MarshalJSON writes the fields in their documented order.
func (l StepLine) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Step     int    `json:"step"`
		Epoch    int    `json:"epoch"`
		Loss     finite `json:"loss"`
		LR       finite `json:"lr"`
		GradNorm finite `json:"grad_norm"`
		Tokens   int    `json:"tokens"`
		Seconds  finite `json:"seconds"`
	}{l.Step, l.Epoch, finite(l.Loss), finite(l.LR), finite(l.GradNorm), l.Tokens, finite(l.Seconds)})
}

// MarshalJSON writes the fields in their documented order.
func (l EvalLine) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Step     int    `json:"step"`
		EvalLoss finite `json:"eval_loss"`
	}{l.Step, finite(l.EvalLoss)})
}

// Metrics writes a metrics file, one JSON object a line, each written at
// once. A nil Metrics writes nothing.
type Metrics struct {
	path string
	w    io.WriteCloser
}

// CreateMetrics starts the metrics file of a new run. An existing file is an
// error that wraps fs.ErrExist, unless force lets it be replaced.
func CreateMetrics(path string, force bool) (*Metrics, error) {
	flags := os.O_WRONLY | os.O_CREATE | os.O_EXCL
	if force {
		flags = os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	}
	f, err := os.OpenFile(path, flags, 0o666)
	if errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("metrics: %w; name another, or resume the run that wrote it", err)
	}
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	return &Metrics{path, f}, nil
}

// ResumeMetrics continues the metrics file of a run that goes on after step:
// lines of later steps, and a last line without end, are dropped. All lines
// are later than step -1. A file that does not exist is made; one that holds
// anything but metrics is an error.
func ResumeMetrics(path string, step int) (*Metrics, error) {
	err := checkRegular(path)
	if errors.Is(err, fs.ErrNotExist) {
		return CreateMetrics(path, false)
	}
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	err = atomicfile.Write(path, true, func(w io.Writer) error { return keepUntil(w, path, step) })
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	return &Metrics{path, f}, nil
}

// keepUntil copies the lines of steps up to step.
func keepUntil(w io.Writer, path string, step int) error {
	old, err := os.Open(path)
	if err != nil {
		return err
	}
	defer old.Close() // before the file is replaced, which Windows insists on
	in := bufio.NewReader(old)
	for n := 1; ; n++ {
		line, err := readLine(in)
		if err == io.EOF {
			return nil // what follows the last line end was cut off in writing
		}
		if err != nil {
			return fmt.Errorf("%s:%d: %w", path, n, err)
		}
		var l struct{ Step *int }
		if json.Unmarshal(line, &l) != nil || l.Step == nil {
			return fmt.Errorf("%s:%d: %s is no line of metrics", path, n, brief(line))
		}
		if *l.Step > step {
			continue
		}
		if _, err := w.Write(append(bytes.Clone(line), '\n')); err != nil {
			return err
		}
	}
}

// Step writes the line of a step.
func (m *Metrics) Step(l StepLine) error {
	if m == nil {
		return nil
	}
	return m.line(l)
}

// Eval writes the line of an evaluation.
func (m *Metrics) Eval(l EvalLine) error {
	if m == nil {
		return nil
	}
	return m.line(l)
}

func (m *Metrics) line(l json.Marshaler) error {
	b, err := json.Marshal(l)
	if err == nil {
		_, err = m.w.Write(append(b, '\n'))
	}
	if err != nil {
		return fmt.Errorf("metrics: %s: %w", m.path, err)
	}
	return nil
}

// Close ends the file.
func (m *Metrics) Close() error {
	if m == nil {
		return nil
	}
	if err := m.w.Close(); err != nil {
		return fmt.Errorf("metrics: %s: %w", m.path, err)
	}
	return nil
}
