package testmodel_test

import (
	"bytes"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bonnx/bonnx/adapter"
	"github.com/bonnx/bonnx/internal/testmodel"
	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/internal/testutil/ort"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/onnx"
	"github.com/bonnx/bonnx/rewrite"
	"github.com/bonnx/bonnx/tensor"
)

// The example of PEFT's BoneModel: a text encoder and a UNet, each with its
// list of target modules, r=8.
var (
	textTargets = []string{"k_proj", "q_proj", "v_proj", "out_proj", "fc1", "fc2"}
	unetTargets = []string{"proj_in", "proj_out", "to_k", "to_q", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2"}
)

func TestPEFTExample(t *testing.T) {
	conv := testmodel.SmallUNet
	conv.ConvProjection = true
	cases := []struct {
		name    string
		model   func() (*ir.Model, error)
		targets []string
		paths   []string
		convs   int // of the targets are 1x1 convolutions
	}{
		{"text encoder", testmodel.SmallCLIP.Model, textTargets, clipPaths(testmodel.SmallCLIP.Layers), 0},
		{"unet", testmodel.SmallUNet.Model, unetTargets, attentionPaths(), 0},
		{"unet, 1x1 convolutions", conv.Model, unetTargets, attentionPaths(), 6},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			m := build(t, family{model: c.model})
			cfg := adapter.Config{Method: adapter.Bone, Rank: 8, Selection: adapter.Selection{Targets: adapter.Modules{List: c.targets}}}
			found, err := rewrite.Find(m)
			if err != nil {
				t.Fatal(err)
			}
			sel, err := rewrite.Select(found, cfg, false)
			if err != nil {
				t.Fatal(err)
			}
			got, convs := unadaptable(found, c.targets)
			for _, l := range sel.Targets {
				got = append(got, l.Path)
				if l.Kind == "Conv" {
					convs++
				}
			}
			if !equalSets(got, c.paths) || convs != c.convs {
				t.Errorf("got modules %q, %d of them convolutions;\nwant %q, %d", got, convs, c.paths, c.convs)
			}
			rep, err := rewrite.Inject(m, cfg, rewrite.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if len(rep.Targets) != len(sel.Targets) {
				t.Errorf("%d injected, %d selected", len(rep.Targets), len(sel.Targets))
			}
		})
	}
}

// unadaptable are the modules among targets whose kind takes no adapter.
func unadaptable(found *rewrite.Layers, targets []string) (paths []string, convs int) {
	for _, s := range found.Others {
		path := strings.TrimSuffix(strings.ReplaceAll(strings.Trim(s.Node, "/"), "/", "."), ".Conv")
		if slices.ContainsFunc(targets, func(e string) bool { return strings.HasSuffix(path, "."+e) }) {
			paths, convs = append(paths, path), convs+1
		}
	}
	return paths, convs
}

// attentionPaths are the modules of SmallUNet's transformer blocks.
func attentionPaths() []string {
	return slices.DeleteFunc(unetPaths(true), func(p string) bool { return strings.Contains(p, "time_") })
}

func equalSets(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

// With random adapters on all its layers, every family computes the same in
// bonnx and in ONNX Runtime, other than its base, and it can be stripped.
func TestORTFamiliesInjected(t *testing.T) {
	ort.Available(t)
	for _, f := range open() {
		t.Run(f.name, func(t *testing.T) {
			m, base := build(t, f), build(t, f)
			cfg := adapter.Config{Method: adapter.Bone, Rank: 4, Init: adapter.InitRandom, Seed: 3,
				Selection: adapter.Selection{Targets: adapter.Modules{Regex: adapter.AllLinear}}}
			if _, err := rewrite.Inject(m, cfg, rewrite.Options{}); err != nil {
				t.Fatal(err)
			}
			want, was := inORT(t, m, f.feeds[0]), inORT(t, base, f.feeds[0])
			for name, y := range want {
				if testutil.Compare(y, was[name], 1e-3, 0) == nil && !strings.HasPrefix(name, "present.0.") {
					t.Errorf("%s does not change", name)
				}
			}
			stripped := m.Clone()
			if err := rewrite.Strip(stripped); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(marshal(t, stripped), marshal(t, base)) {
				t.Error("strip does not give the base back")
			}
			for name, got := range run(t, m, f.feeds[0]) {
				testutil.Close(t, name, got, want[name], 1e-4, 1e-4)
			}
		})
	}
}

func inORT(t *testing.T, m *ir.Model, f feed) map[string]*tensor.Tensor {
	t.Helper()
	path := filepath.Join(t.TempDir(), "model.onnx")
	if err := onnx.Save(path, m, onnx.SaveOptions{}); err != nil {
		t.Fatal(err)
	}
	return ort.Run(t, path, f)
}
