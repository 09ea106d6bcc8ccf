package bonnx

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bonnx/bonnx/adapter"
	"github.com/bonnx/bonnx/adapter/peft"
	"github.com/bonnx/bonnx/internal/atomicfile"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/rewrite"
	"github.com/bonnx/bonnx/tensor"
	"github.com/bonnx/bonnx/tensor/npz"
	"github.com/bonnx/bonnx/train"
)

// manifestEntry is where an .npz keeps an adapter's configuration and the
// fingerprint of its base.
const manifestEntry = "bonnx.json"

// Adapter is an adapter apart from any model: what a PEFT folder holds. It is
// immutable and safe for concurrent use.
type Adapter struct {
	set   *adapter.Set
	fit   *adapter.BlendReport
	notes []string
	any   bool     // base will do
	files []string // that it was read from
	disk  atomicfile.FS
}

// ReadAdapter reads an adapter: a PEFT folder, or an .npz with or without
// bonnx's configuration in it.
func ReadAdapter(path string) (*Adapter, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		a, err := peft.ReadDir(path)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		files := []string{filepath.Join(path, peft.ConfigFile), filepath.Join(path, peft.ModelFile)}
		return &Adapter{set: a.Set, notes: a.Warnings, files: files}, nil
	}
	f, err := npz.ReadFile(path, npz.Options{})
	if err != nil {
		return nil, err
	}
	set, err := setOf(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &Adapter{set: set, files: []string{path}}, nil
}

func setOf(f *npz.File) (*adapter.Set, error) {
	named := make([]adapter.Named, 0, len(f.Names()))
	for _, n := range f.Names() {
		named = append(named, adapter.Named{Key: n, Tensor: f.Get(n)})
	}
	b, ok := f.Extra(manifestEntry)
	if !ok {
		return adapter.Collect(nil, named)
	}
	cfg, fingerprint, err := adapter.ParseManifest(b)
	if err != nil {
		return nil, fmt.Errorf("entry %s: %w", manifestEntry, err)
	}
	set, err := adapter.Collect(&cfg, named)
	if err != nil {
		return nil, err
	}
	set.Fingerprint = fingerprint
	return set, nil
}

// Config is the adapter's configuration.
func (a *Adapter) Config() (BoneConfig, error) { return boneConfig(a.set.Config) }

// OnAnyBase is the adapter for models that it was not made for, with a remark
// instead of a BaseMismatchError: one of a float model for the same model
// quantized, or the other way round.
func (a *Adapter) OnAnyBase() *Adapter {
	b := *a
	b.any = true
	return &b
}

// Notes are remarks on what was read: keys of the configuration without effect.
func (a *Adapter) Notes() []string { return slices.Clone(a.notes) }

// NumParameters counts the adapter's values.
func (a *Adapter) NumParameters() int { return (&held{set: a.set}).params() }

// formats maps the names of adapter formats to their writers.
var formats = map[string]func(path string, s *adapter.Set, o atomicfile.Options) error{
	"npz": writeNPZ,
	"peft": func(path string, s *adapter.Set, o atomicfile.Options) error {
		return peft.WriteDir(path, s, peft.Options{Force: o.Force, FS: o.FS})
	},
}

// format is o.Format, or what the path says: .npz, else a PEFT folder.
func (o SaveOptions) format(path string) (string, error) {
	f := strings.ToLower(o.Format)
	switch {
	case f == "" && strings.EqualFold(filepath.Ext(path), ".npz"):
		return "npz", nil
	case f == "":
		return "peft", nil
	case formats[f] == nil:
		return "", fmt.Errorf("format %q is not one of npz, peft", o.Format)
	}
	return f, nil
}

// CheckFormat reports whether Format is one that adapters are written in.
func (o SaveOptions) CheckFormat() error {
	_, err := o.format("")
	return err
}

// CheckAdapter reports whether an adapter could be written to path: Check for
// each of its files.
func (o SaveOptions) CheckAdapter(path string) error {
	format, err := o.format(path)
	if err != nil {
		return err
	}
	if format != "peft" {
		return o.Check(path)
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return o.Check(filepath.Clean(path)) // the folder is made there
	}
	for _, name := range []string{peft.ConfigFile, peft.ModelFile} {
		if err := o.Check(filepath.Join(path, name)); err != nil {
			return err
		}
	}
	return nil
}

// Save writes the adapter, with its configuration and the fingerprint of its
// base, as a PEFT folder or, where o.Format or the path's extension says so, as
// one .npz.
func (a *Adapter) Save(path string, o SaveOptions) error {
	format, err := o.format(path)
	if err != nil {
		return err
	}
	return formats[format](path, a.set, atomicfile.Options{Force: o.Force, Inputs: append(slices.Clone(a.files), o.Keep...), FS: a.disk})
}

// writeNPZ writes an adapter as arrays named by block, with its manifest.
func writeNPZ(path string, s *adapter.Set, o atomicfile.Options) error {
	var f npz.File
	for _, n := range s.Named() {
		if err := f.Add(n.Key, n.Tensor); err != nil {
			return err
		}
	}
	b, err := s.Manifest()
	if err != nil {
		return err
	}
	if err := f.AddExtra(manifestEntry, b); err != nil {
		return err
	}
	tx := atomicfile.NewSet(o)
	defer tx.Abort()
	w, err := tx.Create(path)
	if err != nil {
		return err
	}
	if err := f.Write(w); err != nil {
		return err
	}
	return tx.Commit()
}

// Adapter is one of the model's adapters apart from it, with the fingerprint
// of the base, whose adapted weights are read for that. An empty name stands
// for the only adapter.
func (m *BoneModel) Adapter(name string) (*Adapter, error) {
	if name == "" && len(m.adapters) == 1 {
		name = m.adapters[0].name
	}
	if len(m.adapters) == 0 {
		return nil, m.base.wrap(rewrite.ErrNoAdapter)
	}
	if name == "" {
		return nil, m.base.wrap(fmt.Errorf("the model has %d adapters, %q; say which", len(m.adapters), m.Adapters()))
	}
	h, err := m.named([]string{name})
	if err != nil {
		return nil, m.base.wrap(err)
	}
	set := *h[0].set
	if err := rewrite.SetFingerprint(m.base.graph, &set); err != nil {
		return nil, m.base.wrap(err)
	}
	return &Adapter{set: &set, files: m.base.Files(), disk: m.base.disk}, nil
}

// SaveAdapter writes one adapter alone, as PEFT's save_pretrained does: see
// Adapter.Save. An empty name stands for the only adapter.
func (m *BoneModel) SaveAdapter(path, name string, o SaveOptions) error {
	a, err := m.Adapter(name)
	if err != nil {
		return err
	}
	return a.Save(path, o)
}

// LoadAdapter puts an adapter that exists on the model under a name of its own,
// not active yet; see ReadAdapter for what path may be. An empty name stands for
// the one that the adapter was saved under. One that was made for another base
// is a *BaseMismatchError; one that says nothing of its base is taken with a
// remark. The module paths may differ by a prefix, such as PEFT's "model.".
//
// Where the model has an adapter of that name, its blocks are replaced. Where it
// has adapters and path is an .npz without configuration, the arrays replace
// blocks of any adapter by their names in the graph, such as
// "layers.0.q_proj.bone_block", which may end in ".new" as an exported training
// step gives them.
func (m *BoneModel) LoadAdapter(path, name string) error {
	if len(m.adapters) > 0 {
		bare, err := bareArrays(path)
		if err != nil {
			return err
		}
		if bare != nil {
			return m.replace(path, bare)
		}
	}
	a, err := ReadAdapter(path)
	if err != nil {
		return err
	}
	m.base.notes(a.notes)
	return m.Put(name, a)
}

// Put is LoadAdapter for an Adapter at hand, such as Blend's.
func (m *BoneModel) Put(name string, a *Adapter) error {
	if name == "" {
		name = a.set.Config.DisplayName()
	}
	set := *a.set
	set.Config.Name = name
	var on []string
	if m.find(name) != nil {
		on = []string{name}
	}
	g, err := m.pristine(on)
	if err != nil {
		return err
	}
	r, err := rewrite.Apply(g, &set, rewrite.Options{AnyBase: a.any})
	if err != nil {
		return m.base.wrap(err)
	}
	m.base.notes(r.Notes)
	if on != nil {
		return m.take(g, on)
	}
	h := &held{name: name}
	if h.config, err = boneConfig(set.Config); err != nil {
		return err
	}
	return m.hold(h, g)
}

// pristine is the base, nothing merged, with the named adapters.
func (m *BoneModel) pristine(names []string) (*ir.Model, error) {
	g := m.base.graph.Clone()
	return g, m.apply(g, names, rewrite.Options{})
}

// replace sets blocks of all adapters by their names in the graph.
func (m *BoneModel) replace(path string, values map[string]*tensor.Tensor) error {
	names := m.Adapters()
	g, err := m.pristine(names)
	if err != nil {
		return err
	}
	if err := replaceBlocks(g, path, values); err != nil {
		return m.base.wrap(err)
	}
	return m.take(g, names)
}

// take makes the blocks of g, on which the named adapters are, theirs.
func (m *BoneModel) take(g *ir.Model, names []string) error {
	sets, err := rewrite.Sets(g)
	if err != nil {
		return m.base.wrap(err)
	}
	for i, n := range names {
		m.find(n).set = sets[i]
	}
	return nil
}

// replaceBlocks sets trained values by name; arrays that name none are refused,
// but for the state of an optimizer.
func replaceBlocks(g *ir.Model, path string, values map[string]*tensor.Tensor) error {
	known := map[string]bool{}
	names, err := trainable(g)
	if err != nil {
		return err
	}
	for _, n := range names {
		known[n] = true
	}
	blocks := map[string]*tensor.Tensor{}
	for key, t := range values {
		name := strings.TrimSuffix(key, train.NewSuffix)
		switch {
		case known[name]:
			blocks[name] = t
		case train.IsState(name, known), name == train.ExportLoss:
		default:
			return fmt.Errorf("%s: array %q is no block of the model's adapters", path, key)
		}
	}
	if len(blocks) == 0 {
		return fmt.Errorf("%s: no array is a block of the model's adapters", path)
	}
	return rewrite.SetBlocks(g, blocks)
}

// bareArrays reads an .npz that does not say which adapter it is; nil where path
// is something else.
func bareArrays(path string) (map[string]*tensor.Tensor, error) {
	info, err := os.Stat(path)
	if err != nil || info.IsDir() {
		return nil, err
	}
	f, err := npz.ReadFile(path, npz.Options{})
	if err != nil {
		return nil, err
	}
	if _, ok := f.Extra(manifestEntry); ok {
		return nil, nil
	}
	return f.Map(), nil
}
