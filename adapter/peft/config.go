package peft

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/bonnx/bonnx/adapter"
)

// The adapter types that this package knows, by PEFT's names.
const (
	TypeBone = "BONE"
	TypeMiSS = "MISS"
	TypeLoRA = "LORA"
)

// field is a key of adapter_config.json: its default and what it may hold.
type field struct {
	key   string
	def   any
	check func(v any) error
}

// common are the keys of all three types.
var common = []field{
	{"auto_mapping", nil, anything},
	{"base_model_name_or_path", nil, optString},
	{"bias", "none", aString},
	{"exclude_modules", nil, modules},
	{"inference_mode", true, aBool},
	{"layers_pattern", nil, strings1},
	{"layers_to_transform", nil, ints1},
	{"modules_to_save", nil, strings1},
	{"peft_type", nil, aString},
	{"peft_version", nil, optString},
	{"r", json.Number("64"), anInt},
	{"revision", nil, optString},
	{"target_modules", nil, modules},
	{"task_type", nil, optString},
}

// with is fields with another default of one of them.
func with(fields []field, key string, def any) []field {
	out := slices.Clone(fields)
	for i := range out {
		if out[i].key == key {
			out[i].def = def
		}
	}
	return out
}

var boneFields = append(slices.Clone(common), field{"init_weights", true, initWeights})

// types is the table of the adapter types. version is the PEFT release whose
// loader the files written here are made for: the last with that type's keys.
var types = []struct {
	name    string
	version string
	fields  []field
}{
	{TypeBone, "0.18.1", boneFields},
	{TypeMiSS, "0.20.0", append(slices.Clone(boneFields), field{"mini_r", json.Number("1"), anInt}, field{"miss_dropout", json.Number("0.0"), aNumber})},
	{TypeLoRA, "0.18.1", append(with(common, "r", json.Number("8")),
		field{"alora_invocation_tokens", nil, anything}, field{"alpha_pattern", map[string]any{}, anything}, field{"arrow_config", nil, anything},
		field{"corda_config", nil, anything}, field{"ensure_weight_tying", false, aBool}, field{"eva_config", nil, anything},
		field{"fan_in_fan_out", false, aBool}, field{"init_lora_weights", true, anything}, field{"layer_replication", nil, anything},
		field{"loftq_config", map[string]any{}, anything}, field{"lora_alpha", json.Number("8"), aNumber}, field{"lora_bias", false, aBool},
		field{"lora_dropout", json.Number("0.0"), aNumber}, field{"megatron_config", nil, anything}, field{"megatron_core", "megatron.core", optString},
		field{"qalora_group_size", json.Number("16"), anInt}, field{"rank_pattern", map[string]any{}, anything}, field{"target_parameters", nil, strings1},
		field{"trainable_token_indices", nil, anything}, field{"use_dora", false, aBool}, field{"use_qalora", false, aBool}, field{"use_rslora", false, aBool})},
}

// Config is an adapter_config.json. It keeps every key, known or not, so a
// file that was read is written byte for byte as PEFT wrote it.
type Config struct {
	values map[string]any
	fields []field
}

// ParseConfig reads an adapter_config.json. The peft_type must be BONE, MISS
// or LORA; the other keys may be absent and have PEFT's defaults.
func ParseConfig(b []byte) (*Config, error) {
	v, err := decode(b)
	if err != nil {
		return nil, fmt.Errorf("adapter config: %w", err)
	}
	m, ok := v.(map[string]any)
	if !ok {
		return nil, errors.New("adapter config: is no JSON object")
	}
	name, _ := m["peft_type"].(string)
	c := &Config{values: m}
	for _, t := range types {
		if t.name == name {
			c.fields = t.fields
		}
	}
	if c.fields == nil {
		return nil, fmt.Errorf("adapter config: peft_type is %q; %s, %s and %s can be read", clip(name), TypeBone, TypeMiSS, TypeLoRA)
	}
	for _, f := range c.fields {
		if v, ok := m[f.key]; ok {
			if err := f.check(v); err != nil {
				return nil, fmt.Errorf("adapter config: %s %w", f.key, err)
			}
		}
	}
	return c, nil
}

// Type is the peft_type.
func (c *Config) Type() string { s, _ := c.values["peft_type"].(string); return s }

// Marshal is the file's text: keys sorted, indented by 2, no final newline.
func (c *Config) Marshal() []byte { return encode(c.values) }

// Unknown are the keys that PEFT does not have for this type, sorted. PEFT
// drops them with a warning; they are kept here.
func (c *Config) Unknown() []string {
	var out []string
	for k := range c.values {
		if !slices.ContainsFunc(c.fields, func(f field) bool { return f.key == k }) {
			out = append(out, k)
		}
	}
	slices.Sort(out)
	return out
}

// value is what a key holds, or its default.
func (c *Config) value(key string) any {
	if v, ok := c.values[key]; ok {
		return v
	}
	for _, f := range c.fields {
		if f.key == key {
			return f.def
		}
	}
	return nil
}

// Adapter is the configuration in bonnx's terms, with warnings about what has
// no effect here. What would change the result is an error. Where target_modules
// is null, which stands for PEFT's default for the model's type, Targets is zero.
func (c *Config) Adapter() (adapter.Config, []string, error) {
	a := adapter.Config{Name: adapter.DefaultName, Rank: c.int("r"), Bias: c.value("bias").(string)}
	a.Targets, a.Exclude = modulesOf(c.value("target_modules")), modulesOf(c.value("exclude_modules"))
	a.LayersPattern, a.Save = stringsOf(c.value("layers_pattern")), stringsOf(c.value("modules_to_save"))
	a.Layers = intsOf(c.value("layers_to_transform"))
	version, _ := c.value("peft_version").(string)
	a.LastNumber = len(a.Layers) > 0 && before019(version, c.Type())
	var warn []string
	if k := c.Unknown(); len(k) > 0 {
		warn = append(warn, "adapter config: keys without effect: "+strings.Join(k, ", "))
	}
	err := c.method(&a)
	if err == nil {
		err = a.Validate()
	}
	if err != nil {
		return a, warn, fmt.Errorf("adapter config: %w", err)
	}
	return a, warn, nil
}

// before019 reports whether the layer index is the last number of a path.
// Files older than the key peft_version were written before 0.18.
func before019(version, kind string) bool {
	parts := strings.SplitN(version, ".", 3)
	if kind == TypeBone || len(parts) < 2 {
		return true
	}
	minor, err := strconv.Atoi(parts[1])
	return err == nil && parts[0] == "0" && minor < 19
}

// method sets method, init, alpha and dropout.
func (c *Config) method(a *adapter.Config) error {
	if c.Type() == TypeLoRA {
		return c.lora(a)
	}
	a.Method = adapter.Bone
	if c.Type() == TypeMiSS {
		a.Method = adapter.MiSS
		a.Dropout, _ = c.value("miss_dropout").(json.Number).Float64()
	}
	switch w := c.value("init_weights"); w {
	case true:
	case false:
		a.Init = adapter.InitRandom
	case "bat":
		a.Method = adapter.Bat
	case "mini":
		if c.Type() != TypeMiSS {
			return errors.New(`init_weights "mini" belongs to MISS`)
		}
		a.Method, a.MiniRank = adapter.MiSSMini, c.int("mini_r")
	default:
		return fmt.Errorf("init_weights is %v; true, false, bat and mini are known", w)
	}
	return nil
}

// lora refuses the variants that compute something else than plain LoRA.
func (c *Config) lora(a *adapter.Config) error {
	a.Method = adapter.LoRA
	for _, key := range []string{"use_dora", "use_qalora", "lora_bias"} {
		if c.value(key) == true {
			return fmt.Errorf("%s is set, which is not plain LoRA; merge the adapter with PEFT", key)
		}
	}
	for _, key := range []string{"rank_pattern", "alpha_pattern", "layer_replication", "target_parameters", "trainable_token_indices"} {
		if v := c.value(key); !empty(v) {
			return fmt.Errorf("%s is set, which is not plain LoRA; merge the adapter with PEFT", key)
		}
	}
	if s, ok := c.value("init_lora_weights").(string); ok && !slices.Contains([]string{"gaussian", "eva", "orthogonal"}, s) {
		return fmt.Errorf("init_lora_weights %q goes with base weights that it changed; have PEFT convert the adapter to plain LoRA", clip(s))
	}
	if c.value("init_lora_weights") == false {
		a.Init = adapter.InitRandom
	}
	alpha, _ := c.value("lora_alpha").(json.Number).Float64()
	if alpha <= 0 {
		return fmt.Errorf("lora_alpha should be positive; got %v", alpha)
	}
	if c.value("use_rslora") == true {
		alpha *= math.Sqrt(float64(a.Rank)) // alpha/sqrt(r) as a multiple of 1/r
	}
	a.Alpha = alpha
	a.Dropout, _ = c.value("lora_dropout").(json.Number).Float64()
	return nil
}

func empty(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case map[string]any:
		return len(v) == 0
	case []any:
		return len(v) == 0
	}
	return false
}

// ConfigOptions are what only PEFT's files have.
type ConfigOptions struct {
	// Type is the peft_type; "" stands for BONE for bone (without dropout) and
	// bat, which PEFT reads up to 0.18, MISS for miss and miss-mini, LORA for
	// lora. Bone and bat may also be written as MISS, which PEFT reads from 0.17
	// on.
	Type string
	// BaseModel is the base model's name or path, "" for null.
	BaseModel string
	// TaskType is PEFT's, such as CAUSAL_LM, "" for null.
	TaskType string
}

// NewConfig is the file for an adapter, with every key that PEFT writes.
func NewConfig(a adapter.Config, o ConfigOptions) (*Config, error) {
	if err := a.Validate(); err != nil {
		return nil, err
	}
	name, err := typeFor(a, o.Type)
	if err != nil {
		return nil, err
	}
	c := &Config{values: map[string]any{}}
	for _, t := range types {
		if t.name == name {
			c.fields = t.fields
			c.values["peft_version"] = t.version
		}
	}
	for _, f := range c.fields {
		if _, ok := c.values[f.key]; !ok {
			c.values[f.key] = f.def
		}
	}
	set := func(key string, v any, when bool) {
		if when {
			c.values[key] = v
		}
	}
	set("peft_type", name, true)
	set("r", json.Number(strconv.Itoa(a.Rank)), true)
	set("bias", a.Bias, a.Bias != "")
	set("bias", onlyBias[name], strings.HasSuffix(a.Bias, "_only"))
	set("base_model_name_or_path", o.BaseModel, o.BaseModel != "")
	set("task_type", o.TaskType, o.TaskType != "")
	set("target_modules", modulesValue(a.Targets), true)
	set("exclude_modules", modulesValue(a.Exclude), true)
	set("modules_to_save", a.Save, len(a.Save) > 0)
	set("layers_pattern", a.LayersPattern, len(a.LayersPattern) > 0)
	layers := make([]any, len(a.Layers))
	for i, l := range a.Layers {
		layers[i] = l
	}
	set("layers_to_transform", layers, len(layers) > 0)
	random := a.Init == adapter.InitRandom
	if name == TypeLoRA {
		set("init_lora_weights", !random, true)
		alpha := a.Alpha
		if alpha == 0 {
			alpha = float64(a.Rank)
		}
		set("lora_alpha", number(alpha), true)
		set("lora_dropout", number(a.Dropout), a.Dropout != 0)
		return c, nil
	}
	set("init_weights", !random, true)
	set("init_weights", "bat", a.Method == adapter.Bat)
	set("init_weights", "mini", a.Method == adapter.MiSSMini)
	set("miss_dropout", number(a.Dropout), a.Dropout != 0 && name == TypeMiSS)
	set("mini_r", json.Number(strconv.Itoa(a.MiniRank)), a.Method == adapter.MiSSMini)
	return c, nil
}

// onlyBias is each type's word for the biases of the targets.
var onlyBias = map[string]string{TypeBone: "bone_only", TypeMiSS: "MiSS_only", TypeLoRA: "lora_only"}

// families are the types that can hold each method, the default first.
var families = map[adapter.Method][]string{
	adapter.Bone: {TypeBone, TypeMiSS}, adapter.Bat: {TypeBone, TypeMiSS},
	adapter.MiSS: {TypeMiSS, TypeBone}, adapter.MiSSMini: {TypeMiSS}, adapter.LoRA: {TypeLoRA},
}

// typeFor is the type to write. BONE has no dropout, so an adapter that was
// trained with it is a MISS unless something else is asked for.
func typeFor(a adapter.Config, want string) (string, error) {
	fit := families[a.Method]
	drops := a.Dropout != 0 && a.Method.Additive()
	if want == "" {
		if drops && slices.Contains(fit, TypeMiSS) {
			return TypeMiSS, nil
		}
		return fit[0], nil
	}
	if !slices.Contains(fit, want) {
		return "", fmt.Errorf("PEFT type %q cannot hold %v; %s can", want, a.Method, strings.Join(fit, " and "))
	}
	if drops && want == TypeBone {
		return "", fmt.Errorf("PEFT type %s has no dropout, the adapter's is %v; %s has", TypeBone, a.Dropout, TypeMiSS)
	}
	return want, nil
}

// number is x as Python writes it.
func number(x float64) json.Number { return json.Number(strconv.FormatFloat(x, 'g', -1, 64)) }
