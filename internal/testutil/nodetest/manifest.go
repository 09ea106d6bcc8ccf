package nodetest

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/ops"
)

// The manifest lists every official test with what is expected of it, so that
// neither a test that stops passing nor one that starts to goes unseen. A line
// is the name, a status and a reason, separated by tabs.

var update = flag.Bool("update", false, "write testdata/onnx-node-manifest.tsv from what the tests do")

// A status is what becomes of a test.
type status string

const (
	pass        status = "pass"
	fail        status = "fail"        // the reason says why
	unsupported status = "unsupported" // the reason names what is missing
)

type entry struct {
	status status
	reason string
}

func manifestPath(t testing.TB) string {
	return filepath.Join(testutil.ModuleRoot(t), "testdata", "onnx-node-manifest.tsv")
}

// readManifest is the manifest by the names of tests.
func readManifest(t testing.TB) map[string]entry {
	t.Helper()
	b, err := os.ReadFile(manifestPath(t))
	if err != nil && !(*update && errors.Is(err, os.ErrNotExist)) {
		t.Fatal(err)
	}
	m := map[string]entry{}
	for i, line := range strings.Split(strings.TrimSuffix(string(b), "\n"), "\n") {
		if line == "" {
			continue
		}
		f := strings.SplitN(line, "\t", 3)
		if len(f) != 3 || f[0] == "" {
			t.Fatalf("manifest line %d: %q is not NAME, STATUS and REASON", i+1, line)
		}
		e := entry{status(f[1]), f[2]}
		if _, twice := m[f[0]]; twice || !e.valid() {
			t.Fatalf("manifest line %d: %q", i+1, line)
		}
		m[f[0]] = e
	}
	return m
}

// valid wants a reason of whatever does not pass, and of nothing else.
func (e entry) valid() bool {
	return slices.Contains([]status{pass, fail, unsupported}, e.status) && (e.status == pass) == (e.reason == "")
}

// writeManifest writes what was found. A failure keeps the reason that
// somebody gave it.
func writeManifest(t testing.TB, found, was map[string]entry) {
	t.Helper()
	var b bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(found)) {
		e := found[name]
		if old := was[name]; e.status == fail && old.status == fail {
			e = old
		}
		fmt.Fprintf(&b, "%s\t%s\t%s\n", name, e.status, e.reason)
	}
	if err := os.WriteFile(manifestPath(t), b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// outcome is the entry that an error, or none, makes.
func outcome(err error) entry {
	var op *ops.UnsupportedOpError
	var what *unsupportedError
	switch {
	case err == nil:
		return entry{pass, ""}
	case errors.As(err, &what):
		return entry{unsupported, what.what}
	case errors.As(err, &op):
		return entry{unsupported, strings.TrimPrefix(op.Domain+"."+op.Op, ".")}
	}
	return entry{fail, strings.Join(strings.Fields(err.Error()), " ")}
}

// unsupportedError says what a test needs that is not an operator.
type unsupportedError struct{ what string }

func (e *unsupportedError) Error() string { return "unsupported: " + e.what }
