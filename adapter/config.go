package adapter

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"strings"
)

// DefaultName is the name of an adapter that was given none.
const DefaultName = "default"

// Config is all that defines an adapter but its blocks. Its JSON form is what
// bonnx writes into its own files.
type Config struct {
	// Name tells several adapters of a model apart; "" stands for "default".
	Name   string `json:"name,omitempty"`
	Method Method `json:"method"`
	Rank   int    `json:"r"`
	// MiniRank is the width of a miss-mini block; no other method has one.
	MiniRank int `json:"mini_r,omitempty"`
	// Alpha scales lora by Alpha/Rank; 0 stands for Rank, that is no scaling.
	Alpha float64 `json:"alpha,omitempty"`
	Init  Init    `json:"init"`
	// Seed decides random initial values.
	Seed uint64 `json:"seed,omitempty"`
	Selection
	// Bias says which biases train too: none, all, or a name that ends in
	// _only for those of the targets. "" stands for none.
	Bias string `json:"bias,omitempty"`
	// Dropout is the probability with which an element of a layer's input is
	// left out of what the blocks see, in training alone; bat ignores it.
	Dropout float64 `json:"dropout,omitempty"`
}

// DefaultConfig is Bone of rank 64 on every linear layer, as PEFT's default.
func DefaultConfig() Config {
	return Config{Name: DefaultName, Method: Bone, Rank: 64, Selection: Selection{Targets: Modules{Regex: AllLinear}}, Bias: "none"}
}

// DisplayName is the name, or "default".
func (c Config) DisplayName() string {
	if c.Name == "" {
		return DefaultName
	}
	return c.Name
}

// Dims are the sizes for a target of (in, out).
func (c Config) Dims(in, out int) Dims {
	d := Dims{In: in, Out: out, Rank: c.Rank}
	if c.Method == MiSSMini {
		d.MiniRank = c.MiniRank
	}
	return d
}

// maxRank is past any use; a configuration from a stranger must not decide how
// much memory blocks take.
const maxRank = 1 << 16

// Names become parts of tensor names and of files' keys.
var nameForm = regexp.MustCompile(`\A[A-Za-z0-9_][A-Za-z0-9_-]*\z`)

// Validate reports what is wrong with c whatever the model.
func (c Config) Validate() error {
	if !c.Method.Valid() {
		return fmt.Errorf("unknown %v", c.Method)
	}
	if err := checkRank(c.Rank); err != nil {
		return fmt.Errorf("%w; a rank of 1 or more is needed", err)
	}
	switch {
	case c.Rank > maxRank:
		return fmt.Errorf("a rank of at most %d is possible; got %d", maxRank, c.Rank)
	case c.Method == MiSSMini && c.MiniRank <= 0:
		return fmt.Errorf("`mini_r` should be a positive integer value but the value passed is %d; give one that divides the output size of every target", c.MiniRank)
	case c.Method != MiSSMini && c.MiniRank != 0:
		return fmt.Errorf("mini_r belongs to miss-mini; method %v has none", c.Method)
	case c.Method != LoRA && c.Alpha != 0:
		return fmt.Errorf("alpha belongs to lora; method %v has none", c.Method)
	case c.Alpha < 0 || math.IsInf(c.Alpha, 0) || math.IsNaN(c.Alpha):
		return fmt.Errorf("alpha should be positive; got %v", c.Alpha)
	case !(c.Dropout >= 0 && c.Dropout < 1):
		return fmt.Errorf("dropout should be at least 0 and below 1; got %v", c.Dropout)
	case c.Name != "" && !nameForm.MatchString(c.Name):
		return fmt.Errorf("adapter name %q: use letters, digits, _ and - alone", c.Name)
	case int(c.Init) >= len(initNames):
		return fmt.Errorf("unknown %v", c.Init)
	}
	if err := checkBias(c.Bias); err != nil {
		return err
	}
	for _, l := range c.Layers {
		if l < 0 {
			return fmt.Errorf("layer index %d in layers_to_transform is negative", l)
		}
	}
	_, err := NewSelector(c.Selection)
	return err
}

func checkBias(b string) error {
	if b == "" || b == "none" || b == "all" || strings.HasSuffix(b, "_only") {
		return nil
	}
	return errors.New("bias should be none, all or bone_only; got " + fmt.Sprintf("%q", b))
}

// TrainsBias reports which biases train besides the blocks: those of the
// targets, and those of all other modules.
func (c Config) TrainsBias() (targets, others bool) {
	return c.Bias == "all" || strings.HasSuffix(c.Bias, "_only"), c.Bias == "all"
}
