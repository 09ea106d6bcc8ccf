package archtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// tracked are the files of the repository, by path from its root.
func tracked(t *testing.T) []string {
	t.Helper()
	cmd := exec.Command("git", "ls-files", "-z")
	cmd.Dir = filepath.Join("..", "..")
	out, err := cmd.Output()
	if err != nil {
		t.Skipf("needs the repository's list of files: git ls-files: %v", err)
	}
	return strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
}

var link = regexp.MustCompile(`\]\(([^)\s]+)\)`)

// A link in the documentation leads somewhere.
func TestDocLinks(t *testing.T) {
	for _, file := range tracked(t) {
		if filepath.Ext(file) != ".md" {
			continue
		}
		text := read(t, file)
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			target, _, _ := strings.Cut(m[1], "#")
			if target == "" || strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			if _, err := os.Stat(filepath.Join("..", "..", filepath.Dir(file), target)); err != nil {
				t.Errorf("%s links to %s: %v", file, target, err)
			}
		}
	}
}

// Nothing in the project speaks of the machine that it was written on.
func TestNoMachinePaths(t *testing.T) {
	// Written in halves, so that this file does not find itself.
	paths := []string{"/wo" + "rk/", "/ro" + "ot/", "/home" + "/"}
	for _, file := range tracked(t) {
		switch filepath.Ext(file) {
		case ".onnx", ".npz", ".safetensors", ".bin":
			continue
		}
		text := read(t, file)
		for _, p := range paths {
			if strings.Contains(text, p) {
				t.Errorf("%s names a path below %s", file, p)
			}
		}
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", file))
	if os.IsNotExist(err) {
		return "" // removed, not yet committed
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
