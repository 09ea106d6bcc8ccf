package onnx_test

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/onnx"
	"github.com/bonnx/bonnx/onnx/internal/onnxpb"
	"github.com/bonnx/bonnx/tensor"
)

const (
	largeEnv  = "BONNX_LARGE" // set it to run the tests with a gigabyte of weights
	childEnv  = "BONNX_LARGE_CHILD"
	largeSize = 1 << 30
	parts     = 32
)

// TestLarge loads a model with a gigabyte of weights, adds a little, and
// saves it: inline and external, in a process of its own whose anonymous
// memory is watched.
func TestLarge(t *testing.T) {
	if os.Getenv(largeEnv) == "" {
		t.Skipf("set %s to run it", largeEnv)
	}
	for name, external := range map[string]int64{"inline": 0, "external": 1 << 20} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			src := largeModel(t, dir, external)
			copied := copyTime(t, dir)
			start := time.Now()
			cmd := exec.Command(os.Args[0], "-test.run=^TestLargeChild$", "-test.v")
			cmd.Env = append(os.Environ(), childEnv+"="+src)
			out, err := cmd.CombinedOutput()
			took := time.Since(start)
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			t.Logf("process %v, plain copy %v; %s", took.Round(time.Millisecond), copied.Round(time.Millisecond), lineWith(string(out), "load"))
			if took > 3*copied+time.Second {
				t.Errorf("took %v, a plain copy takes %v", took, copied)
			}
		})
	}
}

func lineWith(s, word string) string {
	for line := range strings.Lines(s) {
		if strings.Contains(line, word) {
			return strings.TrimSpace(line)
		}
	}
	return s
}

// TestLargeChild is the part of TestLarge that is measured.
func TestLargeChild(t *testing.T) {
	src := os.Getenv(childEnv)
	if src == "" {
		t.Skip("run by TestLarge")
	}
	stop, peak := make(chan bool), make(chan int64)
	go watch(stop, peak)
	start := time.Now()
	m := load(t, src)
	loaded := time.Since(start)
	m.Graph.AddInitializer("added", ir.Dense(tensor.FromSlice([]float32{1, 2}, 2)))
	m.Graph.First().Name = "edited"
	start = time.Now()
	save(t, filepath.Join(filepath.Dir(src), "out.onnx"), m, onnx.SaveOptions{})
	saved := time.Since(start)
	stop <- true
	kb := <-peak
	t.Logf("load %v, save %v, highest RssAnon %d KiB", loaded.Round(time.Microsecond), saved.Round(time.Millisecond), kb)
	if kb > 100<<10 {
		t.Errorf("got %d KiB of anonymous memory, want less than 100 MiB", kb)
	}
}

// watch polls the process's anonymous memory.
func watch(stop chan bool, peak chan int64) {
	var most int64
	for {
		var kb int64
		b, _ := os.ReadFile("/proc/self/status")
		fmt.Sscanf(lineWith(string(b), "RssAnon"), "RssAnon: %d kB", &kb)
		most = max(most, kb)
		select {
		case <-stop:
			peak <- most
			return
		case <-time.After(time.Millisecond):
		}
	}
}

func largeModel(t *testing.T, dir string, external int64) string {
	p := small()
	x := "x"
	p.Graph.Node = nil
	for i := range parts {
		y := fmt.Sprintf("h%d", i)
		if i == parts-1 {
			y = "y"
		}
		p.Graph.Node = append(p.Graph.Node, node("MatMul", []string{x, fmt.Sprintf("w%d", i)}, []string{y}))
		p.Graph.Initializer = append(p.Graph.Initializer, &onnxpb.TensorProto{Name: proto.String(fmt.Sprintf("w%d", i)), DataType: proto.Int32(1), Dims: []int64{0}})
		x = y
	}
	m := loadBytes(t, marshal(t, p))
	w := tensor.FromSlice(make([]float32, largeSize/parts/4), largeSize/parts/4)
	for i := range tensor.Data[float32](w) {
		tensor.Data[float32](w)[i] = float32(i)
	}
	for _, v := range m.Graph.Initializers {
		v.Data = ir.Dense(w)
	}
	src := filepath.Join(dir, "src.onnx")
	save(t, src, m, onnx.SaveOptions{External: external})
	return src
}

// copyTime copies the files of dir the plain way.
func copyTime(t *testing.T, dir string) time.Duration {
	start := time.Now()
	to := t.TempDir()
	for _, name := range names(t, dir) {
		in, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		out, err := os.Create(filepath.Join(to, name))
		if err != nil {
			t.Fatal(err)
		}
		if _, err = io.Copy(out, in); err == nil {
			err = out.Sync()
		}
		if err != nil {
			t.Fatal(err)
		}
		in.Close()
		out.Close()
	}
	took := time.Since(start)
	if err := os.RemoveAll(to); err != nil {
		t.Fatal(err)
	}
	return took
}
