package train

import (
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestMetricsLines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.jsonl")
	m, err := CreateMetrics(path, false)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"step":0,"eval_loss":4.5}
{"step":1,"epoch":1,"loss":4.25,"lr":0.001,"grad_norm":null,"tokens":12,"seconds":0.5}
`
	if err := m.Eval(EvalLine{0, 4.5}); err != nil {
		t.Fatal(err)
	}
	if err := m.Step(StepLine{1, 1, 4.25, 1e-3, math.Inf(1), 12, 0.5}); err != nil {
		t.Fatal(err)
	}
	if got := read(t, path); got != want { // before Close: lines are written at once
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := CreateMetrics(path, false); !errors.Is(err, fs.ErrExist) {
		t.Errorf("existing file: got error %v, want fs.ErrExist", err)
	}
	if got := read(t, path); got != want {
		t.Errorf("a refused run changed the file to %q", got)
	}
	if m, err = CreateMetrics(path, true); err != nil {
		t.Fatal(err)
	}
	m.Close()
	if got := read(t, path); got != "" {
		t.Errorf("got %q in a forced new file, want nothing", got)
	}
}

func TestNilMetrics(t *testing.T) {
	var m *Metrics
	if err := errors.Join(m.Step(StepLine{}), m.Eval(EvalLine{}), m.Close()); err != nil {
		t.Errorf("got error %v from no metrics", err)
	}
}

func TestResumeMetrics(t *testing.T) {
	const eval, one, two = `{"step":0,"eval_loss":1}` + "\n", `{"step":1,"loss":2}` + "\n", `{"step":2,"loss":3}` + "\n"
	cases := []struct {
		name, before string
		step         int
		want         string
	}{
		{"all kept", eval + one, 1, eval + one},
		{"later dropped", eval + one + two, 1, eval + one},
		{"cut line", eval + one + `{"step":1,`, 1, eval + one},
		{"cut number", eval + `{"step":1`, 1, eval},
		{"anew", eval + one, -1, ""},
		{"empty", "", 3, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			path := write(t, "m.jsonl", c.before)
			m, err := ResumeMetrics(path, c.step)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(m.Eval(EvalLine{7, 1}), m.Close()); err != nil {
				t.Fatal(err)
			}
			want := c.want + `{"step":7,"eval_loss":1}` + "\n"
			if got := read(t, path); got != want {
				t.Errorf("got\n%swant\n%s", got, want)
			}
		})
	}
}

func TestResumeMetricsRefuses(t *testing.T) {
	const notes = "{\"step\":1}\nmy notes\n"
	path := write(t, "m.jsonl", notes)
	_, err := ResumeMetrics(path, 1)
	wantError(t, err, "m.jsonl:2:", "my notes", "no line of metrics")
	if got := read(t, path); got != notes {
		t.Errorf("a refused run changed the file to %q", got)
	}
	missing := filepath.Join(t.TempDir(), "new.jsonl")
	m, err := ResumeMetrics(missing, 3)
	if err != nil {
		t.Fatal(err)
	}
	m.Close()
	if got := read(t, missing); got != "" {
		t.Errorf("got %q in a new file", got)
	}
}

// full is a disk without space.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, syscall.ENOSPC }
func (full) Close() error              { return syscall.EIO }

func TestMetricsReportsWriteErrors(t *testing.T) {
	m := &Metrics{"m.jsonl", full{}}
	if err := m.Step(StepLine{}); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("step: got %v, want no space", err)
	}
	if err := m.Eval(EvalLine{}); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("eval: got %v, want no space", err)
	}
	if err := m.Close(); !errors.Is(err, syscall.EIO) {
		t.Errorf("close: got %v, want an IO error", err)
	}
}
