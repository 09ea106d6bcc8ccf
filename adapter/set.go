package adapter

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/bonnx/bonnx/tensor"
)

// Set is a whole adapter apart from any model: what file formats hold.
type Set struct {
	Config Config
	// Fingerprint identifies the base model that the adapter was made for; ""
	// where that is unknown.
	Fingerprint string
	// Entries are the targets, in the order of the model or file.
	Entries []Entry
	// Saved are other trained tensors, biases and modules_to_save, keyed by
	// module path and parameter name in torch's layout.
	Saved []Named
}

// Entry is one target's blocks, as Method.Blocks lists them.
type Entry struct {
	Path   string
	Blocks []*tensor.Tensor
}

// Named is a tensor and its key.
type Named struct {
	Key    string
	Tensor *tensor.Tensor
}

// Entry is the target at path, nil where there is none.
func (s *Set) Entry(path string) *Entry {
	for i := range s.Entries {
		if s.Entries[i].Path == path {
			return &s.Entries[i]
		}
	}
	return nil
}

// Layer is the maths of an entry.
func (s *Set) Layer(e Entry) Layer {
	return Layer{Method: s.Config.Method, Blocks: e.Blocks, Alpha: s.Config.Alpha, Name: s.Config.DisplayName()}
}

// Params is the number of values in all blocks.
func (s *Set) Params() int {
	n := 0
	for _, e := range s.Entries {
		for _, b := range e.Blocks {
			n += b.Size()
		}
	}
	return n
}

// Named lists all blocks and then Saved, keyed as in a model: the module path,
// a dot and the block's suffix, "layers.0.q_proj.bone_block". These are the
// names of the arrays in the .npz form, which has Manifest as entry bonnx.json.
func (s *Set) Named() []Named {
	var out []Named
	suffixes := s.Config.Method.Suffixes()
	for _, e := range s.Entries {
		for i, b := range e.Blocks {
			out = append(out, Named{e.Path + "." + suffixes[i], b})
		}
	}
	return append(out, s.Saved...)
}

// Collect makes a Set of named tensors, the inverse of Named. Without cfg the
// method and the rank are read off the keys and shapes (miss-mini cannot be
// told from miss then); with cfg they are held to it. Keys may end in
// miss_block for bone and bat too, which PEFT has under either name.
func Collect(cfg *Config, named []Named) (*Set, error) {
	s := &Set{}
	if cfg != nil {
		s.Config = *cfg
	}
	at := map[string]int{}
	for _, n := range named {
		path, suffix, ok := SplitKey(n.Key)
		if !ok {
			s.Saved = append(s.Saved, n)
			continue
		}
		m, err := methodOf(cfg, suffix, n.Tensor)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", n.Key, err)
		}
		if cfg == nil && len(s.Entries) == 0 {
			s.Config = inferred(m, n.Tensor)
		}
		if m != s.Config.Method {
			return nil, fmt.Errorf("%s is a block of %v, among blocks of %v", n.Key, m, s.Config.Method)
		}
		i, ok := at[path]
		if !ok {
			i = len(s.Entries)
			at[path] = i
			s.Entries = append(s.Entries, Entry{Path: path, Blocks: make([]*tensor.Tensor, len(m.Suffixes()))})
		}
		k := max(0, slices.Index(m.Suffixes(), suffix))
		if s.Entries[i].Blocks[k] != nil {
			return nil, fmt.Errorf("%s is there twice", n.Key)
		}
		s.Entries[i].Blocks[k] = n.Tensor
	}
	if len(s.Entries) == 0 {
		return nil, fmt.Errorf("no adapter blocks; their names end in %s", strings.Join(allSuffixes(), ", "))
	}
	if cfg == nil {
		for _, e := range s.Entries {
			s.Config.Targets.List = append(s.Config.Targets.List, e.Path)
		}
	}
	return s, s.check()
}

func allSuffixes() []string {
	var out []string
	for _, m := range Methods() {
		for _, x := range m.Suffixes() {
			if !slices.Contains(out, x) {
				out = append(out, x)
			}
		}
	}
	return out
}

// methodOf is the method that a block is of, by its suffix and rank.
func methodOf(cfg *Config, suffix string, t *tensor.Tensor) (Method, error) {
	if !t.DType().IsFloat() {
		return 0, fmt.Errorf("block is %v, not float", t)
	}
	m, rank := Bone, 2
	switch {
	case slices.Contains(LoRA.Suffixes(), suffix):
		m = LoRA
	case t.Rank() == 3:
		m, rank = Bat, 3
	case suffix == MiSS.Suffixes()[0]:
		m = MiSS
	}
	if t.Rank() != rank || t.Size() == 0 {
		return 0, fmt.Errorf("%v is no block of an adapter", t)
	}
	// The same numbers under several names: what the configuration says.
	if cfg != nil && m != LoRA && m != Bat && cfg.Method != LoRA && cfg.Method != Bat {
		return cfg.Method, nil
	}
	return m, nil
}

func inferred(m Method, t *tensor.Tensor) Config {
	c := Config{Name: DefaultName, Method: m, Rank: t.Shape()[0]}
	if m == Bat {
		c.Rank = t.Shape()[2]
	}
	return c
}

// check holds every block to the configuration, as far as that goes without
// the weights.
func (s *Set) check() error {
	suffixes := s.Config.Method.Suffixes()
	for _, e := range s.Entries {
		for i, b := range e.Blocks {
			if b == nil {
				return fmt.Errorf("%s has no %s", e.Path, suffixes[i])
			}
		}
		if err := s.checkEntry(e); err != nil {
			return fmt.Errorf("%s: %w", e.Path, err)
		}
	}
	return nil
}

func (s *Set) checkEntry(e Entry) error {
	c, shape := s.Config, e.Blocks[0].Shape()
	rank := shape[0]
	switch c.Method {
	case Bat:
		if rank = shape[1]; shape[2] != rank {
			return fmt.Errorf("bat block of shape %v is not square", shape)
		}
	case MiSSMini:
		if shape[1] != c.MiniRank {
			return fmt.Errorf("block of shape %v, but the configuration says mini_r %d", shape, c.MiniRank)
		}
	case LoRA:
		if b := e.Blocks[1].Shape(); b[1] != rank {
			return fmt.Errorf("lora_A of shape %v and lora_B of shape %v do not fit", shape, b)
		}
	}
	if rank != c.Rank {
		return fmt.Errorf("block of shape %v has rank %d, but the configuration says %d", shape, rank, c.Rank)
	}
	return nil
}

// manifestVersion is raised when older readers would misread a manifest.
const manifestVersion = 1

type manifest struct {
	Format      string `json:"format"`
	Version     int    `json:"version"`
	Config      Config `json:"config"`
	Fingerprint string `json:"fingerprint,omitempty"`
}

// Manifest is configuration and fingerprint as JSON, for entry bonnx.json of
// an archive and for other formats' metadata.
func (s *Set) Manifest() ([]byte, error) {
	return json.Marshal(manifest{"bonnx-adapter", manifestVersion, s.Config, s.Fingerprint})
}

// ParseManifest reads what Manifest wrote and validates the configuration.
func ParseManifest(b []byte) (Config, string, error) {
	var m manifest
	if err := json.Unmarshal(b, &m); err != nil {
		return Config{}, "", fmt.Errorf("adapter manifest: %w", err)
	}
	if m.Format != "bonnx-adapter" {
		return Config{}, "", fmt.Errorf("adapter manifest: format is %q, not bonnx-adapter", m.Format)
	}
	if m.Version < 1 || m.Version > manifestVersion {
		return Config{}, "", fmt.Errorf("adapter manifest: version %d; this program knows up to %d", m.Version, manifestVersion)
	}
	if err := m.Config.Validate(); err != nil {
		return Config{}, "", fmt.Errorf("adapter manifest: %w", err)
	}
	return m.Config, m.Fingerprint, nil
}
