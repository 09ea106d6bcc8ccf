// Package testutil is what tests of several packages share: finding the
// shared models and golden values, comparing tensors, making small ones.
package testutil

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/bonnx/bonnx/tensor"
)

// SharedEnv names the environment variable that says where the shared models,
// data and golden values are. Without it they are looked for in the folder
// "shared" beside the module.
const SharedEnv = "BONNX_SHARED"

// Shared is the path of rel below the shared folder. Where it is absent the
// test is skipped, with a message that says what was looked for.
func Shared(t testing.TB, rel string) string {
	t.Helper()
	path := SharedPath(t, rel)
	if _, err := os.Stat(path); err != nil {
		t.Skipf("needs %s, absent here (set %s to the folder that holds it)", path, SharedEnv)
	}
	return path
}

// SharedPath is Shared for those who look for themselves whether it is there.
func SharedPath(t testing.TB, rel string) string {
	t.Helper()
	root := os.Getenv(SharedEnv)
	if root == "" {
		root = filepath.Join(ModuleRoot(t), "..", "shared")
	}
	return filepath.Join(root, filepath.FromSlash(rel))
}

// ModuleRoot is the nearest folder upwards that holds go.mod.
func ModuleRoot(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		up := filepath.Dir(dir)
		if up == dir {
			t.Fatal("no go.mod above the working directory")
		}
		dir = up
	}
}

// Close fails the test unless got has the type and shape of want and every
// element is within abs + rel*|want| of it. NaN is close to NaN only.
func Close(t testing.TB, name string, got, want *tensor.Tensor, abs, rel float64) {
	t.Helper()
	if err := Compare(got, want, abs, rel); err != nil {
		t.Errorf("%s: %v", name, err)
	}
}

// Compare is Close as an error that names the worst element.
func Compare(got, want *tensor.Tensor, abs, rel float64) error {
	if got == nil || want == nil {
		if got != want {
			return fmt.Errorf("got %v, want %v", got, want)
		}
		return nil
	}
	if got.DType() != want.DType() || !got.Shape().Equal(want.Shape()) {
		return fmt.Errorf("got %v, want %v", got, want)
	}
	if want.DType() == tensor.String || want.DType().IsComplex() {
		if !got.Equal(want) {
			return fmt.Errorf("%v: elements differ", want)
		}
		return nil
	}
	g, err := got.Float64s()
	if err != nil {
		return err
	}
	w, err := want.Float64s()
	if err != nil {
		return err
	}
	bad, worst, at := 0, -1.0, 0
	for i := range w {
		excess := Excess(g[i], w[i], abs, rel)
		if excess > 0 {
			bad++
		}
		if excess > worst {
			worst, at = excess, i
		}
	}
	if bad > 0 {
		return fmt.Errorf("%v: %d of %d elements are off, worst at %d: got %v, want %v (abs %g, rel %g)", want, bad, len(w), at, g[at], w[at], abs, rel)
	}
	return nil
}

// Excess is by how much |got-want| exceeds abs + rel*|want|; not positive
// where it does not, infinite where only one of them is NaN or infinite.
func Excess(got, want, abs, rel float64) float64 {
	switch {
	case got == want || got != got && want != want:
		return -1
	case math.IsInf(got, 0) || math.IsInf(want, 0) || got != got || want != want:
		return math.Inf(1)
	}
	return math.Abs(got-want) - (abs + rel*math.Abs(want))
}

// Random is a float32 tensor of values uniform in [-1, 1), the same for the
// same seed and shape everywhere.
func Random(seed uint64, shape ...int) *tensor.Tensor {
	rng := rand.New(rand.NewPCG(seed, 0x62306e6e78))
	t := tensor.New(tensor.Float32, shape...)
	d := tensor.Data[float32](t)
	for i := range d {
		d[i] = float32(rng.Float64()*2 - 1)
	}
	return t
}

// RandomInts is an int64 tensor of values uniform in [lo, hi).
func RandomInts(seed uint64, lo, hi int64, shape ...int) *tensor.Tensor {
	rng := rand.New(rand.NewPCG(seed, 0x62306e6e79))
	t := tensor.New(tensor.Int64, shape...)
	d := tensor.Data[int64](t)
	for i := range d {
		d[i] = lo + rng.Int64N(hi-lo)
	}
	return t
}
