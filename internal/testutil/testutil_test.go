package testutil_test

import (
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/tensor"
)

func TestCompare(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	v := func(x ...float32) *tensor.Tensor { return tensor.FromSlice(x, len(x)) }
	for _, c := range []struct {
		name      string
		got, want *tensor.Tensor
		ok        bool
	}{
		{"equal", v(1, 2), v(1, 2), true},
		{"within", v(1.00001), v(1), true},
		{"outside", v(1.1), v(1), false},
		{"nan both", v(nan), v(nan), true},
		{"nan got", v(nan), v(1), false},
		{"nan want", v(1), v(nan), false},
		{"inf", v(inf), v(inf), true},
		{"inf got", v(inf), v(3e38), false},
		{"shape", v(1, 2), v(1), false},
		{"type", tensor.Ints(1), v(1), false},
		{"nil", nil, v(1), false},
	} {
		err := testutil.Compare(c.got, c.want, 1e-4, 1e-4)
		if (err == nil) != c.ok {
			t.Errorf("%s: got error %v, want ok %v", c.name, err, c.ok)
		}
	}
}

func TestRandomIsRepeatable(t *testing.T) {
	a, b := testutil.Random(7, 3, 5), testutil.Random(7, 3, 5)
	if !a.Equal(b) || a.Equal(testutil.Random(8, 3, 5)) {
		t.Error("the seed does not decide the values")
	}
	for _, v := range tensor.Data[int64](testutil.RandomInts(1, -2, 3, 100)) {
		if v < -2 || v >= 3 {
			t.Errorf("got %d, want -2 to 2", v)
		}
	}
}

func TestSharedHonoursEnvironment(t *testing.T) {
	dir := t.TempDir()
	t.Setenv(testutil.SharedEnv, dir)
	want := filepath.Join(dir, "a", "b")
	if err := os.MkdirAll(want, 0o755); err != nil {
		t.Fatal(err)
	}
	if got := testutil.Shared(t, "a/b"); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
