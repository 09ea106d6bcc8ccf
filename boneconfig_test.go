package bonnx_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/bonnx/bonnx"
	"github.com/bonnx/bonnx/internal/testutil"
)

// indented is a configuration as PEFT writes it.
func indented(t *testing.T, c bonnx.BoneConfig) string {
	t.Helper()
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := json.Indent(&out, b, "", "  "); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// TestBoneConfigFiles decodes what PEFT's save_pretrained wrote and encodes it
// again, byte for byte.
func TestBoneConfigFiles(t *testing.T) {
	dir := testutil.Shared(t, "golden")
	for name, method := range map[string]string{"bone": "bone", "bat": "bat", "miss": "miss", "miss_mini": "miss-mini"} {
		b, err := os.ReadFile(filepath.Join(dir, "peft_adapter_"+name, "adapter_config.json"))
		if err != nil {
			t.Fatal(err)
		}
		var c bonnx.BoneConfig
		if err := json.Unmarshal(b, &c); err != nil {
			t.Fatal(err)
		}
		if c.Method() != method || c.R != 4 || len(c.TargetModules.List) != 2 {
			t.Errorf("%s: got method %s, %+v", name, c.Method(), c)
		}
		if got := indented(t, c); got != string(b) {
			t.Errorf("%s: got\n%s\nwant\n%s", name, got, b)
		}
	}
}

// TestBoneConfigDefaults: the zero value is written as PEFT's defaults.
func TestBoneConfigDefaults(t *testing.T) {
	const common = `"exclude_modules":null,"inference_mode":true,`
	for _, c := range []struct {
		config bonnx.BoneConfig
		want   string
	}{
		{bonnx.BoneConfig{}, `{"auto_mapping":null,"base_model_name_or_path":null,"bias":"none",` + common +
			`"init_weights":true,"layers_pattern":null,"layers_to_transform":null,"modules_to_save":null,"peft_type":"BONE",` +
			`"peft_version":"0.18.1","r":64,"revision":null,"target_modules":null,"task_type":null}`},
		{bonnx.BoneConfig{PeftType: "MISS"}, `{"auto_mapping":null,"base_model_name_or_path":null,"bias":"none",` + common +
			`"init_weights":true,"layers_pattern":null,"layers_to_transform":null,"mini_r":1,"miss_dropout":0.0,"modules_to_save":null,` +
			`"peft_type":"MISS","peft_version":"0.20.0","r":64,"revision":null,"target_modules":null,"task_type":null}`},
	} {
		got, err := json.Marshal(c.config)
		if err != nil || string(got) != c.want {
			t.Errorf("got  %s, %v\nwant %s", got, err, c.want)
		}
	}
}

// TestBoneConfigFields: every field comes back, as PEFT writes it.
func TestBoneConfigFields(t *testing.T) {
	no := false
	full := bonnx.BoneConfig{
		PeftType: "MISS", R: 8, TargetModules: bonnx.Modules{List: []string{"q", "v"}}, ExcludeModules: bonnx.Modules{Regex: ".*0.*"},
		InitWeights: "mini", LayersToTransform: []int{0, 3}, LayersPattern: []string{"h"}, Bias: "all", ModulesToSave: []string{"head"},
		MiniR: 2, MissDropout: 0.25, AutoMapping: map[string]any{"parent_library": "m"}, BaseModelNameOrPath: "base",
		InferenceMode: &no, PeftVersion: "0.19.1", Revision: "main", TaskType: "CAUSAL_LM",
	}
	b, err := json.Marshal(full)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"auto_mapping":{"parent_library":"m"},"base_model_name_or_path":"base","bias":"all","exclude_modules":".*0.*",` +
		`"inference_mode":false,"init_weights":"mini","layers_pattern":["h"],"layers_to_transform":[0,3],"mini_r":2,"miss_dropout":0.25,` +
		`"modules_to_save":["head"],"peft_type":"MISS","peft_version":"0.19.1","r":8,"revision":"main","target_modules":["q","v"],"task_type":"CAUSAL_LM"}`
	if string(b) != want {
		t.Errorf("got  %s\nwant %s", b, want)
	}
	var back bonnx.BoneConfig
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	again, err := json.Marshal(back)
	if err != nil || string(again) != want {
		t.Errorf("got %s, %v", again, err)
	}
	for i := range reflect.TypeOf(full).NumField() {
		f := reflect.TypeOf(full).Field(i)
		if f.IsExported() && !reflect.DeepEqual(reflect.ValueOf(full).Field(i).Interface(), reflect.ValueOf(back).Field(i).Interface()) {
			t.Errorf("%s: got %v, want %v", f.Name, reflect.ValueOf(back).Field(i), reflect.ValueOf(full).Field(i))
		}
	}
}

// TestBoneConfigEdits: a file that was decoded, changed and encoded has the
// change, keeps what it does not know, and leaves out what it left out.
func TestBoneConfigEdits(t *testing.T) {
	var c bonnx.BoneConfig
	if err := json.Unmarshal([]byte(`{"peft_type":"BONE","r":4,"layers_to_transform":3,"target_modules":["a"],"future":{"x":1}}`), &c); err != nil {
		t.Fatal(err)
	}
	if len(c.LayersToTransform) != 1 || c.LayersToTransform[0] != 3 {
		t.Errorf("layers are %v", c.LayersToTransform)
	}
	c.R, c.Bias = 16, "all"
	got, err := json.Marshal(c)
	want := `{"bias":"all","future":{"x":1},"layers_to_transform":3,"peft_type":"BONE","r":16,"target_modules":["a"]}`
	if err != nil || string(got) != want {
		t.Errorf("got  %s, %v\nwant %s", got, err, want)
	}
	if err := c.SetMethod("miss-mini"); err != nil {
		t.Fatal(err)
	}
	got, err = json.Marshal(c)
	if err != nil || !strings.Contains(string(got), `"mini_r":1,"miss_dropout":0.0`) || !strings.Contains(string(got), `"peft_type":"MISS"`) {
		t.Errorf("got %s, %v", got, err)
	}
}

func TestBoneConfigRefused(t *testing.T) {
	for text, want := range map[string]string{
		`{"peft_type":"PROMPT_TUNING"}`:                    "PROMPT_TUNING",
		`{"peft_type":"BONE","r":0}`:                       "`r` should be a positive integer",
		`{"peft_type":"BONE","r":"x"}`:                     "r is no integer",
		`{"peft_type":"BONE","bias":"some"}`:               "bias",
		`{"peft_type":"BONE","init_weights":"mini"}`:       "belongs to MISS",
		`{"peft_type":"BONE","peft_type":"MISS"}`:          "twice",
		`{"peft_type":"BONE","target_modules":"("}`:        "target_modules",
		`{"peft_type":"BONE","layers_to_transform":["x"]}`: "layers_to_transform",
		`{"peft_type":"MISS","miss_dropout":1.5}`:          "dropout",
		`{"peft_type":"LORA","use_dora":true}`:             "use_dora",
		`[]`:                                               "adapter config",
	} {
		var c bonnx.BoneConfig
		if err := json.Unmarshal([]byte(text), &c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got error %v, want one with %q", text, err, want)
		}
	}
	for _, c := range []bonnx.BoneConfig{{R: -1}, {PeftType: "X"}, {Bias: "some"}, {InitWeights: "ones"}, {MissDropout: -1, PeftType: "MISS"}} {
		if err := c.Validate(); err == nil {
			t.Errorf("%+v passes", c)
		}
	}
}

// TestBoneConfigMethods: each method has a name that sets it.
func TestBoneConfigMethods(t *testing.T) {
	for _, name := range []string{"bone", "bat", "miss", "miss-mini", "lora"} {
		var c bonnx.BoneConfig
		if err := c.SetMethod(name); err != nil || c.Method() != name {
			t.Errorf("%s: got %s, %v", name, c.Method(), err)
		}
	}
	if c := (bonnx.BoneConfig{PeftType: "MISS", InitWeights: "bat"}); c.Method() != "bat" {
		t.Errorf("bat as MISS is %s", c.Method())
	}
	if err := new(bonnx.BoneConfig).SetMethod("dora"); err == nil {
		t.Error("dora passes")
	}
}

// FuzzBoneConfig: what decodes encodes, and that decodes to the same.
func FuzzBoneConfig(f *testing.F) {
	f.Add(`{"peft_type":"MISS","init_weights":"mini","mini_r":2,"r":4,"layers_to_transform":3,"target_modules":"all-linear","x":[1]}`)
	f.Add(`{"peft_type":"LORA","lora_alpha":16,"lora_dropout":0.1,"init_lora_weights":"gaussian","target_modules":["q"]}`)
	f.Add(`{"r":4,"bias":"bone_only","modules_to_save":"head","exclude_modules":".*x"}`)
	f.Fuzz(func(t *testing.T, text string) {
		var c, back bonnx.BoneConfig
		if json.Unmarshal([]byte(text), &c) != nil {
			return
		}
		first, err := json.Marshal(c)
		if err != nil {
			t.Fatalf("%s decodes and does not encode: %v", text, err)
		}
		if err := json.Unmarshal(first, &back); err != nil {
			t.Fatalf("%s became %s: %v", text, first, err)
		}
		if second, err := json.Marshal(back); err != nil || !bytes.Equal(first, second) {
			t.Fatalf("%s became %s, then %s (%v)", text, first, second, err)
		}
		if c.Method() != back.Method() {
			t.Fatalf("%s is %s, then %s", text, c.Method(), back.Method())
		}
	})
}
