package peft_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/bonnx/bonnx/adapter"
	"github.com/bonnx/bonnx/adapter/peft"
	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/tensor"
	"github.com/bonnx/bonnx/tensor/npz"
)

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func readTensors(b []byte) (*peft.Safetensors, error) {
	return peft.ReadSafetensors(bytes.NewReader(b), int64(len(b)))
}

// golden folders hold the final blocks of a recorded run.
var golden = []struct {
	dir, run string
	method   adapter.Method
	mini     int
}{
	{"peft_adapter_bone", "train_bone_12x16x4_r4", adapter.Bone, 0},
	{"peft_adapter_bat", "train_bat_12x16x4_r4", adapter.Bat, 0},
	{"peft_adapter_miss", "train_miss_12x16x4_r4", adapter.MiSS, 0},
	{"peft_adapter_miss_mini", "train_miss_mini_12x16x4_r4_m2", adapter.MiSSMini, 2},
}

func TestGoldenFolders(t *testing.T) {
	for _, g := range golden {
		t.Run(g.dir, func(t *testing.T) {
			dir := testutil.Shared(t, "golden/"+g.dir)
			a, err := peft.ReadDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			if len(a.Warnings) > 0 {
				t.Errorf("warnings: %v", a.Warnings)
			}
			c := a.Set.Config
			if c.Method != g.method || c.Rank != 4 || c.MiniRank != g.mini || !reflect.DeepEqual(c.Targets.List, []string{"lin0", "lin1"}) {
				t.Errorf("got %+v, want %v of rank 4", c, g.method)
			}
			run, err := npz.ReadFile(testutil.Shared(t, "golden/"+g.run+".npz"), npz.Options{})
			if err != nil {
				t.Fatal(err)
			}
			for i, path := range []string{"lin0", "lin1"} {
				e := a.Entry(path)
				if e == nil || !e.Blocks[0].Equal(run.Get(fmt.Sprintf("block%d_final", i))) {
					t.Errorf("%s: the block is not the run's", path)
					continue
				}
				w, err := a.Layer(*e).Merge(run.Get(fmt.Sprintf("W%d", i)))
				if err != nil {
					t.Fatal(err)
				}
				testutil.Close(t, path+" merged", w, run.Get(fmt.Sprintf("W%d_merged", i)), 1e-5, 1e-5)
			}
			checkBytes(t, dir, a)
		})
	}
}

// checkBytes: the configuration and the tensors are written as PEFT wrote
// them, and so is a configuration made anew.
func checkBytes(t *testing.T, dir string, a *peft.Adapter) {
	t.Helper()
	want := readFile(t, filepath.Join(dir, peft.ConfigFile))
	if got := a.Config.Marshal(); !bytes.Equal(got, want) {
		t.Errorf("configuration:\n%s\nwant\n%s", got, want)
	}
	c, err := peft.NewConfig(a.Set.Config, peft.ConfigOptions{})
	if err != nil {
		t.Fatal(err)
	}
	mapping := []byte("{\n    \"base_model_class\": \"Net\",\n    \"parent_library\": \"__main__\"\n  }")
	if got := c.Marshal(); !bytes.Equal(got, bytes.Replace(want, mapping, []byte("null"), 1)) {
		t.Errorf("new configuration:\n%s\nwant, but for auto_mapping,\n%s", got, want)
	}
	raw := readFile(t, filepath.Join(dir, peft.ModelFile))
	st, err := readTensors(raw)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := st.Write(&out); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(out.Bytes(), raw) {
		t.Errorf("tensors: %d bytes written, not the %d read", out.Len(), len(raw))
	}
}

// sample is an adapter of every method on two targets, with a trained bias
// and a module saved whole.
func sample(m adapter.Method) *adapter.Set {
	cfg := adapter.Config{Name: "tuned", Method: m, Rank: 4, Seed: 5, Selection: adapter.Selection{Targets: adapter.Modules{Regex: adapter.AllLinear}}, Bias: "none"}
	if m == adapter.MiSSMini {
		cfg.MiniRank = 3
	}
	if m == adapter.LoRA {
		cfg.Alpha = 16
	}
	s := &adapter.Set{Config: cfg, Fingerprint: "sha256:0123"}
	for _, p := range []string{"layers.0.q_proj", "layers.1.q_proj"} {
		s.Entries = append(s.Entries, adapter.Entry{Path: p, Blocks: m.Init(cfg.Dims(8, 12), adapter.InitRandom, 1, p)})
	}
	s.Saved = []adapter.Named{{Key: "layers.0.q_proj.bias", Tensor: testutil.Random(1, 12)}, {Key: "classifier.weight", Tensor: testutil.Random(2, 2, 12)}}
	return s
}

func TestRoundTrip(t *testing.T) {
	for _, c := range []struct {
		m    adapter.Method
		kind string
		read adapter.Method
		key  string
	}{
		{adapter.Bone, "", adapter.Bone, "base_model.model.layers.0.q_proj.bone_block"},
		{adapter.Bone, peft.TypeMiSS, adapter.Bone, "base_model.model.layers.0.q_proj.miss_block"},
		{adapter.Bat, "", adapter.Bat, "base_model.model.layers.0.q_proj.bone_block"},
		{adapter.Bat, peft.TypeMiSS, adapter.Bat, "base_model.model.layers.0.q_proj.miss_block"},
		{adapter.MiSS, "", adapter.MiSS, "base_model.model.layers.0.q_proj.miss_block"},
		{adapter.MiSSMini, "", adapter.MiSSMini, "base_model.model.layers.0.q_proj.miss_block"},
		{adapter.LoRA, "", adapter.LoRA, "base_model.model.layers.0.q_proj.lora_B.weight"},
	} {
		dir := filepath.Join(t.TempDir(), "deep", "adapter")
		s := sample(c.m)
		o := peft.Options{ConfigOptions: peft.ConfigOptions{Type: c.kind, TaskType: "CAUSAL_LM", BaseModel: "base"}}
		if err := peft.WriteDir(dir, s, o); err != nil {
			t.Fatalf("%v: %v", c.m, err)
		}
		st, err := readTensors(readFile(t, filepath.Join(dir, peft.ModelFile)))
		if err != nil {
			t.Fatal(err)
		}
		keys := map[string]bool{}
		for _, n := range st.Tensors {
			keys[n.Key] = true
		}
		for _, k := range []string{c.key, "base_model.model.layers.0.q_proj.base_layer.bias", "base_model.model.classifier.weight"} {
			if !keys[k] {
				t.Errorf("%v: no key %s among %v", c.m, k, keys)
			}
		}
		a, err := peft.ReadDir(dir)
		if err != nil {
			t.Fatalf("%v: %v", c.m, err)
		}
		got := a.Set
		if got.Config.Method != c.read || got.Config.Name != "tuned" || got.Config.Alpha != s.Config.Alpha || got.Fingerprint != s.Fingerprint || len(a.Warnings) > 0 {
			t.Errorf("%v: got %+v, %q, warnings %v", c.m, got.Config, got.Fingerprint, a.Warnings)
		}
		want := s.Named()
		back := map[string]*tensor.Tensor{}
		for _, n := range got.Named() {
			back[n.Key] = n.Tensor
		}
		for _, n := range want {
			if x := back[n.Key]; x == nil || !x.Equal(n.Tensor) {
				t.Errorf("%v: %s: got %v", c.m, n.Key, x)
			}
		}
		if err := peft.WriteDir(dir, s, o); !errors.Is(err, fs.ErrExist) {
			t.Errorf("%v: writing again without force: got %v", c.m, err)
		}
		o.Force = true
		if err := peft.WriteDir(dir, s, o); err != nil {
			t.Errorf("%v: with force: %v", c.m, err)
		}
	}
	if err := peft.WriteDir(t.TempDir(), sample(adapter.LoRA), peft.Options{ConfigOptions: peft.ConfigOptions{Type: peft.TypeBone}}); err == nil {
		t.Error("lora is written as BONE")
	}
}

const bone = `"peft_type":"BONE","r":4,"target_modules":["a"]`

func TestConfigMeaning(t *testing.T) {
	for _, c := range []struct {
		text string
		want adapter.Config
		warn string
	}{
		{`{` + bone + `}`, adapter.Config{Rank: 4}, ""},
		{`{` + bone + `,"init_weights":false}`, adapter.Config{Rank: 4, Init: adapter.InitRandom}, ""},
		{`{"peft_type":"BONE","target_modules":["a"]}`, adapter.Config{Rank: 64}, ""},
		{`{"peft_type":"MISS","target_modules":["a"],"r":2,"init_weights":"bat"}`, adapter.Config{Method: adapter.Bat, Rank: 2}, ""},
		{`{"peft_type":"MISS","target_modules":["a"],"r":2,"init_weights":"mini"}`, adapter.Config{Method: adapter.MiSSMini, Rank: 2, MiniRank: 1}, ""},
		{`{"peft_type":"MISS","target_modules":["a"],"r":2,"miss_dropout":0.5}`, adapter.Config{Method: adapter.MiSS, Rank: 2, Dropout: 0.5}, ""},
		{`{"peft_type":"LORA","target_modules":["a"]}`, adapter.Config{Method: adapter.LoRA, Rank: 8, Alpha: 8}, ""},
		{`{"peft_type":"LORA","target_modules":["a"],"r":4,"lora_alpha":8,"use_rslora":true}`, adapter.Config{Method: adapter.LoRA, Rank: 4, Alpha: 16}, ""},
		{`{` + bone + `,"new_key":1,"other":{}}`, adapter.Config{Rank: 4}, "keys without effect: new_key, other"},
		{`{` + bone + `,"layers_to_transform":3,"layers_pattern":"h"}`, adapter.Config{Rank: 4, Selection: adapter.Selection{Layers: []int{3}, LayersPattern: []string{"h"}, LastNumber: true}}, ""},
		{`{"peft_type":"MISS","peft_version":"0.20.0","r":4,"target_modules":["a"],"layers_to_transform":[3]}`, adapter.Config{Method: adapter.MiSS, Rank: 4, Selection: adapter.Selection{Layers: []int{3}}}, ""},
		{`{"peft_type":"MISS","peft_version":"0.18.2.dev0","r":4,"target_modules":["a"],"layers_to_transform":[3]}`, adapter.Config{Method: adapter.MiSS, Rank: 4, Selection: adapter.Selection{Layers: []int{3}, LastNumber: true}}, ""},
		{`{` + bone + `,"modules_to_save":["h"],"exclude_modules":".*0","bias":"bone_only"}`, adapter.Config{Rank: 4, Bias: "bone_only", Selection: adapter.Selection{Save: []string{"h"}, Exclude: adapter.Modules{Regex: ".*0"}}}, ""},
	} {
		p, err := peft.ParseConfig([]byte(c.text))
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		got, warn, err := p.Adapter()
		c.want.Name, c.want.Targets.List = "default", []string{"a"}
		if c.want.Bias == "" {
			c.want.Bias = "none"
		}
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s:\ngot  %+v, %v\nwant %+v", c.text, got, err, c.want)
		}
		if all := strings.Join(warn, "\n"); c.warn == "" && all != "" || !strings.Contains(all, c.warn) {
			t.Errorf("%s: warnings %q, want %q", c.text, all, c.warn)
		}
	}
	p, err := peft.ParseConfig([]byte(`{"peft_type":"BONE"}`))
	if err != nil {
		t.Fatal(err)
	}
	if c, warn, err := p.Adapter(); err != nil || len(warn) != 0 || !c.Targets.IsZero() {
		t.Errorf("no target_modules: got %+v, %v, %v", c, warn, err)
	}
}

func TestConfigRefused(t *testing.T) {
	lora := `{"peft_type":"LORA","target_modules":["a"],`
	for _, c := range []struct{ text, want string }{
		{``, "EOF"},
		{`[]`, "no JSON object"},
		{`{`, "EOF"},
		{`{"peft_type":"BONE"} x`, "follows"},
		{`{"peft_type":"BONE"} 1`, "follows"},
		{`{"peft_type":"BONE","r":1,"r":2}`, `key "r" is there twice`},
		{`{"peft_type":"OFT"}`, `peft_type is "OFT"`},
		{`{"r":3}`, "peft_type"},
		{`{"peft_type":"BONE","r":"4"}`, "r is no integer"},
		{`{"peft_type":"BONE","r":4.5}`, "r is no integer"},
		{`{"peft_type":"BONE","r":0}`, "`r` should be a positive integer"},
		{`{"peft_type":"BONE","r":99999999999}`, "r is no integer"},
		{`{"peft_type":"BONE","bias":null}`, "bias is no string"},
		{`{"peft_type":"BONE","target_modules":[1]}`, "target_modules has an entry"},
		{`{"peft_type":"BONE","layers_to_transform":["x"]}`, "layers_to_transform has an entry"},
		{`{"peft_type":"BONE","target_modules":"a.*","layers_to_transform":1}`, "cannot be used when `target_modules` is a str"},
		{`{"peft_type":"BONE","init_weights":"kaiming"}`, "init_weights"},
		{`{"peft_type":"BONE","init_weights":"mini"}`, "belongs to MISS"},
		{`{"peft_type":"MISS","miss_dropout":true}`, "miss_dropout is no number"},
		{`{"peft_type":"MISS","miss_dropout":1}`, "dropout should be at least 0 and below 1"},
		{`{"peft_type":"MISS","miss_dropout":-0.1}`, "dropout should be at least 0 and below 1"},
		{lora + `"use_dora":true}`, "use_dora"},
		{lora + `"rank_pattern":{"a":2}}`, "rank_pattern"},
		{lora + `"lora_bias":true}`, "lora_bias"},
		{lora + `"init_lora_weights":"pissa"}`, "pissa"},
		{lora + `"lora_alpha":0}`, "lora_alpha should be positive"},
		{strings.Repeat("[", 100), "nested"},
	} {
		p, err := peft.ParseConfig([]byte(c.text))
		if err == nil {
			_, _, err = p.Adapter()
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got error %v, want one with %q", c.text, err, c.want)
		}
	}
}

// TestPythonText: strings and numbers as Python's json module writes them.
func TestPythonText(t *testing.T) {
	text := "{\n  \"a\": \"\\u00e9\\ud83d\\ude00\\\"\\\\/\\n\\u007f<\",\n  \"b\": [],\n  \"c\": {},\n  \"d\": 1e-05,\n  \"e\": [\n    0.0,\n    {\n      \"x\": null\n    }\n  ],\n  \"peft_type\": \"BONE\"\n}"
	p, err := peft.ParseConfig([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if got := string(p.Marshal()); got != text {
		t.Errorf("got\n%s\nwant\n%s", got, text)
	}
}

func st(header string, data ...byte) []byte {
	return append(append(binary.LittleEndian.AppendUint64(nil, uint64(len(header))), header...), data...)
}

func TestSafetensorsTypes(t *testing.T) {
	s := &peft.Safetensors{Metadata: map[string]string{"b": "é\"", "a": "1"}}
	for d := tensor.Float32; d <= tensor.Int2; d++ {
		switch d {
		case tensor.String, tensor.Complex64, tensor.Complex128, tensor.Int4, tensor.Uint4, tensor.Int2, tensor.Uint2:
			continue
		}
		x, err := testutil.RandomInts(uint64(d), 0, 2, 2, 4).Cast(d)
		if err != nil {
			t.Fatal(err)
		}
		s.Tensors = append(s.Tensors, adapter.Named{Key: "x." + d.String(), Tensor: x})
	}
	s.Tensors = append(s.Tensors, adapter.Named{Key: "empty", Tensor: tensor.New(tensor.Float32, 0, 3)}, adapter.Named{Key: "scalar", Tensor: tensor.Scalar[int64](3)}, adapter.Named{Key: "c", Tensor: tensor.New(tensor.Complex64, 2)})
	var b bytes.Buffer
	if err := s.Write(&b); err != nil {
		t.Fatal(err)
	}
	if n := binary.LittleEndian.Uint64(b.Bytes()); n%8 != 0 {
		t.Errorf("header of %d bytes is not padded", n)
	}
	got, err := readTensors(b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got.Metadata, s.Metadata) || len(got.Tensors) != len(s.Tensors) {
		t.Errorf("got %d tensors, %v", len(got.Tensors), got.Metadata)
	}
	for _, n := range s.Tensors {
		found := false
		for _, g := range got.Tensors {
			found = found || g.Key == n.Key && g.Tensor.Equal(n.Tensor)
		}
		if !found {
			t.Errorf("%s did not come back", n.Key)
		}
	}
	for _, bad := range [][]adapter.Named{
		{{Key: "a", Tensor: tensor.New(tensor.String, 1)}},
		{{Key: "a", Tensor: tensor.Ints(1)}, {Key: "a", Tensor: tensor.Ints(2)}},
		{{Key: "__metadata__", Tensor: tensor.Ints(1)}},
	} {
		if err := (&peft.Safetensors{Tensors: bad}).Write(&b); err == nil {
			t.Errorf("%v: want an error", bad)
		}
	}
}

func TestSafetensorsRefused(t *testing.T) {
	f := func(entries ...string) string { return "{" + strings.Join(entries, ",") + "}" }
	e := func(name, dtype, shape, offsets string) string {
		return fmt.Sprintf(`"%s":{"dtype":"%s","shape":%s,"data_offsets":%s}`, name, dtype, shape, offsets)
	}
	four := []byte{1, 2, 3, 4}
	for _, c := range []struct {
		name string
		b    []byte
		want string
	}{
		{"empty", nil, "truncated"},
		{"header beyond the file", binary.LittleEndian.AppendUint64(nil, 100), "truncated"},
		{"header beyond the limit", binary.LittleEndian.AppendUint64(nil, 1<<40), "limit"},
		{"no object", st("[]"), "no JSON object"},
		{"no JSON", st("{{"), "header"},
		{"duplicate", st(f(e("a", "U8", "[4]", "[0,4]"), e("a", "U8", "[4]", "[0,4]")), four...), "twice"},
		{"overlap", st(f(e("a", "U8", "[3]", "[0,3]"), e("b", "U8", "[3]", "[1,4]")), four...), "overlap"},
		{"same bytes", st(f(e("a", "U8", "[4]", "[0,4]"), e("b", "U8", "[4]", "[0,4]")), four...), "overlap"},
		{"gap", st(f(e("a", "U8", "[1]", "[0,1]"), e("b", "U8", "[2]", "[2,4]")), four...), "gap"},
		{"rest", st(f(e("a", "U8", "[3]", "[0,3]")), four...), "4 bytes of data"},
		{"beyond", st(f(e("a", "U8", "[5]", "[0,5]")), four...), "outside"},
		{"backwards", st(f(e("a", "U8", "[0]", "[4,0]")), four...), "outside"},
		{"size", st(f(e("a", "F32", "[2]", "[0,4]")), four...), "takes 8 bytes"},
		{"overflow", st(f(e("a", "U8", "[4294967296,4294967296,4294967296]", "[0,4]")), four...), "too large"},
		{"negative", st(f(e("a", "U8", "[-4]", "[0,4]")), four...), "no size"},
		{"fraction", st(f(e("a", "U8", "[4.0]", "[0,4]")), four...), "no size"},
		{"dtype", st(f(e("a", "X9", "[4]", "[0,4]")), four...), `dtype "X9"`},
		{"offsets", st(f(e("a", "U8", "[4]", "[0]")), four...), "data_offsets"},
		{"metadata", st(`{"__metadata__":{"a":1}}`), "no string"},
		{"metadata kind", st(`{"__metadata__":3}`), "no object"},
		{"entry", st(`{"a":{"dtype":"U8"}}`), "wants dtype"},
	} {
		if s, err := readTensors(c.b); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, error %v, want one with %q", c.name, s, err, c.want)
		}
	}
}

func TestFoldersRefused(t *testing.T) {
	write := func(s *peft.Safetensors) []byte {
		var b bytes.Buffer
		if err := s.Write(&b); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	one := func(key string, shape ...int) []byte {
		return write(&peft.Safetensors{Tensors: []adapter.Named{{Key: key, Tensor: testutil.Random(1, shape...)}}})
	}
	for _, c := range []struct {
		name, config string
		model        []byte
		want         string
	}{
		{"rank", `{` + bone + `}`, one("base_model.model.a.bone_block", 5, 3), "has rank 5, but the configuration says 4"},
		{"method", `{` + bone + `}`, one("base_model.model.a.lora_A.weight", 4, 3), "lora"},
		{"bat for bone", `{` + bone + `}`, one("base_model.model.a.bone_block", 4, 4, 4), "bat"},
		{"no blocks", `{` + bone + `}`, one("base_model.model.a.weight", 4, 4), "no adapter blocks"},
		{"embedding", `{"peft_type":"LORA","r":4,"target_modules":["a"]}`, one("base_model.model.a.lora_embedding_A", 4, 4), "cannot be applied"},
		{"half of lora", `{"peft_type":"LORA","r":4,"target_modules":["a"]}`, one("base_model.model.a.lora_A.weight", 4, 4), "no lora_B.weight"},
	} {
		a, err := peft.Read([]byte(c.config), bytes.NewReader(c.model), int64(len(c.model)))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, error %v, want one with %q", c.name, a, err, c.want)
		}
	}
	dir := t.TempDir()
	if _, err := peft.ReadDir(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("empty folder: got %v", err)
	}
	for name, text := range map[string]string{peft.ConfigFile: `{` + bone + `}`, "adapter_model.bin": "x"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := peft.ReadDir(dir); err == nil || !strings.Contains(err.Error(), "pickle") {
		t.Errorf("folder with a pickle: got %v", err)
	}
	broken := write(&peft.Safetensors{Metadata: map[string]string{"bonnx": "{}"}, Tensors: []adapter.Named{{Key: "base_model.model.a.bone_block.default", Tensor: testutil.Random(1, 4, 3)}}})
	a, err := peft.Read([]byte(`{`+bone+`}`), bytes.NewReader(broken), int64(len(broken)))
	if err != nil || len(a.Warnings) != 1 || a.Entry("a") == nil {
		t.Errorf("a manifest that cannot be read: got %v, %v; want a warning", a, err)
	}
}

func FuzzSafetensors(f *testing.F) {
	var b bytes.Buffer
	_ = (&peft.Safetensors{Metadata: map[string]string{"format": "pt"}, Tensors: []adapter.Named{{Key: "a", Tensor: tensor.Ints(1, 2)}, {Key: "b", Tensor: tensor.New(tensor.Bool, 2)}}}).Write(&b)
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := readTensors(b)
		if err != nil {
			return
		}
		var w bytes.Buffer
		if err := s.Write(&w); err != nil {
			t.Fatal(err)
		}
		again, err := readTensors(w.Bytes())
		if err != nil || len(again.Tensors) != len(s.Tensors) {
			t.Fatalf("written again: %v, %v", again, err)
		}
	})
}

func FuzzConfig(f *testing.F) {
	f.Add([]byte(`{` + bone + `,"init_weights":"bat","layers_to_transform":[1],"exclude_modules":"x"}`))
	f.Add([]byte(`{"peft_type":"LORA","lora_alpha":16,"rank_pattern":{}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := peft.ParseConfig(b)
		if err != nil {
			return
		}
		text := c.Marshal()
		again, err := peft.ParseConfig(text)
		if err != nil {
			t.Fatalf("%s\n%v", text, err)
		}
		if !bytes.Equal(again.Marshal(), text) {
			t.Fatalf("%s\nis not stable", text)
		}
		if a, _, err := c.Adapter(); err == nil {
			if err := a.Validate(); err != nil {
				t.Fatal(err)
			}
		}
	})
}
