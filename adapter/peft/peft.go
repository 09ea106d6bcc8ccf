// Package peft reads and writes adapter folders of Hugging Face PEFT:
// adapter_config.json and adapter_model.safetensors of the types BONE, MISS
// and LORA.
package peft

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bonnx/bonnx/adapter"
	"github.com/bonnx/bonnx/internal/atomicfile"
)

// The files of a folder.
const (
	ConfigFile = "adapter_config.json"
	ModelFile  = "adapter_model.safetensors"
)

// keyPrefix is what PEFT's wrappers put before the module path.
const keyPrefix = "base_model.model."

// manifestKey is the metadata entry with bonnx's configuration and the
// fingerprint of the base. PEFT ignores it.
const manifestKey = "bonnx"

// maxConfig bounds adapter_config.json.
const maxConfig = 4 << 20

// Adapter is a folder that was read.
type Adapter struct {
	*adapter.Set
	Config   *Config
	Warnings []string
}

// ReadDir reads the folder dir.
func ReadDir(dir string) (*Adapter, error) {
	text, err := readConfig(filepath.Join(dir, ConfigFile))
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, ModelFile)
	f, err := openRegular(path)
	if errors.Is(err, os.ErrNotExist) {
		if _, binErr := os.Stat(filepath.Join(dir, "adapter_model.bin")); binErr == nil {
			return nil, fmt.Errorf("%s: holds adapter_model.bin, a Python pickle, which is never loaded; save the adapter as safetensors", dir)
		}
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	a, err := Read(text, f, st.Size())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	return a, nil
}

// openRegular refuses what is no file before it is opened: a pipe would block.
func openRegular(path string) (*os.File, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: is no regular file", path)
	}
	return os.Open(path)
}

func readConfig(path string) ([]byte, error) {
	f, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err == nil && len(b) > maxConfig {
		err = fmt.Errorf("%s: longer than the limit of %d bytes", path, maxConfig)
	}
	return b, err
}

// Read reads the two files of a folder: the text of the configuration, and
// the tensors in size bytes of model.
func Read(config []byte, model io.ReaderAt, size int64) (*Adapter, error) {
	c, err := ParseConfig(config)
	if err != nil {
		return nil, err
	}
	cfg, warnings, err := c.Adapter()
	if err != nil {
		return nil, err
	}
	st, err := ReadSafetensors(model, size)
	if err != nil {
		return nil, err
	}
	fingerprint := ""
	if text, ok := st.Metadata[manifestKey]; ok {
		m, fp, err := adapter.ParseManifest([]byte(text))
		if err != nil {
			warnings = append(warnings, err.Error()+"; it is ignored")
		} else {
			fingerprint = fp
			restore(&cfg, m)
		}
	}
	named := make([]adapter.Named, len(st.Tensors))
	for i, t := range st.Tensors {
		key, err := fromKey(t.Key)
		if err != nil {
			return nil, err
		}
		named[i] = adapter.Named{Key: key, Tensor: t.Tensor}
	}
	set, err := adapter.Collect(&cfg, named)
	if err != nil {
		return nil, err
	}
	set.Fingerprint = fingerprint
	return &Adapter{Set: set, Config: c, Warnings: warnings}, nil
}

// restore takes from the manifest what PEFT's configuration has no key for;
// where both speak, the configuration may have been edited and wins.
func restore(cfg *adapter.Config, m adapter.Config) {
	cfg.Name, cfg.Seed = m.Name, m.Seed
	same := func(x adapter.Method) bool { return x == adapter.Bone || x == adapter.MiSS }
	if same(cfg.Method) && same(m.Method) {
		cfg.Method = m.Method
	}
}

// fromKey is a key in bonnx's form: without prefix, adapter name and the
// base_layer that PEFT's wrappers insert.
func fromKey(key string) (string, error) {
	k := strings.TrimPrefix(key, keyPrefix)
	k = strings.Replace(k, ".base_layer.", ".", 1)
	if bare, ok := strings.CutSuffix(k, ".default"); ok {
		if _, _, ok := adapter.SplitKey(bare); ok {
			k = bare
		}
	}
	for _, ab := range []string{"lora_A", "lora_B"} {
		k = strings.Replace(k, "."+ab+".default.", "."+ab+".", 1)
	}
	if _, _, ok := adapter.SplitKey(k); ok {
		return k, nil
	}
	for _, part := range strings.Split(k, ".") {
		for _, prefix := range []string{"lora_", "bone_", "miss_"} {
			if strings.HasPrefix(part, prefix) {
				return "", fmt.Errorf("tensor %q: blocks of this kind cannot be applied to linear layers", clip(key))
			}
		}
	}
	return k, nil
}

// toKey is a key in PEFT's form. What is trained of a target's own parameters
// lies in its base_layer.
func toKey(s *adapter.Set, key string) string {
	if i := strings.LastIndexByte(key, '.'); i > 0 && s.Entry(key[:i]) != nil {
		return keyPrefix + key[:i] + ".base_layer" + key[i:]
	}
	return keyPrefix + key
}

// Options are how a folder is written.
type Options struct {
	ConfigOptions
	// Force allows existing files to be replaced.
	Force bool
	// FS stands for the file system in tests.
	FS atomicfile.FS
}

// WriteDir writes both files into dir, which is made if need be, together or
// not at all.
func WriteDir(dir string, s *adapter.Set, o Options) error {
	config, model, err := Files(s, o.ConfigOptions)
	if err != nil {
		return err
	}
	tx := atomicfile.NewSet(atomicfile.Options{Force: o.Force, FS: o.FS})
	defer tx.Abort()
	if err := tx.Mkdir(dir); err != nil {
		return err
	}
	f, err := tx.Create(filepath.Join(dir, ModelFile))
	if err != nil {
		return err
	}
	if err := model.Write(f); err != nil {
		return err
	}
	g, err := tx.Create(filepath.Join(dir, ConfigFile))
	if err != nil {
		return err
	}
	if _, err := g.Write(config.Marshal()); err != nil {
		return err
	}
	return tx.Commit()
}

// Files are the two files of a folder in memory. A selection that PEFT cannot
// repeat without the graph (all-linear) is written as the list of targets.
func Files(s *adapter.Set, o ConfigOptions) (*Config, *Safetensors, error) {
	if len(s.Entries) == 0 {
		return nil, nil, errors.New("the adapter has no targets")
	}
	cfg := s.Config
	if cfg.Targets.IsZero() || cfg.Targets.AllLinear() {
		cfg.Targets, cfg.Exclude, cfg.Layers, cfg.LayersPattern = adapter.Modules{}, adapter.Modules{}, nil, nil
		for _, e := range s.Entries {
			cfg.Targets.List = append(cfg.Targets.List, e.Path)
		}
	}
	c, err := NewConfig(cfg, o)
	if err != nil {
		return nil, nil, err
	}
	manifest, err := s.Manifest()
	if err != nil {
		return nil, nil, err
	}
	st := &Safetensors{Metadata: map[string]string{"format": "pt", manifestKey: string(manifest)}}
	suffixes := slices.Clone(cfg.Method.Suffixes())
	if cfg.Method != adapter.LoRA {
		suffixes[0] = strings.ToLower(c.Type()) + "_block"
	}
	for _, e := range s.Entries {
		for i, b := range e.Blocks {
			st.Tensors = append(st.Tensors, adapter.Named{Key: keyPrefix + e.Path + "." + suffixes[i], Tensor: b})
		}
	}
	for _, n := range s.Saved {
		st.Tensors = append(st.Tensors, adapter.Named{Key: toKey(s, n.Key), Tensor: n.Tensor})
	}
	return c, st, nil
}
