package bonnx_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/bonnx/bonnx"
	"github.com/bonnx/bonnx/tensor"
)

// demo is a small language model over bytes that comes with the project.
const demo = "testdata/demo/stories.onnx"

// textBatches yields a text as batches of token windows, once around for each range.
func textBatches(text string, seq, batch int) func(yield func(bonnx.Batch, error) bool) {
	return func(yield func(bonnx.Batch, error) bool) {
		for at := 0; at+batch*seq+1 <= len(text); at += batch * seq {
			ids, labels := tensor.New(tensor.Int64, batch, seq), tensor.New(tensor.Int64, batch, seq)
			for i := range batch * seq {
				tensor.Data[int64](ids)[i] = int64(text[at+i])
				tensor.Data[int64](labels)[i] = int64(text[at+i+1])
			}
			if !yield(bonnx.Batch{Feeds: map[string]*tensor.Tensor{"input_ids": ids, "labels": labels}}, nil) {
				return
			}
		}
	}
}

// Put an adapter on a model: what PEFT's get_peft_model does.
func ExampleNew() {
	base, err := bonnx.Open(demo)
	if err != nil {
		panic(err)
	}
	defer base.Close()
	model, err := bonnx.New(base, "default", bonnx.BoneConfig{R: 32, TargetModules: bonnx.Modules{List: []string{"q_proj", "v_proj"}}})
	if err != nil {
		panic(err)
	}
	trainable, all := model.NumParameters()
	fmt.Println(trainable, "of", all, "parameters train, in", len(model.LayerStatus()), "layers")

	_, err = bonnx.New(base, "", bonnx.BoneConfig{TargetModules: bonnx.Modules{List: []string{"qproj"}}})
	var none *bonnx.NoMatchError
	if errors.As(err, &none) {
		fmt.Println("did you mean", none.Near[0])
	}
	// Output:
	// 18432 of 400032 parameters train, in 6 layers
	// did you mean q_proj
}

// Train on any iterator of batches, merge, and save a plain model.
func ExampleBoneModel_Train() {
	ctx := context.Background()
	base, err := bonnx.Open(demo)
	if err != nil {
		panic(err)
	}
	defer base.Close()
	model, err := bonnx.New(base, "", bonnx.BoneConfig{R: 16, TargetModules: bonnx.Modules{Regex: "all-linear"}})
	if err != nil {
		panic(err)
	}
	text := strings.Repeat("Day 12. Wind north, fresh. Course due west. ", 40)
	config := bonnx.TrainConfig{Steps: 12, LR: 4e-3}
	config.Task = "causal-lm"
	summary, err := model.Train(ctx, textBatches(text, 32, 4), config)
	if err != nil {
		panic(err)
	}
	fmt.Println("improved:", summary.Improved)

	dir, err := os.MkdirTemp("", "bonnx")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	// The adapter alone, as PEFT saves it ...
	if err := model.SaveAdapter(filepath.Join(dir, "adapter"), "", bonnx.SaveOptions{}); err != nil {
		panic(err)
	}
	// ... and a plain model that any runtime takes.
	merged, err := model.MergeAndUnload()
	if err != nil {
		panic(err)
	}
	if err := merged.Save(ctx, filepath.Join(dir, "merged.onnx"), bonnx.SaveOptions{}); err != nil {
		panic(err)
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*", "*"))
	for _, f := range files {
		fmt.Println(filepath.Base(f))
	}
	// Output:
	// improved: true
	// adapter_config.json
	// adapter_model.safetensors
}

// Serve one model to many tenants, each with an adapter of its own: one Program
// for all, one Session for each request under way, an adapter for each request.
func ExampleWithAdapter() {
	base, err := bonnx.Open(demo)
	if err != nil {
		panic(err)
	}
	defer base.Close()
	config := bonnx.BoneConfig{R: 8, TargetModules: bonnx.Modules{Regex: "all-linear"}, RandomInit: true}
	model, err := bonnx.New(base, "acme", config)
	if err != nil {
		panic(err)
	}
	config.Seed = 1
	if _, err := model.AddAdapter("globex", config); err != nil {
		panic(err)
	}
	program, err := model.Compile(0)
	if err != nil {
		panic(err)
	}
	defer program.Close()
	sessions := sync.Pool{New: func() any { return program.Session() }}

	mux := http.NewServeMux()
	mux.HandleFunc("/{tenant}", func(w http.ResponseWriter, r *http.Request) {
		s := sessions.Get().(*bonnx.Session)
		defer sessions.Put(s)
		prompt := r.FormValue("prompt")
		ids := tensor.New(tensor.Int64, 1, len(prompt))
		for i := range prompt {
			tensor.Data[int64](ids)[i] = int64(prompt[i])
		}
		out, err := s.Run(r.Context(), map[string]*tensor.Tensor{"input_ids": ids}, bonnx.WithAdapter(r.PathValue("tenant")))
		var unknown *bonnx.UnknownAdapterError
		switch {
		case errors.As(err, &unknown):
			http.Error(w, err.Error(), http.StatusNotFound)
		case err != nil:
			http.Error(w, err.Error(), http.StatusInternalServerError)
		default:
			fmt.Fprint(w, out["logits"].Shape())
		}
	})
	server := httptest.NewServer(mux)
	defer server.Close()

	for _, tenant := range []string{"acme", "globex", "initech"} {
		res, err := http.Get(server.URL + "/" + tenant + "?prompt=Once")
		if err != nil {
			panic(err)
		}
		fmt.Println(tenant, res.StatusCode)
		res.Body.Close()
	}
	// Output:
	// acme 200
	// globex 200
	// initech 404
}
