// Package adapter is the one truth about what an adapter computes: the blocks
// of Bone, Bat, MiSS and LoRA, their initial values, how they merge into a
// weight and out of it, their forward pass and their gradients. Graph forms
// and kernels are tested against it.
//
// Weights are in the orientation of ONNX MatMul: W is (in, out), y = x W + b.
// Blocks have the layout in which PEFT stores them, with rank r:
//
//	bone, miss  block (r, out)         W'[k,j] = W[k,j] + D[k mod r, j]
//	bat         block (out/r, r, r)    W'_ji = W_ji + B_i^T (W_ji + I)
//	miss-mini   block (r, mini_r)      bone with D[l,j] = M[l, j mod mini_r]
//	lora        A (r, in), B (out, r)  W'[k,j] = W[k,j] + alpha/r sum_l A[l,k] B[j,l]
//
// In bat, W_ji is the r by r tile of W at input block j and output block i.
// Bone and MiSS are "Bone: Block-Affine Adaptation" and "MiSS" of arXiv
// 2409.15371; bat is the first version of that paper.
package adapter

import (
	"fmt"
	"slices"
	"strings"
)

// Method is a kind of adapter.
type Method uint8

// The methods. MiSS is Bone under PEFT's later name: the same numbers, other
// names in files.
const (
	Bone Method = iota
	Bat
	MiSS
	MiSSMini
	LoRA
)

// Dims are the sizes that decide the blocks of one target.
type Dims struct {
	In, Out  int
	Rank     int
	MiniRank int // of miss-mini alone
}

// Block is one trainable tensor of a target.
type Block struct {
	// Suffix follows the target's module path and a dot in PEFT's key.
	Suffix string
	Shape  []int
}

// methods is the table of what is particular to each method.
var methods = [...]struct {
	name   string
	blocks func(d Dims) []Block
	limits func(d Dims) error
	ranks  func(in, out int) Ranks
	maths  maths
}{
	Bone:     {"bone", blocks2("bone_block"), boneLimits("bone"), boneRanks, boneMaths},
	Bat:      {"bat", batBlocks, batLimits, batRanks, batMaths},
	MiSS:     {"miss", blocks2("miss_block"), boneLimits("miss"), boneRanks, boneMaths},
	MiSSMini: {"miss-mini", miniBlocks, miniLimits, boneRanks, boneMaths},
	LoRA:     {"lora", loraBlocks, anyLimits, anyRanks, loraMaths},
}

// Methods are all methods.
func Methods() []Method { return []Method{Bone, Bat, MiSS, MiSSMini, LoRA} }

// MethodNames are the names of all methods, for help and errors.
func MethodNames() []string {
	out := make([]string, len(methods))
	for i := range methods {
		out[i] = methods[i].name
	}
	return out
}

// ParseMethod is the method of that name, as String gives it.
func ParseMethod(name string) (Method, error) {
	for i := range methods {
		if strings.EqualFold(methods[i].name, name) {
			return Method(i), nil
		}
	}
	return 0, fmt.Errorf("unknown method %q; there are %s", name, strings.Join(MethodNames(), ", "))
}

// String is the method's name: bone, bat, miss, miss-mini or lora.
func (m Method) String() string {
	if !m.Valid() {
		return fmt.Sprintf("method(%d)", uint8(m))
	}
	return methods[m].name
}

// Valid reports whether m is one of the methods.
func (m Method) Valid() bool { return int(m) < len(methods) }

// MarshalText writes the method's name.
func (m Method) MarshalText() ([]byte, error) {
	if !m.Valid() {
		return nil, fmt.Errorf("unknown %v", m)
	}
	return []byte(m.String()), nil
}

// UnmarshalText reads the method's name.
func (m *Method) UnmarshalText(b []byte) (err error) {
	*m, err = ParseMethod(string(b))
	return err
}

// Additive reports whether what the method adds to a weight does not depend
// on the weight. Only bat's does.
func (m Method) Additive() bool { return m != Bat }

// Blocks are the trainable tensors of a target, in the order in which all
// functions of this package take them. d must pass Check.
func (m Method) Blocks(d Dims) []Block { return methods[m].blocks(d) }

// Params is the number of trainable values of a target.
func (m Method) Params(d Dims) int {
	n := 0
	for _, b := range m.Blocks(d) {
		size := 1
		for _, e := range b.Shape {
			size *= e
		}
		n += size
	}
	return n
}

// Suffixes are the block names of the method, as in Block.Suffix.
func (m Method) Suffixes() []string {
	var out []string
	for _, b := range m.Blocks(Dims{In: 1, Out: 1, Rank: 1, MiniRank: 1}) {
		out = append(out, b.Suffix)
	}
	return out
}

// SplitKey cuts a block's key into module path and suffix; ok is false where
// the key ends in no method's suffix.
func SplitKey(key string) (path, suffix string, ok bool) {
	for _, m := range Methods() {
		for _, s := range m.Suffixes() {
			if p, found := strings.CutSuffix(key, "."+s); found && p != "" {
				return p, s, true
			}
		}
	}
	return "", "", false
}

func blocks2(suffix string) func(Dims) []Block {
	return func(d Dims) []Block { return []Block{{suffix, []int{d.Rank, d.Out}}} }
}

func batBlocks(d Dims) []Block {
	return []Block{{"bone_block", []int{d.Out / d.Rank, d.Rank, d.Rank}}}
}

func miniBlocks(d Dims) []Block { return []Block{{"miss_block", []int{d.Rank, d.MiniRank}}} }

func loraBlocks(d Dims) []Block {
	return []Block{{"lora_A.weight", []int{d.Rank, d.In}}, {"lora_B.weight", []int{d.Out, d.Rank}}}
}

// DimsOf reads rank and mini rank off the shapes of blocks for a weight of
// (in, out), and says what is wrong where they do not fit it. Ranks above in
// are let through: the maths is defined for them, Check refuses them.
func (m Method) DimsOf(in, out int, shapes ...[]int) (Dims, error) {
	d := Dims{In: in, Out: out}
	if !m.Valid() {
		return d, fmt.Errorf("unknown %v", m)
	}
	want := len(m.Suffixes())
	if len(shapes) != want {
		return d, fmt.Errorf("%v has %d blocks; got %d", m, want, len(shapes))
	}
	if s := shapes[0]; len(s) >= 2 {
		d.Rank = s[0]
		switch m {
		case Bat:
			d.Rank = s[len(s)-1]
		case MiSSMini:
			d.MiniRank = s[1]
		}
	}
	if d.Rank <= 0 || m == MiSSMini && (d.MiniRank <= 0 || out%d.MiniRank != 0) || m == Bat && (in%d.Rank != 0 || out%d.Rank != 0) {
		return d, fmt.Errorf("%s block of shape %v does not fit a weight of (%d, %d)", m, shapes[0], in, out)
	}
	for i, b := range m.Blocks(d) {
		if !slices.Equal(b.Shape, shapes[i]) {
			return d, fmt.Errorf("%s %s of shape %v does not fit a weight of (%d, %d): want %v", m, b.Suffix, shapes[i], in, out, b.Shape)
		}
	}
	return d, nil
}
