package bonnx

import (
	"fmt"
	"os"
	"strings"

	"github.com/bonnx/bonnx/adapter"
	"github.com/bonnx/bonnx/adapter/peft"
	"github.com/bonnx/bonnx/internal/atomicfile"
	"github.com/bonnx/bonnx/tensor"
	"github.com/bonnx/bonnx/tensor/npz"
)

// manifestEntry is where an .npz keeps an adapter's configuration and the
// fingerprint of its base.
const manifestEntry = "bonnx.json"

// readAdapter reads an adapter: a PEFT folder, or an .npz with or without
// bonnx's manifest. notes are remarks for people.
func readAdapter(path string) (set *adapter.Set, notes []string, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, nil, err
	}
	if info.IsDir() {
		a, err := peft.ReadDir(path)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", path, err)
		}
		return a.Set, a.Warnings, nil
	}
	f, err := npz.ReadFile(path, npz.Options{})
	if err != nil {
		return nil, nil, err
	}
	set, err = adapterOf(f)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	return set, nil, nil
}

func adapterOf(f *npz.File) (*adapter.Set, error) {
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

// formats maps the names of adapter formats to their writers.
var formats = map[string]func(path string, s *adapter.Set, o atomicfile.Options) error{
	"npz": writeNPZ,
	"peft": func(path string, s *adapter.Set, o atomicfile.Options) error {
		return peft.WriteDir(path, s, peft.Options{Force: o.Force, FS: o.FS})
	},
}

func writerOf(format string) (func(string, *adapter.Set, atomicfile.Options) error, error) {
	w := formats[strings.ToLower(format)]
	if w == nil {
		return nil, fmt.Errorf("format %q is not one of npz, peft", format)
	}
	return w, nil
}

// bareBlocks reads an .npz without a manifest; nil where path is something
// else.
func bareBlocks(path string) (map[string]*tensor.Tensor, error) {
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
