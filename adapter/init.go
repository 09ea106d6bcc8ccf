package adapter

import (
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"strings"

	"github.com/bonnx/bonnx/tensor"
)

// Init is how blocks start.
type Init uint8

const (
	// InitZero starts at the base model exactly: blocks are zero, of lora's
	// only B is.
	InitZero Init = iota
	// InitRandom draws every block from U(-b, b), b = 1/sqrt(fan in), as PEFT
	// does with init_weights=False. For tests.
	InitRandom
)

var initNames = [...]string{InitZero: "zero", InitRandom: "random"}

// String is zero or random.
func (i Init) String() string {
	if int(i) >= len(initNames) {
		return fmt.Sprintf("init(%d)", uint8(i))
	}
	return initNames[i]
}

// ParseInit is the inverse of String.
func ParseInit(s string) (Init, error) {
	for i, n := range initNames {
		if strings.EqualFold(n, s) {
			return Init(i), nil
		}
	}
	return 0, fmt.Errorf("unknown initialisation %q; there are %s", s, strings.Join(initNames[:], ", "))
}

// MarshalText writes the name.
func (i Init) MarshalText() ([]byte, error) { return []byte(i.String()), nil }

// UnmarshalText reads the name.
func (i *Init) UnmarshalText(b []byte) (err error) {
	*i, err = ParseInit(string(b))
	return err
}

// Init makes the blocks of a target, float32. The values depend on seed and
// path alone, so neither the order nor the number of targets matters.
// d must pass Check.
func (m Method) Init(d Dims, how Init, seed uint64, path string) []*tensor.Tensor {
	h := fnv.New64a()
	h.Write([]byte(path)) // never fails
	rng := rand.New(rand.NewPCG(seed, h.Sum64()))
	var out []*tensor.Tensor
	for i, b := range m.Blocks(d) {
		t := tensor.New(tensor.Float32, b.Shape...)
		if how == InitRandom || m == LoRA && i == 0 {
			kaiming(t, rng)
		}
		out = append(out, t)
	}
	return out
}

// kaiming is torch's kaiming_uniform with a = sqrt 5: the bound is 1/sqrt of
// the fan in, which is all but the first dimension.
func kaiming(t *tensor.Tensor, rng *rand.Rand) {
	bound := 1 / math.Sqrt(float64(t.Shape()[1:].Size()))
	data := tensor.Data[float32](t)
	for i := range data {
		data[i] = float32((rng.Float64()*2 - 1) * bound)
	}
}
