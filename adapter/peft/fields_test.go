package peft_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/bonnx/bonnx/adapter"
	"github.com/bonnx/bonnx/adapter/peft"
)

// boneText is adapter_config.json as PEFT 0.18 writes it for BoneConfig(r=4,
// target_modules=["q_proj", "v_proj"]), and missText as 0.20 does for MissConfig:
// every field of the class, sorted, with its default.
const boneText = `{
  "auto_mapping": null,
  "base_model_name_or_path": null,
  "bias": "none",
  "exclude_modules": null,
  "inference_mode": true,
  "init_weights": true,
  "layers_pattern": null,
  "layers_to_transform": null,
  "modules_to_save": null,
  "peft_type": "BONE",
  "peft_version": "0.18.1",
  "r": 4,
  "revision": null,
  "target_modules": [
    "q_proj",
    "v_proj"
  ],
  "task_type": null
}`

var missText = strings.NewReplacer(
	`"modules_to_save"`, "\"mini_r\": 1,\n  \"miss_dropout\": 0.0,\n  \"modules_to_save\"",
	`"BONE"`, `"MISS"`, `"0.18.1"`, `"0.20.0"`).Replace(boneText)

// TestGoldenFields holds every field to the file that PEFT's rules make of it,
// written and read.
func TestGoldenFields(t *testing.T) {
	bone, miss := adapter.DefaultConfig(), adapter.DefaultConfig()
	bone.Rank, bone.Targets = 4, adapter.Modules{List: []string{"q_proj", "v_proj"}}
	miss.Method, miss.Rank, miss.Targets = adapter.MiSS, 4, bone.Targets
	const q = `"q_proj",` + "\n    " + `"v_proj"` + "\n  ]"
	for _, c := range []struct {
		name     string
		base     adapter.Config
		edit     func(c *adapter.Config)
		text     string
		old, new string
	}{
		{"bone", bone, nil, boneText, "", ""},
		{"miss", miss, nil, missText, "", ""},
		{"r", bone, func(c *adapter.Config) { c.Rank = 64 }, boneText, `"r": 4`, `"r": 64`},
		{"target_modules, an expression", bone, func(c *adapter.Config) { c.Targets = adapter.Modules{Regex: `.*\.q_proj`} }, boneText,
			"[\n    " + q, `".*\\.q_proj"`},
		{"target_modules null", bone, func(c *adapter.Config) { c.Targets = adapter.Modules{} }, boneText, "[\n    " + q, "null"},
		{"exclude_modules", bone, func(c *adapter.Config) { c.Exclude.List = []string{"layers.0.q_proj"} }, boneText,
			`"exclude_modules": null`, "\"exclude_modules\": [\n    \"layers.0.q_proj\"\n  ]"},
		{"init_weights false", bone, func(c *adapter.Config) { c.Init = adapter.InitRandom }, boneText, `"init_weights": true`, `"init_weights": false`},
		{"bat", bone, func(c *adapter.Config) { c.Method = adapter.Bat }, boneText, `"init_weights": true`, `"init_weights": "bat"`},
		{"mini", miss, func(c *adapter.Config) { c.Method, c.MiniRank = adapter.MiSSMini, 2 }, strings.Replace(missText, `"mini_r": 1`, `"mini_r": 2`, 1),
			`"init_weights": true`, `"init_weights": "mini"`},
		{"layers_to_transform", miss, func(c *adapter.Config) { c.Layers = []int{0, 3} }, missText, `"layers_to_transform": null`,
			"\"layers_to_transform\": [\n    0,\n    3\n  ]"},
		{"layers_to_transform before 0.19", bone, func(c *adapter.Config) { c.Layers, c.LastNumber = []int{3}, true }, boneText,
			`"layers_to_transform": null`, "\"layers_to_transform\": [\n    3\n  ]"},
		{"layers_pattern", bone, func(c *adapter.Config) { c.LayersPattern = []string{"h"} }, boneText, `"layers_pattern": null`, "\"layers_pattern\": [\n    \"h\"\n  ]"},
		{"bias all", bone, func(c *adapter.Config) { c.Bias = "all" }, boneText, `"bias": "none"`, `"bias": "all"`},
		{"bias of targets, bone", bone, func(c *adapter.Config) { c.Bias = "bone_only" }, boneText, `"bias": "none"`, `"bias": "bone_only"`},
		{"bias of targets, miss", miss, func(c *adapter.Config) { c.Bias = "MiSS_only" }, missText, `"bias": "none"`, `"bias": "MiSS_only"`},
		{"modules_to_save", bone, func(c *adapter.Config) { c.Save = []string{"classifier", "score"} }, boneText, `"modules_to_save": null`,
			"\"modules_to_save\": [\n    \"classifier\",\n    \"score\"\n  ]"},
		{"miss_dropout", miss, func(c *adapter.Config) { c.Dropout = 0.05 }, missText, `"miss_dropout": 0.0`, `"miss_dropout": 0.05`},
		{"a small miss_dropout", miss, func(c *adapter.Config) { c.Dropout = 1e-5 }, missText, `"miss_dropout": 0.0`, `"miss_dropout": 1e-05`},
	} {
		want := c.base
		if c.edit != nil {
			c.edit(&want)
		}
		text := strings.Replace(c.text, c.old, c.new, 1)
		if c.old != "" && text == c.text {
			t.Fatalf("%s: the text has no %s", c.name, c.old)
		}
		f, err := peft.NewConfig(want, peft.ConfigOptions{})
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got := string(f.Marshal()); got != text {
			t.Errorf("%s: wrote\n%s\nwant\n%s", c.name, got, text)
		}
		f, err = peft.ParseConfig([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		got, warn, err := f.Adapter()
		if err != nil || len(warn) > 0 || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: read %+v, %v, %v; want %+v", c.name, got, warn, err, want)
		}
	}
}

// TestTypeOfDropout: BONE has no dropout, so what was trained with it is MISS.
func TestTypeOfDropout(t *testing.T) {
	for _, c := range []struct {
		method      adapter.Method
		asked, want string // "" where it is refused
	}{
		{adapter.Bone, "", peft.TypeMiSS},
		{adapter.Bone, peft.TypeBone, ""},
		{adapter.MiSS, peft.TypeMiSS, peft.TypeMiSS},
		{adapter.Bat, "", peft.TypeBone},
		{adapter.LoRA, "", peft.TypeLoRA},
	} {
		cfg := adapter.DefaultConfig()
		cfg.Method, cfg.Dropout, cfg.Bias = c.method, 0.5, "bone_only"
		f, err := peft.NewConfig(cfg, peft.ConfigOptions{Type: c.asked})
		if c.want == "" {
			if err == nil || !strings.Contains(err.Error(), "BONE has no dropout") {
				t.Errorf("%v as %s: %v", c.method, c.asked, err)
			}
			continue
		}
		if err != nil || f.Type() != c.want {
			t.Errorf("%v: %v, want %s", c.method, err, c.want)
			continue
		}
		back, _, err := f.Adapter()
		if want := map[bool]float64{true: 0.5}[c.method != adapter.Bat]; err != nil || back.Dropout != want {
			t.Errorf("%v: dropout %v came back, want %v (%v)", c.method, back.Dropout, want, err)
		}
		only := map[string]string{peft.TypeBone: "bone_only", peft.TypeMiSS: "MiSS_only", peft.TypeLoRA: "lora_only"}
		if back.Bias != only[c.want] {
			t.Errorf("%v: bias %q in a %s", c.method, back.Bias, c.want)
		}
	}
}
