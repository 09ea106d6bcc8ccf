package cli

import (
	"fmt"
	"io"
	"math"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"github.com/bonnx/bonnx"
)

// progress shows a training run: a bar where w is a terminal, else plain
// lines, at most about twenty of them and one every ten seconds.
type progress struct {
	w     io.Writer
	quiet bool
	bar   *progressbar.ProgressBar

	began    time.Time
	first    int // step at which this process began, counted from 1
	tokens   int
	lastLine time.Time
	lastStep int
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// Begin says where the loss attaches.
func (p *progress) Begin(from string, first, steps int) {
	if p.quiet {
		return
	}
	_, _ = fmt.Fprintf(p.w, "loss: %s\n", from)
	p.began, p.first = time.Now(), first
	if isTerminal(p.w) {
		p.bar = progressbar.NewOptions(steps, progressbar.OptionSetWriter(p.w), progressbar.OptionSetWidth(24),
			progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionSetPredictTime(false),
			progressbar.OptionSetElapsedTime(false), progressbar.OptionShowCount(), progressbar.OptionClearOnFinish())
		_ = p.bar.Set(first - 1)
	}
}

// Step shows loss, learning rate, speed and the time left.
func (p *progress) Step(s bonnx.StepInfo) {
	p.tokens += s.Tokens
	if p.quiet {
		return
	}
	line := p.line(s)
	if p.bar != nil {
		_ = p.bar.Set(s.Step)
		p.bar.Describe(line)
		if s.Step == s.Steps {
			_ = p.bar.Finish()
			_, _ = fmt.Fprintln(p.w, line)
		}
		return
	}
	due := s.Step == p.first || s.Step == s.Steps || time.Since(p.lastLine) > 10*time.Second ||
		s.Step-p.lastStep >= max(1, s.Steps/20)
	if due {
		_, _ = fmt.Fprintf(p.w, "step %d/%d  %s\n", s.Step, s.Steps, line)
		p.lastLine, p.lastStep = time.Now(), s.Step
	}
}

func (p *progress) line(s bonnx.StepInfo) string {
	elapsed := time.Since(p.began)
	done := s.Step - p.first + 1
	left := time.Duration(float64(elapsed) / float64(done) * float64(s.Steps-s.Step))
	speed := float64(p.tokens) / math.Max(elapsed.Seconds(), 1e-9)
	return fmt.Sprintf("loss %.4f  lr %.2e  %.0f tok/s  %s left", s.Loss, s.LR, speed, clock(left))
}

// clock writes a duration as m:ss or h:mm:ss.
func clock(d time.Duration) string {
	s := int(d.Seconds() + 0.5)
	if s >= 3600 {
		return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
	}
	return fmt.Sprintf("%d:%02d", s/60, s%60)
}

// End takes the bar away, so that an error starts on a line of its own.
func (p *progress) End() {
	if p.bar != nil {
		_ = p.bar.Clear()
	}
}

// Eval shows an evaluation.
func (p *progress) Eval(step int, loss float64) {
	p.say(fmt.Sprintf("step %d  evaluation loss %.4f", step, loss))
}

// Note shows a remark.
func (p *progress) Note(text string) { p.say(text) }

func (p *progress) say(text string) {
	if p.quiet {
		return
	}
	if p.bar != nil {
		_ = p.bar.Clear()
	}
	_, _ = fmt.Fprintln(p.w, text)
}
