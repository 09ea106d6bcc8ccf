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
// as YAML or JSON. It returns remarks beside it.
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

func parseConfig(b []byte, isJSON bool) (Config, []string, error) {
	var kind struct {
		Type string `json:"peft_type"`
	}
	if isJSON && json.Unmarshal(b, &kind) == nil && kind.Type != "" {
		pc, err := peft.ParseConfig(b)
		if err != nil {
			return Config{}, nil, err
		}
		return pc.Adapter()
	}
	if !isJSON {
		var v map[string]any
		if err := yaml.Unmarshal(b, &v); err != nil {
			return Config{}, nil, err
		}
		var err error
		if b, err = json.Marshal(v); err != nil {
			return Config{}, nil, err
		}
	}
	c := DefaultConfig()
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return Config{}, nil, err
	}
	return c, nil, c.Validate()
}
