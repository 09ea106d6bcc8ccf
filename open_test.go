package bonnx_test

import (
	"bytes"
	"context"
	"embed"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bonnx/bonnx"
	"github.com/bonnx/bonnx/internal/testutil/fixture"
	"github.com/bonnx/bonnx/tensor"
)

//go:embed testdata/demo/stories.onnx
var embedded embed.FS

// TestOpen reads one model from a path, from a program's own file system and
// from any reader: the same outputs.
func TestOpen(t *testing.T) {
	const path = "testdata/demo/stories.onnx"
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	ids := tensor.FromSlice([]int64{1, 2, 3}, 1, 3)
	var want *tensor.Tensor
	for name, open := range map[string]func() (*bonnx.Model, error){
		"path":   func() (*bonnx.Model, error) { return bonnx.Open(path) },
		"fs":     func() (*bonnx.Model, error) { return bonnx.OpenFS(embedded, path) },
		"reader": func() (*bonnx.Model, error) { return bonnx.OpenReader(bytes.NewReader(file), int64(len(file))) },
	} {
		m, err := open()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		out, err := m.Run(context.Background(), map[string]*tensor.Tensor{"input_ids": ids}, 1)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if want == nil {
			want = out["logits"]
		}
		if !out["logits"].Equal(want) {
			t.Errorf("%s: outputs differ", name)
		}
		if err := m.Close(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := bonnx.OpenReader(strings.NewReader("no model"), 8); !bonnx.IsInvalidModel(err) {
		t.Errorf("what is no model: %v", err)
	}
	if _, err := bonnx.OpenReader(bytes.NewReader(file), int64(len(file)/2)); !bonnx.IsInvalidModel(err) {
		t.Errorf("half a model: %v", err)
	}
}

// TestLogger: remarks go to the model's logger, and nowhere without one.
func TestLogger(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "tied.onnx")
	if err := fixture.Write("tied", path); err != nil {
		t.Fatal(err)
	}
	for _, talk := range []bool{true, false} {
		m := open(t, path)
		var said bytes.Buffer
		if talk {
			m.SetLogger(slog.New(slog.NewTextHandler(&said, nil)))
		}
		b, err := bonnx.New(m, "", bonnx.BoneConfig{R: 2, RandomInit: true, TargetModules: bonnx.Modules{List: []string{"first"}}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.MergeAndUnload(); err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(said.String(), "shares its weight with other nodes"); got != talk {
			t.Errorf("with a logger %v: %q", talk, said.String())
		}
	}
}

// TestModelType: PEFT's default targets follow from a config.json beside the
// model, or from what SetType says.
func TestModelType(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "tiny.onnx")
	if err := fixture.Write("tiny", path); err != nil {
		t.Fatal(err)
	}
	m := open(t, path)
	if _, err := bonnx.New(m, "", bonnx.BoneConfig{R: 4}); err == nil || !strings.Contains(err.Error(), "Please specify `target_modules`") {
		t.Errorf("no type: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(`{"model_type": "llama"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for i, set := range []string{"", "mistral"} {
		m.SetType(set)
		b, err := bonnx.New(m, "", bonnx.BoneConfig{R: 4})
		if err != nil {
			t.Fatal(err)
		}
		if n := len(b.LayerStatus()); n != 4 {
			t.Errorf("%d: %s has %d targets, want q_proj and v_proj of 2 layers", i, m.Type(), n)
		}
	}
}
