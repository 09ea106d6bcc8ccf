//go:build linux

package main_test

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/onnx"
	"github.com/bonnx/bonnx/tensor"
)

// TestInjectReadsNoWeights injects into models with a gigabyte of weights,
// inline and external, and watches the process's anonymous memory. It runs
// where BONNX_LARGE is set (make large).
func TestInjectReadsNoWeights(t *testing.T) {
	if os.Getenv("BONNX_LARGE") == "" {
		t.Skip("set BONNX_LARGE to run it: it writes several gigabytes")
	}
	bonnx := program(t)
	for name, external := range map[string]int64{"inline": 0, "external": 1} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			base := filepath.Join(dir, "base.onnx")
			gigabyte(t, base, external)
			copied := copyFiles(t, dir)
			began := time.Now()
			cmd := exec.Command(bonnx, "inject", base, "--method", "bone", "--rank", "64", "-o", filepath.Join(dir, "adapted.onnx"), "--quiet")
			cmd.Stderr = os.Stderr
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			done := make(chan error, 1)
			go func() { done <- cmd.Wait() }()
			peak := watchRssAnon(cmd.Process.Pid, done, t)
			took := time.Since(began)
			t.Logf("RssAnon at most %.1f MB; inject took %v, a copy with sync %v", float64(peak)/1e6, took.Round(time.Millisecond), copied.Round(time.Millisecond))
			if peak > 100e6 {
				t.Errorf("RssAnon reached %d bytes", peak)
			}
			if took > 3*copied+time.Second {
				t.Errorf("inject took %v, a copy %v", took, copied)
			}
		})
	}
}

// gigabyte is a chain of 16 products with weights of 4096 x 4096.
func gigabyte(t *testing.T, path string, external int64) {
	m := &ir.Model{IRVersion: 8, Graph: ir.NewGraph("large")}
	m.SetOpset("", 17)
	x := m.Graph.AddInput("x", ir.Tensor(tensor.Float32, ir.Symbol("n"), ir.Fixed(4096)))
	b := ir.NewBuilder(m.Graph, ir.NewNames(m))
	w := tensor.New(tensor.Float32, 4096, 4096)
	for i := range tensor.Data[float32](w) {
		tensor.Data[float32](w)[i] = float32(i%251) / 251
	}
	for i := range 16 {
		b.Prefix = fmt.Sprintf("/layers.%d/proj/", i)
		x = b.Op("MatMul", ir.In(x, m.Graph.AddInitializer(fmt.Sprintf("layers.%d.proj.weight", i), ir.Dense(w))))
	}
	b.Prefix = "/"
	y := b.Op("Relu", ir.In(b.Op("Softmax", ir.In(x))))
	y.Name, y.Type = "y", ir.Tensor(tensor.Float32, ir.Symbol("n"), ir.Fixed(4096))
	m.Graph.Outputs = []*ir.Value{y}
	if err := onnx.Save(path, m, onnx.SaveOptions{External: external}); err != nil {
		t.Fatal(err)
	}
}

// copyFiles copies what is in dir and syncs it: what any rewriting must take.
func copyFiles(t *testing.T, dir string) time.Duration {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	for _, e := range entries {
		src, err := os.Open(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		dst, err := os.Create(filepath.Join(dir, "copy"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err = io.Copy(dst, src); err == nil {
			err = dst.Sync()
		}
		_, _ = src.Close(), dst.Close()
		if err != nil {
			t.Fatal(err)
		}
	}
	took := time.Since(began)
	if err := os.Remove(filepath.Join(dir, "copy")); err != nil {
		t.Fatal(err)
	}
	return took
}

var rssAnon = regexp.MustCompile(`RssAnon:\s+(\d+) kB`)

// watchRssAnon samples a process's anonymous memory until it ends.
func watchRssAnon(pid int, done chan error, t *testing.T) int {
	t.Helper()
	peak := 0
	for {
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			return peak
		case <-time.After(2 * time.Millisecond):
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
			if m := rssAnon.FindSubmatch(b); err == nil && m != nil {
				kb, err := strconv.Atoi(string(m[1]))
				if err != nil {
					t.Fatal(err)
				}
				peak = max(peak, kb*1024)
			}
		}
	}
}
