package bonnx

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"strings"

	"github.com/bonnx/bonnx/adapter"
	"github.com/bonnx/bonnx/adapter/peft"
)

// BoneConfig is PEFT's BoneConfig, and its MissConfig and LoraConfig as far as
// those reach: an adapter_config.json decodes into it and encodes back, keys
// that it has no field for included. The zero value of every field means
// PEFT's default. A BoneConfig is a plain value; its slices must not change
// while a model uses it.
type BoneConfig struct {
	// PeftType is BONE, MISS (the same under PEFT's newer name, and the one
	// that knows mini) or LORA; "" stands for BONE.
	PeftType string
	// R is the rank of the blocks; 0 stands for 64, of LORA for 8.
	R int
	// TargetModules are the modules to adapt: a list of names and of ends of
	// paths, one regular expression for whole paths, or the word all-linear.
	// Empty stands for PEFT's default for the model's type (Model.SetType).
	TargetModules Modules
	// ExcludeModules are left out, whatever TargetModules says.
	ExcludeModules Modules
	// InitWeights says how blocks start and what they mean.
	InitWeights InitWeights
	// LayersToTransform keeps only the layers with these numbers.
	LayersToTransform []int
	// LayersPattern names the lists that layers are counted in, such as "h".
	LayersPattern []string
	// Bias says which biases train as well: none, all or bone_only (those of
	// the adapted layers); "" stands for none.
	Bias string
	// ModulesToSave are trained whole and saved with the adapter.
	ModulesToSave []string
	// MiniR is the width of a block of MISS with InitWeights "mini"; 0 stands
	// for 1.
	MiniR int
	// MissDropout is the share of a layer's inputs that the adapter does not
	// see in a training step. Bat does without.
	MissDropout float64
	// LoraAlpha scales LORA by LoraAlpha/R; 0 stands for 8, PEFT's default.
	LoraAlpha float64

	// What PEFT notes beside it.
	AutoMapping           map[string]any
	BaseModelNameOrPath   string
	InferenceMode         *bool // nil stands for true, as PEFT saves it
	PeftVersion, Revision string
	TaskType              string

	// What follows is bonnx's own and not in the JSON form.

	// Seed decides random numbers at the start.
	Seed uint64
	// RandomInit starts the blocks of any method at random, as InitWeights
	// "false" does those of Bone: for tests.
	RandomInit bool
	// IncludeHead has all-linear take the head too.
	IncludeHead bool
	// SkipUnfit leaves out modules that are named and do not take the method
	// or rank, which is an error else. all-linear always leaves them out.
	SkipUnfit bool

	raw map[string]json.RawMessage // as it was decoded
}

// Modules names modules as PEFT's target_modules does: a List of paths and of
// their ends at a dot, or one Regex over the whole path. As JSON it is a list,
// a string or null.
type Modules = adapter.Modules

// InitWeights is PEFT's init_weights: "true" or "" (zero: the model starts as
// it was), "false" (kaiming uniform, for tests), "bat" or "mini".
type InitWeights string

// MarshalJSON writes true and false without quotes.
func (w InitWeights) MarshalJSON() ([]byte, error) {
	switch w {
	case "", "true":
		return []byte("true"), nil
	case "false":
		return []byte("false"), nil
	}
	return json.Marshal(string(w))
}

// UnmarshalJSON reads true, false or a string.
func (w *InitWeights) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		return json.Unmarshal(b, (*string)(w))
	}
	var v bool
	if err := json.Unmarshal(b, &v); err != nil {
		return fmt.Errorf("init_weights is none of true, false, bat and mini")
	}
	*w = map[bool]InitWeights{true: "", false: "false"}[v]
	return nil
}

// A configField is one key of adapter_config.json.
type configField struct {
	key   string
	value any    // a pointer to the field, or a type that decodes into it
	zero  any    // what is written for the zero value
	types string // the PEFT types that have it, "" for all
}

// fields are the keys in the order of the struct.
func (c *BoneConfig) fields() []configField {
	rank := map[bool]int{false: 64, true: 8}[c.kind() == peft.TypeLoRA]
	return []configField{
		{"peft_type", &c.PeftType, peft.TypeBone, ""},
		{"r", &c.R, rank, ""},
		{"target_modules", &c.TargetModules, nil, ""},
		{"exclude_modules", &c.ExcludeModules, nil, ""},
		{"init_weights", &c.InitWeights, true, "BONE MISS"},
		{"init_lora_weights", &c.InitWeights, true, "LORA"},
		{"layers_to_transform", (*many[int])(&c.LayersToTransform), nil, ""},
		{"layers_pattern", (*many[string])(&c.LayersPattern), nil, ""},
		{"bias", &c.Bias, "none", ""},
		{"modules_to_save", (*many[string])(&c.ModulesToSave), nil, ""},
		{"mini_r", &c.MiniR, 1, "MISS"},
		{"miss_dropout", &c.MissDropout, json.RawMessage("0.0"), "MISS"},
		{"lora_dropout", &c.MissDropout, json.RawMessage("0.0"), "LORA"},
		{"lora_alpha", &c.LoraAlpha, 8, "LORA"},
		{"auto_mapping", &c.AutoMapping, nil, ""},
		{"base_model_name_or_path", (*optional)(&c.BaseModelNameOrPath), nil, ""},
		{"inference_mode", &c.InferenceMode, true, ""},
		{"peft_version", (*optional)(&c.PeftVersion), json.RawMessage(nil), ""},
		{"revision", (*optional)(&c.Revision), nil, ""},
		{"task_type", (*optional)(&c.TaskType), nil, ""},
	}
}

// kind is PeftType, or BONE.
func (c *BoneConfig) kind() string {
	if c.PeftType == "" {
		return peft.TypeBone
	}
	return c.PeftType
}

// UnmarshalJSON reads an adapter_config.json. Keys that are not there get
// their zero values; what PEFT would not read is an error.
func (c *BoneConfig) UnmarshalJSON(b []byte) error {
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(b, &raw); err != nil {
		return fmt.Errorf("adapter config: %w", err)
	}
	if _, ok := raw["peft_type"]; ok {
		if _, err := peft.ParseConfig(b); err != nil { // keys that are there twice, too
			return err
		}
	}
	if err := c.decode(raw); err != nil {
		return err
	}
	_, _, err := c.parsed()
	return err
}

// decode sets the fields from keys of adapter_config.json.
func (c *BoneConfig) decode(raw map[string]json.RawMessage) error {
	*c = BoneConfig{raw: raw}
	if kind, ok := raw["peft_type"]; ok { // decides which keys there are
		if err := json.Unmarshal(kind, &c.PeftType); err != nil {
			return fmt.Errorf("adapter config: peft_type: %w", err)
		}
	}
	for _, f := range c.fields() {
		v, ok := raw[f.key]
		if !ok || !f.of(c.kind()) {
			continue
		}
		if err := json.Unmarshal(v, f.value); err != nil {
			return fmt.Errorf("adapter config: %s: %w", f.key, err)
		}
	}
	return nil
}

// of reports whether a PEFT type has the key.
func (f configField) of(kind string) bool { return f.types == "" || strings.Contains(f.types, kind) }

// MarshalJSON writes an adapter_config.json, keys sorted, with every key that
// PEFT writes. What was decoded and not changed is written as it was.
func (c BoneConfig) MarshalJSON() ([]byte, error) {
	out := maps.Clone(c.raw)
	if out == nil {
		d, err := c.defaults()
		if err != nil {
			return nil, err
		}
		out = d
	}
	var was BoneConfig
	if err := was.decode(c.raw); err != nil {
		return nil, err
	}
	before := was.fields()
	for i, f := range c.fields() {
		if !f.of(c.kind()) {
			delete(out, f.key)
			continue
		}
		now, err := json.Marshal(f.value)
		if err != nil {
			return nil, err
		}
		old, err := json.Marshal(before[i].value)
		if err != nil {
			return nil, err
		}
		if c.raw != nil && bytes.Equal(now, old) && was.kind() == c.kind() {
			continue // as it was, or absent as it was
		}
		if text, err := f.text(now); err != nil {
			return nil, err
		} else if text != nil {
			out[f.key] = text
		}
	}
	return json.Marshal(out)
}

// text is a key's value: now, or what stands for the zero value.
func (f configField) text(now []byte) (json.RawMessage, error) {
	switch string(now) {
	case `""`, "0", "null", "[]", "{}":
		if raw, ok := f.zero.(json.RawMessage); ok {
			return raw, nil
		}
		return json.Marshal(f.zero)
	}
	return now, nil
}

// defaults are the keys that PEFT writes for the type.
func (c BoneConfig) defaults() (map[string]json.RawMessage, error) {
	m := map[string]adapter.Method{peft.TypeBone: adapter.Bone, peft.TypeMiSS: adapter.MiSS, peft.TypeLoRA: adapter.LoRA}
	method, ok := m[c.kind()]
	if !ok {
		return nil, fmt.Errorf("peft_type is %q; BONE, MISS and LORA are known", c.PeftType)
	}
	file, err := peft.NewConfig(adapter.Config{Method: method, Rank: 1}, peft.ConfigOptions{})
	if err != nil {
		return nil, err
	}
	var out map[string]json.RawMessage
	return out, json.Unmarshal(file.Marshal(), &out)
}

// many is a list that may be one value or null in JSON.
type many[T any] []T

// UnmarshalJSON reads a value, a list of them, or null.
func (l *many[T]) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] != '[' && string(b) != "null" {
		*l = make(many[T], 1)
		return json.Unmarshal(b, &(*l)[0])
	}
	return json.Unmarshal(b, (*[]T)(l))
}

// optional is a string that is null in JSON where it is empty.
type optional string

// UnmarshalJSON reads a string or null.
func (s *optional) UnmarshalJSON(b []byte) error { return json.Unmarshal(b, (*string)(s)) }

// parsed is the configuration in the terms of package adapter, through the one
// reader of PEFT's files, with remarks. Nothing is known of a model yet.
func (c BoneConfig) parsed() (adapter.Config, []string, error) {
	if c.R != 0 {
		if err := (adapter.Config{Rank: c.R}).Validate(); err != nil { // in words that say what ranks there are
			return adapter.Config{}, nil, err
		}
	}
	b, err := c.MarshalJSON()
	if err != nil {
		return adapter.Config{}, nil, err
	}
	file, err := peft.ParseConfig(b)
	if err != nil {
		return adapter.Config{}, nil, err
	}
	a, notes, err := file.Adapter()
	a.Seed, a.IncludeHead = c.Seed, c.IncludeHead
	if c.RandomInit {
		a.Init = adapter.InitRandom
	}
	if a.Alpha == float64(a.Rank) {
		a.Alpha = 0 // no scaling, in one form
	}
	return a, notes, err
}

// Validate reports what is wrong with c whatever the model.
func (c BoneConfig) Validate() error {
	_, _, err := c.parsed()
	return err
}

// boneConfig is the inverse of parsed.
func boneConfig(a adapter.Config) (BoneConfig, error) {
	var c BoneConfig
	file, err := peft.NewConfig(a, peft.ConfigOptions{})
	if err != nil {
		return c, err
	}
	err = c.UnmarshalJSON(file.Marshal())
	c.raw, c.Seed, c.IncludeHead = nil, a.Seed, a.IncludeHead
	c.RandomInit = a.Init == adapter.InitRandom
	return c, err
}

// methods map the names of adapter methods to what PEFT calls them.
var methods = map[string]struct {
	kind string
	init InitWeights
}{
	"bone": {peft.TypeBone, ""}, "bat": {peft.TypeBone, "bat"}, "miss": {peft.TypeMiSS, ""},
	"miss-mini": {peft.TypeMiSS, "mini"}, "lora": {peft.TypeLoRA, ""},
}

// Method is the name that SetMethod knows the method by.
func (c BoneConfig) Method() string {
	for name, m := range methods {
		zero := m.init == "" && c.InitWeights != "bat" && c.InitWeights != "mini"
		if m.kind == c.kind() && (zero || m.init == c.InitWeights) {
			return name
		}
	}
	return "bat" // the only one that two types have
}

// SetMethod sets PeftType and InitWeights by a method's name: bone, bat, miss,
// miss-mini or lora. A random start ("false") stays where the method has one.
func (c *BoneConfig) SetMethod(name string) error {
	m, ok := methods[strings.ToLower(name)]
	if !ok {
		return fmt.Errorf("unknown method %q; there are bone, bat, miss, miss-mini, lora", name)
	}
	c.PeftType = m.kind
	if m.init != "" || c.InitWeights != "false" {
		c.InitWeights = m.init
	}
	return nil
}
