package adapter_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/bonnx/bonnx/adapter"
	"github.com/bonnx/bonnx/internal/testutil"
)

// TestNoMatchError holds the texts for each reason why nothing is selected.
func TestNoMatchError(t *testing.T) {
	paths := []string{"l.0.q_proj", "l.0.v_proj", "l.1.q_proj", "lm_head"}
	var many []string
	for i := range 25 {
		many = append(many, fmt.Sprintf("m%d", i))
	}
	misspelt := adapter.NoMatch(adapter.Selection{Targets: list("x.q_porj", "k")}, paths)
	excluded := adapter.NoMatch(adapter.Selection{Targets: list("q_proj")}, paths[:1])
	excluded.Reasons = []adapter.Reason{{Path: "l.0.q_proj", Why: "excluded by exclude_modules"}}
	layers := adapter.NoMatch(adapter.Selection{Targets: expr(adapter.AllLinear)}, paths)
	layers.Layers, layers.HasLayers = []int{9}, []int{0, 1, 2, 3, 5, 6, 9 + 2}
	flat := adapter.NoMatch(adapter.Selection{Targets: expr(adapter.AllLinear)}, paths)
	flat.Layers = []int{9, 10}
	head := adapter.NoMatch(adapter.Selection{Targets: expr(adapter.AllLinear)}, paths[3:])
	head.OnlyHead, head.Reasons = true, []adapter.Reason{{Path: "lm_head", Why: "it is the head"}}
	for _, c := range []struct {
		err  error
		want string
	}{
		{misspelt, "Target modules {x.q_porj, k} not found in the base model. Please check the target modules and try again. Linear layers there are: q_proj, v_proj, lm_head. Did you mean q_proj?"},
		{excluded, "Target modules {q_proj} not found in the base model. Please check the target modules and try again. Linear layers there are: q_proj.\nl.0.q_proj: excluded by exclude_modules"},
		{layers, "the model has no layer 9; it has 0 to 3, 5, 6, 11."},
		{flat, "the model has no layer 9, 10; no module's path has a number."},
		{head, "the model's only linear layer is its head, which all-linear leaves out: include the head, or name it\nlm_head: it is the head"},
		{adapter.NoMatch(adapter.Selection{Targets: expr(adapter.AllLinear)}, nil), "Target modules {all-linear} not found in the base model. Please check the target modules and try again. There are no linear layers."},
		{adapter.NoMatch(adapter.Selection{Targets: expr("z")}, many), "Target modules {z} not found in the base model. Please check the target modules and try again. Linear layers there are: " + strings.Join(many[:20], ", ") + " and 5 more."},
		{adapter.NoModule("clasifier", []string{"bert.classifier.dense", "bert.head"}), "modules_to_save \"clasifier\": the model has no module of that name with weights. Did you mean classifier?"},
		{adapter.NoModule("pooler", nil), "modules_to_save \"pooler\": the model has no module of that name with weights."},
		{adapter.NoTargets("", paths), "Please specify `target_modules` in `peft_config`: the model's type is not known. Linear layers there are: q_proj, v_proj, lm_head."},
		{adapter.NoTargets("sam", paths[:1]), "Please specify `target_modules` in `peft_config`: models of type \"sam\" have no default. Linear layers there are: q_proj."},
	} {
		if got := c.err.Error(); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
		wrapped := fmt.Errorf("model: %w", c.err)
		var e *adapter.NoMatchError
		if !errors.Is(wrapped, adapter.ErrNoMatch) || !errors.As(wrapped, &e) {
			t.Errorf("%s: neither ErrNoMatch nor *NoMatchError", c.err)
		}
	}
}

// TestDefaultTargets holds the table to PEFT's.
func TestDefaultTargets(t *testing.T) {
	b, err := os.ReadFile(testutil.Shared(t, "reference/peft-default-targets.json"))
	if err != nil {
		t.Fatal(err)
	}
	var want map[string][]string
	if err := json.Unmarshal(b, &want); err != nil {
		t.Fatal(err)
	}
	for kind, modules := range want {
		if got, ok := adapter.DefaultTargets(kind); !ok || !reflect.DeepEqual(got, list(modules...)) {
			t.Errorf("%s: got %v, %v, want %v", kind, got, ok, modules)
		}
	}
	for _, kind := range []string{"", "sam", "llama bart", "Llama"} {
		if got, ok := adapter.DefaultTargets(kind); ok {
			t.Errorf("%q: got %v, want none", kind, got)
		}
	}
}

// TestSelectorLayer: the layer of a path as the filter sees it, with and
// without a wrapper.
func TestSelectorLayer(t *testing.T) {
	for _, c := range []struct {
		path     string
		patterns []string
		last     bool
		want     int
	}{
		{"layers.1.q_proj", nil, false, 1},
		{"model.layers.12.q_proj", nil, false, 12},
		{"h.3.attn.q.7.w", nil, false, 3},
		{"h.3.attn.q.7.w", nil, true, 7},
		{"h.3.attn.q.7.w", []string{"q"}, false, 7},
		{"lm_head", nil, false, -1},
	} {
		s, err := adapter.NewSelector(adapter.Selection{LayersPattern: c.patterns, LastNumber: c.last})
		if err != nil {
			t.Fatal(err)
		}
		if got := s.Layer(c.path); got != c.want {
			t.Errorf("%s %v: layer %d, want %d", c.path, c.patterns, got, c.want)
		}
	}
}

func expr(s string) adapter.Modules { return adapter.Modules{Regex: s} }
