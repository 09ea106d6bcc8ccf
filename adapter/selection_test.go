package adapter_test

import (
	"encoding/json"
	"errors"
	"math"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/bonnx/bonnx/adapter"
	"github.com/bonnx/bonnx/internal/testutil"
)

// one or many: PEFT writes single values without a list around them.
type oneOrMany[T any] []T

func (o *oneOrMany[T]) UnmarshalJSON(b []byte) error {
	var one T
	if json.Unmarshal(b, &one) == nil {
		*o = []T{one}
		return nil
	}
	return json.Unmarshal(b, (*[]T)(o))
}

func TestGoldenTargets(t *testing.T) {
	b, err := os.ReadFile(testutil.Shared(t, "golden/target_matching.json"))
	if err != nil {
		t.Fatal(err)
	}
	var table struct {
		Keys  []string
		Cases []struct {
			Config struct {
				Targets adapter.Modules   `json:"target_modules"`
				Exclude adapter.Modules   `json:"exclude_modules"`
				Layers  oneOrMany[int]    `json:"layers_to_transform"`
				Pattern oneOrMany[string] `json:"layers_pattern"`
				Save    oneOrMany[string] `json:"modules_to_save"`
			}
			Result map[string]any
		}
	}
	if err := json.Unmarshal(b, &table); err != nil {
		t.Fatal(err)
	}
	if len(table.Cases) < 20 {
		t.Fatalf("%d cases, want 20 or more", len(table.Cases))
	}
	for _, c := range table.Cases {
		sel := adapter.Selection{Targets: c.Config.Targets, Exclude: c.Config.Exclude, Layers: c.Config.Layers, LayersPattern: c.Config.Pattern, Save: c.Config.Save}
		s, err := adapter.NewSelector(sel)
		if err != nil {
			t.Errorf("%+v: %v", sel, err)
			continue
		}
		for _, key := range table.Keys {
			var got any
			switch v := s.Match(key); v {
			case adapter.Excluded, adapter.SavedWhole:
				got = "excluded"
			default:
				got = v == adapter.Matched
			}
			if want := c.Result[key]; got != want {
				t.Errorf("%+v, %s: got %v, want %v", sel, key, got, want)
			}
		}
	}
}

func list(names ...string) adapter.Modules { return adapter.Modules{List: names} }

func TestMatchGraph(t *testing.T) {
	q := list("q_proj")
	for _, c := range []struct {
		name string
		sel  adapter.Selection
		path string
		want adapter.Verdict
	}{
		{"no wrapper", adapter.Selection{Targets: q, Layers: []int{0}}, "layers.0.q_proj", adapter.Matched},
		{"no wrapper, other layer", adapter.Selection{Targets: q, Layers: []int{0}}, "layers.1.q_proj", adapter.OtherLayer},
		{"no wrapper, number inside", adapter.Selection{Targets: q, Layers: []int{2}}, "layers.2.experts.0.q_proj", adapter.Matched},
		{"no wrapper, pattern", adapter.Selection{Targets: q, Layers: []int{1}, LayersPattern: []string{"h"}}, "h.1.attn.q_proj", adapter.Matched},
		{"longer pattern at the start", adapter.Selection{Targets: q, Layers: []int{1}, LayersPattern: []string{`enc\.layers`}}, "enc.layers.1.q_proj", adapter.Matched},
		{"wrapper", adapter.Selection{Targets: q, Layers: []int{3}}, "model.layers.3.q_proj", adapter.Matched},
		{"last number", adapter.Selection{Targets: q, Layers: []int{0}, LastNumber: true}, "model.layers.1.experts.0.q_proj", adapter.Matched},
		{"first number", adapter.Selection{Targets: q, Layers: []int{0}}, "model.layers.1.experts.0.q_proj", adapter.OtherLayer},
		{"all-linear", adapter.Selection{Targets: adapter.Modules{Regex: "ALL-linear"}}, "anything", adapter.Matched},
		{"nothing named", adapter.Selection{}, "anything", adapter.Matched},
		{"all-linear, layers", adapter.Selection{Layers: []int{1}}, "layers.0.q_proj", adapter.OtherLayer},
		{"all-linear, exclude", adapter.Selection{Exclude: list("q_proj")}, "layers.0.q_proj", adapter.Excluded},
		{"all-linear, save", adapter.Selection{Save: []string{"head"}, IncludeHead: true}, "head.proj", adapter.SavedWhole},
		{"dot boundary", adapter.Selection{Targets: q}, "layers.0.xq_proj", adapter.NotNamed},
		{"regex with alternatives is whole", adapter.Selection{Targets: adapter.Modules{Regex: "a|b"}}, "ab", adapter.NotNamed},
		{"exact key in any layer", adapter.Selection{Targets: list("layers.5.q_proj"), Layers: []int{0}}, "layers.5.q_proj", adapter.Matched},
	} {
		s, err := adapter.NewSelector(c.sel)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got := s.MatchGraph(c.path); got != c.want {
			t.Errorf("%s: %s: got %v, want %v", c.name, c.path, got, c.want)
		}
	}
	s, err := adapter.NewSelector(adapter.Selection{Targets: q, Layers: []int{0}})
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Match("layers.0.q_proj"); got != adapter.OtherLayer {
		t.Errorf("Match without a wrapper: got %v; PEFT says no", got)
	}
}

func TestSelectorErrors(t *testing.T) {
	re := func(s string) adapter.Modules { return adapter.Modules{Regex: s} }
	for _, c := range []struct {
		sel  adapter.Selection
		want string
	}{
		{adapter.Selection{Targets: re(`(?!lm).*`)}, "no lookaround"},
		{adapter.Selection{Targets: re(`(?<=a)b`)}, "no lookaround"},
		{adapter.Selection{Targets: re(`(a)\1`)}, "no backreferences"},
		{adapter.Selection{Targets: re(`a(`)}, "target_modules"},
		{adapter.Selection{Exclude: re(`[`)}, "exclude_modules"},
		{adapter.Selection{Save: []string{"("}}, "modules_to_save"},
		{adapter.Selection{LayersPattern: []string{"("}}, "layers_pattern"},
		{adapter.Selection{Targets: re(`.*q`), Layers: []int{1}}, "`layers_to_transform` cannot be used when `target_modules` is a str."},
		{adapter.Selection{Targets: re(`.*q`), LayersPattern: []string{"h"}}, "`layers_pattern` cannot be used when `target_modules` is a str."},
	} {
		if _, err := adapter.NewSelector(c.sel); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: got error %v, want one with %q", c.sel, err, c.want)
		}
	}
	err := adapter.NoMatch(adapter.Selection{Targets: list("wq")}, []string{"l.0.q_proj", "l.1.q_proj", "l.0.v_proj"})
	if !errors.Is(err, adapter.ErrNoMatch) || !strings.Contains(err.Error(), "{wq} not found in the base model") || !strings.Contains(err.Error(), "q_proj, v_proj.") {
		t.Errorf("got %v", err)
	}
}

func TestConfig(t *testing.T) {
	ok := adapter.DefaultConfig()
	if err := ok.Validate(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		change func(*adapter.Config)
		want   string
	}{
		{func(c *adapter.Config) { c.Rank = 0 }, "`r` should be a positive integer value but the value passed is 0"},
		{func(c *adapter.Config) { c.Method = adapter.MiSSMini }, "`mini_r`"},
		{func(c *adapter.Config) { c.MiniRank = 2 }, "belongs to miss-mini"},
		{func(c *adapter.Config) { c.Alpha = 2 }, "belongs to lora"},
		{func(c *adapter.Config) { c.Method, c.Alpha = adapter.LoRA, -1 }, "alpha"},
		{func(c *adapter.Config) { c.Dropout = 1 }, "dropout should be at least 0 and below 1; got 1"},
		{func(c *adapter.Config) { c.Dropout = -0.5 }, "dropout"},
		{func(c *adapter.Config) { c.Dropout = math.NaN() }, "dropout"},
		{func(c *adapter.Config) { c.Name = "a.b" }, "adapter name"},
		{func(c *adapter.Config) { c.Bias = "some" }, "bias should be"},
		{func(c *adapter.Config) { c.Layers = []int{-1} }, "negative"},
		{func(c *adapter.Config) { c.Targets = adapter.Modules{Regex: "("} }, "target_modules"},
		{func(c *adapter.Config) { c.Method = 77 }, "unknown"},
		{func(c *adapter.Config) { c.Init = 7 }, "unknown"},
	} {
		bad := ok
		c.change(&bad)
		if err := bad.Validate(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: got error %v, want one with %q", bad, err, c.want)
		}
	}
	full := adapter.Config{
		Name: "x", Method: adapter.MiSSMini, Rank: 8, MiniRank: 2, Init: adapter.InitRandom, Seed: 9, Bias: "bone_only", Dropout: 0.25,
		Selection: adapter.Selection{Targets: list("q", "v"), Exclude: adapter.Modules{Regex: ".*0.*"}, Layers: []int{1, 2}, LayersPattern: []string{"h"}, Save: []string{"head"}, IncludeHead: true},
	}
	s := adapter.Set{Config: full, Fingerprint: "sha256:ab"}
	b, err := s.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	got, fp, err := adapter.ParseManifest(b)
	if err != nil || !reflect.DeepEqual(got, full) || fp != s.Fingerprint {
		t.Errorf("manifest %s\ngot %+v, %q, %v\nwant %+v", b, got, fp, err, full)
	}
	for _, bad := range []string{"", "{}", `{"format":"bonnx-adapter","version":99}`, `{"format":"bonnx-adapter","version":1,"config":{"method":"x"}}`, `{"format":"bonnx-adapter","version":1,"config":{"method":"bone","r":0}}`} {
		if _, _, err := adapter.ParseManifest([]byte(bad)); err == nil {
			t.Errorf("manifest %s passes", bad)
		}
	}
	if targets, others := full.TrainsBias(); !targets || others {
		t.Errorf("bone_only trains biases of targets %v, of others %v", targets, others)
	}
}

func TestCollect(t *testing.T) {
	d := adapter.Dims{In: 8, Out: 12, Rank: 4, MiniRank: 3}
	for _, m := range adapter.Methods() {
		s := &adapter.Set{Config: adapter.Config{Name: "default", Method: m, Rank: 4}}
		if m == adapter.MiSSMini {
			s.Config.MiniRank = 3
		}
		for _, p := range []string{"layers.0.q", "layers.1.q"} {
			s.Entries = append(s.Entries, adapter.Entry{Path: p, Blocks: m.Init(d, adapter.InitRandom, 1, p)})
		}
		s.Saved = []adapter.Named{{Key: "head.weight", Tensor: testutil.Random(1, 2, 2)}}
		got, err := adapter.Collect(&s.Config, s.Named())
		if err != nil {
			t.Errorf("%v: %v", m, err)
			continue
		}
		if len(got.Entries) != 2 || len(got.Saved) != 1 || got.Params() != 2*m.Params(d) || got.Entry("layers.1.q") == nil || !got.Entry("layers.1.q").Blocks[0].Equal(s.Entries[1].Blocks[0]) {
			t.Errorf("%v: got %d entries, %d saved", m, len(got.Entries), len(got.Saved))
		}
		if _, err := got.Layer(got.Entries[0]).Merge(testutil.Random(1, 8, 12)); err != nil {
			t.Errorf("%v: %v", m, err)
		}
		guess, err := adapter.Collect(nil, s.Named())
		want := m
		if m == adapter.MiSSMini {
			want = adapter.MiSS
		}
		if err != nil || guess.Config.Method != want || guess.Config.Rank != 4 || len(guess.Config.Targets.List) != 2 {
			t.Errorf("%v without a configuration: got %+v, %v", m, guess, err)
		}
		wrong := s.Config
		wrong.Rank = 5
		if _, err := adapter.Collect(&wrong, s.Named()); err == nil || !strings.Contains(err.Error(), "configuration says 5") {
			t.Errorf("%v with another rank: got error %v", m, err)
		}
	}
	named := func(key string, shape ...int) adapter.Named {
		return adapter.Named{Key: key, Tensor: testutil.Random(1, shape...)}
	}
	for _, bad := range [][]adapter.Named{
		nil,
		{named("head.weight", 2, 2)},
		{named("a.bone_block", 2, 4), named("a.bone_block", 2, 4)},
		{named("a.bone_block", 2, 4), named("b.bone_block", 2, 2, 2)},
		{named("a.bone_block", 2, 4), named("b.bone_block", 3, 4)},
		{named("a.bone_block", 4)},
		{named("a.bone_block", 2, 3, 4)},
		{named("a.lora_A.weight", 2, 4)},
		{named("a.lora_A.weight", 2, 4), named("a.lora_B.weight", 4, 3)},
		{named("a.lora_A.weight", 2, 2, 4)},
		{named("a.bone_block", 0, 4)},
	} {
		if s, err := adapter.Collect(nil, bad); err == nil {
			t.Errorf("%v: got %+v, want an error", bad, s)
		}
	}
}
