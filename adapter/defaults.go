package adapter

import (
	"slices"
	"strings"
)

// defaultTargets are the modules that PEFT adapts in a model of each type (the
// model_type of a Transformers config.json) where target_modules is null.
var defaultTargets = []struct {
	modules string
	types   string
}{
	{"q_proj v_proj", "bart gemma gemma2 gemma3_text gpt_neo gptj llama llama4 mistral mixtral opt qwen2 qwen3 stablelm"},
	{"query_key_value", "bloom chatglm falcon gpt_neox RefinedWeb RefinedWebModel"},
	{"query value", "bert electra layoutlm roberta xlm-roberta"},
	{"c_attn", "gpt2 gpt_bigcode"},
	{"q v", "mt5 t5"},
	{"Wqkv", "mpt"},
	{"c_proj c_attn", "btlm"},
	{"in_proj", "deberta"},
	{"key value receptance output", "rwkv"},
	{"q v q_proj v_proj", "blip-2"},
	{"q_proj v_proj fc1 fc2", "phi"},
	{"qkv_proj", "codegen"},
	{"query_proj value_proj", "deberta-v2"},
	{"r_proj k_proj v_proj o_proj key value", "rwkv7"},
}

// DefaultTargets are the modules that PEFT adapts in a model of that type where
// target_modules is null; ok is false for types without a default.
func DefaultTargets(modelType string) (m Modules, ok bool) {
	for _, d := range defaultTargets {
		if slices.Contains(strings.Fields(d.types), modelType) {
			return Modules{List: strings.Fields(d.modules)}, true
		}
	}
	return Modules{}, false
}
