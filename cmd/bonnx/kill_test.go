package main_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/internal/testutil/fixture"
)

// program builds bonnx once.
func program(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("short: builds the program and trains many times")
	}
	path := filepath.Join(t.TempDir(), "bonnx")
	if out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return path
}

// run is a training run to be killed and resumed: small enough for a test,
// long enough to be hit anywhere.
type run struct {
	t      *testing.T
	bonnx  string
	dir    string
	epochs string
}

func (r run) command(name string, extra ...string) *exec.Cmd {
	args := []string{"train", filepath.Join(r.dir, "base.onnx"), "--method", "bone", "--rank", "4",
		"--data", filepath.Join(r.dir, "data.npz"), "--epochs", r.epochs, "--batch-size", "4", "--lr", "1e-2", "--schedule", "cosine",
		"--warmup", "5", "--clip", "1", "--seed", "3", "--force", "--quiet", "-o", filepath.Join(r.dir, name+".onnx")}
	return exec.Command(r.bonnx, append(args, extra...)...)
}

func (r run) must(cmd *exec.Cmd) {
	r.t.Helper()
	if out, err := cmd.CombinedOutput(); err != nil {
		r.t.Fatalf("%v: %v\n%s", cmd.Args, err, out)
	}
}

// blocks are the bytes of the trained adapter.
func (r run) blocks(name string) []byte {
	r.t.Helper()
	npz := filepath.Join(r.dir, name+".npz")
	r.must(exec.Command(r.bonnx, "extract", filepath.Join(r.dir, name+".onnx"), "-o", npz, "--force"))
	b, err := os.ReadFile(npz)
	if err != nil {
		r.t.Fatal(err)
	}
	return b
}

// eachModel tests with the project's smallest model, and with a real one where
// there is one.
func eachModel(t *testing.T, test func(t *testing.T, r run)) {
	bonnx := program(t)
	t.Run("tiny", func(t *testing.T) {
		r := run{t, bonnx, t.TempDir(), "24"}
		r.fixture("tiny", "base.onnx")
		r.fixture("windows", "data.npz")
		test(t, r)
	})
	t.Run("stories260k", func(t *testing.T) {
		r := run{t, bonnx, t.TempDir(), "5"}
		b, err := os.ReadFile(testutil.Shared(t, "models/stories260k/stories260K_op17.onnx"))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(r.dir, "base.onnx"), b, 0o600); err != nil {
			t.Fatal(err)
		}
		r.fixture("windows", "data.npz")
		test(t, r)
	})
}

func (r run) fixture(kind, file string) {
	r.t.Helper()
	if err := fixture.Write(kind, filepath.Join(r.dir, file)); err != nil {
		r.t.Fatal(err)
	}
}

// TestKilledRunsResumeBitForBit kills runs with SIGKILL at random moments,
// twenty times in all, and wants what a run never stopped gives.
func TestKilledRunsResumeBitForBit(t *testing.T) { eachModel(t, killed) }

func killed(t *testing.T, r run) {
	began := time.Now()
	r.must(r.command("whole"))
	took := time.Since(began)
	want := r.blocks("whole")
	rng := rand.New(rand.NewPCG(1, uint64(time.Now().UnixNano())))
	kills, resumed := 0, 0
	for trial := 0; kills < 20; trial++ {
		name := fmt.Sprintf("killed%d", trial)
		ckpt := filepath.Join(r.dir, name)
		for {
			cmd := r.command(name, "--checkpoint", ckpt, "--checkpoint-every", "1", "--resume")
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			done := make(chan error, 1)
			go func() { done <- cmd.Wait() }()
			select {
			case err := <-done:
				if err != nil {
					t.Fatalf("resumed run: %v", err)
				}
			case <-time.After(time.Duration(rng.Float64() * 1.2 * float64(took))):
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
				if err := <-done; err != nil {
					kills++
					continue
				}
			}
			break
		}
		resumed++
		if !bytes.Equal(r.blocks(name), want) {
			t.Fatalf("after %d kills in all, run %d ends with other blocks than a run never stopped", kills, trial)
		}
	}
	t.Logf("%d kills over %d runs of %v", kills, resumed, took.Round(time.Millisecond))
}

// TestThreadsChangeNothing trains with one and with two threads.
func TestThreadsChangeNothing(t *testing.T) {
	eachModel(t, func(t *testing.T, r run) {
		r.must(r.command("one", "--threads", "1"))
		r.must(r.command("two", "--threads", "2"))
		if !bytes.Equal(r.blocks("one"), r.blocks("two")) {
			t.Error("one and two threads give different blocks")
		}
	})
}
