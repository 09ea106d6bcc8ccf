package train

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"

	"github.com/bonnx/bonnx/ops"
)

// TestLogger: a logger is told what a watcher is, steps at level debug; the
// run itself is the same, and silent with neither.
func TestLogger(t *testing.T) {
	data := points(t, 8)
	c := pointConfig()
	c.BatchSize, c.Steps = 0, 3
	want, _, err := runPoints(context.Background(), Samples(data), Samples(data), c)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range []struct {
		level slog.Level
		lines []string
	}{
		{slog.LevelInfo, []string{"batch size 8", "training", "evaluation step=0", "evaluation step=3"}},
		{slog.LevelDebug, []string{"batch size 8", "training", "evaluation step=0", "step step=1 steps=3", "step step=2", "step step=3", "evaluation step=3"}},
	} {
		var out bytes.Buffer
		c.Logger = slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: l.level, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey || a.Key == slog.LevelKey {
				return slog.Attr{}
			}
			return a
		}}))
		for _, w := range []Watcher{nil, &recorder{}} {
			out.Reset()
			c.Watcher = w
			got, err := Run(context.Background(), classifier(0.3, ""), ops.Standard(), Samples(data), Samples(data), c, Identity{})
			if err != nil {
				t.Fatal(err)
			}
			sameRun(t, "logged", got, want)
			lines := strings.Split(strings.TrimSpace(out.String()), "\n")
			if len(lines) != len(l.lines) {
				t.Fatalf("level %v: the log is\n%s\nwant %d lines", l.level, out.String(), len(l.lines))
			}
			for i, want := range l.lines {
				if line := strings.ReplaceAll(strings.TrimPrefix(lines[i], "msg="), `"`, ""); !strings.HasPrefix(line, want) {
					t.Errorf("level %v, line %d: %s, want %s", l.level, i, lines[i], want)
				}
			}
			if r, ok := w.(*recorder); ok && len(r.steps) != 3 {
				t.Errorf("the watcher beside the logger saw %d steps", len(r.steps))
			}
		}
	}
}
