package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// usage is what a process took.
type usage struct {
	Seconds float64 `json:"seconds"`
	Peak    int64   `json:"peak_rss_bytes"` // largest resident memory, files that it mapped included
}

// process runs a program to its end; the last line that it prints is JSON for
// answer, where that is not nil. The memory of a child is at least its
// parent's, so this program must stay small.
func process(ctx context.Context, answer any, name string, args ...string) (usage, error) {
	var out, talk bytes.Buffer
	c := exec.CommandContext(ctx, name, args...)
	c.Stdout, c.Stderr = &out, &talk
	began := time.Now()
	err := c.Run()
	u := usage{Seconds: time.Since(began).Seconds()}
	if err != nil {
		said := lastLine(talk.String())
		return u, fmt.Errorf("%s: %w: %s", filepath.Base(name)+" "+args[0], err, said)
	}
	u.Peak = peakOf(c.ProcessState)
	if answer == nil {
		return u, nil
	}
	if err := json.Unmarshal([]byte(lastLine(out.String())), answer); err != nil {
		return u, fmt.Errorf("%s: %w", name, err)
	}
	return u, nil
}

func lastLine(s string) string {
	s = strings.TrimSpace(s)
	return s[strings.LastIndexByte(s, '\n')+1:]
}

// median is the middle of some values, the upper one of two.
func median[T cmp.Ordered](values []T) T {
	s := slices.Sorted(slices.Values(values))
	return s[len(s)/2]
}
