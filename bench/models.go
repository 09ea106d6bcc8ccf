package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"

	"github.com/bonnx/bonnx"
	"github.com/bonnx/bonnx/internal/testmodel"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/onnx"
	"github.com/bonnx/bonnx/tensor"
)

// A subject is a model that is measured.
type subject struct {
	name   string
	file   string                    // below the folder of real models, else
	build  func() (*ir.Model, error) // made from nothing
	rank   int                       // of the Bone adapter
	vocab  int                       // of input_ids; 0 for images
	shapes [][2]int                  // batch and sequence, or batch and side of the image
	train  [2]int                    // of a training step; none where zero
	sizes  llama                     // where it is trained
}

var subjects = []subject{
	{name: "stories260k", file: "models/stories260k/stories260K_op17.onnx", rank: 16, vocab: 512,
		shapes: [][2]int{{1, 1}, {1, 128}, {8, 128}}, train: [2]int{8, 128},
		sizes: llama{Vocab: 512, Dim: 64, Heads: 8, KV: 4, Hidden: 172, Layers: 5}},
	{name: "babyllama", file: "models/babyllama/babyllama_op17.onnx", rank: 16, vocab: 105, shapes: [][2]int{{1, 128}, {8, 128}}},
	{name: "llama-512", rank: 64, vocab: 8192, shapes: [][2]int{{1, 1}, {1, 256}, {4, 256}}, train: [2]int{4, 256},
		sizes: llama{Vocab: 8192, Dim: 512, Heads: 8, KV: 8, Hidden: 1376, Layers: 8},
		build: testmodel.Llama{Vocab: 8192, Dim: 512, Heads: 8, Hidden: 1376, Layers: 8, Context: 512}.Model},
	{name: "bert-base, 4 layers", rank: 64, vocab: 30522, shapes: [][2]int{{1, 128}, {8, 128}},
		build: testmodel.Encoder{Vocab: 30522, Dim: 768, Heads: 12, Hidden: 3072, Layers: 4, Context: 512, Labels: 2, Head: testmodel.Linear}.Model},
	{name: "vit-b/16, 4 layers", rank: 64, shapes: [][2]int{{1, 224}, {4, 224}},
		build: testmodel.ViT{Image: 224, Patch: 16, Dim: 768, Heads: 12, Hidden: 3072, Layers: 4, Labels: 1000}.Model},
}

// eachSubject does something with the files of the models that are asked for, here,
// and wanted.
func eachSubject(ctx context.Context, o options, dir string, wanted func(subject) bool, do func(s subject, paths map[string]string) error) error {
	for _, s := range subjects {
		if !wanted(s) || !strings.Contains(s.name, o.only) {
			continue
		}
		paths, err := s.files(ctx, o, dir)
		if err == nil && paths != nil {
			err = do(s, paths)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

func anySubject(subject) bool { return true }

// trained reports whether steps of training are measured on s.
func trained(s subject) bool { return s.train[0] > 0 }

// variants are the forms in which a model is run.
var variants = []string{"base", "bone", "merged"}

// files writes the variants of a subject into dir; their paths by variant.
func (s subject) files(ctx context.Context, o options, dir string) (map[string]string, error) {
	base := filepath.Join(o.shared, s.file)
	if s.build != nil {
		m, err := s.build()
		if err != nil {
			return nil, err
		}
		base = filepath.Join(dir, "base.onnx")
		if err := onnx.Save(base, m, onnx.SaveOptions{Force: true}); err != nil {
			return nil, err
		}
	} else if _, err := os.Stat(base); err != nil {
		return nil, nil // not here
	}
	bone, m, err := s.adapted(base)
	if err != nil {
		return nil, err
	}
	defer m.Close()
	paths := map[string]string{"base": base, "bone": filepath.Join(dir, "bone.onnx"), "merged": filepath.Join(dir, "merged.onnx")}
	if err := bone.Save(ctx, paths["bone"], bonnx.SaveOptions{Force: true}); err != nil {
		return nil, err
	}
	merged, err := bone.MergeAndUnload()
	if err != nil {
		return nil, err
	}
	return paths, merged.Save(ctx, paths["merged"], bonnx.SaveOptions{Force: true})
}

// adapted is the model of a file with a random Bone adapter on all its layers.
func (s subject) adapted(path string) (*bonnx.BoneModel, *bonnx.Model, error) {
	m, err := bonnx.Open(path)
	if err != nil {
		return nil, nil, err
	}
	bone, err := bonnx.New(m, "", bonnx.BoneConfig{R: s.rank, TargetModules: bonnx.Modules{Regex: "all-linear"}})
	if err != nil {
		_ = m.Close()
	}
	return bone, m, err
}

// feeds are inputs of the size (batch and sequence, or side), the same always.
func feeds(m *ir.Model, vocab int, size [2]int) (map[string]*tensor.Tensor, error) {
	r := rand.New(rand.NewPCG(1, 2))
	f := map[string]*tensor.Tensor{}
	for _, v := range m.Graph.Inputs {
		switch v.Name {
		case "pixel_values":
			t := tensor.New(tensor.Float32, size[0], 3, size[1], size[1])
			for i := range tensor.Data[float32](t) {
				tensor.Data[float32](t)[i] = float32(r.NormFloat64())
			}
			f[v.Name] = t
		case "input_ids", "labels":
			t := tensor.New(tensor.Int64, size[0], size[1])
			for i := range tensor.Data[int64](t) {
				tensor.Data[int64](t)[i] = r.Int64N(int64(vocab))
			}
			f[v.Name] = t
		case "attention_mask", "token_type_ids":
			t := tensor.New(tensor.Int64, size[0], size[1])
			for i := range tensor.Data[int64](t) {
				if v.Name == "attention_mask" {
					tensor.Data[int64](t)[i] = 1
				}
			}
			f[v.Name] = t
		default:
			return nil, fmt.Errorf("nothing to feed %q with", v.Name)
		}
	}
	return f, nil
}
