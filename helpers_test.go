package bonnx

import (
	"context"
	"testing"

	"github.com/bonnx/bonnx/adapter"
	"github.com/bonnx/bonnx/rewrite"
	"github.com/bonnx/bonnx/train"
)

// An onFile is a model file with adapters in its graph, put through BoneModel as
// the commands do.
type onFile struct {
	*Model
	t testing.TB
}

// inject puts an adapter on.
func (f onFile) inject(cfg adapter.Config, o rewrite.Options) {
	f.t.Helper()
	if err := f.tryInject(cfg, o); err != nil {
		f.t.Fatal(err)
	}
}

func (f onFile) tryInject(cfg adapter.Config, o rewrite.Options) error {
	_, err := rewrite.Inject(f.graph, cfg, o)
	return err
}

// bone is the BoneModel of the file.
func (f onFile) bone() *BoneModel {
	f.t.Helper()
	m, err := Adapted(f.Model)
	if err != nil {
		f.t.Fatal(err)
	}
	return m
}

// becomes makes f the model that came of it.
func (f onFile) becomes(m *Model, err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
	*f.Model = *m
}

func (f onFile) merge() { f.t.Helper(); f.becomes(f.bone().MergeAndUnload()) }
func (f onFile) strip() { f.t.Helper(); f.becomes(f.bone().Unload()) }

func (f onFile) reform(form rewrite.Form) {
	f.t.Helper()
	f.becomes(f.bone().Model(SaveOptions{Form: form.String()}))
}

// apply loads an adapter and makes it active.
func (f onFile) apply(path string) {
	f.t.Helper()
	m := f.bone()
	if err := m.LoadAdapter(path, ""); err != nil {
		f.t.Fatal(err)
	}
	if err := m.SetAdapter(m.Adapters()...); err != nil {
		f.t.Fatal(err)
	}
	f.becomes(m.Model(SaveOptions{}))
}

// fit trains on samples.
func (f onFile) fit(d train.Data, c TrainConfig, w Watcher) {
	f.t.Helper()
	m := f.bone()
	c.Watcher = w
	if _, err := m.TrainOn(context.Background(), &Dataset{samples: d}, nil, c); err != nil {
		f.t.Fatal(err)
	}
	f.becomes(m.Model(SaveOptions{}))
}

// step is the exported training step.
func (f onFile) step(c TrainConfig, opset int64, gradsOnly bool) *Model {
	f.t.Helper()
	m, err := f.bone().ExportStep(c, opset, gradsOnly)
	if err != nil {
		f.t.Fatal(err)
	}
	return m
}

// blocks are the names of what the adapters train.
func (f onFile) blocks() []string {
	f.t.Helper()
	names, err := trainable(f.graph)
	if err != nil {
		f.t.Fatal(err)
	}
	return names
}
