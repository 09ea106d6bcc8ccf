package bonnx

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/bonnx/bonnx/adapter"
	"github.com/bonnx/bonnx/adapter/peft"
)

// Config is all that defines an adapter but its blocks: method, rank, targets.
type Config = adapter.Config

// DefaultConfig is Bone of rank 64 on every linear layer, as PEFT's default.
func DefaultConfig() Config { return adapter.DefaultConfig() }

// maxConfig bounds the size of a configuration file.
const maxConfig = 1 << 20

// LoadConfig reads a configuration from a file: PEFT's adapter_config.json
// (known by its peft_type), or bonnx's own keys, those of Config's JSON form,
// as YAML (where the names of inject's flags do, too) or JSON. It returns remarks beside it.
func LoadConfig(path string) (Config, []string, error) {
	b, err := readSmall(path)
	if err != nil {
		return Config{}, nil, err
	}
	c, notes, err := parseConfig(b, strings.EqualFold(filepath.Ext(path), ".json"))
	if err != nil {
		return Config{}, nil, fmt.Errorf("%s: %w", path, err)
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
}

func parseConfig(b []byte, isJSON bool) (Config, []string, error) {
	if !isJSON {
		var err error
		if b, err = yamlToJSON(b); err != nil {
			return Config{}, nil, err
		}
	}
	var kind struct {
		Type string `json:"peft_type"`
	}
	if json.Unmarshal(b, &kind) == nil && kind.Type != "" {
		pc, err := peft.ParseConfig(b)
		if err != nil {
			return Config{}, nil, err
		}
		return pc.Adapter()
	}
	c := DefaultConfig()
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return Config{}, nil, err
	}
	return c, nil, c.Validate()
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
