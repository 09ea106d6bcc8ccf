package bonnx

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/bonnx/bonnx/adapter"
	"github.com/bonnx/bonnx/adapter/peft"
	"github.com/bonnx/bonnx/rewrite"
)

// maxConfig bounds the size of a configuration file.
const maxConfig = 1 << 20

// LoadConfig reads a configuration from a file: PEFT's adapter_config.json
// (known by its peft_type), or YAML or JSON with the names of inject's flags or
// PEFT's for keys, in which no target means all-linear. It returns remarks
// beside it.
func LoadConfig(path string) (BoneConfig, []string, error) {
	b, err := readSmall(path)
	if err != nil {
		return BoneConfig{}, nil, err
	}
	c, notes, err := parseConfig(b, strings.EqualFold(filepath.Ext(path), ".json"))
	if err != nil {
		return BoneConfig{}, nil, fmt.Errorf("%s: %w", path, err)
	}
	return c, notes, nil
}

func readSmall(path string) ([]byte, error) {
	if st, err := os.Stat(path); err == nil && !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: is no regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err == nil && len(b) > maxConfig {
		err = fmt.Errorf("%s: a configuration of more than %d bytes", path, maxConfig)
	}
	return b, err
}

// flagKeys are the names of flags as keys of a configuration.
var flagKeys = map[string]string{
	"rank": "r", "mini-rank": "mini_r", "target": "target_modules", "target-regex": "target_modules",
	"exclude": "exclude_modules", "layers": "layers_to_transform", "layers-pattern": "layers_pattern",
	"save-modules": "modules_to_save",
}

func parseConfig(b []byte, isJSON bool) (BoneConfig, []string, error) {
	if !isJSON {
		var err error
		if b, err = yamlToJSON(b); err != nil {
			return BoneConfig{}, nil, err
		}
	}
	var kind struct {
		Type string `json:"peft_type"`
	}
	var c BoneConfig
	if json.Unmarshal(b, &kind) == nil && kind.Type != "" {
		file, err := peft.ParseConfig(b)
		if err != nil {
			return c, nil, err
		}
		_, notes, err := file.Adapter()
		if err != nil {
			return c, nil, err
		}
		return c, notes, c.UnmarshalJSON(b)
	}
	a := adapter.DefaultConfig()
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&a); err != nil {
		return c, nil, err
	}
	if a.Targets.IsZero() {
		a.Targets = adapter.Modules{Regex: adapter.AllLinear}
	}
	if err := a.Validate(); err != nil {
		return c, nil, err
	}
	c, err := boneConfig(a)
	return c, nil, err
}

// yamlToJSON also takes the flags' names for keys.
func yamlToJSON(b []byte) ([]byte, error) {
	var v map[string]any
	if err := yaml.Unmarshal(b, &v); err != nil {
		return nil, err
	}
	for flag, key := range flagKeys {
		if x, ok := v[flag]; ok {
			if _, twice := v[key]; twice {
				return nil, fmt.Errorf("%q and %q say the same", flag, key)
			}
			v[key] = x
			delete(v, flag)
		}
	}
	return json.Marshal(v)
}

// resolve is what c means for the model: where it names no targets, those that
// PEFT has for the model's type.
func (m *Model) resolve(name string, c BoneConfig) (adapter.Config, error) {
	a, notes, err := c.parsed()
	if err != nil {
		return a, m.wrap(err)
	}
	m.notes(notes)
	a.Name = name
	if !a.Targets.IsZero() {
		return a, nil
	}
	kind := m.Type()
	targets, ok := adapter.DefaultTargets(kind)
	if !ok {
		found, err := rewrite.Find(m.graph)
		if err != nil {
			return a, m.wrap(err)
		}
		return a, m.wrap(adapter.NoTargets(kind, found.Paths()))
	}
	m.logger().Info(fmt.Sprintf("target_modules is null: %v, PEFT's default for models of type %s", targets, kind))
	a.Targets = targets
	return a, nil
}

// SetType says of which type the model is, by the name that transformers has
// for it (llama, bert, ...): what decides PEFT's default targets.
func (m *Model) SetType(name string) { m.modelType = name }

// Type is the model's type: what SetType said, else the model_type of a
// config.json beside the model, else "".
func (m *Model) Type() string {
	if m.modelType != "" {
		return m.modelType
	}
	files := m.Files()
	if len(files) == 0 {
		return ""
	}
	b, err := readSmall(filepath.Join(filepath.Dir(files[0]), "config.json"))
	var c struct {
		Type string `json:"model_type"`
	}
	if errors.Is(err, os.ErrNotExist) || err == nil && json.Unmarshal(b, &c) != nil {
		return ""
	}
	return c.Type
}
